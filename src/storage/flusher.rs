//! Writes and syncs what was gathered. Many appends make one write and one sync.
//!
//! At most one flusher works for a log at a time: `Inner::busy` says that one does, or will. While it writes, further
//! appends gather; the next round takes them all. A failed write or sync latches the log: what it was to make durable
//! is not, and trying again would not tell.

use super::disk::{DiskLog, Head, Inner};
use super::gather::{Gather, NextSegment, Piece};
use super::segment::{self, SegmentHeader};
use super::stats::StorageStats;
use crate::mutant::{self, Mutant};
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Space is reserved ahead of the end of a segment in pieces of about the segment's own length, within these bounds:
/// a sync that finds its blocks reserved is cheaper, and a small log must stay small.
const ALLOCATE_BYTES_MIN: u64 = 32 << 10;
const ALLOCATE_BYTES_MAX: u64 = 8 << 20;

impl DiskLog {
    /// Writes and syncs all that is gathered. Returns whether there is more by now.
    pub(super) fn flush_once(&self) -> bool {
        let (mut gather, mut head, latched) = {
            let mut inner = self.inner.lock();
            (std::mem::take(&mut inner.gather), inner.head, inner.latched.clone())
        };
        let result = match &latched {
            Some(reason) => Err(super::disk::latched_error(reason)),
            None => self.write(&gather, &mut head),
        };
        let callbacks = std::mem::take(&mut gather.flushed);
        {
            let mut inner = self.inner.lock();
            StorageStats::subtract(&self.shared.stats.pending_bytes, gather.bytes);
            inner.pending_bytes -= gather.bytes;
            match &result {
                Ok(()) => inner.flush_done(&gather, head),
                Err(error) => self.latch(&mut inner, error),
            }
        }
        for flushed in callbacks {
            flushed(match &result {
                Ok(()) => Ok(()),
                Err(error) => Err(super::same_error(error)),
            });
        }
        if let (Ok(()), Some(upto)) = (&result, gather.upto) {
            self.shared.flushed(self.this.clone(), upto.index);
        }
        let mut inner = self.inner.lock();
        if inner.gather.is_empty() {
            inner.busy = false;
            self.idle.notify_all();
            false
        } else {
            true
        }
    }

    fn write(&self, gather: &Gather, head: &mut Option<Head>) -> io::Result<()> {
        if gather.pieces.is_empty() {
            return Ok(());
        }
        let mut slices = Vec::with_capacity(gather.pieces.len());
        let mut copied = gather.copied.as_slice();
        for piece in &gather.pieces {
            match piece {
                Piece::Copied(len) => {
                    let (these, rest) = copied.split_at(*len);
                    copied = rest;
                    slices.push(IoSlice::new(these));
                }
                Piece::Shared(bytes) => slices.push(IoSlice::new(bytes)),
                Piece::NextSegment(next) => {
                    if let Some(old) = head.as_mut() {
                        self.write_run(&mut slices, old)?;
                        self.close_segment(next, old)?;
                    }
                    slices.clear();
                    *head = Some(self.begin_segment(&next.header)?);
                }
            }
        }
        let head = head.as_mut().expect("frames follow the header of their segment");
        self.write_run(&mut slices, head)
    }

    // Writes slices at the end of a segment and syncs it.
    fn write_run(&self, slices: &mut [IoSlice<'_>], head: &mut Head) -> io::Result<()> {
        let bytes: u64 = slices.iter().map(|slice| slice.len() as u64).sum();
        if bytes == 0 {
            return Ok(());
        }
        let file = self.shared.file(&self.dir, self.key(head.first, head.salt))?;
        let end = head.position + bytes;
        if end > head.allocated && self.shared.can_allocate.load(Ordering::Relaxed) {
            let ahead = end.clamp(ALLOCATE_BYTES_MIN, ALLOCATE_BYTES_MAX);
            match file.allocate(head.position, bytes + ahead) {
                Ok(()) => head.allocated = end + ahead,
                // A full disk may still have room for the bytes themselves: the write will tell.
                Err(error) if error.kind() == io::ErrorKind::StorageFull => {}
                Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                    self.shared.can_allocate.store(false, Ordering::Relaxed);
                }
                Err(error) => return Err(error),
            }
        }
        file.write_at(slices, head.position)?;
        StorageStats::add(&self.shared.stats.bytes_written, bytes);
        let started = Instant::now();
        if !mutant::on(Mutant::FlushSkipped) {
            file.sync_data()?;
        }
        self.shared.stats.synced(started.elapsed());
        head.position = end;
        Ok(())
    }

    // Everything in the segment is on disk. The index file is a convenience: without it the segment is scanned again.
    fn close_segment(&self, next: &NextSegment, head: &Head) -> io::Result<()> {
        if head.allocated > head.position {
            self.shared.file(&self.dir, self.key(head.first, head.salt))?.set_len(head.position)?;
        }
        if let Some((summary, index)) = &next.closed {
            match segment::write_index(&*self.shared.fs, &self.dir, summary, index) {
                Ok(()) => self.shared.indexes.insert(self.key(head.first, head.salt), index.clone()),
                Err(error) => tracing::warn!(group = %self.group, %error, "cannot write an index file"),
            }
        }
        Ok(())
    }

    fn begin_segment(&self, header: &SegmentHeader) -> io::Result<Head> {
        let file = header.create(&*self.shared.fs, &self.dir)?;
        self.shared.fs.sync_dir(&self.dir)?;
        let head = Head { first: header.first, salt: header.salt, position: segment::HEADER_LEN as u64, allocated: 0 };
        self.shared.files.insert(self.key(head.first, head.salt), file);
        Ok(head)
    }

    /// Latches the log read-only, once.
    pub(super) fn latch(&self, inner: &mut Inner, error: &io::Error) {
        if inner.latched.is_none() {
            tracing::error!(group = %self.group, %error, "a write failed: the log takes no more writes");
            StorageStats::add(&self.shared.stats.latched_logs, 1);
            inner.latched = Some(Arc::from(error.to_string()));
        }
    }
}

impl Inner {
    fn flush_done(&mut self, gather: &Gather, head: Option<Head>) {
        self.head = head;
        if let Some(upto) = gather.upto {
            self.flushed = Some(upto);
        }
        // Indexes of segments that were closed are in their files now, or can be rebuilt from complete segments.
        for piece in &gather.pieces {
            if let Piece::NextSegment(next) = piece
                && let Some((summary, _)) = &next.closed
                && let Ok(at) = self.segments.binary_search_by_key(&summary.header.first, |segment| segment.first)
            {
                self.segments[at].index = None;
            }
        }
    }
}
