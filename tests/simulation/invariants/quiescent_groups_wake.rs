//! Quiescent groups wake: a group that sleeps does so with a leader that lives and followers that have everything; when
//! that ends, it wakes within a bounded time.
//!
//! Looks, while the network is calm, at replicas that sleep: whose leader's process has ended long ago, and whose
//! leader's log has what they lack.

use super::Invariant;
use crate::view::{Group, HostId, View};
use std::collections::BTreeMap;

/// Within this time a sleeping group has noticed. Longer than a node is silent before it is missed, and than the
/// registry takes to look again.
pub const NOTICED_WITHIN_MS: u64 = 10_000;

#[derive(Default)]
pub struct QuiescentGroupsWake {
    /// Since when a replica sleeps though it should not.
    stuck: BTreeMap<(HostId, Group), u64>,
}

fn should_wake(view: &View, host: HostId, group: Group) -> Option<&'static str> {
    let replica = view.hosts.get(&host)?.replicas.get(&group)?;
    let leader = replica.leader?;
    if leader != host {
        let gone = view.hosts.get(&leader).is_none_or(|leader| !leader.running);
        return gone.then_some("its leader's process has ended");
    }
    let lacks = |other: &HostId| {
        let other = view.hosts.get(other).filter(|other| other.ready && !other.held && !other.damaged);
        let other = other.and_then(|other| other.replicas.get(&group)).filter(|other| other.live && !other.failed);
        other.is_some_and(|other| other.log.last().map(|last| last.index) < replica.log.last().map(|last| last.index))
    };
    replica.voters.iter().any(lacks).then_some("it leads, and a living follower lacks entries")
}

impl Invariant for QuiescentGroupsWake {
    fn name(&self) -> &'static str {
        "quiescent groups wake"
    }

    fn look(&mut self, view: &View) -> Result<(), String> {
        let Some(calm_since) = view.calm_since_ms else {
            self.stuck.clear();
            return Ok(());
        };
        let mut stuck = BTreeMap::new();
        for (host, seen, group, replica) in view.live() {
            if replica.awake || replica.failed || !seen.ready || seen.held {
                continue;
            }
            let Some(why) = should_wake(view, host, group) else { continue };
            let since = self.stuck.get(&(host, group)).copied().unwrap_or(view.now_ms).max(calm_since);
            if view.now_ms - since > NOTICED_WITHIN_MS {
                return Err(format!("group {group} sleeps on host {host} since {since} ms, but {why}"));
            }
            stuck.insert((host, group), since);
        }
        self.stuck = stuck;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::states::{cluster, entry, replica};
    use super::*;
    use crate::view::ReplicaView;

    fn asleep(log: &[crate::view::EntryView]) -> ReplicaView {
        ReplicaView { awake: false, leader: Some(1), term: 1, ..replica(log) }
    }

    fn fires(mut view: View) -> bool {
        let mut invariant = QuiescentGroupsWake::default();
        view.calm_since_ms = Some(0);
        view.now_ms = 1;
        assert_eq!(invariant.look(&view), Ok(()));
        view.now_ms += NOTICED_WITHIN_MS + 1;
        invariant.look(&view).is_err()
    }

    #[test]
    fn a_group_that_is_well_may_sleep() {
        assert!(!fires(cluster(vec![asleep(&[entry(0, 1)]), asleep(&[entry(0, 1)])])));
    }

    #[test]
    fn sleeping_on_a_dead_leader_is_found() {
        let mut view = cluster(vec![asleep(&[]), asleep(&[]), asleep(&[])]);
        view.hosts.get_mut(&1).unwrap().running = false;
        view.hosts.get_mut(&1).unwrap().replicas.clear();
        assert!(fires(view));
    }

    #[test]
    fn sleeping_on_a_follower_that_lacks_entries_is_found() {
        assert!(fires(cluster(vec![asleep(&[entry(0, 1), entry(1, 1)]), asleep(&[entry(0, 1)])])));
    }
}
