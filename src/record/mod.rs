//! Record batches (Kafka record batch v2, KIP-98): parse, check, build, iterate; the default partitioner.
//!
//! TODO(skeleton): the bodies. The signatures are fixed.

use crate::types::{Offset, PartitionId};
use bytes::Bytes;

/// Records in wire form but for the parts that depend on their place in a batch (length, timestamp delta, offset
/// delta), so that the sets of several requests become one batch with one copy and no parsing.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct RecordSet {
    body: Vec<u8>,
    records: Vec<(u32, i64)>,
}

impl RecordSet {
    pub fn new() -> RecordSet {
        RecordSet::default()
    }
    /// Appends a record: key, value (`None` is a tombstone), headers in order.
    pub fn push(
        &mut self,
        _timestamp_ms: i64,
        _key: Option<&[u8]>,
        _value: Option<&[u8]>,
        _headers: &[(&[u8], Option<&[u8]>)],
    ) {
        todo!()
    }
    /// Moves all records of `other` behind these.
    pub fn append(&mut self, _other: RecordSet) {
        todo!()
    }
    pub fn len(&self) -> usize {
        self.records.len()
    }
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
    /// Upper bound of the batch that these records make, in bytes.
    pub fn batch_size_max(&self) -> usize {
        todo!()
    }
    pub fn timestamp_ms(&self, _record: usize) -> i64 {
        todo!()
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
/// When there is no record at all.
pub fn build_batch(_sets: &[RecordSet]) -> BuiltBatch {
    todo!()
}

/// What inflating and sizes may reach.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub record_bytes_max: usize,
    pub batch_bytes_max: usize,
    pub inflated_bytes_max: usize,
}

/// Why bytes are no sound batch; the text names the field and the values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    #[error("{0}")]
    Corrupt(String),
    #[error("{what} of {size} bytes is larger than {limit} bytes")]
    TooLarge { what: &'static str, size: u64, limit: u64 },
    #[error("{0}")]
    Unsupported(String),
}

/// One batch within a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchInfo {
    /// Where its bytes begin within the request, and how many they are.
    pub start: usize,
    pub len: usize,
    pub record_count: u32,
    pub timestamp_ms_max: i64,
}

/// Checks one or more consecutive batches as a client sent them: length, magic, CRC-32C, counts, deltas, compression
/// within limits; control and transactional bits are refused.
pub fn check_batches(_bytes: &[u8], _limits: &Limits) -> Result<Vec<BatchInfo>, BatchError> {
    todo!()
}

/// The 61-byte header of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    pub base_offset: i64,
    /// Bytes of the whole batch, header included (the length field + 12).
    pub total_len: usize,
    pub leader_epoch: i32,
    pub magic: i8,
    pub crc: u32,
    pub attributes: i16,
    pub last_offset_delta: i32,
    pub base_timestamp_ms: i64,
    pub timestamp_ms_max: i64,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub record_count: i32,
}

/// Parses the header at the start of `bytes` without looking behind it.
pub fn parse_header(_bytes: &[u8]) -> Result<BatchHeader, BatchError> {
    todo!()
}

/// A record as it is read back; the parts are slices of the (inflated) batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub offset: Offset,
    pub timestamp_ms: i64,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Vec<(Bytes, Option<Bytes>)>,
}

/// All records of one or more consecutive stamped batches, in order. Control batches are skipped. Ends with an error at damage.
pub fn records(_batches: Bytes, _limits: &Limits) -> impl Iterator<Item = Result<Record, BatchError>> {
    std::iter::empty()
}

/// Stamps consecutive batches in place: base offsets from `base_offset` on, and the leader epoch. The CRC does not
/// cover these fields.
pub fn stamp(_batches: &mut [u8], _base_offset: Offset, _leader_epoch: i32) -> Result<(), BatchError> {
    todo!()
}

/// Kafka's default partitioner: murmur2 of the key, sign bit cleared, modulo the partitions, as the Java client does.
pub fn partition_for_key(_key: &[u8], _partitions: u32) -> PartitionId {
    todo!()
}
