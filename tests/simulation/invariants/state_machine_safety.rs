//! State machine safety: if a replica has applied an entry at an index, none ever applies another there (Raft paper,
//! section 5.4.3).
//!
//! Looks at what each replica has applied since the last look, and whether it is in its log at all.

use super::Invariant;
use crate::view::{Group, HostId, View};
use std::collections::BTreeMap;

#[derive(Default)]
pub struct StateMachineSafety {
    /// Term and hash of what was applied at an index.
    applied: BTreeMap<(Group, u64), (u64, u64)>,
    upto: BTreeMap<(HostId, u64, Group), u64>,
}

impl Invariant for StateMachineSafety {
    fn name(&self) -> &'static str {
        "state machine safety"
    }

    fn look(&mut self, view: &View) -> Result<(), String> {
        for (host, seen, group, replica) in view.live() {
            let Some((term, index)) = replica.applied else { continue };
            let from = self.upto.insert((host, seen.life, group), index + 1).unwrap_or(0);
            for at in from.max(replica.log.first())..=index {
                let Some(entry) = replica.log.get(at) else {
                    return Err(format!("group {group}: host {host} applied entry {at}, which its log does not have"));
                };
                let known = *self.applied.entry((group, at)).or_insert((entry.term, entry.hash));
                if known != (entry.term, entry.hash) {
                    return Err(format!(
                        "group {group}: host {host} applied entry {at} of term {}, others one of term {}",
                        entry.term, known.0
                    ));
                }
            }
            if replica.log.get(index).is_some_and(|entry| entry.term != term) {
                return Err(format!(
                    "group {group}: host {host} applied entry {index} of term {term}, and has another"
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

    fn applied(log: &[crate::view::EntryView]) -> ReplicaView {
        let last = log.last().unwrap();
        ReplicaView { applied: Some((last.term, last.index)), ..replica(log) }
    }

    #[test]
    fn the_same_entries_are_fine() {
        let view = cluster(vec![applied(&[entry(0, 1), entry(1, 1)]), applied(&[entry(0, 1)])]);
        assert_eq!(StateMachineSafety::default().look(&view), Ok(()));
    }

    #[test]
    fn another_entry_at_an_index_is_found() {
        let view = cluster(vec![applied(&[entry(0, 1), entry(1, 1)]), applied(&[entry(0, 1), entry(1, 2)])]);
        assert!(StateMachineSafety::default().look(&view).is_err());
    }

    #[test]
    fn what_is_not_in_the_log_was_not_applied() {
        let ghost = ReplicaView { applied: Some((1, 5)), ..replica(&[entry(0, 1)]) };
        assert!(StateMachineSafety::default().look(&cluster(vec![ghost])).is_err());
    }
}
