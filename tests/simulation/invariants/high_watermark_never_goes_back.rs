//! The high watermark never goes back: not on a replica while its process lives, and not from one answer of a leader to
//! a later one of the same or a later leader (what was committed stays committed: Raft paper, section 5.4).
//!
//! Looks at what replicas have applied, and hears what reads are told. An answer of a leader that was replaced without
//! its knowing may be old; its term tells.

use super::Invariant;
use crate::view::{Group, HostId, View};
use crate::workload::{Event, Outcome, Place};
use std::collections::BTreeMap;

#[derive(Default)]
pub struct HighWatermarkNeverGoesBack {
    replicas: BTreeMap<(HostId, u64, Group), u64>,
    /// What reads were told that had ended by now: term and high watermark.
    told: BTreeMap<Place, (u64, u64)>,
    /// What had been told when a read that is on its way began.
    at_begin: BTreeMap<u64, BTreeMap<Place, (u64, u64)>>,
}

impl Invariant for HighWatermarkNeverGoesBack {
    fn name(&self) -> &'static str {
        "high watermark never goes back"
    }

    fn look(&mut self, view: &View) -> Result<(), String> {
        for (host, seen, group, replica) in view.live() {
            let now = replica.high_watermark;
            let before = self.replicas.insert((host, seen.life, group), now).unwrap_or(0);
            if now < before {
                return Err(format!("group {group} on host {host}: it went back from {before} to {now}"));
            }
        }
        Ok(())
    }

    fn hear(&mut self, event: &Event) -> Result<(), String> {
        let Some(outcome) = &event.outcome else {
            if event.call.reads() {
                self.at_begin.insert(event.op, self.told.clone());
            }
            return Ok(());
        };
        let known = self.at_begin.remove(&event.op).unwrap_or_default();
        let Outcome::Read { place, term, high_watermark, .. } = outcome else { return Ok(()) };
        if let Some((old_term, old)) = known.get(place)
            && term >= old_term
            && high_watermark < old
        {
            return Err(format!(
                "{place}: a read was told {old} in term {old_term}, a later one {high_watermark} in {term}"
            ));
        }
        let told = self.told.entry(*place).or_default();
        *told = (*told).max((*term, *high_watermark));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::states::{cluster, replica};
    use super::*;
    use crate::view::ReplicaView;
    use crate::workload::events;

    #[test]
    fn a_replica_that_goes_back_is_found() {
        let mut invariant = HighWatermarkNeverGoesBack::default();
        let at = |high_watermark| cluster(vec![ReplicaView { high_watermark, ..replica(&[]) }]);
        assert_eq!(invariant.look(&at(5)), Ok(()));
        assert!(invariant.look(&at(4)).is_err());
        let mut again = at(3);
        again.hosts.get_mut(&1).unwrap().life = 2;
        assert_eq!(invariant.look(&again), Ok(()), "it applies again after a start");
    }

    #[test]
    fn an_answer_that_goes_back_is_found() {
        let mut invariant = HighWatermarkNeverGoesBack::default();
        let mut told = |op, term, high_watermark| {
            events::read(op, term, high_watermark, &[]).iter().try_for_each(|event| invariant.hear(event))
        };
        assert_eq!(told(1, 2, 10), Ok(()));
        assert_eq!(told(2, 1, 5), Ok(()), "an old leader may be behind");
        assert!(told(3, 2, 9).is_err());
    }
}
