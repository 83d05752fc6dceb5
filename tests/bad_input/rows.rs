//! The table: what is sent, and what has to come back.

use crate::client::request;
use std::io::Write;

/// One row.
pub struct Row {
    pub name: String,
    /// What is sent, piece by piece with pauses.
    pub pieces: Vec<Vec<u8>>,
    pub status: u16,
    /// The last part of the problem's `type`.
    pub kind: &'static str,
    /// What the detail has to name.
    pub says: &'static str,
    /// The JSON pointer that `field` has to be, if any.
    pub field: Option<&'static str>,
}

const JSON: (&str, &str) = ("content-type", "application/json");
const NDJSON: (&str, &str) = ("content-type", "application/x-ndjson");
const BATCH: (&str, &str) = ("content-type", "application/vnd.balsa.batch");
const RECORDS: &str = "/v1/topics/kept/records";
const PARTITION: &str = "/v1/topics/kept/partitions/0/records";
const GOOD: &[u8] = br#"{"records":[{"value":"must not be written"}]}"#;

fn row(name: &str, request: Vec<u8>, status: u16, kind: &'static str, says: &'static str) -> Row {
    Row { name: name.to_owned(), pieces: vec![request], status, kind, says, field: None }
}

/// All rows.
pub fn rows() -> Vec<Row> {
    let mut rows = unsound_json();
    rows.extend(bad_fields());
    rows.extend(sizes_and_encodings());
    rows.extend(batches());
    rows.extend(queries());
    rows.extend(request_headers());
    rows.extend(paths_and_methods());
    rows.extend(reads());
    rows.extend(topics());
    rows.extend(heads());
    rows
}

#[rustfmt::skip] // One case a line.
fn unsound_json() -> Vec<Row> {
    let deep = format!("{{\"records\":[{{\"value\":{}{}}}]}}", "[".repeat(200), "]".repeat(200));
    let utf16: Vec<u8> = "{\"records\":[]}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let cases: Vec<(&str, Vec<u8>, &'static str)> = vec![
        ("an empty body", b"".to_vec(), "empty"),
        ("an open brace", b"{".to_vec(), "found the end"),
        ("words", b"not json".to_vec(), "an object"),
        ("text behind the end", [GOOD, b" x"].concat(), "the end of the body"),
        ("a trailing comma", br#"{"records":[{"value":1},]}"#.to_vec(), "not sound JSON"),
        ("a trailing comma in a record", br#"{"records":[{"value":1,}]}"#.to_vec(), "member name"),
        ("single quotes", b"{'records':[]}".to_vec(), "quotes"),
        ("NaN", br#"{"records":[{"value":NaN}]}"#.to_vec(), "not sound JSON"),
        ("a number with a leading 0", br#"{"records":[{"value":01}]}"#.to_vec(), "superfluous 0"),
        ("a comment", br#"{"records":[{"value":1}]/**/}"#.to_vec(), "'/'"),
        ("a byte order mark", "\u{feff}{\"records\":[]}".into(), "0xef"),
        ("bytes that are not UTF-8", b"{\"records\":[{\"value\":\"\xff\"}]}".to_vec(), "base64"),
        ("UTF-16", utf16, "byte 1"),
        ("a lone surrogate", br#"{"records":[{"value":"\ud800"}]}"#.to_vec(), "surrogate"),
        ("a lone surrogate deep within", br#"{"records":[{"value":{"a":["\udc00"]}}]}"#.to_vec(), "surrogate"),
        ("a bare line end in a string", b"{\"records\":[{\"value\":\"a\nb\"}]}".to_vec(), "\\u000a"),
        ("a bad escape", br#"{"records":[{"value":"\x41"}]}"#.to_vec(), "backslash"),
        ("200 levels", deep.into_bytes(), "128 levels"),
        ("a million open brackets", [&b"{\"records\":[{\"value\":"[..], &vec![b'['; 1 << 20]].concat(), "128 levels"),
    ];
    (cases.into_iter())
        .map(|(name, body, says)| row(name, request("POST", RECORDS, &[JSON], &body), 400, "bad-json", says))
        .collect()
}

#[rustfmt::skip] // One case a line.
fn bad_fields() -> Vec<Row> {
    let cases: [(&str, &str, &str, &'static str, &'static str); 32] = [
        ("a list", r#"[{"value":1}]"#, "bad-field", "", "{\"records\""),
        ("one record without the list", r#"{"value":1}"#, "unknown-field", "/value", "records"),
        ("no records", "{}", "bad-field", "/records", "missing"),
        ("an empty list", r#"{"records":[]}"#, "bad-field", "/records", "at least one"),
        ("records that are no list", r#"{"records":{}}"#, "bad-field", "/records", "list"),
        ("records twice", r#"{"records":[{"value":1}],"records":[]}"#, "bad-field", "/records", "more than once"),
        ("a member beside records", r#"{"records":[{"value":1}],"ack":1}"#, "unknown-field", "/ack", "\"ack\""),
        ("a record that is a number", r#"{"records":[7]}"#, "bad-field", "/records/0", "object"),
        ("a record that is null", r#"{"records":[null]}"#, "bad-field", "/records/0", "object"),
        ("a misspelt value", r#"{"records":[{"valeu":1}]}"#, "unknown-field", "/records/0/valeu", "valeu"),
        ("no value", r#"{"records":[{"key":"a"}]}"#, "bad-field", "/records/0/value", "tombstone"),
        ("a value twice", r#"{"records":[{"value":1,"value":2}]}"#, "bad-field", "/records/0/value", "more than once"),
        ("a key that is a number", r#"{"records":[{"value":1,"key":1}]}"#, "bad-field", "/records/0/key", "string"),
        ("a key that is a list", r#"{"records":[{"value":1,"key":[]}]}"#, "bad-field", "/records/0/key", "string"),
        ("bad base64", r#"{"records":[{"value":{"base64":"a!"}}]}"#, "bad-field", "/records/0/value", "base64"),
        ("base64 without padding", r#"{"records":[{"value":{"base64":"YQ"}}]}"#, "bad-field", "/records/0/value", "="),
        ("base64 of a number", r#"{"records":[{"value":{"base64":1}}]}"#, "bad-field", "/records/0/value", "string"),
        ("a key of bad base64", r#"{"records":[{"value":1,"key":{"base64":"*"}}]}"#, "bad-field", "/records/0/key", "base64"),
        ("a time before 1970", r#"{"records":[{"value":1,"timestamp_ms":-1}]}"#, "bad-field", "/records/0/timestamp_ms", "from 0"),
        ("a time with a fraction", r#"{"records":[{"value":1,"timestamp_ms":1.5}]}"#, "bad-field", "/records/0/timestamp_ms", "whole"),
        ("a time in quotes", r#"{"records":[{"value":1,"timestamp_ms":"1"}]}"#, "bad-field", "/records/0/timestamp_ms", "whole"),
        ("a time beyond 64 bits", r#"{"records":[{"value":1,"timestamp_ms":99999999999999999999}]}"#, "bad-field", "/records/0/timestamp_ms", "9223372036854775807"),
        ("a negative partition", r#"{"records":[{"value":1,"partition":-1}]}"#, "bad-field", "/records/0/partition", "from 0"),
        ("a partition in quotes", r#"{"records":[{"value":1,"partition":"0"}]}"#, "bad-field", "/records/0/partition", "whole"),
        ("headers as an object", r#"{"records":[{"value":1,"headers":{"a":"b"}}]}"#, "bad-field", "/records/0/headers", "pairs"),
        ("a header alone", r#"{"records":[{"value":1,"headers":["a","b"]}]}"#, "bad-field", "/records/0/headers/0", "pairs"),
        ("a header without a value", r#"{"records":[{"value":1,"headers":[["a"]]}]}"#, "bad-field", "/records/0/headers/0/1", "missing"),
        ("a header of three", r#"{"records":[{"value":1,"headers":[["a","b","c"]]}]}"#, "bad-field", "/records/0/headers/0/2", "no more"),
        ("a header name of a number", r#"{"records":[{"value":1,"headers":[[1,"b"]]}]}"#, "bad-field", "/records/0/headers/0/0", "name"),
        ("a header value of a number", r#"{"records":[{"value":1,"headers":[["a",1]]}]}"#, "bad-field", "/records/0/headers/0/1", "string"),
        ("the second of two records", r#"{"records":[{"value":"must not be written"},{}]}"#, "bad-field", "/records/1/value", "no \"value\""),
        ("a partition that is not there", r#"{"records":[{"value":1,"partition":99}]}"#, "unknown-partition", "/records/0/partition", "3 partitions"),
    ];
    let mut rows: Vec<Row> = (cases.into_iter())
        .map(|(name, body, kind, field, says)| {
            let kind: &'static str = kind;
            let status = if kind == "unknown-partition" { 404 } else { 400 };
            let request = request("POST", RECORDS, &[JSON], body.as_bytes());
            Row { field: Some(field), ..row(name, request, status, kind, says) }
        })
        .collect();
    let other = br#"{"records":[{"value":1,"partition":1}]}"#;
    rows.push(row("another partition than the path's", request("POST", PARTITION, &[JSON], other), 400, "bad-field", "leave one out"));
    rows
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("writing into memory does not fail")
}

fn chunked(body: &[u8]) -> Vec<u8> {
    let mut bytes = format!(
        "POST {RECORDS} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    .into_bytes();
    for piece in body.chunks(1 << 16) {
        bytes.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        bytes.extend_from_slice(piece);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

#[rustfmt::skip] // One case a line.
fn sizes_and_encodings() -> Vec<Row> {
    let record = |size: usize| format!("{{\"records\":[{{\"value\":\"{}\"}}]}}", "x".repeat(size)).into_bytes();
    let huge = record(9 << 20);
    let bomb = gzip(&vec![b' '; 64 << 20]);
    let declared = format!("POST {RECORDS} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: 99999999999\r\n\r\n{{");
    let encoded = |encoding: &'static str, body: &[u8]| request("POST", RECORDS, &[JSON, ("content-encoding", encoding)], body);
    let cut = gzip(GOOD);
    let zstd_bomb = zstd::encode_all(&vec![b' '; 64 << 20][..], 1).expect("compressing memory does not fail");
    vec![
        row("a record of more than 1 MiB", request("POST", RECORDS, &[JSON], &record((1 << 20) + 1)), 413, "record-too-large", "max.message.bytes"),
        row("a value of more than 1 MiB", request("POST", RECORDS, &[], &vec![b'x'; (1 << 20) + 1]), 413, "record-too-large", "1048576"),
        row("a body of 9 MiB", request("POST", RECORDS, &[JSON], &huge), 413, "body-too-large", "8388608"),
        row("a chunked body of 9 MiB", chunked(&huge), 413, "body-too-large", "8388608"),
        row("a length of 100 GB", declared.into_bytes(), 413, "body-too-large", "99999999999"),
        row("a gzip bomb", encoded("gzip", &bomb), 413, "body-too-large", "inflates"),
        row("a zstd bomb", encoded("zstd", &zstd_bomb), 413, "body-too-large", "inflates"),
        row("gzip that is none", encoded("gzip", GOOD), 400, "bad-compression", "Content-Encoding"),
        row("gzip that is cut off", encoded("gzip", &cut[..cut.len() - 6]), 400, "bad-compression", "cut off"),
        row("zstd that is none", encoded("zstd", GOOD), 400, "bad-compression", "Content-Encoding"),
        row("brotli", encoded("br", GOOD), 415, "unsupported-encoding", "gzip or zstd"),
        row("gzip twice", encoded("gzip, gzip", &gzip(&gzip(GOOD))), 415, "unsupported-encoding", "gzip or zstd"),
        row("what curl -d sends", request("POST", RECORDS, &[("content-type", "application/x-www-form-urlencoded")], GOOD), 415, "unsupported-media-type", "-H 'Content-Type: application/json'"),
        row("a chunk without a size", b"POST /v1/topics/kept/records HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}".to_vec(), 400, "incomplete-body", "before it was complete"),
    ]
}

#[rustfmt::skip] // One case a line.
fn batches() -> Vec<Row> {
    let to = |name: &str, body: &[u8], says| row(name, request("POST", PARTITION, &[BATCH], body), 400, "bad-batch", says);
    // A header of 61 bytes with one record of no content behind it, and no right checksum.
    let mut batch = vec![0; 61];
    batch[8..12].copy_from_slice(&56_i32.to_be_bytes());
    batch[16] = 2;
    batch[57..61].copy_from_slice(&1_i32.to_be_bytes());
    batch.extend_from_slice(&[12, 0, 0, 0, 1, 1, 0]);
    let mut magic = batch.clone();
    magic[16] = 1;
    vec![
        row("batches without a partition", request("POST", RECORDS, &[BATCH], &batch), 415, "unsupported-media-type", "/partitions/"),
        to("no batch", b"", "empty"),
        to("words as a batch", b"not a batch, but quite a few bytes of text, more than a header has", ""),
        to("a batch of ten bytes", &batch[..10], ""),
        to("a batch that is cut off", &batch[..63], ""),
        to("a batch with a wrong checksum", &batch, ""),
        to("a batch of magic 1", &magic, "magic"),
    ]
}

#[rustfmt::skip] // One case a line.
fn queries() -> Vec<Row> {
    let cases: [(&str, &str, &'static str, &'static str); 13] = [
        ("an unknown parameter", "?ack=all", "unknown-parameter", "acks, timeout_ms, expected_offset"),
        ("a parameter of other bodies", "?on_error=skip", "unknown-parameter", "on_error"),
        ("acks=2", "?acks=2", "bad-parameter", "all, 1, 0"),
        ("acks without a value", "?acks=", "bad-parameter", "all, 1, 0"),
        ("acks twice", "?acks=1&acks=1", "bad-parameter", "more than once"),
        ("no time at all", "?timeout_ms=0", "bad-parameter", "from 1"),
        ("a time in words", "?timeout_ms=soon", "bad-parameter", "\"soon\""),
        ("a year", "?timeout_ms=31536000000", "bad-parameter", "600000"),
        ("a negative offset", "?expected_offset=-1", "bad-parameter", "from 0"),
        ("an offset beyond 64 bits", "?expected_offset=99999999999999999999", "bad-parameter", "whole number"),
        ("an expected offset of no partition", "?expected_offset=0", "bad-parameter", "/partitions/"),
        ("broken percent-encoding", "?acks=%zz", "bad-parameter", "%25"),
        ("percent-encoded bytes that are not UTF-8", "?acks=%ff", "bad-parameter", "UTF-8"),
    ];
    let mut rows: Vec<Row> = (cases.into_iter())
        .map(|(name, query, kind, says)| {
            row(name, request("POST", &format!("{RECORDS}{query}"), &[JSON], GOOD), 400, kind, says)
        })
        .collect();
    let behind = request("POST", &format!("{PARTITION}?expected_offset=77"), &[JSON], GOOD);
    rows.push(row("an expected offset that is not the end", behind, 409, "offset-mismatch", "ends at offset"));
    rows
}

#[rustfmt::skip] // One case a line.
fn request_headers() -> Vec<Row> {
    let long = "k".repeat(129);
    let key = |name: &str, value: &str, says| {
        row(name, request("POST", RECORDS, &[JSON, ("idempotency-key", value)], GOOD), 400, "bad-header", says)
    };
    let value = |name: &str, header: (&str, &str), says| row(name, request("POST", RECORDS, &[header], b"must not be written"), 400, "bad-header", says);
    vec![
        key("an empty Idempotency-Key", "", "1 to 128"),
        key("a long Idempotency-Key", &long, "1 to 128"),
        key("an Idempotency-Key with a blank", "a b", "visible"),
        row("two Idempotency-Keys", request("POST", RECORDS, &[JSON, ("idempotency-key", "a"), ("idempotency-key", "b")], GOOD), 400, "bad-header", "more than once"),
        row("neither a body nor a type", request("POST", RECORDS, &[], b""), 400, "bad-request", "empty value"),
        row("an Idempotency-Key with a stream", request("POST", RECORDS, &[NDJSON, ("idempotency-key", "a")], b"{\"value\":1}\n"), 400, "bad-header", "ndjson"),
        row("two Content-Types", request("POST", RECORDS, &[JSON, JSON], GOOD), 400, "bad-header", "more than once"),
        value("a misspelt Balsa-Key", ("balsa-kye", "a"), "Balsa-Key"),
        value("a Balsa-Timestamp-Ms in words", ("balsa-timestamp-ms", "now"), "\"now\""),
        value("a negative Balsa-Timestamp-Ms", ("balsa-timestamp-ms", "-5"), "from 0"),
        value("a Balsa-Header without a name", ("balsa-header-", "a"), "Balsa-Header-NAME"),
        row("a Balsa-Key beside JSON", request("POST", RECORDS, &[JSON, ("balsa-key", "a")], GOOD), 400, "bad-header", "into the record"),
        row("a key of another body", request("POST", RECORDS, &[JSON, ("idempotency-key", "used")], GOOD), 422, "idempotency-conflict", "new key"),
    ]
}

#[rustfmt::skip] // One case a line.
fn paths_and_methods() -> Vec<Row> {
    let post = |name: &str, target: &str, status, kind, says| row(name, request("POST", target, &[JSON], GOOD), status, kind, says);
    let get = |name: &str, target: &str, status, kind, says| row(name, request("GET", target, &[], b""), status, kind, says);
    let long = format!("/v1/topics/{}/records", "x".repeat(250));
    vec![
        post("a write to no topic", "/v1/topics/missing/records", 404, "unknown-topic", "POST /v1/topics"),
        get("a read of no topic", "/v1/topics/missing/partitions/0/records", 404, "unknown-topic", "missing"),
        get("no topic", "/v1/topics/missing", 404, "unknown-topic", "missing"),
        row("no topic to delete", request("DELETE", "/v1/topics/missing", &[], b""), 404, "unknown-topic", "missing"),
        post("a write to no partition", "/v1/topics/kept/partitions/3/records", 404, "unknown-partition", "3 partitions"),
        get("a read of no partition", "/v1/topics/kept/partitions/99/records", 404, "unknown-partition", "3 partitions"),
        post("a partition in words", "/v1/topics/kept/partitions/first/records", 400, "bad-path", "first"),
        post("a negative partition", "/v1/topics/kept/partitions/-1/records", 400, "bad-path", "from 0"),
        post("a topic name with a blank", "/v1/topics/a%20b/records", 400, "bad-path", "A-Z"),
        post("a topic name with a slash", "/v1/topics/a%2Fb/records", 400, "bad-path", "A-Z"),
        post("a topic name that is too long", &long, 400, "bad-path", "249"),
        post("a path that is not UTF-8", "/v1/topics/%ff/records", 400, "bad-path", "UTF-8"),
        get("no path", "/v1/tropics", 404, "not-found", "/openapi.json"),
        get("no node", "/v1/nodes/77", 404, "unknown-node", "77"),
        post("a part that comes later", "/consumers/g", 404, "not-in-this-version", "REST Proxy"),
        post("trim, which comes later", "/v1/topics/kept/partitions/0/trim", 404, "not-in-this-version", "trims"),
        post("the other REST API, which comes later", "/topics/kept", 404, "not-in-this-version", "REST Proxy"),
        row("PUT", request("PUT", RECORDS, &[JSON], GOOD), 405, "method-not-allowed", "PUT"),
        row("DELETE of records", request("DELETE", RECORDS, &[], b""), 405, "method-not-allowed", "Allow"),
        row("a method of its own", request("BREW", RECORDS, &[], b""), 405, "method-not-allowed", "BREW"),
        row("a write to the cluster", request("POST", "/v1/cluster", &[JSON], b"{}"), 405, "method-not-allowed", "POST"),
    ]
}

#[rustfmt::skip] // One case a line.
fn reads() -> Vec<Row> {
    let cases: [(&str, &str, u16, &'static str, &'static str); 13] = [
        ("an offset in words", "offset=first", 400, "bad-parameter", "earliest"),
        ("a negative offset to read", "offset=-1", 400, "bad-parameter", "offset"),
        ("an offset behind the end", "offset=1000", 416, "offset-out-of-range", "ends at"),
        ("a tail in words", "offset=tail:some", 400, "bad-parameter", "tail"),
        ("a time to read in words", "offset=time:noon", 400, "bad-parameter", "time"),
        ("a wait of more than a minute", "wait_ms=60001", 400, "bad-parameter", "60000"),
        ("a limit in words", "limit=many", 400, "bad-parameter", "limit"),
        ("a format of its own", "format=xml", 400, "bad-parameter", "format"),
        ("an isolation of its own", "isolation=none", 400, "bad-parameter", "read_committed"),
        ("a consistency of its own", "consistency=eventual", 400, "bad-parameter", "linearizable"),
        ("max_bytes in words", "max_bytes=1MiB", 400, "bad-parameter", "max_bytes"),
        ("an offset twice", "offset=0&offset=1", 400, "bad-parameter", "more than once"),
        ("an unknown parameter of a read", "ofset=0", 400, "unknown-parameter", "ofset"),
    ];
    let mut rows: Vec<Row> = (cases.into_iter())
        .map(|(name, query, status, kind, says)| {
            row(name, request("GET", &format!("{PARTITION}?{query}"), &[], b""), status, kind, says)
        })
        .collect();
    let picture = request("GET", PARTITION, &[("accept", "image/png")], b"");
    rows.push(row("a picture of the log", picture, 406, "not-acceptable", "application/json"));
    let cursor = request("GET", &format!("{RECORDS}?cursor=%00nonsense"), &[], b"");
    rows.push(row("a cursor of its own", cursor, 400, "bad-parameter", "cursor"));
    rows
}

#[rustfmt::skip] // One case a line.
fn topics() -> Vec<Row> {
    let cases: [(&str, &str, u16, &'static str, &'static str); 10] = [
        ("a topic that exists", r#"{"name":"kept"}"#, 409, "topic-exists", "kept"),
        ("a topic without a name", "{}", 400, "bad-field", "name"),
        ("a topic called ..", r#"{"name":".."}"#, 400, "bad-field", ".."),
        ("a topic with an umlaut", r#"{"name":"für"}"#, 400, "bad-field", "A-Z"),
        ("a topic of no partitions", r#"{"name":"a","partitions":0}"#, 400, "bad-field", "partitions"),
        ("a topic of too many partitions", r#"{"name":"a","partitions":10001}"#, 400, "bad-field", "10000"),
        ("a topic of nine replicas", r#"{"name":"a","replication_factor":9}"#, 400, "bad-field", "replication"),
        ("a topic with an unknown field", r#"{"name":"a","partition":3}"#, 400, "unknown-field", "partition"),
        ("a topic of unsound JSON", r#"{"name":"#, 400, "bad-json", "JSON"),
        ("a topic with an unknown setting", r#"{"name":"a","config":{"no.such":"1"}}"#, 400, "bad-field", "no.such"),
    ];
    (cases.into_iter())
        .map(|(name, body, status, kind, says)| {
            row(name, request("POST", "/v1/topics", &[JSON], body.as_bytes()), status, kind, says)
        })
        .collect()
}

#[rustfmt::skip] // One case a line.
fn heads() -> Vec<Row> {
    let head = |name: &str, bytes: Vec<u8>, status, kind, says| row(name, bytes, status, kind, says);
    let slow = |name: &str, pieces: &[&[u8]]| Row {
        pieces: pieces.iter().map(|piece| piece.to_vec()).collect(),
        ..row(name, Vec::new(), 408, "request-timeout", "5 s")
    };
    vec![
        head("no HTTP", b"HELO there\r\n\r\n".to_vec(), 400, "bad-request", "METHOD PATH"),
        head("a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec(), 400, "bad-request", "HTTP"),
        head("a header without a colon", b"GET / HTTP/1.1\r\nhost\r\n\r\n".to_vec(), 400, "bad-request", "NAME: VALUE"),
        head("a header with a NUL", b"GET / HTTP/1.1\r\na: \0\r\n\r\n".to_vec(), 400, "bad-request", "HTTP"),
        head("a negative length", b"POST /v1/topics/kept/records HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n".to_vec(), 400, "bad-request", "length"),
        head("two lengths", b"POST /v1/topics/kept/records HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab".to_vec(), 400, "bad-request", "length"),
        head("headers of 20 KiB", format!("GET /v1/topics HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(20 << 10)).into_bytes(), 431, "headers-too-large", "16 KiB"),
        head("headers without an end", format!("GET /v1/topics HTTP/1.1\r\n{}", "x: y\r\n".repeat(200_000)).into_bytes(), 431, "headers-too-large", "16 KiB"),
        head("200 headers", format!("GET /v1/topics HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(200)).into_bytes(), 431, "headers-too-large", "100 headers"),
        slow("a connection that says nothing", &[b""]),
        slow("half a request line", &[b"GET /v1/top"]),
        slow("a header a second", &[b"GET /v1/topics HTTP/1.1\r\n", b"a: 1\r\n", b"b: 2\r\n", b"c: 3\r\n", b"d: 4\r\n", b"e: 5\r\n", b"f: 6\r\n"]),
    ]
}
