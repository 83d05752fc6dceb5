//! A log in memory: for tests, and for simulations that do not care about disks. Nothing outlives the value.
//!
//! "On disk" means here: appended. `flushed` is called within `append`.

use super::terms::TermStarts;
use super::window::{HeldEntry, Window};
use super::{Flushed, LogEntry, LogState, RaftLog, StoredBatches};
use crate::types::{LogId, LogIndex, Offset, Term};
use bytes::Bytes;
use parking_lot::Mutex;
use std::io;

/// Entries behind the newest checkpoint from which on another one is wanted.
const CHECKPOINT_INTERVAL: u64 = 4096;

/// A log in memory.
#[derive(Default)]
pub struct MemoryLog(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    state: LogState,
    window: Window,
    terms: TermStarts,
    vote: Option<Bytes>,
    checkpoints: Vec<(LogId, Bytes)>,
    closed: bool,
}

impl MemoryLog {
    /// An empty log.
    pub fn new() -> MemoryLog {
        MemoryLog::default()
    }
}

impl Inner {
    fn next_index(&self) -> LogIndex {
        self.state.last.map_or(LogIndex(0), |last| last.index.next())
    }

    fn holds(&self, index: LogIndex) -> bool {
        self.state.purged.is_none_or(|purged| index > purged.index) && index < self.next_index()
    }

    fn append(&mut self, entries: Vec<LogEntry>) -> io::Result<()> {
        if self.closed {
            return Err(io::Error::other("the log is closed"));
        }
        let mut next = self.next_index();
        let mut log_end = self.state.log_end_offset;
        let mut term = self.state.last.map_or(Term(0), |last| last.term);
        let mut held = Vec::with_capacity(entries.len());
        for entry in entries {
            super::check_follows(entry.id, next, term)?;
            let entry = HeldEntry::new(entry, log_end)?;
            next = next.next();
            term = entry.id.term;
            log_end = entry.next_offset();
            held.push(entry);
        }
        for entry in held {
            self.terms.push(entry.id);
            self.state.last = Some(entry.id);
            self.state.size_bytes += entry.payload_len() as u64;
            self.window.push(entry);
        }
        self.state.flushed = self.state.last;
        self.state.log_end_offset = log_end;
        Ok(())
    }

    fn truncate_after(&mut self, last: Option<LogId>) {
        let first_dropped = last.map_or(LogIndex(0), |last| last.index.next());
        if first_dropped >= self.next_index() {
            return;
        }
        self.state.log_end_offset =
            self.window.get(first_dropped).map_or(self.state.log_start_offset, |held| held.base_offset);
        self.window.truncate_after(last.map(|last| last.index));
        self.terms.truncate_from(first_dropped);
        self.state.last = last.or(self.state.purged);
        self.state.flushed = self.state.last;
    }

    fn reset(&mut self, last: LogId, log_end_offset: Offset) {
        self.window = Window::default();
        self.terms.clear();
        self.state = LogState {
            purged: Some(last),
            last: Some(last),
            flushed: Some(last),
            log_start_offset: log_end_offset,
            log_end_offset,
            size_bytes: 0,
        };
    }

    fn purge(&mut self, upto: LogId) {
        if upto.index >= self.next_index() {
            return self.reset(upto, self.state.log_end_offset);
        }
        if self.state.purged.is_some_and(|purged| purged.index >= upto.index) {
            return;
        }
        if let Some(held) = self.window.get(upto.index) {
            self.state.log_start_offset = held.next_offset();
        }
        self.window.drop_upto(upto.index);
        self.terms.purge_before(upto.index.next());
        self.state.purged = Some(upto);
    }
}

impl RaftLog for MemoryLog {
    fn state(&self) -> LogState {
        self.0.lock().state
    }

    fn append(&self, entries: Vec<LogEntry>, flushed: Flushed) -> io::Result<()> {
        let result = self.0.lock().append(entries);
        match result {
            Ok(()) => {
                flushed(Ok(()));
                Ok(())
            }
            Err(error) => {
                flushed(Err(super::same_error(&error)));
                Err(error)
            }
        }
    }

    fn truncate_after(&self, last: Option<LogId>) -> io::Result<()> {
        self.0.lock().truncate_after(last);
        Ok(())
    }

    fn purge(&self, upto: LogId) -> io::Result<()> {
        self.0.lock().purge(upto);
        Ok(())
    }

    fn reset(&self, last: LogId, log_end_offset: Offset) -> io::Result<()> {
        self.0.lock().reset(last, log_end_offset);
        Ok(())
    }

    fn read_cached(&self, from: LogIndex, to: LogIndex, max_bytes: usize) -> Option<Vec<LogEntry>> {
        if from >= to {
            return Some(Vec::new());
        }
        self.0.lock().window.read(from, to, max_bytes)
    }

    fn read(&self, from: LogIndex, to: LogIndex, max_bytes: usize) -> io::Result<Vec<LogEntry>> {
        self.read_cached(from, to, max_bytes).ok_or_else(|| super::not_found(from))
    }

    fn read_headers(&self, from: LogIndex, to: LogIndex, max_entries: usize) -> io::Result<Vec<LogEntry>> {
        self.read_headers_cached(from, to, max_entries).ok_or_else(|| super::not_found(from))
    }

    fn read_headers_cached(&self, from: LogIndex, to: LogIndex, max_entries: usize) -> Option<Vec<LogEntry>> {
        if from >= to {
            return Some(Vec::new());
        }
        self.0.lock().window.read_headers(from, to, max_entries)
    }

    fn term_at(&self, index: LogIndex) -> Option<Term> {
        let inner = self.0.lock();
        if inner.holds(index) { inner.terms.term_at(index) } else { None }
    }

    fn term_starts(&self, from: LogIndex, to: LogIndex) -> Vec<LogId> {
        let inner = self.0.lock();
        if from <= to && inner.holds(from) && inner.holds(to) { inner.terms.between(from, to) } else { Vec::new() }
    }

    fn fetch_cached(&self, from: Offset, upto: Offset, max_bytes: usize) -> Option<Vec<StoredBatches>> {
        let inner = self.0.lock();
        if from >= upto || from >= inner.state.log_end_offset {
            return Some(Vec::new());
        }
        inner.window.fetch(from, upto, max_bytes)
    }

    fn fetch(&self, from: Offset, upto: Offset, max_bytes: usize) -> io::Result<Vec<StoredBatches>> {
        self.fetch_cached(from, upto, max_bytes).ok_or_else(|| super::offset_not_found(from))
    }

    fn offset_for_time(&self, timestamp_ms: i64) -> io::Result<Option<Offset>> {
        let inner = self.0.lock();
        Ok(inner.window.offset_for_time(timestamp_ms, inner.state.purged))
    }

    fn save_checkpoint(&self, upto: LogId, state: &[u8]) -> io::Result<()> {
        let mut inner = self.0.lock();
        inner.checkpoints.retain(|(id, _)| id.index != upto.index);
        inner.checkpoints.push((upto, Bytes::copy_from_slice(state)));
        inner.checkpoints.sort_by_key(|(id, _)| id.index);
        Ok(())
    }

    fn load_checkpoint(&self) -> io::Result<Option<(LogId, Bytes)>> {
        let inner = self.0.lock();
        let flushed = inner.state.flushed;
        let usable = |id: &LogId| {
            flushed.is_some_and(|flushed| id.index <= flushed.index)
                && inner.state.purged.is_none_or(|purged| id.index >= purged.index)
        };
        let found = inner.checkpoints.iter().rev().find(|(id, _)| usable(id)).cloned();
        super::require_checkpoint(found, inner.state.purged)
    }

    fn wants_checkpoint(&self, applied: LogIndex) -> bool {
        let inner = self.0.lock();
        let newest = inner.checkpoints.last().map_or(0, |(id, _)| id.index.0);
        applied.0 >= newest + CHECKPOINT_INTERVAL
    }

    fn save_vote(&self, vote: &[u8]) -> io::Result<()> {
        self.0.lock().vote = Some(Bytes::copy_from_slice(vote));
        Ok(())
    }

    fn vote(&self) -> Option<Bytes> {
        self.0.lock().vote.clone()
    }

    fn check_space(&self) -> io::Result<()> {
        Ok(())
    }

    fn latched(&self) -> Option<String> {
        None
    }

    fn close(&self) -> io::Result<()> {
        self.0.lock().closed = true;
        Ok(())
    }
}
