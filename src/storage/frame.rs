//! A frame: one log entry in a segment.
//!
//! ```text
//!  0 checksum (4)        4 kind (1)            5 flags (1)          6 marker (2)
//!  8 term (8)           16 log index (8)      24 base offset (8)   32 durable next (8)
//! 40 largest timestamp (8)                    48 record count (4)  52 length of attributes (4)
//! 56 length of payload (4)                    60 zero (4)
//! 64 attributes, then payload
//! ```
//!
//! Numbers are little-endian. *Base offset* is that of the first record, or of the next record where the entry has
//! none. *Durable next*: when this frame was written, all entries before that log index were known to be on disk;
//! recovery tells a torn tail from damage by it.
//!
//! The checksum is CRC-32C from the segment's salt on, over bytes 4 to 64, the attributes, and of the payload what
//! has no checksum of its own: of a single batch the first 21 bytes, which end with the batch's CRC of the rest; of
//! anything else all. So each byte is summed once, and none is unprotected.

use super::batches::{self, PREFIX_LEN, UNCOVERED_LEN};
use super::segment::Point;
use super::window::HeldEntry;
use super::{DataEntry, LogEntry, Payload, StoredBatches};
use crate::mutant::{self, Mutant};
use crate::types::{LogId, LogIndex, Offset, Term};
use bytes::Bytes;

pub(super) const HEADER_LEN: usize = 64;
/// At byte 6 of each frame: what a search behind damage looks for.
pub(super) const MARKER: [u8; 2] = [0xBA, 0x15];
/// Where the marker stands.
pub(super) const MARKER_AT: usize = 6;

const BLANK: u8 = 1;
const MEMBERSHIP: u8 = 2;
const COMMAND: u8 = 3;
const DATA: u8 = 4;

/// The payload holds several batches, and the checksum covers all of it.
const SEVERAL: u8 = 1;

/// A frame's first 64 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    checksum: u32,
    kind: u8,
    flags: u8,
    pub id: LogId,
    pub base_offset: Offset,
    pub durable_next: u64,
    pub timestamp_ms_max: i64,
    pub record_count: u32,
    pub attributes_len: u32,
    pub payload_len: u32,
}

impl FrameHeader {
    /// The header of an entry, and its bytes with the checksum in place.
    pub fn of(entry: &HeldEntry, durable_next: u64, salt: u32) -> (FrameHeader, [u8; HEADER_LEN]) {
        let mut header = FrameHeader {
            checksum: 0,
            kind: BLANK,
            flags: 0,
            id: entry.id,
            base_offset: entry.base_offset,
            durable_next,
            timestamp_ms_max: i64::MIN,
            record_count: 0,
            attributes_len: 0,
            payload_len: entry.payload_len() as u32,
        };
        match &entry.payload {
            Payload::Blank => {}
            Payload::Membership(_) => header.kind = MEMBERSHIP,
            Payload::Command(_) => header.kind = COMMAND,
            Payload::Data(data) => {
                header.kind = DATA;
                header.flags = if batches::are_several(&data.batches) { SEVERAL } else { 0 };
                header.timestamp_ms_max = data.timestamp_ms_max;
                header.record_count = data.record_count;
                header.attributes_len = data.attributes.len() as u32;
            }
        }
        let mut bytes = header.encode();
        let mut sum = crc32c::crc32c_append(salt, &bytes[4..]);
        match &entry.payload {
            Payload::Blank => {}
            Payload::Membership(payload) | Payload::Command(payload) => sum = crc32c::crc32c_append(sum, payload),
            Payload::Data(data) => {
                let end = if header.flags & SEVERAL != 0 { data.batches.len() } else { UNCOVERED_LEN };
                sum = crc32c::crc32c_append(sum, &data.attributes);
                sum = crc32c::crc32c_append(sum, &entry.prefix);
                sum = crc32c::crc32c_append(sum, &data.batches[PREFIX_LEN..end]);
            }
        }
        header.checksum = sum;
        bytes[..4].copy_from_slice(&sum.to_le_bytes());
        (header, bytes)
    }

    fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[4] = self.kind;
        bytes[5] = self.flags;
        bytes[MARKER_AT..8].copy_from_slice(&MARKER);
        bytes[8..16].copy_from_slice(&self.id.term.0.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.id.index.0.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.base_offset.0.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.durable_next.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.timestamp_ms_max.to_le_bytes());
        bytes[48..52].copy_from_slice(&self.record_count.to_le_bytes());
        bytes[52..56].copy_from_slice(&self.attributes_len.to_le_bytes());
        bytes[56..60].copy_from_slice(&self.payload_len.to_le_bytes());
        bytes
    }

    /// Reads a header; the checksum is not looked at yet. `Err` says what is wrong.
    pub fn parse(bytes: &[u8; HEADER_LEN]) -> Result<FrameHeader, &'static str> {
        if bytes.iter().all(|byte| *byte == 0) {
            return Err("there are zeros where a frame should begin");
        }
        let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        if bytes[MARKER_AT..8] != MARKER || !(BLANK..=DATA).contains(&bytes[4]) {
            return Err("there is no frame where one should begin");
        }
        Ok(FrameHeader {
            checksum: u32_at(0),
            kind: bytes[4],
            flags: bytes[5],
            id: LogId { term: Term(u64_at(8)), index: LogIndex(u64_at(16)) },
            base_offset: Offset(u64_at(24)),
            durable_next: u64_at(32),
            timestamp_ms_max: u64_at(40) as i64,
            record_count: u32_at(48),
            attributes_len: u32_at(52),
            payload_len: u32_at(56),
        })
    }

    /// Bytes of the whole frame.
    pub fn frame_len(&self) -> u64 {
        HEADER_LEN as u64 + u64::from(self.attributes_len) + u64::from(self.payload_len)
    }

    pub fn is_data(&self) -> bool {
        self.kind == DATA
    }

    /// Bytes of the frame that must be at hand to check the checksum.
    pub fn checked_len(&self) -> u64 {
        if self.is_data() && self.flags & SEVERAL == 0 {
            let covered = u64::from(self.payload_len).min(UNCOVERED_LEN as u64);
            HEADER_LEN as u64 + u64::from(self.attributes_len) + covered
        } else {
            self.frame_len()
        }
    }

    /// Offset behind this entry's records.
    pub fn next_offset(&self) -> Offset {
        // Saturating: a damaged number must not panic before its checksum is looked at.
        Offset(self.base_offset.0.saturating_add(u64::from(self.record_count)))
    }

    /// Checks the first `checked_len` bytes of the frame.
    pub fn checksum_holds(&self, frame: &[u8], salt: u32) -> bool {
        mutant::on(Mutant::ChecksumIgnored)
            || crc32c::crc32c_append(salt, &frame[4..self.checked_len() as usize]) == self.checksum
    }

    /// Checks a whole frame: the checksum, and the CRC of a single batch.
    pub fn whole_holds(&self, frame: &[u8], salt: u32) -> bool {
        let payload = HEADER_LEN + self.attributes_len as usize;
        let batch = self.is_data() && self.flags & SEVERAL == 0;
        self.checksum_holds(frame, salt) && (!batch || batches::is_sound(&frame[payload..]))
    }
}

/// A frame that was read and checked.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub header: FrameHeader,
    /// Where it begins within its segment.
    pub position: u64,
    pub attributes: Bytes,
    /// Empty for data when only headers were asked for.
    pub payload: Bytes,
}

impl Frame {
    /// Where the frame stands, for a sparse index.
    pub fn point(&self) -> Point {
        Point {
            index: self.header.id.index,
            base_offset: self.header.base_offset,
            position: self.position,
            timestamp_ms_max: self.header.timestamp_ms_max,
        }
    }

    /// The entry, as the log takes it.
    pub fn into_entry(self) -> LogEntry {
        let payload = match self.header.kind {
            MEMBERSHIP => Payload::Membership(self.payload),
            COMMAND => Payload::Command(self.payload),
            DATA => Payload::Data(DataEntry {
                base_offset: Some(self.header.base_offset),
                record_count: self.header.record_count,
                timestamp_ms_max: self.header.timestamp_ms_max,
                attributes: self.attributes,
                batches: self.payload,
            }),
            _ => Payload::Blank,
        };
        LogEntry { id: self.header.id, payload }
    }

    /// The batches; `None` when the entry has no records.
    pub fn into_batches(self) -> Option<StoredBatches> {
        if !self.header.is_data() {
            return None;
        }
        let prefix = *self.payload.first_chunk::<PREFIX_LEN>()?;
        Some(StoredBatches {
            base_offset: self.header.base_offset,
            record_count: self.header.record_count,
            term: self.header.id.term,
            prefix,
            rest: self.payload.slice(PREFIX_LEN..),
        })
    }
}
