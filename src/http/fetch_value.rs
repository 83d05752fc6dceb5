//! One record's value alone, as `application/octet-stream`; the rest of the record in headers.
//!
//! `Balsa-Offset` is missing where there is no record, `Balsa-Tombstone: true` tells a tombstone from an empty value.
//! What HTTP headers cannot hold goes another way: a key as base64 in `Balsa-Key-Base64`; headers of which one does not
//! come through exactly (HTTP has no upper case in names), all of them, once more, as an ASCII JSON list of pairs in
//! `Balsa-Headers`. What is longer than clients read in headers is left out, and `Balsa-Omitted` names it.

use super::fetch_source::{Fetcher, ReadError, Records};
use super::render;
use crate::record::Record;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

const OFFSET: HeaderName = HeaderName::from_static("balsa-offset");
const TIMESTAMP_MS: HeaderName = HeaderName::from_static("balsa-timestamp-ms");
const TOMBSTONE: HeaderName = HeaderName::from_static("balsa-tombstone");
const KEY: HeaderName = HeaderName::from_static("balsa-key");
const KEY_BASE64: HeaderName = HeaderName::from_static("balsa-key-base64");
const HEADERS: HeaderName = HeaderName::from_static("balsa-headers");
const OMITTED: HeaderName = HeaderName::from_static("balsa-omitted");

/// What key and headers may take of the answer's headers, each: common clients read 64 KiB or less in all.
const HEADER_BYTES_MAX: usize = 12 << 10;
/// Headers beyond this many are in the list only: common clients read a hundred.
const HEADERS_MAX: usize = 64;

/// The first record of a read, if there is one.
pub async fn first_record<F: Fetcher>(records: &mut Records<F>) -> Result<Option<Record>, ReadError> {
    loop {
        if let Some((_, record)) = records.next_at_hand()? {
            return Ok(Some(record));
        }
        if !records.open().await? {
            return Ok(None);
        }
    }
}

/// Makes `response` carry the record.
pub fn put(response: &mut Response, record: Option<Record>) {
    let Some(record) = record else { return };
    let headers = response.headers_mut();
    headers.insert(OFFSET, record.offset.0.into());
    headers.insert(TIMESTAMP_MS, record.timestamp_ms.into());
    let mut omitted = Vec::new();
    if let Some(key) = &record.key
        && !put_key(headers, key)
    {
        omitted.push("key");
    }
    if !put_headers(headers, &record.headers) {
        omitted.push("headers");
    }
    if !omitted.is_empty() {
        headers.insert(OMITTED, HeaderValue::from_str(&omitted.join(", ")).expect("two words are a header value"));
    }
    match record.value {
        Some(value) => *response.body_mut() = Body::from(value),
        None => drop(headers.insert(TOMBSTONE, HeaderValue::from_static("true"))),
    }
}

/// `false` when the key is too long for a header.
fn put_key(headers: &mut HeaderMap, key: &[u8]) -> bool {
    if key.len() > HEADER_BYTES_MAX {
        return false;
    }
    match header_value(key) {
        Some(value) => headers.insert(KEY, value),
        None => headers.insert(
            KEY_BASE64,
            HeaderValue::from_str(&STANDARD.encode(key)).expect("base64 has only characters that headers may have"),
        ),
    };
    true
}

/// `false` when the headers are too long for headers.
fn put_headers(headers: &mut HeaderMap, record_headers: &[(Bytes, Option<Bytes>)]) -> bool {
    let bytes: usize =
        record_headers.iter().map(|(name, value)| name.len() + value.as_ref().map_or(0, |v| v.len())).sum();
    if bytes > HEADER_BYTES_MAX {
        return false;
    }
    let mut exact = record_headers.len() <= HEADERS_MAX;
    for (name, value) in record_headers.iter().take(HEADERS_MAX) {
        match (header_name(name), value.as_ref().and_then(|value| header_value(value))) {
            (Some(name), Some(value)) => drop(headers.append(name, value)),
            _ => exact = false,
        }
        exact &= !name.iter().any(u8::is_ascii_uppercase);
    }
    if !exact {
        let list = ascii_list(record_headers);
        if list.len() > HEADER_BYTES_MAX {
            return false;
        }
        headers.insert(HEADERS, HeaderValue::from_str(&list).expect("ASCII without control characters"));
    }
    true
}

/// `Balsa-Header-NAME`, where a header's name fits there.
fn header_name(name: &[u8]) -> Option<HeaderName> {
    if name.is_empty() {
        return None;
    }
    HeaderName::from_bytes(&[b"balsa-header-", name].concat()).ok()
}

/// Bytes as a header value, where they survive it: HTTP strips blanks at both ends.
fn header_value(bytes: &[u8]) -> Option<HeaderValue> {
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    if blank(bytes.first()) || blank(bytes.last()) || std::str::from_utf8(bytes).is_err() {
        return None;
    }
    HeaderValue::from_bytes(bytes).ok()
}

/// The headers as a JSON list of pairs in ASCII.
fn ascii_list(record_headers: &[(Bytes, Option<Bytes>)]) -> String {
    let mut list = Vec::new();
    render::headers(&mut list, record_headers);
    let mut ascii = String::with_capacity(list.len());
    for character in String::from_utf8_lossy(&list).chars() {
        if character.is_ascii() && !character.is_ascii_control() {
            ascii.push(character);
        } else {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                ascii.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    ascii
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Offset;

    fn response(key: Option<&[u8]>, value: Option<&[u8]>, headers: &[(&[u8], Option<&[u8]>)]) -> Response {
        let bytes = Bytes::copy_from_slice;
        let record = Record {
            offset: Offset(7),
            timestamp_ms: 5,
            key: key.map(bytes),
            value: value.map(bytes),
            headers: headers.iter().map(|(name, value)| (bytes(name), value.map(bytes))).collect(),
        };
        let mut response = Response::new(Body::empty());
        put(&mut response, Some(record));
        response
    }

    #[test]
    fn parts_go_into_headers() {
        let response =
            response(Some(b"BTC"), Some(b"v"), &[(b"trace", Some(b"a")), (b"trace", Some("\u{e9}".as_bytes()))]);
        let headers = response.headers();
        assert_eq!(
            (&headers["balsa-offset"], &headers["balsa-timestamp-ms"]),
            (&HeaderValue::from(7), &HeaderValue::from(5))
        );
        assert_eq!(headers["balsa-key"], "BTC");
        let traces: Vec<&[u8]> = headers.get_all("balsa-header-trace").iter().map(HeaderValue::as_bytes).collect();
        assert_eq!(traces, [b"a".as_slice(), "\u{e9}".as_bytes()]);
        assert!(!headers.contains_key("balsa-tombstone"));
    }

    #[test]
    fn what_headers_cannot_hold_goes_another_way() {
        let answer = response(Some(b"a\nb"), None, &[(b"Trace", Some(b"\xff")), (b"n", Some("\u{1f600}".as_bytes()))]);
        let headers = answer.headers();
        assert_eq!(headers["balsa-key-base64"], "YQpi");
        assert_eq!(headers["balsa-tombstone"], "true");
        assert_eq!(headers["balsa-headers"], r#"[["Trace",{"base64":"/w=="}],["n","\ud83d\ude00"]]"#);
        let answer = response(Some(&[b'k'; 70_000]), Some(b""), &[(b"n", Some(&[b'v'; 70_000]))]);
        assert_eq!(answer.headers()["balsa-omitted"], "key, headers");
    }
}
