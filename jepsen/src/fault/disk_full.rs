//! A node's disk is full for a while.

use crate::cluster::capabilities::Capability;
use crate::fault::{Begun, Fault, Field, Footprint, What, hold, lasting, one_node, what};
use futures::future::BoxFuture;
use rand::rngs::StdRng;

pub struct DiskFull;

impl Fault for DiskFull {
    fn name(&self) -> &'static str {
        "disk-full"
    }

    fn about(&self) -> &'static str {
        "a node's disk is filled, and has room again later"
    }

    fn needs(&self) -> &'static [Capability] {
        &[Capability::LoopDisk]
    }

    fn plan(&self, random: &mut StdRng, nodes: u16) -> What {
        let node = one_node(random, nodes);
        let lasts = lasting(random, 2000..5000);
        what("one", vec![node], Footprint::Nodes(vec![node]), lasts)
    }

    fn begin<'a>(&'a self, field: &'a Field, what: &'a What, _: u64) -> BoxFuture<'a, anyhow::Result<Begun>> {
        Box::pin(async {
            let holds = hold(field, &what.nodes).await;
            field.cluster.node(what.nodes[0]).disk.fill()?;
            Ok(Begun::of(what.nodes.clone(), "full", holds))
        })
    }

    fn end<'a>(&'a self, field: &'a Field, what: &'a What, _: &'a Begun, _: u64) -> BoxFuture<'a, anyhow::Result<()>> {
        Box::pin(async {
            let node = field.cluster.node(what.nodes[0]);
            node.disk.empty()?;
            // One that ended for lack of room has an excuse to be started again; one that runs is left alone.
            node.start()
        })
    }
}
