//! What is broken, and how it is healed. A family of faults has a file; all are listed in [`ALL`].
//!
//! A fault is *planned* from the seed alone (which nodes, when, for how long: see [`schedule`]), *begun*, and *ended* by
//! whatever heals it. Faults overlap; each heals only what it broke. [`driver`] carries a schedule out and writes each
//! begin and end into the history.
//!
//! Invariant: what a fault takes away is in its [`Footprint`], and a schedule never takes away a majority for longer
//! than a single fault of all nodes lasts.

pub mod clock;
pub mod corrupt;
pub mod disk_full;
pub mod driver;
pub mod fsync_error;
pub mod kill;
pub mod links;
pub mod partition;
pub mod pause;
pub mod power_cut;
pub mod schedule;

use crate::cluster::Cluster;
use crate::cluster::capabilities::{Capabilities, Capability};
use crate::cluster::leaders::Leaders;
use crate::cluster::network::{Network, Way};
use crate::cluster::node::{Hold, Node};
use anyhow::Context;
use futures::future::BoxFuture;
use rand::Rng;
use rand::rngs::StdRng;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// Where faults work.
pub struct Field {
    pub cluster: Arc<Cluster>,
    pub leaders: Arc<Leaders>,
}

impl Field {
    /// The links between the nodes, which faults of the network need.
    pub fn network(&self) -> anyhow::Result<&Network> {
        self.cluster.network.as_ref().context("there is no network of our own")
    }
}

/// All links between two sets of nodes, in both directions.
pub fn between(one: &[u16], other: &[u16]) -> Vec<Way> {
    one.iter().flat_map(|from| other.iter().flat_map(move |to| [(*from, *to), (*to, *from)])).collect()
}

/// What a fault will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct What {
    pub variant: &'static str,
    /// The nodes that it hits; none where that is the leader of the moment.
    pub nodes: Vec<u16>,
    /// The links that it hits, by direction.
    pub ways: Vec<Way>,
    pub footprint: Footprint,
    pub lasts: Duration,
    /// For whatever else is to be drawn while it is done.
    pub draw: u64,
}

/// Which nodes cannot be counted on while it lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Footprint {
    Nodes(Vec<u16>),
    /// One, and nobody knows yet which.
    Leader,
    Everything,
}

/// A fault that has begun, and what healing it needs.
pub struct Begun {
    pub nodes: Vec<u16>,
    /// For people.
    pub detail: String,
    /// Kept until it has ended: nobody else does something with these nodes.
    pub holds: Vec<Hold>,
}

impl Begun {
    pub fn of(nodes: Vec<u16>, detail: impl Into<String>, holds: Vec<Hold>) -> Begun {
        Begun { nodes, detail: detail.into(), holds }
    }
}

pub trait Fault: Send + Sync {
    fn name(&self) -> &'static str;

    /// One line for people.
    fn about(&self) -> &'static str;

    fn needs(&self) -> &'static [Capability];

    /// Whether it stays until the load ends, and comes once in a run.
    fn stays(&self) -> bool {
        false
    }

    /// Draws what it will do to a cluster of so many nodes.
    fn plan(&self, random: &mut StdRng, nodes: u16) -> What;

    /// Breaks it. `number` is the fault's own in this run.
    fn begin<'a>(&'a self, field: &'a Field, what: &'a What, number: u64) -> BoxFuture<'a, anyhow::Result<Begun>>;

    /// Heals it.
    fn end<'a>(
        &'a self,
        field: &'a Field,
        what: &'a What,
        begun: &'a Begun,
        number: u64,
    ) -> BoxFuture<'a, anyhow::Result<()>>;
}

pub const ALL: [&dyn Fault; 13] = [
    &kill::Kill,
    &kill::KillLeader,
    &pause::Pause,
    &partition::Partition,
    &links::Lossy,
    &links::Slow,
    &links::Delay,
    &clock::Clock,
    &power_cut::PowerCut,
    &disk_full::DiskFull,
    &fsync_error::FsyncError,
    &corrupt::Corrupt,
    &Membership,
];

/// The fault of a name.
pub fn named(name: &str) -> anyhow::Result<&'static dyn Fault> {
    ALL.into_iter().find(|fault| fault.name() == name).ok_or_else(|| {
        let names: Vec<&str> = ALL.iter().map(|fault| fault.name()).collect();
        anyhow::anyhow!("there is no fault {name:?}; there are {}", names.join(", "))
    })
}

/// Why a fault cannot be done here, if so.
pub fn not_done(fault: &dyn Fault, capabilities: &Capabilities) -> Option<String> {
    if fault.name() == Membership.name() {
        return Some("not built: the product has no interface for it yet".to_owned());
    }
    let missing = |need: &Capability| Some(format!("{}: {}", need.name(), capabilities.missing(*need)?));
    fault.needs().iter().find_map(missing)
}

/// Changes of membership: an interface that the product does not have yet. Listed, so that every report says that it
/// was not tested.
pub struct Membership;

impl Fault for Membership {
    fn name(&self) -> &'static str {
        "membership"
    }

    fn about(&self) -> &'static str {
        "replicas are moved while others break (not built: the product has no interface for it yet)"
    }

    fn needs(&self) -> &'static [Capability] {
        &[]
    }

    fn plan(&self, _: &mut StdRng, _: u16) -> What {
        what("none", vec![], Footprint::Nodes(vec![]), Duration::ZERO)
    }

    fn begin<'a>(&'a self, _: &'a Field, _: &'a What, _: u64) -> BoxFuture<'a, anyhow::Result<Begun>> {
        Box::pin(async { anyhow::bail!("the product has no interface for it yet") })
    }

    fn end<'a>(&'a self, _: &'a Field, _: &'a What, _: &'a Begun, _: u64) -> BoxFuture<'a, anyhow::Result<()>> {
        Box::pin(async { Ok(()) })
    }
}

/// A plan without links, whose draw is to be made.
fn what(variant: &'static str, nodes: Vec<u16>, footprint: Footprint, lasts: Duration) -> What {
    What { variant, nodes, ways: vec![], footprint, lasts, draw: 0 }
}

/// So many milliseconds, drawn.
fn lasting(random: &mut StdRng, ms: Range<u64>) -> Duration {
    Duration::from_millis(random.random_range(ms))
}

fn one_node(random: &mut StdRng, nodes: u16) -> u16 {
    random.random_range(1..=nodes)
}

/// All nodes in a drawn order.
fn shuffled(random: &mut StdRng, nodes: u16) -> Vec<u16> {
    use rand::seq::SliceRandom;
    let mut all: Vec<u16> = (1..=nodes).collect();
    all.shuffle(random);
    all
}

/// How many nodes can be taken away.
pub fn minority(nodes: u16) -> u16 {
    (nodes - 1) / 2
}

/// Holds nodes, in the order of their numbers, so that two faults never wait for each other.
async fn hold(field: &Field, nodes: &[u16]) -> Vec<Hold> {
    let mut sorted = nodes.to_vec();
    sorted.sort_unstable();
    let mut holds = Vec::new();
    for node in sorted {
        holds.push(field.cluster.node(node).hold().await);
    }
    holds
}

/// The node that leads most and that nobody else does something with.
fn leader(field: &Field) -> anyhow::Result<(Arc<Node>, Hold)> {
    let candidates = field.leaders.by_count().into_iter().map(|number| field.cluster.node(number));
    let mut free =
        candidates.filter(|node| node.pid().is_some()).filter_map(|node| Some((node.clone(), node.try_hold()?)));
    free.next().ok_or_else(|| anyhow::anyhow!("no leader is known that is not hit already"))
}
