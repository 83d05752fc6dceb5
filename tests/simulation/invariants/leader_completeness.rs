//! Leader completeness: an entry that was committed in a term is in the log of the leader of every later term (Raft
//! paper, section 5.4).
//!
//! Looks at what any replica has applied, which is committed, together with the highest term known at that time; and at
//! each later moment at the logs of those who lead in a higher term.

use super::Invariant;
use crate::view::{Group, View};
use std::collections::BTreeMap;

#[derive(Default)]
pub struct LeaderCompleteness {
    committed: BTreeMap<Group, Vec<Committed>>,
}

#[derive(Clone, Copy)]
struct Committed {
    index: u64,
    term: u64,
    /// The highest term that anybody had when it was first seen applied: it was committed in that one at the latest.
    known_in: u64,
}

impl Invariant for LeaderCompleteness {
    fn name(&self) -> &'static str {
        "leader completeness"
    }

    fn look(&mut self, view: &View) -> Result<(), String> {
        let mut highest: BTreeMap<Group, u64> = BTreeMap::new();
        for (_, _, group, replica) in view.live() {
            let known = highest.entry(group).or_default();
            *known = (*known).max(replica.term);
        }
        for (_, _, group, replica) in view.live() {
            let committed = self.committed.entry(group).or_default();
            let Some((term, index)) = replica.applied else { continue };
            if committed.last().is_none_or(|last| last.index < index) {
                committed.push(Committed { index, term, known_in: highest[&group] });
            }
        }
        for (host, _, group, replica) in view.live() {
            let Some(leads_in) = replica.leads_in else { continue };
            let Some(committed) = self.committed.get(&group) else { continue };
            // The last one stands for all before it, since logs match.
            let Some(last) = committed.iter().rev().find(|entry| entry.known_in < leads_in) else { continue };
            if last.index < replica.log.first() {
                continue;
            }
            if replica.log.get(last.index).map(|entry| entry.term) != Some(last.term) {
                return Err(format!(
                    "group {group}: entry {} of term {} was committed, and host {host}, which leads in term {leads_in}, \
                     does not have it",
                    last.index, last.term
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::states::{cluster, entry, replica};
    use super::*;
    use crate::view::ReplicaView;

    fn follower() -> ReplicaView {
        ReplicaView { term: 1, applied: Some((1, 1)), ..replica(&[entry(0, 1), entry(1, 1)]) }
    }

    #[test]
    fn a_leader_without_a_committed_entry_is_found() {
        let mut invariant = LeaderCompleteness::default();
        assert_eq!(invariant.look(&cluster(vec![follower(), follower()])), Ok(()));
        let leader = |log: &[crate::view::EntryView]| ReplicaView { term: 2, leads_in: Some(2), ..replica(log) };
        let good = leader(&[entry(0, 1), entry(1, 1), entry(2, 2)]);
        assert_eq!(invariant.look(&cluster(vec![follower(), good])), Ok(()));
        let bad = leader(&[entry(0, 1), entry(1, 2)]);
        assert!(invariant.look(&cluster(vec![follower(), bad])).is_err());
    }

    #[test]
    fn a_leader_of_an_old_term_may_lack_it() {
        let mut invariant = LeaderCompleteness::default();
        let new = ReplicaView { term: 3, applied: Some((3, 1)), ..replica(&[entry(0, 1), entry(1, 3)]) };
        let old = ReplicaView { term: 2, leads_in: Some(2), ..replica(&[entry(0, 1)]) };
        assert_eq!(invariant.look(&cluster(vec![new, old])), Ok(()));
    }
}
