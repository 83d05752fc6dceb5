//! Appending: in memory only. The flushers do the rest.

use super::{DiskLog, Inner, Segment, latched_error};
use crate::storage::gather::{NextSegment, Piece};
use crate::storage::segment::{HEADER_LEN, Point, SegmentHeader};
use crate::storage::stats::StorageStats;
use crate::storage::window::HeldEntry;
use crate::storage::{Flushed, LogEntry, check_follows, frame, same_error};
use crate::types::Term;
use std::io;
use std::sync::Arc;

impl DiskLog {
    pub(super) fn append_entries(&self, entries: Vec<LogEntry>, flushed: Flushed) -> io::Result<()> {
        let mut inner = self.inner.lock();
        if let Err(error) = self.take(&mut inner, entries) {
            drop(inner);
            flushed(Err(same_error(&error)));
            return Err(error);
        }
        inner.gather.flushed.push(flushed);
        // A busy flusher looks again when it is done.
        let idle = !std::mem::replace(&mut inner.busy, true);
        drop(inner);
        if idle && let Some(this) = self.this.upgrade() {
            self.shared.enqueue(this);
        }
        Ok(())
    }

    // All entries or none.
    fn take(&self, inner: &mut Inner, entries: Vec<LogEntry>) -> io::Result<()> {
        if let Some(reason) = &inner.latched {
            return Err(latched_error(reason));
        }
        if inner.closed {
            return Err(io::Error::other("the log is closed"));
        }
        let held = check(inner, entries)?;
        let bytes = held.iter().map(frame_len).sum();
        let stats = &self.shared.stats;
        self.shared.space.spend(bytes);
        let memory: usize = held.iter().map(HeldEntry::memory_bytes).sum();
        StorageStats::add(&stats.entries, held.len() as u64);
        StorageStats::add(&stats.pending_bytes, bytes);
        StorageStats::add(&stats.cache_bytes, memory as u64);
        inner.pending_bytes += bytes;
        for entry in held {
            self.push(inner, entry);
        }
        Ok(())
    }

    fn push(&self, inner: &mut Inner, entry: HeldEntry) {
        let len = frame_len(&entry);
        let full = inner.segments.last().is_none_or(|segment| {
            segment.len > HEADER_LEN as u64 && segment.len + len > self.shared.config.segment_bytes
        });
        if full {
            self.begin_segment_with(inner, &entry);
        }
        let durable_next = inner.flushed.map_or(0, |flushed| flushed.index.0 + 1);
        let segment = inner.segments.last_mut().expect("a segment was begun if there was none");
        let header = inner.gather.push(&entry, durable_next, segment.salt);
        let point = Point {
            index: entry.id.index,
            base_offset: entry.base_offset,
            position: segment.len,
            timestamp_ms_max: header.timestamp_ms_max,
        };
        inner.active_index.push(point, self.shared.config.index_interval_bytes);
        segment.len += len;
        segment.timestamp_ms_max = segment.timestamp_ms_max.max(header.timestamp_ms_max);
        inner.terms.push(entry.id);
        inner.last = Some(entry.id);
        inner.log_end = entry.next_offset();
        inner.window.push(entry);
    }

    fn begin_segment_with(&self, inner: &mut Inner, entry: &HeldEntry) {
        let summary = inner.summary(self.group);
        let index = Arc::new(std::mem::take(&mut inner.active_index));
        if let Some(closed) = inner.segments.last_mut() {
            closed.index = Some(index.clone());
        }
        let header = SegmentHeader {
            group: self.group,
            generation: inner.start.generation,
            first: entry.id.index,
            base_offset: entry.base_offset,
            salt: self.shared.draw_salt(),
        };
        inner.segments.push(Segment {
            first: header.first,
            base_offset: header.base_offset,
            salt: header.salt,
            len: HEADER_LEN as u64,
            timestamp_ms_max: i64::MIN,
            index: None,
        });
        inner.indexed_len = 0;
        let next = NextSegment { header, closed: summary.map(|summary| (summary, index)) };
        inner.gather.pieces.push(Piece::NextSegment(Box::new(next)));
    }
}

// Checks and stamps all entries before any is taken.
fn check(inner: &Inner, entries: Vec<LogEntry>) -> io::Result<Vec<HeldEntry>> {
    let mut next = inner.next_index();
    let mut term = inner.last.map_or(Term(0), |last| last.term);
    let mut log_end = inner.log_end;
    let mut held = Vec::with_capacity(entries.len());
    for entry in entries {
        check_follows(entry.id, next, term)?;
        let entry = HeldEntry::new(entry, log_end)?;
        next = next.next();
        term = entry.id.term;
        log_end = entry.next_offset();
        held.push(entry);
    }
    Ok(held)
}

fn frame_len(entry: &HeldEntry) -> u64 {
    (frame::HEADER_LEN + entry.attributes_len() + entry.payload_len()) as u64
}
