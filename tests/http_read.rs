//! Reads over HTTP from real processes: every form, through a node that leads the partition and one that does not.

mod support;

use axum::http::Method;
use bytes::Bytes;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use support::http::{Http, Reading};
use support::{Cluster, LONG};

const RECORDS: &str = "/v1/topics/t/partitions/0/records";

/// A cluster with a topic of two partitions, and a client of each node.
fn begin() -> (Cluster, Vec<Http>) {
    let cluster = Cluster::start(3);
    let mut clients: Vec<Http> = cluster.ids().into_iter().map(|id| cluster.http(id)).collect();
    let body = json!({"name": "t", "partitions": 2, "replication_factor": 3});
    let reply = clients[0].post_json("/v1/topics", &body).expect("an answer").expect(201);
    assert_eq!(reply.header("location"), "/v1/topics/t");
    (cluster, clients)
}

fn write(client: &mut Http, partition: u32, records: &Value) {
    let target = format!("/v1/topics/t/partitions/{partition}/records");
    client.post_json(&target, &json!({"records": records})).expect("an answer").expect(200);
}

fn get(client: &mut Http, target: &str) -> Value {
    client.get(target).expect("an answer").expect(200).json()
}

fn offsets(page: &Value) -> Vec<u64> {
    page["records"]
        .as_array()
        .expect("records")
        .iter()
        .map(|record| record["offset"].as_u64().expect("an offset"))
        .collect()
}

/// Reads events until `enough` says so, and gives all the text.
fn events(reading: &mut Reading, enough: impl Fn(&str) -> bool) -> String {
    let mut text = String::new();
    let begin = Instant::now();
    while !enough(&text) {
        assert!(begin.elapsed() < LONG, "{text}");
        let bytes = reading.next(LONG).expect("an open stream").expect("a stream that goes on");
        text.push_str(std::str::from_utf8(&bytes).expect("UTF-8"));
    }
    text
}

#[test]
fn a_partition_reads_alike_through_every_node() {
    let (_cluster, mut clients) = begin();
    let records = json!([
        {"key": "BTC", "value": {"price": 101.5}, "headers": [["trace", "ab12"]], "timestamp_ms": 1000},
        {"value": "line\nbreak", "timestamp_ms": 2000},
        {"key": "BTC", "value": null, "timestamp_ms": 3000},
        {"value": {"base64": "//4="}, "timestamp_ms": 4000},
        {"value": 7, "timestamp_ms": 5000},
    ]);
    write(&mut clients[0], 0, &records);
    for client in &mut clients {
        let reply = client.get(RECORDS).expect("an answer").expect(200);
        assert_eq!(reply.header("content-type"), "application/json");
        for (name, value) in
            [("balsa-high-watermark", "5"), ("balsa-log-start-offset", "0"), ("balsa-next-offset", "5")]
        {
            assert_eq!(reply.header(name), value, "{name}");
        }
        assert!(!reply.header("balsa-leader").is_empty());
        let page = reply.json();
        assert_eq!((&page["topic"], &page["partition"], &page["next_offset"]), (&json!("t"), &json!(0), &json!(5)));
        assert_eq!(
            page["records"][0],
            json!({
                "partition": 0, "offset": 0, "timestamp_ms": 1000, "key": "BTC", "value": {"price": 101.5}, "headers": [["trace", "ab12"]],
            })
        );
        let values: Vec<&Value> =
            page["records"].as_array().expect("records").iter().map(|record| &record["value"]).collect();
        assert_eq!(values[1..], [&json!("line\nbreak"), &json!(null), &json!({"base64": "//4="}), &json!("7")]);
        for (query, expected) in [
            ("offset=2&limit=2", vec![2, 3]),
            ("offset=tail:2", vec![3, 4]),
            ("offset=tail:0", vec![]),
            ("offset=latest", vec![]),
            ("offset=5", vec![]),
            ("offset=time:2500&limit=1", vec![2]),
            ("offset=time:5001", vec![]),
            ("max_bytes=0", vec![0]),
            ("consistency=linearizable&offset=4", vec![4]),
        ] {
            assert_eq!(offsets(&get(client, &format!("{RECORDS}?{query}"))), expected, "{query}");
        }
        let reply = client.get(&format!("{RECORDS}?offset=6")).expect("an answer").expect(416);
        let problem = reply.json();
        assert_eq!((&problem["log_start_offset"], &problem["high_watermark"]), (&json!(0), &json!(5)));
    }
}

#[test]
fn every_form_has_the_same_records() {
    let (_cluster, mut clients) = begin();
    let records: Vec<Value> = (0..100).map(|n| json!({"key": "k", "value": {"n": n}, "timestamp_ms": n})).collect();
    write(&mut clients[0], 0, &json!(records));
    let client = &mut clients[1];
    let lines = client.get_as(RECORDS, "application/x-ndjson").expect("an answer").expect(200);
    let lines: Vec<Value> = lines.text().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 100);
    assert_eq!(lines[99]["value"], json!({"n": 99}));
    let batches = client.get_as(RECORDS, "application/vnd.balsa.batch").expect("an answer").expect(200);
    assert_eq!(batches.header("balsa-next-offset"), "100");
    let header = balsa::record::parse_header(&batches.body).expect("a batch");
    assert_eq!((header.base_offset, header.record_count), (0, 100));

    // What was read unchanged can be written unchanged.
    let copy = [("content-type", "application/vnd.balsa.batch")];
    let target = "/v1/topics/t/partitions/1/records";
    let reply = client.send(Method::POST, target, &copy, batches.body.clone()).expect("an answer").expect(200);
    assert_eq!(reply.json(), json!({"batches": [{"partition": 1, "base_offset": 0, "count": 100}]}));
    assert_eq!(offsets(&get(client, target)).len(), 100);

    let value = client
        .get_as(&format!("{RECORDS}?offset=7&limit=1"), "application/octet-stream")
        .expect("an answer")
        .expect(200);
    assert_eq!(
        (value.text(), value.header("balsa-key"), value.header("balsa-offset")),
        (r#"{"n":7}"#.to_owned(), "k", "7")
    );
    client.get_as(RECORDS, "application/octet-stream").expect("an answer").expect(400);
    client.get_as(RECORDS, "text/html").expect("an answer").expect(406);
    let head = client.send(Method::HEAD, RECORDS, &[], Bytes::new()).expect("an answer").expect(200);
    assert_eq!((head.header("balsa-next-offset"), head.body.len()), ("100", 0));
}

#[test]
fn a_held_read_and_events_bring_records_at_once() {
    let (cluster, mut clients) = begin();
    write(&mut clients[0], 0, &json!([{"value": "first"}]));
    let begun = Instant::now();
    assert_eq!(offsets(&get(&mut clients[0], &format!("{RECORDS}?offset=1&wait_ms=200"))), [0; 0]);
    assert!(begun.elapsed() >= Duration::from_millis(200));

    let address = cluster.address(2);
    let held = std::thread::spawn(move || get(&mut Http::new(&address), &format!("{RECORDS}?offset=1&wait_ms=60000")));
    let mut follower = cluster.http(3);
    let mut stream = follower.open(RECORDS, "text/event-stream").expect("a stream");
    assert_eq!(stream.status, 200);
    let first = events(&mut stream, |text| text.ends_with("\n\n"));
    assert!(first.starts_with("id: 0\ndata: {\"partition\":0,\"offset\":0,"), "{first}");
    std::thread::sleep(Duration::from_millis(300));
    write(&mut clients[0], 0, &json!([{"value": [1, 2]}, {"value": "third"}]));
    assert_eq!(offsets(&held.join().expect("an answer")), [1, 2]);
    let more = events(&mut stream, |text| text.matches("\n\n").count() >= 2);
    assert!(more.contains("id: 1\n") && more.contains("id: 2\n") && more.contains("\"value\":[1,2]"), "{more}");

    let again = [("accept", "text/event-stream"), ("last-event-id", "x")];
    clients[0].send(Method::GET, RECORDS, &again, Bytes::new()).expect("an answer").expect(400);
}

#[test]
fn all_partitions_read_from_cursor_to_cursor() {
    let (cluster, mut clients) = begin();
    for round in 0..5 {
        for partition in 0..2 {
            write(&mut clients[round % 3], partition, &json!([{"value": round}, {"value": "x"}]));
        }
    }
    let mut seen = Vec::new();
    let mut query = "limit=3".to_owned();
    for turn in 0..8 {
        // A cursor of one node works on any other.
        let page = get(&mut clients[turn % 3], &format!("/v1/topics/t/records?{query}"));
        let records = page["records"].as_array().expect("records");
        seen.extend(records.iter().map(|record| (record["partition"].as_u64(), record["offset"].as_u64())));
        query = format!("limit=3&cursor={}", page["next_cursor"].as_str().expect("a cursor"));
    }
    assert_eq!(seen.len(), 20);
    for partition in 0..2 {
        let offsets: Vec<u64> =
            seen.iter().filter(|(p, _)| *p == Some(partition)).filter_map(|(_, offset)| *offset).collect();
        assert_eq!(offsets, (0..10).collect::<Vec<_>>());
    }
    assert_eq!(
        get(&mut clients[0], "/v1/topics/t/records?offset=tail:1")["records"].as_array().expect("records").len(),
        2
    );

    let mut follower = cluster.http(1);
    let mut stream = follower.open("/v1/topics/t/records?offset=latest", "text/event-stream").expect("a stream");
    std::thread::sleep(Duration::from_millis(300));
    write(&mut clients[1], 0, &json!([{"value": "a"}]));
    write(&mut clients[2], 1, &json!([{"value": "b"}]));
    let text = events(&mut stream, |text| text.matches("data: ").count() >= 2 && text.ends_with("\n\n"));
    assert!(
        text.contains("\"partition\":0,\"offset\":10,") && text.contains("\"partition\":1,\"offset\":10,"),
        "{text}"
    );
    let first = text.lines().find_map(|line| line.strip_prefix("id: ")).expect("an id");
    let rest = get(&mut clients[0], &format!("/v1/topics/t/records?cursor={first}"));
    assert_eq!(offsets(&rest), [10], "the other of the two");

    clients[0].delete("/v1/topics/t").expect("an answer").expect(204);
    let body = json!({"name": "t", "partitions": 2});
    clients[0].post_json("/v1/topics", &body).expect("an answer").expect(201);
    let reply = clients[0].get(&format!("/v1/topics/t/records?cursor={first}")).expect("an answer").expect(400);
    assert!(reply.text().contains("earlier"), "{}", reply.text());
}

#[test]
fn a_large_log_streams_whole_and_in_order() {
    let (_cluster, mut clients) = begin();
    let value = "x".repeat(1000);
    for _ in 0..12 {
        let records: Vec<Value> = (0..1000).map(|_| json!({"value": value})).collect();
        write(&mut clients[0], 0, &json!(records));
    }
    let client = &mut clients[2];
    for bounds in [
        "limit=1000000&max_bytes=18446744073709551615",
        "limit=1000000&max_bytes=100000000",
        "limit=12000&max_bytes=12000000",
    ] {
        let reply =
            client.get_as(&format!("{RECORDS}?{bounds}"), "application/x-ndjson").expect("an answer").expect(200);
        assert_eq!(reply.header("balsa-next-offset"), "12000", "{bounds}");
        let text = reply.text();
        assert_eq!(text.lines().count(), 12_000, "{bounds}");
        for (offset, line) in text.lines().enumerate() {
            assert!(line.starts_with(&format!("{{\"partition\":0,\"offset\":{offset},")), "{line}");
        }
    }
    let reply = client
        .get_as(&format!("{RECORDS}?limit=1000000&max_bytes=9000000"), "application/x-ndjson")
        .expect("an answer")
        .expect(200);
    assert_eq!((reply.header("balsa-next-offset"), reply.text().lines().count()), ("9000", 9000));
    let page = get(client, RECORDS);
    assert_eq!((offsets(&page).len(), &page["next_offset"]), (1000, &json!(1000)), "the default limit");
}
