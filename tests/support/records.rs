//! Topics and records over the public API.

use super::Cluster;
use super::http::Http;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io;

/// A record as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    pub offset: u64,
    pub key: Option<String>,
    /// As text: a JSON value as it was sent, anything else as it is.
    pub value: String,
}

pub fn create_topic(http: &mut Http, name: &str, partitions: u32) {
    let body = json!({"name": name, "partitions": partitions, "replication_factor": 3});
    http.post_json("/v1/topics", &body).expect("the node answers").expect(201);
}

/// Appends one record; the offset, or what the node said instead.
pub fn append(http: &mut Http, topic: &str, partition: u32, value: &str) -> io::Result<Result<u64, (u16, String)>> {
    append_with(http, topic, partition, value, &[])
}

/// The same, with further headers.
pub fn append_with(
    http: &mut Http,
    topic: &str,
    partition: u32,
    value: &str,
    headers: &[(&str, &str)],
) -> io::Result<Result<u64, (u16, String)>> {
    let target = format!("/v1/topics/{topic}/partitions/{partition}/records");
    let body = json!({"records": [{"value": value}]}).to_string();
    let all = [&[("content-type", "application/json")], headers].concat();
    let reply = http.send(http::Method::POST, &target, &all, body.into())?;
    if reply.status != 200 {
        return Ok(Err((reply.status, reply.text())));
    }
    let answer = reply.json();
    Ok(Ok(answer["records"][0]["offset"].as_u64().unwrap_or_else(|| panic!("no offset in {answer}"))))
}

/// All records of a partition from the start to the high watermark, through one node.
pub fn read_all(http: &mut Http, topic: &str, partition: u32) -> Vec<Read> {
    read_with(http, topic, partition, "")
}

/// The same, with further parameters (`&name=value`).
pub fn read_with(http: &mut Http, topic: &str, partition: u32, parameters: &str) -> Vec<Read> {
    let mut records = Vec::new();
    let mut next = "earliest".to_owned();
    loop {
        let target = format!(
            "/v1/topics/{topic}/partitions/{partition}/records?offset={next}&limit=10000&max_bytes=4000000{parameters}"
        );
        let reply = http.get_as(&target, "application/x-ndjson").expect("the node answers").expect(200);
        records.extend(reply.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(parse));
        next = reply.header("balsa-next-offset").to_owned();
        if next == reply.header("balsa-high-watermark") {
            return records;
        }
    }
}

fn parse(line: &[u8]) -> Read {
    let record: Value = serde_json::from_slice(line).expect("a line is JSON");
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let key = match &record["key"] {
        Value::Null => None,
        key => Some(text(key)),
    };
    Read { offset: record["offset"].as_u64().expect("a record has an offset"), key, value: text(&record["value"]) }
}

/// Offsets must have no holes and begin at 0.
#[track_caller]
pub fn assert_dense(records: &[Read]) {
    for (expected, record) in (0..).zip(records) {
        assert_eq!(record.offset, expected, "offsets have no holes and begin at 0");
    }
}

/// Each value once.
#[track_caller]
pub fn assert_unique(records: &[Read]) -> BTreeMap<&str, u64> {
    let mut offsets = BTreeMap::new();
    for record in records {
        if let Some(before) = offsets.insert(record.value.as_str(), record.offset) {
            panic!("{} stands at {before} and at {}", record.value, record.offset);
        }
    }
    offsets
}

/// The leader of a partition, as one node sees it.
pub fn leader(http: &mut Http, topic: &str, partition: u32) -> Option<u64> {
    let reply = http.get(&format!("/v1/topics/{topic}")).ok()?;
    let partitions = reply.json();
    let partitions = partitions["partitions"].as_array()?.clone();
    partitions.iter().find(|each| each["partition"] == partition)?["leader"].as_u64()
}

/// Waits until a partition has a leader that all running nodes agree on.
pub fn agreed_leader(cluster: &Cluster, topic: &str, partition: u32) -> u64 {
    let begin = std::time::Instant::now();
    loop {
        let running = cluster.ids().into_iter().filter(|id| cluster.is_running(*id));
        let mut seen: Vec<_> = running.map(|id| leader(&mut cluster.http(id), topic, partition)).collect();
        seen.dedup();
        if let [Some(leader)] = seen[..] {
            return leader;
        }
        assert!(begin.elapsed() < super::LONG, "no agreed leader: {seen:?}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}
