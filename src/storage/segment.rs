//! A segment's header, and its summary with the sparse index: the `.segment` and `.index` files.
//!
//! Segment header:
//!
//! ```text
//!  0 magic (8)   8 version (4)   12 checksum of all else (4)   16 group (8)   24 generation (8)
//! 32 first log index (8)   40 base offset: of the next record before the first entry (8)   48 salt (4)   52 zero (12)
//! ```
//!
//! Index file: 112 bytes of head, 16 per term, 32 per point; a checksum over head and terms, another over the points.
//! It is only valid for the segment with the same salt. It says that everything up to `segment_len` was on disk when it
//! was written, and so serves recovery as a proof that damage below is no torn tail.

use super::layout::{self, VERSION};
use super::small_file::{Fields, check_kind, damaged};
use crate::types::{GroupId, LogId, LogIndex, Offset};
use crate::vfs::{Vfs, VfsFile};
use std::io::{self, IoSlice};
use std::path::Path;

pub(super) const HEADER_LEN: usize = 64;
const SEGMENT_MAGIC: &[u8; 8] = b"BALSASEG";
const INDEX_MAGIC: &[u8; 8] = b"BALSAIDX";
const INDEX_HEAD_LEN: usize = 112;
const TERM_LEN: usize = 16;
const POINT_LEN: usize = 32;

/// A segment's first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub group: GroupId,
    pub generation: u64,
    pub first: LogIndex,
    pub base_offset: Offset,
    pub salt: u32,
}

impl SegmentHeader {
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[..8].copy_from_slice(SEGMENT_MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.group.0.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.generation.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.first.0.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.base_offset.0.to_le_bytes());
        bytes[48..52].copy_from_slice(&self.salt.to_le_bytes());
        let sum = checksum(&bytes);
        bytes[12..16].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Makes the segment's file with its header, synced; its name is not.
    pub fn create(&self, fs: &dyn Vfs, group_dir: &Path) -> io::Result<std::sync::Arc<dyn VfsFile>> {
        let file = fs.create(&layout::segment_path(group_dir, self.first))?;
        file.write_at(&mut [IoSlice::new(&self.encode())], 0)?;
        file.sync_data()?;
        Ok(file)
    }

    /// Reads the header of the file at `path`.
    pub fn read(file: &dyn VfsFile, path: &Path) -> io::Result<SegmentHeader> {
        let mut bytes = [0; HEADER_LEN];
        let got = file.read_at(&mut bytes, 0)?;
        check_kind(path, &bytes[..got], SEGMENT_MAGIC)?;
        if got < HEADER_LEN {
            return Err(damaged(path, "it ends within its header"));
        }
        if bytes[12..16] != checksum(&bytes).to_le_bytes() {
            return Err(damaged(path, "the checksum of its header is wrong"));
        }
        let mut fields = Fields(&bytes[16..]);
        let mut next = || fields.u64().expect("the header has a fixed length");
        let (group, generation, first, base_offset) = (GroupId(next()), next(), LogIndex(next()), Offset(next()));
        let salt = u32::from_le_bytes(bytes[48..52].try_into().expect("four bytes"));
        Ok(SegmentHeader { group, generation, first, base_offset, salt })
    }
}

fn checksum(bytes: &[u8; HEADER_LEN]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..])
}

/// What is known of a segment that is complete up to `segment_len`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Summary {
    pub header: SegmentHeader,
    /// Length of the segment's file up to which this holds.
    pub segment_len: u64,
    pub last: LogId,
    /// Offset of the next record behind the last entry.
    pub log_end: Offset,
    pub timestamp_ms_max: i64,
    /// The first entry within the segment, and the first of each term.
    pub terms: Vec<LogId>,
}

/// One entry of a sparse index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Point {
    pub index: LogIndex,
    pub base_offset: Offset,
    pub position: u64,
    /// Of all entries from this point to the next. May be too large behind a truncation, never too small.
    pub timestamp_ms_max: i64,
}

/// Where entries stand within a segment: a point every so many bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SparseIndex(Vec<Point>);

impl SparseIndex {
    /// Notes the next entry.
    pub fn push(&mut self, entry: Point, interval_bytes: u64) {
        match self.0.last_mut() {
            Some(last) if entry.position - last.position < interval_bytes => {
                last.timestamp_ms_max = last.timestamp_ms_max.max(entry.timestamp_ms_max);
            }
            _ => self.0.push(entry),
        }
    }

    /// Where to begin reading for the entry at `index`.
    pub fn position_of_index(&self, index: LogIndex) -> u64 {
        self.before(|point| point.index <= index)
    }

    /// Where to begin reading for the record at `offset`.
    pub fn position_of_offset(&self, offset: Offset) -> u64 {
        self.before(|point| point.base_offset <= offset)
    }

    fn before(&self, holds: impl Fn(&Point) -> bool) -> u64 {
        let after = self.0.partition_point(holds);
        after.checked_sub(1).map_or(HEADER_LEN as u64, |at| self.0[at].position)
    }

    /// Where to begin reading for the first entry that may be as new as `timestamp_ms`.
    pub fn position_of_time(&self, timestamp_ms: i64) -> Option<u64> {
        self.0.iter().find(|point| point.timestamp_ms_max >= timestamp_ms).map(|point| point.position)
    }

    /// Forgets entries at and behind `index`.
    pub fn truncate_from(&mut self, index: LogIndex) {
        self.0.truncate(self.0.partition_point(|point| point.index < index));
    }
}

/// Writes the index file. It is not synced: it can be rebuilt, and a torn one is noticed.
pub(super) fn write_index(fs: &dyn Vfs, group_dir: &Path, summary: &Summary, index: &SparseIndex) -> io::Result<()> {
    let mut points = Vec::with_capacity(index.0.len() * POINT_LEN);
    for point in &index.0 {
        for number in [point.index.0, point.base_offset.0, point.position, point.timestamp_ms_max as u64] {
            points.extend_from_slice(&number.to_le_bytes());
        }
    }
    let header = &summary.header;
    let mut head = Vec::with_capacity(INDEX_HEAD_LEN + summary.terms.len() * TERM_LEN);
    head.extend_from_slice(INDEX_MAGIC);
    head.extend_from_slice(&VERSION.to_le_bytes());
    head.extend_from_slice(&[0; 4]);
    for number in [
        header.group.0,
        header.generation,
        header.first.0,
        header.base_offset.0,
        summary.segment_len,
        summary.last.term.0,
        summary.last.index.0,
        summary.log_end.0,
        summary.timestamp_ms_max as u64,
    ] {
        head.extend_from_slice(&number.to_le_bytes());
    }
    let counts = [summary.terms.len() as u32, index.0.len() as u32, crc32c::crc32c(&points), header.salt, 0, 0];
    counts.iter().for_each(|number| head.extend_from_slice(&number.to_le_bytes()));
    for id in &summary.terms {
        head.extend_from_slice(&id.term.0.to_le_bytes());
        head.extend_from_slice(&id.index.0.to_le_bytes());
    }
    let sum = crc32c::crc32c_append(crc32c::crc32c(&head[..12]), &head[16..]);
    head[12..16].copy_from_slice(&sum.to_le_bytes());
    let file = fs.create(&layout::index_path(group_dir, header.first))?;
    file.write_at(&mut [IoSlice::new(&head), IoSlice::new(&points)], 0)
}

/// Reads what an index file says of its segment, without the points.
///
/// # Errors
/// `NotFound`, `InvalidData` (then it is to be rebuilt), `Unsupported` for a newer version.
pub(super) fn read_summary(fs: &dyn Vfs, group_dir: &Path, first: LogIndex) -> io::Result<Summary> {
    let path = layout::index_path(group_dir, first);
    let file = fs.open(&path)?;
    let (summary, _) = read_head(&*file, &path)?;
    Ok(summary)
}

/// Reads a whole index file.
///
/// # Errors
/// As `read_summary`.
pub(super) fn read_index(fs: &dyn Vfs, group_dir: &Path, first: LogIndex) -> io::Result<(Summary, SparseIndex)> {
    let path = layout::index_path(group_dir, first);
    let file = fs.open(&path)?;
    let (summary, counts) = read_head(&*file, &path)?;
    let start = (INDEX_HEAD_LEN + summary.terms.len() * TERM_LEN) as u64;
    if file.file_len()? != start + counts.points as u64 * POINT_LEN as u64 {
        return Err(damaged(&path, "it does not have the length that it says"));
    }
    let mut bytes = vec![0; counts.points as usize * POINT_LEN];
    let got = file.read_at(&mut bytes, start)?;
    if got < bytes.len() || crc32c::crc32c(&bytes) != counts.points_checksum {
        return Err(damaged(&path, "the checksum of its points is wrong"));
    }
    let mut fields = Fields(&bytes);
    let mut points = Vec::with_capacity(counts.points as usize);
    while let (Some(index), Some(base), Some(position), Some(time)) =
        (fields.u64(), fields.u64(), fields.u64(), fields.u64())
    {
        let point =
            Point { index: LogIndex(index), base_offset: Offset(base), position, timestamp_ms_max: time as i64 };
        points.push(point);
    }
    Ok((summary, SparseIndex(points)))
}

struct PointCounts {
    points: u32,
    points_checksum: u32,
}

fn read_head(file: &dyn VfsFile, path: &Path) -> io::Result<(Summary, PointCounts)> {
    let mut bytes = vec![0; 1024];
    let got = file.read_at(&mut bytes, 0)?;
    check_kind(path, &bytes[..got], INDEX_MAGIC)?;
    let short = || damaged(path, "it ends within its head");
    if got < INDEX_HEAD_LEN {
        return Err(short());
    }
    let term_count = u32::from_le_bytes(bytes[88..92].try_into().expect("four bytes")) as u64;
    let head_len = INDEX_HEAD_LEN as u64 + term_count * TERM_LEN as u64;
    if file.file_len()? < head_len {
        return Err(short());
    }
    bytes.resize(head_len as usize, 0);
    if file.read_at(&mut bytes, 0)? < bytes.len() {
        return Err(short());
    }
    let sum = crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..]);
    if bytes[12..16] != sum.to_le_bytes() {
        return Err(damaged(path, "the checksum of its head is wrong"));
    }
    decode_head(&bytes[16..]).ok_or_else(short)
}

fn decode_head(bytes: &[u8]) -> Option<(Summary, PointCounts)> {
    let mut fields = Fields(bytes);
    let (group, generation) = (GroupId(fields.u64()?), fields.u64()?);
    let (first, base_offset) = (LogIndex(fields.u64()?), Offset(fields.u64()?));
    let segment_len = fields.u64()?;
    let last = fields.log_id()?;
    let log_end = Offset(fields.u64()?);
    let timestamp_ms_max = fields.u64()? as i64;
    let term_count = fields.u32()?;
    let counts = PointCounts { points: fields.u32()?, points_checksum: fields.u32()? };
    let salt = fields.u32()?;
    fields.u64()?;
    let mut terms = Vec::new();
    for _ in 0..term_count {
        terms.push(fields.log_id()?);
    }
    let header = SegmentHeader { group, generation, first, base_offset, salt };
    Some((Summary { header, segment_len, last, log_end, timestamp_ms_max, terms }, counts))
}
