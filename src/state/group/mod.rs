//! Consumer groups: what is durable of them (records, table), and how a living one moves (live).
//!
//! *Consumer group* is what clients join; a Raft group is meant only where it is called that. Purity as of all of `state`:
//! time is an input, what is to happen is an output.

mod error;
pub mod live;
mod records;
mod table;

pub use error::GroupError;
pub use live::LiveGroup;
pub use records::{CommittedOffset, GroupMetadata, GroupRecord, MemberMetadata, RecordKey, RecordValue, TEXT_LEN_MAX};
pub use table::{GroupCommand, GroupEntry, GroupTable, Lease, LeaseId, LeasedRange, PartitionKey};

/// The topic whose partitions hold the groups.
pub const GROUP_TOPIC: &str = "__consumer_offsets";

/// The partition of [`GROUP_TOPIC`] that holds a group: Kafka's rule, Java's hash of the name's UTF-16 units.
pub fn partition_of_group(group: &str, partitions: u32) -> u32 {
    let hash = group.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    // The smallest number has no absolute value; Kafka takes 0 for it.
    hash.checked_abs().unwrap_or(0) as u32 % partitions.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{RecordSet, build_batch};
    use crate::state::partition::{EntryAttributes, Identity, PartitionState, WriterId};
    use crate::storage::{DataEntry, LogEntry, Payload};
    use crate::types::{LogId, Offset};

    #[test]
    fn groups_are_spread_as_java_would() {
        // By the rule s[0]*31^(n-1) + ... + s[n-1].
        assert_eq!(partition_of_group("", 50), 0);
        assert_eq!(partition_of_group("a", 50), 97 % 50);
        assert_eq!(partition_of_group("ab", 1_000_000), 97 * 31 + 98);
        assert_eq!(partition_of_group("polygenelubricants", 50), 0, "its hash is the smallest number");
        assert_eq!(partition_of_group("zzzzzz", 1_000), 664, "its hash is -685785664");
        assert_eq!(partition_of_group("orders-eu", 1_000), 216, "its hash is -390714216");
    }

    #[test]
    fn a_partition_of_groups_replays_its_records_and_keeps_them_in_its_snapshot() {
        let offset = CommittedOffset { offset: 7, leader_epoch: 2, metadata: "m".into(), committed_at_ms: 9 };
        let (key, value) = GroupRecord::offset("g", "t", 1, Some(offset.clone())).encode();
        let mut set = RecordSet::new();
        set.push(9, Some(&key), value.as_deref(), &[]);
        let built = build_batch(&[set]);
        let identity = Identity::Writer { writer: WriterId(1), sequence: 0 };
        let data = DataEntry {
            base_offset: Some(Offset(0)),
            record_count: 1,
            timestamp_ms_max: 9,
            attributes: EntryAttributes { appended_at_ms: 9, identity }.encode().into(),
            batches: built.bytes,
        };
        let entry = |data: &DataEntry| LogEntry { id: LogId::default(), payload: Payload::Data(data.clone()) };
        let mut state = PartitionState::with_groups();
        state.apply(&entry(&data)).unwrap();
        let at = PartitionKey::new("t", 1);
        assert_eq!(state.groups().unwrap().get("g").unwrap().offsets[&at], offset);
        let back = PartitionState::from_snapshot(&state.to_snapshot()).unwrap();
        assert_eq!(back, state);

        let mut headers_only = PartitionState::with_groups();
        let without = DataEntry { batches: bytes::Bytes::new(), ..data.clone() };
        assert!(headers_only.apply(&entry(&without)).is_err(), "a group must not be lost in silence");
        let mut ordinary = PartitionState::default();
        ordinary.apply(&entry(&without)).unwrap();
        assert!(ordinary.groups().is_none());
    }
}
