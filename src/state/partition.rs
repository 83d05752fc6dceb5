//! The state machine of a partition's Raft group: what the log means beyond its records.
//!
//! Pure: `apply` sees only entries, in log order, and gives the same result on every replica and after every restart.
//! It keeps the high watermark, what each *writer* (a node's lane to this partition) wrote last, and the idempotency
//! keys of clients. It does not see records, and does not know what a leader is.
//!
//! Exactly once: a node that carries a request through elections sends it again under the same writer and sequence
//! number until it has an answer (client sessions, Ongaro's dissertation, section 6.3). Sequence numbers of one writer
//! have no gaps, so that order holds too. A request that stands for itself (compare-and-append, `Idempotency-Key`) is
//! remembered by a key of its own instead.
//!
//! Invariants, asserted at each apply: a data entry starts at the high watermark; a writer's sequence numbers are
//! consecutive.

use super::group::{GroupCommand, GroupTable};
use crate::record::{Limits, records};
use crate::storage::{DataEntry, LogEntry, Payload};
use crate::types::{LogIndex, Offset};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, VecDeque};

/// How many answers are kept per writer: more than a lane ever has in flight.
pub const WRITER_ANSWERS_KEPT: usize = 32;
/// How many writers are kept: each node has one per process life, so that this outlasts many restarts.
pub const WRITERS_KEPT: usize = 64;
/// Idempotency keys of clients that are kept at least, the newest.
pub const CLIENT_KEYS_KEPT: usize = 4096;
/// One-shot keys of nodes that are kept; they only serve retries within one request's deadline.
pub const ONE_SHOT_KEYS_KEPT: usize = 1024;
/// How long a client's idempotency key is kept, in ms of the leaders' append times.
pub const CLIENT_KEY_AGE_MS_MAX: i64 = 24 * 60 * 60 * 1000;

/// Commands' and checkpoints' format. A newer one is refused.
const FORMAT_VERSION: u8 = 1;
/// The newest format of attributes.
const ATTRIBUTES_VERSION: u8 = 2;

/// A node's lane to a partition, for the life of that lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WriterId(pub u64);

/// Hash of a key, and of the body that was sent with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct KeyHash(pub [u8; 16]);

/// By what a retry of this entry is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Identity {
    /// The `sequence`-th entry of a lane.
    Writer { writer: WriterId, sequence: u64 },
    /// A request with a key of its own: a client's `Idempotency-Key`, or (`client: false`) a node's random one.
    Key { client: bool, key: KeyHash, body: KeyHash, default_timestamp_ms: i64 },
    /// By nothing: a retry is another entry (a Kafka producer without idempotence).
    Anonymous,
}

/// What a data entry says of itself besides its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryAttributes {
    /// The leader's wall clock when it appended; only ages idempotency keys.
    pub appended_at_ms: i64,
    pub identity: Identity,
}

impl EntryAttributes {
    /// Encodes with a format version in front.
    pub fn encode(&self) -> Vec<u8> {
        // What the first release can read is written as it wrote it.
        let version = match self.identity {
            Identity::Writer { .. } | Identity::Key { .. } => 1,
            Identity::Anonymous => 2,
        };
        encode(version, self)
    }

    /// Decodes what `encode` wrote.
    ///
    /// # Errors
    /// A newer format, or other bytes.
    pub fn decode(bytes: &[u8]) -> Result<EntryAttributes, String> {
        decode(bytes, ATTRIBUTES_VERSION, "entry attributes")
    }
}

/// Changes of a partition's state that are not records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PartitionCommand {
    /// Registers a client's key on its home partition before a request that reaches beyond it.
    ClaimKey { key: KeyHash, body: KeyHash, partitions: u32, appended_at_ms: i64 },
    /// Undoes a claim whose request was refused as a whole.
    ReleaseKey { key: KeyHash, body: KeyHash },
    /// A lease of a consumer group, on the partition that holds the group.
    Group(GroupCommand),
}

impl PartitionCommand {
    /// Encodes with a format version in front.
    pub fn encode(&self) -> Vec<u8> {
        encode(FORMAT_VERSION, self)
    }

    /// Decodes what `encode` wrote.
    ///
    /// # Errors
    /// A newer format, or other bytes.
    pub fn decode(bytes: &[u8]) -> Result<PartitionCommand, String> {
        decode(bytes, FORMAT_VERSION, "partition command")
    }
}

/// What applying an entry gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Applied {
    /// Nothing to tell (blank, membership).
    Nothing,
    /// Records stand at `base_offset`.
    Records { base_offset: Offset },
    /// The claim holds (made now or before by the same body); records are spread over so many partitions.
    Claimed { partitions: u32 },
    /// The key is in use with another body.
    KeyConflict,
    /// A command about a lease was taken, or came too late.
    Lease { holds: bool },
}

/// What a writer's entry got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct WriterAnswer {
    sequence: u64,
    base_offset: Offset,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Writer {
    next_sequence: u64,
    last_index: LogIndex,
    answers: VecDeque<WriterAnswer>,
}

/// What is known of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyUse {
    pub body: KeyHash,
    /// `None` while only claimed.
    pub records: Option<KeyRecords>,
    pub partitions: u32,
    appended_at_ms: i64,
}

/// The records that a keyed request wrote here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecords {
    pub base_offset: Offset,
    pub default_timestamp_ms: i64,
}

/// Whether a writer's entry is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SequenceCheck {
    /// The next one.
    New,
    /// Written before; its records begin here.
    Duplicate(Offset),
    /// Neither: the next one would be this.
    OutOfOrder { expected: u64 },
}

/// State of one partition. `Default` is that of an empty log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionState {
    high_watermark: Offset,
    writers: BTreeMap<WriterId, Writer>,
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

    /// Whether `writer`'s entry `sequence` was applied before.
    pub fn check_sequence(&self, writer: WriterId, sequence: u64) -> SequenceCheck {
        let Some(known) = self.writers.get(&writer) else {
            return if sequence == 0 { SequenceCheck::New } else { SequenceCheck::OutOfOrder { expected: 0 } };
        };
        if sequence == known.next_sequence {
            return SequenceCheck::New;
        }
        match known.answers.iter().find(|answer| answer.sequence == sequence) {
            Some(answer) => SequenceCheck::Duplicate(answer.base_offset),
            None => SequenceCheck::OutOfOrder { expected: known.next_sequence },
        }
    }

    /// The sequence number that `writer` has to use next; `None` for one that is not known.
    pub fn next_sequence(&self, writer: WriterId) -> Option<u64> {
        self.writers.get(&writer).map(|known| known.next_sequence)
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
            Payload::Data(data) => self.apply_data(entry.id.index, data),
        }
    }

    fn apply_data(&mut self, index: LogIndex, data: &DataEntry) -> Result<Applied, String> {
        let base_offset = self.high_watermark;
        if data.base_offset != Some(base_offset) {
            return Err(format!(
                "entry {index} has base offset {:?}, but the high watermark is {base_offset}",
                data.base_offset.map(|offset| offset.0)
            ));
        }
        let attributes = EntryAttributes::decode(&data.attributes)?;
        self.replay_groups(index, data)?;
        match attributes.identity {
            Identity::Anonymous => {}
            Identity::Writer { writer, sequence } => self.note_writer(index, writer, sequence, base_offset)?,
            Identity::Key { client, key, body, default_timestamp_ms } => {
                let keys = if client { &mut self.client_keys } else { &mut self.one_shot_keys };
                let partitions = keys.uses.get(&key).map_or(0, |before| before.partitions);
                let records = Some(KeyRecords { base_offset, default_timestamp_ms });
                keys.insert(key, KeyUse { body, records, partitions, appended_at_ms: attributes.appended_at_ms });
                keys.expire(if client { CLIENT_KEYS_KEPT } else { ONE_SHOT_KEYS_KEPT }, attributes.appended_at_ms);
            }
        }
        self.high_watermark = base_offset.plus(u64::from(data.record_count));
        Ok(Applied::Records { base_offset })
    }

    fn note_writer(
        &mut self,
        index: LogIndex,
        writer: WriterId,
        sequence: u64,
        base_offset: Offset,
    ) -> Result<(), String> {
        match self.check_sequence(writer, sequence) {
            SequenceCheck::New => {}
            other => return Err(format!("entry {index}: sequence {sequence} of writer {writer:?} is {other:?}")),
        }
        let known = self.writers.entry(writer).or_insert_with(|| Writer {
            next_sequence: 0,
            last_index: index,
            answers: VecDeque::new(),
        });
        known.next_sequence = sequence + 1;
        known.last_index = index;
        known.answers.push_back(WriterAnswer { sequence, base_offset });
        if known.answers.len() > WRITER_ANSWERS_KEPT {
            known.answers.pop_front();
        }
        if self.writers.len() > WRITERS_KEPT {
            let oldest = self.writers.iter().min_by_key(|(_, known)| known.last_index).map(|(writer, _)| *writer);
            if let Some(oldest) = oldest {
                self.writers.remove(&oldest);
            }
        }
        Ok(())
    }

    fn apply_command(&mut self, command: &PartitionCommand) -> Applied {
        match *command {
            PartitionCommand::Group(ref command) => {
                Applied::Lease { holds: self.groups.as_mut().is_some_and(|groups| groups.command(command)) }
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
            groups: self.groups.clone(),
        };
        encode(FORMAT_VERSION, &snapshot)
    }

    /// Forgets sequences and keys, as the mutant `producer-table-dropped` does.
    #[cfg(feature = "mutants")]
    pub fn forget_producers(&mut self) {
        let groups = self.groups.take();
        *self = PartitionState { high_watermark: self.high_watermark, groups, ..PartitionState::default() };
    }

    /// The state that `to_snapshot` wrote.
    ///
    /// # Errors
    /// A newer format, or other bytes.
    pub fn from_snapshot(bytes: &[u8]) -> Result<PartitionState, String> {
        let snapshot: Snapshot = decode(bytes, FORMAT_VERSION, "partition checkpoint")?;
        Ok(PartitionState {
            high_watermark: snapshot.high_watermark,
            writers: snapshot.writers,
            client_keys: Keys::from_order(snapshot.client_keys),
            one_shot_keys: Keys::from_order(snapshot.one_shot_keys),
            groups: snapshot.groups,
        })
    }
}

#[derive(Serialize, Deserialize)]
struct Snapshot {
    high_watermark: Offset,
    writers: BTreeMap<WriterId, Writer>,
    client_keys: Vec<(KeyHash, KeyUse)>,
    one_shot_keys: Vec<(KeyHash, KeyUse)>,
    groups: Option<Box<GroupTable>>,
}

/// Keys with the order in which they came. A key that was removed leaves a stale place in `order`, told by its number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Keys {
    uses: HashMap<KeyHash, KeyUse>,
    /// Keys with records here, and keys that are claimed only; each in the order in which they came. Bounded apart: a
    /// claim is of a request that may write elsewhere, and must not push out what was written here.
    written: VecDeque<KeyHash>,
    claimed: VecDeque<KeyHash>,
}

impl Keys {
    fn insert(&mut self, key: KeyHash, value: KeyUse) {
        let before = self.uses.insert(key, value);
        if before.is_some_and(|before| before.records.is_none()) {
            self.unclaim(&key);
        }
        match (value.records, before.is_some_and(|before| before.records.is_some())) {
            (Some(_), false) => self.written.push_back(key),
            (Some(_), true) => {}
            (None, _) => self.claimed.push_back(key),
        }
    }

    /// Removes a key that is claimed only.
    fn remove(&mut self, key: &KeyHash) {
        if self.uses.remove(key).is_some() {
            self.unclaim(key);
        }
    }

    // A claim is mostly used or released soon after it was made.
    fn unclaim(&mut self, key: &KeyHash) {
        if let Some(at) = self.claimed.iter().rposition(|other| other == key) {
            self.claimed.remove(at);
        }
    }

    /// Drops keys of either kind beyond `kept`, and those older than a day; oldest first.
    fn expire(&mut self, kept: usize, now_ms: i64) {
        for order in [&mut self.written, &mut self.claimed] {
            while let Some(oldest) = order.front() {
                let expired = self
                    .uses
                    .get(oldest)
                    .is_none_or(|value| now_ms.saturating_sub(value.appended_at_ms) > CLIENT_KEY_AGE_MS_MAX);
                if !expired && order.len() <= kept {
                    break;
                }
                self.uses.remove(oldest);
                order.pop_front();
            }
        }
    }

    fn in_order(&self) -> Vec<(KeyHash, KeyUse)> {
        let keys = self.written.iter().chain(&self.claimed);
        keys.filter_map(|key| self.uses.get(key).map(|value| (*key, *value))).collect()
    }

    fn from_order(list: Vec<(KeyHash, KeyUse)>) -> Keys {
        let (written, claimed) = list.iter().partition::<Vec<_>, _>(|(_, value)| value.records.is_some());
        let keys = |list: Vec<(KeyHash, KeyUse)>| list.into_iter().map(|(key, _)| key).collect();
        Keys { written: keys(written), claimed: keys(claimed), uses: list.into_iter().collect() }
    }
}

fn encode<T: Serialize>(version: u8, value: &T) -> Vec<u8> {
    let mut bytes = vec![version];
    bincode::serialize_into(&mut bytes, value).expect("plain data is always serialized");
    bytes
}

fn decode<T: for<'de> Deserialize<'de>>(bytes: &[u8], newest: u8, what: &str) -> Result<T, String> {
    let (version, rest) = bytes.split_first().ok_or_else(|| format!("{what}: no bytes"))?;
    if !(1..=newest).contains(version) {
        return Err(format!("{what}: format version {version}, but this version of balsa reads up to {newest}"));
    }
    bincode::deserialize(rest).map_err(|error| format!("{what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{LogId, Term};
    use bytes::Bytes;

    /// A partition whose entries are applied one after the other.
    #[derive(Default)]
    struct Log {
        state: PartitionState,
        index: u64,
    }

    impl Log {
        fn entry(&mut self, payload: Payload) -> Result<Applied, String> {
            let id = LogId { term: Term(1), index: LogIndex(self.index) };
            self.index += 1;
            self.state.apply(&LogEntry { id, payload })
        }

        fn write(&mut self, identity: Identity, records: u32, appended_at_ms: i64) -> Result<Applied, String> {
            let data = DataEntry {
                base_offset: Some(self.state.high_watermark()),
                record_count: records,
                timestamp_ms_max: 0,
                attributes: EntryAttributes { appended_at_ms, identity }.encode().into(),
                batches: Bytes::new(),
            };
            self.entry(Payload::Data(data))
        }

        fn command(&mut self, command: &PartitionCommand) -> Applied {
            self.entry(Payload::Command(command.encode().into())).unwrap()
        }
    }

    fn by_writer(writer: u64, sequence: u64) -> Identity {
        Identity::Writer { writer: WriterId(writer), sequence }
    }

    fn hash(number: u64) -> KeyHash {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        KeyHash(bytes)
    }

    fn by_key(key: u64, body: u64) -> Identity {
        Identity::Key { client: true, key: hash(key), body: hash(body), default_timestamp_ms: 7 }
    }

    #[test]
    fn a_writers_numbers_are_taken_in_order_and_remembered() {
        let mut log = Log::default();
        log.write(by_writer(1, 0), 10, 0).unwrap();
        log.write(by_writer(2, 0), 5, 0).unwrap();
        log.write(by_writer(1, 1), 3, 0).unwrap();
        assert_eq!(log.state.high_watermark(), Offset(18));
        assert_eq!(log.state.check_sequence(WriterId(1), 0), SequenceCheck::Duplicate(Offset(0)));
        assert_eq!(log.state.check_sequence(WriterId(1), 1), SequenceCheck::Duplicate(Offset(15)));
        assert_eq!(log.state.check_sequence(WriterId(1), 2), SequenceCheck::New);
        assert_eq!(log.state.check_sequence(WriterId(1), 3), SequenceCheck::OutOfOrder { expected: 2 });
        assert_eq!(log.state.check_sequence(WriterId(9), 1), SequenceCheck::OutOfOrder { expected: 0 });
    }

    #[test]
    fn an_entry_that_breaks_an_invariant_is_an_error() {
        let mut log = Log::default();
        log.write(by_writer(1, 0), 1, 0).unwrap();
        assert!(log.write(by_writer(1, 0), 1, 0).is_err(), "a number twice");
        assert!(log.write(by_writer(1, 2), 1, 0).is_err(), "a number left out");
        let elsewhere = DataEntry {
            base_offset: Some(Offset(5)),
            record_count: 1,
            timestamp_ms_max: 0,
            attributes: EntryAttributes { appended_at_ms: 0, identity: by_writer(2, 0) }.encode().into(),
            batches: Bytes::new(),
        };
        assert!(log.entry(Payload::Data(elsewhere)).is_err(), "a hole in the offsets");
    }

    #[test]
    fn writers_are_bounded_and_the_oldest_goes_first() {
        let mut log = Log::default();
        for writer in 0..WRITERS_KEPT as u64 + 1 {
            log.write(by_writer(writer, 0), 1, 0).unwrap();
        }
        assert_eq!(log.state.next_sequence(WriterId(0)), None);
        assert_eq!(log.state.next_sequence(WriterId(1)), Some(1));
    }

    #[test]
    fn keys_are_kept_by_number_and_age() {
        let mut log = Log::default();
        for key in 0..CLIENT_KEYS_KEPT as u64 + 1 {
            log.write(by_key(key, 1), 1, 1000).unwrap();
        }
        assert_eq!(log.state.key(true, &hash(0)), None, "the 4,096 newest are kept");
        assert!(log.state.key(true, &hash(1)).is_some());
        log.write(by_key(999_999, 1), 1, 1001 + CLIENT_KEY_AGE_MS_MAX).unwrap();
        assert_eq!(log.state.key(true, &hash(4096)), None, "a day old");
        assert!(log.state.key(true, &hash(999_999)).is_some());
    }

    #[test]
    fn claims_push_out_no_key_that_was_written_and_the_other_way_round() {
        let mut log = Log::default();
        let claim = |key: u64| PartitionCommand::ClaimKey {
            key: hash(key),
            body: hash(1),
            partitions: 2,
            appended_at_ms: 1000,
        };
        for key in 0..CLIENT_KEYS_KEPT as u64 {
            log.command(&claim(1_000_000 + key));
            log.write(by_key(key, 1), 1, 1000).unwrap();
            log.command(&claim(2_000_000 + key));
        }
        for key in 0..CLIENT_KEYS_KEPT as u64 {
            assert!(log.state.key(true, &hash(key)).is_some(), "key {key} is among the 4,096 newest");
        }
        assert_eq!(log.state.key(true, &hash(1_000_000)), None, "the oldest claims are gone");
        assert!(log.state.key(true, &hash(2_000_000 + CLIENT_KEYS_KEPT as u64 - 1)).is_some());
        let again = PartitionState::from_snapshot(&log.state.to_snapshot()).unwrap();
        assert_eq!(again, log.state);
    }

    #[test]
    fn a_claim_that_is_used_counts_as_written() {
        let mut log = Log::default();
        log.command(&PartitionCommand::ClaimKey { key: hash(1), body: hash(1), partitions: 2, appended_at_ms: 1000 });
        log.write(by_key(1, 1), 1, 1000).unwrap();
        assert_eq!((log.state.client_keys.written.len(), log.state.client_keys.claimed.len()), (1, 0));
        assert_eq!(log.state.key(true, &hash(1)).unwrap().partitions, 2);
    }

    #[test]
    fn a_claim_binds_its_key_to_a_body_until_it_is_released() {
        let mut log = Log::default();
        let claim = |body, partitions| PartitionCommand::ClaimKey {
            key: hash(1),
            body: hash(body),
            partitions,
            appended_at_ms: 0,
        };
        assert_eq!(log.command(&claim(1, 3)), Applied::Claimed { partitions: 3 });
        assert_eq!(log.command(&claim(1, 5)), Applied::Claimed { partitions: 3 }, "the first one counts");
        assert_eq!(log.command(&claim(2, 3)), Applied::KeyConflict);
        log.command(&PartitionCommand::ReleaseKey { key: hash(1), body: hash(1) });
        assert_eq!(log.command(&claim(2, 4)), Applied::Claimed { partitions: 4 });
        log.write(by_key(1, 2), 1, 0).unwrap();
        log.command(&PartitionCommand::ReleaseKey { key: hash(1), body: hash(2) });
        assert!(log.state.key(true, &hash(1)).is_some(), "a key with records stays");
    }

    proptest::proptest! {
        #[test]
        fn a_snapshot_is_the_state(writes in proptest::collection::vec((0_u64..5, 0_u64..8, proptest::bool::ANY), 0..80)) {
            let mut log = Log::default();
            for (writer, key, keyed) in writes {
                let sequence = log.state.next_sequence(WriterId(writer)).unwrap_or(0);
                let identity = if keyed { by_key(key, 1) } else { by_writer(writer, sequence) };
                log.write(identity, 1 + (key as u32), 5).unwrap();
            }
            let bytes = log.state.to_snapshot();
            let back = PartitionState::from_snapshot(&bytes).unwrap();
            proptest::prop_assert_eq!(&back, &log.state);
            proptest::prop_assert_eq!(back.to_snapshot(), bytes);
        }

        #[test]
        fn any_bytes_are_refused_without_panic(bytes: Vec<u8>) {
            let _ = PartitionState::from_snapshot(&bytes);
            let _ = EntryAttributes::decode(&bytes);
            let _ = PartitionCommand::decode(&bytes);
        }
    }
}
