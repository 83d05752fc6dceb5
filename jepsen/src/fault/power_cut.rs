//! A power cut, of one node or of all: the process is killed, the file system takes no more writes and forgets what was
//! not synced, and both come back.
//!
//! In this order: a machine without power answers nobody. A process that outlives its disk by some milliseconds may be told
//! by a sync that raced with the cut that all is well (ext4 converts extents behind such a sync, and says nothing where
//! that fails), and would acknowledge what no real power cut lets it acknowledge.

use crate::cluster::capabilities::Capability;
use crate::fault::{Begun, Fault, Field, Footprint, What, hold, lasting, one_node, what};
use futures::future::{BoxFuture, try_join_all};
use rand::Rng;
use rand::rngs::StdRng;

pub struct PowerCut;

impl Fault for PowerCut {
    fn name(&self) -> &'static str {
        "power-cut"
    }

    fn about(&self) -> &'static str {
        "the disk forgets what was not synced and the process is killed, of one node or of all"
    }

    fn needs(&self) -> &'static [Capability] {
        &[Capability::LoopDisk]
    }

    fn plan(&self, random: &mut StdRng, nodes: u16) -> What {
        let node = one_node(random, nodes);
        let lasts = lasting(random, 100..1000);
        // What a majority has synced survives any cut; only a cut of all shows whether it was.
        if random.random_ratio(1, 2) {
            what("all", (1..=nodes).collect(), Footprint::Everything, lasts)
        } else {
            what("one", vec![node], Footprint::Nodes(vec![node]), lasts)
        }
    }

    fn begin<'a>(&'a self, field: &'a Field, what: &'a What, _: u64) -> BoxFuture<'a, anyhow::Result<Begun>> {
        Box::pin(async {
            let holds = hold(field, &what.nodes).await;
            try_join_all(what.nodes.iter().map(|node| field.cluster.node(*node).kill())).await?;
            // Nothing is written back of itself for seconds: what was not synced is still to be forgotten.
            what.nodes.iter().try_for_each(|node| field.cluster.node(*node).disk.power_off())?;
            Ok(Begun::of(what.nodes.clone(), what.variant, holds))
        })
    }

    fn end<'a>(&'a self, field: &'a Field, _: &'a What, begun: &'a Begun, _: u64) -> BoxFuture<'a, anyhow::Result<()>> {
        Box::pin(async {
            let back = begun.nodes.iter().map(|node| async {
                let node = field.cluster.node(*node);
                node.disk.power_on().await?;
                node.start()
            });
            try_join_all(back).await.map(|_| ())
        })
    }
}
