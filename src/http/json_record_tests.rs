//! Tests of the record parser.

use super::*;
use proptest::prelude::*;

#[derive(Debug, PartialEq, Eq, Clone, Default)]
struct Owned {
    partition: Option<u32>,
    timestamp_ms: Option<i64>,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

fn owned(record: RecordView<'_>) -> Owned {
    Owned {
        partition: record.partition,
        timestamp_ms: record.timestamp_ms,
        key: record.key.map(<[u8]>::to_vec),
        value: record.value.map(<[u8]>::to_vec),
        headers: record.headers.iter().map(|(name, value)| (name.to_vec(), value.map(<[u8]>::to_vec))).collect(),
    }
}

fn parse(body: &[u8]) -> Result<Vec<Owned>, Problem> {
    let mut records = Vec::new();
    parse_records(body, |place, record| {
        assert_eq!(place, records.len());
        records.push(owned(record));
        Ok(())
    })?;
    Ok(records)
}

fn line(text: &str) -> Result<Owned, Problem> {
    parse_line(&mut RecordParser::default(), text.as_bytes(), |record| Ok(owned(record)))
}

#[test]
fn the_record_of_the_text() {
    let record = line(
        r#"{"partition": 3, "offset": 42, "timestamp_ms": 1700000000000, "key": "BTC", "value": {"price": 101.5}, "headers": [["trace", "ab12"]]}"#,
    )
    .unwrap();
    let expected = Owned {
        partition: Some(3),
        timestamp_ms: Some(1_700_000_000_000),
        key: Some(b"BTC".to_vec()),
        value: Some(br#"{"price": 101.5}"#.to_vec()),
        headers: vec![(b"trace".to_vec(), Some(b"ab12".to_vec()))],
    };
    assert_eq!(record, expected);
}

#[test]
fn values_are_kept_as_sent() {
    for (value, stored) in [
        (r#""text""#, Some("text")),
        (r#""""#, Some("")),
        (r#""a\"\u00e9\n""#, Some("a\"é\n")),
        ("null", None),
        ("1.0", Some("1.0")),
        ("123456789012345678901234567890", Some("123456789012345678901234567890")),
        ("-1e+5", Some("-1e+5")),
        ("true", Some("true")),
        (r#"{"b":1,"a":2,"b":3}"#, Some(r#"{"b":1,"a":2,"b":3}"#)),
        (r#"{ "b" : [ 1 ] }"#, Some(r#"{ "b" : [ 1 ] }"#)),
        ("[1, 2]", Some("[1, 2]")),
        ("{}", Some("{}")),
        (r#"{"base64": "AAH/"}"#, Some("\u{0}\u{1}?")),
        (r#"{"base64":"AA==","more":1}"#, Some(r#"{"base64":"AA==","more":1}"#)),
        (r#"{"more":1,"base64":"!"}"#, Some(r#"{"more":1,"base64":"!"}"#)),
        (r#"{"b\u0061se64":""}"#, Some("")),
        (r#"{"b":""}"#, Some(r#"{"b":""}"#)),
    ] {
        let record = line(&format!(r#"{{"value":{value}}}"#)).unwrap();
        let stored = stored.map(|stored| stored.bytes().map(|b| if b == b'?' { 0xff } else { b }).collect::<Vec<u8>>());
        assert_eq!(record.value, stored, "{value}");
        let spaced = parse(format!("\n {{ \"records\" : [ {{ \"value\" : {value} }} ] }} \r\n").as_bytes()).unwrap();
        assert_eq!(spaced, vec![record], "{value}");
    }
}

#[test]
fn keys_and_headers() {
    let record =
        line(r#"{"value":1,"key":{"base64":"/w=="},"headers":[["a","x"],["a",null],["\n",{"base64":""}]]}"#).unwrap();
    assert_eq!(record.key, Some(vec![0xff]));
    assert_eq!(
        record.headers,
        vec![(b"a".to_vec(), Some(b"x".to_vec())), (b"a".to_vec(), None), (b"\n".to_vec(), Some(vec![]))]
    );
    assert_eq!(line(r#"{"key":null,"value":"v"}"#).unwrap().key, None);
    assert_eq!(line(r#"{"key":"","value":"v"}"#).unwrap().key, Some(vec![]));
    assert_eq!(line(r#"{"headers":[],"value":"v"}"#).unwrap().headers, vec![]);
}

#[test]
fn what_is_refused_is_named() {
    for (text, name, field, says) in [
        (r#"{"valeu":1}"#, "unknown-field", "/valeu", "valeu"),
        (r#"{"a/b~":1}"#, "unknown-field", "/a~1b~0", "a/b~"),
        ("{}", "bad-field", "/value", "tombstone"),
        (r#"{"key":"a"}"#, "bad-field", "/value", "no \"value\""),
        (r#"{"value":1,"value":2}"#, "bad-field", "/value", "more than once"),
        (r#"{"value":1,"v\u0061lue":2}"#, "bad-field", "/value", "more than once"),
        (r#"{"value":1,"key":5}"#, "bad-field", "/key", "string"),
        (r#"{"value":1,"key":{"base64":"%"}}"#, "bad-field", "/key", "base64"),
        (r#"{"value":{"base64":"abc"}}"#, "bad-field", "/value", "base64"),
        (r#"{"value":{"base64":5}}"#, "bad-field", "/value", "string"),
        (r#"{"value":1,"timestamp_ms":-1}"#, "bad-field", "/timestamp_ms", "whole number"),
        (r#"{"value":1,"timestamp_ms":1.5}"#, "bad-field", "/timestamp_ms", "whole number"),
        (r#"{"value":1,"timestamp_ms":"1"}"#, "bad-field", "/timestamp_ms", "whole number"),
        (r#"{"value":1,"timestamp_ms":9223372036854775808}"#, "bad-field", "/timestamp_ms", "9223372036854775807"),
        (r#"{"value":1,"partition":4294967296}"#, "bad-field", "/partition", "4294967295"),
        (r#"{"value":1,"headers":{"a":"b"}}"#, "bad-field", "/headers", "pairs"),
        (r#"{"value":1,"headers":["a"]}"#, "bad-field", "/headers/0", "pairs"),
        (r#"{"value":1,"headers":[["a"]]}"#, "bad-field", "/headers/0/1", "missing"),
        (r#"{"value":1,"headers":[["a","b"],["c",1]]}"#, "bad-field", "/headers/1/1", "string"),
        (r#"{"value":1,"headers":[[1,"b"]]}"#, "bad-field", "/headers/0/0", "name"),
        (r#"{"value":1,"headers":[["a","b","c"]]}"#, "bad-field", "/headers/0/2", "no more"),
        ("5", "bad-field", "", "object"),
    ] {
        let problem = line(text).unwrap_err();
        assert_eq!(problem.kind().name, name, "{text}");
        assert_eq!(problem.member("field").unwrap(), field, "{text}");
        assert!(problem.detail().contains(says), "{text}: {problem}");
    }
    for text in [
        "",
        "{",
        "{\"value\"",
        "{\"value\":1} x",
        "{\"value\":\"\\ud800\"}",
        "{\"value\":1,}",
        "nope",
        "{\"value\":tru}",
    ] {
        assert_eq!(line(text).unwrap_err().kind().name, "bad-json", "{text:?}");
    }
}

#[test]
fn envelopes_are_strict() {
    for (text, name, field) in [
        ("{}", "bad-field", Some("/records")),
        (r#"{"records":[]}"#, "bad-field", Some("/records")),
        (r#"{"records":{}}"#, "bad-field", Some("/records")),
        (r#"{"records":[{"value":1}],"records":[]}"#, "bad-field", Some("/records")),
        (r#"{"records":[{"value":1}],"more":1}"#, "unknown-field", Some("/more")),
        (r#"{"value":1}"#, "unknown-field", Some("/value")),
        (r#"[{"value":1}]"#, "bad-field", Some("")),
        (r#"{"records":[{"value":1},{"valeu":1}]}"#, "unknown-field", Some("/records/1/valeu")),
        (r#"{"records":[{"value":1},7]}"#, "bad-field", Some("/records/1")),
        (r#"{"records":[{"value":1},]}"#, "bad-json", None),
        (r#"{"records":[{"value":1}]"#, "bad-json", None),
        (r#"{"records":[{"value":1}]}x"#, "bad-json", None),
        (r#"{"records":[{"value":1}],}"#, "bad-json", None),
        ("", "bad-json", None),
        ("\u{feff}{}", "bad-json", None),
        ("value=1", "bad-json", None),
    ] {
        let problem = parse(text.as_bytes()).unwrap_err();
        assert_eq!(problem.kind().name, name, "{text}");
        assert_eq!(problem.member("field").and_then(|field| field.as_str()), field, "{text}");
    }
    assert_eq!(parse(b"{\"records\":[{\"value\":\"\xff\"}]}").unwrap_err().kind().name, "bad-json");
}

fn json_of(record: &Owned) -> String {
    let bytes = |bytes: &Option<Vec<u8>>| match bytes {
        None => serde_json::Value::Null,
        Some(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => text.into(),
            Err(_) => serde_json::json!({"base64": BASE64.encode(bytes)}),
        },
    };
    let headers: Vec<_> = (record.headers.iter())
        .map(|(name, value)| serde_json::json!([String::from_utf8(name.clone()).unwrap(), bytes(value)]))
        .collect();
    serde_json::json!({"partition": record.partition, "timestamp_ms": record.timestamp_ms, "key": bytes(&record.key),
        "value": bytes(&record.value), "headers": headers})
    .to_string()
}

prop_compose! {
    fn any_record()(
        partition in prop::option::of(any::<u32>()),
        timestamp_ms in prop::option::of(0..=i64::MAX),
        key in prop::option::of(prop::collection::vec(any::<u8>(), 0..20)),
        value in prop::option::of(prop::collection::vec(any::<u8>(), 0..60)),
        headers in prop::collection::vec(
            (".{0,8}", prop::option::of(prop::collection::vec(any::<u8>(), 0..12))), 0..4),
    ) -> Owned {
        let headers = headers.into_iter().map(|(name, value)| (name.into_bytes(), value)).collect();
        Owned { partition, timestamp_ms, key, value, headers }
    }
}

proptest! {
    #[test]
    fn records_round_trip(records in prop::collection::vec(any_record(), 1..6)) {
        let lines: Vec<String> = records.iter().map(json_of).collect();
        prop_assert_eq!(parse(format!("{{\"records\":[{}]}}", lines.join(",")).as_bytes()).unwrap(), records);
    }

    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn damaged_records_are_answered(record in any_record(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut text = format!("{{\"records\":[{}]}}", json_of(&record)).into_bytes();
        let at = at.index(text.len());
        text[at] = byte;
        let _ = parse(&text);
        text.truncate(at);
        prop_assert!(parse(&text).is_err());
    }
}
