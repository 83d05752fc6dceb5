//! The time of day jumps, or runs too fast or too slow, on one node. Only that: the monotonic clock is the kernel's, and
//! does not jump.

use crate::cluster::capabilities::Capability;
use crate::cluster::time_file;
use crate::fault::{Begun, Fault, Field, Footprint, What, lasting, one_node, what};
use futures::future::BoxFuture;
use rand::Rng;
use rand::rngs::StdRng;

pub struct Clock;

/// For `libfaketime`: an offset in seconds, and a rate.
const CHANGES: [(&str, &str); 6] = [
    ("an hour ahead", "+3600"),
    ("a day behind", "-86400"),
    ("a second ahead", "+1"),
    ("a second behind", "-1"),
    ("twice as fast", "+0 x2.0"),
    ("at half speed", "+0 x0.5"),
];

impl Fault for Clock {
    fn name(&self) -> &'static str {
        "clock"
    }

    fn about(&self) -> &'static str {
        "the time of day of a node jumps, or runs too fast or too slow"
    }

    fn needs(&self) -> &'static [Capability] {
        &[Capability::FakeTime]
    }

    fn plan(&self, random: &mut StdRng, nodes: u16) -> What {
        let node = one_node(random, nodes);
        let (variant, _) = CHANGES[random.random_range(0..CHANGES.len())];
        let lasts = lasting(random, 2000..6000);
        // No clock guards a write, so a node with a wrong one counts.
        what(variant, vec![node], Footprint::Nodes(vec![]), lasts)
    }

    fn begin<'a>(&'a self, field: &'a Field, what: &'a What, _: u64) -> BoxFuture<'a, anyhow::Result<Begun>> {
        Box::pin(async {
            let change = CHANGES.iter().find(|(name, _)| *name == what.variant);
            let (name, setting) = change.expect("the variant is one of these");
            std::fs::write(time_file(&field.cluster.dir, what.nodes[0]), format!("{setting}\n"))?;
            Ok(Begun::of(what.nodes.clone(), *name, vec![]))
        })
    }

    fn end<'a>(&'a self, field: &'a Field, what: &'a What, _: &'a Begun, _: u64) -> BoxFuture<'a, anyhow::Result<()>> {
        Box::pin(async { Ok(std::fs::write(time_file(&field.cluster.dir, what.nodes[0]), "+0\n")?) })
    }
}
