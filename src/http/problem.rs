//! RFC 9457 problems: the one form that every refusal takes, and the catalogue of all their kinds.
//!
//! Invariant: a problem's `type` is `/problems/NAME` with a NAME of [`CATALOGUE`], so that the node can serve a page
//! for each. Details are written for people (what happened, and what to do), members for programs.

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};

/// One kind of problem: what `type` points at.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// The last segment of `/problems/NAME`; never changes once released.
    pub name: &'static str,
    pub status: u16,
    pub title: &'static str,
    /// What the page says: why this happens, and what to do.
    pub explanation: &'static str,
}

macro_rules! kinds {
    ($($constant:ident $name:literal $status:literal $title:literal $explanation:literal;)*) => {
        $(
            #[doc = $title]
            pub static $constant: Kind =
                Kind { name: $name, status: $status, title: $title, explanation: $explanation };
        )*

        /// Every kind of problem that this node can answer with.
        pub static CATALOGUE: &[&Kind] = &[$(&$constant),*];
    };
}

kinds! {
    BAD_REQUEST "bad-request" 400 "The request cannot be understood"
        "The request breaks the rules of HTTP, or of this API, in a way that no more specific problem names. The detail says how.";
    BAD_PATH "bad-path" 400 "A part of the path is not accepted"
        "A segment of the path is not what its place asks for: broken percent-encoding, a partition that is not a number, a name that no topic can have. The detail names the segment.";
    BAD_HEADER "bad-header" 400 "A request header is not accepted"
        "The value of a request header is not one that this request accepts. The member `header` names it, the detail says what is accepted.";
    UNKNOWN_PARAMETER "unknown-parameter" 400 "A query parameter is not known here"
        "Unknown query parameters are refused, so that a misspelt one is never silently ignored. The member `parameter` names it, `known` lists what this path takes.";
    BAD_PARAMETER "bad-parameter" 400 "A query parameter has a value that is not accepted"
        "The member `parameter` names the parameter; the detail quotes the value and says what is accepted. A parameter may be given once.";
    BAD_JSON "bad-json" 400 "The body is not sound JSON"
        "The body (or a line of it) is not JSON by RFC 8259 in UTF-8, is nested deeper than 128 levels, or names a member twice. The detail gives the byte where reading stopped; `line` counts from 1.";
    BAD_FIELD "bad-field" 400 "A field of the body is not accepted"
        "A field is missing, or has a type or value that is not accepted. The member `field` is a JSON pointer to it.";
    UNKNOWN_FIELD "unknown-field" 400 "A field of the body is not known"
        "Unknown fields are refused by name: a silent `valeu` would have written a tombstone. The member `field` is a JSON pointer to it, the detail lists the fields that are known.";
    BAD_BATCH "bad-batch" 400 "The record batch is not sound"
        "A batch sent as application/vnd.balsa.batch must be a Kafka record batch v2 whose length, magic, CRC-32C, counts and compression hold, without control or transactional bits. Nothing of the request was written.";
    BAD_COMPRESSION "bad-compression" 400 "The body cannot be inflated"
        "The body is not what Content-Encoding says, or it is cut off. Nothing of the request was written.";
    INCOMPLETE_BODY "incomplete-body" 400 "The body ended early"
        "The connection broke, or the chunked coding was wrong, before the body was complete. Nothing of the request was written.";
    INTERNAL_TOPIC "internal-topic" 403 "The topic belongs to the cluster"
        "The cluster keeps its own state in this topic. It can be read, but is written, changed and deleted by the cluster only.";
    NOT_FOUND "not-found" 404 "There is nothing at this path"
        "The path is not one of this API. /openapi.json describes all of them.";
    NOT_IN_THIS_VERSION "not-in-this-version" 404 "This part is not built yet"
        "The path belongs to a part of the API that this version does not have. /openapi.json describes what it has.";
    UNKNOWN_TOPIC "unknown-topic" 404 "The topic does not exist"
        "No topic has this name. Create it with POST /v1/topics {\"name\": …}, or switch `auto_create_topics` on; GET /v1/topics lists those that exist. Nothing was written.";
    UNKNOWN_PARTITION "unknown-partition" 404 "The partition does not exist"
        "Partitions are numbered from 0. GET /v1/topics/{topic} lists them; PATCH it with {\"partitions\": N} to have more.";
    UNKNOWN_GROUP "unknown-group" 404 "The group does not exist"
        "No group of this name has members, offsets or leases. A group begins with the first poll, or the first join or commit of a Kafka client; GET /v1/groups lists those that exist.";
    UNKNOWN_MEMBER "unknown-member" 404 "The member is not in the group"
        "No member of this name polled lately or holds a lease. GET /v1/groups/{group} lists the members.";
    UNKNOWN_NODE "unknown-node" 404 "The node does not exist"
        "No node of the cluster has this id; GET /v1/nodes lists them.";
    METHOD_NOT_ALLOWED "method-not-allowed" 405 "The path does not take this method"
        "The Allow header lists the methods that the path takes.";
    NOT_ACCEPTABLE "not-acceptable" 406 "No form of the answer fits the Accept header"
        "The member `supported` lists the media types that this path can answer with. Without an Accept header the answer is JSON.";
    REQUEST_TIMEOUT "request-timeout" 408 "The request took too long to arrive"
        "A request's line and headers must arrive within 5 seconds, and its body must not pause for long. Nothing of the request was written, except what an ndjson stream had acknowledged.";
    TOPIC_EXISTS "topic-exists" 409 "A topic with this name exists already"
        "Choose another name, or use the topic that is there: GET /v1/topics/{topic} describes it, PATCH changes it.";
    LEASE_ENDED "lease-ended" 409 "The lease has ended"
        "The lease ran out, was acknowledged or released as a whole, or was never given. What was not acknowledged comes again by a poll, maybe to another member: nothing of this request took effect. Ask for longer leases with `lease_ms`, or renew them in time.";
    OTHER_KIND_OF_MEMBERS "other-kind-of-members" 409 "The group has members of the other kind"
        "A group is read by Kafka clients or by polls over HTTP, not by both at the same time; offsets are common to both. Let the others leave first (members that poll over HTTP count until ten seconds after their last poll, and as long as they hold a lease), or use another group.";
    GROUP_HAS_MEMBERS "group-has-members" 409 "The group has members"
        "Offsets are set, and groups deleted, only while nobody reads: let the members leave first. GET /v1/groups/{group} lists them.";
    OFFSET_MISMATCH "offset-mismatch" 409 "The log ends elsewhere than expected"
        "`expected_offset` asked that the first record land at this offset, but the log ends at `log_end_offset`: somebody else wrote first. Nothing was written. Read what is there, decide again, and retry with the new end.";
    BODY_TOO_LARGE "body-too-large" 413 "The body is too large"
        "The member `limit` is the largest body in bytes. Send several requests, or stream the records as application/x-ndjson, which has no limit on the whole.";
    RECORD_TOO_LARGE "record-too-large" 413 "A record is too large"
        "A record is larger than the topic's `max.message.bytes` (the member `limit`). Nothing of the request was written. The setting can be raised with PATCH /v1/topics/{topic}.";
    LINE_TOO_LONG "line-too-long" 413 "A line of the stream is too long"
        "A line of an ndjson stream is longer than `limit` bytes. What came before it was appended and acknowledged.";
    URI_TOO_LONG "uri-too-long" 414 "The request target is too long"
        "The path with its query is longer than this node reads.";
    UNSUPPORTED_MEDIA_TYPE "unsupported-media-type" 415 "The body's type does not work here"
        "The member `supported` lists the types that work. curl -d sends application/x-www-form-urlencoded unless told otherwise: add -H 'Content-Type: application/json'.";
    UNSUPPORTED_ENCODING "unsupported-encoding" 415 "The body's encoding does not work here"
        "Bodies may be sent as they are, or with Content-Encoding gzip or zstd.";
    OFFSET_OUT_OF_RANGE "offset-out-of-range" 416 "The offset is outside of the log"
        "The log holds `log_start_offset` up to `high_watermark`: older records were removed by retention, newer ones are not written yet. Read from earliest, latest, or an offset in between.";
    IDEMPOTENCY_CONFLICT "idempotency-conflict" 422 "The Idempotency-Key was used with another body"
        "A key stands for one request: a retry must repeat it byte for byte. Use a new key for a new request. Nothing was written.";
    OVERLOADED "overloaded" 429 "The node has no room for more requests now"
        "A queue of the node is full. Surely nothing was written. Retry after `retry_after_ms`.";
    HEADERS_TOO_LARGE "headers-too-large" 431 "The request's headers are too large"
        "Request line and headers together may have 16 KiB, and a hundred headers.";
    INTERNAL "internal-error" 500 "The node made a mistake"
        "This is a fault in Balsa, not in the request. The node's log has more; please report it.";
    UNAVAILABLE "unavailable" 503 "The partition takes no requests now"
        "There is no leader, or no quorum of replicas, and there was none until the deadline. Surely nothing was written. Retry after `retry_after_ms`; GET /v1/cluster shows which nodes are alive.";
    DISK_FULL "disk-full" 503 "The disk of the partition's leader is full"
        "Surely nothing was written. Reads and deletes go on: delete topics or make room on the disk, then retry.";
    STORAGE_FAILED "storage-failed" 503 "The partition's storage failed on this node"
        "A write or flush failed, so the partition takes no writes on that node until it is repaired and started again. The node's log has the reason.";
    TOO_MANY_CONNECTIONS "too-many-connections" 503 "The node has too many connections"
        "Use another node, keep connections alive instead of opening new ones, or retry after `retry_after_ms`.";
    STOPPING "stopping" 503 "The node is stopping"
        "Surely nothing was written. Use another node, or retry after `retry_after_ms`.";
    NOT_READY "not-ready" 503 "The node is not ready"
        "A condition for taking requests does not hold on this node: the detail and the member `checks` name it, and /readyz?verbose lists all of them. Use another node, or wait.";
    OUTCOME_UNKNOWN "outcome-unknown" 504 "The outcome is not known"
        "No answer came in time: the records may have been written, or may yet be. Read the partition's end to find out, or send the request with an Idempotency-Key so that a retry is safe.";
}

/// Finds a kind by its name.
pub fn kind(name: &str) -> Option<&'static Kind> {
    CATALOGUE.iter().find(|kind| kind.name == name).copied()
}

/// One refusal. Boxed, so that a `Result` with it stays small.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem(Box<Inner>);

#[derive(Debug, Clone, PartialEq)]
struct Inner {
    kind: &'static Kind,
    detail: String,
    members: Map<String, Value>,
    headers: HeaderMap,
}

impl Problem {
    /// A problem of `kind`; `detail` says what happened and what to do, without a full stop at its end.
    pub fn new(kind: &'static Kind, detail: impl Into<String>) -> Problem {
        Problem(Box::new(Inner { kind, detail: detail.into(), members: Map::new(), headers: HeaderMap::new() }))
    }

    /// Adds an extension member (`topic`, `partition`, `log_end_offset`, `field`, `line`, `limit`, …).
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Problem {
        self.0.members.insert(name.to_owned(), value.into());
        self
    }

    /// Adds an answer header.
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Problem {
        self.0.headers.insert(name, value);
        self
    }

    /// Adds `retry_after_ms` and a `Retry-After` header (whole seconds, at least 1).
    pub fn retry_after_ms(self, ms: u64) -> Problem {
        self.with("retry_after_ms", ms).with_header(header::RETRY_AFTER, HeaderValue::from(ms.div_ceil(1000).max(1)))
    }

    /// Puts a line number in, for a problem within a stream of lines.
    pub fn at_line(self, line: u64) -> Problem {
        self.with("line", line)
    }

    pub fn kind(&self) -> &'static Kind {
        self.0.kind
    }

    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.0.kind.status).expect("the catalogue holds valid statuses only")
    }

    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// An extension member.
    pub fn member(&self, name: &str) -> Option<&Value> {
        self.0.members.get(name)
    }

    /// The problem as a JSON object: `type`, `title`, `status`, `detail`, then the extension members.
    pub fn to_value(&self) -> Value {
        let mut object = Map::with_capacity(4 + self.0.members.len());
        object.insert("type".to_owned(), Value::from(format!("/problems/{}", self.0.kind.name)));
        object.insert("title".to_owned(), Value::from(self.0.kind.title));
        object.insert("status".to_owned(), Value::from(self.0.kind.status));
        object.insert("detail".to_owned(), Value::from(self.0.detail.clone()));
        for (name, value) in &self.0.members {
            object.insert(name.clone(), value.clone());
        }
        Value::Object(object)
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.0.kind.title, self.0.detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = self.to_value().to_string();
        // Seen in a terminal by people who use curl.
        body.push('\n');
        let mut response = (self.status(), body).into_response();
        response.headers_mut().extend(self.0.headers);
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_and_statuses_valid() {
        let mut names = HashSet::new();
        for kind in CATALOGUE {
            assert!(names.insert(kind.name), "{} is there twice", kind.name);
            assert!(StatusCode::from_u16(kind.status).is_ok_and(|s| s.is_client_error() || s.is_server_error()));
            assert!(kind.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'));
            assert!(kind.explanation.len() > 40 && !kind.title.ends_with('.'));
        }
        assert_eq!(kind("unknown-topic"), Some(&UNKNOWN_TOPIC));
        assert_eq!(kind("no-such"), None);
    }

    #[test]
    fn members_and_headers_come_through() {
        let problem = Problem::new(&UNAVAILABLE, "no leader").with("partition", 3).retry_after_ms(1200);
        assert_eq!(
            problem.to_value().to_string(),
            r#"{"type":"/problems/unavailable","title":"The partition takes no requests now","status":503,"detail":"no leader","partition":3,"retry_after_ms":1200}"#
        );
        let response = problem.into_response();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["retry-after"], "2");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
    }
}
