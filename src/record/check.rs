//! Is what a client sent a sound run of record batches? Everything that a reader of these bytes will ever trust is
//! checked here, once: afterwards they are stored and given out unchanged.
//!
//! Not checked: the base offset and the leader epoch, which are stamped over; what a key or a value holds; the
//! producer's sequence, which needs state.

use super::compression::{Codec, inflate};
use super::header::{
    BatchHeader, CODEC_MASK, CONTROL, HEADER_LEN, LOG_APPEND_TIME, TRANSACTIONAL, check_crc, parse_whole,
};
use super::walk::{RawRecord, ends_at, header_at, record_at};
use super::{BatchError, Limits};
use std::ops::Range;

/// No timestamp: what producers of old send where a record has none.
pub(super) const NO_TIMESTAMP: i64 = -1;

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
///
/// `limits.inflated_bytes_max` bounds all batches together: thousands of small ones that each inflate to the limit
/// would otherwise keep a core busy for minutes.
///
/// # Errors
/// The first thing that is wrong, with the batch's place where there are several.
pub fn check_batches(bytes: &[u8], limits: &Limits) -> Result<Vec<BatchInfo>, BatchError> {
    if bytes.is_empty() {
        return Err(BatchError::Corrupt("there are no bytes; a record batch has 61 at least".to_owned()));
    }
    let mut infos = Vec::new();
    let mut left = *limits;
    let mut start = 0;
    while start < bytes.len() {
        let info =
            check_batch(&bytes[start..], start, &mut left).map_err(|error| error.in_batch(infos.len(), start))?;
        start += info.len;
        infos.push(info);
    }
    Ok(infos)
}

fn check_batch(bytes: &[u8], start: usize, left: &mut Limits) -> Result<BatchInfo, BatchError> {
    let header = parse_whole(bytes)?;
    if header.total_len > left.batch_bytes_max {
        return Err(too_large("a record batch", header.total_len, left.batch_bytes_max));
    }
    check_crc(&header, bytes)?;
    check_attributes(header.attributes)?;
    check_counts(&header)?;
    let stored = &bytes[HEADER_LEN..header.total_len];
    let timestamps = match Codec::of(header.attributes)? {
        Codec::None => check_records(&header, stored, left.record_bytes_max)?,
        codec => {
            let records = inflate(codec, stored, left.inflated_bytes_max)?;
            left.inflated_bytes_max -= records.len();
            check_records(&header, &records, left.record_bytes_max)?
        }
    };
    check_timestamps(&header, timestamps)?;
    Ok(BatchInfo {
        start,
        len: header.total_len,
        record_count: header.record_count as u32,
        timestamp_ms_max: header.timestamp_ms_max,
    })
}

pub(super) fn too_large(what: &'static str, size: usize, limit: usize) -> BatchError {
    BatchError::TooLarge { what, size: size as u64, limit: limit as u64 }
}

fn check_attributes(attributes: i16) -> Result<(), BatchError> {
    let refused = |text: &str| Err(BatchError::Unsupported(text.to_owned()));
    if attributes & CONTROL != 0 {
        return refused("the control bit is set: control batches are written by brokers only");
    }
    if attributes & TRANSACTIONAL != 0 {
        return refused("the transactional bit is set: transactions are not available on this way");
    }
    if attributes & LOG_APPEND_TIME != 0 {
        return refused("the timestamp type is log append time, which only brokers set; send create time");
    }
    let unknown = attributes & !(CODEC_MASK | CONTROL | TRANSACTIONAL | LOG_APPEND_TIME);
    if unknown != 0 {
        return refused(&format!("the attributes {attributes:#06x} have bits that producers do not set"));
    }
    Ok(())
}

pub(super) fn check_counts(header: &BatchHeader) -> Result<(), BatchError> {
    let corrupt = |text| Err(BatchError::Corrupt(text));
    if header.record_count < 1 {
        return corrupt(format!("the record count is {}; a batch has one record at least", header.record_count));
    }
    if header.last_offset_delta != header.record_count - 1 {
        return corrupt(format!(
            "the last offset delta is {}, but {} records end with delta {}",
            header.last_offset_delta,
            header.record_count,
            header.record_count - 1
        ));
    }
    Ok(())
}

/// The oldest and the newest timestamp of a batch's records, in ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Timestamps {
    pub oldest: i64,
    pub newest: i64,
}

/// Walks all records: each is whole and sequential, there are as many as the header says and nothing behind them.
pub(super) fn check_records(
    header: &BatchHeader,
    records: &[u8],
    record_bytes_max: usize,
) -> Result<Timestamps, BatchError> {
    let mut at = 0;
    let mut delta_max = i64::MIN;
    let mut delta_min = i64::MAX;
    for place in 0..header.record_count {
        let record = whole_record_at(records, at, place)?;
        if record.offset_delta != place {
            return Err(wrong_offset_delta(place, record.offset_delta));
        }
        if record.len > record_bytes_max {
            let size = payload_len(records, &record);
            if size > record_bytes_max {
                return Err(too_large("a record", size, record_bytes_max));
            }
        }
        delta_max = delta_max.max(record.timestamp_delta);
        delta_min = delta_min.min(record.timestamp_delta);
        at = record.end;
    }
    if at != records.len() {
        return Err(BatchError::Corrupt(format!(
            "{} bytes are left behind the {} records that the header counts",
            records.len() - at,
            header.record_count
        )));
    }
    let timestamp = |delta: i64| {
        header.base_timestamp_ms.checked_add(delta).ok_or_else(|| {
            BatchError::Corrupt(format!(
                "base timestamp {} and delta {delta} are beyond 64 bits",
                header.base_timestamp_ms
            ))
        })
    };
    Ok(Timestamps { oldest: timestamp(delta_min)?, newest: timestamp(delta_max)? })
}

#[inline(always)]
fn whole_record_at(records: &[u8], at: usize, place: i32) -> Result<RawRecord, BatchError> {
    if at == records.len() {
        return Err(too_few(place));
    }
    let record = record_at(records, at).map_err(|damage| damage.of_record(place))?;
    let mut at = record.headers_at;
    for _ in 0..record.header_count {
        (_, at) = header_at(records, &record, at).map_err(|damage| damage.of_record(place))?;
    }
    ends_at(&record, at).map_err(|damage| damage.of_record(place))?;
    Ok(record)
}

/// Bytes of key, value, header names and header values: what users count, without the lengths between them.
#[cold]
fn payload_len(records: &[u8], record: &RawRecord) -> usize {
    let mut size = record.key.as_ref().map_or(0, Range::len) + record.value.as_ref().map_or(0, Range::len);
    let mut at = record.headers_at;
    while let Ok(((name, value), behind)) = header_at(records, record, at) {
        size += name.len() + value.map_or(0, |value| value.len());
        at = behind;
    }
    size
}

#[cold]
fn too_few(place: i32) -> BatchError {
    BatchError::Corrupt(format!("the bytes end after {place} records, but the header counts more"))
}

#[cold]
fn wrong_offset_delta(place: i32, offset_delta: i32) -> BatchError {
    BatchError::Corrupt(format!(
        "record {place}: its offset delta is {offset_delta}; deltas count from 0 without holes"
    ))
}

/// The header's max timestamp is that of the newest record: retention and the time index go by it.
fn check_timestamps(header: &BatchHeader, found: Timestamps) -> Result<(), BatchError> {
    if found.oldest < NO_TIMESTAMP {
        return Err(BatchError::Corrupt(format!("a record's timestamp is {}, before 1970", found.oldest)));
    }
    if found.newest != header.timestamp_ms_max {
        return Err(BatchError::Corrupt(format!(
            "the max timestamp is {}, but the newest record has {}",
            header.timestamp_ms_max, found.newest
        )));
    }
    Ok(())
}
