//! `acks1`: as `append` with acks=1, so that what the leader alone has may be lost with it. The loss is measured and
//! reported; anything else that `append` forbids is an anomaly here too.

use crate::workload::lane::Lane;
use crate::workload::send::Acks;
use crate::workload::world::World;
use crate::workload::{Client, Workload, append, topics};
use futures::future::BoxFuture;
use std::sync::Arc;

pub struct Acks1;

impl Workload for Acks1 {
    fn name(&self) -> &'static str {
        "acks1"
    }

    fn about(&self) -> &'static str {
        "as append with acks=1: what is lost is measured, and is no anomaly"
    }

    fn loss_is_allowed(&self) -> bool {
        true
    }

    fn prepare<'a>(&'a self, world: &'a Arc<World>) -> BoxFuture<'a, anyhow::Result<()>> {
        Box::pin(async { topics::make(world, "acks1", world.load.keys).await })
    }

    fn client(&self, world: Arc<World>, number: usize, lane: Lane) -> Client {
        if number < world.load.clients {
            Box::pin(append::write(world, lane, Acks::Leader))
        } else {
            Box::pin(append::read(world, lane))
        }
    }
}
