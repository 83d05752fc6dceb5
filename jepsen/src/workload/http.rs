//! The HTTP client of the workloads: own connections, deadlines, and a strict line between what surely was not sent
//! and what may have been.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::Instant;

const CONNECT_TIME_MAX: Duration = Duration::from_secs(1);
/// No page that we ask for is larger.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// The connections of one client process. Clones share them.
#[derive(Clone)]
pub struct Http {
    client: Client<HttpConnector, Full<Bytes>>,
}

/// An answer that came in whole.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// No answer, or not all of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// No byte of the request went out.
    NotSent(String),
    /// The request may have been carried out.
    Timeout,
    /// The same.
    Broken(String),
}

/// A request to be.
#[derive(Clone, Debug)]
pub struct Call {
    pub method: Method,
    pub path: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: Bytes,
}

impl Call {
    pub fn get(path: String) -> Call {
        Call { method: Method::GET, path, headers: vec![], body: Bytes::new() }
    }

    pub fn head(path: String) -> Call {
        Call { method: Method::HEAD, ..Call::get(path) }
    }

    pub fn delete(path: String) -> Call {
        Call { method: Method::DELETE, ..Call::get(path) }
    }

    /// A request with a JSON body.
    pub fn post(path: String, json: String) -> Call {
        let headers = vec![("content-type", "application/json".to_owned())];
        Call { method: Method::POST, path, headers, body: Bytes::from(json) }
    }

    pub fn with(mut self, header: &'static str, value: String) -> Call {
        self.headers.push((header, value));
        self
    }
}

impl Answer {
    /// A header's value as a number.
    pub fn number(&self, header: &str) -> Option<u64> {
        self.headers.get(header)?.to_str().ok()?.parse().ok()
    }

    /// The problem's `detail`, or the beginning of whatever the body is.
    pub fn detail(&self) -> String {
        let problem: Option<serde_json::Value> = serde_json::from_slice(&self.body).ok();
        let detail = problem.as_ref().and_then(|problem| problem["detail"].as_str());
        detail.map_or_else(|| String::from_utf8_lossy(&self.body).chars().take(200).collect(), str::to_owned)
    }

    /// The name of the problem: the last part of its `type`.
    pub fn problem(&self) -> Option<String> {
        let problem: serde_json::Value = serde_json::from_slice(&self.body).ok()?;
        Some(problem["type"].as_str()?.rsplit('/').next()?.to_owned())
    }
}

impl Default for Http {
    fn default() -> Http {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIME_MAX));
        connector.set_nodelay(true);
        let mut builder = Client::builder(TokioExecutor::new());
        // A request that is sent again without our knowledge is one that our history does not know.
        builder.retry_canceled_requests(false).pool_timer(TokioTimer::new()).pool_idle_timeout(Duration::from_secs(30));
        Http { client: builder.build(connector) }
    }
}

impl Http {
    /// Sends a request and takes in the whole answer, within `time_max`.
    pub async fn call(&self, node: SocketAddr, call: &Call, time_max: Duration) -> Result<Answer, NoAnswer> {
        let deadline = Instant::now() + time_max;
        let response = self.open(node, call, time_max).await?;
        let (head, body) = response.into_parts();
        let body = http_body_util::Limited::new(body, ANSWER_BYTES_MAX).collect();
        match tokio::time::timeout_at(deadline, body).await {
            Err(_) => Err(NoAnswer::Timeout),
            Ok(Err(error)) => Err(NoAnswer::Broken(error.to_string())),
            Ok(Ok(body)) => Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes() }),
        }
    }

    /// Sends a request and gives the answer as soon as it begins, for one that does not end.
    pub async fn open(
        &self,
        node: SocketAddr,
        call: &Call,
        time_max: Duration,
    ) -> Result<http::Response<Incoming>, NoAnswer> {
        let mut request = Request::builder().method(&call.method).uri(format!("http://{node}{}", call.path));
        for (name, value) in &call.headers {
            request = request.header(*name, value);
        }
        let request = request.body(Full::new(call.body.clone())).expect("paths and headers are made by us, and sound");
        match tokio::time::timeout(time_max, self.client.request(request)).await {
            Err(_) => Err(NoAnswer::Timeout),
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) if error.is_connect() => Err(NoAnswer::NotSent(chain(&error))),
            Ok(Err(error)) => Err(NoAnswer::Broken(chain(&error))),
        }
    }
}

/// An error with what caused it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
