//! One record within the records of a batch, where checking and reading meet: both must see the same bytes alike.

use super::BatchError;
use super::varint::{read_varint, read_varlong};
use std::ops::Range;

/// What is wrong with a record. Small, since the walk returns it for each record; the text is made once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Damage {
    /// The field's number is cut off, or too large for its type.
    Number(&'static str),
    /// The length or count is negative where it must not be.
    Negative(&'static str, i32),
    /// The field reaches beyond the record.
    Beyond(&'static str, i32),
    /// Bytes are left within the record behind its last header.
    LeftOver(usize),
}

impl Damage {
    /// The error for the record at place `record` of its batch.
    #[cold]
    pub(super) fn of_record(self, record: i32) -> BatchError {
        let what = match self {
            Damage::Number(field) => format!("its {field} is cut off or too large"),
            Damage::Negative(field, value) => format!("its {field} is {value}"),
            Damage::Beyond(field, value) => format!("its {field} of {value} reaches beyond the bytes that are left"),
            Damage::LeftOver(bytes) => format!("{bytes} bytes are left behind its last header"),
        };
        BatchError::Corrupt(format!("record {record}: {what}"))
    }
}

/// A record; ranges are places within the bytes that were walked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RawRecord {
    pub timestamp_delta: i64,
    pub offset_delta: i32,
    pub key: Option<Range<usize>>,
    pub value: Option<Range<usize>>,
    pub header_count: usize,
    /// Where the first header begins; `next_header` walks on from there.
    pub headers_at: usize,
    /// Bytes of the record without its length.
    pub len: usize,
    /// Where the next record begins.
    pub end: usize,
}

/// Reads the record at `start` up to its headers, which are left to `next_header`.
#[inline(always)]
pub(super) fn record_at(bytes: &[u8], start: usize) -> Result<RawRecord, Damage> {
    let (length, at) = read_varint(bytes, start).ok_or(Damage::Number("length"))?;
    let len = usize::try_from(length).map_err(|_| Damage::Negative("length", length))?;
    if len > bytes.len() - at {
        return Err(Damage::Beyond("length", length));
    }
    let end = at + len;
    // Nothing of this record is looked for behind its end.
    let bytes = &bytes[..end];
    // The attributes byte has no meaning and no check, as with other brokers.
    let (timestamp_delta, at) = read_varlong(bytes, at + 1).ok_or(Damage::Number("timestamp delta"))?;
    let (offset_delta, at) = read_varint(bytes, at).ok_or(Damage::Number("offset delta"))?;
    let (key, at) = nullable(bytes, at, "key length")?;
    let (value, at) = nullable(bytes, at, "value length")?;
    let (count, at) = read_varint(bytes, at).ok_or(Damage::Number("header count"))?;
    let header_count = usize::try_from(count).map_err(|_| Damage::Negative("header count", count))?;
    // A header takes two bytes at least, so a larger count is a lie that must not size a buffer.
    if header_count > (end - at) / 2 {
        return Err(Damage::Beyond("header count", count));
    }
    Ok(RawRecord { timestamp_delta, offset_delta, key, value, header_count, headers_at: at, len, end })
}

/// Where a header's name and value are.
pub(super) type RawHeader = (Range<usize>, Option<Range<usize>>);

/// Reads the header at `at` of a record that ends with `record`'s end; returns where the next one begins.
#[inline]
pub(super) fn header_at(bytes: &[u8], record: &RawRecord, at: usize) -> Result<(RawHeader, usize), Damage> {
    let bytes = &bytes[..record.end];
    let (name, at) = nullable(bytes, at, "header name length")?;
    let name = name.ok_or(Damage::Negative("header name length", -1))?;
    let (value, at) = nullable(bytes, at, "header value length")?;
    Ok(((name, value), at))
}

/// Makes sure that the record ends where its last header does.
#[inline(always)]
pub(super) fn ends_at(record: &RawRecord, at: usize) -> Result<(), Damage> {
    if at == record.end { Ok(()) } else { Err(Damage::LeftOver(record.end - at)) }
}

/// A length and as many bytes; -1 is null.
#[inline(always)]
fn nullable(bytes: &[u8], at: usize, field: &'static str) -> Result<(Option<Range<usize>>, usize), Damage> {
    let (length, at) = read_varint(bytes, at).ok_or(Damage::Number(field))?;
    if length < 0 {
        return if length == -1 { Ok((None, at)) } else { Err(Damage::Negative(field, length)) };
    }
    let len = length as usize;
    if len > bytes.len() - at {
        return Err(Damage::Beyond(field, length));
    }
    Ok((Some(at..at + len), at + len))
}
