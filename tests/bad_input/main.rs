//! Bad input: whatever is sent, the node says what is wrong and what to do, keeps what it has, and gives back its memory.

mod client;
mod node;
mod rows;

use client::{Answer, ask, request, talk};
use node::Node;
use rows::{Row, rows};
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

const JSON: (&str, &str) = ("content-type", "application/json");
const NDJSON: (&str, &str) = ("content-type", "application/x-ndjson");

/// What a node may keep of its peak: allocators give memory back late and not all of it.
const MEMORY_SLACK: u64 = 48 << 20;

#[test]
fn bad_input_is_told_and_does_no_harm() {
    let node = Node::start();
    set_up(node.http);
    let before = everything(node.http);
    // Once through, so that what is made lazily is there before memory is compared.
    let mut failures = run_all(node.http);
    let settled = memory(&node);
    failures.extend(run_all(node.http));
    failures.extend(streams(node.http));
    failures.extend(broken_connections(node.http));
    assert!(failures.is_empty(), "{} rows failed:\n{}", failures.len(), failures.join("\n"));
    assert_eq!(everything(node.http), before, "earlier data is intact, and nothing was added");
    wait_for_memory(&node, settled + MEMORY_SLACK);
}

fn set_up(address: SocketAddr) {
    let topic = br#"{"name":"kept","partitions":3,"replication_factor":1}"#;
    let created = ask(address, "POST", "/v1/topics", &[JSON], topic);
    assert_eq!(created.status, 201, "{}", created.text());
    let streams = br#"{"name":"streams","partitions":1,"replication_factor":1}"#;
    assert_eq!(ask(address, "POST", "/v1/topics", &[JSON], streams).status, 201);
    let records =
        br#"{"records":[{"partition":0,"value":"a"},{"partition":1,"value":{"b":1}},{"partition":2,"value":null}]}"#;
    let headers = [JSON, ("idempotency-key", "used")];
    let written = ask(address, "POST", "/v1/topics/kept/records", &headers, records);
    assert_eq!(written.status, 200, "{}", written.text());
}

/// All records of the topic that must not change.
fn everything(address: SocketAddr) -> Vec<String> {
    (0..3)
        .map(|partition| {
            let target = format!("/v1/topics/kept/partitions/{partition}/records");
            let answer = ask(address, "GET", &target, &[("accept", "application/x-ndjson")], b"");
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert_eq!(answer.header("balsa-high-watermark"), Some("1"));
            answer.text()
        })
        .collect()
}

/// Runs all rows, slow ones side by side; gives what was not as it has to be.
fn run_all(address: SocketAddr) -> Vec<String> {
    let rows = rows();
    assert!(rows.len() >= 80, "only {} rows", rows.len());
    let (slow, quick): (Vec<Row>, Vec<Row>) = rows.into_iter().partition(|row| row.status == 408);
    std::thread::scope(|scope| {
        let slow: Vec<_> = slow.iter().map(|row| scope.spawn(|| run(address, row))).collect();
        let mut failures: Vec<String> = quick.iter().filter_map(|row| run(address, row)).collect();
        failures.extend(slow.into_iter().filter_map(|thread| thread.join().expect("rows do not panic")));
        failures
    })
}

fn run(address: SocketAddr, row: &Row) -> Option<String> {
    let pieces: Vec<&[u8]> = row.pieces.iter().map(Vec::as_slice).collect();
    let answer = talk(address, &pieces, Duration::from_secs(1));
    let wrong = check(&answer, row).err()?;
    Some(format!("{}: {wrong}; the answer is {} {:?}", row.name, answer.status, answer.text()))
}

fn check(answer: &Answer, row: &Row) -> Result<(), String> {
    if answer.status != row.status {
        return Err(format!("status {} is expected", row.status));
    }
    if answer.header("content-type") != Some("application/problem+json") {
        return Err(format!("content type {:?}", answer.header("content-type")));
    }
    let problem = answer.json();
    if problem["type"] != format!("/problems/{}", row.kind) || problem["status"] != row.status {
        return Err(format!("type {} is expected", row.kind));
    }
    let detail = problem["detail"].as_str().unwrap_or_default();
    if detail.len() < 20 || !detail.contains(row.says) {
        return Err(format!("the detail has to say {:?}", row.says));
    }
    if let Some(field) = row.field
        && problem["field"] != field
    {
        return Err(format!("field {field:?} is expected"));
    }
    match row.status {
        405 if answer.header("allow").is_none() => Err("Allow is missing".to_owned()),
        415 if problem["supported"].as_array().is_none_or(Vec::is_empty) => Err("no supported types".to_owned()),
        413 if problem["limit"].as_u64().is_none() => Err("no limit".to_owned()),
        409 if row.kind == "offset-mismatch" && problem["log_end_offset"] != 1 => Err("no log end offset".to_owned()),
        _ => Ok(()),
    }
}

/// Streams with a bad line: what came before it is appended and acknowledged, the last line names it.
fn streams(address: SocketAddr) -> Vec<String> {
    let long = format!("{{\"value\":\"{}\"}}", "x".repeat(1 << 20));
    let cases: [(&str, &str, u64, &str); 8] = [
        ("unsound JSON", "{\"value\":", 3, "bad-json"),
        ("a misspelt value", "{\"valeu\":1}", 3, "unknown-field"),
        ("no value", "{}", 3, "bad-field"),
        ("a list", "[{\"value\":1}]", 3, "bad-field"),
        ("two records on a line", "{\"value\":1}{\"value\":2}", 3, "bad-json"),
        ("a partition that is not there", "{\"value\":1,\"partition\":7}", 3, "unknown-partition"),
        ("a header alone", "{\"value\":1,\"headers\":[[]]}", 3, "bad-field"),
        ("a line that is too long", &long, 3, "line-too-long"),
    ];
    let mut failures = Vec::new();
    for (name, bad, line, kind) in cases {
        let body = format!("{{\"value\":1}}\n{{\"value\":2}}\n{bad}\n{{\"value\":4}}\n");
        let answer = ask(address, "POST", "/v1/topics/streams/records", &[NDJSON], body.as_bytes());
        let lines: Vec<serde_json::Value> =
            answer.text().lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let appended: u64 = lines.iter().filter_map(|line| line["count"].as_u64()).sum();
        let last = lines.last().cloned().unwrap_or_default();
        let as_it_has_to_be = answer.status == 200
            && appended == 2
            && last["done"] == false
            && last["line"] == line
            && last["error"]["type"] == format!("/problems/{kind}");
        if !as_it_has_to_be {
            failures.push(format!("a stream with {name}: {}", answer.text()));
        }
        let target = "/v1/topics/streams/records?on_error=skip";
        let skipped = ask(address, "POST", target, &[NDJSON], body.as_bytes()).text();
        if !skipped.contains("\"done\":true,\"records\":3") || !skipped.contains(kind) {
            failures.push(format!("a stream that skips {name}: {skipped}"));
        }
    }
    failures
}

/// Clients that leave in the middle: nothing of what they sent is written, and the node goes on.
fn broken_connections(address: SocketAddr) -> Vec<String> {
    let whole =
        request("POST", "/v1/topics/kept/records", &[JSON], br#"{"records":[{"value":"must not be written"}]}"#);
    for cut in [1, 20, whole.len() - 30, whole.len() - 1] {
        let mut stream = TcpStream::connect(address).expect("the node listens");
        stream.write_all(&whole[..cut]).expect("the node reads");
        drop(stream);
    }
    let mut failures = Vec::new();
    // A client that ends its half in the middle of its body is told so.
    let mut half = TcpStream::connect(address).expect("the node listens");
    half.write_all(&whole[..whole.len() - 1]).expect("the node reads");
    half.shutdown(std::net::Shutdown::Write).expect("the half can be ended");
    let mut told = Vec::new();
    let _ = std::io::Read::read_to_end(&mut half, &mut told);
    if !told.is_empty() && client::parse(&told).status != 400 {
        failures.push(format!("half a body: {}", String::from_utf8_lossy(&told)));
    }
    // Many that say nothing do not keep others out.
    let silent: Vec<_> = (0..200).filter_map(|_| TcpStream::connect(address).ok()).collect();
    let answer = ask(address, "GET", "/livez", &[], b"");
    if answer.status != 200 {
        failures.push(format!("with 200 silent connections: {}", answer.text()));
    }
    drop(silent);
    failures
}

fn wait_for_memory(node: &Node, limit: u64) {
    let begun = Instant::now();
    while memory(node) > limit {
        assert!(begun.elapsed() < Duration::from_secs(30), "{} bytes stay, {limit} are allowed", memory(node));
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Resident memory of the node, in bytes.
fn memory(node: &Node) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.child.id())).expect("the node runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("Linux tells it");
    let kib: u64 = line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number");
    kib << 10
}
