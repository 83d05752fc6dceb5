//! What each node of a `dev` cluster is started with.

use super::home::Home;
use super::{Arguments, Failure, Outcome};
use crate::cli::serve;
use crate::config::FlagValue;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;

/// One node to be.
#[derive(Clone, Debug)]
pub struct NodePlan {
    pub node_id: u16,
    pub http: SocketAddr,
    pub kafka: SocketAddr,
    pub peer: SocketAddr,
    /// All nodes, as `serve --peers` takes them.
    peers: String,
}

/// One node that runs, for announcing it.
#[derive(Clone, Debug)]
pub struct RunningNode {
    pub plan: NodePlan,
    pub pid: u32,
    pub data_dir: PathBuf,
}

/// Lays out the nodes.
///
/// # Errors
/// When the ports don't fit below 65536.
pub fn plan(arguments: &Arguments) -> Result<Vec<NodePlan>, Failure> {
    let address = |flag: &str, first: u16, position: u16| {
        let port = first.checked_add(position).filter(|_| first > 0).ok_or_else(|| {
            Failure::usage(format_args!("{flag} {first}: no ports for {} nodes from there", arguments.nodes))
        })?;
        Ok::<SocketAddr, Failure>(SocketAddr::from(([127, 0, 0, 1], port)))
    };
    let mut plans = Vec::new();
    for position in 0..arguments.nodes {
        plans.push(NodePlan {
            node_id: position + 1,
            http: address("--http-port", arguments.http_port, position)?,
            kafka: address("--kafka-port", arguments.kafka_port, position)?,
            peer: address("--peer-port", arguments.peer_port, position)?,
            peers: String::new(),
        });
    }
    let peers: Vec<String> = plans.iter().map(|plan| format!("{}={}", plan.node_id, plan.peer)).collect();
    for plan in &mut plans {
        plan.peers = peers.join(",");
    }
    Ok(plans)
}

/// Sees whether all ports are free, before anything is started.
pub fn check_ports(plans: &[NodePlan]) -> Outcome {
    for plan in plans {
        let listeners = [
            ("HTTP", "--http-port", plan.http),
            ("Kafka", "--kafka-port", plan.kafka),
            ("peer", "--peer-port", plan.peer),
        ];
        for (what, flag, address) in listeners {
            if let Err(error) = TcpListener::bind(address) {
                let node = plan.node_id;
                let reason = if error.kind() == std::io::ErrorKind::AddrInUse {
                    format!("in use; stop what listens there (another balsa?), or choose other ports with {flag}")
                } else {
                    format!("not usable ({error}); choose other ports with {flag}")
                };
                return Err(Failure::failed(format_args!("{address}, the {what} address of node {node}, is {reason}")));
            }
        }
    }
    Ok(())
}

impl NodePlan {
    /// The settings of this node, as configuration flags.
    pub fn flags(&self, home: &Home, arguments: &Arguments) -> Result<Vec<FlagValue>, Failure> {
        let flag = |flag, key, value: String| FlagValue { flag, key, value };
        let mut flags = vec![
            flag("dev", "auto_create_topics", "true".to_owned()),
            flag("dev", "node_id", self.node_id.to_string()),
            flag("--data-dir", "data_dir", home.node(self.node_id).display().to_string()),
            flag("--http-port", "http.listen", self.http.to_string()),
            flag("--kafka-port", "kafka.listen", self.kafka.to_string()),
            flag("--peer-port", "peer.listen", self.peer.to_string()),
            flag("--peer-port", "peers", self.peers.clone()),
            flag("--log-level", "log.level", arguments.log_level.clone()),
        ];
        for assignment in &arguments.set {
            flags.push(serve::assigned(assignment)?);
        }
        Ok(flags)
    }

    /// The same for `balsa serve` in another process.
    pub fn command_line(&self, home: &Home, arguments: &Arguments) -> Vec<String> {
        let mut line = vec!["serve".to_owned()];
        let mut add = |flag: &str, value: String| line.extend([flag.to_owned(), value]);
        add("--supervised-by", std::process::id().to_string());
        add("--node-id", self.node_id.to_string());
        add("--data-dir", home.node(self.node_id).display().to_string());
        add("--http", self.http.to_string());
        add("--kafka", self.kafka.to_string());
        add("--peer", self.peer.to_string());
        add("--peers", self.peers.clone());
        add("--log-level", arguments.log_level.clone());
        add("--set", "auto_create_topics=true".to_owned());
        for assignment in &arguments.set {
            add("--set", assignment.clone());
        }
        line
    }

    /// This node, running as process `pid`.
    pub fn running(&self, home: &Home, pid: u32) -> RunningNode {
        RunningNode { plan: self.clone(), pid, data_dir: home.node(self.node_id) }
    }
}
