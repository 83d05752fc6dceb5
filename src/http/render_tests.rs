//! What each format shows of each kind of value, and that it is always JSON, and always one line where it must be.

use super::*;
use crate::types::Offset;
use proptest::prelude::*;
use serde_json::{Value, json};

fn record(value: Option<&[u8]>) -> Record {
    Record {
        offset: Offset(42),
        timestamp_ms: 1_700_000_000_000,
        key: Some(Bytes::from_static(b"BTC")),
        value: value.map(Bytes::copy_from_slice),
        headers: vec![(Bytes::from_static(b"trace"), Some(Bytes::from_static(b"ab12")))],
    }
}

fn text(renderer: Renderer, record: &Record) -> String {
    let mut out = Vec::new();
    renderer.record(&mut out, PartitionId(3), record);
    String::from_utf8(out).expect("JSON is UTF-8")
}

/// The text of the value alone, as it stands in the record.
fn value(format: Format, bytes: &[u8]) -> String {
    let shown = text(Renderer::document(format), &record(Some(bytes)));
    let from = shown.find("\"value\":").expect("has a value") + "\"value\":".len();
    let to = shown.rfind(",\"headers\":").expect("has headers");
    shown[from..to].to_owned()
}

fn as_base64(bytes: &[u8]) -> String {
    format!("{{\"base64\":\"{}\"}}", STANDARD.encode(bytes))
}

#[test]
fn a_record_reads_as_documented() {
    assert_eq!(
        text(Renderer::document(Format::Auto), &record(Some(b"{\"price\": 101.5}"))),
        "{\"partition\":3,\"offset\":42,\"timestamp_ms\":1700000000000,\"key\":\"BTC\",\"value\":{\"price\": 101.5},\
         \"headers\":[[\"trace\",\"ab12\"]]}"
    );
}

#[test]
fn what_is_missing_is_null_or_empty() {
    let bare = Record { key: None, headers: Vec::new(), ..record(None) };
    for format in [Format::Auto, Format::Text, Format::Json, Format::Base64] {
        let shown: Value = serde_json::from_str(&text(Renderer::line(format), &bare)).unwrap();
        assert_eq!(
            shown,
            json!({"partition": 3, "offset": 42, "timestamp_ms": 1_700_000_000_000_i64, "key": null, "value": null, "headers": []})
        );
    }
}

#[test]
fn auto_shows_containers_as_json_and_other_text_as_strings() {
    for raw in ["{}", "[]", "{\"z\":1,\"a\":1.0}", "[123456789012345678901234567890]", " {\"a\":\n1} ", "[\"\u{e9}\"]"]
    {
        assert_eq!(value(Format::Auto, raw.as_bytes()), raw);
    }
    for raw in [
        "",
        "1",
        "1.0",
        "true",
        "null",
        "\"quoted\"",
        "{",
        "[1,]",
        "hello",
        "{\"a\":1} trailing",
        "line\nbreak\u{1}\u{e9}",
    ] {
        assert_eq!(serde_json::from_str::<Value>(&value(Format::Auto, raw.as_bytes())).unwrap(), json!(raw), "{raw}");
    }
    for raw in [&b"\xff\xfe"[..], b"{\"a\":\"\xff\"}", b"{\"base64\":\"aGk=\"}", b" {\"base64\": 7}\n"] {
        assert_eq!(value(Format::Auto, raw), as_base64(raw));
    }
}

#[test]
fn other_formats_fix_one_kind() {
    assert_eq!(value(Format::Text, b"{\"a\":1}"), "\"{\\\"a\\\":1}\"");
    assert_eq!(value(Format::Text, b"\xff"), as_base64(b"\xff"));
    for raw in ["1", "1.0", "null", "\"quoted\"", "{\"a\":1}", "-0.5e10"] {
        assert_eq!(value(Format::Json, raw.as_bytes()), raw);
    }
    for raw in [&b"hello"[..], b"", b"\xff", b"{\"base64\":\"aGk=\"}"] {
        assert_eq!(value(Format::Json, raw), as_base64(raw));
    }
    for raw in [&b"{}"[..], b"text", b"", b"\x00"] {
        assert_eq!(value(Format::Base64, raw), as_base64(raw));
    }
}

#[test]
fn keys_and_headers_are_never_parsed() {
    let odd = Record {
        key: Some(Bytes::from_static(b"{\"a\":1}")),
        headers: vec![
            (Bytes::from_static(b"n"), Some(Bytes::from_static(b"[1]"))),
            (Bytes::from_static(b"n"), Some(Bytes::from_static(b"\xff"))),
            (Bytes::from_static(b"\xfe"), None),
        ],
        ..record(Some(b"v"))
    };
    let shown: Value = serde_json::from_str(&text(Renderer::document(Format::Json), &odd)).unwrap();
    assert_eq!(shown["key"], json!("{\"a\":1}"));
    assert_eq!(shown["headers"], json!([["n", "[1]"], ["n", {"base64": "/w=="}], [{"base64": "/g=="}, null]]));
}

#[test]
fn lines_have_no_line_breaks() {
    let pretty = b"{\r\n  \"a\": [1,\n2],\n  \"b\": \"x\\ny\"\n}\n";
    let shown = text(Renderer::line(Format::Auto), &record(Some(pretty)));
    assert!(shown.contains("{  \"a\": [1,2],  \"b\": \"x\\ny\"}"), "{shown}");
    assert!(text(Renderer::document(Format::Auto), &record(Some(pretty))).contains("[1,\n2]"));
}

proptest! {
    #[test]
    fn always_one_object_on_one_line(
        key in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..20)),
        bytes in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..60)),
        format in 0_usize..4,
    ) {
        let odd = Record { key: key.map(Bytes::from), value: bytes.map(Bytes::from), ..record(None) };
        let format = Format::parse(Format::NAMES[format]).expect("listed");
        let shown = text(Renderer::line(format), &odd);
        prop_assert!(!shown.contains(['\n', '\r']));
        prop_assert!(serde_json::from_str::<Value>(&shown).is_ok());
    }

    #[test]
    fn any_text_survives_as_a_string(raw in "\\PC*|[\u{0}-\u{7f}]{0,40}") {
        let shown = value(Format::Text, raw.as_bytes());
        prop_assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), raw);
    }
}
