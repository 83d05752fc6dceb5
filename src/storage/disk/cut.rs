//! Taking entries away: a suffix, a prefix, everything. Memory changes first, so that nobody reads what is going.

use super::read::Target;
use super::{DiskLog, Head, Segment};
use crate::storage::reader::Detail;
use crate::storage::segment::SparseIndex;
use crate::storage::start::Start;
use crate::storage::stats::StorageStats;
use crate::storage::{layout, not_found};
use crate::types::{LogId, LogIndex, Offset};
use std::io;

/// Where a suffix begins on disk.
struct CutPoint {
    segment_at: usize,
    first: LogIndex,
    salt: u32,
    position: u64,
    log_end: Offset,
    index: SparseIndex,
}

impl DiskLog {
    pub(super) fn cut_suffix(&self, last: Option<LogId>) -> io::Result<()> {
        let _maintenance = self.maintenance.lock();
        self.wait_idle()?;
        let cut = last.map_or(LogIndex(0), |last| last.index.next());
        {
            let inner = self.inner.lock();
            if cut >= inner.next_index() {
                return Ok(());
            }
            if cut < inner.start.first_index() {
                let text = format!("cannot cut the log at index {cut}: it begins at {}", inner.start.first_index());
                return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
            }
        }
        let point = self.cut_point(cut)?;
        let dropped = self.forget_from(cut, &point);
        let done = self.cut_files(&point, &dropped);
        self.or_latch(done)
    }

    fn cut_point(&self, cut: LogIndex) -> io::Result<CutPoint> {
        let view = self.view_of_index(&self.inner.lock(), cut)?;
        let mut place = None;
        self.for_each(&view, Target::Index(cut), Detail::Headers, 64 << 10, |frame| {
            if frame.header.id.index == cut {
                place = Some((frame.position, frame.header.base_offset));
            }
            place.is_none()
        })?;
        let (position, log_end) = place.ok_or_else(|| not_found(cut))?;
        let index = self.index(&view)?;
        let inner = self.inner.lock();
        let segment_at = inner.segments.partition_point(|segment| segment.first <= cut) - 1;
        let (first, salt) = (inner.segments[segment_at].first, inner.segments[segment_at].salt);
        let mut index = SparseIndex::clone(&index);
        index.truncate_from(cut);
        Ok(CutPoint { segment_at, first, salt, position, log_end, index })
    }

    // Returns the segments whose files are to go.
    fn forget_from(&self, cut: LogIndex, point: &CutPoint) -> Vec<LogIndex> {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        let new_last = match cut.0.checked_sub(1) {
            Some(index) if LogIndex(index) >= inner.start.first_index() => {
                let index = LogIndex(index);
                inner.terms.term_at(index).map(|term| LogId { term, index })
            }
            _ => inner.start.purged,
        };
        let freed = inner.window.truncate_after(cut.0.checked_sub(1).map(LogIndex));
        StorageStats::subtract(&self.shared.stats.cache_bytes, freed as u64);
        inner.terms.truncate_from(cut);
        inner.last = new_last;
        inner.flushed = new_last;
        inner.log_end = point.log_end;
        let dropped = inner.segments.drain(point.segment_at + 1..).map(|segment| segment.first).collect();
        let segment = &mut inner.segments[point.segment_at];
        segment.len = point.position;
        segment.index = None;
        inner.active_index = point.index.clone();
        inner.indexed_len = 0;
        inner.head =
            Some(Head { first: point.first, salt: point.salt, position: point.position, allocated: point.position });
        inner.cuts += 1;
        dropped
    }

    fn cut_files(&self, point: &CutPoint, dropped: &[LogIndex]) -> io::Result<()> {
        let fs = &*self.shared.fs;
        // From the last one backwards, each durably: a crash then leaves no hole.
        for first in dropped.iter().rev() {
            self.remove_segment(*first)?;
            fs.sync_dir(&self.dir)?;
        }
        // It would prove what is cut off now to have been flushed.
        let index = layout::index_path(&self.dir, point.first);
        if fs.exists(&index)? {
            fs.remove_file(&index)?;
            fs.sync_dir(&self.dir)?;
        }
        let (group, firsts) = (self.group, dropped);
        self.shared.files.remove_if(|key| key.group == group && firsts.contains(&key.first));
        self.shared.indexes.remove_if(|key| key.group == group && key.first >= point.first);
        let file = self.shared.file(&self.dir, self.key(point.first, point.salt))?;
        file.set_len(point.position)?;
        file.sync_all()
    }

    fn remove_segment(&self, first: LogIndex) -> io::Result<()> {
        let index = layout::index_path(&self.dir, first);
        if self.shared.fs.exists(&index)? {
            self.shared.fs.remove_file(&index)?;
        }
        self.shared.fs.remove_file(&layout::segment_path(&self.dir, first))
    }

    pub(super) fn cut_prefix(&self, upto: LogId) -> io::Result<()> {
        let _maintenance = self.maintenance.lock();
        let (log_end, behind, unflushed) = {
            let inner = self.inner.lock();
            if inner.start.purged.is_some_and(|purged| purged.index >= upto.index) {
                return Ok(());
            }
            let unflushed = inner.flushed.is_none_or(|flushed| upto.index > flushed.index);
            (inner.log_end, upto.index >= inner.next_index(), unflushed)
        };
        if behind {
            return self.begin_anew(upto, log_end);
        }
        if unflushed {
            self.wait_idle()?;
        }
        let headers = self.read_entry_headers(upto.index, upto.index.next(), 1)?;
        let entry = headers.first().ok_or_else(|| not_found(upto.index))?;
        if entry.id != upto {
            let text = format!("cannot purge up to {upto}: the log has {} there", entry.id);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let log_start_offset = match &entry.payload {
            crate::storage::Payload::Data(data) => {
                data.base_offset.map_or(log_end, |base| base.plus(u64::from(data.record_count)))
            }
            _ => self.offset_at(upto.index)?,
        };
        let generation = self.inner.lock().start.generation;
        let start = Start { generation, purged: Some(upto), log_start_offset, may_be_empty: false };
        // A failure leaves the old start or the new one; either fits to the segments, and memory keeps the old one.
        start.save(&*self.shared.fs, &self.dir)?;
        let dropped = self.forget_upto(start);
        for first in &dropped {
            self.remove_segment(*first)?;
        }
        let group = self.group;
        self.shared.files.remove_if(|key| key.group == group && dropped.contains(&key.first));
        self.shared.indexes.remove_if(|key| key.group == group && dropped.contains(&key.first));
        Ok(())
    }

    // Offset of the next record behind an entry that has none.
    fn offset_at(&self, index: LogIndex) -> io::Result<Offset> {
        let view = {
            let inner = self.inner.lock();
            if let Some(held) = inner.window.get(index) {
                return Ok(held.base_offset);
            }
            self.view_of_index(&inner, index)?
        };
        let mut offset = None;
        self.for_each(&view, Target::Index(index), Detail::Headers, 64 << 10, |frame| {
            if frame.header.id.index == index {
                offset = Some(frame.header.base_offset);
            }
            offset.is_none()
        })?;
        offset.ok_or_else(|| not_found(index))
    }

    // Returns the segments whose files are to go.
    fn forget_upto(&self, start: Start) -> Vec<LogIndex> {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        inner.start = start;
        let first = start.first_index();
        inner.terms.purge_before(first);
        let freed = inner.window.drop_upto(LogIndex(first.0 - 1));
        StorageStats::subtract(&self.shared.stats.cache_bytes, freed as u64);
        // A segment that has no file yet cannot take the place of the one before it.
        let has_file = |segment: LogIndex| inner.head.is_some_and(|head| segment <= head.first);
        let goes = |pair: &&[Segment]| pair[1].first <= first && has_file(pair[1].first);
        let whole = inner.segments.windows(2).take_while(goes).count();
        inner.cuts += 1;
        inner.segments.drain(..whole).map(|segment| segment.first).collect()
    }

    // The caller holds `maintenance`.
    pub(super) fn begin_anew(&self, last: LogId, log_end: Offset) -> io::Result<()> {
        self.wait_idle()?;
        let start = {
            let inner = self.inner.lock();
            let generation = inner.start.generation + 1;
            Start { generation, purged: Some(last), log_start_offset: log_end, may_be_empty: true }
        };
        let saved = start.save(&*self.shared.fs, &self.dir);
        self.or_latch(saved)?;
        let (segments, checkpoints): (_, Vec<LogIndex>) = {
            let mut inner = self.inner.lock();
            let inner = &mut *inner;
            let freed = inner.window.truncate_after(None);
            StorageStats::subtract(&self.shared.stats.cache_bytes, freed as u64);
            inner.start = start;
            inner.last = Some(last);
            inner.flushed = Some(last);
            inner.log_end = log_end;
            inner.terms.clear();
            inner.active_index = SparseIndex::default();
            inner.indexed_len = 0;
            inner.head = None;
            inner.cuts += 1;
            let (kept, gone) = inner.checkpoints.iter().partition(|index| **index == last.index);
            inner.checkpoints = kept;
            (std::mem::take(&mut inner.segments), gone)
        };
        self.shared.forget_group(self.group);
        self.remove_checkpoints(&checkpoints);
        let removed = segments
            .iter()
            .try_for_each(|segment| self.remove_segment(segment.first))
            .and_then(|()| self.shared.fs.sync_dir(&self.dir));
        self.or_latch(removed)
    }
}
