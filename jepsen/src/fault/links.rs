//! Bad links: packets that are lost by chance, little bandwidth, delay with jitter.

use crate::cluster::capabilities::Capability;
use crate::cluster::network::{LOSS_PERCENT, Link};
use crate::fault::{Begun, Fault, Field, Footprint, What, between, hold, lasting, one_node, what};
use futures::future::BoxFuture;
use rand::rngs::StdRng;

/// A node whose links are bad cannot be counted on: what it has to say may come too late.
fn one(random: &mut StdRng, nodes: u16, variant: &'static str) -> What {
    let node = one_node(random, nodes);
    let lasts = lasting(random, 2000..5000);
    what(variant, vec![node], Footprint::Nodes(vec![node]), lasts)
}

pub struct Lossy;

impl Fault for Lossy {
    fn name(&self) -> &'static str {
        "lossy"
    }

    fn about(&self) -> &'static str {
        "a fifth of the packets between a node and all others is lost"
    }

    fn needs(&self) -> &'static [Capability] {
        &[Capability::Namespaces, Capability::Loss]
    }

    fn plan(&self, random: &mut StdRng, nodes: u16) -> What {
        let plan = one(random, nodes, "one");
        let others: Vec<u16> = (1..=nodes).filter(|other| !plan.nodes.contains(other)).collect();
        What { ways: between(&plan.nodes, &others), ..plan }
    }

    fn begin<'a>(&'a self, field: &'a Field, what: &'a What, number: u64) -> BoxFuture<'a, anyhow::Result<Begun>> {
        Box::pin(async move {
            field.network()?.harm(number, Link::Lossy, what.ways.clone()).await?;
            Ok(Begun::of(what.nodes.clone(), format!("{LOSS_PERCENT} % of its packets"), vec![]))
        })
    }

    fn end<'a>(
        &'a self,
        field: &'a Field,
        _: &'a What,
        _: &'a Begun,
        number: u64,
    ) -> BoxFuture<'a, anyhow::Result<()>> {
        Box::pin(async move { field.network()?.heal(number).await })
    }
}

/// Little enough that a queue builds up under load.
const RATE: &str = "2mbit";

pub struct Slow;

impl Fault for Slow {
    fn name(&self) -> &'static str {
        "slow"
    }

    fn about(&self) -> &'static str {
        "a node's link carries 2 Mbit/s, and queues what is above that"
    }

    fn needs(&self) -> &'static [Capability] {
        &[Capability::Namespaces, Capability::Bandwidth]
    }

    fn plan(&self, random: &mut StdRng, nodes: u16) -> What {
        one(random, nodes, "one")
    }

    fn begin<'a>(&'a self, field: &'a Field, what: &'a What, _: u64) -> BoxFuture<'a, anyhow::Result<Begun>> {
        Box::pin(async move {
            // Held, since a node has one limit only, and the first to end would take it from the other.
            let holds = hold(field, &what.nodes).await;
            field.network()?.limit(what.nodes[0], Some(RATE)).await?;
            Ok(Begun::of(what.nodes.clone(), RATE, holds))
        })
    }

    fn end<'a>(&'a self, field: &'a Field, what: &'a What, _: &'a Begun, _: u64) -> BoxFuture<'a, anyhow::Result<()>> {
        Box::pin(async move { field.network()?.limit(what.nodes[0], None).await })
    }
}

const DELAY: (&str, &str) = ("60ms", "40ms");

pub struct Delay;

impl Fault for Delay {
    fn name(&self) -> &'static str {
        "delay"
    }

    fn about(&self) -> &'static str {
        "what a node sends comes 20 to 100 ms later, and out of order"
    }

    fn needs(&self) -> &'static [Capability] {
        &[Capability::Namespaces, Capability::Netem]
    }

    fn plan(&self, random: &mut StdRng, nodes: u16) -> What {
        one(random, nodes, "one")
    }

    fn begin<'a>(&'a self, field: &'a Field, what: &'a What, _: u64) -> BoxFuture<'a, anyhow::Result<Begun>> {
        Box::pin(async move {
            let holds = hold(field, &what.nodes).await;
            field.network()?.delay(what.nodes[0], Some(DELAY)).await?;
            Ok(Begun::of(what.nodes.clone(), format!("{} ± {}", DELAY.0, DELAY.1), holds))
        })
    }

    fn end<'a>(&'a self, field: &'a Field, what: &'a What, _: &'a Begun, _: u64) -> BoxFuture<'a, anyhow::Result<()>> {
        Box::pin(async move { field.network()?.delay(what.nodes[0], None).await })
    }
}
