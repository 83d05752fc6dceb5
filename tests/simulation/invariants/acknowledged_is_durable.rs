//! Acknowledged is durable: what acks=all answered is in the flushed logs of a quorum at all times, and is read by
//! everybody in the end. A quorum is one of the last membership that is committed, as far as any replica ever knew: while
//! voters change, a majority of those before and a majority of those after.
//!
//! Looks at the logs of all replicas, also of those whose process does not run (as they were flushed last), and hears
//! what was acknowledged. A replica whose disk was damaged counts as it was before: it does not vote any more.

use super::Invariant;
use crate::view::{Group, HostId, View};
use crate::workload::{Call, Event, Outcome, Place, READ_FROM_ALL};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
pub struct AcknowledgedIsDurable {
    /// Index and quorums of the last membership that was committed.
    memberships: BTreeMap<Group, (u64, Vec<BTreeSet<HostId>>)>,
    /// First offset behind all that was acknowledged.
    acknowledged: BTreeMap<Place, u64>,
    values: BTreeMap<Place, BTreeMap<u64, u64>>,
    read: BTreeMap<Place, BTreeSet<u64>>,
    /// Lives of topics by name, and those that somebody may have deleted.
    lives: BTreeMap<String, BTreeSet<uuid::Uuid>>,
    gone: BTreeSet<uuid::Uuid>,
    /// Names whose topic somebody is about to delete, or may have deleted.
    in_doubt: BTreeSet<String>,
}

impl Invariant for AcknowledgedIsDurable {
    fn name(&self) -> &'static str {
        "acknowledged is durable"
    }

    fn look(&mut self, view: &View) -> Result<(), String> {
        for (_, _, group, replica) in view.replicas() {
            let Some((at, quorums)) = &replica.membership else { continue };
            if self.memberships.get(&group).is_none_or(|(known, _)| known < at) {
                self.memberships.insert(group, (*at, quorums.clone()));
            }
        }
        for (place, end) in &self.acknowledged {
            let group = view.groups.get(&(place.topic, place.partition));
            let Some(group) = group.copied().filter(|_| !self.gone.contains(&place.topic)) else { continue };
            let replicas: Vec<_> = view.replicas().filter(|(_, _, id, _)| *id == group).collect();
            if replicas.is_empty() {
                continue;
            }
            let Some((_, quorums)) = self.memberships.get(&group) else {
                return Err(format!("{place}: offsets below {end} were acknowledged, and no membership is committed"));
            };
            let in_force: Vec<BTreeSet<HostId>> =
                replicas.iter().map(|(_, _, _, replica)| replica.voters.iter().copied().collect()).collect();
            let holders: BTreeSet<HostId> = replicas
                .into_iter()
                .filter(|(_, host, _, replica)| host.damaged || replica.log.flushed_end >= *end)
                .map(|(host, _, _, _)| host)
                .collect();
            let has = |quorum: &BTreeSet<HostId>| quorum.intersection(&holders).count() > quorum.len() / 2;
            // From when a leader has the entry that ends a joint membership, it commits by the new voters alone (Ongaro's
            // dissertation, section 4.3); that entry itself is committed a moment later.
            let all: BTreeSet<HostId> = quorums.iter().flatten().copied().collect();
            let ends_joint = |quorum: &BTreeSet<HostId>| *quorum != all && in_force.contains(quorum);
            if !quorums.iter().all(has) && !quorums.iter().any(|quorum| has(quorum) && ends_joint(quorum)) {
                return Err(format!(
                    "{place}: offsets below {end} were acknowledged, and of {quorums:?} only {holders:?} have them on disk"
                ));
            }
        }
        Ok(())
    }

    fn hear(&mut self, event: &Event) -> Result<(), String> {
        match &event.outcome {
            None if matches!(event.call, Call::Delete { .. }) => {
                self.gone.extend(self.lives.get(event.call.topic()).into_iter().flatten());
                self.in_doubt.insert(event.call.topic().to_string());
            }
            Some(Outcome::Deleted { topic }) => {
                self.gone.insert(*topic);
                self.in_doubt.remove(event.call.topic());
            }
            Some(Outcome::Produced { place, base_offset, acks_all: true, .. }) => {
                let values = event.call.values();
                self.lives.entry(event.call.topic().to_string()).or_default().insert(place.topic);
                if self.in_doubt.contains(event.call.topic()) {
                    self.gone.insert(place.topic);
                }
                let end = self.acknowledged.entry(*place).or_default();
                *end = (*end).max(base_offset + values.len() as u64);
                self.values.entry(*place).or_default().extend((*base_offset..).zip(values.iter().copied()));
            }
            Some(Outcome::Read { place, records, .. }) if event.client == READ_FROM_ALL => {
                self.read.entry(*place).or_default().extend(records.iter().map(|(_, value)| *value));
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), String> {
        for (place, values) in self.values.iter().filter(|(place, _)| !self.gone.contains(&place.topic)) {
            let read = self.read.get(place).cloned().unwrap_or_default();
            if let Some((offset, value)) = values.iter().find(|(_, value)| !read.contains(value)) {
                return Err(format!("{place}: value {value} was acknowledged at offset {offset}, and nobody reads it"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::states::{cluster, data, replica};
    use super::*;
    use crate::view::ReplicaView;
    use crate::workload::events;

    fn acknowledged() -> AcknowledgedIsDurable {
        let mut invariant = AcknowledgedIsDurable::default();
        for event in events::produced(1, 0, &[11, 12]) {
            assert_eq!(invariant.hear(&event), Ok(()));
        }
        invariant
    }

    #[test]
    fn what_a_quorum_has_is_durable() {
        let has = || replica(&[data(0, 1, 0, 2)]);
        assert_eq!(acknowledged().look(&cluster(vec![has(), has(), replica(&[])])), Ok(()));
    }

    #[test]
    fn what_only_the_leader_has_is_not() {
        let has = replica(&[data(0, 1, 0, 2)]);
        assert!(acknowledged().look(&cluster(vec![has.clone(), replica(&[]), replica(&[])])).is_err());
        let mut not_flushed = has.clone();
        not_flushed.log.flushed_end = 0;
        assert!(acknowledged().look(&cluster(vec![has, not_flushed, replica(&[])])).is_err());
    }

    #[test]
    fn while_voters_change_both_majorities_count() {
        let joint = |log: &[crate::view::EntryView]| ReplicaView {
            membership: Some((1, vec![[1, 2, 3].into(), [1].into()])),
            ..replica(log)
        };
        let has = [data(0, 1, 0, 2)];
        assert_eq!(acknowledged().look(&cluster(vec![joint(&has), joint(&has), joint(&[])])), Ok(()));
        assert!(acknowledged().look(&cluster(vec![joint(&has), joint(&[]), joint(&[])])).is_err());
        assert!(acknowledged().look(&cluster(vec![joint(&[]), joint(&has), joint(&has)])).is_err());
    }

    #[test]
    fn a_new_membership_counts_from_when_it_is_committed() {
        let of = |at, quorum: &[u64], log: &[crate::view::EntryView]| ReplicaView {
            membership: Some((at, vec![quorum.iter().copied().collect()])),
            ..replica(log)
        };
        let has = [data(0, 1, 0, 2)];
        let new = of(2, &[1], &has);
        let mut invariant = acknowledged();
        assert_eq!(invariant.look(&cluster(vec![new, replica(&[]), replica(&[])])), Ok(()));
        let forgot = replica(&has);
        assert_eq!(invariant.look(&cluster(vec![forgot, replica(&[]), replica(&[])])), Ok(()), "it stays known");
        let lost = of(2, &[1], &[]);
        assert!(invariant.look(&cluster(vec![lost, replica(&has), replica(&has)])).is_err());
    }

    #[test]
    fn what_nobody_reads_in_the_end_is_lost() {
        let mut invariant = acknowledged();
        let read = |invariant: &mut AcknowledgedIsDurable, values: &[(u64, u64)]| {
            for event in events::read(2, 1, 2, values) {
                invariant.hear(&Event { client: READ_FROM_ALL, ..event }).unwrap();
            }
        };
        read(&mut invariant, &[(0, 11)]);
        assert!(invariant.finish().is_err());
        read(&mut invariant, &[(1, 12)]);
        assert_eq!(invariant.finish(), Ok(()));
    }
}
