//! One answer with records, and how its records are printed.

use crate::cli::exit::Failure;
use base64::Engine;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// An answer to a read of one partition, or of all.
#[derive(Deserialize)]
pub struct Page<'a> {
    #[serde(default)]
    pub next_offset: Option<u64>,
    #[serde(default)]
    pub next_cursor: Option<String>,
    #[serde(borrow)]
    pub records: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Record<'a> {
    #[serde(borrow)]
    key: &'a RawValue,
    #[serde(borrow)]
    value: &'a RawValue,
}

#[derive(Deserialize)]
struct Base64<'a> {
    #[serde(borrow)]
    base64: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl Page<'_> {
    pub fn parse(body: &[u8]) -> Result<Page<'_>, Failure> {
        serde_json::from_slice(body).map_err(not_understood)
    }
}

/// What is printed of a record.
pub struct Shape {
    /// The record as JSON.
    pub whole: bool,
    /// Else: the key and this, before the value.
    pub key_separator: Option<String>,
}

impl Shape {
    /// Appends a record and a line end.
    pub fn push(&self, out: &mut Vec<u8>, record: &RawValue) -> Result<(), Failure> {
        if self.whole {
            push_line(out, record.get())?;
        } else {
            let Record { key, value } = serde_json::from_str(record.get()).map_err(not_understood)?;
            if let Some(separator) = &self.key_separator {
                push_bytes(out, key)?;
                out.extend_from_slice(separator.as_bytes());
            }
            push_bytes(out, value)?;
        }
        out.push(b'\n');
        Ok(())
    }
}

/// JSON as one line: a stored JSON value may have line breaks between its tokens.
fn push_line(out: &mut Vec<u8>, json: &str) -> Result<(), Failure> {
    if !json.contains(['\n', '\r']) {
        out.extend_from_slice(json.as_bytes());
        return Ok(());
    }
    let value: serde_json::Value = serde_json::from_str(json).map_err(not_understood)?;
    out.extend_from_slice(value.to_string().as_bytes());
    Ok(())
}

/// The bytes that a field stands for; none for null.
fn push_bytes(out: &mut Vec<u8>, field: &RawValue) -> Result<(), Failure> {
    let json = field.get();
    match json.as_bytes().first() {
        Some(b'"') => {
            let Text(text) = serde_json::from_str(json).map_err(not_understood)?;
            out.extend_from_slice(text.as_bytes());
        }
        Some(b'{') => {
            let Base64 { base64 } = serde_json::from_str(json).map_err(not_understood)?;
            let bytes = base64::engine::general_purpose::STANDARD.decode(base64.as_bytes()).map_err(not_understood)?;
            out.extend_from_slice(&bytes);
        }
        _ => {}
    }
    Ok(())
}

fn not_understood(error: impl std::fmt::Display) -> Failure {
    Failure::failed(format_args!("the server's answer is not understood ({error})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = r#"{"topic":"t","next_offset":7,"records":[
        {"partition":0,"offset":4,"key":"k","value":"a\"b","headers":[]},
        {"partition":0,"offset":5,"key":null,"value":{"base64":"/w=="},"headers":[]},
        {"partition":0,"offset":6,"key":null,"value":null,"headers":[]}]}"#;

    fn printed(shape: &Shape) -> Vec<u8> {
        let page = Page::parse(BODY.as_bytes()).unwrap();
        let mut out = Vec::new();
        for record in &page.records {
            shape.push(&mut out, record).unwrap();
        }
        out
    }

    #[test]
    fn values_are_printed_as_their_bytes() {
        assert_eq!(printed(&Shape { whole: false, key_separator: None }), b"a\"b\n\xff\n\n");
        assert_eq!(printed(&Shape { whole: false, key_separator: Some(":".to_owned()) }), b"k:a\"b\n:\xff\n:\n");
    }

    #[test]
    fn whole_records_are_a_line_each() {
        let mut out = Vec::new();
        push_line(&mut out, "{\"value\": {\n\"a\": 1.0,\r\n\"b\": 123456789012345678901234567890}}").unwrap();
        assert_eq!(out, br#"{"value":{"a":1.0,"b":123456789012345678901234567890}}"#);
        assert_eq!(
            printed(&Shape { whole: true, key_separator: None }).iter().filter(|byte| **byte == b'\n').count(),
            3
        );
    }
}
