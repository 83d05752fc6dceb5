//! A small HTTP/1.1 client for the public API, for the commands of the command line.
//!
//! It knows a list of servers and stays with one as long as that answers. A request that surely did not reach a server
//! goes to the next one; one that may have been carried out goes there only if it may be repeated. It does not follow
//! redirects, speak TLS, or hide a problem that a server reports.
//!
//! Invariants: one request at a time for each `Client`; every request has a deadline, except the body of a stream.

mod connection;
mod problem;
mod server;

pub use connection::{Body, Headers, Request};
pub use problem::{ClientError, Problem};
pub use server::Server;

use bytes::Bytes;
use connection::Connection;
use http::Response;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::time::Duration;

/// For a connection to be made. Short, since the next server may answer at once.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(2);

/// What speaks to the servers of one cluster.
pub struct Client {
    servers: Vec<Server>,
    current: usize,
    connection: Option<Connection>,
}

impl Client {
    /// A client that begins with the first of `servers`.
    ///
    /// # Panics
    /// Without any server.
    pub fn new(servers: Vec<Server>) -> Client {
        assert!(!servers.is_empty(), "a client has at least one server");
        Client { servers, current: 0, connection: None }
    }

    /// The server that gets the next request.
    pub fn server(&self) -> &Server {
        &self.servers[self.current]
    }

    /// Goes on to the next server.
    pub fn turn(&mut self) {
        self.connection = None;
        self.current = (self.current + 1) % self.servers.len();
    }

    /// Sends a request and gives the answer's head; its body is still to be read.
    ///
    /// # Errors
    /// Where no server could be reached, an answer failed to come, or it is a problem (any status from 400).
    pub async fn send(&mut self, request: Request) -> Result<Response<Incoming>, ClientError> {
        let Request { method, target, headers, body, time_max, repeatable } = request;
        let mut body = Some(body);
        let mut failures = Vec::new();
        for attempt in 0..=self.servers.len() {
            let reused = self.connection.as_ref().is_some_and(Connection::is_open);
            let mut connection = match self.connect().await {
                Ok(connection) => connection,
                Err(failure) => {
                    failures.push(failure);
                    self.turn();
                    if attempt + 1 >= self.servers.len() {
                        break;
                    }
                    continue;
                }
            };
            let (this, kept) = Body::split(body.take(), repeatable);
            let Some(this) = this else { break };
            body = kept;
            match connection.exchange(&method, &target, &headers, this, time_max).await {
                Ok(response) => {
                    self.connection = Some(connection);
                    return problem::checked(response).await;
                }
                // A kept connection may have been closed by the server just now.
                Err(failure) if body.is_some() && attempt < self.servers.len() => {
                    failures.push(failure);
                    if !reused {
                        self.turn();
                    }
                }
                Err(failure) => return Err(failure),
            }
        }
        Err(failures.into_iter().next_back().unwrap_or_else(|| ClientError::unreachable("no server was tried")))
    }

    /// Sends a request and gives the whole body of the answer.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn fetch(&mut self, request: Request) -> Result<Bytes, ClientError> {
        let time_max = request.time_max;
        let server = self.server().clone();
        let response = self.send(request).await?;
        let body = tokio::time::timeout(time_max, response.into_body().collect()).await;
        match body {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) => {
                self.turn();
                Err(ClientError::broken(&server, &error))
            }
            Err(_) => {
                self.turn();
                Err(ClientError::late(&server, time_max))
            }
        }
    }

    async fn connect(&mut self) -> Result<Connection, ClientError> {
        if let Some(mut connection) = self.connection.take()
            && connection.becomes_ready().await
        {
            return Ok(connection);
        }
        Connection::open(self.server(), CONNECT_TIME_MAX).await
    }
}
