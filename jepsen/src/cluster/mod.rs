//! The cluster under test: real processes of the real binary, each on its own network address and disk where this
//! machine allows that.
//!
//! | module | what it does |
//! |---|---|
//! | [`capabilities`] | tries what this machine lets us do |
//! | [`created`] | notes what is made, and removes it |
//! | [`network`] | namespaces, a bridge, links that can be cut |
//! | [`disk`] | disks whose power can be cut, and which can be full |
//! | [`node`] | a process: start, kill, stop |
//! | [`leaders`] | who leads what, as the nodes tell it |
//! | [`binary`] | finds or builds the program under test |
//!
//! Invariant: all that is made outside of the run's directory is noted before it is made. This module breaks nothing
//! by itself: see [`crate::fault`].

pub mod binary;
pub mod capabilities;
pub mod command;
pub mod created;
pub mod disk;
pub mod leaders;
pub mod network;
pub mod node;

use capabilities::{Capabilities, Capability};
use created::Created;
use disk::Disk;
use network::Network;
use node::{Death, Launch, Node};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

/// What a cluster is made of.
#[derive(Clone, Debug)]
pub struct Plan {
    pub nodes: u16,
    pub binary: PathBuf,
    /// The run's directory.
    pub dir: PathBuf,
    /// Where the disk images are.
    pub images: PathBuf,
    /// Nodes see a time of day that can be changed.
    pub fake_time: bool,
    /// Further variables of the nodes' environment.
    pub environment: Vec<(String, String)>,
    /// Further settings of the nodes.
    pub settings: Vec<String>,
}

pub struct Cluster {
    pub nodes: Vec<Arc<Node>>,
    pub network: Option<Network>,
    pub capabilities: Capabilities,
    pub created: Arc<Created>,
    pub dir: PathBuf,
    deaths: parking_lot::Mutex<Option<mpsc::UnboundedReceiver<Death>>>,
    tasks: TaskTracker,
}

/// The addresses of a node.
struct Addresses {
    http: SocketAddr,
    kafka: SocketAddr,
    peer: SocketAddr,
}

/// Where the nodes of a cluster listen: in namespaces on the same ports, otherwise on free ones of this machine.
fn addresses(nodes: u16, in_namespaces: bool) -> anyhow::Result<Vec<Addresses>> {
    if in_namespaces {
        let of = |node, port| SocketAddr::from((network::address(node), port));
        return Ok((1..=nodes)
            .map(|node| Addresses { http: of(node, 8082), kafka: of(node, 9092), peer: of(node, 9192) })
            .collect());
    }
    // Held until all are known, so that no two are the same.
    let mut held = Vec::new();
    let mut free = || -> std::io::Result<SocketAddr> {
        let listener = std::net::TcpListener::bind((IpAddr::V4(Ipv4Addr::LOCALHOST), 0))?;
        let address = listener.local_addr()?;
        held.push(listener);
        Ok(address)
    };
    (0..nodes).map(|_| Ok(Addresses { http: free()?, kafka: free()?, peer: free()? })).collect()
}

/// The file by which a node's time of day is changed.
pub fn time_file(dir: &std::path::Path, node: u16) -> PathBuf {
    dir.join(format!("n{node}.time"))
}

impl Cluster {
    /// Makes disks and plans processes; starts none. To be called from within the network's hub, where there is one.
    pub async fn create(
        plan: &Plan,
        created: Arc<Created>,
        capabilities: Capabilities,
        network: Option<Network>,
    ) -> anyhow::Result<Cluster> {
        if let Some(network) = &network {
            network.prepare().await?;
        }
        let addresses = addresses(plan.nodes, network.is_some())?;
        let peers: Vec<String> =
            addresses.iter().enumerate().map(|(at, of)| format!("{}={}", at + 1, of.peer)).collect();
        let peers = peers.join(",");
        let (deaths_sender, deaths) = mpsc::unbounded_channel();
        let tasks = TaskTracker::new();
        let mut nodes = Vec::new();
        for (number, addresses) in (1..=plan.nodes).zip(&addresses) {
            let dir = plan.dir.join(format!("n{number}"));
            let disk = if capabilities.has(Capability::LoopDisk) {
                Disk::image(&created, dir, plan.images.join(format!("{}-n{number}.img", created.id()))).await?
            } else {
                Disk::plain(dir)?
            };
            let namespace = network.as_ref().map(|_| network::of_node(created.id(), number));
            let launch = Launch {
                program: plan.binary.clone(),
                arguments: arguments(plan, number, addresses, &peers, &disk),
                environment: environment(plan, number)?,
                namespace,
            };
            let (created, deaths) = (created.clone(), deaths_sender.clone());
            let places = (plan.dir.as_path(), created, deaths, tasks.clone());
            nodes.push(Arc::new(Node::new(number, (addresses.http, addresses.kafka), disk, launch, places)));
        }
        let deaths = parking_lot::Mutex::new(Some(deaths));
        Ok(Cluster { nodes, network, capabilities, created, dir: plan.dir.clone(), deaths, tasks })
    }

    pub fn node(&self, number: u16) -> &Arc<Node> {
        &self.nodes[usize::from(number) - 1]
    }

    /// News of processes that ended by themselves. For one listener.
    pub fn deaths(&self) -> Option<mpsc::UnboundedReceiver<Death>> {
        self.deaths.lock().take()
    }

    /// Starts all processes that do not run.
    pub fn start_all(&self) -> anyhow::Result<()> {
        self.nodes.iter().try_for_each(|node| node.start())
    }

    /// Ends all processes in order, and removes what was made outside of the run's directory; with `discard` the
    /// nodes' data too.
    pub async fn remove(&self, discard: bool) -> anyhow::Result<()> {
        for node in &self.nodes {
            // One that was stopped by SIGSTOP would not hear that it is to end.
            node.signal(rustix::process::Signal::CONT);
        }
        let stopped = futures::future::join_all(self.nodes.iter().map(|node| node.stop())).await;
        self.tasks.close();
        // Killing and unmounting are tried again by `remove_all`, which says what it could not do.
        let discarded = if discard && stopped.iter().all(Result::is_ok) {
            futures::future::join_all(self.nodes.iter().map(|node| node.disk.discard())).await
        } else {
            vec![]
        };
        self.created.remove_all().await?;
        discarded.into_iter().collect()
    }
}

fn arguments(plan: &Plan, number: u16, addresses: &Addresses, peers: &str, disk: &Disk) -> Vec<String> {
    let mut line = vec!["serve".to_owned()];
    let mut add = |flag: &str, value: String| line.extend([flag.to_owned(), value]);
    add("--node-id", number.to_string());
    add("--data-dir", disk.data_dir().display().to_string());
    add("--http", addresses.http.to_string());
    add("--kafka", addresses.kafka.to_string());
    add("--peer", addresses.peer.to_string());
    add("--peers", peers.to_owned());
    add("--set", "allow_insecure_listener=true".to_owned());
    // Small, so that files are closed and checkpoints written within a short run, and a disk is filled quickly.
    add("--set", "storage.segment_bytes=1048576".to_owned());
    add("--set", "storage.disk_reserve_bytes=16777216".to_owned());
    for setting in &plan.settings {
        add("--set", setting.clone());
    }
    line
}

fn environment(plan: &Plan, number: u16) -> anyhow::Result<Vec<(String, String)>> {
    let mut environment = plan.environment.clone();
    if plan.fake_time {
        let library = capabilities::fake_time().map_err(anyhow::Error::msg)?;
        let file = time_file(&plan.dir, number);
        std::fs::write(&file, "+0\n")?;
        let mut add = |name: &str, value: String| environment.push((name.to_owned(), value));
        add("LD_PRELOAD", library.display().to_string());
        add("FAKETIME_TIMESTAMP_FILE", file.display().to_string());
        // Read again once a second: at each call would be a file opened for each look at the clock.
        add("FAKETIME_CACHE_DURATION", "1".to_owned());
        add("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned());
    }
    Ok(environment)
}
