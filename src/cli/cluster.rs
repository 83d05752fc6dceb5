//! `balsa cluster status`: the nodes, as the cluster itself sees them.

use super::answer::{Shared, cell};
use super::exit::Outcome;
use super::runtime;
use super::servers::{parsed, table};
use crate::client::Request;
use clap::Subcommand;
use http::Method;
use serde_json::Value;

#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The cluster and its nodes: state, leaders, disk
    Status {
        #[command(flatten)]
        shared: Shared,
    },
}

pub fn run(arguments: Arguments) -> Outcome {
    let Command::Status { shared } = arguments.command;
    runtime::run_client(async {
        let body = shared.servers.client().fetch(Request::new(Method::GET, "/v1/cluster")).await?;
        shared.show(&parsed(&body)?, status)
    })
}

fn status(cluster: &Value) -> String {
    let first = |names: &[&str]| names.iter().map(|name| &cluster[*name]).find(|value| !value.is_null()).map(cell);
    let shown = |names: &[&str]| first(names).unwrap_or_else(|| "-".to_owned());
    let id = shown(&["cluster_id", "id"]);
    let (version, controller) = (shown(&["version"]), shown(&["controller"]));
    let (topics, partitions) = (shown(&["topics"]), shown(&["partitions"]));
    let head = format!(
        "cluster {id}, version {version}, controller node {controller}, {topics} topics, {partitions} partitions\n\n"
    );
    let rows = cluster["nodes"].as_array().into_iter().flatten().map(|node| {
        let free = [&node["disk_free_bytes"], &node["disk"]["free_bytes"]].into_iter().find_map(Value::as_u64);
        vec![
            cell(&node["id"]),
            cell(&node["state"]),
            address(node, "http"),
            address(node, "peer"),
            cell(&node["rack"]),
            cell(&node["leaders"]),
            cell(&node["replicas"]),
            free.map_or_else(|| "-".to_owned(), |bytes| format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))),
        ]
    });
    head + &table(&["node", "state", "http", "peer", "rack", "leaders", "replicas", "disk free"], rows.collect())
}

/// The address of one of a node's listeners.
pub fn address_of(node: &Value, what: &str) -> Option<String> {
    let candidates = [&node[format!("{what}_address")], &node["addresses"][what], &node[what]];
    candidates.into_iter().find(|value| !value.is_null()).map(cell)
}

fn address(node: &Value, what: &str) -> String {
    address_of(node, what).unwrap_or_else(|| "-".to_owned())
}
