//! Records as people and programs read them: one JSON object each.
//!
//! ```text
//! {"partition":3,"offset":42,"timestamp_ms":1700000000000,"key":"BTC","value":{"price":101.5},"headers":[["trace","ab12"]]}
//! ```
//!
//! All members are always there: `key` is null where there is none, `value` is null for a tombstone, `headers` may be
//! empty. Rendering never fails: what does not fit the asked [`Format`] is given as `{"base64": "…"}`.
//!
//! Written by hand, for speed (a million records a second and core): no `serde`, no allocation per record.

use super::render_scan::{find_special, scan};
use crate::record::Record;
use crate::types::PartitionId;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

/// How values are shown (`format=`). Keys and header values are strings or base64 whatever the format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// JSON objects and arrays as JSON, other UTF-8 as a string, the rest as base64. What a scalar looks like decides nothing.
    #[default]
    Auto,
    /// UTF-8 as a string.
    Text,
    /// Any JSON as JSON.
    Json,
    /// Bytes as base64, always.
    Base64,
}

impl Format {
    /// The names that `format=` takes.
    pub const NAMES: [&str; 4] = ["auto", "text", "json", "base64"];

    /// The format of that name.
    pub fn parse(name: &str) -> Option<Format> {
        match name {
            "auto" => Some(Format::Auto),
            "text" => Some(Format::Text),
            "json" => Some(Format::Json),
            "base64" => Some(Format::Base64),
            _ => None,
        }
    }
}

/// Renders records of one answer.
#[derive(Clone, Copy, Debug)]
pub struct Renderer {
    format: Format,
    /// Line breaks between the tokens of a JSON value would break the framing of ndjson and SSE, so they are left out there.
    one_line: bool,
}

impl Renderer {
    /// For a JSON document: JSON values stay as they were stored, byte for byte.
    pub fn document(format: Format) -> Renderer {
        Renderer { format, one_line: false }
    }

    /// For ndjson and SSE: a record never has a line break.
    pub fn line(format: Format) -> Renderer {
        Renderer { format, one_line: true }
    }

    /// Appends one record to `out`.
    pub fn record(&self, out: &mut Vec<u8>, partition: PartitionId, record: &Record) {
        let value_len = record.value.as_ref().map_or(0, |value| value.len());
        let key_len = record.key.as_ref().map_or(0, |key| key.len());
        out.reserve(144 + key_len + value_len);
        out.extend_from_slice(b"{\"partition\":");
        number(out, partition.0);
        out.extend_from_slice(b",\"offset\":");
        number(out, record.offset.0);
        out.extend_from_slice(b",\"timestamp_ms\":");
        number(out, record.timestamp_ms);
        out.extend_from_slice(b",\"key\":");
        bytes_or_null(out, record.key.as_deref());
        out.extend_from_slice(b",\"value\":");
        match &record.value {
            None => out.extend_from_slice(b"null"),
            Some(value) => self.value(out, value),
        }
        out.extend_from_slice(b",\"headers\":");
        headers(out, &record.headers);
        out.push(b'}');
    }

    fn value(&self, out: &mut Vec<u8>, value: &[u8]) {
        let Ok(text) = std::str::from_utf8(value) else {
            return base64(out, value);
        };
        match self.format {
            Format::Base64 => base64(out, value),
            Format::Text => string(out, text),
            Format::Auto if !may_be_container(value) => string(out, text),
            Format::Auto => match scan(text) {
                Some(json) if json.only_base64 => base64(out, value),
                Some(json) if json.container => self.raw(out, value, json.line_breaks),
                _ => string(out, text),
            },
            Format::Json => match scan(text) {
                // Shown as it is, it would read as the bytes that it encodes.
                Some(json) if json.only_base64 => base64(out, value),
                Some(json) => self.raw(out, value, json.line_breaks),
                None => base64(out, value),
            },
        }
    }

    fn raw(&self, out: &mut Vec<u8>, json: &[u8], line_breaks: bool) {
        if self.one_line && line_breaks {
            // Within strings a line break is always escaped, and no two tokens are held apart by space alone.
            out.extend(json.iter().copied().filter(|byte| !matches!(byte, b'\n' | b'\r')));
        } else {
            out.extend_from_slice(json);
        }
    }
}

/// Appends a record's headers as a list of pairs.
pub fn headers(out: &mut Vec<u8>, headers: &[(Bytes, Option<Bytes>)]) {
    out.push(b'[');
    for (n, (name, value)) in headers.iter().enumerate() {
        out.extend_from_slice(if n == 0 { b"[" } else { b",[" });
        bytes(out, name);
        out.push(b',');
        bytes_or_null(out, value.as_deref());
        out.push(b']');
    }
    out.push(b']');
}

/// Appends an integer.
pub fn number(out: &mut Vec<u8>, number: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Appends a JSON string.
pub fn string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = find_special(rest) {
        out.extend_from_slice(&rest[..at]);
        escape(out, rest[at]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// Appends `{"base64":"…"}`.
pub fn base64(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(b"{\"base64\":\"");
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    let written = STANDARD.encode_slice(bytes, &mut out[start..]).expect("room for four characters per three bytes");
    out.truncate(start + written);
    out.extend_from_slice(b"\"}");
}

/// Bytes that are never looked at as JSON: a string where they are UTF-8, else base64.
fn bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => string(out, text),
        Err(_) => base64(out, bytes),
    }
}

fn bytes_or_null(out: &mut Vec<u8>, bytes_or_none: Option<&[u8]>) {
    match bytes_or_none {
        Some(present) => bytes(out, present),
        None => out.extend_from_slice(b"null"),
    }
}

/// Whether the first token is `{` or `[`: spares most texts the scan.
fn may_be_container(value: &[u8]) -> bool {
    let first = value.iter().find(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
    matches!(first, Some(b'{' | b'['))
}

fn escape(out: &mut Vec<u8>, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let short = match byte {
        b'"' => b'"',
        b'\\' => b'\\',
        0x08 => b'b',
        0x0c => b'f',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        _ => {
            let digits = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
            out.extend_from_slice(b"\\u00");
            return out.extend_from_slice(&digits);
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

#[cfg(test)]
#[path = "render_tests.rs"]
mod tests;
