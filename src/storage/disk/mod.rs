//! The log of a group on disk. What its files are, and what a crash leaves of them: see [`super::layout`].
//!
//! Locks, in the order they are taken: `maintenance` (whoever changes files other than by appending) or `voting`, then
//! `inner` (memory only: never held over a system call that waits for the disk).
//!
//! Invariants of [`Inner`]: what is not flushed is in `window`; only the last segment is appended to; `segments`
//! follow each other without holes; `head` is where the next flush writes, and lies in the last segment that has a
//! file.

mod append;
mod birth;
mod checkpoints;
mod cut;
mod read;
mod recover;

pub(super) use birth::create;

use super::gather::Gather;
use super::segment::{self, SegmentHeader, SparseIndex, Summary};
use super::shared::{SegmentKey, Shared};
use super::small_file::{self, VOTE_MAGIC};
use super::start::Start;
use super::stats::StorageStats;
use super::terms::TermStarts;
use super::window::Window;
use super::{Flushed, LogEntry, LogState, RaftLog, StoredBatches, layout};
use crate::types::{GroupId, LogId, LogIndex, Offset, Term};
use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

/// The log of a group on disk: made by [`super::Store::open_log`].
pub struct DiskLog {
    pub(super) shared: Arc<Shared>,
    pub(super) group: GroupId,
    pub(super) dir: PathBuf,
    pub(super) this: Weak<DiskLog>,
    maintenance: Mutex<()>,
    /// Votes don't wait for a long purge or checkpoint: an election may hang on it.
    voting: Mutex<()>,
    pub(super) inner: Mutex<Inner>,
    /// Told when no flusher works for the log any more.
    pub(super) idle: Condvar,
}

/// Where the next flush writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub first: LogIndex,
    pub salt: u32,
    /// Everything before it is on disk.
    pub position: u64,
    /// Up to where space is reserved, as far as is known.
    pub allocated: u64,
}

/// A segment, as memory knows it.
pub(super) struct Segment {
    pub first: LogIndex,
    pub base_offset: Offset,
    pub salt: u32,
    /// Its length once everything appended is written.
    pub len: u64,
    pub timestamp_ms_max: i64,
    /// Its index, from when it is closed until the index file is there.
    pub index: Option<Arc<SparseIndex>>,
}

pub(super) struct Inner {
    start: Start,
    last: Option<LogId>,
    pub flushed: Option<LogId>,
    log_end: Offset,
    pub segments: Vec<Segment>,
    /// The index of the last segment.
    active_index: SparseIndex,
    terms: TermStarts,
    window: Window,
    pub gather: Gather,
    pub pending_bytes: u64,
    pub head: Option<Head>,
    /// A flusher works for this log, or the log is queued for one.
    pub busy: bool,
    pub latched: Option<Arc<str>>,
    vote: Option<Bytes>,
    /// Log indexes of all checkpoints, ascending.
    checkpoints: Vec<LogIndex>,
    /// Up to where the index file of the last segment proves it flushed.
    indexed_len: u64,
    /// Counts what takes entries away, for readers that meet a file being cut.
    cuts: u64,
    closed: bool,
}

impl DiskLog {
    /// Opens a log that is there.
    pub(super) fn open(shared: &Arc<Shared>, group: GroupId) -> io::Result<Arc<DiskLog>> {
        let dir = layout::group_dir(&shared.dir, group);
        let inner = recover::recover(shared, group, &dir)?;
        Ok(Arc::new_cyclic(|this| DiskLog {
            shared: shared.clone(),
            group,
            dir,
            this: this.clone(),
            maintenance: Mutex::new(()),
            voting: Mutex::new(()),
            inner: Mutex::new(inner),
            idle: Condvar::new(),
        }))
    }

    /// Bytes that were appended and are not on disk yet.
    pub fn pending_bytes(&self) -> u64 {
        self.inner.lock().pending_bytes
    }

    /// Whether so much waits for the disk that callers should append no more for now. Appends are taken all the same.
    pub fn is_congested(&self) -> bool {
        self.pending_bytes() >= self.shared.config.pending_bytes_max
    }

    pub(super) fn is_closed(&self) -> bool {
        self.inner.lock().closed
    }

    /// Forgets entries up to `upto` that are on disk: the tail cache needs room.
    pub(super) fn forget_cached(&self, upto: LogIndex) {
        let mut inner = self.inner.lock();
        let Some(flushed) = inner.flushed else { return };
        let freed = inner.window.drop_upto(upto.min(flushed.index));
        StorageStats::subtract(&self.shared.stats.cache_bytes, freed as u64);
    }

    // Waits until all that was appended is on disk and all callbacks were called.
    fn wait_idle(&self) -> io::Result<()> {
        if self.shared.config.flush_on_demand && self.shared.take_from_queue(self) {
            while self.flush_once() {}
        }
        let mut inner = self.inner.lock();
        while inner.busy {
            self.idle.wait(&mut inner);
        }
        match &inner.latched {
            Some(reason) => Err(latched_error(reason)),
            None => Ok(()),
        }
    }

    pub(super) fn key(&self, first: LogIndex, salt: u32) -> SegmentKey {
        SegmentKey { group: self.group, first, salt }
    }

    // Runs file work whose failure leaves the files in a state that memory does not know.
    fn or_latch<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result {
            self.latch(&mut self.inner.lock(), error);
        }
        result
    }

    // After a clean stop the last segment need not be scanned.
    fn write_last_index(&self) -> io::Result<()> {
        let (summary, index) = {
            let inner = self.inner.lock();
            let Some(head) = inner.head.filter(|head| head.position > inner.indexed_len) else { return Ok(()) };
            let Some(summary) = inner.summary(self.group) else { return Ok(()) };
            if summary.header.first != head.first || summary.segment_len != head.position {
                return Ok(());
            }
            (summary, inner.active_index.clone())
        };
        segment::write_index(&*self.shared.fs, &self.dir, &summary, &index)
    }

    fn trim_allocated(&self) -> io::Result<()> {
        let head = self.inner.lock().head;
        match head {
            Some(head) if head.allocated > head.position => {
                let file = self.shared.file(&self.dir, self.key(head.first, head.salt))?;
                file.set_len(head.position)
            }
            _ => Ok(()),
        }
    }
}

impl Inner {
    fn next_index(&self) -> LogIndex {
        self.last.map_or(LogIndex(0), |last| last.index.next())
    }

    fn holds(&self, index: LogIndex) -> bool {
        index >= self.start.first_index() && index < self.next_index()
    }

    // What is to be known of the last segment once it is complete; `None` while it has no entry.
    fn summary(&self, group: GroupId) -> Option<Summary> {
        let segment = self.segments.last()?;
        let last = self.last.filter(|last| last.index >= segment.first)?;
        let header = SegmentHeader {
            group,
            generation: self.start.generation,
            first: segment.first,
            base_offset: segment.base_offset,
            salt: segment.salt,
        };
        Some(Summary {
            header,
            segment_len: segment.len,
            last,
            log_end: self.log_end,
            timestamp_ms_max: segment.timestamp_ms_max,
            terms: self.terms.between(segment.first, last.index),
        })
    }
}

impl Drop for DiskLog {
    fn drop(&mut self) {
        let inner = self.inner.get_mut();
        StorageStats::subtract(&self.shared.stats.cache_bytes, inner.window.memory_bytes() as u64);
    }
}

/// Why a latched log refuses.
pub(super) fn latched_error(reason: &str) -> io::Error {
    io::Error::other(format!("the log is read-only since a write failed: {reason}"))
}

impl RaftLog for DiskLog {
    fn state(&self) -> LogState {
        let inner = self.inner.lock();
        LogState {
            purged: inner.start.purged,
            last: inner.last,
            flushed: inner.flushed,
            log_start_offset: inner.start.log_start_offset,
            log_end_offset: inner.log_end,
            size_bytes: inner.segments.iter().map(|segment| segment.len).sum(),
        }
    }

    fn append(&self, entries: Vec<LogEntry>, flushed: Flushed) -> io::Result<()> {
        self.append_entries(entries, flushed)
    }

    fn truncate_after(&self, last: Option<LogId>) -> io::Result<()> {
        self.cut_suffix(last)
    }

    fn purge(&self, upto: LogId) -> io::Result<()> {
        self.cut_prefix(upto)
    }

    fn reset(&self, last: LogId, log_end_offset: Offset) -> io::Result<()> {
        let _maintenance = self.maintenance.lock();
        self.begin_anew(last, log_end_offset)
    }

    fn read_cached(&self, from: LogIndex, to: LogIndex, max_bytes: usize) -> Option<Vec<LogEntry>> {
        let inner = self.inner.lock();
        if from >= to { Some(Vec::new()) } else { inner.window.read(from, to, max_bytes) }
    }

    fn read(&self, from: LogIndex, to: LogIndex, max_bytes: usize) -> io::Result<Vec<LogEntry>> {
        self.read_entries(from, to, max_bytes)
    }

    fn read_headers(&self, from: LogIndex, to: LogIndex, max_entries: usize) -> io::Result<Vec<LogEntry>> {
        self.read_entry_headers(from, to, max_entries)
    }

    fn read_headers_cached(&self, from: LogIndex, to: LogIndex, max_entries: usize) -> Option<Vec<LogEntry>> {
        let inner = self.inner.lock();
        if from >= to { Some(Vec::new()) } else { inner.window.read_headers(from, to, max_entries) }
    }

    fn term_at(&self, index: LogIndex) -> Option<Term> {
        let inner = self.inner.lock();
        if inner.holds(index) { inner.terms.term_at(index) } else { None }
    }

    fn term_starts(&self, from: LogIndex, to: LogIndex) -> Vec<LogId> {
        let inner = self.inner.lock();
        if from <= to && inner.holds(from) && inner.holds(to) { inner.terms.between(from, to) } else { Vec::new() }
    }

    fn fetch_cached(&self, from: Offset, upto: Offset, max_bytes: usize) -> Option<Vec<StoredBatches>> {
        let inner = self.inner.lock();
        if from >= upto || from >= inner.log_end {
            return Some(Vec::new());
        }
        if from < inner.start.log_start_offset {
            return None;
        }
        inner.window.fetch(from, upto, max_bytes)
    }

    fn fetch(&self, from: Offset, upto: Offset, max_bytes: usize) -> io::Result<Vec<StoredBatches>> {
        self.fetch_batches(from, upto, max_bytes)
    }

    fn offset_for_time(&self, timestamp_ms: i64) -> io::Result<Option<Offset>> {
        self.find_time(timestamp_ms)
    }

    fn save_checkpoint(&self, upto: LogId, state: &[u8]) -> io::Result<()> {
        self.write_checkpoint(upto, state)
    }

    fn load_checkpoint(&self) -> io::Result<Option<(LogId, Bytes)>> {
        self.newest_checkpoint()
    }

    fn wants_checkpoint(&self, applied: LogIndex) -> bool {
        let inner = self.inner.lock();
        let behind_newest = inner.checkpoints.last().map_or(LogIndex(0), |newest| newest.next());
        let begun = inner.segments.last().map_or(LogIndex(0), |segment| segment.first);
        begun > behind_newest && applied.next() >= begun
    }

    fn save_vote(&self, vote: &[u8]) -> io::Result<()> {
        let _voting = self.voting.lock();
        if let Some(reason) = &self.inner.lock().latched {
            return Err(latched_error(reason));
        }
        let saved = small_file::save(&*self.shared.fs, &self.dir, layout::VOTE, VOTE_MAGIC, &encode_vote(vote));
        self.or_latch(saved)?;
        self.inner.lock().vote = Some(Bytes::copy_from_slice(vote));
        Ok(())
    }

    fn vote(&self) -> Option<Bytes> {
        self.inner.lock().vote.clone()
    }

    fn check_space(&self) -> io::Result<()> {
        let stats = &self.shared.stats;
        let pending = stats.pending_bytes.load(std::sync::atomic::Ordering::Relaxed);
        let room = self.shared.space.check(&*self.shared.fs, pending);
        room.inspect_err(|_| StorageStats::add(&stats.refused_full, 1))
    }

    fn latched(&self) -> Option<String> {
        self.inner.lock().latched.as_deref().map(str::to_string)
    }

    fn close(&self) -> io::Result<()> {
        let _maintenance = self.maintenance.lock();
        {
            let mut inner = self.inner.lock();
            if inner.closed {
                return Ok(());
            }
            // From here on nothing is appended.
            inner.closed = true;
        }
        let flushed = self.wait_idle();
        if flushed.is_ok() {
            // Both only save work for the next start.
            for outcome in [self.trim_allocated(), self.write_last_index()] {
                if let Err(error) = outcome {
                    tracing::warn!(group = %self.group, %error, "cannot close a log tidily");
                }
            }
        }
        self.shared.forget_group(self.group);
        flushed
    }
}

/// A vote's body says whether there is one, since a log is made before its first vote.
pub(super) fn encode_vote(vote: &[u8]) -> Vec<u8> {
    let mut body = vec![1];
    body.extend_from_slice(vote);
    body
}
