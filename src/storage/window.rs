//! The newest entries of a log, in memory: a suffix of the log without holes.
//!
//! [`super::MemoryLog`] holds its whole log in one; for [`super::DiskLog`] it is the log's part of the tail cache, and
//! always holds at least what is not on disk yet.

use super::batches::{self, PREFIX_LEN};
use super::{DataEntry, LogEntry, Payload, StoredBatches};
use crate::types::{LogId, LogIndex, Offset};
use bytes::Bytes;
use std::collections::VecDeque;
use std::io;

/// An entry as memory holds it: checked and stamped.
#[derive(Clone, Debug)]
pub(super) struct HeldEntry {
    pub id: LogId,
    /// For data the first record's offset, else the offset of the next record.
    pub base_offset: Offset,
    /// Data have their base offset here. The first batch's bytes are as given; `prefix` has them stamped.
    pub payload: Payload,
    pub prefix: [u8; PREFIX_LEN],
}

impl HeldEntry {
    /// Checks and stamps an entry that goes where `log_end` is.
    ///
    /// # Errors
    /// `InvalidData` when the entry's base offset is another one, or its batches are none.
    pub fn new(entry: LogEntry, log_end: Offset) -> io::Result<HeldEntry> {
        let mut prefix = [0; PREFIX_LEN];
        let payload = match entry.payload {
            Payload::Data(data) => {
                if let Some(base) = data.base_offset
                    && base != log_end
                {
                    let text = format!("entry {} says base offset {base}, the log ends at {log_end}", entry.id);
                    return Err(io::Error::new(io::ErrorKind::InvalidData, text));
                }
                let stamped = batches::stamp(data.batches, log_end, data.record_count, entry.id.term)?;
                prefix = stamped.prefix;
                Payload::Data(DataEntry { base_offset: Some(log_end), batches: stamped.batches, ..data })
            }
            other => other,
        };
        Ok(HeldEntry { id: entry.id, base_offset: log_end, payload, prefix })
    }

    /// Offset behind this entry's records.
    pub fn next_offset(&self) -> Offset {
        match &self.payload {
            Payload::Data(data) => self.base_offset.plus(u64::from(data.record_count)),
            _ => self.base_offset,
        }
    }

    /// Bytes of batches, or of a command or membership.
    pub fn payload_len(&self) -> usize {
        match &self.payload {
            Payload::Blank => 0,
            Payload::Membership(bytes) | Payload::Command(bytes) => bytes.len(),
            Payload::Data(data) => data.batches.len(),
        }
    }

    /// Bytes of attributes; only data have some.
    pub fn attributes_len(&self) -> usize {
        if let Payload::Data(data) = &self.payload { data.attributes.len() } else { 0 }
    }

    /// About what the entry takes in memory.
    pub fn memory_bytes(&self) -> usize {
        size_of::<HeldEntry>() + self.payload_len() + self.attributes_len()
    }

    fn to_entry(&self) -> LogEntry {
        LogEntry { id: self.id, payload: self.payload.clone() }
    }

    fn to_header(&self) -> LogEntry {
        let payload = match &self.payload {
            Payload::Data(data) => Payload::Data(DataEntry {
                base_offset: data.base_offset,
                record_count: data.record_count,
                timestamp_ms_max: data.timestamp_ms_max,
                attributes: data.attributes.clone(),
                batches: Bytes::new(),
            }),
            other => other.clone(),
        };
        LogEntry { id: self.id, payload }
    }

    fn to_stored(&self) -> Option<StoredBatches> {
        let Payload::Data(data) = &self.payload else { return None };
        Some(StoredBatches {
            base_offset: self.base_offset,
            record_count: data.record_count,
            term: self.id.term,
            prefix: self.prefix,
            rest: data.batches.slice(PREFIX_LEN..),
        })
    }
}

/// A suffix of a log.
#[derive(Default)]
pub(super) struct Window {
    entries: VecDeque<HeldEntry>,
    bytes: usize,
}

impl Window {
    /// What all entries take in memory, about.
    pub fn memory_bytes(&self) -> usize {
        self.bytes
    }

    /// Appends the log's next entry.
    pub fn push(&mut self, entry: HeldEntry) {
        self.bytes += entry.memory_bytes();
        self.entries.push_back(entry);
    }

    /// Drops entries behind `last`; all when `None`. Returns the memory set free.
    pub fn truncate_after(&mut self, last: Option<LogIndex>) -> usize {
        let before = self.bytes;
        while let Some(back) = self.entries.back()
            && last.is_none_or(|last| back.id.index > last)
        {
            self.bytes -= back.memory_bytes();
            self.entries.pop_back();
        }
        self.shrink();
        before - self.bytes
    }

    /// Drops entries up to `upto`. Returns the memory set free.
    pub fn drop_upto(&mut self, upto: LogIndex) -> usize {
        let before = self.bytes;
        while let Some(front) = self.entries.front()
            && front.id.index <= upto
        {
            self.bytes -= front.memory_bytes();
            self.entries.pop_front();
        }
        self.shrink();
        before - self.bytes
    }

    // An idle log must be cheap: thousands of them are kept open.
    fn shrink(&mut self) {
        if self.entries.is_empty() {
            self.entries = VecDeque::new();
        }
    }

    fn place(&self, index: LogIndex) -> Option<usize> {
        let first = self.entries.front()?.id.index;
        let place = index.0.checked_sub(first.0)? as usize;
        (place < self.entries.len()).then_some(place)
    }

    /// The entry at `index`, if it is held.
    pub fn get(&self, index: LogIndex) -> Option<&HeldEntry> {
        self.place(index).map(|place| &self.entries[place])
    }

    /// Entries `[from, to)`, at most about `bytes_max`, one at least; `None` when the first is not held.
    pub fn read(&self, from: LogIndex, to: LogIndex, bytes_max: usize) -> Option<Vec<LogEntry>> {
        let mut entries = Vec::new();
        let mut bytes = 0;
        for held in self.range(from, to)? {
            bytes += held.payload_len();
            if bytes > bytes_max && !entries.is_empty() {
                break;
            }
            entries.push(held.to_entry());
        }
        Some(entries)
    }

    /// As `read`, without batches.
    pub fn read_headers(&self, from: LogIndex, to: LogIndex, entries_max: usize) -> Option<Vec<LogEntry>> {
        Some(self.range(from, to)?.take(entries_max.max(1)).map(HeldEntry::to_header).collect())
    }

    fn range(&self, from: LogIndex, to: LogIndex) -> Option<impl Iterator<Item = &HeldEntry>> {
        let start = self.place(from)?;
        Some(self.entries.range(start..).take_while(move |held| held.id.index < to))
    }

    /// Batches from the one that holds `from`, all below `upto`; `None` when the first is not held.
    pub fn fetch(&self, from: Offset, upto: Offset, bytes_max: usize) -> Option<Vec<StoredBatches>> {
        let start = self.entries.partition_point(|held| held.next_offset() <= from);
        let first = self.entries.get(start)?;
        // An entry without records stands first only when the batch before it is not held, or ends at `from`.
        if first.base_offset > from {
            return None;
        }
        let mut found: Vec<StoredBatches> = Vec::new();
        let mut bytes = 0;
        for held in self.entries.range(start..) {
            let Some(stored) = held.to_stored() else { continue };
            bytes += stored.len();
            if stored.next_offset() > upto || (bytes > bytes_max && !found.is_empty()) {
                break;
            }
            found.push(stored);
        }
        Some(found)
    }

    /// Base offset of the first data entry behind `purged` whose largest timestamp is at least `timestamp_ms`.
    pub fn offset_for_time(&self, timestamp_ms: i64, purged: Option<LogId>) -> Option<Offset> {
        let found = self.entries.iter().find(|held| {
            matches!(&held.payload, Payload::Data(data) if data.timestamp_ms_max >= timestamp_ms)
                && purged.is_none_or(|purged| held.id.index > purged.index)
        });
        found.map(|held| held.base_offset)
    }
}
