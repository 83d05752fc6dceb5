//! SIGKILL: of one node, of a minority, of all; or of the node that leads most. Started again after a pause.

use crate::cluster::capabilities::Capability;
use crate::fault::{Begun, Fault, Field, Footprint, What, hold, lasting, leader, minority, shuffled, what};
use futures::future::{BoxFuture, try_join_all};
use rand::Rng;
use rand::rngs::StdRng;

pub struct Kill;

impl Fault for Kill {
    fn name(&self) -> &'static str {
        "kill"
    }

    fn about(&self) -> &'static str {
        "kill -9 of one node, a minority, or all; started again after a pause"
    }

    fn needs(&self) -> &'static [Capability] {
        &[]
    }

    fn plan(&self, random: &mut StdRng, nodes: u16) -> What {
        let mut order = shuffled(random, nodes);
        let lasts = lasting(random, 300..1800);
        match random.random_range(0..10) {
            0..6 => {
                order.truncate(1);
                what("one", order.clone(), Footprint::Nodes(order), lasts)
            }
            6..9 => {
                order.truncate(usize::from(minority(nodes)));
                what("minority", order.clone(), Footprint::Nodes(order), lasts)
            }
            _ => what("all", order, Footprint::Everything, lasts / 2),
        }
    }

    fn begin<'a>(&'a self, field: &'a Field, what: &'a What, _: u64) -> BoxFuture<'a, anyhow::Result<Begun>> {
        Box::pin(async {
            let holds = hold(field, &what.nodes).await;
            try_join_all(what.nodes.iter().map(|node| field.cluster.node(*node).kill())).await?;
            Ok(Begun::of(what.nodes.clone(), what.variant, holds))
        })
    }

    fn end<'a>(&'a self, field: &'a Field, _: &'a What, begun: &'a Begun, _: u64) -> BoxFuture<'a, anyhow::Result<()>> {
        Box::pin(async { begun.nodes.iter().try_for_each(|node| field.cluster.node(*node).start()) })
    }
}

pub struct KillLeader;

impl Fault for KillLeader {
    fn name(&self) -> &'static str {
        "kill-leader"
    }

    fn about(&self) -> &'static str {
        "kill -9 of the node that leads most partitions; the time to the next acknowledged write is reported"
    }

    fn needs(&self) -> &'static [Capability] {
        &[]
    }

    fn plan(&self, random: &mut StdRng, _: u16) -> What {
        let lasts = lasting(random, 800..1500);
        what("leader", vec![], Footprint::Leader, lasts)
    }

    fn begin<'a>(&'a self, field: &'a Field, _: &'a What, _: u64) -> BoxFuture<'a, anyhow::Result<Begun>> {
        Box::pin(async {
            let (node, held) = leader(field)?;
            let led: Vec<String> =
                field.leaders.led_by(node.number).iter().map(|(topic, at)| format!("{topic}/{at}")).collect();
            node.kill().await?;
            Ok(Begun::of(vec![node.number], format!("led {}", led.join(" ")), vec![held]))
        })
    }

    fn end<'a>(&'a self, field: &'a Field, _: &'a What, begun: &'a Begun, _: u64) -> BoxFuture<'a, anyhow::Result<()>> {
        Box::pin(async { begun.nodes.iter().try_for_each(|node| field.cluster.node(*node).start()) })
    }
}
