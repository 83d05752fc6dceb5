//! Why a request has no good answer.

use super::Server;
use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::Deserialize;
use std::time::Duration;

/// The largest problem document that is read.
const PROBLEM_BYTES_MAX: usize = 64 * 1024;
const PROBLEM_TIME_MAX: Duration = Duration::from_secs(5);

/// A problem as the server reports it (RFC 9457).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Problem {
    pub status: u16,
    pub title: String,
    pub detail: String,
    pub line: Option<u64>,
    pub log_end_offset: Option<u64>,
    pub retry_after_ms: Option<u64>,
}

impl Problem {
    /// What happened and what to do, in one line.
    pub fn text(&self) -> String {
        match (self.detail.is_empty(), self.title.is_empty()) {
            (false, _) => self.detail.clone(),
            (true, false) => self.title.clone(),
            (true, true) => format!("the server answered with status {}", self.status),
        }
    }
}

/// Why there is no good answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ClientError {
    /// The request surely was not carried out.
    #[error("{0}")]
    Unreachable(String),
    /// The request may have been carried out.
    #[error("{0}")]
    Broken(String),
    /// The server refused it.
    #[error("{}", .0.text())]
    Problem(Box<Problem>),
    /// What came back is not what the API says.
    #[error("{0}")]
    Unexpected(String),
}

impl ClientError {
    pub(super) fn unreachable(text: impl Into<String>) -> ClientError {
        ClientError::Unreachable(text.into())
    }

    pub(super) fn broken(server: &Server, error: &dyn std::error::Error) -> ClientError {
        ClientError::Broken(format!("{server}: the connection broke before the answer was complete ({error})"))
    }

    pub(super) fn late(server: &Server, time_max: Duration) -> ClientError {
        ClientError::Broken(format!("{server}: no answer within {} s", time_max.as_secs_f32()))
    }

    /// The status of a problem.
    pub fn status(&self) -> Option<u16> {
        if let ClientError::Problem(problem) = self { Some(problem.status) } else { None }
    }
}

/// The response itself, or the problem that it is.
pub(super) async fn checked(response: Response<Incoming>) -> Result<Response<Incoming>, ClientError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let reading = Limited::new(response.into_body(), PROBLEM_BYTES_MAX).collect();
    let body = match tokio::time::timeout(PROBLEM_TIME_MAX, reading).await {
        Ok(Ok(body)) => body.to_bytes(),
        _ => Bytes::new(),
    };
    Err(ClientError::Problem(Box::new(problem_of(status, &body))))
}

fn problem_of(status: StatusCode, body: &[u8]) -> Problem {
    let mut problem: Problem = serde_json::from_slice(body).unwrap_or_default();
    problem.status = status.as_u16();
    if problem.title.is_empty() && problem.detail.is_empty() {
        problem.title = format!("the server answered {status}");
    }
    problem
}

#[cfg(test)]
mod tests {
    use super::problem_of;
    use http::StatusCode;

    #[test]
    fn a_problem_says_its_detail_and_anything_else_its_status() {
        let body = br#"{"type":"/problems/x","title":"T","status":404,"detail":"topic a does not exist","new":[1]}"#;
        assert_eq!(problem_of(StatusCode::NOT_FOUND, body).text(), "topic a does not exist");
        let text = problem_of(StatusCode::BAD_GATEWAY, b"<html>").text();
        assert_eq!(text, "the server answered 502 Bad Gateway");
    }
}
