//! A blocking HTTP/1.1 client for tests: one connection, made anew when it broke. Never repeats a request by itself,
//! since the tests must know what was sent how often.

use bytes::Bytes;
use futures::{Stream, StreamExt};
use http::{HeaderMap, Method, Request, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::convert::Infallible;
use std::io;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};

type Body = BoxBody<Bytes, Infallible>;

/// What a node answered.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Reply {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The reply, if its status is the expected one; else the test fails with what came.
    #[track_caller]
    pub fn expect(self, status: u16) -> Reply {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }
}

/// A client of one node.
pub struct Http {
    address: String,
    runtime: Runtime,
    connection: Option<SendRequest<Body>>,
    /// For a whole exchange.
    pub time_max: Duration,
}

impl Http {
    pub fn new(address: &str) -> Http {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
        Http { address: address.to_owned(), runtime, connection: None, time_max: Duration::from_secs(60) }
    }

    pub fn get(&mut self, target: &str) -> io::Result<Reply> {
        self.send(Method::GET, target, &[], Bytes::new())
    }

    /// GET with an Accept header.
    pub fn get_as(&mut self, target: &str, accept: &str) -> io::Result<Reply> {
        self.send(Method::GET, target, &[("accept", accept)], Bytes::new())
    }

    pub fn post_json(&mut self, target: &str, body: &Value) -> io::Result<Reply> {
        self.send(Method::POST, target, &[("content-type", "application/json")], body.to_string().into())
    }

    pub fn delete(&mut self, target: &str) -> io::Result<Reply> {
        self.send(Method::DELETE, target, &[], Bytes::new())
    }

    /// Any request with a body of known length.
    pub fn send(&mut self, method: Method, target: &str, headers: &[(&str, &str)], body: Bytes) -> io::Result<Reply> {
        let full = Full::new(body).boxed();
        self.exchange(method, target, headers, full)
    }

    /// A request whose body is a stream without a length: each item is written as it comes, while the answer is read.
    pub fn send_stream(
        &mut self,
        method: Method,
        target: &str,
        headers: &[(&str, &str)],
        body: impl Stream<Item = Bytes> + Send + Sync + 'static,
    ) -> io::Result<Reply> {
        let body = BodyExt::boxed(StreamBody::new(body.map(|piece| Ok(Frame::data(piece)))));
        self.exchange(method, target, headers, body)
    }

    fn exchange(&mut self, method: Method, target: &str, headers: &[(&str, &str)], body: Body) -> io::Result<Reply> {
        let mut request = Request::builder().method(method).uri(target).header(header::HOST, &self.address);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body).map_err(io::Error::other)?;
        let time_max = self.time_max;
        let connection = self.connection.take();
        let address = self.address.clone();
        let (reply, connection) = self.runtime.block_on(async move {
            tokio::time::timeout(time_max, exchange(&address, connection, request))
                .await
                .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
        })?;
        self.connection = Some(connection);
        Ok(reply)
    }

    /// A request whose answer is read piece by piece.
    pub fn open(&mut self, target: &str, accept: &str) -> io::Result<Reading> {
        let request = Request::builder().uri(target).header(header::HOST, &self.address).header("accept", accept);
        let request = request.body(Full::new(Bytes::new()).boxed()).map_err(io::Error::other)?;
        let address = self.address.clone();
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (status, body) = runtime.block_on(async move {
            let mut connection = connect(&address).await?;
            let response = connection.send_request(request).await.map_err(io::Error::other)?;
            io::Result::Ok((response.status().as_u16(), response.into_body()))
        })?;
        Ok(Reading { status, body, runtime })
    }
}

async fn exchange(
    address: &str,
    connection: Option<SendRequest<Body>>,
    request: Request<Body>,
) -> io::Result<(Reply, SendRequest<Body>)> {
    let mut connection = match connection {
        Some(open) if !open.is_closed() => open,
        _ => connect(address).await?,
    };
    connection.ready().await.map_err(io::Error::other)?;
    let response = connection.send_request(request).await.map_err(io::Error::other)?;
    let (head, body) = response.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    Ok((Reply { status: head.status.as_u16(), headers: head.headers, body }, connection))
}

async fn connect(address: &str) -> io::Result<SendRequest<Body>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::spawn(async move {
        // Its errors arrive at the sender.
        let _ = connection.await;
    });
    Ok(sender)
}

/// An answer that is read slowly. Its connection makes no progress between two calls.
pub struct Reading {
    pub status: u16,
    body: Incoming,
    runtime: Runtime,
}

impl Reading {
    /// The next piece of the body; none at its end.
    pub fn next(&mut self, time_max: Duration) -> io::Result<Option<Bytes>> {
        let body = &mut self.body;
        self.runtime.block_on(async move {
            loop {
                let frame = tokio::time::timeout(time_max, body.frame());
                match frame.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))? {
                    None => return Ok(None),
                    Some(Err(error)) => return Err(io::Error::other(error)),
                    Some(Ok(frame)) => {
                        if let Ok(data) = frame.into_data() {
                            return Ok(Some(data));
                        }
                    }
                }
            }
        })
    }
}
