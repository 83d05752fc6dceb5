//! What the tests of this floor share: entries with sound batches, logs in a directory, waiting for flushes.

use super::{DataEntry, LogEntry, Payload, RaftLog, Store, StoreConfig};
use crate::random::Random;
use crate::types::{GroupId, LogId, LogIndex, NodeId, Offset, Term};
use crate::vfs::Vfs;
use bytes::Bytes;
use std::path::Path;
use std::sync::{Arc, mpsc};

pub(super) const GROUP: GroupId = GroupId(7);

pub(super) fn id(term: u64, index: u64) -> LogId {
    LogId { term: Term(term), index: LogIndex(index) }
}

/// A batch with a right header and CRC; what stands for its records is no record.
pub(super) fn batch(records: u32, body_len: usize, fill: u8) -> Vec<u8> {
    let mut bytes = vec![0; 61];
    bytes[8..12].copy_from_slice(&(49 + body_len as u32).to_be_bytes());
    bytes[12..16].copy_from_slice(&(-1i32).to_be_bytes());
    bytes[16] = 2;
    bytes[23..27].copy_from_slice(&(records - 1).to_be_bytes());
    bytes[57..61].copy_from_slice(&records.to_be_bytes());
    bytes.resize(61 + body_len, fill);
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes
}

pub(super) fn data(term: u64, index: u64, records: u32, body_len: usize) -> LogEntry {
    timed(term, index, records, body_len, 1_000 + index as i64)
}

pub(super) fn timed(term: u64, index: u64, records: u32, body_len: usize, timestamp_ms_max: i64) -> LogEntry {
    let payload = Payload::Data(DataEntry {
        base_offset: None,
        record_count: records,
        timestamp_ms_max,
        attributes: Bytes::copy_from_slice(&index.to_le_bytes()),
        batches: batch(records, body_len, index as u8).into(),
    });
    LogEntry { id: id(term, index), payload }
}

pub(super) fn command(term: u64, index: u64, text: &'static str) -> LogEntry {
    LogEntry { id: id(term, index), payload: Payload::Command(Bytes::from_static(text.as_bytes())) }
}

pub(super) fn blank(term: u64, index: u64) -> LogEntry {
    LogEntry { id: id(term, index), payload: Payload::Blank }
}

/// Appends, and waits for the flush.
pub(super) fn append(log: &dyn RaftLog, entries: Vec<LogEntry>) -> std::io::Result<()> {
    let (sender, receiver) = mpsc::channel();
    let appended = log.append(entries, Box::new(move |result| sender.send(result).expect("the test waits")));
    let flushed = receiver.recv().expect("flushed is always called");
    appended.and(flushed)
}

/// All entries from the first one that is kept, read from disk or memory.
pub(super) fn all(log: &dyn RaftLog) -> Vec<LogEntry> {
    let state = log.state();
    let mut next = state.purged.map_or(LogIndex(0), |purged| purged.index.next());
    let end = state.last.map_or(LogIndex(0), |last| last.index.next());
    let mut entries = Vec::new();
    while next < end {
        let some = log.read(next, end, 10_000).expect("the log holds it");
        assert_eq!(some[0].id.index, next);
        next = some.last().expect("one at least").id.index.next();
        entries.extend(some);
    }
    entries
}

/// As the log has stamped it, for comparison with what it was given.
pub(super) fn stamped(entry: &LogEntry, base: u64) -> LogEntry {
    let mut entry = entry.clone();
    if let Payload::Data(data) = &mut entry.payload {
        data.base_offset = Some(Offset(base));
        let mut bytes = data.batches.to_vec();
        let (mut start, mut offset) = (0, base);
        while start < bytes.len() {
            bytes[start..start + 8].copy_from_slice(&offset.to_be_bytes());
            bytes[start + 12..start + 16].copy_from_slice(&(entry.id.term.0 as u32).to_be_bytes());
            let field = |at: usize| u32::from_be_bytes(bytes[start + at..start + at + 4].try_into().expect("four"));
            let (len, span) = (field(8) as usize + 12, field(23) + 1);
            start += len;
            offset += u64::from(span);
        }
        data.batches = bytes.into();
    }
    entry
}

/// Whether two entries are the same but for the stamp of the first batch, which memory does not write into it.
pub(super) fn same(left: &LogEntry, right: &LogEntry) -> bool {
    match (&left.payload, &right.payload) {
        (Payload::Data(one), Payload::Data(other)) => {
            left.id == right.id
                && one.base_offset == other.base_offset
                && one.attributes == other.attributes
                && one.record_count == other.record_count
                && one.timestamp_ms_max == other.timestamp_ms_max
                && one.batches.get(16..) == other.batches.get(16..)
        }
        _ => left == right,
    }
}

/// Small segments, no reserve, and everything written within `append`.
pub(super) fn config() -> StoreConfig {
    StoreConfig {
        segment_bytes: 4096,
        index_interval_bytes: 256,
        cache_bytes: 0,
        flusher_threads: 0,
        reserve_bytes: 0,
        ..StoreConfig::default()
    }
}

pub(super) fn store_at(fs: Arc<dyn Vfs>, dir: &Path, config: StoreConfig) -> std::io::Result<Arc<Store>> {
    Store::open(fs, dir, NodeId(1), config, &Random::from_seed(1))
}
