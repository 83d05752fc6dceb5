//! What the log knows of record batches: where one ends and the next begins, and the two fields that it stamps.
//!
//! A batch is a Kafka record batch v2 (KIP-98). All numbers are big-endian:
//!
//! ```text
//!  0 base offset (8)   8 length of what follows (4)   12 leader epoch (4)   16 magic (1)   17 CRC-32C of 21.. (4)
//! 21 attributes (2)   23 last offset delta (4)   …   57 record count (4)   61 records
//! ```
//!
//! Stamping writes base offset and leader epoch (= term), which the CRC does not cover. Whether the CRC is right is
//! asked at the door (`record`) and when frames are read, not here.

use crate::mutant::{self, Mutant};
use crate::types::{Offset, Term};
use bytes::Bytes;
use std::io;

/// Bytes before the first record.
const HEADER_LEN: usize = 61;
/// What is stamped lies within the first bytes.
pub(super) const PREFIX_LEN: usize = 16;
/// Up to and with the CRC: what a frame's checksum must cover, since the CRC covers the rest.
pub(super) const UNCOVERED_LEN: usize = 21;

/// Batches of one entry, ready to be written.
pub(super) struct Stamped {
    /// The first batch's first bytes, stamped.
    pub prefix: [u8; PREFIX_LEN],
    /// All bytes as given; with several batches a stamped copy.
    pub batches: Bytes,
}

/// Stamps the batches of an entry without copying the batch, unless there are several.
///
/// # Errors
/// `InvalidData` when the bytes are no batches, or hold another count of records than the entry says.
pub(super) fn stamp(batches: Bytes, base_offset: Offset, record_count: u32, term: Term) -> io::Result<Stamped> {
    let first = batch_at(&batches, 0)?;
    if first.len == batches.len() {
        if first.span != record_count {
            return Err(miscount(record_count, first.span));
        }
        return Ok(Stamped { prefix: stamped_prefix(&batches, base_offset, term), batches });
    }
    let batches = stamp_several(batches, base_offset, record_count, term)?;
    Ok(Stamped { prefix: stamped_prefix(&batches, base_offset, term), batches })
}

/// Whether the bytes hold more than one batch; for bytes that `stamp` has seen.
pub(super) fn are_several(batches: &[u8]) -> bool {
    batch_at(batches, 0).is_ok_and(|first| first.len != batches.len())
}

/// Whether one batch fills `bytes` and its CRC is right.
pub(super) fn is_sound(bytes: &[u8]) -> bool {
    batch_at(bytes, 0).is_ok_and(|batch| batch.len == bytes.len())
        && (mutant::on(Mutant::ChecksumIgnored) || crc32c::crc32c(&bytes[UNCOVERED_LEN..]) == u32_at(bytes, 17))
}

struct Batch {
    len: usize,
    span: u32,
}

fn batch_at(bytes: &[u8], start: usize) -> io::Result<Batch> {
    let bytes = &bytes[start..];
    if bytes.len() < HEADER_LEN {
        return Err(invalid(format!("a record batch of {} bytes is shorter than its header", bytes.len())));
    }
    if bytes[16] != 2 {
        return Err(invalid(format!("a record batch has magic {}, not 2", bytes[16] as i8)));
    }
    let len = u32_at(bytes, 8) as usize + 12;
    if len < HEADER_LEN || len > bytes.len() {
        return Err(invalid(format!("a record batch says that it has {len} bytes, of {} there are", bytes.len())));
    }
    let delta = u32_at(bytes, 23);
    if delta >= i32::MAX as u32 {
        return Err(invalid(format!("a record batch has last offset delta {}", delta as i32)));
    }
    Ok(Batch { len, span: delta + 1 })
}

fn stamp_several(batches: Bytes, base_offset: Offset, record_count: u32, term: Term) -> io::Result<Bytes> {
    let mut starts = Vec::new();
    let mut start = 0;
    let mut records = 0u64;
    while start < batches.len() {
        let batch = batch_at(&batches, start)?;
        starts.push((start, base_offset.plus(records)));
        records += u64::from(batch.span);
        start += batch.len;
    }
    if records != u64::from(record_count) {
        return Err(miscount(record_count, records));
    }
    // What comes from a leader is stamped already: then nothing is copied.
    let stamped = |(start, offset): &(usize, Offset)| {
        batches[*start..*start + PREFIX_LEN] == stamped_prefix(&batches[*start..], *offset, term)
    };
    if starts.iter().all(stamped) {
        return Ok(batches);
    }
    let mut copy = batches.to_vec();
    for (start, offset) in starts {
        let prefix = stamped_prefix(&copy[start..], offset, term);
        copy[start..start + PREFIX_LEN].copy_from_slice(&prefix);
    }
    Ok(copy.into())
}

fn stamped_prefix(batch: &[u8], base_offset: Offset, term: Term) -> [u8; PREFIX_LEN] {
    let mut prefix = [0; PREFIX_LEN];
    prefix[..8].copy_from_slice(&base_offset.0.to_be_bytes());
    prefix[8..12].copy_from_slice(&batch[8..12]);
    // Kafka's field has 31 bits; a term that needs more than those will not be met.
    prefix[12..].copy_from_slice(&(term.0 as i32).to_be_bytes());
    prefix
}

fn u32_at(bytes: &[u8], position: usize) -> u32 {
    u32::from_be_bytes([bytes[position], bytes[position + 1], bytes[position + 2], bytes[position + 3]])
}

fn miscount(said: u32, held: impl std::fmt::Display) -> io::Error {
    invalid(format!("an entry says that its batches hold {said} records, they hold {held}"))
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}
