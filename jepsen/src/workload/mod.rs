//! What the clients do, through the public interfaces only. Each workload has a file; all are listed in [`ALL`].
//!
//! | module | what it does |
//! |---|---|
//! | [`append`], [`cas`], [`tail`], [`topics`], [`acks1`], [`kafka`] | the workloads |
//! | [`world`] | what all clients of a run share: recorders, keys, counts |
//! | [`lane`] | one client process after the other, each with its own number and connections |
//! | [`send`], [`poll`] | one operation, recorded, with its outcome told apart strictly |
//! | [`arrivals`] | open load: operations come at a rate, whether or not those before are done |
//! | [`last`] | the last phase: everything is read once more from the beginning |
//! | [`record`] | what a record holds, so that a changed one is noticed |
//!
//! A new interface of the product is a new file here, and a line in [`ALL`].

pub mod acks1;
pub mod append;
pub mod arrivals;
pub mod cas;
pub mod http;
pub mod kafka;
pub mod lane;
pub mod last;
pub mod poll;
pub mod record;
pub mod retry;
pub mod send;
pub mod tail;
pub mod topics;
pub mod world;

use futures::future::BoxFuture;
use lane::Lane;
use std::sync::Arc;
use world::World;

/// What a client does until the load ends.
pub type Client = BoxFuture<'static, ()>;

pub trait Workload: Send + Sync {
    fn name(&self) -> &'static str;

    /// One line for people.
    fn about(&self) -> &'static str;

    /// Whether acknowledged records may be lost, so that a loss is counted, and is no anomaly.
    fn loss_is_allowed(&self) -> bool {
        false
    }

    /// Whether it writes the history of a log's end too.
    fn has_log_end(&self) -> bool {
        false
    }

    /// Makes topics. The cluster is sound, and nothing is broken yet.
    fn prepare<'a>(&'a self, world: &'a Arc<World>) -> BoxFuture<'a, anyhow::Result<()>>;

    /// How many clients (lanes) there are.
    fn clients(&self, world: &World) -> usize {
        world.load.clients + world.load.readers
    }

    /// Client number `number`, from 0. Ends soon after `world.stop`.
    fn client(&self, world: Arc<World>, number: usize, lane: Lane) -> Client;
}

pub const ALL: [&dyn Workload; 6] =
    [&append::Append, &cas::Cas, &tail::Tail, &topics::Topics, &acks1::Acks1, &kafka::Kafka];

/// The workload of a name.
pub fn named(name: &str) -> anyhow::Result<&'static dyn Workload> {
    ALL.into_iter().find(|workload| workload.name() == name).ok_or_else(|| {
        let names: Vec<&str> = ALL.iter().map(|workload| workload.name()).collect();
        anyhow::anyhow!("there is no workload {name:?}; there are {}", names.join(", "))
    })
}
