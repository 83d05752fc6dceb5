//! The log of one Raft group, as the floors above see it. Reviewable without reading its callers or its makers.
//!
//! Two makers: [`super::DiskLog`] (segments, flusher) and [`super::MemoryLog`] (tests, simulation). Both pass one
//! conformance suite. The log knows no roles: it does not know what a leader is, or what is committed.
//!
//! # Cursors
//!
//! ```text
//! purged < first index ≤ … ≤ flushed ≤ last index        (log indexes)
//! log start offset ≤ … ≤ log end offset                  (record offsets)
//! ```
//!
//! Only [`Payload::Data`] has records. Indexes have no holes; record offsets have no holes.

use crate::types::{LogId, LogIndex, Offset, Term};
use bytes::Bytes;
use std::io;

/// One entry of a Raft log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    pub id: LogId,
    pub payload: Payload,
}

/// What an entry holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// A new leader's first entry.
    Blank,
    /// A membership, as `raft` encodes it. Opaque here.
    Membership(Bytes),
    /// A command for the state machine, as `state` encodes it. Opaque here; has no records.
    Command(Bytes),
    /// Record batches. The only kind that takes record offsets.
    Data(DataEntry),
}

/// Record batches of one entry: stored, replicated and served as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataEntry {
    /// Offset of the first record. `None` as proposed: `append` stamps it with the log end offset. `Some` as
    /// replicated: `append` asserts that it equals the log end offset.
    pub base_offset: Option<Offset>,
    /// How many records all batches of this entry hold together; at least 1.
    pub record_count: u32,
    /// The largest timestamp of any record, in ms; goes to the time index.
    pub timestamp_ms_max: i64,
    /// What `state` needs to apply the entry without its records (writer and sequence, idempotency key). Opaque here.
    pub attributes: Bytes,
    /// One or more consecutive Kafka record batches v2. Their base offset and leader epoch fields are whatever the
    /// producer sent until the log stamps them: see [`StoredBatches`]. Empty in an entry read by
    /// [`RaftLog::read_headers`], which skips payloads.
    pub batches: Bytes,
}

/// What the log says of itself; all in one look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogState {
    /// The last purged entry, if any was.
    pub purged: Option<LogId>,
    /// The last entry (or the last purged one where nothing is left).
    pub last: Option<LogId>,
    /// The last entry that is surely on disk.
    pub flushed: Option<LogId>,
    /// Offset of the first record that is kept.
    pub log_start_offset: Offset,
    /// Offset of the next record.
    pub log_end_offset: Offset,
    /// Bytes on disk.
    pub size_bytes: u64,
}

/// Batches of one entry as they are read: stamped with base offset and leader epoch (= term).
///
/// The stamped fields of the *first* batch live in `prefix` (its first 16 bytes: base offset, length, leader epoch),
/// so that stamping copies 16 bytes and not the batch. `rest` is everything behind them. Where an entry has several
/// batches, the later ones are already stamped within `rest`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredBatches {
    pub base_offset: Offset,
    pub record_count: u32,
    pub term: Term,
    pub prefix: [u8; 16],
    pub rest: Bytes,
}

impl StoredBatches {
    /// Length in bytes on the wire.
    pub fn len(&self) -> usize {
        self.prefix.len() + self.rest.len()
    }

    /// Never: a batch has at least its header.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Offset behind the last record.
    pub fn next_offset(&self) -> Offset {
        self.base_offset.plus(u64::from(self.record_count))
    }

    /// All bytes in one piece. Copies: for JSON and for tests; fronts that send bytes use `prefix` and `rest`.
    pub fn to_bytes(&self) -> Bytes {
        let mut all = Vec::with_capacity(self.len());
        all.extend_from_slice(&self.prefix);
        all.extend_from_slice(&self.rest);
        all.into()
    }
}

/// Called once, when everything appended by one call is on disk, or surely never will be.
pub type Flushed = Box<dyn FnOnce(io::Result<()>) + Send>;

/// The log of one group. One writer (the group's Raft core) calls the `&self` methods that change it, one after the
/// other; any thread may read at the same time. Methods that may touch the disk say so: call those on a thread that
/// may block.
pub trait RaftLog: Send + Sync + 'static {
    /// Where the log stands now. Never blocks on the disk.
    fn state(&self) -> LogState;

    /// Appends entries in memory and returns; they are readable at once. `flushed` is called when all of them are on
    /// disk, from any thread, in log order over successive calls (exactly once, also for an error).
    ///
    /// The first entry's index must be the last index + 1 (0 in an empty log); stamps or asserts base offsets.
    ///
    /// # Errors
    /// `InvalidInput` or `InvalidData` for entries that do not follow or are unsound; any other once the log is latched
    /// read-only, or closed. Nothing was appended then, `flushed` was called with the error too.
    fn append(&self, entries: Vec<LogEntry>, flushed: Flushed) -> io::Result<()>;

    /// Drops all entries behind `last` (all, when `None`). May block: durable before it returns.
    fn truncate_after(&self, last: Option<LogId>) -> io::Result<()>;

    /// Drops whole segments up to `upto` (inclusive) and remembers it as purged, though entries of a segment that
    /// has later entries may stay on disk. May block: the new start is durable before it returns.
    fn purge(&self, upto: LogId) -> io::Result<()>;

    /// Forgets everything and starts behind `last` at `log_end_offset` (a snapshot was installed: save the checkpoint
    /// at `last` first, only that one is kept). May block.
    fn reset(&self, last: LogId, log_end_offset: Offset) -> io::Result<()>;

    /// Entries `[from, to)` from memory, at most about `max_bytes` (one at least), a prefix of what was asked for.
    /// `None` when the first is not in memory: ask `read`. Data entries have their `base_offset`; the first batch's
    /// bytes may lack its stamp (see [`StoredBatches`]): appending them elsewhere stamps them.
    fn read_cached(&self, from: LogIndex, to: LogIndex, max_bytes: usize) -> Option<Vec<LogEntry>>;

    /// As `read_cached`, from disk. Blocks. Data entries come stamped (`base_offset` is `Some`, bytes too).
    ///
    /// # Errors
    /// `NotFound` for purged entries and entries behind the end; `InvalidData` for damage.
    fn read(&self, from: LogIndex, to: LogIndex, max_bytes: usize) -> io::Result<Vec<LogEntry>>;

    /// As `read`, but data entries come without their batches (attributes and counts are there). Blocks.
    fn read_headers(&self, from: LogIndex, to: LogIndex, max_entries: usize) -> io::Result<Vec<LogEntry>>;

    /// As `read_headers`, from memory; `None` when the first is not in memory.
    fn read_headers_cached(&self, from: LogIndex, to: LogIndex, max_entries: usize) -> Option<Vec<LogEntry>>;

    /// The term of the entry at `index`; `None` outside of the log. Never blocks (a term-start index is kept).
    fn term_at(&self, index: LogIndex) -> Option<Term>;

    /// The first index of each term with entries in `[from, to]`, ascending, with `from` itself first and `to` last
    /// when they are not term starts (what openraft calls key log ids). Never blocks.
    fn term_starts(&self, from: LogIndex, to: LogIndex) -> Vec<LogId>;

    /// Batches from the one that holds `from`, all below `upto`, at most `max_bytes` (one entry at least), from
    /// memory. `None` when the first is not in memory: ask `fetch`. Empty when `from >= upto`.
    fn fetch_cached(&self, from: Offset, upto: Offset, max_bytes: usize) -> Option<Vec<StoredBatches>>;

    /// As `fetch_cached`, from disk. Blocks. Checks each frame.
    fn fetch(&self, from: Offset, upto: Offset, max_bytes: usize) -> io::Result<Vec<StoredBatches>>;

    /// The first record offset whose timestamp may be ≥ `timestamp_ms`, by batch: base offset of the first batch
    /// whose largest timestamp is ≥ it. `None` when every record is older. May block.
    fn offset_for_time(&self, timestamp_ms: i64) -> io::Result<Option<Offset>>;

    /// Saves the state machine as of `upto` (a *checkpoint*), durable before it returns. Blocks. Keeps the newest
    /// two, and any that `purge` still needs.
    fn save_checkpoint(&self, upto: LogId, state: &[u8]) -> io::Result<()>;

    /// The newest sound checkpoint at or below the flushed end of the log, if there is one. Blocks.
    fn load_checkpoint(&self) -> io::Result<Option<(LogId, Bytes)>>;

    /// Whether a checkpoint is wanted at `applied` (a segment was begun behind the newest checkpoint): cheap.
    fn wants_checkpoint(&self, applied: LogIndex) -> bool;

    /// Saves the vote: on disk before it returns. Blocks.
    fn save_vote(&self, vote: &[u8]) -> io::Result<()>;

    /// The vote as saved last. Reads memory.
    fn vote(&self) -> Option<Bytes>;

    /// Whether the disk has room for more records: cheap, asked before each proposal. `append` itself does not look,
    /// so that a group's own entries (a new leader's first one) go into the reserve.
    ///
    /// # Errors
    /// `StorageFull` when the reserve is reached.
    fn check_space(&self) -> io::Result<()>;

    /// Why the log takes no writes any more, if so (the first failed write or flush latches it).
    fn latched(&self) -> Option<String>;

    /// Waits until everything appended is on disk, then closes the files. Blocks.
    fn close(&self) -> io::Result<()>;
}
