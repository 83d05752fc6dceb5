//! Reading from disk what memory has no more. Runs beside appends; takes the lock only to look up where to read.

use super::{DiskLog, Inner};
use crate::storage::frame::Frame;
use crate::storage::reader::{Detail, FrameReader, Step};
use crate::storage::segment::{self, SparseIndex};
use crate::storage::shared::SegmentKey;
use crate::storage::small_file::named;
use crate::storage::stats::StorageStats;
use crate::storage::{LogEntry, StoredBatches, layout, not_found, offset_not_found};
use crate::types::{LogIndex, Offset};
use crate::vfs::VfsFile;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Bytes that one read of a segment takes.
const CHUNK_BYTES_MIN: usize = 256 << 10;
const CHUNK_BYTES_MAX: usize = 1 << 20;
/// When batches are skipped, less is worth while.
const HEADERS_CHUNK_BYTES: usize = 64 << 10;

/// A segment to read from, as of one moment.
pub(super) struct View {
    key: SegmentKey,
    /// Everything before it is on disk.
    end: u64,
    /// Where to begin, if memory knew.
    position: Option<u64>,
    cuts: u64,
}

/// What to look for within a segment.
#[derive(Clone, Copy)]
pub(super) enum Target {
    Index(LogIndex),
    Offset(Offset),
    Time(i64),
}

impl Target {
    fn position(self, index: &SparseIndex) -> u64 {
        match self {
            Target::Index(index_wanted) => index.position_of_index(index_wanted),
            Target::Offset(offset) => index.position_of_offset(offset),
            // No point is as new: then no entry is, and the end of the segment will say so.
            Target::Time(time) => index.position_of_time(time).unwrap_or(u64::MAX),
        }
    }
}

impl DiskLog {
    pub(super) fn read_entries(&self, from: LogIndex, to: LogIndex, bytes_max: usize) -> io::Result<Vec<LogEntry>> {
        if from >= to {
            return Ok(Vec::new());
        }
        let chunk = bytes_max.clamp(CHUNK_BYTES_MIN, CHUNK_BYTES_MAX);
        self.unless_cut(|| {
            let view = {
                let inner = self.inner.lock();
                if let Some(entries) = inner.window.read(from, to, bytes_max) {
                    return Ok(Done::Now(entries));
                }
                self.view_of_index(&inner, from)?
            };
            let mut entries = Vec::new();
            let mut bytes = 0;
            let read = self.for_each(&view, Target::Index(from), Detail::Whole, chunk, |frame| {
                if frame.header.id.index < from {
                    return true;
                }
                bytes += frame.payload.len();
                if frame.header.id.index >= to || (bytes > bytes_max && !entries.is_empty()) {
                    return false;
                }
                entries.push(frame.into_entry());
                bytes < bytes_max
            });
            Ok(self.found(view, read.map(|()| entries), |entries| {
                entries.first().map(|entry| entry.id.index) == Some(from)
            }))
        })
    }

    pub(super) fn read_entry_headers(
        &self,
        from: LogIndex,
        to: LogIndex,
        entries_max: usize,
    ) -> io::Result<Vec<LogEntry>> {
        if from >= to {
            return Ok(Vec::new());
        }
        self.unless_cut(|| {
            let view = {
                let inner = self.inner.lock();
                if let Some(entries) = inner.window.read_headers(from, to, entries_max) {
                    return Ok(Done::Now(entries));
                }
                self.view_of_index(&inner, from)?
            };
            let mut entries = Vec::new();
            let read = self.for_each(&view, Target::Index(from), Detail::Headers, HEADERS_CHUNK_BYTES, |frame| {
                let index = frame.header.id.index;
                if index >= from && index < to {
                    entries.push(frame.into_entry());
                }
                index.next() < to && entries.len() < entries_max.max(1)
            });
            Ok(self.found(view, read.map(|()| entries), |entries| {
                entries.first().map(|entry| entry.id.index) == Some(from)
            }))
        })
    }

    pub(super) fn fetch_batches(&self, from: Offset, upto: Offset, bytes_max: usize) -> io::Result<Vec<StoredBatches>> {
        let chunk = bytes_max.clamp(CHUNK_BYTES_MIN, CHUNK_BYTES_MAX);
        self.unless_cut(|| {
            let view = {
                let inner = self.inner.lock();
                if from >= upto || from >= inner.log_end {
                    return Ok(Done::Now(Vec::new()));
                }
                if from < inner.start.log_start_offset {
                    return Err(offset_not_found(from));
                }
                if let Some(batches) = inner.window.fetch(from, upto, bytes_max) {
                    return Ok(Done::Now(batches));
                }
                self.view_of_offset(&inner, from)?
            };
            let mut batches: Vec<StoredBatches> = Vec::new();
            let mut bytes = 0;
            let mut met = false;
            let read = self.for_each(&view, Target::Offset(from), Detail::Whole, chunk, |frame| {
                if frame.header.next_offset() <= from {
                    return true;
                }
                met |= frame.header.base_offset <= from;
                let Some(stored) = frame.into_batches() else { return true };
                bytes += stored.len();
                if stored.next_offset() > upto || (bytes > bytes_max && !batches.is_empty()) {
                    return false;
                }
                batches.push(stored);
                bytes < bytes_max
            });
            Ok(self.found(view, read.map(|()| batches), |_| met))
        })
    }

    pub(super) fn find_time(&self, timestamp_ms: i64) -> io::Result<Option<Offset>> {
        self.unless_cut(|| {
            let (views, first_index) = {
                let inner = self.inner.lock();
                let may_hold = |at: &usize| inner.segments[*at].timestamp_ms_max >= timestamp_ms;
                let views: Vec<View> =
                    (0..inner.segments.len()).filter(may_hold).map(|at| self.view(&inner, at)).collect();
                (views, inner.start.first_index())
            };
            for view in views {
                let mut found = None;
                let target = Target::Time(timestamp_ms);
                let read = self.for_each(&view, target, Detail::Headers, HEADERS_CHUNK_BYTES, |frame| {
                    let header = frame.header;
                    let new_enough = header.is_data() && header.timestamp_ms_max >= timestamp_ms;
                    if new_enough && header.id.index >= first_index {
                        found = Some(header.base_offset);
                    }
                    found.is_none()
                });
                if read.is_err() || found.is_some() {
                    return Ok(self.found(view, read.map(|()| found), |_| true));
                }
            }
            // What is not on disk yet is in memory.
            let inner = self.inner.lock();
            Ok(Done::Now(inner.window.offset_for_time(timestamp_ms, inner.start.purged)))
        })
    }

    /// The segment that holds the entry at `index`, which is flushed.
    pub(super) fn view_of_index(&self, inner: &Inner, index: LogIndex) -> io::Result<View> {
        let flushed = inner.flushed.is_some_and(|flushed| index <= flushed.index);
        let after = inner.segments.partition_point(|segment| segment.first <= index);
        match after.checked_sub(1) {
            Some(at) if flushed && inner.holds(index) => {
                let mut view = self.view(inner, at);
                view.position = view.position.or_else(|| inner.known_position(at, Target::Index(index)));
                Ok(view)
            }
            _ => Err(not_found(index)),
        }
    }

    fn view_of_offset(&self, inner: &Inner, offset: Offset) -> io::Result<View> {
        let after = inner.segments.partition_point(|segment| segment.base_offset <= offset);
        let at = after.checked_sub(1).ok_or_else(|| offset_not_found(offset))?;
        let mut view = self.view(inner, at);
        view.position = inner.known_position(at, Target::Offset(offset));
        Ok(view)
    }

    fn view(&self, inner: &Inner, at: usize) -> View {
        let segment = &inner.segments[at];
        let end = match inner.head {
            Some(head) if head.first == segment.first => head.position,
            Some(head) if head.first < segment.first => 0,
            Some(_) => segment.len,
            None => 0,
        };
        View { key: self.key(segment.first, segment.salt), end, position: None, cuts: inner.cuts }
    }

    /// Runs through the frames of a segment from near the target on, while `next` says so.
    pub(super) fn for_each(
        &self,
        view: &View,
        target: Target,
        detail: Detail,
        chunk_bytes: usize,
        mut next: impl FnMut(Frame) -> bool,
    ) -> io::Result<()> {
        let path = layout::segment_path(&self.dir, view.key.first);
        let position = match view.position {
            Some(position) => position,
            None => target.position(&*self.index(view)?),
        };
        if position >= view.end {
            return Ok(());
        }
        let file = self.shared.file(&self.dir, view.key).map_err(|error| named(&path, &error))?;
        let mut reader =
            FrameReader::new(&*file, &self.shared.chunks, view.key.salt, detail, position, view.end, chunk_bytes);
        loop {
            match reader.step().map_err(|error| named(&path, &error))? {
                Step::Frame(frame) => {
                    if !next(frame) {
                        break;
                    }
                }
                Step::End => break,
                Step::Damaged(reason) => return Err(damaged_at(&path, reader.position(), &reason)),
            }
        }
        StorageStats::add(&self.shared.stats.bytes_read, reader.position() - position);
        Ok(())
    }

    /// The sparse index of a segment: from memory, from its file, or made anew from the segment.
    pub(super) fn index(&self, view: &View) -> io::Result<Arc<SparseIndex>> {
        if let Some(index) = self.memory_index(view) {
            return Ok(index);
        }
        if let Some(index) = self.shared.indexes.get(&view.key) {
            return Ok(index);
        }
        let index = match segment::read_index(&*self.shared.fs, &self.dir, view.key.first) {
            Ok((summary, index)) if summary.header.salt == view.key.salt && summary.segment_len == view.end => index,
            _ => self.rebuild_index(view)?,
        };
        let index = Arc::new(index);
        self.shared.indexes.insert(view.key, index.clone());
        Ok(index)
    }

    fn memory_index(&self, view: &View) -> Option<Arc<SparseIndex>> {
        let inner = self.inner.lock();
        let at = inner.segments.binary_search_by_key(&view.key.first, |segment| segment.first).ok()?;
        if at + 1 == inner.segments.len() {
            return Some(Arc::new(inner.active_index.clone()));
        }
        inner.segments[at].index.clone()
    }

    fn rebuild_index(&self, view: &View) -> io::Result<SparseIndex> {
        let path = layout::segment_path(&self.dir, view.key.first);
        let file: Arc<dyn VfsFile> = self.shared.file(&self.dir, view.key).map_err(|error| named(&path, &error))?;
        let start = segment::HEADER_LEN as u64;
        let mut reader = FrameReader::new(
            &*file,
            &self.shared.chunks,
            view.key.salt,
            Detail::Headers,
            start,
            view.end,
            HEADERS_CHUNK_BYTES,
        );
        let mut index = SparseIndex::default();
        loop {
            match reader.step().map_err(|error| named(&path, &error))? {
                Step::Frame(frame) => index.push(frame.point(), self.shared.config.index_interval_bytes),
                Step::End => return Ok(index),
                Step::Damaged(reason) => return Err(damaged_at(&path, reader.position(), &reason)),
            }
        }
    }

    // A cut that runs beside a read takes files away under it: then the read begins again.
    fn unless_cut<T>(&self, mut attempt: impl FnMut() -> io::Result<Done<T>>) -> io::Result<T> {
        loop {
            match attempt()? {
                Done::Now(value) => return Ok(value),
                Done::Cut => {}
                Done::Failed(error) => return Err(error),
            }
        }
    }

    fn found<T>(&self, view: View, read: io::Result<T>, complete: impl Fn(&T) -> bool) -> Done<T> {
        match read {
            Ok(value) if complete(&value) => Done::Now(value),
            _ if self.inner.lock().cuts != view.cuts => Done::Cut,
            Ok(_) => {
                let path = layout::segment_path(&self.dir, view.key.first);
                Done::Failed(damaged_at(&path, view.end, "an entry that it must hold is not there"))
            }
            Err(error) => Done::Failed(error),
        }
    }
}

enum Done<T> {
    Now(T),
    Cut,
    Failed(io::Error),
}

impl Inner {
    // Where to begin, when the index is in memory.
    fn known_position(&self, at: usize, target: Target) -> Option<u64> {
        if at + 1 == self.segments.len() {
            return Some(target.position(&self.active_index));
        }
        self.segments[at].index.as_ref().map(|index| target.position(index))
    }
}

pub(super) fn damaged_at(path: &Path, position: u64, reason: &str) -> io::Error {
    let text = format!("{} is damaged at byte {position}: {reason}", path.display());
    io::Error::new(io::ErrorKind::InvalidData, text)
}
