//! The 61 bytes before a batch's records.
//!
//! ```text
//!  0 base offset (8)        8 length of what follows (4)   12 leader epoch (4)   16 magic (1)   17 CRC-32C of 21.. (4)
//! 21 attributes (2)        23 last offset delta (4)        27 base timestamp (8) 35 max timestamp (8)
//! 43 producer id (8)       51 producer epoch (2)           53 base sequence (4)  57 record count (4)   61 records
//! ```
//!
//! All numbers are big-endian. Base offset and leader epoch are the broker's: the CRC leaves them out, so that stamping
//! them costs no pass over the records.

use super::BatchError;
use crate::types::Offset;

/// Bytes before the first record.
pub const HEADER_LEN: usize = 61;
/// Base offset and length field, which the length does not count.
pub(super) const LENGTH_OVERHEAD: usize = 12;
/// The only format that is taken.
pub(super) const MAGIC: i8 = 2;
/// Where the bytes begin that the CRC covers.
pub(super) const CRC_COVERS_FROM: usize = 21;

const LEADER_EPOCH_AT: usize = 12;
const MAGIC_AT: usize = 16;
const CRC_AT: usize = 17;

const _: () = assert!(CRC_COVERS_FROM == CRC_AT + 4, "the CRC covers all that stands behind it");

/// Bits 0-2 of the attributes: the codec.
pub(super) const CODEC_MASK: i16 = 0x07;
/// All records have the batch's max timestamp, set by a broker.
pub(super) const LOG_APPEND_TIME: i16 = 0x08;
pub(super) const TRANSACTIONAL: i16 = 0x10;
pub(super) const CONTROL: i16 = 0x20;

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

impl BatchHeader {
    /// The header as it stands before the records; the CRC as given.
    pub(super) fn to_bytes(self) -> [u8; HEADER_LEN] {
        let length = u32::try_from(self.total_len - LENGTH_OVERHEAD).expect("a batch stays below 2 GiB");
        let mut bytes = [0; HEADER_LEN];
        bytes[0..8].copy_from_slice(&self.base_offset.to_be_bytes());
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.leader_epoch.to_be_bytes());
        bytes[16] = self.magic as u8;
        bytes[17..21].copy_from_slice(&self.crc.to_be_bytes());
        bytes[21..23].copy_from_slice(&self.attributes.to_be_bytes());
        bytes[23..27].copy_from_slice(&self.last_offset_delta.to_be_bytes());
        bytes[27..35].copy_from_slice(&self.base_timestamp_ms.to_be_bytes());
        bytes[35..43].copy_from_slice(&self.timestamp_ms_max.to_be_bytes());
        bytes[43..51].copy_from_slice(&self.producer_id.to_be_bytes());
        bytes[51..53].copy_from_slice(&self.producer_epoch.to_be_bytes());
        bytes[53..57].copy_from_slice(&self.base_sequence.to_be_bytes());
        bytes[57..61].copy_from_slice(&self.record_count.to_be_bytes());
        bytes
    }
}

/// Sets the CRC of the batch that fills `batch`.
pub(super) fn seal(batch: &mut [u8]) {
    let crc = crc32c::crc32c(&batch[CRC_COVERS_FROM..]);
    batch[CRC_AT..CRC_COVERS_FROM].copy_from_slice(&crc.to_be_bytes());
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("a slice of N bytes is an array of N bytes")
}

/// Parses the header at the start of `bytes` without looking behind it.
///
/// # Errors
/// The bytes are shorter than a header, its length is shorter than a header, or its magic is not 2.
pub fn parse_header(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
    // The older formats have the magic at the same place, and may be shorter than this header: name them first.
    match bytes.get(MAGIC_AT).map(|magic| *magic as i8) {
        Some(old @ (0 | 1)) => {
            return Err(BatchError::Unsupported(format!(
                "magic {old} is the message set of before Kafka 0.11; send record batches v2 (magic 2)"
            )));
        }
        Some(other) if other != MAGIC => {
            return Err(BatchError::Unsupported(format!("magic {other} is unknown; send record batches v2 (magic 2)")));
        }
        _ => {}
    }
    if bytes.len() < HEADER_LEN {
        return Err(BatchError::Corrupt(format!("{} bytes are shorter than the header of {HEADER_LEN}", bytes.len())));
    }
    let length = i32::from_be_bytes(array(bytes, 8));
    let total_len = usize::try_from(length).unwrap_or(0) + LENGTH_OVERHEAD;
    if total_len < HEADER_LEN {
        return Err(BatchError::Corrupt(format!(
            "length {length} is shorter than the header, which has {} behind this field",
            HEADER_LEN - LENGTH_OVERHEAD
        )));
    }
    Ok(BatchHeader {
        base_offset: i64::from_be_bytes(array(bytes, 0)),
        total_len,
        leader_epoch: i32::from_be_bytes(array(bytes, LEADER_EPOCH_AT)),
        magic: bytes[MAGIC_AT] as i8,
        crc: u32::from_be_bytes(array(bytes, CRC_AT)),
        attributes: i16::from_be_bytes(array(bytes, 21)),
        last_offset_delta: i32::from_be_bytes(array(bytes, 23)),
        base_timestamp_ms: i64::from_be_bytes(array(bytes, 27)),
        timestamp_ms_max: i64::from_be_bytes(array(bytes, 35)),
        producer_id: i64::from_be_bytes(array(bytes, 43)),
        producer_epoch: i16::from_be_bytes(array(bytes, 51)),
        base_sequence: i32::from_be_bytes(array(bytes, 53)),
        record_count: i32::from_be_bytes(array(bytes, 57)),
    })
}

/// Whether the first batch of `bytes` says that its records are compressed; looks at nothing else.
pub fn is_compressed(bytes: &[u8]) -> bool {
    bytes.get(22).is_some_and(|attributes| i16::from(*attributes) & CODEC_MASK != 0)
}

/// Parses the header at the start of `bytes` and makes sure that the whole batch is there.
pub(super) fn parse_whole(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
    let header = parse_header(bytes)?;
    if header.total_len > bytes.len() {
        return Err(BatchError::Corrupt(format!(
            "the length says {} bytes with the header, but there are {}",
            header.total_len,
            bytes.len()
        )));
    }
    Ok(header)
}

/// Makes sure that the CRC is right; `batch` is the whole batch.
pub(super) fn check_crc(header: &BatchHeader, batch: &[u8]) -> Result<(), BatchError> {
    let computed = crc32c::crc32c(&batch[CRC_COVERS_FROM..header.total_len]);
    if computed == header.crc {
        return Ok(());
    }
    Err(BatchError::Corrupt(format!(
        "the CRC-32C is {computed:#010x}, but the header says {:#010x}: the bytes changed on their way",
        header.crc
    )))
}

/// Stamps consecutive batches in place: base offsets from `base_offset` on, and the leader epoch. The CRC does not
/// cover these fields.
///
/// # Errors
/// The bytes are no whole batches; those before the damage are stamped already.
pub fn stamp(batches: &mut [u8], base_offset: Offset, leader_epoch: i32) -> Result<(), BatchError> {
    let mut at = 0;
    let mut next = base_offset.0;
    while at < batches.len() {
        let batch = &mut batches[at..];
        let header = parse_whole(batch)?;
        let last = u64::try_from(header.last_offset_delta)
            .map_err(|_| BatchError::Corrupt(format!("last offset delta {} is negative", header.last_offset_delta)))?;
        batch[..8].copy_from_slice(&next.to_be_bytes());
        batch[LEADER_EPOCH_AT..MAGIC_AT].copy_from_slice(&leader_epoch.to_be_bytes());
        next = next
            .checked_add(last + 1)
            .ok_or_else(|| BatchError::Corrupt("the batches reach beyond the last record offset".to_owned()))?;
        at += header.total_len;
    }
    Ok(())
}
