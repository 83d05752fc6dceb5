//! The state of a partition, entry by entry.

use super::*;
use crate::types::{LogId, Term};
use bytes::Bytes;

/// A partition whose entries are applied one after the other.
#[derive(Default)]
struct Log {
    state: PartitionState,
    index: u64,
}

impl Log {
    fn entry(&mut self, payload: Payload) -> Result<Applied, String> {
        let id = LogId { term: Term(1), index: LogIndex(self.index) };
        self.index += 1;
        self.state.apply(&LogEntry { id, payload })
    }

    fn write(&mut self, identity: Identity, records: u32, appended_at_ms: i64) -> Result<Applied, String> {
        let data = DataEntry {
            base_offset: Some(self.state.high_watermark()),
            record_count: records,
            timestamp_ms_max: 0,
            attributes: EntryAttributes { appended_at_ms, identity }.encode().into(),
            batches: Bytes::new(),
        };
        self.entry(Payload::Data(data))
    }

    fn command(&mut self, command: &PartitionCommand) -> Applied {
        self.entry(Payload::Command(command.encode().into())).unwrap()
    }
}

fn by_writer(writer: u64, sequence: u64) -> Identity {
    Identity::Writer { writer: WriterId(writer), sequence }
}

fn hash(number: u64) -> KeyHash {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    KeyHash(bytes)
}

fn by_key(key: u64, body: u64) -> Identity {
    Identity::Key { client: true, key: hash(key), body: hash(body), default_timestamp_ms: 7 }
}

#[test]
fn a_writers_numbers_are_taken_in_order_and_remembered() {
    let mut log = Log::default();
    log.write(by_writer(1, 0), 10, 0).unwrap();
    log.write(by_writer(2, 0), 5, 0).unwrap();
    log.write(by_writer(1, 1), 3, 0).unwrap();
    assert_eq!(log.state.high_watermark(), Offset(18));
    assert_eq!(log.state.check_sequence(WriterId(1), 0), SequenceCheck::Duplicate(Offset(0)));
    assert_eq!(log.state.check_sequence(WriterId(1), 1), SequenceCheck::Duplicate(Offset(15)));
    assert_eq!(log.state.check_sequence(WriterId(1), 2), SequenceCheck::New);
    assert_eq!(log.state.check_sequence(WriterId(1), 3), SequenceCheck::OutOfOrder { expected: 2 });
    assert_eq!(log.state.check_sequence(WriterId(9), 1), SequenceCheck::OutOfOrder { expected: 0 });
}

#[test]
fn an_entry_that_breaks_an_invariant_is_an_error() {
    let mut log = Log::default();
    log.write(by_writer(1, 0), 1, 0).unwrap();
    assert!(log.write(by_writer(1, 0), 1, 0).is_err(), "a number twice");
    assert!(log.write(by_writer(1, 2), 1, 0).is_err(), "a number left out");
    let elsewhere = DataEntry {
        base_offset: Some(Offset(5)),
        record_count: 1,
        timestamp_ms_max: 0,
        attributes: EntryAttributes { appended_at_ms: 0, identity: by_writer(2, 0) }.encode().into(),
        batches: Bytes::new(),
    };
    assert!(log.entry(Payload::Data(elsewhere)).is_err(), "a hole in the offsets");
}

#[test]
fn writers_are_bounded_and_the_oldest_goes_first() {
    let mut log = Log::default();
    for writer in 0..WRITERS_KEPT as u64 + 1 {
        log.write(by_writer(writer, 0), 1, 0).unwrap();
    }
    assert_eq!(log.state.next_sequence(WriterId(0)), None);
    assert_eq!(log.state.next_sequence(WriterId(1)), Some(1));
}

#[test]
fn keys_are_kept_by_number_and_age() {
    let mut log = Log::default();
    for key in 0..CLIENT_KEYS_KEPT as u64 + 1 {
        log.write(by_key(key, 1), 1, 1000).unwrap();
    }
    assert_eq!(log.state.key(true, &hash(0)), None, "the 4,096 newest are kept");
    assert!(log.state.key(true, &hash(1)).is_some());
    log.write(by_key(999_999, 1), 1, 1001 + CLIENT_KEY_AGE_MS_MAX).unwrap();
    assert_eq!(log.state.key(true, &hash(4096)), None, "a day old");
    assert!(log.state.key(true, &hash(999_999)).is_some());
}

#[test]
fn claims_push_out_no_key_that_was_written_and_the_other_way_round() {
    let mut log = Log::default();
    let claim =
        |key: u64| PartitionCommand::ClaimKey { key: hash(key), body: hash(1), partitions: 2, appended_at_ms: 1000 };
    for key in 0..CLIENT_KEYS_KEPT as u64 {
        log.command(&claim(1_000_000 + key));
        log.write(by_key(key, 1), 1, 1000).unwrap();
        log.command(&claim(2_000_000 + key));
    }
    for key in 0..CLIENT_KEYS_KEPT as u64 {
        assert!(log.state.key(true, &hash(key)).is_some(), "key {key} is among the 4,096 newest");
    }
    assert_eq!(log.state.key(true, &hash(1_000_000)), None, "the oldest claims are gone");
    assert!(log.state.key(true, &hash(2_000_000 + CLIENT_KEYS_KEPT as u64 - 1)).is_some());
    let again = PartitionState::from_snapshot(&log.state.to_snapshot()).unwrap();
    assert_eq!(again, log.state);
}

#[test]
fn a_claim_that_is_used_counts_as_written() {
    let mut log = Log::default();
    log.command(&PartitionCommand::ClaimKey { key: hash(1), body: hash(1), partitions: 2, appended_at_ms: 1000 });
    log.write(by_key(1, 1), 1, 1000).unwrap();
    assert_eq!((log.state.client_keys.written.len(), log.state.client_keys.claimed.len()), (1, 0));
    assert_eq!(log.state.key(true, &hash(1)).unwrap().partitions, 2);
}

#[test]
fn a_claim_binds_its_key_to_a_body_until_it_is_released() {
    let mut log = Log::default();
    let claim =
        |body, partitions| PartitionCommand::ClaimKey { key: hash(1), body: hash(body), partitions, appended_at_ms: 0 };
    assert_eq!(log.command(&claim(1, 3)), Applied::Claimed { partitions: 3 });
    assert_eq!(log.command(&claim(1, 5)), Applied::Claimed { partitions: 3 }, "the first one counts");
    assert_eq!(log.command(&claim(2, 3)), Applied::KeyConflict);
    log.command(&PartitionCommand::ReleaseKey { key: hash(1), body: hash(1) });
    assert_eq!(log.command(&claim(2, 4)), Applied::Claimed { partitions: 4 });
    log.write(by_key(1, 2), 1, 0).unwrap();
    log.command(&PartitionCommand::ReleaseKey { key: hash(1), body: hash(2) });
    assert!(log.state.key(true, &hash(1)).is_some(), "a key with records stays");
}

proptest::proptest! {
    #[test]
    fn a_snapshot_is_the_state(writes in proptest::collection::vec((0_u64..5, 0_u64..8, proptest::bool::ANY), 0..80)) {
        let mut log = Log::default();
        for (writer, key, keyed) in writes {
            let sequence = log.state.next_sequence(WriterId(writer)).unwrap_or(0);
            let identity = if keyed { by_key(key, 1) } else { by_writer(writer, sequence) };
            log.write(identity, 1 + (key as u32), 5).unwrap();
        }
        let bytes = log.state.to_snapshot();
        let back = PartitionState::from_snapshot(&bytes).unwrap();
        proptest::prop_assert_eq!(&back, &log.state);
        proptest::prop_assert_eq!(back.to_snapshot(), bytes);
    }

    #[test]
    fn any_bytes_are_refused_without_panic(bytes: Vec<u8>) {
        let _ = PartitionState::from_snapshot(&bytes);
        let _ = EntryAttributes::decode(&bytes);
        let _ = PartitionCommand::decode(&bytes);
    }
}

fn by_producer(producer_id: i64, epoch: i16, first_sequence: i32) -> Identity {
    Identity::Producer { producer_id, epoch, first_sequence }
}

fn produced(producer_id: i64, epoch: i16, first_sequence: i32, record_count: u32) -> ProducerBatch {
    ProducerBatch { producer_id, epoch, first_sequence, record_count }
}

#[test]
fn a_producers_batches_are_taken_in_order_and_the_newest_remembered() {
    let mut log = Log::default();
    for batch in 0..6 {
        log.write(by_producer(7, 0, batch * 10), 10, 0).unwrap();
    }
    let check = |first, records| log.state.producers().check(&produced(7, 0, first, records));
    assert_eq!(check(60, 3), ProducerCheck::New);
    assert_eq!(check(50, 10), ProducerCheck::Duplicate(Offset(50)));
    assert_eq!(check(10, 10), ProducerCheck::Duplicate(Offset(10)), "the fifth newest");
    assert_eq!(check(0, 10), ProducerCheck::OutOfOrder { expected: 60 }, "the sixth is forgotten");
    assert_eq!(check(50, 9), ProducerCheck::OutOfOrder { expected: 60 }, "another batch");
    assert_eq!(check(61, 1), ProducerCheck::OutOfOrder { expected: 60 });
    assert!(log.write(by_producer(7, 0, 70), 1, 0).is_err(), "a hole is no batch of the log");
}

#[test]
fn a_new_epoch_begins_at_zero_and_fences_the_one_before() {
    let mut log = Log::default();
    log.write(by_producer(7, 3, 40), 2, 0).unwrap();
    let check = |state: &PartitionState, epoch, first| state.producers().check(&produced(7, epoch, first, 1));
    assert_eq!(check(&log.state, 4, 42), ProducerCheck::OutOfOrder { expected: 0 });
    assert_eq!(check(&log.state, 4, 0), ProducerCheck::New);
    log.write(by_producer(7, 4, 0), 1, 0).unwrap();
    assert_eq!(check(&log.state, 3, 42), ProducerCheck::Fenced { epoch: 4 });
    assert_eq!(check(&log.state, 4, 1), ProducerCheck::New);
}

#[test]
fn sequence_numbers_begin_again_behind_the_last_one() {
    let mut log = Log::default();
    log.write(by_producer(7, 0, i32::MAX - 4), 10, 0).unwrap();
    let check = |first, records| log.state.producers().check(&produced(7, 0, first, records));
    assert_eq!(check(5, 1), ProducerCheck::New);
    assert_eq!(check(i32::MAX - 4, 10), ProducerCheck::Duplicate(Offset(0)));
    log.write(by_producer(8, 0, i32::MAX), 1, 0).unwrap();
    assert_eq!(log.state.producers().check(&produced(8, 0, 0, 1)), ProducerCheck::New);
}

#[test]
fn producers_are_forgotten_by_age_and_number() {
    let mut log = Log::default();
    log.write(by_producer(1, 0, 0), 1, 1000).unwrap();
    log.write(by_producer(2, 0, 0), 1, 2000).unwrap();
    log.write(Identity::Anonymous, 1, 1001 + PRODUCER_AGE_MS_MAX).unwrap();
    let known = |state: &PartitionState| state.producers().views().map(|view| view.producer_id).collect::<Vec<_>>();
    assert_eq!(known(&log.state), [2]);
    assert_eq!(log.state.producers().check(&produced(1, 0, 77, 1)), ProducerCheck::New, "as if it were new");
    for producer in 10..11 + PRODUCERS_KEPT as i64 {
        log.write(by_producer(producer, 0, 0), 1, 2000).unwrap();
    }
    log.write(by_producer(11, 0, 1), 1, 2000).unwrap();
    log.write(Identity::Anonymous, 1, 2000).unwrap();
    assert_eq!(known(&log.state).len(), PRODUCERS_KEPT);
    assert!(!known(&log.state).contains(&2) && known(&log.state).contains(&11));
}

#[test]
fn the_log_start_goes_forward_up_to_the_high_watermark() {
    let mut log = Log::default();
    log.write(Identity::Anonymous, 10, 0).unwrap();
    let trim = |log: &mut Log, to| log.command(&PartitionCommand::Trim { log_start_offset: Offset(to) });
    assert_eq!(trim(&mut log, 4), Applied::Trimmed { log_start_offset: Offset(4) });
    assert_eq!(trim(&mut log, 2), Applied::Trimmed { log_start_offset: Offset(4) });
    assert_eq!(trim(&mut log, 99), Applied::Trimmed { log_start_offset: Offset(10) });
    let again = PartitionState::from_snapshot(&log.state.to_snapshot()).unwrap();
    assert_eq!(again, log.state);
}

#[test]
fn the_first_versions_snapshots_and_entries_are_read() {
    // What version 1 wrote: one writer with one answer, one client key.
    let mut first = vec![1_u8];
    first.extend(9_u64.to_le_bytes());
    first.extend(1_u64.to_le_bytes());
    first.extend([5_u64, 3, 8, 1, 2, 6].map(u64::to_le_bytes).concat());
    first.extend(0_u64.to_le_bytes());
    first.extend(0_u64.to_le_bytes());
    let state = PartitionState::from_snapshot(&first).unwrap();
    assert_eq!((state.high_watermark(), state.log_start_offset()), (Offset(9), Offset(0)));
    assert_eq!(state.next_sequence(WriterId(5)), Some(3));
    assert_eq!(state.check_sequence(WriterId(5), 2), SequenceCheck::Duplicate(Offset(6)));
    let attributes = EntryAttributes { appended_at_ms: 1, identity: by_writer(5, 3) }.encode();
    assert_eq!(attributes[0], 1, "what the first version can read is written as it wrote it");
    let newer = [&[3_u8][..], &first[1..]].concat();
    assert!(PartitionState::from_snapshot(&newer).unwrap_err().contains("format version 3"));
    assert!(EntryAttributes::decode(&[3, 0, 0]).unwrap_err().contains("format version 3"));
}

proptest::proptest! {
    /// A model: a list of all that a producer wrote. Batches that are sent again any number of times, in any order, are
    /// written once and in order, or refused; those on their way count as written.
    #[test]
    fn producers_write_once_and_in_order(sends in proptest::collection::vec((0_usize..12, proptest::bool::ANY), 1..60)) {
        let batches: Vec<(i32, u32)> = (0..12).map(|place| (place * 3, 3)).collect();
        let mut log = Log::default();
        let mut in_flight = ProducersInFlight::default();
        let mut waiting: Vec<(i32, u32)> = Vec::new();
        let mut written: Vec<i32> = Vec::new();
        for (place, apply) in sends {
            let (first, records) = batches[place];
            let batch = produced(1, 0, first, records);
            let check = in_flight.check(&batch).unwrap_or_else(|| log.state.producers().check(&batch));
            let expected = written.last().map_or(first, |last| last + 3);
            let end = log.state.high_watermark().0 + waiting.iter().map(|(_, records)| u64::from(*records)).sum::<u64>();
            match check {
                ProducerCheck::New => {
                    proptest::prop_assert_eq!(first, expected);
                    in_flight.admit(log.state.producers(), &batch, Offset(end));
                    waiting.push((first, records));
                    written.push(first);
                }
                ProducerCheck::Duplicate(offset) => {
                    let at = written.iter().position(|known| *known == first).unwrap();
                    proptest::prop_assert_eq!(offset, Offset(at as u64 * 3));
                }
                ProducerCheck::OutOfOrder { expected: said } => {
                    proptest::prop_assert_eq!(said, expected);
                    proptest::prop_assert!(first != expected);
                }
                ProducerCheck::Fenced { .. } => proptest::prop_assert!(false, "there is one epoch"),
            }
            if apply && !waiting.is_empty() {
                let (first, records) = waiting.remove(0);
                log.write(by_producer(1, 0, first), records, 0).unwrap();
                in_flight.settle(1);
            }
        }
    }

    #[test]
    fn a_snapshot_has_the_producers(writes in proptest::collection::vec((0_i64..5, 1_u32..5, 0_i16..3), 0..60)) {
        let mut log = Log::default();
        for (producer, records, epoch) in writes {
            let next = log.state.producers().views().find(|view| view.producer_id == producer);
            let (epoch, first) = match next {
                Some(view) if view.epoch >= epoch => (view.epoch, view.last_sequence + 1),
                _ => (epoch, 0),
            };
            log.write(by_producer(producer, epoch, first), records, 5).unwrap();
        }
        let bytes = log.state.to_snapshot();
        let back = PartitionState::from_snapshot(&bytes).unwrap();
        proptest::prop_assert_eq!(&back, &log.state);
        proptest::prop_assert_eq!(back.to_snapshot(), bytes);
    }
}
