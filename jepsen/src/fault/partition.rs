//! Cut links: halves, one node alone, a ring in which each node sees a majority and no two see the same, and links that
//! carry packets in one direction only.

use crate::cluster::capabilities::Capability;
use crate::cluster::network::{Link, Way};
use crate::fault::{Begun, Fault, Field, Footprint, What, between, lasting, leader, minority, shuffled, what};
use futures::future::BoxFuture;
use rand::Rng;
use rand::rngs::StdRng;

pub struct Partition;

const LEADER: &str = "the leader alone";

/// Each node keeps the links to its two neighbours in a circle: with itself that is a majority of five, and of four.
fn ring(circle: &[u16]) -> Vec<Way> {
    let nodes = circle.len();
    let mut ways = Vec::new();
    for (at, from) in circle.iter().enumerate() {
        for (other, to) in circle.iter().enumerate() {
            let apart = at.abs_diff(other);
            if apart.min(nodes - apart) > 1 {
                ways.push((*from, *to));
            }
        }
    }
    // With three nodes a majority is two, and the circle has to be opened.
    if ways.is_empty() { between(&circle[..1], &circle[nodes - 1..]) } else { ways }
}

impl Fault for Partition {
    fn name(&self) -> &'static str {
        "partition"
    }

    fn about(&self) -> &'static str {
        "links are cut: halves, one node or the leader alone, a ring of majorities, one way only"
    }

    fn needs(&self) -> &'static [Capability] {
        &[Capability::Namespaces, Capability::Cut]
    }

    fn plan(&self, random: &mut StdRng, nodes: u16) -> What {
        let order = shuffled(random, nodes);
        let lasts = lasting(random, 1500..5000);
        let (few, many) = order.split_at(usize::from(minority(nodes)));
        let (one, others) = order.split_at(1);
        let out: Vec<Way> = others.iter().map(|to| (one[0], *to)).collect();
        let (variant, hit, ways, footprint) = match random.random_range(0..6) {
            0 => ("halves", few.to_vec(), between(few, many), Footprint::Nodes(few.to_vec())),
            1 => ("one alone", one.to_vec(), between(one, others), Footprint::Nodes(one.to_vec())),
            2 => ("ring of majorities", order.clone(), ring(&order), Footprint::Everything),
            // Which one that is, and so which links, is known when it begins.
            3 | 4 => (LEADER, vec![], vec![], Footprint::Leader),
            _ => {
                // What it sends is lost, or what it should receive.
                let back = out.iter().map(|(from, to)| (*to, *from)).collect();
                let (variant, ways) = if random.random() { ("one way, out", out) } else { ("one way, in", back) };
                (variant, one.to_vec(), ways, Footprint::Nodes(one.to_vec()))
            }
        };
        What { ways, ..what(variant, hit, footprint, lasts) }
    }

    fn begin<'a>(&'a self, field: &'a Field, what: &'a What, number: u64) -> BoxFuture<'a, anyhow::Result<Begun>> {
        Box::pin(async move {
            let network = field.network()?;
            let (mut nodes, mut ways, mut holds) = (what.nodes.clone(), what.ways.clone(), vec![]);
            if what.variant == LEADER {
                let (node, held) = leader(field)?;
                let others: Vec<u16> = field
                    .cluster
                    .nodes
                    .iter()
                    .map(|other| other.number)
                    .filter(|other| *other != node.number)
                    .collect();
                ways = between(&[node.number], &others);
                nodes = vec![node.number];
                holds.push(held);
            }
            let cut: Vec<String> = ways.iter().map(|(from, to)| format!("n{from}→n{to}")).collect();
            network.harm(number, Link::Cut, ways).await?;
            Ok(Begun::of(nodes, format!("{}: {}", what.variant, cut.join(" ")), holds))
        })
    }

    fn end<'a>(
        &'a self,
        field: &'a Field,
        _: &'a What,
        _: &'a Begun,
        number: u64,
    ) -> BoxFuture<'a, anyhow::Result<()>> {
        Box::pin(async move {
            let network = field.network()?;
            network.heal(number).await
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use std::collections::BTreeSet;

    fn seen_by(node: u16, nodes: u16, cut: &[Way]) -> BTreeSet<u16> {
        (1..=nodes).filter(|other| !cut.contains(&(node, *other)) && !cut.contains(&(*other, node))).collect()
    }

    #[test]
    fn in_a_ring_each_sees_a_majority_and_no_two_the_same() {
        let circle = [3, 1, 5, 2, 4];
        let cut = ring(&circle);
        let views: BTreeSet<_> = circle.iter().map(|node| seen_by(*node, 5, &cut)).collect();
        assert_eq!(views.len(), 5);
        assert!(views.iter().all(|view| view.len() == 3), "{views:?}");
        // Of three, the one in the middle sees all.
        assert_eq!(ring(&[1, 2, 3]), [(1, 3), (3, 1)]);
        let four = ring(&[1, 2, 3, 4]);
        assert!((1..=4).all(|node| seen_by(node, 4, &four).len() == 3), "{four:?}");
    }

    #[test]
    fn whoever_is_not_in_the_footprint_can_speak_with_a_majority() {
        let mut random = StdRng::seed_from_u64(1);
        for nodes in [3, 4, 5] {
            for _ in 0..200 {
                let plan = Partition.plan(&mut random, nodes);
                let Footprint::Nodes(gone) = &plan.footprint else { continue };
                assert!(!plan.ways.is_empty());
                assert!(gone.len() <= usize::from(minority(nodes)));
                for node in (1..=nodes).filter(|node| !gone.contains(node)) {
                    assert!(seen_by(node, nodes, &plan.ways).len() > usize::from(nodes / 2), "{plan:?}");
                }
            }
        }
    }
}
