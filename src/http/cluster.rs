//! The cluster and its nodes; whether this node lives and is ready; its metrics.
//!
//! `/livez` asks nothing but that the process answers. `/readyz` is 503 while requests had better go to another node.

use super::problem::{self, Problem};
use super::query::{Query, number, shown};
use super::topics::json;
use super::{Answer, AppState};
use crate::broker::{NodeView, ReadyCheck};
use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use utoipa::ToSchema;

/// The cluster.
#[derive(Serialize, ToSchema)]
pub struct ClusterDescription {
    id: String,
    /// Of the node that answers.
    version: String,
    /// The node that leads the meta group; null while there is none.
    controller: Option<u64>,
    topics: u64,
    partitions: u64,
    nodes: Vec<NodeDescription>,
}

/// All nodes.
#[derive(Serialize, ToSchema)]
pub struct NodeList {
    nodes: Vec<NodeDescription>,
}

/// One node.
#[derive(Serialize, ToSchema)]
pub struct NodeDescription {
    id: u64,
    uuid: String,
    version: String,
    addresses: Addresses,
    rack: Option<String>,
    /// `alive`, `silent`, `gone` or `unknown`.
    state: String,
    /// Whether it leads the meta group.
    controller: bool,
    /// Partitions that it leads.
    leaders: u64,
    /// Partitions of which it holds a replica.
    replicas: u64,
    disk: Disk,
}

/// Where a node listens.
#[derive(Serialize, ToSchema)]
pub struct Addresses {
    http: String,
    kafka: Option<String>,
    peer: String,
}

/// The file system of a node's data directory; null where it is not known.
#[derive(Serialize, ToSchema)]
pub struct Disk {
    total_bytes: Option<u64>,
    free_bytes: Option<u64>,
}

/// This module's routes.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/v1/cluster", get(cluster))
        .route("/v1/nodes", get(nodes))
        .route("/v1/nodes/{node}", get(node))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
}

async fn cluster(State(app): State<AppState>, RawQuery(raw): RawQuery) -> Answer {
    Query::parse(raw.as_deref(), &[])?;
    let view = app.broker.cluster().await;
    let document = ClusterDescription {
        id: view.cluster_id,
        version: view.version,
        controller: view.controller.map(|node| node.0),
        topics: view.topics,
        partitions: view.partitions,
        nodes: view.nodes.into_iter().map(description).collect(),
    };
    Ok(json(StatusCode::OK, &document))
}

async fn nodes(State(app): State<AppState>, RawQuery(raw): RawQuery) -> Answer {
    Query::parse(raw.as_deref(), &[])?;
    let nodes = app.broker.cluster().await.nodes.into_iter().map(description).collect();
    Ok(json(StatusCode::OK, &NodeList { nodes }))
}

async fn node(State(app): State<AppState>, Path(text): Path<String>, RawQuery(raw): RawQuery) -> Answer {
    Query::parse(raw.as_deref(), &[])?;
    let Some(id) = number(&text) else {
        return Err(Problem::new(
            &problem::BAD_PATH,
            format!("{} is no node id: node ids are whole numbers; GET /v1/nodes lists them", shown(&text)),
        ));
    };
    let view = app.broker.cluster().await.nodes.into_iter().find(|view| view.id.0 == id);
    let view = view.ok_or_else(|| {
        Problem::new(
            &problem::UNKNOWN_NODE,
            format!("there is no node {id}; GET /v1/nodes lists those of this cluster"),
        )
        .with("node", id)
    })?;
    Ok(json(StatusCode::OK, &description(view)))
}

fn description(view: NodeView) -> NodeDescription {
    NodeDescription {
        id: view.id.0,
        uuid: view.uuid,
        version: view.version,
        addresses: Addresses { http: view.http_address, kafka: view.kafka_address, peer: view.peer_address },
        rack: view.rack,
        state: view.state,
        controller: view.controller,
        leaders: view.leaders,
        replicas: view.replicas,
        disk: Disk { total_bytes: view.disk_total_bytes, free_bytes: view.disk_free_bytes },
    }
}

async fn livez(RawQuery(raw): RawQuery) -> Answer {
    Query::parse(raw.as_deref(), &["verbose"])?.flag("verbose")?;
    Ok(text(StatusCode::OK, "ok\n".to_owned()))
}

async fn readyz(State(app): State<AppState>, RawQuery(raw): RawQuery) -> Answer {
    let verbose = Query::parse(raw.as_deref(), &["verbose"])?.flag("verbose")?;
    let checks = app.broker.readiness().await;
    readiness(&checks, verbose)
}

/// Ready when every check holds. The failed checks are always told, all of them on demand.
fn readiness(checks: &[ReadyCheck], verbose: bool) -> Answer {
    let failed: Vec<&ReadyCheck> = checks.iter().filter(|check| !check.ok).collect();
    let lines = |checks: &mut dyn Iterator<Item = &ReadyCheck>| -> String {
        checks
            .map(|check| format!("[{}] {}: {}\n", if check.ok { "ok" } else { "failed" }, check.name, check.detail))
            .collect()
    };
    if failed.is_empty() {
        let body = if verbose { lines(&mut checks.iter()) + "ok\n" } else { "ok\n".to_owned() };
        return Ok(text(StatusCode::OK, body));
    }
    if verbose {
        let mut response = text(StatusCode::SERVICE_UNAVAILABLE, lines(&mut checks.iter()) + "not ready\n");
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(1));
        return Ok(response);
    }
    let names: Vec<String> = failed.iter().map(|check| format!("{}: {}", check.name, check.detail)).collect();
    let checks: Vec<&str> = failed.iter().map(|check| check.name).collect();
    Err(Problem::new(
        &problem::NOT_READY,
        format!("the node is not ready ({}); use another node, or retry", names.join("; ")),
    )
    .with("checks", checks)
    .retry_after_ms(1000))
}

async fn metrics(State(app): State<AppState>, RawQuery(raw): RawQuery) -> Answer {
    Query::parse(raw.as_deref(), &[])?;
    let media_type = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    Ok(([(header::CONTENT_TYPE, media_type)], app.broker.metrics_text()).into_response())
}

fn text(status: StatusCode, body: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (status, headers, body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &'static str, ok: bool) -> ReadyCheck {
        ReadyCheck { name, ok, detail: "why".to_owned() }
    }

    #[test]
    fn ready_means_every_check_holds() {
        let good = [check("catalog", true), check("storage", true)];
        let bad = [check("catalog", true), check("storage", false)];
        assert_eq!(readiness(&good, false).unwrap().status(), 200);
        assert_eq!(readiness(&bad, true).unwrap().status(), 503);
        let problem = readiness(&bad, false).unwrap_err();
        assert_eq!((problem.status().as_u16(), problem.kind().name), (503, "not-ready"));
        assert!(problem.detail().contains("storage: why") && !problem.detail().contains("catalog"));
    }
}
