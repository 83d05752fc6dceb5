//! From records to a batch: `RecordSet` keeps records in wire form, `build_batch` puts sets behind one header.
//!
//! A record on the wire is
//!
//! ```text
//! length   attributes (1)   timestamp delta   offset delta   | key length, key, value length, value, header count, headers
//! ```
//!
//! with all lengths and deltas as varints. What stands left of the bar depends on the record's place in a batch; a set
//! keeps the right side only, of all its records in one run of bytes. So records of many requests become one batch with
//! one copy, and nothing is parsed again.

use super::header::{BatchHeader, HEADER_LEN, MAGIC, seal};
use super::varint::{VARINT_LEN_MAX, VARLONG_LEN_MAX, push_varlong, varlong_len, write_varlong};
use bytes::Bytes;

/// The attributes byte of a record, of which no bit has a meaning.
const RECORD_ATTRIBUTES: u8 = 0;
/// Most bytes before the part that a set keeps.
const PREFIX_LEN_MAX: usize = VARINT_LEN_MAX + 1 + VARLONG_LEN_MAX + VARINT_LEN_MAX;

/// Records in wire form but for the parts that depend on their place in a batch (length, timestamp delta, offset
/// delta), so that the sets of several requests become one batch with one copy and no parsing.
///
/// A set has less than 4 GiB; those who fill it bound what they take long before.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct RecordSet {
    /// Key, value and headers of all records, one behind the other.
    body: Vec<u8>,
    /// Where each record ends within `body`, and its timestamp in milliseconds.
    records: Vec<(u32, i64)>,
}

impl RecordSet {
    pub fn new() -> RecordSet {
        RecordSet::default()
    }

    /// Appends a record: key, value (`None` is a tombstone), headers in order.
    #[inline]
    pub fn push(
        &mut self,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&[u8], Option<&[u8]>)],
    ) {
        push_bytes(&mut self.body, key);
        push_bytes(&mut self.body, value);
        push_varlong(&mut self.body, headers.len() as i64);
        for (name, value) in headers {
            push_bytes(&mut self.body, Some(name));
            push_bytes(&mut self.body, *value);
        }
        self.records.push((body_end(self.body.len()), timestamp_ms));
    }

    /// Moves all records of `other` behind these.
    pub fn append(&mut self, other: RecordSet) {
        if self.is_empty() {
            *self = other;
            return;
        }
        let shift = body_end(self.body.len());
        self.body.extend_from_slice(&other.body);
        body_end(self.body.len());
        self.records.extend(other.records.iter().map(|(end, timestamp_ms)| (end + shift, *timestamp_ms)));
    }

    pub fn len(&self) -> usize {
        self.records.len()
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Upper bound of the batch that these records make, in bytes. The bounds of sets add up to one of their batch.
    pub fn batch_size_max(&self) -> usize {
        HEADER_LEN + self.body.len() + self.records.len() * PREFIX_LEN_MAX
    }

    /// The timestamp of the record at place `record`.
    pub fn timestamp_ms(&self, record: usize) -> i64 {
        self.records[record].1
    }
}

/// A length of the body as it is kept beside the records.
#[inline]
fn body_end(len: usize) -> u32 {
    u32::try_from(len).expect("a record set stays below 4 GiB")
}

#[inline]
fn push_bytes(body: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => {
            push_varlong(body, bytes.len() as i64);
            body.extend_from_slice(bytes);
        }
        None => push_varlong(body, -1),
    }
}

/// A batch ready to be proposed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltBatch {
    pub bytes: Bytes,
    pub record_count: u32,
    pub timestamp_ms_max: i64,
}

/// One uncompressed batch of all records of `sets`, in order; base offset 0, no producer id.
///
/// # Panics
/// When there is no record at all, or the records make more than 2 GiB.
pub fn build_batch(sets: &[RecordSet]) -> BuiltBatch {
    let shape = Shape::of(sets);
    let mut bytes = Vec::with_capacity(shape.size_max);
    bytes.extend_from_slice(&[0; HEADER_LEN]);
    let mut offset_delta = 0;
    for set in sets {
        let mut start = 0;
        for (end, timestamp_ms) in &set.records {
            let kept = &set.body[start..*end as usize];
            start = *end as usize;
            push_record(&mut bytes, kept, timestamp_ms.wrapping_sub(shape.base_timestamp_ms), offset_delta);
            offset_delta += 1;
        }
    }
    let last_offset_delta = i32::try_from(shape.record_count - 1).expect("a batch has less than 2^31 records");
    let header = BatchHeader {
        base_offset: 0,
        total_len: bytes.len(),
        leader_epoch: -1,
        magic: MAGIC,
        crc: 0,
        attributes: 0,
        last_offset_delta,
        base_timestamp_ms: shape.base_timestamp_ms,
        timestamp_ms_max: shape.timestamp_ms_max,
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
        record_count: last_offset_delta + 1,
    };
    assert!(i32::try_from(bytes.len()).is_ok(), "a batch stays below 2 GiB");
    bytes[..HEADER_LEN].copy_from_slice(&header.to_bytes());
    seal(&mut bytes);
    BuiltBatch {
        bytes: Bytes::from(bytes),
        record_count: last_offset_delta as u32 + 1,
        timestamp_ms_max: shape.timestamp_ms_max,
    }
}

/// Writes one record: the prefix in one piece, then what the set kept.
#[inline]
fn push_record(bytes: &mut Vec<u8>, kept: &[u8], timestamp_delta: i64, offset_delta: i64) {
    // The length stands first and counts the rest of the prefix, so the rest is written to its place before it.
    let mut rest = [0; PREFIX_LEN_MAX];
    rest[0] = RECORD_ATTRIBUTES;
    let at = write_varlong(&mut rest, 1, timestamp_delta);
    let at = write_varlong(&mut rest, at, offset_delta);
    let mut length = [0; VARLONG_LEN_MAX];
    let length_len = write_varlong(&mut length, 0, (at + kept.len()) as i64);
    bytes.extend_from_slice(&length[..length_len]);
    bytes.extend_from_slice(&rest[..at]);
    bytes.extend_from_slice(kept);
}

/// What the header says of the records, known before the first is written.
struct Shape {
    record_count: usize,
    base_timestamp_ms: i64,
    timestamp_ms_max: i64,
    /// A close upper bound of the batch, so that its buffer neither grows nor stays half empty in the cache of reads.
    size_max: usize,
}

impl Shape {
    fn of(sets: &[RecordSet]) -> Shape {
        let timestamps = || sets.iter().flat_map(|set| set.records.iter().map(|(_, timestamp_ms)| *timestamp_ms));
        let base_timestamp_ms = timestamps().next().expect("a batch has at least one record");
        let timestamp_ms_max = timestamps().max().unwrap_or(base_timestamp_ms);
        let timestamp_ms_min = timestamps().min().unwrap_or(base_timestamp_ms);
        let record_count = sets.iter().map(RecordSet::len).sum();
        let body: usize = sets.iter().map(|set| set.body.len()).sum();
        let longest_delta = varlong_len(timestamp_ms_max.wrapping_sub(base_timestamp_ms))
            .max(varlong_len(timestamp_ms_min.wrapping_sub(base_timestamp_ms)));
        let longest = sets.iter().filter_map(longest_record).max().unwrap_or(0);
        let prefix_max = 1 + longest_delta + varlong_len(record_count as i64);
        let size_max = HEADER_LEN + body + record_count * (prefix_max + varlong_len((prefix_max + longest) as i64));
        Shape { record_count, base_timestamp_ms, timestamp_ms_max, size_max }
    }
}

fn longest_record(set: &RecordSet) -> Option<usize> {
    let mut start = 0;
    let lens = set.records.iter().map(|(end, _)| {
        let len = end - start;
        start = *end;
        len as usize
    });
    lens.max()
}
