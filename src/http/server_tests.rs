//! Tests of the server loop over real sockets, with routes of their own.

use super::*;
use crate::http::body;
use axum::routing::{get, post};
use std::net::SocketAddr;
use tokio::io::AsyncWriteExt;

const BODY_MAX: usize = 64 << 10;

fn config() -> HttpConfig {
    HttpConfig {
        body_bytes_max: BODY_MAX,
        header_timeout: Duration::from_millis(200),
        idle_timeout: Duration::from_millis(600),
        shutdown_grace: Duration::from_millis(200),
        ..HttpConfig::default()
    }
}

async fn panics() -> &'static str {
    panic!("as the test wants it")
}

async fn start(config: HttpConfig) -> (SocketAddr, Tasks) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tasks = Tasks::new();
    let bodies = body::Bodies::new(config.clone(), tasks.clone());
    let bodies = Arc::new(bodies);
    let router = Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/text", get(|| async { "abc".repeat(1000) }))
        .route("/panic", get(panics))
        .route(
            "/length",
            post(|headers: http::HeaderMap, body: Body| async move {
                bodies.collect(&headers, body).await.map(|body| body.len().to_string())
            }),
        );
    let serving = serve(listener, router, tasks.clone(), config);
    tasks.spawn("test server", OnPanic::Log, serving);
    (address, tasks)
}

/// Sends `request`, and reads until the server closes.
async fn talk(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    rest(stream).await
}

async fn rest(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    let reading = stream.read_to_end(&mut answer);
    tokio::time::timeout(Duration::from_secs(10), reading).await.expect("the server closes").unwrap();
    String::from_utf8(answer).unwrap()
}

#[track_caller]
fn assert_problem(answer: &str, status: u16, name: &str) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    assert!(answer.contains(&format!("\"type\":\"/problems/{name}\"")), "{answer}");
}

#[tokio::test]
async fn serves_and_keeps_alive() {
    let (address, tasks) = start(config()).await;
    let both =
        talk(address, b"GET / HTTP/1.1\r\nhost: a\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert_eq!(both.matches("hello").count(), 2, "{both}");
    tasks.stop().await;
}

#[tokio::test]
async fn a_client_that_ended_its_half_gets_its_answer() {
    let (address, _) = start(config()).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    stream.shutdown().await.unwrap();
    assert!(rest(stream).await.ends_with("hello"));
}

#[tokio::test]
async fn broken_and_large_heads_are_told_as_problems() {
    let (address, _) = start(config()).await;
    assert_problem(&talk(address, b"GARBAGE\r\n\r\n").await, 400, "bad-request");
    assert_problem(&talk(address, b"GET / HTTP/1.1\r\nbad header\r\n\r\n").await, 400, "bad-request");
    let large = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(20 << 10));
    assert_problem(&talk(address, large.as_bytes()).await, 431, "headers-too-large");
    let endless = format!("GET / HTTP/1.1\r\nx: {}", "x".repeat(600 << 10));
    assert_problem(&talk(address, endless.as_bytes()).await, 431, "headers-too-large");
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "x: 1\r\n".repeat(200));
    assert_problem(&talk(address, many.as_bytes()).await, 431, "headers-too-large");
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(70 << 10));
    let answer = talk(address, long.as_bytes()).await;
    assert!(answer.contains("/problems/uri-too-long") || answer.contains("/problems/headers-too-large"), "{answer}");
}

#[tokio::test]
async fn slow_heads_and_idle_connections_end() {
    let (address, _) = start(config()).await;
    assert_problem(&talk(address, b"").await, 408, "request-timeout");
    assert_problem(&talk(address, b"GET / HT").await, 408, "request-timeout");
    let mut stream = TcpStream::connect(address).await.unwrap();
    for byte in b"GET / HTTP/1.1\r\n" {
        if stream.write_all(&[*byte]).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    assert_problem(&rest(stream).await, 408, "request-timeout");
    let begun = Instant::now();
    let idle = talk(address, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(idle.ends_with("hello") && begun.elapsed() >= Duration::from_millis(500), "{idle}");
    let mut second = TcpStream::connect(address).await.unwrap();
    second.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    assert!(second.read(&mut [0; 1024]).await.unwrap() > 0);
    second.write_all(b"GET").await.unwrap();
    assert_problem(&rest(second).await, 408, "request-timeout");
}

#[tokio::test]
async fn too_large_bodies_are_told_while_they_come() {
    let (address, _) = start(config()).await;
    let declared =
        talk(address, b"POST /length HTTP/1.1\r\ncontent-length: 99999999\r\nconnection: close\r\n\r\nabc").await;
    assert_problem(&declared, 413, "body-too-large");
    let mut whole = format!("POST /length HTTP/1.1\r\ncontent-length: {}\r\n\r\n", 4 << 20).into_bytes();
    whole.resize(whole.len() + (4 << 20), b'x');
    whole.extend_from_slice(b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n");
    let answer = talk(address, &whole).await;
    assert_problem(&answer, 413, "body-too-large");
    assert!(answer.ends_with("hello"), "the connection goes on: {answer}");
    let mut chunked = b"POST /length HTTP/1.1\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n".to_vec();
    for _ in 0..20 {
        chunked.extend_from_slice(format!("2000\r\n{}\r\n", "x".repeat(0x2000)).as_bytes());
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    assert_problem(&talk(address, &chunked).await, 413, "body-too-large");
    let cut = talk(address, b"POST /length HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n").await;
    assert_problem(&cut, 400, "incomplete-body");
    let fits = format!(
        "POST /length HTTP/1.1\r\ncontent-length: {BODY_MAX}\r\nconnection: close\r\n\r\n{}",
        "x".repeat(BODY_MAX)
    );
    assert!(talk(address, fits.as_bytes()).await.ends_with(&BODY_MAX.to_string()));
}

#[tokio::test]
async fn one_connection_too_many_is_told_so() {
    let (address, _) =
        start(HttpConfig { connections_max: 1, idle_timeout: Duration::from_secs(60), ..config() }).await;
    let mut first = TcpStream::connect(address).await.unwrap();
    first.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut answer = [0; 1024];
    assert!(first.read(&mut answer).await.unwrap() > 0);
    let refused = talk(address, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_problem(&refused, 503, "too-many-connections");
    assert!(refused.contains("retry-after: 1"), "{refused}");
}

#[tokio::test]
async fn a_panic_is_one_answer() {
    let (address, _) = start(config()).await;
    let answer = talk(address, b"GET /panic HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\nconnection: close\r\n\r\n").await;
    assert_problem(&answer, 500, "internal-error");
    assert!(answer.ends_with("hello"), "{answer}");
}

#[tokio::test]
async fn answers_are_compressed_where_asked() {
    let (address, _) = start(config()).await;
    let answer = |encoding: &str| {
        let request = format!("GET /text HTTP/1.1\r\naccept-encoding: {encoding}\r\nconnection: close\r\n\r\n");
        async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.unwrap();
            String::from_utf8_lossy(&answer).into_owned()
        }
    };
    assert!(answer("gzip").await.contains("content-encoding: gzip"));
    assert!(answer("zstd").await.contains("content-encoding: zstd"));
    assert!(answer("identity").await.ends_with("abcabc"));
}

#[tokio::test]
async fn speaks_http2_with_prior_knowledge() {
    let (address, _) = start(config()).await;
    let stream = TcpStream::connect(address).await.unwrap();
    let tasks = Tasks::new();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake::<_, _, Body>(TaskExecutor(tasks.clone()), TokioIo::new(stream))
            .await
            .unwrap();
    tasks.spawn("test client", OnPanic::Log, async { drop(connection.await) });
    for _ in 0..3 {
        let request = Request::get("http://a/").body(Body::empty()).unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hello");
        // Longer than a head may take: frames between requests are no head.
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

#[tokio::test]
async fn stops_with_connections_open() {
    let (address, tasks) = start(HttpConfig { idle_timeout: Duration::from_secs(60), ..config() }).await;
    let mut idle = TcpStream::connect(address).await.unwrap();
    idle.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut answer = [0; 1024];
    assert!(idle.read(&mut answer).await.unwrap() > 0);
    tokio::time::timeout(Duration::from_secs(5), tasks.stop()).await.expect("all tasks end");
    assert!(TcpStream::connect(address).await.is_err());
}
