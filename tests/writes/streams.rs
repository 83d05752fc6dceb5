//! Streams of records.

use crate::client::{self, ask};
use crate::node::Node;
use crate::{make_topic, post, read};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

const NDJSON: (&str, &str) = ("content-type", "application/x-ndjson");

/// Begins a stream whose body comes in chunks.
fn begin(address: SocketAddr, target: &str, header: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("the node listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout can be set");
    let head = format!(
        "POST {target} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n{header}\r\n"
    );
    stream.write_all(head.as_bytes()).expect("the node reads");
    stream
}

fn send(stream: &mut TcpStream, chunk: &[u8]) {
    write!(stream, "{:x}\r\n", chunk.len()).and_then(|()| stream.write_all(chunk)).expect("the node reads");
    stream.write_all(b"\r\n").expect("the node reads");
}

/// The lines of an answer, and the count of records that they acknowledge.
fn lines(text: &str) -> (Vec<Value>, u64) {
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON lines")).collect();
    let count = lines.iter().filter_map(|line| line["count"].as_u64()).sum();
    (lines, count)
}

#[test]
fn a_stream_is_acknowledged_while_it_is_being_sent() {
    let node = Node::start();
    make_topic(node.http, "live", 1);
    let mut stream = begin(node.http, "/v1/topics/live/records", "");
    let mut reader = BufReader::new(stream.try_clone().expect("a socket can be shared"));
    let mut line = String::new();
    // The answer begins before anything was sent.
    while line != "\r\n" {
        line.clear();
        assert!(reader.read_line(&mut line).expect("an answer") > 0);
    }
    for number in 0..3_u64 {
        send(&mut stream, format!("{{\"value\":{number}}}\n{{\"val").as_bytes());
        let acknowledged = next_line(&mut reader);
        assert_eq!(acknowledged["through_line"], number * 2 + 1, "{acknowledged}");
        assert_eq!(read(node.http, "live", 0).len() as u64, number * 2 + 1);
        send(&mut stream, b"ue\":\"x\"}\n");
        assert_eq!(next_line(&mut reader)["through_line"], number * 2 + 2);
    }
    stream.write_all(b"0\r\n\r\n").expect("the node reads");
    assert_eq!(next_line(&mut reader), json!({"done": true, "records": 6}));
}

/// The next line of JSON in an answer that comes in chunks.
fn next_line(reader: &mut impl BufRead) -> Value {
    loop {
        let mut line = String::new();
        assert!(reader.read_line(&mut line).expect("an answer") > 0, "the answer goes on");
        if line.starts_with('{') {
            return serde_json::from_str(&line).expect("JSON");
        }
    }
}

#[test]
fn a_client_that_reads_only_at_the_end_is_not_held_up() {
    const RECORDS: u64 = 300_000;
    let node = Node::start();
    make_topic(node.http, "much", 4);
    let mut stream = begin(node.http, "/v1/topics/much/records", "");
    let mut chunk = Vec::new();
    for number in 0..RECORDS {
        let key = number % 50;
        chunk.extend_from_slice(format!("{{\"key\":\"{key}\",\"value\":{{\"number\":{number}}}}}\n").as_bytes());
        // Pieces end within lines, too.
        if chunk.len() > 3000 {
            let rest = chunk.split_off(2900);
            send(&mut stream, &chunk);
            chunk = rest;
        }
    }
    send(&mut stream, &chunk);
    stream.write_all(b"0\r\n\r\n").expect("the node reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    let text = client::parse(&answer).text();
    let (lines, count) = lines(&text);
    assert_eq!(lines.last(), Some(&json!({"done": true, "records": RECORDS})));
    assert_eq!(count, RECORDS);
    let through: Vec<u64> = lines.iter().filter_map(|line| line["through_line"].as_u64()).collect();
    assert!(through.is_sorted() && through.last() == Some(&RECORDS));
    let mut newest = std::collections::HashMap::new();
    let mut found = 0;
    for partition in 0..4 {
        for record in read(node.http, "much", partition) {
            let number = record["value"]["number"].as_u64().expect("a number");
            let before = newest.insert(record["key"].to_string(), number);
            assert!(before.is_none_or(|before| before < number), "in order per key");
            found += 1;
        }
    }
    assert_eq!(found, RECORDS);
}

#[test]
fn streams_may_be_compressed_and_may_wait_for_a_go_ahead() {
    let node = Node::start();
    make_topic(node.http, "forms", 1);
    let to = "/v1/topics/forms/records";
    let body: String = (0..10_000).map(|number| format!("{{\"value\":{number}}}\n")).collect();
    let done = json!({"done": true, "records": 10_000});
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(body.as_bytes()).expect("memory takes it");
    let gzip = gzip.finish().expect("memory takes it");
    let zstd = zstd::encode_all(body.as_bytes(), 1).expect("memory takes it");
    for (encoding, bytes) in [("gzip", &gzip), ("zstd", &zstd)] {
        let answer = post(node.http, to, &[NDJSON, ("content-encoding", encoding)], bytes);
        assert_eq!(lines(&answer.text()).0.last(), Some(&done), "{encoding}");
        let cut = post(node.http, to, &[NDJSON, ("content-encoding", encoding)], &bytes[..bytes.len() - 9]);
        let (told, _) = lines(&cut.text());
        let last = told.last().expect("a last line");
        assert_eq!(last["error"]["type"], "/problems/bad-compression", "{encoding}: {last}");
    }
    let mut waiting = begin(node.http, to, "expect: 100-continue\r\n");
    let mut go_ahead = [0; 25];
    waiting.read_exact(&mut go_ahead).expect("a go-ahead");
    assert_eq!(&go_ahead, b"HTTP/1.1 100 Continue\r\n\r\n");
    send(&mut waiting, b"{\"value\":1}\n");
    waiting.write_all(b"0\r\n\r\n").expect("the node reads");
    let mut answer = Vec::new();
    waiting.read_to_end(&mut answer).expect("an answer");
    assert_eq!(lines(&client::parse(&answer).text()).0.last(), Some(&json!({"done": true, "records": 1})));
}

#[test]
fn a_stream_that_breaks_off_keeps_what_was_whole() {
    let node = Node::start();
    make_topic(node.http, "broken", 1);
    let mut stream = begin(node.http, "/v1/topics/broken/records", "");
    send(&mut stream, b"{\"value\":1}\n{\"value\":2}\n{\"value\":");
    stream.shutdown(Shutdown::Write).expect("the half can be ended");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    let (told, count) = lines(&client::parse(&answer).text());
    let last = told.last().expect("a last line");
    assert_eq!((count, &last["done"], &last["line"]), (2, &json!(false), &json!(3)), "{told:?}");
    assert_eq!(last["error"]["type"], "/problems/incomplete-body");
    assert_eq!(read(node.http, "broken", 0).len(), 2);
    assert_eq!(ask(node.http, "GET", "/livez", &[], b"").status, 200);
}
