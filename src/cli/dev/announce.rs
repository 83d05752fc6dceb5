//! What `balsa dev` tells its user, or the program that started it.
//!
//! Text: the nodes once they are ready on standard output, events on standard error. JSON: everything on standard
//! output, an object a line; the first has `"event": "ready"` and all nodes.

use super::plan::RunningNode;
use super::{Failure, Outcome};
use serde_json::{Value, json};
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Style {
    Text,
    Json,
}

/// Something that happened to one node after the cluster was ready.
pub enum NodeEvent {
    /// It ended by itself. `again_in` is `None` where it stays away; `reason` says why.
    Ended {
        how: String,
        code: Option<i32>,
        signal: Option<i32>,
        again_in: Option<Duration>,
        reason: &'static str,
    },
    Started,
    Ready,
}

/// Speaks to the user.
pub struct Announcer {
    style: Style,
    started: Instant,
    home: PathBuf,
    ephemeral: bool,
}

impl Announcer {
    pub fn new(style: Style, started: Instant, home: PathBuf, ephemeral: bool) -> Announcer {
        Announcer { style, started, home, ephemeral }
    }

    /// All nodes take requests.
    pub fn ready(&mut self, nodes: &[RunningNode]) -> Outcome {
        let text = match self.style {
            Style::Text => self.ready_text(nodes),
            Style::Json => format!("{}\n", self.ready_json(nodes)),
        };
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| Failure::output(&error))
    }

    /// Something happened to a node. A reader that went away does not end the cluster.
    pub fn event(&mut self, node_id: u16, pid: u32, event: &NodeEvent) {
        match self.style {
            Style::Text => {
                let _ = writeln!(io::stderr(), "balsa: {}", event_text(node_id, pid, event));
            }
            Style::Json => {
                let mut out = io::stdout().lock();
                let _ = writeln!(out, "{}", event_json(node_id, pid, event)).and_then(|()| out.flush());
            }
        }
    }

    fn ready_text(&self, nodes: &[RunningNode]) -> String {
        let version = env!("CARGO_PKG_VERSION");
        let count = if nodes.len() == 1 { "1 node is".to_owned() } else { format!("{} nodes are", nodes.len()) };
        let seconds = self.started.elapsed().as_secs_f64();
        let kept = if self.ephemeral { "removed at the end" } else { "kept" };
        let home = self.home.display();
        let mut text = format!("balsa {version}: {count} ready after {seconds:.2} s. Data in {home} ({kept}).\n\n");
        for RunningNode { plan, pid, .. } in nodes {
            let (id, http, kafka, peer) = (plan.node_id, plan.http, plan.kafka, plan.peer);
            text += &format!("  node {id}   http://{http}   kafka {kafka}   peer {peer}   process {pid}\n");
        }
        let write_to = nodes[0].plan.http;
        let read_from = nodes[nodes.len() - 1].plan.http;
        text += &format!(
            "\nWrite a record, and read it back:\n\n  \
             curl http://{write_to}/v1/topics/hello/records -H 'Content-Type: application/json' \
             -d '{{\"records\": [{{\"value\": \"hello, world\"}}]}}'\n  \
             curl http://{read_from}/v1/topics/hello/partitions/0/records\n\nCtrl-C stops all.\n"
        );
        text
    }

    fn ready_json(&self, nodes: &[RunningNode]) -> Value {
        let nodes: Vec<Value> = nodes.iter().map(node_json).collect();
        json!({
            "event": "ready",
            "ready_after_ms": u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            "data_dir": self.home.display().to_string(),
            "nodes": nodes,
        })
    }
}

fn node_json(node: &RunningNode) -> Value {
    json!({
        "node_id": node.plan.node_id,
        "pid": node.pid,
        "url": format!("http://{}", node.plan.http),
        "http": node.plan.http.to_string(),
        "kafka": node.plan.kafka.to_string(),
        "peer": node.plan.peer.to_string(),
        "data_dir": node.data_dir.display().to_string(),
    })
}

fn event_text(node_id: u16, pid: u32, event: &NodeEvent) -> String {
    match event {
        NodeEvent::Ended { how, again_in: Some(time), .. } => {
            format!("node {node_id} (process {pid}) {how}; starting it again in {:.1} s", time.as_secs_f64())
        }
        NodeEvent::Ended { how, again_in: None, reason, .. } => {
            format!("node {node_id} (process {pid}) {how}; it stays down: {reason}")
        }
        NodeEvent::Started => format!("node {node_id} was started again (process {pid})"),
        NodeEvent::Ready => format!("node {node_id} is ready again (process {pid})"),
    }
}

fn event_json(node_id: u16, pid: u32, event: &NodeEvent) -> Value {
    match event {
        NodeEvent::Ended { how, code, signal, again_in, reason } => json!({
            "event": "node_ended", "node_id": node_id, "pid": pid, "how": how, "code": code, "signal": signal,
            "again_in_ms": again_in.map(|time| time.as_millis() as u64), "reason": reason,
        }),
        NodeEvent::Started => json!({"event": "node_started", "node_id": node_id, "pid": pid}),
        NodeEvent::Ready => json!({"event": "node_ready", "node_id": node_id, "pid": pid}),
    }
}
