//! Writing over HTTP against a real node: what is stored is what was sent, answers say where it landed, retries don't
//! write twice, and streams are appended while they arrive.

#[path = "../bad_input/client.rs"]
mod client;
#[path = "../bad_input/node.rs"]
mod node;
mod streams;

use client::{Answer, ask};
use node::Node;
use serde_json::{Value, json};
use std::net::SocketAddr;

pub const JSON: (&str, &str) = ("content-type", "application/json");

pub fn make_topic(address: SocketAddr, name: &str, partitions: u32) {
    let body = json!({"name": name, "partitions": partitions, "replication_factor": 1}).to_string();
    let created = ask(address, "POST", "/v1/topics", &[JSON], body.as_bytes());
    assert_eq!(created.status, 201, "{}", created.text());
}

pub fn post(address: SocketAddr, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    ask(address, "POST", target, headers, body)
}

/// Writes, and gives the answer's records.
fn write(address: SocketAddr, target: &str, records: &Value) -> Vec<Value> {
    let answer = post(address, target, &[JSON], json!({ "records": records }).to_string().as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["records"].as_array().expect("a list of records").clone()
}

/// All records of one partition.
pub fn read(address: SocketAddr, topic: &str, partition: u32) -> Vec<Value> {
    let mut records = Vec::new();
    loop {
        let offset = records.len();
        let target = format!("/v1/topics/{topic}/partitions/{partition}/records?offset={offset}&limit=100000");
        let answer = ask(address, "GET", &target, &[], b"");
        assert_eq!(answer.status, 200, "{}", answer.text());
        let page = answer.json();
        let found = page["records"].as_array().expect("a list of records");
        if found.is_empty() {
            return records;
        }
        records.extend(found.iter().cloned());
    }
}

#[test]
fn every_kind_of_body_is_stored_as_it_was_sent() {
    let node = Node::start();
    make_topic(node.http, "kinds", 1);
    let to = "/v1/topics/kinds/partitions/0/records";
    let body = br#"{"records":[
        {"value":{"b":1.0,"a":123456789012345678901234567890},"key":"K","timestamp_ms":7,"headers":[["h","1"],["h",{"base64":"/w=="}]]},
        {"value":"text"},{"value":null},{"value":{"base64":"AP8="}},{"value":[1, 2]},{"value":1.50},{"value":true}]}"#;
    let answer = post(node.http, to, &[JSON], body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["records"][0], json!({"partition": 0, "offset": 0, "timestamp_ms": 7}));
    let headers = [
        ("content-type", "text/plain"),
        ("Balsa-Key", "k2"),
        ("Balsa-Header-Trace", "ab12"),
        ("Balsa-Timestamp-Ms", "9"),
    ];
    let answer = post(node.http, to, &headers, b"a value\n");
    assert_eq!(
        answer.json()["records"],
        json!([{"partition": 0, "offset": 7, "timestamp_ms": 9}]),
        "{}",
        answer.text()
    );
    let mut set = balsa::record::RecordSet::new();
    set.push(11, Some(b"k3"), Some(b"from a batch"), &[]);
    set.push(12, None, None, &[]);
    let batch = balsa::record::build_batch(&[set]).bytes;
    let two = [batch.as_ref(), batch.as_ref()].concat();
    let answer = post(node.http, to, &[("content-type", "application/vnd.balsa.batch")], &two);
    let batches =
        json!([{"partition": 0, "base_offset": 8, "count": 2}, {"partition": 0, "base_offset": 10, "count": 2}]);
    assert_eq!(answer.json()["batches"], batches, "{}", answer.text());
    let found = read(node.http, "kinds", 0);
    assert_eq!(found.len(), 12);
    assert_eq!(found[0]["value"].to_string(), r#"{"b":1.0,"a":123456789012345678901234567890}"#);
    assert_eq!(found[0]["headers"], json!([["h", "1"], ["h", {"base64": "/w=="}]]));
    let values: Vec<&Value> = found[1..8].iter().map(|record| &record["value"]).collect();
    assert_eq!(json!(values), json!(["text", null, {"base64": "AP8="}, [1, 2], "1.50", "true", "a value\n"]));
    assert_eq!(found[7]["headers"], json!([["trace", "ab12"]]));
    assert_eq!((&found[10]["key"], &found[10]["timestamp_ms"]), (&json!("k3"), &json!(11)));
    // The text of a list is kept, blanks and all.
    let raw = ask(node.http, "GET", &format!("{to}?offset=4&limit=1"), &[("accept", "application/octet-stream")], b"");
    assert_eq!(raw.text(), "[1, 2]");
}

#[test]
fn partitions_are_chosen_by_number_by_key_and_at_random() {
    let node = Node::start();
    make_topic(node.http, "spread", 5);
    let keys: Vec<String> = (0..40).map(|number| format!("key-{number}")).collect();
    let records: Vec<Value> = keys.iter().map(|key| json!({"key": key, "value": 1})).collect();
    let written = write(node.http, "/v1/topics/spread/records", &json!(records));
    for (key, record) in keys.iter().zip(&written) {
        let expected = balsa::record::partition_for_key(key.as_bytes(), 5);
        assert_eq!(record["partition"], expected.0, "{key}");
    }
    let written = write(node.http, "/v1/topics/spread/records", &json!([{"partition": 4, "key": "key-0", "value": 1}]));
    assert_eq!(written[0]["partition"], 4);
    let mut met = std::collections::HashSet::new();
    for _ in 0..60 {
        let written = write(node.http, "/v1/topics/spread/records", &json!([{"value": 1}, {"value": 2}]));
        assert_eq!(written[0]["partition"], written[1]["partition"], "a batch stays together");
        met.insert(written[0]["partition"].as_u64());
    }
    assert!(met.len() > 2, "spread over {met:?} only");
}

#[test]
fn acks_and_expected_offsets() {
    let node = Node::start();
    make_topic(node.http, "ends", 1);
    let to = |query: &str| format!("/v1/topics/ends/partitions/0/records{query}");
    let one = br#"{"records":[{"value":1}]}"#;
    for (query, status) in [("", 200), ("?acks=all", 200), ("?acks=1", 200), ("?acks=0", 202)] {
        assert_eq!(post(node.http, &to(query), &[JSON], one).status, status, "{query}");
    }
    let accepted = post(node.http, &to("?acks=0"), &[JSON], br#"{"records":[{"value":1},{"value":2}]}"#);
    assert_eq!(accepted.json(), json!({"accepted": 2}));
    while read(node.http, "ends", 0).len() < 6 {
        std::thread::yield_now();
    }
    let won = post(node.http, &to("?expected_offset=6"), &[JSON], one);
    assert_eq!(won.json()["records"][0]["offset"], 6, "{}", won.text());
    let lost = post(node.http, &to("?expected_offset=6"), &[JSON], one);
    assert_eq!((lost.status, &lost.json()["log_end_offset"]), (409, &json!(7)));
    let explicit = br#"{"records":[{"value":1,"partition":0}]}"#;
    let won = post(node.http, "/v1/topics/ends/records?expected_offset=7", &[JSON], explicit);
    assert_eq!(won.status, 200, "{}", won.text());
}

#[test]
fn retries_with_an_idempotency_key_do_not_write_twice() {
    let node = Node::start();
    make_topic(node.http, "once", 4);
    let to = "/v1/topics/once/records";
    let key = |key: &'static str| [JSON, ("idempotency-key", key)];
    let spread = br#"{"records":[{"key":"a","value":1},{"key":"b","value":2},{"key":"c","value":3},{"value":4}]}"#;
    let first = post(node.http, to, &key("spread"), spread);
    assert_eq!((first.status, first.header("idempotent-replayed")), (200, None), "{}", first.text());
    let again = post(node.http, to, &key("spread"), spread);
    assert_eq!((again.status, again.header("idempotent-replayed")), (200, Some("true")), "{}", again.text());
    assert_eq!(first.text(), again.text());
    // After partitions were added, a retry still meets the first write.
    let grown = ask(node.http, "PATCH", "/v1/topics/once", &[JSON], br#"{"partitions":9}"#);
    assert_eq!(grown.status, 200, "{}", grown.text());
    assert_eq!(first.text(), post(node.http, to, &key("spread"), spread).text());
    let other = post(node.http, to, &key("spread"), br#"{"records":[{"value":1}]}"#);
    assert_eq!(other.status, 422, "{}", other.text());
    // A refused request does not use its key up, and a retried winner gets its first answer.
    let end = format!("{to}?expected_offset=");
    let body = br#"{"records":[{"partition":8,"value":"winner"}]}"#;
    assert_eq!(post(node.http, &format!("{end}5"), &key("winner"), body).status, 409);
    let won = post(node.http, &format!("{end}0"), &key("winner"), body);
    assert_eq!(won.status, 200, "{}", won.text());
    let retried = post(node.http, &format!("{end}0"), &key("winner"), body);
    assert_eq!((retried.status, retried.text()), (200, won.text()));
    let values = [JSON.0, "application/octet-stream"];
    let as_value = [(values[0], values[1]), ("idempotency-key", "value")];
    let first = post(node.http, to, &as_value, b"v");
    assert_eq!(first.text(), post(node.http, to, &as_value, b"v").text());
    let count: usize = (0..9).map(|partition| read(node.http, "once", partition).len()).sum();
    assert_eq!(count, 6);
}
