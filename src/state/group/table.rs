//! What is durable of the groups of one partition of `__consumer_offsets`: the sum of its log.
//!
//! Purpose: one `replay`, called when an entry is applied, serves the living coordinator, followers and restarts alike,
//! so that a new leader has all there is at once.
//!
//! Invariants: what stands here is committed, in log order, so the newest commit of an offset wins; equal logs give equal
//! tables and equal snapshots. A partition is leased to one lease of its group at most.
//!
//! Does not decide anything: whether a commit or a lease may be made is asked before it is written. Knows no time: a
//! lease says for how long it is given, and whoever leads counts.

use super::records::{CommittedOffset, GroupMetadata, RecordKey};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A partition of a topic, by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PartitionKey {
    pub topic: String,
    pub partition: i32,
}

impl PartitionKey {
    pub fn new(topic: &str, partition: i32) -> PartitionKey {
        PartitionKey { topic: topic.to_string(), partition }
    }
}

/// A lease's number: random, so that an old one is never taken for a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LeaseId(pub u128);

/// What of one partition was handed out: `from` up to `to`, that one excluded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeasedRange {
    pub at: PartitionKey,
    pub from: i64,
    pub to: i64,
}

/// Records handed out to a member, which nobody else gets until it is done with them or the time is up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    pub member: String,
    pub duration_ms: i64,
    pub ranges: Vec<LeasedRange>,
}

/// Changes of leases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GroupCommand {
    Grant {
        group: String,
        id: LeaseId,
        lease: Lease,
    },
    /// From now on for so long.
    Renew {
        group: String,
        id: LeaseId,
        duration_ms: i64,
    },
    /// These partitions are free again; all of them where none is named.
    Release {
        group: String,
        id: LeaseId,
        partitions: Vec<PartitionKey>,
    },
}

/// One group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupEntry {
    pub metadata: Option<GroupMetadata>,
    pub offsets: BTreeMap<PartitionKey, CommittedOffset>,
    pub leases: BTreeMap<LeaseId, Lease>,
}

impl GroupEntry {
    fn is_empty(&self) -> bool {
        self.metadata.is_none() && self.offsets.is_empty() && self.leases.is_empty()
    }

    /// Whether some lease has this partition.
    pub fn is_leased(&self, at: &PartitionKey) -> bool {
        self.leases.values().any(|lease| lease.ranges.iter().any(|range| range.at == *at))
    }
}

/// All groups of one partition, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupTable {
    groups: BTreeMap<String, GroupEntry>,
}

impl GroupTable {
    /// A group, if anything is kept of it.
    pub fn get(&self, group: &str) -> Option<&GroupEntry> {
        self.groups.get(group)
    }

    /// All groups, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &GroupEntry)> {
        self.groups.iter().map(|(name, entry)| (name.as_str(), entry))
    }

    /// How many groups there are.
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Takes the next record of the log. What is not a group's record (a format of a newer version) changes nothing, on
    /// every replica.
    pub fn replay(&mut self, key: Option<&[u8]>, value: Option<&[u8]>) {
        match key.and_then(RecordKey::decode) {
            Some(RecordKey::Offset { group, topic, partition }) => {
                let at = PartitionKey { topic, partition };
                match value.map(CommittedOffset::decode) {
                    Some(Some(offset)) => {
                        self.groups.entry(group).or_default().offsets.insert(at, offset);
                    }
                    Some(None) => {}
                    None => self.change(&group, |entry| {
                        entry.offsets.remove(&at);
                    }),
                }
            }
            Some(RecordKey::Group(group)) => match value.map(GroupMetadata::decode) {
                Some(Some(metadata)) => self.groups.entry(group).or_default().metadata = Some(metadata),
                Some(None) => {}
                None => self.change(&group, |entry| entry.metadata = None),
            },
            None => {}
        }
    }

    /// Takes the next command of the log. True if it holds: a grant of a partition that is leased to another, or anything
    /// about a lease that is gone, does not.
    pub fn command(&mut self, command: &GroupCommand) -> bool {
        match command {
            GroupCommand::Grant { group, id, lease } => {
                let entry = self.groups.entry(group.clone()).or_default();
                let is_free = lease.ranges.iter().all(|range| !entry.is_leased(&range.at));
                if is_free {
                    entry.leases.insert(*id, lease.clone());
                }
                if entry.is_empty() {
                    self.groups.remove(group);
                }
                is_free
            }
            GroupCommand::Renew { group, id, duration_ms } => {
                let lease = self.groups.get_mut(group).and_then(|entry| entry.leases.get_mut(id));
                lease.map(|lease| lease.duration_ms = *duration_ms).is_some()
            }
            GroupCommand::Release { group, id, partitions } => {
                let mut known = false;
                self.change(group, |entry| {
                    let Some(lease) = entry.leases.get_mut(id) else { return };
                    known = true;
                    lease.ranges.retain(|range| !partitions.is_empty() && !partitions.contains(&range.at));
                    if lease.ranges.is_empty() {
                        entry.leases.remove(id);
                    }
                });
                known
            }
        }
    }

    /// Changes a group that is known, and forgets it once nothing is left of it.
    fn change(&mut self, group: &str, change: impl FnOnce(&mut GroupEntry)) {
        let Some(entry) = self.groups.get_mut(group) else { return };
        change(entry);
        if entry.is_empty() {
            self.groups.remove(group);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::records::GroupRecord;
    use super::*;
    use proptest::prelude::*;

    fn replay(table: &mut GroupTable, record: &GroupRecord) {
        let (key, value) = record.encode();
        table.replay(Some(&key), value.as_deref());
    }

    fn committed(offset: i64) -> CommittedOffset {
        CommittedOffset { offset, leader_epoch: -1, metadata: String::new(), committed_at_ms: 1 }
    }

    fn lease(member: &str, partition: i32) -> Lease {
        let range = LeasedRange { at: PartitionKey::new("t", partition), from: 0, to: 5 };
        Lease { member: member.into(), duration_ms: 10, ranges: vec![range] }
    }

    #[test]
    fn the_newest_commit_wins_and_tombstones_remove() {
        let mut table = GroupTable::default();
        replay(&mut table, &GroupRecord::offset("g", "t", 0, Some(committed(5))));
        replay(&mut table, &GroupRecord::offset("g", "t", 0, Some(committed(9))));
        replay(&mut table, &GroupRecord::group("g", Some(GroupMetadata::default())));
        let at = PartitionKey::new("t", 0);
        assert_eq!(table.get("g").unwrap().offsets[&at].offset, 9);
        replay(&mut table, &GroupRecord::offset("g", "t", 0, None));
        assert!(table.get("g").unwrap().offsets.is_empty());
        replay(&mut table, &GroupRecord::group("g", None));
        assert!(table.is_empty(), "nothing is left of it");
        replay(&mut table, &GroupRecord::group("other", None));
        table.replay(Some(&[0, 9]), Some(&[1]));
        table.replay(None, None);
        assert!(table.is_empty());
    }

    #[test]
    fn a_partition_is_leased_once() {
        let mut table = GroupTable::default();
        let grant = |id, member: &str, partition| GroupCommand::Grant {
            group: "g".into(),
            id: LeaseId(id),
            lease: lease(member, partition),
        };
        let release = |id| GroupCommand::Release { group: "g".into(), id: LeaseId(id), partitions: vec![] };
        assert!(table.command(&grant(1, "a", 0)));
        assert!(!table.command(&grant(2, "b", 0)), "it is a's");
        assert!(table.command(&grant(3, "b", 1)));
        assert!(table.command(&GroupCommand::Renew { group: "g".into(), id: LeaseId(1), duration_ms: 99 }));
        assert_eq!(table.get("g").unwrap().leases[&LeaseId(1)].duration_ms, 99);
        assert!(table.command(&release(1)));
        assert!(!table.command(&release(1)), "it is gone");
        assert!(!table.command(&GroupCommand::Renew { group: "g".into(), id: LeaseId(1), duration_ms: 9 }));
        assert!(table.command(&grant(4, "b", 0)));
        let part = GroupCommand::Release {
            group: "g".into(),
            id: LeaseId(3),
            partitions: vec![PartitionKey::new("t", 1), PartitionKey::new("t", 7)],
        };
        assert!(table.command(&part));
        assert!(table.command(&release(4)));
        assert!(table.is_empty());
    }

    fn any_step() -> impl Strategy<Value = (u8, u8, u8, i64)> {
        (0_u8..6, 0_u8..3, 0_u8..4, 0_i64..50)
    }

    proptest! {
        #[test]
        fn a_partition_never_has_two_leases_and_a_snapshot_is_the_table(
            steps in proptest::collection::vec(any_step(), 0..60)
        ) {
            let mut table = GroupTable::default();
            for (kind, group, partition, number) in steps {
                let (group, id) = (format!("g{group}"), LeaseId(number as u128));
                let partition = i32::from(partition);
                match kind {
                    0 => replay(&mut table, &GroupRecord::offset(&group, "t", partition, Some(committed(number)))),
                    1 => replay(&mut table, &GroupRecord::offset(&group, "t", partition, None)),
                    2 => {
                        let metadata = GroupMetadata { generation: number as i32, ..GroupMetadata::default() };
                        replay(&mut table, &GroupRecord::group(&group, (number % 3 > 0).then_some(metadata)));
                    }
                    3 => {
                        table.command(&GroupCommand::Grant { group, id, lease: lease("m", partition) });
                    }
                    4 => {
                        table.command(&GroupCommand::Renew { group, id, duration_ms: number });
                    }
                    _ => {
                        table.command(&GroupCommand::Release { group, id, partitions: vec![] });
                    }
                }
                for (_, entry) in table.iter() {
                    let mut leased: Vec<_> = entry.leases.values().flat_map(|lease| &lease.ranges).collect();
                    let all = leased.len();
                    leased.sort_by(|a, b| a.at.cmp(&b.at));
                    leased.dedup_by(|a, b| a.at == b.at);
                    prop_assert_eq!(leased.len(), all);
                    prop_assert!(!entry.is_empty());
                }
            }
            let bytes = bincode::serialize(&table).unwrap();
            prop_assert_eq!(bincode::deserialize::<GroupTable>(&bytes).unwrap(), table);
        }
    }
}
