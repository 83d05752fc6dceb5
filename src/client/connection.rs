//! One HTTP/1.1 connection to a server.

use super::{ClientError, Server};
use crate::tasks::{OnPanic, Tasks};
use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{Method, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::time::Duration;
use tokio::net::TcpStream;

/// Headers of a request, beyond those that the client makes.
pub type Headers = Vec<(HeaderName, HeaderValue)>;

type Stream = UnsyncBoxBody<Bytes, Infallible>;

/// What a request carries.
pub enum Body {
    Bytes(Bytes),
    /// Sent as it comes; cannot be sent twice.
    Stream(Stream),
}

impl Body {
    /// The body for this attempt, and the one for the next (if it may be repeated).
    pub(super) fn split(body: Option<Body>, repeatable: bool) -> (Option<Body>, Option<Body>) {
        match body {
            Some(Body::Bytes(bytes)) if repeatable => (Some(Body::Bytes(bytes.clone())), Some(Body::Bytes(bytes))),
            other => (other, None),
        }
    }
}

/// One request.
pub struct Request {
    pub method: Method,
    /// Path and query, encoded.
    pub target: String,
    pub headers: Headers,
    pub body: Body,
    /// Until the head of the answer is there.
    pub time_max: Duration,
    /// May be sent again where it is unknown whether it was carried out.
    pub repeatable: bool,
}

impl Request {
    /// A request without headers of its own. `GET` may be repeated, others not.
    pub fn new(method: Method, target: impl Into<String>) -> Request {
        let repeatable = method == Method::GET;
        let (target, body) = (target.into(), Body::Bytes(Bytes::new()));
        Request { method, target, headers: Vec::new(), body, time_max: Duration::from_secs(35), repeatable }
    }

    /// With a JSON body.
    pub fn json(mut self, value: &serde_json::Value) -> Request {
        self.headers.push((http::header::CONTENT_TYPE, HeaderValue::from_static("application/json")));
        self.body = Body::Bytes(value.to_string().into());
        self
    }

    /// With the deadline.
    pub fn within(mut self, time_max: Duration) -> Request {
        self.time_max = time_max;
        self
    }

    /// Asks for this type of answer.
    pub fn accept(mut self, media_type: &'static str) -> Request {
        self.headers.push((http::header::ACCEPT, HeaderValue::from_static(media_type)));
        self
    }
}

/// An open connection; its task ends with it.
pub(super) struct Connection {
    server: Server,
    sender: SendRequest<Stream>,
}

impl Connection {
    pub async fn open(server: &Server, time_max: Duration) -> Result<Connection, ClientError> {
        let connecting = TcpStream::connect(server.authority());
        let stream = match tokio::time::timeout(time_max, connecting).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(ClientError::unreachable(format!("{server}: cannot connect ({error})"))),
            Err(_) => {
                let seconds = time_max.as_secs_f32();
                return Err(ClientError::unreachable(format!("{server}: cannot connect within {seconds} s")));
            }
        };
        // Only latency is lost where the kernel refuses.
        let _ = stream.set_nodelay(true);
        let (sender, driver) = http1::Builder::new()
            .max_buf_size(1024 * 1024)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| ClientError::broken(server, &error))?;
        Tasks::new().spawn("client connection", OnPanic::Log, async move {
            // Whoever waits for an answer is told the error; there is nobody else to tell.
            let _ = driver.await;
        });
        Ok(Connection { server: server.clone(), sender })
    }

    /// Whether it took part in an exchange and can again.
    pub fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }

    /// Waits until the exchange before is over; false where the connection is closed.
    pub async fn becomes_ready(&mut self) -> bool {
        self.is_open() && self.sender.ready().await.is_ok()
    }

    pub async fn exchange(
        &mut self,
        method: &Method,
        target: &str,
        headers: &Headers,
        body: Body,
        time_max: Duration,
    ) -> Result<Response<Incoming>, ClientError> {
        let body = match body {
            Body::Bytes(bytes) => Full::new(bytes).boxed_unsync(),
            Body::Stream(stream) => stream,
        };
        let mut request = http::Request::builder()
            .method(method)
            .uri(target)
            .header(http::header::HOST, self.server.authority())
            .header(http::header::USER_AGENT, concat!("balsa/", env!("CARGO_PKG_VERSION")))
            .body(body)
            .map_err(|error| ClientError::Unexpected(format!("{target}: no sound request ({error})")))?;
        request.headers_mut().extend(headers.iter().cloned());
        match tokio::time::timeout(time_max, self.sender.send_request(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(ClientError::broken(&self.server, &error)),
            Err(_) => Err(ClientError::late(&self.server, time_max)),
        }
    }
}
