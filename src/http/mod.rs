//! The HTTP front: routes, requests and answers, errors, limits, the server loop.
//!
//! Purpose: turn HTTP requests into calls of [`Broker`] and its answers into HTTP. Invariants: every refusal is a
//! [`Problem`] (RFC 9457), never an empty body and never a 500 for what a client sent; [`errors`] is the only place
//! where broker errors become statuses; nothing is buffered beyond [`HttpConfig`]'s limits.
//!
//! Not here: any knowledge of Raft, storage or where a partition's leader is.

pub mod accept;
pub mod body;
pub mod cluster;
pub mod connection;
pub mod cursor;
pub mod errors;
pub mod fetch;
#[cfg(test)]
mod fetch_fake;
pub mod fetch_page;
pub mod fetch_query;
pub mod fetch_source;
#[cfg(test)]
mod fetch_tests;
pub mod fetch_topic;
pub mod fetch_value;
pub mod fields;
pub mod group_poll;
pub mod groups;
pub mod json_record;
pub mod json_scan;
pub mod ndjson;
pub mod ndjson_lines;
pub mod ndjson_outbox;
pub mod openapi;
pub mod openapi_groups;
pub mod openapi_paths;
pub mod openapi_schemas;
pub mod page_problems;
pub mod path;
pub mod problem;
pub mod produce;
pub mod produce_answer;
pub mod produce_plan;
pub mod produce_request;
pub mod produce_sticky;
pub mod query;
pub mod render;
pub mod render_scan;
pub mod server;
pub mod sse;
pub mod topics;

use crate::broker::Broker;
use crate::tasks::Tasks;
use axum::Router;
use axum::http::{Method, Uri};
use axum::response::Response;
use std::sync::Arc;
use std::time::Duration;

pub use problem::Problem;

/// Limits of the HTTP front.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpConfig {
    /// Largest request body as it comes over the wire (ndjson streams have no such limit).
    pub body_bytes_max: usize,
    /// Largest request body after inflating.
    pub inflated_body_bytes_max: usize,
    /// All bodies that are being read at the same time; beyond it clients are told to wait.
    pub bodies_bytes_max: usize,
    /// Longest line of an ndjson stream.
    pub line_bytes_max: usize,
    /// Largest request line with headers.
    pub header_bytes_max: usize,
    /// Connections at the same time; one more is told 503.
    pub connections_max: usize,
    /// How long a connection may take to send a request's line and headers.
    pub header_timeout: Duration,
    /// How long a connection may stay open without a request.
    pub idle_timeout: Duration,
    /// How long a request's body may pause.
    pub body_pause_max: Duration,
    /// How long open requests may take to end once the node stops.
    pub shutdown_grace: Duration,
}

impl Default for HttpConfig {
    fn default() -> HttpConfig {
        HttpConfig {
            body_bytes_max: 8 << 20,
            inflated_body_bytes_max: 32 << 20,
            bodies_bytes_max: 512 << 20,
            line_bytes_max: 1 << 20,
            header_bytes_max: 16 << 10,
            connections_max: 4096,
            header_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(300),
            body_pause_max: Duration::from_secs(60),
            shutdown_grace: Duration::from_secs(3),
        }
    }
}

/// What every handler gets: `State(app): State<AppState>`.
pub struct App {
    pub broker: Broker,
    pub tasks: Tasks,
    pub config: HttpConfig,
    pub bodies: body::Bodies,
    /// Where records without key and partition go.
    pub sticky: produce_sticky::Sticky,
}

/// The shared state of the routes.
pub type AppState = Arc<App>;

/// All routes of the node.
pub fn router(broker: Broker, tasks: Tasks, config: HttpConfig) -> Router {
    let bodies = body::Bodies::new(config.clone(), tasks.clone());
    let app = Arc::new(App { sticky: produce_sticky::Sticky::new(&broker), broker, tasks, config, bodies });
    Router::new()
        .merge(produce::routes())
        .merge(fetch::routes())
        .merge(topics::routes())
        .merge(cluster::routes())
        .merge(groups::routes())
        .merge(group_poll::routes())
        .merge(openapi::routes())
        .merge(page_problems::routes())
        .fallback(unknown_path)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(app)
}

/// The answer for a path that no route has.
async fn unknown_path(uri: Uri) -> Problem {
    let path = uri.path();
    if let Some(what) = planned(path) {
        return Problem::new(
            &problem::NOT_IN_THIS_VERSION,
            format!("{what} are not part of this version of Balsa; GET /openapi.json lists what is"),
        );
    }
    Problem::new(
        &problem::NOT_FOUND,
        format!("there is nothing at {path:?}; GET /openapi.json lists all paths, and topics live under /v1/topics"),
    )
}

/// What a path would belong to that a later version brings.
fn planned(path: &str) -> Option<&'static str> {
    let within = |root: &str| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if path == "/" {
        Some("the console's pages (/)")
    } else if within("/topics") || within("/consumers") {
        Some("REST Proxy v2 paths")
    } else if within("/v3") {
        Some("REST Proxy v3 paths")
    } else if path.starts_with("/v1/topics/") && path.ends_with("/trim") {
        Some("trims (/v1/topics/{topic}/partitions/{partition}/trim)")
    } else {
        None
    }
}

/// The answer for a known path with another method; axum adds `Allow`.
async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    Problem::new(
        &problem::METHOD_NOT_ALLOWED,
        format!("{} does not take {method}; the Allow header of this answer lists what it takes", uri.path()),
    )
}

/// Put into an answer's extensions, keeps it from being compressed: it flows while it is made, and must not be held
/// back in a compressor.
#[derive(Clone, Copy, Debug)]
pub struct Streamed;

/// What handlers give back: an answer, or the problem that is the answer.
pub type Answer = Result<Response, Problem>;
