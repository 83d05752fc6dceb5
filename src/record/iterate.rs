//! Reading records back out of stored batches.
//!
//! Batches that are not compressed are never copied: keys, values and headers are slices of them. A compressed batch is
//! inflated when its first record is asked for. What was checked at the door is still not trusted here, since a disk
//! lay between: damage is an error, never a panic, and nothing follows it.

use super::compression::{Codec, inflate};
use super::header::{CONTROL, HEADER_LEN, LOG_APPEND_TIME, check_crc, parse_whole};
use super::walk::{ends_at, header_at, record_at};
use super::{BatchError, Limits};
use crate::types::Offset;
use bytes::Bytes;
use std::iter::FusedIterator;

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
pub fn records(batches: Bytes, limits: &Limits) -> Records {
    Records { rest: batches, limits: *limits, open: None }
}

/// What `records` returns.
#[derive(Debug)]
pub struct Records {
    /// The batches behind the open one; empty after an error.
    rest: Bytes,
    limits: Limits,
    open: Option<OpenBatch>,
}

#[derive(Debug)]
struct OpenBatch {
    base_offset: u64,
    base_timestamp_ms: i64,
    /// The timestamp of all records, where a broker set it.
    append_time_ms: Option<i64>,
    /// The (inflated) records.
    records: Bytes,
    /// Where the next record begins, and which one it is.
    at: usize,
    place: i32,
    record_count: i32,
}

impl Iterator for Records {
    type Item = Result<Record, BatchError>;

    #[inline]
    fn next(&mut self) -> Option<Result<Record, BatchError>> {
        loop {
            if let Some(open) = &mut self.open {
                match open.next() {
                    Ok(Some(record)) => return Some(Ok(record)),
                    Ok(None) => self.open = None,
                    Err(error) => return Some(Err(self.end(error))),
                }
            }
            if self.rest.is_empty() {
                return None;
            }
            if let Err(error) = self.open_next() {
                return Some(Err(self.end(error)));
            }
        }
    }
}

impl FusedIterator for Records {}

impl Records {
    /// Nothing follows damage: where the next record begins can no longer be known.
    #[cold]
    fn end(&mut self, error: BatchError) -> BatchError {
        self.rest = Bytes::new();
        self.open = None;
        error
    }

    /// Takes the next batch off the rest; a control batch stays closed.
    fn open_next(&mut self) -> Result<(), BatchError> {
        let header = parse_whole(&self.rest)?;
        if header.total_len > self.limits.batch_bytes_max {
            let (size, limit) = (header.total_len as u64, self.limits.batch_bytes_max as u64);
            return Err(BatchError::TooLarge { what: "a record batch", size, limit });
        }
        let mut batch = self.rest.split_to(header.total_len);
        check_crc(&header, &batch)?;
        if header.attributes & CONTROL != 0 {
            return Ok(());
        }
        let stored = batch.split_off(HEADER_LEN);
        let records = match Codec::of(header.attributes)? {
            Codec::None => stored,
            codec => Bytes::from(inflate(codec, &stored, self.limits.inflated_bytes_max)?),
        };
        self.open = Some(OpenBatch {
            base_offset: base_offset(header.base_offset, header.last_offset_delta)?,
            base_timestamp_ms: header.base_timestamp_ms,
            append_time_ms: (header.attributes & LOG_APPEND_TIME != 0).then_some(header.timestamp_ms_max),
            records,
            at: 0,
            place: 0,
            record_count: header.record_count,
        });
        Ok(())
    }
}

/// The base offset, when it and the last record's offset are record offsets.
fn base_offset(base_offset: i64, last_offset_delta: i32) -> Result<u64, BatchError> {
    let sound = base_offset >= 0 && last_offset_delta >= 0;
    if !sound || base_offset.checked_add(i64::from(last_offset_delta)).is_none() {
        return Err(BatchError::Corrupt(format!(
            "base offset {base_offset} with last offset delta {last_offset_delta} is out of range"
        )));
    }
    Ok(base_offset as u64)
}

impl OpenBatch {
    #[inline]
    fn next(&mut self) -> Result<Option<Record>, BatchError> {
        if self.place >= self.record_count {
            return match self.records.len() - self.at {
                0 => Ok(None),
                left => Err(BatchError::Corrupt(format!("{left} bytes are left behind the last record"))),
            };
        }
        let place = self.place;
        let bytes = &self.records;
        let raw = record_at(bytes, self.at).map_err(|damage| damage.of_record(place))?;
        if raw.offset_delta < 0 {
            return Err(BatchError::Corrupt(format!("record {place}: its offset delta is {}", raw.offset_delta)));
        }
        let mut headers = Vec::with_capacity(raw.header_count);
        let mut at = raw.headers_at;
        for _ in 0..raw.header_count {
            let (name, value);
            ((name, value), at) = header_at(bytes, &raw, at).map_err(|damage| damage.of_record(place))?;
            headers.push((bytes.slice(name), value.map(|value| bytes.slice(value))));
        }
        ends_at(&raw, at).map_err(|damage| damage.of_record(place))?;
        let record = Record {
            offset: Offset(self.base_offset + raw.offset_delta as u64),
            timestamp_ms: self
                .append_time_ms
                .unwrap_or_else(|| self.base_timestamp_ms.wrapping_add(raw.timestamp_delta)),
            key: raw.key.map(|key| bytes.slice(key)),
            value: raw.value.map(|value| bytes.slice(value)),
            headers,
        };
        self.at = raw.end;
        self.place += 1;
        Ok(Some(record))
    }
}
