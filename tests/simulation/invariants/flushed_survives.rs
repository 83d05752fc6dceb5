//! What a log calls flushed survives the end of its process and the loss of power (the condition under which Raft's
//! proof holds: persistent state is on stable storage before it is answered for, figure 2).
//!
//! Looks at what each replica called flushed, and the term of its vote, in one life of its process, and at its log and
//! term in the next. What was cut off for a new leader meanwhile does not count, nor a disk that was damaged.

use super::Invariant;
use crate::view::{Group, HostId, View};
use std::collections::BTreeMap;

struct Promise {
    life: u64,
    term: u64,
    flushed: Option<(u64, u64)>,
}

#[derive(Default)]
pub struct FlushedSurvives {
    promises: BTreeMap<(HostId, Group), Promise>,
}

impl Invariant for FlushedSurvives {
    fn name(&self) -> &'static str {
        "flushed survives"
    }

    fn look(&mut self, view: &View) -> Result<(), String> {
        // A host whose catalog lags may open a group again that was deleted, and its log removed.
        let is_there = |group: Group| group == 0 || view.groups.values().any(|known| *known == group);
        for (host, seen, group, replica) in view.live().filter(|(_, _, group, _)| is_there(*group)) {
            if let Some(before) =
                self.promises.get(&(host, group)).filter(|before| before.life != seen.life && !seen.damaged)
            {
                if replica.term < before.term {
                    return Err(format!(
                        "group {group} on host {host}: it was in term {} before it started again, and is in {} now",
                        before.term, replica.term
                    ));
                }
                // A leader of a later term may have cut it off since.
                if let Some((term, index)) = before.flushed.filter(|_| replica.term == before.term)
                    && index >= replica.log.first()
                    && replica.log.get(index).map(|entry| entry.term) != Some(term)
                    // Its place may have been taken within the term of the vote, between two looks.
                    && replica.log.last().is_none_or(|last| last.term <= term)
                {
                    return Err(format!(
                        "group {group} on host {host}: entry {index} of term {term} was flushed, and is gone after a start"
                    ));
                }
            }
            let promise = Promise { life: seen.life, term: replica.term, flushed: replica.log.flushed };
            self.promises.insert((host, group), promise);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::states::{cluster, entry, replica};
    use super::*;
    use crate::view::ReplicaView;

    fn after_restart(replica: ReplicaView) -> View {
        let mut view = cluster(vec![replica]);
        view.hosts.get_mut(&1).unwrap().life = 2;
        view
    }

    fn invariant() -> FlushedSurvives {
        let mut invariant = FlushedSurvives::default();
        let before = ReplicaView { term: 3, ..replica(&[entry(0, 1), entry(1, 3)]) };
        assert_eq!(invariant.look(&cluster(vec![before])), Ok(()));
        invariant
    }

    #[test]
    fn a_lost_entry_is_found() {
        let same = ReplicaView { term: 3, ..replica(&[entry(0, 1), entry(1, 3)]) };
        assert_eq!(invariant().look(&after_restart(same)), Ok(()));
        let less = ReplicaView { term: 3, ..replica(&[entry(0, 1)]) };
        assert!(invariant().look(&after_restart(less)).is_err());
    }

    #[test]
    fn a_forgotten_vote_is_found() {
        let older = ReplicaView { term: 2, ..replica(&[entry(0, 1), entry(1, 3)]) };
        assert!(invariant().look(&after_restart(older)).is_err());
    }
}
