//! Where the replicas of new partitions go. Pure: the same cluster and the same request give the same answer.
//!
//! Two steps. First each partition gets a *set* of nodes: the racks with the fewest replicas per node, each once as
//! long as there are other racks, and in them the nodes with the fewest replicas; among equals, those that share the
//! fewest partitions with the nodes already taken, so that what a lost node led falls to many others. Then each set
//! gets a *preferred leader*: a balanced matching of partitions to nodes, made greedily and improved along shortest
//! alternating paths until no node leads two more than one that could take a partition over. In a cluster whose racks
//! are of one size, both counts come out within 1 of each other. (A set system with even replica counts always has
//! even leaders: share each partition's leadership equally among its replicas, and round the flow to whole numbers.)
//!
//! A node that has far less than the others (it joined lately) gets more of a new topic, but at most about half more
//! than its fair share: a topic that lives on one node alone would serve nobody.
//!
//! Nodes that are not alive are used only where there are too few others, and lead only where no replica is alive.

use super::Invalid;
use crate::state::meta::{Assignments, AssignmentsError, PARTITIONS_MAX, REPLICATION_FACTOR_MAX};
use crate::types::NodeId;
use std::collections::{BTreeMap, VecDeque};

/// A node as placement sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacementNode {
    pub id: NodeId,
    /// A node without a rack counts as a rack of its own.
    pub rack: Option<String>,
    pub alive: bool,
    /// Partitions of which it holds a replica already.
    pub replicas: u64,
    /// Partitions of which it is the preferred leader already.
    pub leaders: u64,
}

/// Places `partitions` new partitions with `replication_factor` replicas each; the first of each is the preferred
/// leader.
///
/// # Errors
/// A count out of range, or more replicas than nodes.
pub fn place(nodes: &[PlacementNode], partitions: u32, replication_factor: u32) -> Result<Assignments, Invalid> {
    check_counts(nodes, partitions, replication_factor)?;
    let nodes = candidates(nodes, replication_factor as usize);
    let mut loads = Loads::new(&nodes, partitions as usize, replication_factor as usize);
    let mut sets = choose_sets(&mut loads, partitions as usize, replication_factor as usize);
    even_out_leaders(&mut loads, &mut sets, replication_factor as usize);
    let flat = sets.iter().map(|&at| nodes[at].id).collect();
    Ok(Assignments::from_flat(replication_factor as usize, flat)
        .expect("distinct nodes were chosen for counts that were checked"))
}

/// Checks assignments that a request gives explicitly: every node exists, none twice in a partition, all partitions
/// with the same number of replicas. `partitions` and `replication_factor`, where given beside them, must agree.
///
/// # Errors
/// The first thing that is wrong, by its place in the request.
pub fn check_explicit(
    nodes: &[PlacementNode],
    assignments: &[Vec<NodeId>],
    partitions: Option<u32>,
    replication_factor: Option<u32>,
) -> Result<Assignments, Invalid> {
    let checked = Assignments::from_lists(assignments).map_err(explicit_error)?;
    for (at, list) in assignments.iter().enumerate() {
        if let Some((within, node)) = list.iter().enumerate().find(|(_, id)| nodes.iter().all(|node| node.id != **id)) {
            return Err(Invalid::new(
                format!("/assignments/{at}/{within}"),
                format!(
                    "partition {at} names node {node}, which this cluster does not have; its nodes are {}",
                    names(nodes)
                ),
            ));
        }
    }
    if let Some(asked) = partitions.filter(|asked| *asked != checked.partitions()) {
        let detail = format!(
            "partitions is {asked}, but assignments has {} entries; leave partitions out, or make them agree",
            checked.partitions()
        );
        return Err(Invalid::new("/partitions", detail));
    }
    if let Some(asked) = replication_factor.filter(|asked| *asked != checked.replication_factor()) {
        let given = checked.replication_factor();
        let detail = format!(
            "replication_factor is {asked}, but each of assignments has {given} nodes; leave replication_factor out, or make them agree"
        );
        return Err(Invalid::new("/replication_factor", detail));
    }
    Ok(checked)
}

fn explicit_error(error: AssignmentsError) -> Invalid {
    let field = error.partition().map_or("/assignments".to_owned(), |partition| format!("/assignments/{partition}"));
    let todo = match error {
        AssignmentsError::PartitionCount(_) => "give one list of node ids per partition",
        AssignmentsError::ReplicaCount { .. } => "give each partition a list of that many different node ids",
        AssignmentsError::Uneven { .. } => "make all lists equally long",
        AssignmentsError::Duplicate { .. } => "give each replica a node of its own",
    };
    Invalid::new(field, format!("{error}; {todo}"))
}

fn check_counts(nodes: &[PlacementNode], partitions: u32, replication_factor: u32) -> Result<(), Invalid> {
    if partitions == 0 || partitions > PARTITIONS_MAX {
        let detail = format!("partitions is {partitions}; a topic has 1 to {PARTITIONS_MAX}");
        return Err(Invalid::new("/partitions", detail));
    }
    if replication_factor == 0 || replication_factor > REPLICATION_FACTOR_MAX {
        let detail = format!("replication_factor is {replication_factor}; 1 to {REPLICATION_FACTOR_MAX} are possible");
        return Err(Invalid::new("/replication_factor", detail));
    }
    if replication_factor as usize > nodes.len() {
        let detail = match nodes.len() {
            0 => "the cluster has no nodes yet; try again when one has joined".to_owned(),
            count => format!(
                "replication_factor {replication_factor} needs {replication_factor} nodes, and this cluster has {count} \
                 ({}); ask for at most {count}, or add nodes",
                names(nodes)
            ),
        };
        return Err(Invalid::new("/replication_factor", detail));
    }
    Ok(())
}

fn names(nodes: &[PlacementNode]) -> String {
    let mut ids: Vec<NodeId> = nodes.iter().map(|node| node.id).collect();
    ids.sort_unstable();
    ids.iter().map(NodeId::to_string).collect::<Vec<_>>().join(", ")
}

/// The nodes to choose from, by id: those alive where they suffice, else all.
fn candidates(nodes: &[PlacementNode], replication_factor: usize) -> Vec<&PlacementNode> {
    let enough = nodes.iter().filter(|node| node.alive).count() >= replication_factor;
    let mut chosen: Vec<&PlacementNode> = nodes.iter().filter(|node| node.alive || !enough).collect();
    chosen.sort_unstable_by_key(|node| node.id);
    chosen
}

/// Present loads, of which none counts as further below the largest than half of a fair share of what is `added`.
fn starting_loads(mut loads: Vec<u64>, added: usize) -> Vec<u64> {
    let most = loads.iter().copied().max().unwrap_or(0);
    let catch_up_max = added.div_ceil(2 * loads.len().max(1)) as u64;
    loads.iter_mut().for_each(|load| *load = (*load).max(most.saturating_sub(catch_up_max)));
    loads
}

/// What each rack and node has while partitions are placed. Nodes are numbers here.
struct Loads {
    alive: Vec<bool>,
    /// Rack of each node, as a number.
    rack_of: Vec<usize>,
    rack_sizes: Vec<u64>,
    rack_replicas: Vec<u64>,
    replicas: Vec<u64>,
    leaders: Vec<u64>,
    /// How many partitions two nodes share, as a square.
    shared: Vec<u32>,
}

impl Loads {
    /// Before `partitions` with `width` replicas each are placed.
    fn new(nodes: &[&PlacementNode], partitions: usize, width: usize) -> Loads {
        let replicas = starting_loads(nodes.iter().map(|node| node.replicas).collect(), partitions * width);
        let leaders = starting_loads(nodes.iter().map(|node| node.leaders).collect(), partitions);
        let mut numbers = BTreeMap::new();
        let mut rack_of = Vec::with_capacity(nodes.len());
        let mut next = 0;
        for node in nodes {
            let number = match &node.rack {
                Some(rack) => *numbers.entry(rack.as_str()).or_insert(next),
                None => next,
            };
            next = next.max(number + 1);
            rack_of.push(number);
        }
        let (mut rack_sizes, mut rack_replicas) = (vec![0; next], vec![0; next]);
        for (load, rack) in replicas.iter().zip(&rack_of) {
            rack_sizes[*rack] += 1;
            rack_replicas[*rack] += load;
        }
        let alive = nodes.iter().map(|node| node.alive).collect();
        let shared = vec![0; nodes.len() * nodes.len()];
        Loads { alive, rack_of, rack_sizes, rack_replicas, replicas, leaders, shared }
    }

    /// What makes `node` a worse choice beside the nodes of `set`; the smallest wins.
    fn cost(&self, node: usize, set: &[usize]) -> impl Ord + use<> {
        let rack = self.rack_of[node];
        let in_rack = set.iter().filter(|other| self.rack_of[**other] == rack).count();
        // Replicas per node of the rack, in fixed point: racks of different sizes fill up alike.
        let rack_load = (u128::from(self.rack_replicas[rack]) << 32) / u128::from(self.rack_sizes[rack]);
        // The first node of a set is the most likely to lead, so it should be one that leads few.
        let leaders = if set.is_empty() { self.leaders[node] } else { 0 };
        let shared: u32 = set.iter().map(|other| self.shared[node * self.replicas.len() + other]).sum();
        (!self.alive[node], in_rack, rack_load, self.replicas[node], leaders, shared, node)
    }

    fn take(&mut self, node: usize, set: &[usize]) {
        self.replicas[node] += 1;
        self.rack_replicas[self.rack_of[node]] += 1;
        for other in set {
            self.shared[node * self.replicas.len() + other] += 1;
            self.shared[other * self.replicas.len() + node] += 1;
        }
    }
}

/// The nodes of each partition, `width` for each; first in each set the one that leads fewest.
fn choose_sets(loads: &mut Loads, partitions: usize, width: usize) -> Vec<usize> {
    let mut sets = Vec::with_capacity(partitions * width);
    for _ in 0..partitions {
        let begin = sets.len();
        for _ in 0..width {
            let set = &sets[begin..];
            let free = (0..loads.replicas.len()).filter(|node| !set.contains(node));
            let best =
                free.min_by_key(|&node| loads.cost(node, set)).expect("there are at least as many nodes as replicas");
            loads.take(best, set);
            sets.push(best);
        }
        let by_leaders = |place: &usize| (!loads.alive[sets[*place]], loads.leaders[sets[*place]], *place);
        let leader = (begin..sets.len()).min_by_key(by_leaders).expect("a set has at least one node");
        sets.swap(begin, leader);
        loads.leaders[sets[begin]] += 1;
    }
    sets
}

/// Changes which node of a set stands first, until no other choice is more even.
fn even_out_leaders(loads: &mut Loads, sets: &mut [usize], width: usize) {
    let mut led = vec![Vec::new(); loads.leaders.len()];
    for (partition, set) in sets.chunks_exact(width).enumerate() {
        led[set[0]].push(partition);
    }
    let mut matching = Matching { sets, width, led, leaders: &mut loads.leaders, alive: &loads.alive };
    while matching.improve() {}
}

/// Which node leads which partition: the first of each set.
struct Matching<'a> {
    sets: &'a mut [usize],
    width: usize,
    /// The new partitions that each node leads.
    led: Vec<Vec<usize>>,
    /// How many each node leads, with those that it led before.
    leaders: &'a mut [u64],
    alive: &'a [bool],
}

impl Matching<'_> {
    fn set(&self, partition: usize) -> &[usize] {
        &self.sets[partition * self.width..][..self.width]
    }

    /// Moves leaders along one path from a node that leads many to one that leads at least two fewer. False when there
    /// is no such path: then no other choice is more even.
    fn improve(&mut self) -> bool {
        let mut by_load: Vec<usize> = (0..self.leaders.len()).filter(|node| !self.led[*node].is_empty()).collect();
        by_load.sort_unstable_by_key(|&node| (std::cmp::Reverse(self.leaders[node]), node));
        by_load.into_iter().any(|from| self.improve_from(from))
    }

    fn improve_from(&mut self, from: usize) -> bool {
        // How each node was reached: the partition that would go to it from its leader.
        let mut reached_by: Vec<Option<usize>> = vec![None; self.leaders.len()];
        let mut queue = VecDeque::from([from]);
        while let Some(node) = queue.pop_front() {
            if self.leaders[node] + 2 <= self.leaders[from] {
                self.shift(from, node, &reached_by);
                return true;
            }
            for &partition in &self.led[node] {
                for &other in &self.set(partition)[1..] {
                    if other != from && self.alive[other] && reached_by[other].is_none() {
                        reached_by[other] = Some(partition);
                        queue.push_back(other);
                    }
                }
            }
        }
        false
    }

    fn shift(&mut self, from: usize, to: usize, reached_by: &[Option<usize>]) {
        let mut node = to;
        while node != from {
            let partition = reached_by[node].expect("every node of the path but its first was reached");
            let leader = self.set(partition)[0];
            let place = self.set(partition).iter().position(|other| *other == node).expect("the set has the node");
            self.sets[partition * self.width..][..self.width].swap(0, place);
            self.led[leader].retain(|other| *other != partition);
            self.led[node].push(partition);
            node = leader;
        }
        self.leaders[from] -= 1;
        self.leaders[to] += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn node(id: u64, rack: Option<&str>) -> PlacementNode {
        PlacementNode { id: NodeId(id), rack: rack.map(str::to_owned), alive: true, replicas: 0, leaders: 0 }
    }

    fn cluster(racks: &[Option<&str>]) -> Vec<PlacementNode> {
        (1..).zip(racks).map(|(id, rack)| node(id, *rack)).collect()
    }

    /// Adds what was placed to the counts.
    fn settle(nodes: &mut [PlacementNode], placed: &Assignments) {
        for replicas in placed.iter() {
            for (at, id) in replicas.iter().enumerate() {
                let node = nodes.iter_mut().find(|node| node.id == *id).expect("placed on nodes of the cluster");
                node.replicas += 1;
                node.leaders += u64::from(at == 0);
            }
        }
    }

    fn spread(counts: impl Iterator<Item = u64> + Clone) -> u64 {
        counts.clone().max().unwrap_or(0) - counts.min().unwrap_or(0)
    }

    proptest! {
        /// Racks of one size, topics one after the other: both counts stay within 1, and no rack has two replicas of a
        /// partition while another has none.
        #[test]
        fn is_even_over_nodes_and_racks(
            rack_count in 1usize..6,
            rack_size in 1usize..5,
            racked in any::<bool>(),
            width in 1u32..6,
            topics in prop::collection::vec(1u32..40, 1..4),
        ) {
            let mut nodes = Vec::new();
            for id in 0..rack_count * rack_size {
                let rack = format!("r{}", id % rack_count);
                nodes.push(node(id as u64 + 1, racked.then_some(rack.as_str())));
            }
            let racks_of = |replicas: &[NodeId]| -> BTreeSet<u64> {
                replicas.iter().map(|id| (id.0 - 1) % rack_count as u64).collect()
            };
            let width = width.min(nodes.len() as u32);
            for (at, partitions) in topics.into_iter().enumerate() {
                let placed = place(&nodes, partitions, width).unwrap();
                prop_assert_eq!(placed.partitions(), partitions);
                prop_assert_eq!(placed.clone(), place(&nodes, partitions, width).unwrap());
                for replicas in placed.iter() {
                    let distinct: BTreeSet<_> = replicas.iter().collect();
                    prop_assert_eq!(distinct.len(), width as usize);
                    prop_assert!(!racked || racks_of(replicas).len() == rack_count.min(width as usize));
                }
                settle(&mut nodes, &placed);
                prop_assert!(spread(nodes.iter().map(|node| node.replicas)) <= 1, "{:?}", nodes);
                // Later topics meet leaders that are chosen already, so that the last one may not come out even.
                let bound = 1 + u64::from(at > 0);
                prop_assert!(spread(nodes.iter().map(|node| node.leaders)) <= bound, "{:?}", nodes);
            }
        }

        /// Any cluster and any request: an answer within the rules, or an error that names a field.
        #[test]
        fn never_breaks_the_rules(
            spec in prop::collection::vec((prop::option::of(0u8..4), any::<bool>(), 0u64..50, 0u64..50), 0..12),
            partitions in 0u32..60,
            width in 0u32..8,
        ) {
            let nodes: Vec<PlacementNode> = (1..).zip(spec).map(|(id, (rack, alive, replicas, leaders))| {
                PlacementNode { id: NodeId(id), rack: rack.map(|rack| format!("r{rack}")), alive, replicas, leaders }
            }).collect();
            match place(&nodes, partitions, width) {
                Err(error) => {
                    prop_assert!(partitions == 0 || width == 0 || width > 5 || width as usize > nodes.len());
                    prop_assert!(error.field == "/partitions" || error.field == "/replication_factor");
                }
                Ok(placed) => {
                    prop_assert_eq!(check_explicit(&nodes, &placed.to_lists(), Some(partitions), Some(width)), Ok(placed.clone()));
                    let alive: BTreeSet<_> = nodes.iter().filter(|node| node.alive).map(|node| node.id).collect();
                    for replicas in placed.iter() {
                        let living = replicas.iter().filter(|id| alive.contains(id)).count();
                        prop_assert_eq!(living, alive.len().min(width as usize));
                        prop_assert!(living == 0 || alive.contains(&replicas[0]));
                    }
                }
            }
        }
    }

    #[test]
    fn replicas_go_to_different_racks_even_where_racks_differ_in_size() {
        let nodes = cluster(&[Some("a"), Some("a"), Some("a"), Some("b"), Some("c")]);
        for replicas in place(&nodes, 50, 3).unwrap().iter() {
            let racks: BTreeSet<_> = replicas.iter().map(|id| nodes[id.0 as usize - 1].rack.clone()).collect();
            assert_eq!(racks.len(), 3);
        }
        let placed = place(&nodes, 60, 4).unwrap();
        assert!(placed.iter().all(|replicas| replicas.contains(&NodeId(4)) && replicas.contains(&NodeId(5))));
    }

    #[test]
    fn a_lost_leader_is_followed_by_many() {
        let nodes = cluster(&[None; 6]);
        let placed = place(&nodes, 60, 3).unwrap();
        for leader in 1..=6 {
            let led = placed.iter().filter(|replicas| replicas[0] == NodeId(leader));
            let followers: BTreeSet<NodeId> = led.flat_map(|replicas| replicas[1..].to_vec()).collect();
            assert!(followers.len() >= 4, "node {leader} is followed by {followers:?} alone");
        }
    }

    #[test]
    fn a_new_node_gets_more_but_not_all() {
        let mut nodes = cluster(&[None; 4]);
        for old in &mut nodes[..3] {
            (old.replicas, old.leaders) = (3_000, 1_000);
        }
        let placed = place(&nodes, 120, 1).unwrap();
        let on_new = placed.iter().filter(|replicas| replicas[0] == NodeId(4)).count();
        assert!((31..=60).contains(&on_new), "{on_new} of 120");
        assert!(place(&nodes, 1, 1).unwrap().iter().all(|replicas| replicas == [NodeId(4)]));
    }

    #[test]
    fn a_dead_node_is_used_only_where_it_must_be() {
        let mut nodes = cluster(&[None; 4]);
        nodes[1].alive = false;
        assert!(place(&nodes, 30, 3).unwrap().iter().all(|replicas| !replicas.contains(&NodeId(2))));
        let all = place(&nodes, 30, 4).unwrap();
        assert!(all.iter().all(|replicas| replicas.contains(&NodeId(2)) && replicas[0] != NodeId(2)));
    }

    #[test]
    fn ten_thousand_partitions_are_placed_evenly() {
        let mut nodes = cluster(&[Some("a"), Some("b"), Some("c"), Some("a"), Some("b"), Some("c")]);
        let placed = place(&nodes, 10_000, 3).unwrap();
        settle(&mut nodes, &placed);
        assert_eq!(nodes.iter().map(|node| node.replicas).sum::<u64>(), 30_000);
        assert!(
            nodes.iter().all(|node| node.replicas == 5_000 && (1_666..=1_667).contains(&node.leaders)),
            "{nodes:?}"
        );
    }

    #[test]
    fn what_cannot_be_placed_is_named() {
        let nodes = cluster(&[None; 3]);
        let refused = |partitions, width| place(&nodes, partitions, width).unwrap_err();
        assert_eq!(refused(0, 1).field, "/partitions");
        assert_eq!(refused(10_001, 1).field, "/partitions");
        assert_eq!(refused(1, 0).field, "/replication_factor");
        assert_eq!(refused(1, 6).field, "/replication_factor");
        let too_many = refused(1, 4);
        assert_eq!(too_many.field, "/replication_factor");
        assert!(too_many.detail.contains("1, 2, 3") && too_many.detail.contains("at most 3"), "{too_many}");
        assert!(place(&[], 1, 1).unwrap_err().detail.contains("no nodes"));
    }

    #[test]
    fn explicit_assignments_are_checked_and_the_fault_is_named() {
        let nodes = cluster(&[None; 3]);
        let check = |lists: &[&[u64]], partitions, width| {
            let lists: Vec<Vec<NodeId>> = lists.iter().map(|list| list.iter().copied().map(NodeId).collect()).collect();
            check_explicit(&nodes, &lists, partitions, width)
        };
        assert_eq!(check(&[&[3, 1], &[1, 2]], Some(2), Some(2)).unwrap().to_lists()[0], [NodeId(3), NodeId(1)]);
        type Case<'a> = (&'a [&'a [u64]], Option<u32>, Option<u32>, &'a str, &'a str);
        let cases: [Case<'_>; 8] = [
            (&[], None, None, "/assignments", "not 0"),
            (&[&[1], &[]], None, None, "/assignments/1", "partition 1 has 0 replicas"),
            (&[&[1, 2], &[2, 3], &[3]], None, None, "/assignments/2", "equally long"),
            (&[&[1, 2], &[2, 2]], None, None, "/assignments/1", "node 2 twice"),
            (&[&[1, 2], &[2, 9]], None, None, "/assignments/1/1", "1, 2, 3"),
            (&[&[1, 2, 3, 4, 5, 6]], None, None, "/assignments/0", "1 to 5"),
            (&[&[1]], Some(2), None, "/partitions", "1 entries"),
            (&[&[1]], None, Some(3), "/replication_factor", "1 nodes"),
        ];
        for (lists, partitions, width, field, text) in cases {
            let error = check(lists, partitions, width).unwrap_err();
            assert_eq!(error.field, field, "{error}");
            assert!(error.detail.contains(text), "{error}");
        }
    }
}
