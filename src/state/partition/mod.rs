//! The state machine of a partition's Raft group: what the log means beyond its records.
//!
//! Pure: `apply` sees only entries, in log order, and gives the same result on every replica and after every restart.
//! It keeps the high watermark, the log start, where terms begin, what each *writer* (a node's lane to this partition)
//! and each Kafka producer wrote last, and the idempotency keys of clients. It sees records only where consumer groups
//! are made of them, and does not know what a leader is.
//!
//! Exactly once: a node that carries a request through elections sends it again under the same writer and sequence
//! number until it has an answer (client sessions, Ongaro's dissertation, section 6.3). Sequence numbers of one writer
//! have no gaps, so that order holds too. A request that stands for itself (compare-and-append, `Idempotency-Key`) is
//! remembered by a key of its own instead. Kafka's producers number their batches themselves.
//!
//! Invariants, asserted at each apply: a data entry starts at the high watermark; sequence numbers of a writer, and of a
//! producer within its epoch, are consecutive; log start ≤ high watermark.

mod entries;
mod keys;
mod producers;
mod terms;
#[cfg(test)]
mod tests;
mod writers;

pub use entries::{Applied, EntryAttributes, Identity, KeyHash, PartitionCommand, WriterId};
pub use keys::{CLIENT_KEY_AGE_MS_MAX, CLIENT_KEYS_KEPT, KeyRecords, KeyUse, ONE_SHOT_KEYS_KEPT};
pub use producers::{
    PRODUCER_AGE_MS_MAX, PRODUCER_BATCHES_KEPT, PRODUCERS_KEPT, ProducerBatch, ProducerCheck, ProducerView, Producers,
    ProducersInFlight,
};
pub use terms::{TERMS_KEPT, TermStarts};
pub use writers::{SequenceCheck, WRITER_ANSWERS_KEPT, WRITERS_KEPT};

use super::group::GroupTable;
use crate::record::{Limits, records};
use crate::storage::{DataEntry, LogEntry, Payload};
use crate::types::{LogId, LogIndex, Offset};
use entries::{FORMAT_VERSION, decode, encode};
use keys::Keys;
use producers::Producer;
use serde::{Deserialize, Serialize};
use writers::Writers;

/// State of one partition. `Default` is that of an empty log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionState {
    high_watermark: Offset,
    /// First offset that readers see; the log itself may start later, or still keep what is before.
    log_start_offset: Offset,
    term_starts: TermStarts,
    writers: Writers,
    producers: Producers,
    client_keys: Keys,
    one_shot_keys: Keys,
    /// The consumer groups that the records make; only on partitions that hold some.
    groups: Option<Box<GroupTable>>,
}

/// Records of groups are written here, uncompressed, so their size is that of the entry.
const GROUP_LIMITS: Limits =
    Limits { record_bytes_max: usize::MAX, batch_bytes_max: usize::MAX, inflated_bytes_max: usize::MAX };

impl PartitionState {
    /// The state of an empty log whose records are those of consumer groups.
    pub fn with_groups() -> PartitionState {
        PartitionState { groups: Some(Box::default()), ..PartitionState::default() }
    }

    /// The consumer groups of this partition, if it is one that holds some.
    pub fn groups(&self) -> Option<&GroupTable> {
        self.groups.as_deref()
    }

    fn replay_groups(&mut self, index: LogIndex, data: &DataEntry) -> Result<(), String> {
        let Some(groups) = &mut self.groups else { return Ok(()) };
        if data.batches.is_empty() && data.record_count > 0 {
            return Err(format!("entry {index} came without its records, which are needed for the groups in them"));
        }
        for record in records(data.batches.clone(), &GROUP_LIMITS) {
            let record = record.map_err(|error| format!("entry {index}: {error}"))?;
            groups.replay(record.key.as_deref(), record.value.as_deref());
        }
        Ok(())
    }

    /// First offset that is not committed.
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// First offset that readers see, as far as trimming goes.
    pub fn log_start_offset(&self) -> Offset {
        self.log_start_offset
    }

    /// Where each term begins.
    pub fn term_starts(&self) -> &TermStarts {
        &self.term_starts
    }

    /// Kafka's producers.
    pub fn producers(&self) -> &Producers {
        &self.producers
    }

    /// Whether `writer`'s entry `sequence` was applied before.
    pub fn check_sequence(&self, writer: WriterId, sequence: u64) -> SequenceCheck {
        self.writers.check(writer, sequence)
    }

    /// The sequence number that `writer` has to use next; `None` for one that is not known.
    pub fn next_sequence(&self, writer: WriterId) -> Option<u64> {
        self.writers.next_sequence(writer)
    }

    /// What is known of a key.
    pub fn key(&self, client: bool, key: &KeyHash) -> Option<&KeyUse> {
        if client { self.client_keys.uses.get(key) } else { self.one_shot_keys.uses.get(key) }
    }

    /// Applies the next entry. Payloads of data entries are looked at only where consumer groups are in them.
    ///
    /// # Errors
    /// An invariant does not hold, or the entry was written by a newer version: the caller must stop.
    pub fn apply(&mut self, entry: &LogEntry) -> Result<Applied, String> {
        match &entry.payload {
            Payload::Blank | Payload::Membership(_) => Ok(Applied::Nothing),
            Payload::Command(bytes) => Ok(self.apply_command(&PartitionCommand::decode(bytes)?)),
            Payload::Data(data) => self.apply_data(entry.id, data),
        }
    }

    fn apply_data(&mut self, id: LogId, data: &DataEntry) -> Result<Applied, String> {
        let index = id.index;
        let base_offset = self.high_watermark;
        if data.base_offset != Some(base_offset) {
            return Err(format!(
                "entry {index} has base offset {:?}, but the high watermark is {base_offset}",
                data.base_offset.map(|offset| offset.0)
            ));
        }
        let attributes = EntryAttributes::decode(&data.attributes)?;
        let appended_at_ms = attributes.appended_at_ms;
        self.replay_groups(index, data)?;
        self.producers.expire(appended_at_ms);
        match attributes.identity {
            Identity::Anonymous => {}
            Identity::Writer { writer, sequence } => self.writers.note(index, writer, sequence, base_offset)?,
            Identity::Producer { producer_id, epoch, first_sequence } => {
                let batch = ProducerBatch { producer_id, epoch, first_sequence, record_count: data.record_count };
                self.producers.note(index, appended_at_ms, &batch, base_offset)?;
            }
            Identity::Key { client, key, body, default_timestamp_ms } => {
                let keys = if client { &mut self.client_keys } else { &mut self.one_shot_keys };
                let partitions = keys.uses.get(&key).map_or(0, |before| before.partitions);
                let records = Some(KeyRecords { base_offset, default_timestamp_ms });
                keys.insert(key, KeyUse { body, records, partitions, appended_at_ms });
                keys.expire(if client { CLIENT_KEYS_KEPT } else { ONE_SHOT_KEYS_KEPT }, appended_at_ms);
            }
        }
        self.term_starts.note(id.term, base_offset);
        self.high_watermark = base_offset.plus(u64::from(data.record_count));
        Ok(Applied::Records { base_offset })
    }

    fn apply_command(&mut self, command: &PartitionCommand) -> Applied {
        match *command {
            PartitionCommand::Group(ref command) => {
                Applied::Lease { holds: self.groups.as_mut().is_some_and(|groups| groups.command(command)) }
            }
            PartitionCommand::Trim { log_start_offset } => {
                self.log_start_offset = self.log_start_offset.max(log_start_offset.min(self.high_watermark));
                self.term_starts.trim(self.log_start_offset);
                Applied::Trimmed { log_start_offset: self.log_start_offset }
            }
            PartitionCommand::ClaimKey { key, body, partitions, appended_at_ms } => {
                self.client_keys.expire(CLIENT_KEYS_KEPT, appended_at_ms);
                if let Some(before) = self.client_keys.uses.get_mut(&key) {
                    if before.body != body {
                        return Applied::KeyConflict;
                    }
                    if before.partitions == 0 {
                        before.partitions = partitions;
                    }
                    return Applied::Claimed { partitions: before.partitions };
                }
                self.client_keys.insert(key, KeyUse { body, records: None, partitions, appended_at_ms });
                self.client_keys.expire(CLIENT_KEYS_KEPT, appended_at_ms);
                Applied::Claimed { partitions }
            }
            PartitionCommand::ReleaseKey { key, body } => {
                let unused = self.client_keys.uses.get(&key);
                if unused.is_some_and(|known| known.body == body && known.records.is_none()) {
                    self.client_keys.remove(&key);
                }
                Applied::Nothing
            }
        }
    }

    /// The state as bytes, versioned: the same state gives the same bytes.
    pub fn to_snapshot(&self) -> Vec<u8> {
        let snapshot = Snapshot {
            high_watermark: self.high_watermark,
            writers: self.writers.clone(),
            client_keys: self.client_keys.in_order(),
            one_shot_keys: self.one_shot_keys.in_order(),
            log_start_offset: self.log_start_offset,
            term_starts: self.term_starts.clone(),
            producers: self.producers.to_list(),
            groups: self.groups.clone(),
        };
        encode(FORMAT_VERSION, &snapshot)
    }

    /// Forgets sequences and keys, as the mutant `producer-table-dropped` does.
    #[cfg(feature = "mutants")]
    pub fn forget_producers(&mut self) {
        self.writers = Writers::default();
        self.producers = Producers::default();
        self.client_keys = Keys::default();
        self.one_shot_keys = Keys::default();
    }

    /// The state that `to_snapshot` wrote, in this version or in the first one.
    ///
    /// # Errors
    /// A newer format, or other bytes.
    pub fn from_snapshot(bytes: &[u8]) -> Result<PartitionState, String> {
        const WHAT: &str = "partition checkpoint";
        let snapshot = match bytes.first() {
            Some(1) => decode::<FirstSnapshot>(bytes, WHAT)?.into(),
            _ => decode::<Snapshot>(bytes, WHAT)?,
        };
        if snapshot.log_start_offset > snapshot.high_watermark {
            return Err(format!("{WHAT}: the log starts behind its high watermark"));
        }
        Ok(PartitionState {
            high_watermark: snapshot.high_watermark,
            log_start_offset: snapshot.log_start_offset,
            term_starts: snapshot.term_starts,
            writers: snapshot.writers,
            producers: Producers::from_list(snapshot.producers),
            client_keys: Keys::from_order(snapshot.client_keys),
            one_shot_keys: Keys::from_order(snapshot.one_shot_keys),
            groups: snapshot.groups,
        })
    }
}

#[derive(Serialize, Deserialize)]
struct Snapshot {
    high_watermark: Offset,
    writers: Writers,
    client_keys: Vec<(KeyHash, KeyUse)>,
    one_shot_keys: Vec<(KeyHash, KeyUse)>,
    log_start_offset: Offset,
    term_starts: TermStarts,
    producers: Vec<(i64, Producer)>,
    groups: Option<Box<GroupTable>>,
}

/// As format version 1 has it.
#[derive(Serialize, Deserialize)]
struct FirstSnapshot {
    high_watermark: Offset,
    writers: Writers,
    client_keys: Vec<(KeyHash, KeyUse)>,
    one_shot_keys: Vec<(KeyHash, KeyUse)>,
}

impl From<FirstSnapshot> for Snapshot {
    fn from(first: FirstSnapshot) -> Snapshot {
        Snapshot {
            high_watermark: first.high_watermark,
            writers: first.writers,
            client_keys: first.client_keys,
            one_shot_keys: first.one_shot_keys,
            log_start_offset: Offset(0),
            term_starts: TermStarts::default(),
            producers: Vec::new(),
            groups: None,
        }
    }
}
