//! What a produce request asks for, beside its records: query, content type, idempotency key, record headers.

use super::problem::{self, Problem};
use super::query::{Query, bad_parameter, number, shown};
use crate::broker::IdempotencyKey;
use crate::types::{Acks, Offset, PartitionId};
use axum::http::{HeaderMap, HeaderName, header};
use sha2::{Digest, Sha256};
use std::time::Duration;

/// What the body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Json,
    Ndjson,
    /// One record's value.
    Value,
    Batches,
}

/// The types that work, for those who sent one that does not.
const SUPPORTED: [&str; 4] =
    ["application/json", "application/x-ndjson", "application/octet-stream", "application/vnd.balsa.batch"];

/// Query parameters of a produce request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    pub acks: Acks,
    pub timeout: Duration,
    pub expected_offset: Option<Offset>,
    /// `on_error=skip`: a bad line is reported, and the stream goes on.
    pub skip_bad_lines: bool,
}

/// What the request's body is, by its Content-Type.
pub fn form(headers: &HeaderMap, partition: Option<PartitionId>, path: &str) -> Result<Form, Problem> {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let Some(first) = types.next() else { return Ok(Form::Value) };
    if types.next().is_some() {
        return Err(bad_header(&header::CONTENT_TYPE, "is given more than once; give it once"));
    }
    let essence = first.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let is = |name: &str| essence.eq_ignore_ascii_case(name.as_bytes());
    if is(SUPPORTED[0]) {
        Ok(Form::Json)
    } else if is(SUPPORTED[1]) {
        Ok(Form::Ndjson)
    } else if is("application/x-www-form-urlencoded") {
        Err(unsupported(format!(
            "the body's type is application/x-www-form-urlencoded, which is what curl -d sends unless told otherwise; add -H 'Content-Type: application/json' for {{\"records\": […]}}, or -H 'Content-Type: application/octet-stream' for one record's value: curl -H 'Content-Type: application/json' -d '{{\"records\":[{{\"value\":\"hello\"}}]}}' http://HOST{path}"
        )))
    } else if is(SUPPORTED[3]) && partition.is_none() {
        Err(unsupported(
            "application/vnd.balsa.batch works only with a partition: POST it to /v1/topics/{topic}/partitions/{partition}/records".to_owned(),
        ))
    } else if is(SUPPORTED[3]) {
        Ok(Form::Batches)
    } else {
        Ok(Form::Value)
    }
}

fn unsupported(detail: String) -> Problem {
    Problem::new(&problem::UNSUPPORTED_MEDIA_TYPE, detail).with("supported", SUPPORTED.to_vec())
}

fn bad_header(name: &HeaderName, says: &str) -> Problem {
    Problem::new(&problem::BAD_HEADER, format!("request header {name} {says}")).with("header", name.as_str())
}

/// The query of a produce request.
pub fn options(raw: Option<&str>, form: Form) -> Result<Options, Problem> {
    const TIMEOUT_MS_MAX: u64 = 600_000;
    let known: &[&str] = match form {
        Form::Ndjson => &["acks", "timeout_ms", "on_error"],
        _ => &["acks", "timeout_ms", "expected_offset"],
    };
    let query = Query::parse(raw, known)?;
    let acks = [("all", Acks::All), ("1", Acks::Leader), ("0", Acks::None)];
    Ok(Options {
        acks: query.choice("acks", &acks, Acks::All)?,
        timeout: Duration::from_millis(query.number("timeout_ms", 1..=TIMEOUT_MS_MAX)?.unwrap_or(30_000)),
        expected_offset: query.number("expected_offset", 0..=i64::MAX as u64)?.map(Offset),
        skip_bad_lines: query.choice("on_error", &[("stop", false), ("skip", true)], false)?,
    })
}

/// The problem for `expected_offset` where several partitions may be meant.
pub fn expected_offset_needs_partition(expected: Offset) -> Problem {
    bad_parameter(
        "expected_offset",
        &expected.to_string(),
        "an offset of one partition: POST to /v1/topics/{topic}/partitions/{partition}/records",
    )
}

/// The name of the header of which a value stands for one request.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The request's idempotency key, without the hash of the body.
pub fn idempotency_key(headers: &HeaderMap, form: Form) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(bad_header(&IDEMPOTENCY_KEY, "is given more than once; give it once"));
    }
    let bytes = value.as_bytes();
    if !(1..=128).contains(&bytes.len()) || !bytes.iter().all(u8::is_ascii_graphic) {
        return Err(bad_header(
            &IDEMPOTENCY_KEY,
            &format!("is {}; it takes 1 to 128 visible ASCII characters", shown(&String::from_utf8_lossy(bytes))),
        ));
    }
    if form == Form::Ndjson {
        return Err(bad_header(
            &IDEMPOTENCY_KEY,
            "does not work with application/x-ndjson, whose records are appended as they arrive; send application/json",
        ));
    }
    Ok(Some(String::from_utf8_lossy(bytes).into_owned()))
}

/// The key with the hash of what makes two requests the same: where they go, what they are, and the body.
pub fn hashed(
    key: String,
    partition: Option<PartitionId>,
    form: Form,
    value: &ValueHeaders,
    body: &[u8],
) -> IdempotencyKey {
    let mut hash = Sha256::new();
    let mut field = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    field(&[form as u8]);
    field(&partition.map_or(Vec::new(), |partition| partition.0.to_be_bytes().to_vec()));
    field(value.key.as_deref().unwrap_or_default());
    field(&[u8::from(value.key.is_some())]);
    field(&value.timestamp_ms.unwrap_or(-1).to_be_bytes());
    for (name, header) in &value.headers {
        field(name);
        field(header);
    }
    field(body);
    let body_hash = hash.finalize()[..16].try_into().expect("a SHA-256 has 32 bytes");
    IdempotencyKey { key, body_hash }
}

/// What `Balsa-*` request headers say of a record whose value is the body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ValueHeaders {
    pub key: Option<Vec<u8>>,
    pub timestamp_ms: Option<i64>,
    /// Names come in lower case: HTTP does not tell cases apart.
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
}

impl ValueHeaders {
    /// The record headers as the batch takes them.
    pub fn pairs(&self) -> Vec<(&[u8], Option<&[u8]>)> {
        self.headers.iter().map(|(name, value)| (name.as_slice(), Some(value.as_slice()))).collect()
    }
}

/// Reads the `Balsa-*` headers of a request; where the body is not a value, there is nothing they could mean.
pub fn value_headers(headers: &HeaderMap, form: Form) -> Result<ValueHeaders, Problem> {
    let mut found = ValueHeaders::default();
    for (name, value) in headers {
        let Some(rest) = name.as_str().strip_prefix("balsa-") else { continue };
        if form != Form::Value {
            return Err(bad_header(
                name,
                "works only where the body is one record's value (application/octet-stream); put it into the record",
            ));
        }
        let value = value.as_bytes();
        match rest {
            "key" if found.key.is_some() => return Err(bad_header(name, "is given more than once; give it once")),
            "key" => found.key = Some(value.to_vec()),
            "timestamp-ms" if found.timestamp_ms.is_some() => {
                return Err(bad_header(name, "is given more than once; give it once"));
            }
            "timestamp-ms" => found.timestamp_ms = Some(timestamp_ms(name, value)?),
            _ => match rest.strip_prefix("header-") {
                Some(record_header) if !record_header.is_empty() => {
                    found.headers.push((record_header.as_bytes().to_vec(), value.to_vec()));
                }
                _ => {
                    return Err(bad_header(
                        name,
                        "is not known here; known are Balsa-Key, Balsa-Timestamp-Ms and Balsa-Header-NAME",
                    ));
                }
            },
        }
    }
    Ok(found)
}

fn timestamp_ms(name: &HeaderName, value: &[u8]) -> Result<i64, Problem> {
    let parsed = std::str::from_utf8(value).ok().and_then(number).and_then(|ms| i64::try_from(ms).ok());
    parsed.ok_or_else(|| {
        let value = shown(&String::from_utf8_lossy(value));
        bad_header(name, &format!("is {value}; it takes whole milliseconds since 1970, from 0"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn form_of(content_type: &'static str, partition: Option<PartitionId>) -> Result<Form, Problem> {
        form(&headers(&[("content-type", content_type)]), partition, "/v1/topics/t/records")
    }

    #[test]
    fn forms_by_content_type() {
        assert_eq!(form_of("application/json", None).unwrap(), Form::Json);
        assert_eq!(form_of("Application/JSON; charset=utf-8", None).unwrap(), Form::Json);
        assert_eq!(form_of("application/x-ndjson", None).unwrap(), Form::Ndjson);
        assert_eq!(form_of("text/plain", None).unwrap(), Form::Value);
        assert_eq!(form_of("application/octet-stream", None).unwrap(), Form::Value);
        assert_eq!(form(&HeaderMap::new(), None, "/").unwrap(), Form::Value);
        assert_eq!(form_of("application/vnd.balsa.batch", Some(PartitionId(0))).unwrap(), Form::Batches);
        let problem = form_of("application/vnd.balsa.batch", None).unwrap_err();
        assert!(problem.status() == 415 && problem.detail().contains("/partitions/"), "{problem}");
        let problem = form_of("application/x-www-form-urlencoded", None).unwrap_err();
        assert_eq!(problem.status(), 415);
        assert!(problem.detail().contains("-H 'Content-Type: application/json'"), "{problem}");
        assert!(problem.detail().contains("/v1/topics/t/records"), "{problem}");
        assert_eq!(problem.member("supported").unwrap().as_array().unwrap().len(), 4);
    }

    #[test]
    fn options_by_form() {
        let all = options(Some("acks=1&timeout_ms=5&expected_offset=7"), Form::Json).unwrap();
        let expected_offset = Some(Offset(7));
        let timeout = Duration::from_millis(5);
        assert_eq!(all, Options { acks: Acks::Leader, timeout, expected_offset, skip_bad_lines: false });
        let default = options(None, Form::Value).unwrap();
        assert_eq!((default.acks, default.timeout), (Acks::All, Duration::from_secs(30)));
        assert!(options(Some("on_error=skip"), Form::Ndjson).unwrap().skip_bad_lines);
        for (query, form) in [
            ("on_error=skip", Form::Json),
            ("expected_offset=1", Form::Ndjson),
            ("acks=2", Form::Json),
            ("acks=", Form::Json),
            ("timeout_ms=0", Form::Json),
            ("expected_offset=-1", Form::Json),
            ("on_error=go", Form::Ndjson),
        ] {
            assert_eq!(options(Some(query), form).unwrap_err().status(), 400, "{query}");
        }
    }

    #[test]
    fn idempotency_keys() {
        let key = |value| idempotency_key(&headers(&[("idempotency-key", value)]), Form::Json);
        assert_eq!(key("order-17").unwrap().as_deref(), Some("order-17"));
        assert_eq!(idempotency_key(&HeaderMap::new(), Form::Json).unwrap(), None);
        for bad in ["", "a b", "é", "\t"] {
            assert_eq!(key(bad).unwrap_err().kind(), &problem::BAD_HEADER, "{bad:?}");
        }
        let twice = headers(&[("idempotency-key", "a"), ("idempotency-key", "a")]);
        assert_eq!(idempotency_key(&twice, Form::Json).unwrap_err().status(), 400);
        let problem = idempotency_key(&headers(&[("idempotency-key", "a")]), Form::Ndjson).unwrap_err();
        assert!(problem.detail().contains("ndjson"), "{problem}");
    }

    #[test]
    fn the_same_request_has_the_same_hash() {
        let plain = ValueHeaders::default();
        let of = |partition, form, value: &ValueHeaders, body: &[u8]| {
            hashed("k".to_owned(), partition, form, value, body).body_hash
        };
        let first = of(None, Form::Json, &plain, b"{}");
        assert_eq!(first, of(None, Form::Json, &plain, b"{}"));
        let keyed = ValueHeaders { key: Some(vec![]), ..ValueHeaders::default() };
        let others = [
            of(None, Form::Json, &plain, b"{} "),
            of(None, Form::Value, &plain, b"{}"),
            of(Some(PartitionId(0)), Form::Json, &plain, b"{}"),
            of(None, Form::Json, &keyed, b"{}"),
        ];
        assert!(others.iter().all(|other| *other != first));
    }

    #[test]
    fn record_headers_of_a_value() {
        let sent = headers(&[
            ("balsa-key", "BTC"),
            ("balsa-timestamp-ms", "17"),
            ("balsa-header-trace", "a"),
            ("balsa-header-trace", "b"),
            ("x-other", "1"),
        ]);
        let found = value_headers(&sent, Form::Value).unwrap();
        assert_eq!((found.key.as_deref(), found.timestamp_ms), (Some(&b"BTC"[..]), Some(17)));
        assert_eq!(found.pairs(), [(&b"trace"[..], Some(&b"a"[..])), (&b"trace"[..], Some(&b"b"[..]))]);
        for bad in [
            [("balsa-kye", "1")],
            [("balsa-header-", "1")],
            [("balsa-timestamp-ms", "-1")],
            [("balsa-timestamp-ms", "9223372036854775808")],
        ] {
            let problem = value_headers(&headers(&bad), Form::Value).unwrap_err();
            assert_eq!(problem.member("header").unwrap(), bad[0].0);
        }
        assert!(value_headers(&sent, Form::Json).unwrap_err().detail().contains("put it into the record"));
    }
}
