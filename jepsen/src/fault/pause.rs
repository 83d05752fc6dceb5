//! SIGSTOP of the node that leads most, and SIGCONT: it does not know that time has passed, and believes that it leads.

use crate::cluster::capabilities::Capability;
use crate::fault::{Begun, Fault, Field, Footprint, What, lasting, leader, what};
use futures::future::BoxFuture;
use rand::rngs::StdRng;
use rustix::process::Signal;

pub struct Pause;

impl Fault for Pause {
    fn name(&self) -> &'static str {
        "pause"
    }

    fn about(&self) -> &'static str {
        "SIGSTOP of the node that leads most partitions, then SIGCONT"
    }

    fn needs(&self) -> &'static [Capability] {
        &[]
    }

    fn plan(&self, random: &mut StdRng, _: u16) -> What {
        let lasts = lasting(random, 500..5000);
        what("leader", vec![], Footprint::Leader, lasts)
    }

    fn begin<'a>(&'a self, field: &'a Field, _: &'a What, _: u64) -> BoxFuture<'a, anyhow::Result<Begun>> {
        Box::pin(async {
            let (node, held) = leader(field)?;
            node.signal(Signal::STOP);
            Ok(Begun::of(vec![node.number], "the leader", vec![held]))
        })
    }

    fn end<'a>(&'a self, field: &'a Field, _: &'a What, begun: &'a Begun, _: u64) -> BoxFuture<'a, anyhow::Result<()>> {
        Box::pin(async {
            begun.nodes.iter().for_each(|node| field.cluster.node(*node).signal(Signal::CONT));
            Ok(())
        })
    }
}
