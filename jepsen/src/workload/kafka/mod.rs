//! `kafka`: the same records by the Kafka protocol, through an unmodified client library. Idempotent producers with
//! several sends on their way; consumer groups whose members come, go, commit and rebalance, one group eagerly and one
//! cooperatively. What was written is read once more by HTTP in the end.

mod child;
mod member;
mod producer;

use crate::workload::lane::Lane;
use crate::workload::world::World;
use crate::workload::{Client, Workload, topics};
use child::Child;
use futures::future::BoxFuture;
use std::sync::Arc;

/// Clients that share a producer: each has one send on its way, and the producer as many as it has clients.
const CLIENTS_PER_PRODUCER: usize = 8;
/// Groups and how their members share partitions.
const GROUPS: [(&str, &str); 2] = [("eager", "range"), ("cooperative", "cooperative-sticky")];

/// Producers of a run, each shared by some clients.
#[derive(Default)]
pub struct Producers(parking_lot::Mutex<std::collections::BTreeMap<usize, Arc<Child>>>);

pub struct Kafka;

impl Workload for Kafka {
    fn name(&self) -> &'static str {
        "kafka"
    }

    fn about(&self) -> &'static str {
        "idempotent producers and consumer groups by the Kafka protocol, through a real client library"
    }

    fn prepare<'a>(&'a self, world: &'a Arc<World>) -> BoxFuture<'a, anyhow::Result<()>> {
        Box::pin(async {
            child::is_possible(&world.python).await?;
            topics::make(world, "kafka", world.load.keys).await
        })
    }

    /// Each group has as many members as there are readers.
    fn clients(&self, world: &World) -> usize {
        world.load.clients + GROUPS.len() * world.load.readers
    }

    fn client(&self, world: Arc<World>, number: usize, lane: Lane) -> Client {
        match number.checked_sub(world.load.clients) {
            None => Box::pin(producer::write(world, lane, number / CLIENTS_PER_PRODUCER)),
            Some(member) => Box::pin(member::consume(world, lane, GROUPS[member % GROUPS.len()])),
        }
    }
}

/// Where clients begin to look for the cluster: all nodes.
fn bootstrap(world: &World) -> String {
    world.kafka.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
