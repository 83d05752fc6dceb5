//! Answers to produce requests, written by hand: they are small, frequent, and always of the same form.

use super::problem::Problem;
use super::produce_plan::Placed;
use crate::types::{Offset, PartitionId};
use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;

/// What became of the records of one partition.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Without an offset where the request asked not to wait for one.
    Written {
        base_offset: Option<Offset>,
        default_timestamp_ms: i64,
    },
    Refused(Problem),
}

/// Marks the answer to a retry.
pub const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

fn push_number(to: &mut Vec<u8>, number: impl itoa::Integer) {
    to.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// A JSON answer.
pub fn json(status: StatusCode, body: Vec<u8>, replayed: bool) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if replayed {
        headers.insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
    }
    response
}

/// `{"accepted": N}`: for requests that asked not to wait.
pub fn accepted(records: usize) -> Response {
    let mut body = Vec::with_capacity(32);
    body.extend_from_slice(b"{\"accepted\":");
    push_number(&mut body, records);
    body.extend_from_slice(b"}\n");
    json(StatusCode::ACCEPTED, body, false)
}

/// Each record with its offset or its error, in the order sent.
pub fn records(placed: &[Placed], parts: &[(PartitionId, Outcome)], replayed: bool) -> Response {
    const RECORD_BYTES: usize = 64;
    let mut body = Vec::with_capacity(32 + placed.len() * RECORD_BYTES);
    let refused: Vec<Option<String>> = (parts.iter())
        .map(|(_, outcome)| match outcome {
            Outcome::Written { .. } => None,
            Outcome::Refused(problem) => Some(problem.to_value().to_string()),
        })
        .collect();
    let errors = placed.iter().filter(|placed| refused[placed.part as usize].is_some()).count();
    body.push(b'{');
    if errors > 0 {
        body.extend_from_slice(b"\"errors\":");
        push_number(&mut body, errors);
        body.push(b',');
    }
    body.extend_from_slice(b"\"records\":[");
    let mut taken = vec![0; parts.len()];
    for (place, placed) in placed.iter().enumerate() {
        let part = placed.part as usize;
        let (partition, outcome) = &parts[part];
        body.extend_from_slice(if place == 0 { b"{\"partition\":" } else { b",{\"partition\":" });
        push_number(&mut body, partition.0);
        match outcome {
            Outcome::Written { base_offset, default_timestamp_ms } => {
                if let Some(base_offset) = base_offset {
                    body.extend_from_slice(b",\"offset\":");
                    push_number(&mut body, base_offset.0 + taken[part]);
                }
                body.extend_from_slice(b",\"timestamp_ms\":");
                push_number(&mut body, placed.timestamp_ms.unwrap_or(*default_timestamp_ms));
                taken[part] += 1;
            }
            Outcome::Refused(_) => {
                body.extend_from_slice(b",\"error\":");
                body.extend_from_slice(refused[part].as_deref().unwrap_or("null").as_bytes());
            }
        }
        body.push(b'}');
    }
    body.extend_from_slice(b"]}\n");
    let status = if errors > 0 { StatusCode::MULTI_STATUS } else { StatusCode::OK };
    json(status, body, replayed)
}

/// Where the batches of a request landed.
pub fn batches(
    partition: PartitionId,
    base_offset: Offset,
    counts: impl Iterator<Item = u32>,
    replayed: bool,
) -> Response {
    let mut body = b"{\"batches\":[".to_vec();
    let mut next = base_offset.0;
    for (place, count) in counts.enumerate() {
        body.extend_from_slice(if place == 0 { b"{\"partition\":" } else { b",{\"partition\":" });
        push_number(&mut body, partition.0);
        body.extend_from_slice(b",\"base_offset\":");
        push_number(&mut body, next);
        body.extend_from_slice(b",\"count\":");
        push_number(&mut body, count);
        body.push(b'}');
        next += u64::from(count);
    }
    body.extend_from_slice(b"]}\n");
    json(StatusCode::OK, body, replayed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::problem;
    use http_body_util::BodyExt;

    async fn text(response: Response) -> (u16, String) {
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn records_come_in_the_order_sent() {
        let placed = [(0, None), (1, Some(7)), (0, Some(9))].map(|(part, timestamp_ms)| Placed { part, timestamp_ms });
        let written = |base| Outcome::Written { base_offset: Some(Offset(base)), default_timestamp_ms: 5 };
        let parts = [(PartitionId(3), written(10)), (PartitionId(1), written(20))];
        let (status, body) = text(records(&placed, &parts, false)).await;
        assert_eq!(status, 200);
        assert_eq!(
            body.trim_end(),
            r#"{"records":[{"partition":3,"offset":10,"timestamp_ms":5},{"partition":1,"offset":20,"timestamp_ms":7},{"partition":3,"offset":11,"timestamp_ms":9}]}"#
        );
        let parts = [
            (PartitionId(3), written(10)),
            (PartitionId(1), Outcome::Refused(Problem::new(&problem::UNAVAILABLE, "no leader"))),
        ];
        let (status, body) = text(records(&placed, &parts, false)).await;
        assert_eq!(status, 207);
        let value: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(value["errors"], 1);
        assert_eq!(value["records"][1]["error"]["status"], 503);
        assert_eq!(value["records"][2]["offset"], 11);
    }

    #[tokio::test]
    async fn batches_follow_each_other() {
        let (status, body) = text(batches(PartitionId(2), Offset(12), [500, 3].into_iter(), true)).await;
        assert_eq!(status, 200);
        assert_eq!(
            body.trim_end(),
            r#"{"batches":[{"partition":2,"base_offset":12,"count":500},{"partition":2,"base_offset":512,"count":3}]}"#
        );
        assert_eq!(text(accepted(3)).await, (202, "{\"accepted\":3}\n".to_owned()));
    }
}
