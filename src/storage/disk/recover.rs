//! Opening a log: reads what is there, cuts a torn tail, refuses damage. See [`crate::storage::layout`].

use super::read::damaged_at;
use super::{Inner, Segment};
use crate::storage::frame::Frame;
use crate::storage::gather::Gather;
use crate::storage::layout::{self, GroupFile};
use crate::storage::reader::{Detail, FrameReader, Step};
use crate::storage::segment::{self, SegmentHeader, SparseIndex, Summary};
use crate::storage::shared::Shared;
use crate::storage::small_file::{self, VOTE_MAGIC, damaged, missing_is_damage};
use crate::storage::start::Start;
use crate::storage::terms::TermStarts;
use crate::storage::window::Window;
use crate::types::{GroupId, LogId, LogIndex, Offset, Term};
use crate::vfs::{Vfs, VfsFile};
use bytes::Bytes;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const CHUNK_BYTES: usize = 1 << 20;

/// A segment's file with a sound header.
struct Found {
    path: PathBuf,
    file: Arc<dyn VfsFile>,
    header: SegmentHeader,
    len: u64,
}

pub(super) fn recover(shared: &Shared, group: GroupId, dir: &Path) -> io::Result<Inner> {
    let fs = &*shared.fs;
    let start = Start::load(fs, dir)?;
    let vote = load_vote(fs, dir)?;
    let (segments, checkpoints) = list(fs, dir)?;
    let found = find_segments(fs, group, dir, &start, &segments)?;
    let mut inner = Inner {
        start,
        last: start.purged,
        flushed: start.purged,
        log_end: start.log_start_offset,
        segments: Vec::new(),
        active_index: SparseIndex::default(),
        terms: TermStarts::default(),
        window: Window::default(),
        gather: Gather::default(),
        pending_bytes: 0,
        head: None,
        busy: false,
        latched: None,
        vote,
        checkpoints,
        indexed_len: 0,
        cuts: 0,
        closed: false,
    };
    let Some((last, closed)) = found.split_last() else {
        if start.may_be_empty {
            return Ok(inner);
        }
        return Err(damaged(dir, "it has lost its segments"));
    };
    check_beginning(&start, found.first().unwrap_or(last))?;
    let mut expected: Option<Summary> = None;
    for found in closed {
        check_follows(expected.as_ref(), found)?;
        let summary = summary_of(shared, dir, found)?;
        inner.take_summary(&summary);
        inner.segments.push(segment_of(&summary));
        expected = Some(summary);
    }
    check_follows(expected.as_ref(), last)?;
    recover_last(shared, dir, last, expected.map_or(Term(0), |summary| summary.last.term), &mut inner)?;
    if inner.next_index() < start.first_index() {
        let text = format!("the log ends before index {}, which is where it begins", start.first_index());
        return Err(damaged(dir, &text));
    }
    inner.flushed = inner.last;
    inner.terms.purge_before(start.first_index());
    Ok(inner)
}

fn load_vote(fs: &dyn Vfs, dir: &Path) -> io::Result<Option<Bytes>> {
    let path = dir.join(layout::VOTE);
    let body = Bytes::from(small_file::load(fs, &path, VOTE_MAGIC).map_err(|error| missing_is_damage(&path, error))?);
    match body.first() {
        Some(0) => Ok(None),
        Some(1) => Ok(Some(body.slice(1..))),
        _ => Err(damaged(&path, "it does not say whether it has a vote")),
    }
}

// Log indexes of segments and of checkpoints, ascending. What a crash left half written goes.
fn list(fs: &dyn Vfs, dir: &Path) -> io::Result<(Vec<LogIndex>, Vec<LogIndex>)> {
    let (mut segments, mut checkpoints) = (Vec::new(), Vec::new());
    for entry in fs.list(dir)? {
        match layout::group_file(&entry.name) {
            GroupFile::Segment(first) => segments.push(first),
            GroupFile::Checkpoint(upto) => checkpoints.push(upto),
            GroupFile::Temporary => fs.remove_file(&dir.join(&entry.name))?,
            GroupFile::Index(_) | GroupFile::Other => {}
        }
    }
    segments.sort_unstable();
    checkpoints.sort_unstable();
    Ok((segments, checkpoints))
}

// All segments that belong to the log, in order, without leftovers.
fn find_segments(
    fs: &dyn Vfs,
    group: GroupId,
    dir: &Path,
    start: &Start,
    firsts: &[LogIndex],
) -> io::Result<Vec<Found>> {
    let mut firsts = firsts;
    // The last one may be torn, and then the one before it is the last: so this comes before what is a leftover.
    if let Some((last, before)) = firsts.split_last()
        && (!before.is_empty() || start.may_be_empty)
        && is_torn_birth(fs, dir, *last)?
    {
        remove_leftover(fs, dir, *last)?;
        firsts = before;
    }
    let mut found: Vec<Found> = Vec::new();
    for (at, first) in firsts.iter().enumerate() {
        if firsts.get(at + 1).is_some_and(|next| *next <= start.first_index()) {
            remove_leftover(fs, dir, *first)?;
            continue;
        }
        let path = layout::segment_path(dir, *first);
        let file = fs.open(&path).map_err(|error| small_file::named(&path, &error))?;
        let len = file.file_len()?;
        let header = SegmentHeader::read(&*file, &path)?;
        if header.group != group || header.first != *first || header.generation > start.generation {
            return Err(damaged(&path, "it belongs to another place"));
        }
        if header.generation < start.generation {
            remove_leftover(fs, dir, *first)?;
            continue;
        }
        found.push(Found { path, file, header, len });
    }
    Ok(found)
}

// Whether a crash came between making a segment and syncing its header, which comes before all frames.
fn is_torn_birth(fs: &dyn Vfs, dir: &Path, first: LogIndex) -> io::Result<bool> {
    let path = layout::segment_path(dir, first);
    let file = fs.open(&path).map_err(|error| small_file::named(&path, &error))?;
    match SegmentHeader::read(&*file, &path) {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => is_zero_behind_header(&*file, file.file_len()?),
        _ => Ok(false),
    }
}

fn remove_leftover(fs: &dyn Vfs, dir: &Path, first: LogIndex) -> io::Result<()> {
    let index = layout::index_path(dir, first);
    if fs.exists(&index)? {
        fs.remove_file(&index)?;
    }
    fs.remove_file(&layout::segment_path(dir, first))?;
    fs.sync_dir(dir)
}

fn is_zero_behind_header(file: &dyn VfsFile, len: u64) -> io::Result<bool> {
    let mut position = segment::HEADER_LEN as u64;
    let mut chunk = vec![0; CHUNK_BYTES];
    while position < len {
        let got = file.read_at(&mut chunk, position)?;
        if got == 0 || chunk[..got].iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        position += got as u64;
    }
    Ok(true)
}

fn check_beginning(start: &Start, found: &Found) -> io::Result<()> {
    let header = &found.header;
    let at_start = header.first == start.first_index() && header.base_offset == start.log_start_offset;
    let before = header.first < start.first_index() && header.base_offset <= start.log_start_offset;
    if at_start || before {
        return Ok(());
    }
    let text = format!(
        "the log begins at index {}, offset {}; its first segment at index {}, offset {}",
        start.first_index(),
        start.log_start_offset,
        header.first,
        header.base_offset
    );
    Err(damaged(&found.path, &text))
}

fn check_follows(before: Option<&Summary>, found: &Found) -> io::Result<()> {
    let Some(before) = before else { return Ok(()) };
    let (first, base_offset) = (found.header.first, found.header.base_offset);
    if first == before.last.index.next() && base_offset == before.log_end {
        return Ok(());
    }
    let text = format!(
        "there is a hole before it: the segment before ends with index {}, offset {}; this one begins at {first}, {base_offset}",
        before.last.index, before.log_end
    );
    Err(damaged(&found.path, &text))
}

fn segment_of(summary: &Summary) -> Segment {
    Segment {
        first: summary.header.first,
        base_offset: summary.header.base_offset,
        salt: summary.header.salt,
        len: summary.segment_len,
        timestamp_ms_max: summary.timestamp_ms_max,
        index: None,
    }
}

// What is to be known of a closed segment; it must be complete.
fn summary_of(shared: &Shared, dir: &Path, found: &Found) -> io::Result<Summary> {
    match segment::read_summary(&*shared.fs, dir, found.header.first) {
        Ok(summary) if summary.header == found.header && summary.segment_len == found.len => return Ok(summary),
        Err(error) if error.kind() == io::ErrorKind::Unsupported => return Err(error),
        _ => {}
    }
    let mut scan = Scan::new(&found.header, Term(0));
    if let Some(reason) = scan.run(found, shared.config.index_interval_bytes)? {
        return Err(damaged_at(&found.path, scan.position, &reason));
    }
    let summary = scan
        .summary(&found.header)
        .ok_or_else(|| damaged_at(&found.path, scan.position, "there is no entry in it, and a segment behind it"))?;
    if let Err(error) = segment::write_index(&*shared.fs, dir, &summary, &scan.index) {
        tracing::warn!(%error, path = %found.path.display(), "cannot write an index file");
    }
    Ok(summary)
}

fn recover_last(shared: &Shared, dir: &Path, found: &Found, term: Term, inner: &mut Inner) -> io::Result<()> {
    let mut scan = Scan::new(&found.header, term);
    let mut proven = 0;
    match segment::read_index(&*shared.fs, dir, found.header.first) {
        Ok((summary, index)) if summary.header == found.header => {
            if found.len < summary.segment_len {
                let text = format!("it was flushed up to byte {}", summary.segment_len);
                return Err(damaged_at(&found.path, found.len, &text));
            }
            proven = summary.segment_len;
            scan.resume(summary, index);
        }
        Err(error) if error.kind() == io::ErrorKind::Unsupported => return Err(error),
        _ => {}
    }
    if let Some(reason) = scan.run(found, shared.config.index_interval_bytes)? {
        cut_tail(found, &scan, &reason)?;
    }
    if scan.position > proven {
        scan.write_again(found)?;
        found.file.sync_data()?;
        shared.fs.sync_dir(dir)?;
    }
    if let Some(summary) = scan.summary(&found.header) {
        inner.take_summary(&summary);
    } else {
        inner.log_end = found.header.base_offset;
    }
    let position = scan.position;
    inner.segments.push(Segment {
        first: found.header.first,
        base_offset: found.header.base_offset,
        salt: found.header.salt,
        len: position,
        timestamp_ms_max: scan.timestamp_ms_max,
        index: None,
    });
    inner.active_index = scan.index;
    inner.indexed_len = proven;
    let (first, salt) = (found.header.first, found.header.salt);
    inner.head = Some(super::Head { first, salt, position, allocated: position });
    Ok(())
}

impl Inner {
    fn take_summary(&mut self, summary: &Summary) {
        summary.terms.iter().for_each(|id| self.terms.push(*id));
        self.last = Some(summary.last);
        self.log_end = summary.log_end;
    }
}

// Cuts what a crash left behind the last sound frame, unless that would cut what was flushed.
fn cut_tail(found: &Found, scan: &Scan, reason: &str) -> io::Result<()> {
    let expected = scan.next;
    if let Some(later) = find_proof(found, scan.position, expected)? {
        let text = format!(
            "{reason}; entry {} at byte {} says that entry {expected} had been flushed",
            later.header.id, later.position
        );
        return Err(damaged_at(&found.path, scan.position, &text));
    }
    let cut_bytes = found.len - scan.position;
    tracing::warn!(path = %found.path.display(), position = scan.position, cut_bytes, reason, "cut off a torn tail");
    found.file.set_len(scan.position)?;
    found.file.sync_all()
}

// A sound frame behind `position` which says that the entry at `expected` was flushed before it was written.
fn find_proof(found: &Found, position: u64, expected: LogIndex) -> io::Result<Option<Frame>> {
    use crate::storage::frame::{HEADER_LEN, MARKER, MARKER_AT};
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut start = position + 1;
    let chunks = Arc::default();
    while start + HEADER_LEN as u64 <= found.len {
        let got = found.file.read_at(&mut chunk, start)?;
        let bytes = &chunk[..got];
        for at in 0..got.saturating_sub(HEADER_LEN - 1) {
            if bytes[at + MARKER_AT..at + 8] != MARKER {
                continue;
            }
            let candidate = start + at as u64;
            let mut reader =
                FrameReader::new(&*found.file, &chunks, found.header.salt, Detail::Headers, candidate, found.len, 4096);
            if let Step::Frame(frame) = reader.step()?
                && frame.header.id.index >= expected
                && frame.header.durable_next > expected.0
            {
                return Ok(Some(frame));
            }
        }
        if got < HEADER_LEN {
            break;
        }
        start += (got - (HEADER_LEN - 1)) as u64;
    }
    Ok(None)
}

/// What a run through a segment has found so far.
struct Scan {
    /// Everything before it is sound.
    position: u64,
    next: LogIndex,
    log_end: Offset,
    term: Term,
    last: Option<LogId>,
    terms: TermStarts,
    index: SparseIndex,
    timestamp_ms_max: i64,
    /// All entries before it were flushed, by what the frames say.
    durable_next: u64,
}

impl Scan {
    fn new(header: &SegmentHeader, term: Term) -> Scan {
        Scan {
            position: segment::HEADER_LEN as u64,
            next: header.first,
            log_end: header.base_offset,
            term,
            last: None,
            terms: TermStarts::default(),
            index: SparseIndex::default(),
            timestamp_ms_max: i64::MIN,
            durable_next: 0,
        }
    }

    // Goes on behind what an index file proves.
    fn resume(&mut self, summary: Summary, index: SparseIndex) {
        self.position = summary.segment_len;
        self.next = summary.last.index.next();
        self.log_end = summary.log_end;
        self.term = summary.last.term;
        self.last = Some(summary.last);
        summary.terms.iter().for_each(|id| self.terms.push(*id));
        self.index = index;
        self.timestamp_ms_max = summary.timestamp_ms_max;
        self.durable_next = self.next.0;
    }

    // Runs to the end of the file. `Some` tells why it stopped before; order that no crash explains is an error.
    fn run(&mut self, found: &Found, interval_bytes: u64) -> io::Result<Option<String>> {
        let salt = found.header.salt;
        let chunks = Arc::default();
        let mut reader =
            FrameReader::new(&*found.file, &chunks, salt, Detail::Whole, self.position, found.len, CHUNK_BYTES);
        loop {
            let frame = match reader.step().map_err(|error| small_file::named(&found.path, &error))? {
                Step::Frame(frame) => frame,
                Step::End => return Ok(None),
                Step::Damaged(reason) => return Ok(Some(reason)),
            };
            let header = &frame.header;
            if header.id.index != self.next || header.base_offset != self.log_end || header.id.term < self.term {
                let text = format!(
                    "entry {} with base offset {} stands where index {}, offset {}, and term {} at least are next",
                    header.id, header.base_offset, self.next, self.log_end, self.term
                );
                return Err(damaged_at(&found.path, self.position, &text));
            }
            self.index.push(frame.point(), interval_bytes);
            self.terms.push(header.id);
            self.last = Some(header.id);
            self.next = header.id.index.next();
            self.term = header.id.term;
            self.log_end = header.next_offset();
            self.timestamp_ms_max = self.timestamp_ms_max.max(header.timestamp_ms_max);
            self.durable_next = self.durable_next.max(header.durable_next);
            self.position = reader.position();
        }
    }

    // After a failed sync the page cache may say that pages are clean which the disk does not have. So what is not
    // known to be flushed is written once more: then the sync that follows is one of these very bytes.
    fn write_again(&self, found: &Found) -> io::Result<()> {
        let mut position = self.index.position_of_index(LogIndex(self.durable_next));
        let mut chunk = vec![0; CHUNK_BYTES];
        while position < self.position {
            let len = (self.position - position).min(CHUNK_BYTES as u64) as usize;
            let got = found.file.read_at(&mut chunk[..len], position)?;
            if got == 0 {
                return Err(damaged_at(&found.path, position, "the file is shorter than it was"));
            }
            found.file.write_at(&mut [io::IoSlice::new(&chunk[..got])], position)?;
            position += got as u64;
        }
        Ok(())
    }

    fn summary(&self, header: &SegmentHeader) -> Option<Summary> {
        let last = self.last?;
        Some(Summary {
            header: *header,
            segment_len: self.position,
            last,
            log_end: self.log_end,
            timestamp_ms_max: self.timestamp_ms_max,
            terms: self.terms.between(header.first, last.index),
        })
    }
}
