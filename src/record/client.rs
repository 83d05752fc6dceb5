//! One record batch as a Kafka client sends it: checked, and put into the shape in which it is stored.
//!
//! Kafka's brokers are less strict with a header than [`super::check_batches`]: the max timestamp is theirs to set, and
//! so is the timestamp type. Here too: a batch whose header says something else than its records is taken, and gets
//! the header that Kafka's broker would give it, so that what is stored is exact. Everything else is left as it came.
//!
//! A compressed batch is inflated, within a bound: as with Kafka's broker, a batch that its readers could not open is
//! refused while its producer can still be told, instead of stopping every consumer of the partition at its offset.
//! The time index needs the newest timestamp, too, which only the records tell.
//!
//! Not checked: the order of a producer's sequence numbers, which needs state.

use super::check::{NO_TIMESTAMP, Timestamps, check_counts, check_records, too_large};
use super::compression::{Codec, compress, inflate};
use super::header::{
    BatchHeader, CODEC_MASK, CONTROL, HEADER_LEN, LOG_APPEND_TIME, TRANSACTIONAL, check_crc, parse_whole, seal,
};
use super::{BatchError, Limits};
use bytes::Bytes;

/// What a topic asks of a batch.
#[derive(Debug, Clone, Copy)]
pub struct ClientRules {
    /// `batch_bytes_max` is of a batch of several records; one record is measured by itself, as everywhere.
    pub limits: Limits,
    pub timestamps: TimestampRule,
    /// How batches are stored; `None` as they come.
    pub compression: Option<Codec>,
}

/// What timestamps records may have, or get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampRule {
    /// Their producer's, within these bounds. A record without timestamp (-1) keeps having none.
    Create { oldest_ms: i64, newest_ms: i64 },
    /// The time of their append.
    Append { now_ms: i64 },
}

/// By which producer a batch was sent, and the number of its first record (KIP-98).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerStamp {
    pub producer_id: i64,
    pub epoch: i16,
    pub first_sequence: i32,
}

/// A batch that may be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientBatch {
    pub bytes: Bytes,
    pub record_count: u32,
    /// Of the records, whatever the header said.
    pub timestamp_ms_max: i64,
    /// Only of an idempotent producer.
    pub producer: Option<ProducerStamp>,
}

/// Why a batch is not taken; each is an error of its own in Kafka's protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientBatchError {
    /// The bytes changed on their way, or were never a batch.
    #[error("{0}")]
    Corrupt(String),
    /// A message format of before Kafka 0.11.
    #[error("{0}")]
    UnsupportedFormat(String),
    #[error("{0}")]
    UnsupportedCompression(String),
    #[error("{what} of {size} bytes is larger than the {limit} bytes that it may have")]
    TooLarge { what: &'static str, size: u64, limit: u64 },
    #[error("{0}")]
    InvalidTimestamp(String),
    /// Whole, but it says what a client must not say.
    #[error("{0}")]
    InvalidRecord(String),
}

impl From<BatchError> for ClientBatchError {
    fn from(error: BatchError) -> ClientBatchError {
        match error {
            BatchError::Corrupt(text) => ClientBatchError::Corrupt(text),
            BatchError::Unsupported(text) => ClientBatchError::UnsupportedFormat(text),
            BatchError::TooLarge { what, size, limit } => ClientBatchError::TooLarge { what, size, limit },
        }
    }
}

/// Takes what a produce request holds for one partition: exactly one record batch v2.
///
/// # Errors
/// The first thing that is wrong.
pub fn take_client_batch(bytes: Bytes, rules: &ClientRules) -> Result<ClientBatch, ClientBatchError> {
    let invalid = |text: String| Err(ClientBatchError::InvalidRecord(text));
    if bytes.is_empty() {
        return invalid("there is no record batch; a produce request has one for each partition".to_owned());
    }
    let header = parse_whole(&bytes)?;
    if header.total_len < bytes.len() {
        let text = "there is more than one record batch for the partition, or bytes stand behind it; send one batch";
        return invalid(text.to_owned());
    }
    let limits = &rules.limits;
    if header.record_count > 1 && header.total_len > limits.batch_bytes_max {
        return Err(too_large("a record batch", header.total_len, limits.batch_bytes_max).into());
    }
    check_crc(&header, &bytes)?;
    let producer = check_header(&header)?;
    let codec = Codec::of(header.attributes)
        .map_err(|error| ClientBatchError::UnsupportedCompression(BatchError::to_string(&error)))?;
    let stored = &bytes[HEADER_LEN..];
    let inflated = match codec {
        Codec::None => None,
        codec => Some(inflate(codec, stored, limits.inflated_bytes_max).map_err(of_records)?),
    };
    let records = inflated.as_deref().unwrap_or(stored);
    let found = check_records(&header, records, limits.record_bytes_max).map_err(of_records)?;
    let timestamp_ms_max = judge_timestamps(found, rules.timestamps)?;
    let is_append_time = matches!(rules.timestamps, TimestampRule::Append { .. });
    let kind = if is_append_time { LOG_APPEND_TIME } else { 0 };
    let wanted = rules.compression.unwrap_or(codec);
    let attributes = wanted.bits() | kind;
    let mut kept = BatchHeader { attributes, timestamp_ms_max, ..header };
    let bytes = if wanted != codec {
        let recoded = compress(wanted, records);
        kept.total_len = HEADER_LEN + recoded.len();
        if header.record_count > 1 && kept.total_len > limits.batch_bytes_max {
            let what = "a record batch, compressed as its topic asks,";
            return Err(too_large(what, kept.total_len, limits.batch_bytes_max).into());
        }
        with_header(kept, &recoded)
    } else if kept == header {
        bytes
    } else {
        with_header(kept, stored)
    };
    Ok(ClientBatch { bytes, record_count: header.record_count as u32, timestamp_ms_max, producer })
}

/// The bytes came whole, so damage in the records is their sender's: it would send the same again.
fn of_records(error: BatchError) -> ClientBatchError {
    match error {
        BatchError::Corrupt(text) => ClientBatchError::InvalidRecord(text),
        other => other.into(),
    }
}

/// The newest timestamp that the batch will have.
fn judge_timestamps(found: Timestamps, rule: TimestampRule) -> Result<i64, ClientBatchError> {
    let invalid = |text: String| Err(ClientBatchError::InvalidTimestamp(text));
    if found.oldest < NO_TIMESTAMP {
        return invalid(format!("a record's timestamp is {}, before 1970", found.oldest));
    }
    match rule {
        TimestampRule::Append { now_ms } => return Ok(now_ms),
        TimestampRule::Create { oldest_ms, .. } if found.oldest != NO_TIMESTAMP && found.oldest < oldest_ms => {
            return invalid(format!(
                "a record's timestamp is {}; message.timestamp.before.max.ms allows {oldest_ms} at the least now",
                found.oldest
            ));
        }
        TimestampRule::Create { newest_ms, .. } if found.newest > newest_ms => {
            return invalid(format!(
                "a record's timestamp is {}; message.timestamp.after.max.ms allows {newest_ms} at the most now",
                found.newest
            ));
        }
        TimestampRule::Create { .. } => {}
    }
    Ok(found.newest)
}

fn check_header(header: &BatchHeader) -> Result<Option<ProducerStamp>, ClientBatchError> {
    let invalid = |text: String| Err(ClientBatchError::InvalidRecord(text));
    if header.attributes & CONTROL != 0 {
        return invalid("the control bit is set: control batches are written by brokers only".to_owned());
    }
    if header.attributes & TRANSACTIONAL != 0 {
        return invalid("the transactional bit is set: this version has no transactions".to_owned());
    }
    let unknown = header.attributes & !(CODEC_MASK | CONTROL | TRANSACTIONAL | LOG_APPEND_TIME);
    if unknown != 0 {
        return invalid(format!("the attributes {:#06x} have bits that producers do not set", header.attributes));
    }
    if let Err(error) = check_counts(header) {
        return invalid(error.to_string());
    }
    if header.producer_id < 0 {
        return Ok(None);
    }
    if header.base_sequence < 0 || header.producer_epoch < 0 {
        return invalid(format!(
            "producer {} sends sequence {} in epoch {}; both count from 0",
            header.producer_id, header.base_sequence, header.producer_epoch
        ));
    }
    Ok(Some(ProducerStamp {
        producer_id: header.producer_id,
        epoch: header.producer_epoch,
        first_sequence: header.base_sequence,
    }))
}

/// A batch of a header and its records as they are stored, with its CRC made anew.
fn with_header(header: BatchHeader, records: &[u8]) -> Bytes {
    let mut batch = Vec::with_capacity(header.total_len);
    batch.extend_from_slice(&header.to_bytes());
    batch.extend_from_slice(records);
    seal(&mut batch);
    batch.into()
}

/// Puts a batch that was made here into the shape that its topic asks for. Nothing is checked: it was made from records
/// that were.
///
/// # Errors
/// The bytes are no batch.
pub fn recode(batch: Bytes, compression: Option<Codec>, append_time_ms: Option<i64>) -> Result<Bytes, BatchError> {
    let header = parse_whole(&batch)?;
    let codec = Codec::of(header.attributes)?;
    let wanted = compression.unwrap_or(codec);
    let kind = if append_time_ms.is_some() { LOG_APPEND_TIME } else { header.attributes & LOG_APPEND_TIME };
    let attributes = header.attributes & !(CODEC_MASK | LOG_APPEND_TIME) | wanted.bits() | kind;
    let timestamp_ms_max = append_time_ms.unwrap_or(header.timestamp_ms_max);
    let mut kept = BatchHeader { attributes, timestamp_ms_max, ..header };
    if kept == header {
        return Ok(batch);
    }
    let stored = &batch[HEADER_LEN..header.total_len];
    if wanted == codec {
        return Ok(with_header(kept, stored));
    }
    let recoded = compress(wanted, &inflate(codec, stored, usize::MAX - 1)?);
    kept.total_len = HEADER_LEN + recoded.len();
    Ok(with_header(kept, &recoded))
}

#[cfg(test)]
mod tests {
    use super::super::{RecordSet, build_batch};
    use super::*;

    const RULES: ClientRules = ClientRules {
        limits: Limits { record_bytes_max: 1000, batch_bytes_max: 2000, inflated_bytes_max: 100_000 },
        timestamps: TimestampRule::Create { oldest_ms: 0, newest_ms: 1_000_000 },
        compression: None,
    };

    fn batch(timestamps: &[i64]) -> Bytes {
        let mut set = RecordSet::new();
        for timestamp_ms in timestamps {
            set.push(*timestamp_ms, None, Some(b"value"), &[]);
        }
        build_batch(&[set]).bytes
    }

    fn changed(batch: &Bytes, change: impl FnOnce(&mut BatchHeader)) -> Bytes {
        let mut header = parse_whole(batch).unwrap();
        change(&mut header);
        with_header(header, &batch[HEADER_LEN..])
    }

    fn take(bytes: &Bytes) -> Result<ClientBatch, ClientBatchError> {
        take_client_batch(bytes.clone(), &RULES)
    }

    #[test]
    fn a_sound_batch_is_kept_without_a_copy() {
        let sent = batch(&[7, 9, 8]);
        let taken = take(&sent).unwrap();
        assert_eq!((taken.record_count, taken.timestamp_ms_max, taken.producer), (3, 9, None));
        assert_eq!(taken.bytes.as_ptr(), sent.as_ptr());
    }

    #[test]
    fn a_header_that_is_not_exact_is_set_right() {
        let exact = batch(&[7, 9, 8]);
        for wrong in [-1, 7, 1_000_000] {
            let sent = changed(&exact, |header| header.timestamp_ms_max = wrong);
            assert_eq!(take(&sent).unwrap(), take(&exact).unwrap());
        }
        let sent = changed(&exact, |header| header.attributes |= LOG_APPEND_TIME);
        assert_eq!(take(&sent).unwrap().bytes, exact);
    }

    #[test]
    fn producers_are_named() {
        let sent = changed(&batch(&[1]), |header| {
            (header.producer_id, header.producer_epoch, header.base_sequence) = (5, 2, 40);
        });
        let stamp = ProducerStamp { producer_id: 5, epoch: 2, first_sequence: 40 };
        assert_eq!(take(&sent).unwrap().producer, Some(stamp));
        let sent = changed(&sent, |header| header.base_sequence = -1);
        assert!(matches!(take(&sent), Err(ClientBatchError::InvalidRecord(_))));
    }

    #[test]
    fn each_fault_has_its_error() {
        let good = batch(&[1, 2]);
        assert!(matches!(take(&Bytes::new()), Err(ClientBatchError::InvalidRecord(_))));
        let two = Bytes::from([&good[..], &good[..]].concat());
        assert!(matches!(take(&two), Err(ClientBatchError::InvalidRecord(_))));
        let mut damaged = good.to_vec();
        damaged[70] ^= 1;
        assert!(matches!(take(&damaged.into()), Err(ClientBatchError::Corrupt(_))));
        let mut old = good.to_vec();
        old[16] = 1;
        assert!(matches!(take(&old.into()), Err(ClientBatchError::UnsupportedFormat(_))));
        let change = |change: fn(&mut BatchHeader)| take(&changed(&good, change)).unwrap_err();
        assert!(matches!(change(|header| header.attributes = 7), ClientBatchError::UnsupportedCompression(_)));
        assert!(matches!(change(|header| header.attributes = CONTROL), ClientBatchError::InvalidRecord(_)));
        assert!(matches!(change(|header| header.attributes = TRANSACTIONAL), ClientBatchError::InvalidRecord(_)));
        assert!(matches!(change(|header| header.record_count = 0), ClientBatchError::InvalidRecord(_)));
        assert!(matches!(change(|header| header.record_count = 3), ClientBatchError::InvalidRecord(_)));
        assert!(matches!(change(|header| header.base_timestamp_ms = -50), ClientBatchError::InvalidTimestamp(_)));
    }

    #[test]
    fn a_topic_may_ask_for_append_time() {
        let rules = ClientRules { timestamps: TimestampRule::Append { now_ms: 777 }, ..RULES };
        let taken = take_client_batch(batch(&[5, 9, -1]), &rules).unwrap();
        assert_eq!(taken.timestamp_ms_max, 777);
        let read: Vec<_> = super::super::records(taken.bytes, &RULES.limits).map(|record| record.unwrap()).collect();
        assert!(read.len() == 3 && read.iter().all(|record| record.timestamp_ms == 777));
    }

    #[test]
    fn timestamps_have_bounds() {
        let rules = ClientRules { timestamps: TimestampRule::Create { oldest_ms: 100, newest_ms: 200 }, ..RULES };
        let take = |timestamps: &[i64]| take_client_batch(batch(timestamps), &rules);
        assert!(take(&[100, 200, -1]).is_ok());
        assert!(matches!(take(&[150, 99]), Err(ClientBatchError::InvalidTimestamp(_))));
        assert!(matches!(take(&[150, 201]), Err(ClientBatchError::InvalidTimestamp(_))));
    }

    #[test]
    fn a_topic_may_ask_for_a_codec() {
        let sent = batch(&[5; 40]);
        for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
            let rules = ClientRules { compression: Some(codec), ..RULES };
            let taken = take_client_batch(sent.clone(), &rules).unwrap();
            assert_eq!(parse_whole(&taken.bytes).unwrap().attributes, codec.bits());
            assert!(taken.bytes.len() < sent.len());
            assert_eq!(take_client_batch(taken.bytes.clone(), &rules).unwrap().bytes.as_ptr(), taken.bytes.as_ptr());
            let plain = ClientRules { compression: Some(Codec::None), ..RULES };
            assert_eq!(take_client_batch(taken.bytes.clone(), &plain).unwrap().bytes, sent, "{codec:?} and back");
            assert_eq!(recode(sent.clone(), Some(codec), None), Ok(taken.bytes));
        }
        let bytes = changed(&sent, |header| header.attributes = Codec::Zstd.bits());
        assert!(matches!(take(&bytes), Err(ClientBatchError::InvalidRecord(_))), "readers could not open it");
    }

    #[test]
    fn one_record_is_measured_by_itself_and_several_as_a_batch() {
        let one = |len: usize| {
            let mut set = RecordSet::new();
            set.push(1, None, Some(&vec![b'x'; len]), &[]);
            build_batch(&[set]).bytes
        };
        assert!(take(&one(1000)).is_ok());
        assert!(matches!(take(&one(1001)), Err(ClientBatchError::TooLarge { size: 1001, limit: 1000, .. })));
        assert!(matches!(take(&batch(&[1; 200])), Err(ClientBatchError::TooLarge { limit: 2000, .. })));
    }
}
