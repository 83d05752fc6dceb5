//! Which leaders should move, so that every node leads its share. Pure: a plan, for others to carry out.
//!
//! Each group with a leader has one node that *should* lead it: its first replica, where that is alive; where not, the
//! node that leads it now. Where that leaves a node with more than its share, the surplus goes to other replicas: first
//! of groups whose first replica is down, then, where that is not enough (many groups were placed by hand, or while
//! nodes were down), of the others too, preferring what is led elsewhere already.
//!
//! It does not flap: where a group should be follows from replicas and living nodes, and the present decides only in
//! favor of staying. A plan that was carried out leaves nothing to do, until a node or a topic comes or goes. The
//! caller waits until the set of living nodes has been stable for a while.

use crate::types::{GroupId, NodeId};
use std::collections::{BTreeMap, BTreeSet};

/// A surplus up to this part of the mean is left alone.
const TOLERANCE_DIVISOR: u64 = 20;

/// A group as balancing sees it.
#[derive(Clone, Copy, Debug)]
pub struct BalanceGroup<'a> {
    pub group: GroupId,
    /// The preferred leader first.
    pub replicas: &'a [NodeId],
    /// A group without one (never written, or electing) is left out.
    pub leader: Option<NodeId>,
}

/// Hand the leadership of `group` from one node to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaderMove {
    pub group: GroupId,
    pub from: NodeId,
    pub to: NodeId,
}

/// At most `moves_max` moves toward even leaders, those first that take most from the node that leads most.
pub fn plan(groups: &[BalanceGroup<'_>], alive: &BTreeSet<NodeId>, moves_max: usize) -> Vec<LeaderMove> {
    let led: Vec<(BalanceGroup<'_>, NodeId)> = groups
        .iter()
        .filter_map(|group| group.leader.filter(|leader| alive.contains(leader)).map(|now| (*group, now)))
        .collect();
    let mut targets: Vec<NodeId> = led.iter().map(|(group, now)| home(group, alive).unwrap_or(*now)).collect();
    spread_surplus(&led, &mut targets, alive, |group| home(group, alive).is_none());
    spread_surplus(&led, &mut targets, alive, |group| home(group, alive).is_some());
    let moves = led.iter().zip(targets).filter(|((_, now), target)| now != target);
    let moves = moves.map(|((group, now), to)| LeaderMove { group: group.group, from: *now, to }).collect();
    most_wanted_first(moves, led.iter().map(|(_, now)| *now), moves_max)
}

/// The preferred leader, if it is alive.
fn home(group: &BalanceGroup<'_>, alive: &BTreeSet<NodeId>) -> Option<NodeId> {
    group.replicas.first().copied().filter(|preferred| alive.contains(preferred))
}

/// Takes `movable` groups from nodes that should lead more than their share, for nodes that should lead fewer.
fn spread_surplus(
    led: &[(BalanceGroup<'_>, NodeId)],
    targets: &mut [NodeId],
    alive: &BTreeSet<NodeId>,
    movable: impl Fn(&BalanceGroup<'_>) -> bool,
) {
    let mut loads: BTreeMap<NodeId, u64> = alive.iter().map(|node| (*node, 0)).collect();
    // For each pair of nodes, the groups that could go from the one to the other; those that need no move come last,
    // since they are taken from the end.
    let mut candidates: BTreeMap<(NodeId, NodeId), Vec<usize>> = BTreeMap::new();
    for (at, ((group, _), target)) in led.iter().zip(targets.iter()).enumerate() {
        *loads.entry(*target).or_default() += 1;
        let others = group.replicas.iter().filter(|other| *other != target && alive.contains(other));
        for other in others.filter(|_| movable(group)) {
            candidates.entry((*target, *other)).or_default().push(at);
        }
    }
    for ((_, to), list) in &mut candidates {
        list.sort_by_key(|at| (led[*at].1 == *to, std::cmp::Reverse(led[*at].0.group)));
    }
    let mean = led.len() as u64 / loads.len().max(1) as u64;
    let tolerated = (mean / TOLERANCE_DIVISOR).max(1);
    let mut moved = vec![false; led.len()];
    while let Some((at, from, to)) = next_surplus(&loads, &mut candidates, &moved, tolerated) {
        moved[at] = true;
        targets[at] = to;
        *loads.entry(from).or_default() -= 1;
        *loads.entry(to).or_default() += 1;
    }
}

/// The next group to take from a node with more than its share, and to whom; each group goes once at most.
fn next_surplus(
    loads: &BTreeMap<NodeId, u64>,
    candidates: &mut BTreeMap<(NodeId, NodeId), Vec<usize>>,
    moved: &[bool],
    tolerated: u64,
) -> Option<(usize, NodeId, NodeId)> {
    let mut by_load: Vec<(u64, NodeId)> = loads.iter().map(|(node, load)| (*load, *node)).collect();
    by_load.sort_unstable();
    for (most, from) in by_load.iter().rev() {
        for (_, to) in by_load.iter().take_while(|(fewest, _)| fewest + tolerated < *most) {
            let Some(list) = candidates.get_mut(&(*from, *to)) else { continue };
            while let Some(at) = list.pop() {
                if !moved[at] {
                    return Some((at, *from, *to));
                }
            }
        }
    }
    None
}

/// Orders moves so that each is, of those left, the one that evens out most; so a bounded part of the plan helps too.
fn most_wanted_first(
    moves: Vec<LeaderMove>,
    leaders: impl Iterator<Item = NodeId>,
    moves_max: usize,
) -> Vec<LeaderMove> {
    let mut loads: BTreeMap<NodeId, i64> = BTreeMap::new();
    for leader in leaders {
        *loads.entry(leader).or_default() += 1;
    }
    let mut by_pair: BTreeMap<(NodeId, NodeId), Vec<LeaderMove>> = BTreeMap::new();
    for next in moves.into_iter().rev() {
        by_pair.entry((next.from, next.to)).or_default().push(next);
    }
    let mut ordered = Vec::new();
    while ordered.len() < moves_max && !by_pair.is_empty() {
        let load = |node: &NodeId| loads.get(node).copied().unwrap_or(0);
        let gain = |(from, to): &(NodeId, NodeId)| load(from) - load(to);
        let best = *by_pair.keys().max_by_key(|pair| (gain(pair), std::cmp::Reverse(**pair))).expect("there is a pair");
        let list = by_pair.get_mut(&best).expect("the pair was just found");
        ordered.extend(list.pop());
        if list.is_empty() {
            by_pair.remove(&best);
        }
        *loads.entry(best.0).or_default() -= 1;
        *loads.entry(best.1).or_default() += 1;
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Owned = (Vec<NodeId>, Option<NodeId>);

    fn ids(ids: &[u64]) -> Vec<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    fn alive(nodes: &[u64]) -> BTreeSet<NodeId> {
        ids(nodes).into_iter().collect()
    }

    fn plan_of(groups: &[Owned], alive: &BTreeSet<NodeId>, moves_max: usize) -> Vec<LeaderMove> {
        let groups: Vec<BalanceGroup<'_>> = (1..)
            .map(GroupId)
            .zip(groups)
            .map(|(group, (replicas, leader))| BalanceGroup { group, replicas, leader: *leader })
            .collect();
        plan(&groups, alive, moves_max)
    }

    fn carry_out(groups: &mut [Owned], moves: &[LeaderMove]) {
        for one in moves {
            let (replicas, leader) = &mut groups[one.group.0 as usize - 1];
            assert_eq!(*leader, Some(one.from));
            assert!(replicas.contains(&one.to));
            *leader = Some(one.to);
        }
    }

    fn loads(groups: &[Owned], alive: &BTreeSet<NodeId>) -> Vec<usize> {
        alive.iter().map(|node| groups.iter().filter(|(_, leader)| *leader == Some(*node)).count()).collect()
    }

    /// `count` groups on nodes 1, 2, 3 with their first replicas in turn, led by them.
    fn even(count: usize) -> Vec<Owned> {
        let orders = [[1, 2, 3], [2, 3, 1], [3, 1, 2]];
        (0..count).map(|at| (ids(&orders[at % 3]), Some(NodeId(orders[at % 3][0])))).collect()
    }

    #[test]
    fn what_is_as_it_should_be_is_left_alone() {
        assert_eq!(plan_of(&even(10), &alive(&[1, 2, 3]), 100), []);
        assert_eq!(plan_of(&[], &alive(&[1]), 100), []);
        assert_eq!(plan_of(&[(ids(&[1]), None)], &alive(&[1]), 100), []);
    }

    #[test]
    fn a_node_that_is_back_gets_its_groups_again_and_no_others_move() {
        let mut groups = even(9);
        for (_, leader) in groups.iter_mut().filter(|(_, leader)| *leader == Some(NodeId(1))) {
            *leader = Some(NodeId(2));
        }
        let moves = plan_of(&groups, &alive(&[1, 2, 3]), 100);
        assert_eq!(moves.len(), 3);
        assert!(moves.iter().all(|one| one.from == NodeId(2) && one.to == NodeId(1)));
        assert_eq!(plan_of(&groups, &alive(&[1, 2, 3]), 2).len(), 2);
        carry_out(&mut groups, &moves);
        assert_eq!(groups, even(9));
    }

    #[test]
    fn what_a_lost_node_led_is_shared_by_the_others() {
        let mut groups = even(12);
        for (_, leader) in groups.iter_mut().filter(|(_, leader)| *leader == Some(NodeId(1))) {
            *leader = Some(NodeId(2));
        }
        let living = alive(&[2, 3]);
        let moves = plan_of(&groups, &living, 100);
        assert_eq!(moves.len(), 2, "{moves:?}");
        carry_out(&mut groups, &moves);
        assert_eq!(loads(&groups, &living), [6, 6]);
        assert_eq!(plan_of(&groups, &living, 100), []);
    }

    #[test]
    fn groups_that_all_prefer_one_node_are_spread() {
        let living = alive(&[1, 2, 3]);
        let mut groups: Vec<Owned> = (0..9).map(|_| (ids(&[1, 2, 3]), Some(NodeId(1)))).collect();
        let moves = plan_of(&groups, &living, 100);
        carry_out(&mut groups, &moves);
        assert_eq!(loads(&groups, &living), [3, 3, 3]);
        assert_eq!(plan_of(&groups, &living, 100), []);
    }

    #[test]
    fn ten_thousand_groups_are_planned_at_once() {
        let living = alive(&[1, 2, 3]);
        let mut groups = even(10_000);
        groups.iter_mut().for_each(|(_, leader)| *leader = Some(NodeId(3)));
        let moves = plan_of(&groups, &living, 50);
        assert_eq!(moves.len(), 50);
        let rest = plan_of(&groups, &living, usize::MAX);
        carry_out(&mut groups, &rest);
        assert_eq!(groups, even(10_000));
    }

    proptest! {
        /// From any state, plans of a few moves each come to rest, and what they reach is no less even than before.
        #[test]
        fn plans_come_to_rest(
            spec in prop::collection::vec((prop::sample::subsequence(vec![1u64, 2, 3, 4, 5], 1..5), 0usize..5, 0usize..5), 0..60),
            living in prop::sample::subsequence(vec![1u64, 2, 3, 4, 5], 1..=5),
            moves_max in 1usize..20,
        ) {
            let living = alive(&living);
            let mut groups: Vec<Owned> = spec.into_iter().map(|(mut replicas, turn, leader)| {
                let turns = turn % replicas.len();
                replicas.rotate_left(turns);
                let leader = NodeId(replicas[leader % replicas.len()]);
                (ids(&replicas), Some(leader).filter(|leader| living.contains(leader)))
            }).collect();
            for _ in 0..=2 * groups.len() / moves_max + 2 {
                let moves = plan_of(&groups, &living, moves_max);
                prop_assert!(moves.len() <= moves_max);
                let distinct: BTreeSet<GroupId> = moves.iter().map(|one| one.group).collect();
                prop_assert_eq!(distinct.len(), moves.len());
                prop_assert!(moves.iter().all(|one| living.contains(&one.to)));
                carry_out(&mut groups, &moves);
            }
            prop_assert_eq!(plan_of(&groups, &living, moves_max), []);
        }

        /// A whole plan leaves nothing to do.
        #[test]
        fn a_plan_that_was_carried_out_leaves_nothing(
            spec in prop::collection::vec((prop::sample::subsequence(vec![1u64, 2, 3, 4, 5], 1..5), 0usize..5, 0usize..5), 0..60),
            living in prop::sample::subsequence(vec![1u64, 2, 3, 4, 5], 1..=5),
        ) {
            let living = alive(&living);
            let mut groups: Vec<Owned> = spec.into_iter().map(|(mut replicas, turn, leader)| {
                let turns = turn % replicas.len();
                replicas.rotate_left(turns);
                let leader = NodeId(replicas[leader % replicas.len()]);
                (ids(&replicas), Some(leader).filter(|leader| living.contains(leader)))
            }).collect();
            let moves = plan_of(&groups, &living, usize::MAX);
            carry_out(&mut groups, &moves);
            let again = plan_of(&groups, &living, usize::MAX);
            carry_out(&mut groups, &again);
            prop_assert_eq!(plan_of(&groups, &living, usize::MAX), []);
        }
    }
}
