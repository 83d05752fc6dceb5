//! A cluster for one measurement: `balsa dev` as a child process, on free ports, with a temporary directory.

use super::failed;
use super::target::Target;
use crate::cli::exit::Failure;
use crate::client::Server;
use crate::random::Random;
use crate::tasks::{OnPanic, Tasks};
use serde_json::Value;
use std::net::TcpListener;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::watch;

const READY_TIME_MAX: Duration = Duration::from_secs(60);
const STOP_TIME_MAX: Duration = Duration::from_secs(10);
/// Ports are sought here, below those that the system gives to clients.
const FIRST_PORT: u64 = 20_000;
const PORTS: u64 = 12_000;
/// Between the first HTTP port and the first peer port, and so on.
const PORTS_OF_A_KIND: u16 = 10;

pub struct Options {
    pub nodes: u16,
    pub restart: bool,
    /// Settings for all nodes, as KEY=VALUE.
    pub settings: Vec<String>,
}

impl Default for Options {
    fn default() -> Options {
        Options { nodes: 3, restart: true, settings: Vec::new() }
    }
}

/// One node as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalNode {
    pub node_id: u64,
    pub pid: i32,
    pub http: String,
    pub ready: bool,
}

pub struct LocalCluster {
    child: Child,
    nodes: watch::Receiver<Vec<LocalNode>>,
    stopped: bool,
}

impl LocalCluster {
    /// Starts the nodes and waits until they are ready.
    pub async fn start(options: &Options) -> Result<LocalCluster, Failure> {
        let mut child = spawn(options)?;
        let stdout = child.stdout.take().expect("standard output was asked to be a pipe");
        let mut lines = BufReader::new(stdout).lines();
        let (sender, receiver) = watch::channel(Vec::new());
        // Ends the nodes where it is dropped below.
        let cluster = LocalCluster { child, nodes: receiver, stopped: false };
        let first = tokio::time::timeout(READY_TIME_MAX, lines.next_line()).await;
        let nodes = match first {
            Ok(Ok(Some(line))) => nodes_of(&line),
            _ => None,
        };
        let Some(nodes) = nodes else {
            return Err(Failure::failed("the cluster for the measurement did not start; its own messages say why"));
        };
        sender.send_replace(nodes);
        Tasks::new().spawn("cluster events", OnPanic::Log, follow(lines, sender));
        Ok(cluster)
    }

    pub fn nodes(&self) -> Vec<LocalNode> {
        self.nodes.borrow().clone()
    }

    /// The nodes as servers, in order of their ids.
    pub fn target(&self) -> Result<Target, Failure> {
        target_of(self.nodes().iter())
    }

    /// The servers without one node.
    pub fn target_without(&self, node_id: u64) -> Result<Target, Failure> {
        target_of(self.nodes().iter().filter(|node| node.node_id != node_id))
    }

    /// Kills a node without warning; gives its process, for telling it from the next one.
    pub fn kill(&self, node_id: u64) -> Result<i32, Failure> {
        let nodes = self.nodes();
        let node = nodes.iter().find(|node| node.node_id == node_id).expect("only nodes of this cluster are killed");
        signal(node.pid, rustix::process::Signal::KILL)?;
        Ok(node.pid)
    }

    /// Waits until a killed process was replaced, and every node is ready.
    pub async fn replaced(&mut self, killed_pid: i32) -> Result<(), Failure> {
        let replaced = |nodes: &Vec<LocalNode>| nodes.iter().all(|node| node.ready && node.pid != killed_pid);
        match tokio::time::timeout(READY_TIME_MAX, self.nodes.wait_for(replaced)).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(Failure::failed("a killed node did not come back")),
        }
    }

    /// Ends all nodes, and waits for it.
    pub async fn stop(mut self) {
        self.ask_to_stop();
        if tokio::time::timeout(STOP_TIME_MAX, self.child.wait()).await.is_err() {
            // Its children die with it.
            let _ = self.child.kill().await;
        }
    }

    fn ask_to_stop(&mut self) {
        if let (false, Some(pid)) = (self.stopped, self.child.id()) {
            // It may have ended by itself.
            let _ = signal(pid.cast_signed(), rustix::process::Signal::TERM);
        }
        self.stopped = true;
    }
}

impl Drop for LocalCluster {
    fn drop(&mut self) {
        self.ask_to_stop();
    }
}

fn target_of<'a>(nodes: impl Iterator<Item = &'a LocalNode>) -> Result<Target, Failure> {
    let servers: Result<Vec<Server>, String> = nodes.map(|node| node.http.parse()).collect();
    servers.map(|servers| Target::new(&servers)).map_err(Failure::failed)
}

/// Sends a signal to a process that this one started.
pub fn signal(pid: i32, signal: rustix::process::Signal) -> Result<(), Failure> {
    let pid = rustix::process::Pid::from_raw(pid).ok_or_else(|| Failure::failed("no process id"))?;
    rustix::process::kill_process(pid, signal).map_err(|error| failed("sending a signal", &error.into()))
}

fn spawn(options: &Options) -> Result<Child, Failure> {
    spawn_at(options, free_ports(options.nodes)?)
}

/// Starts `balsa dev` with its HTTP listeners from `port` on.
pub fn spawn_at(options: &Options, port: u16) -> Result<Child, Failure> {
    let program = std::env::current_exe().map_err(|error| failed("finding this program's own file", &error))?;
    let mut command = Command::new(program);
    command.args(["dev", "--ephemeral", "-o", "json", "--nodes", &options.nodes.to_string()]);
    let flags =
        [("--http-port", port), ("--peer-port", port + PORTS_OF_A_KIND), ("--kafka-port", port + 2 * PORTS_OF_A_KIND)];
    for (flag, port) in flags {
        command.args([flag, &port.to_string()]);
    }
    if !options.restart {
        command.arg("--no-restart");
    }
    for setting in &options.settings {
        command.args(["--set", setting]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command.spawn().map_err(|error| failed("starting a cluster", &error))
}

/// The first of enough ports that nobody listens on now.
pub fn free_ports(nodes: u16) -> Result<u16, Failure> {
    let random = Random::from_system();
    for _ in 0..100 {
        let first = u16::try_from(FIRST_PORT + random.below(PORTS)).expect("the range of ports ends below 65536");
        let ports = (0..3).flat_map(|kind| (0..nodes).map(move |node| first + kind * PORTS_OF_A_KIND + node));
        if ports.map(|port| TcpListener::bind(("127.0.0.1", port))).all(|bound| bound.is_ok()) {
            return Ok(first);
        }
    }
    Err(Failure::failed("no free ports were found"))
}

/// The nodes of the line that `dev -o json` prints once ready.
pub fn nodes_of(line: &str) -> Option<Vec<LocalNode>> {
    let event: Value = serde_json::from_str(line).ok()?;
    let node = |node: &Value| {
        let pid = i32::try_from(node["pid"].as_i64()?).ok()?;
        let http = node["http"].as_str()?.to_owned();
        Some(LocalNode { node_id: node["node_id"].as_u64()?, pid, http, ready: true })
    };
    event["nodes"].as_array()?.iter().map(node).collect()
}

async fn follow(mut lines: Lines<BufReader<ChildStdout>>, nodes: watch::Sender<Vec<LocalNode>>) {
    while let Ok(Some(line)) = lines.next_line().await {
        let event: Value = serde_json::from_str(&line).unwrap_or_default();
        let pid = event["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
        nodes.send_modify(|nodes| {
            let Some(node) = nodes.iter_mut().find(|node| Some(node.node_id) == event["node_id"].as_u64()) else {
                return;
            };
            match event["event"].as_str() {
                Some("node_ended") => node.ready = false,
                Some("node_started") => node.pid = pid.unwrap_or(node.pid),
                Some("node_ready") => node.ready = true,
                _ => {}
            }
        });
    }
}
