//! What goes in comes out; nothing unsound passes; no bytes panic.

use super::header::{CRC_COVERS_FROM, seal};
use super::*;
use crate::types::Offset;
use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use std::io::Write;

const LIMITS: Limits = Limits { record_bytes_max: 1 << 20, batch_bytes_max: 8 << 20, inflated_bytes_max: 32 << 20 };

type Headers = Vec<(Vec<u8>, Option<Vec<u8>>)>;

#[derive(Debug, Clone)]
struct Plain {
    timestamp_ms: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Headers,
}

fn plain(timestamp_ms: i64, key: &str, value: &str) -> Plain {
    Plain { timestamp_ms, key: Some(key.into()), value: Some(value.into()), headers: vec![] }
}

fn set_of(plains: &[Plain]) -> RecordSet {
    let mut set = RecordSet::new();
    for plain in plains {
        let headers: Vec<(&[u8], Option<&[u8]>)> =
            plain.headers.iter().map(|(name, value)| (&name[..], value.as_deref())).collect();
        set.push(plain.timestamp_ms, plain.key.as_deref(), plain.value.as_deref(), &headers);
    }
    set
}

fn batch_of(plains: &[Plain]) -> Vec<u8> {
    build_batch(&[set_of(plains)]).bytes.to_vec()
}

fn three() -> Vec<u8> {
    let mut third = plain(1_700_000_000_005, "c", "3");
    third.headers = vec![(b"trace".to_vec(), Some(b"ab12".to_vec())), (b"empty".to_vec(), None)];
    batch_of(&[plain(1_700_000_000_000, "a", "1"), plain(1_699_999_999_000, "b", "2"), third])
}

fn read(bytes: Vec<u8>) -> Result<Vec<Record>, BatchError> {
    records(Bytes::from(bytes), &LIMITS).collect()
}

/// The batch with its records compressed by `codec`, sealed again.
fn recompressed(batch: &[u8], codec: u8, squeeze: impl FnOnce(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let mut out = batch[..HEADER_LEN].to_vec();
    out.extend(squeeze(&batch[HEADER_LEN..]));
    out[22] |= codec;
    resized(out)
}

/// Sets length and CRC to what the bytes are.
fn resized(mut batch: Vec<u8>) -> Vec<u8> {
    let length = (batch.len() - 12) as u32;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    seal(&mut batch);
    batch
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn snappy_raw(bytes: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(bytes).unwrap()
}

fn snappy_xerial(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1];
    for chunk in bytes.chunks(1 << 15) {
        let block = snappy_raw(chunk);
        out.extend((block.len() as u32).to_be_bytes());
        out.extend(block);
    }
    out
}

fn lz4(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(bytes, 3).unwrap()
}

type Squeeze = fn(&[u8]) -> Vec<u8>;

const CODECS: [(u8, Squeeze); 5] = [(1, gzip), (2, snappy_raw), (2, snappy_xerial), (3, lz4), (4, zstd)];

/// The error that the changed batch gets, sealed again so that the CRC does not hide it.
fn refusal(change: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut batch = three();
    change(&mut batch);
    refused(&resized(batch))
}

fn refused(bytes: &[u8]) -> String {
    check_batches(bytes, &LIMITS).expect_err("unsound bytes are refused").to_string()
}

#[test]
fn a_batch_has_the_bytes_that_kafka_gives_it() {
    let mut set = RecordSet::new();
    set.push(1000, Some(b"k"), Some(b"v"), &[(b"h", Some(b"x"))]);
    set.push(1001, None, None, &[]);
    let built = build_batch(&[set]);
    let mut expected = vec![0; 8];
    expected.extend([0, 0, 0, 49 + 13 + 7]); // length
    expected.extend([0xff; 4]); // leader epoch
    expected.push(2); // magic
    expected.extend([0; 4]); // CRC, below
    expected.extend([0, 0]); // attributes
    expected.extend([0, 0, 0, 1]); // last offset delta
    expected.extend(1000i64.to_be_bytes());
    expected.extend(1001i64.to_be_bytes());
    expected.extend([0xff; 14]); // producer id, epoch, sequence
    expected.extend([0, 0, 0, 2]); // record count
    expected.extend([24, 0, 0, 0, 2, b'k', 2, b'v', 2, 2, b'h', 2, b'x']);
    expected.extend([12, 0, 2, 2, 1, 1, 0]);
    let expected = resized(expected);
    assert_eq!(built.bytes, expected);
    assert_eq!((built.record_count, built.timestamp_ms_max), (2, 1001));
}

#[test]
fn several_batches_are_placed_and_counted() {
    let (first, second) = (three(), batch_of(&[plain(7, "x", "y")]));
    let both = [first.clone(), second.clone()].concat();
    let infos = check_batches(&both, &LIMITS).unwrap();
    let expected = [
        BatchInfo { start: 0, len: first.len(), record_count: 3, timestamp_ms_max: 1_700_000_000_005 },
        BatchInfo { start: first.len(), len: second.len(), record_count: 1, timestamp_ms_max: 7 },
    ];
    assert_eq!(infos, expected);
}

#[test]
fn stamped_batches_give_records_their_offsets() {
    let mut both = [three(), batch_of(&[plain(7, "x", "y")])].concat();
    stamp(&mut both, Offset(40), 5).unwrap();
    assert_eq!(parse_header(&both).unwrap().leader_epoch, 5);
    let offsets: Vec<u64> = read(both).unwrap().iter().map(|record| record.offset.0).collect();
    assert_eq!(offsets, [40, 41, 42, 43]);
}

#[test]
fn records_of_an_uncompressed_batch_are_slices_of_it() {
    let batch = Bytes::from(three());
    let range = batch.as_ptr_range();
    for record in records(batch.clone(), &LIMITS) {
        assert!(range.contains(&record.unwrap().value.unwrap().as_ptr()));
    }
}

#[test]
fn every_codec_is_taken_and_read_back() {
    let batch = three();
    let expected = read(batch.clone()).unwrap();
    for (codec, squeeze) in CODECS {
        let squeezed = recompressed(&batch, codec, squeeze);
        assert_eq!(check_batches(&squeezed, &LIMITS).unwrap()[0].record_count, 3, "codec {codec}");
        assert_eq!(read(squeezed).unwrap(), expected, "codec {codec}");
    }
}

#[test]
fn what_inflates_beyond_the_limit_is_refused() {
    let batch = batch_of(&[plain(1, "a", &"z".repeat(900_000))]);
    let limits = Limits { inflated_bytes_max: 100_000, ..LIMITS };
    for (codec, squeeze) in CODECS {
        let bomb = recompressed(&batch, codec, squeeze);
        let error = check_batches(&bomb, &limits).unwrap_err();
        let expected = BatchError::TooLarge { what: "a record batch inflated", size: 100_001, limit: 100_000 };
        assert_eq!(error, expected, "codec {codec}");
        assert_eq!(records(Bytes::from(bomb), &limits).next(), Some(Err(expected)), "codec {codec}");
    }
}

#[test]
fn batches_share_what_they_may_inflate() {
    let one = recompressed(&batch_of(&[plain(1, "a", &"z".repeat(60_000))]), 4, zstd);
    let limits = Limits { inflated_bytes_max: 100_000, ..LIMITS };
    assert!(check_batches(&one, &limits).is_ok());
    let error = check_batches(&[one.clone(), one].concat(), &limits).unwrap_err();
    assert!(matches!(error, BatchError::TooLarge { what: "a record batch inflated", .. }), "{error}");
}

#[test]
fn bytes_behind_a_compressed_stream_are_refused() {
    for (codec, squeeze) in CODECS {
        let batch = recompressed(&three(), codec, |bytes| [squeeze(bytes), vec![9, 9, 9]].concat());
        let error = refused(&batch);
        assert!(error.contains("cannot be inflated"), "codec {codec}: {error}");
    }
}

#[test]
fn sizes_have_limits() {
    let batch = batch_of(&[plain(1, "key", &"z".repeat(97))]);
    let of = |record_bytes_max, batch_bytes_max| {
        check_batches(&batch, &Limits { record_bytes_max, batch_bytes_max, ..LIMITS }).map(|infos| infos.len())
    };
    assert_eq!(of(100, batch.len()), Ok(1));
    assert_eq!(of(99, batch.len()), Err(BatchError::TooLarge { what: "a record", size: 100, limit: 99 }));
    let (size, limit) = (batch.len() as u64, batch.len() as u64 - 1);
    assert_eq!(of(100, batch.len() - 1), Err(BatchError::TooLarge { what: "a record batch", size, limit }));
}

#[test]
fn what_is_wrong_is_named() {
    let put =
        |at: usize, bytes: &'static [u8]| move |batch: &mut Vec<u8>| batch[at..at + bytes.len()].copy_from_slice(bytes);
    for (change, text) in [
        (put(16, &[0]), "before Kafka 0.11"),
        (put(16, &[1]), "before Kafka 0.11"),
        (put(16, &[3]), "magic 3 is unknown"),
        (put(21, &[0, 0x20]), "control bit"),
        (put(21, &[0, 0x10]), "transactional bit"),
        (put(21, &[0, 0x08]), "log append time"),
        (put(21, &[0, 0x40]), "bits that producers do not set"),
        (put(21, &[0x80, 0]), "bits that producers do not set"),
        (put(21, &[0, 5]), "codec 5 is unknown"),
        (put(21, &[0, 1]), "cannot be inflated as gzip"),
        (put(21, &[0, 2]), "cannot be inflated as snappy"),
        (put(21, &[0, 3]), "cannot be inflated as lz4"),
        (put(21, &[0, 4]), "cannot be inflated as zstd"),
        (put(23, &[0, 0, 0, 3]), "last offset delta is 3"),
        (put(23, &[0xff; 4]), "last offset delta is -1"),
        (put(57, &[0; 4]), "record count is 0"),
        (put(57, &[0xff; 4]), "record count is -1"),
        (put(23, &[0, 0, 0, 3, /* base timestamp */ 0, 0, 1, 0x8b, 0xcf, 0xe5, 0x68, 0]), "record"),
        (put(35, &[0; 8]), "max timestamp is 0"),
        (put(61, &[0x7f]), "record 0: its length"),
        (put(64, &[1]), "offset delta is -1"),
        (put(64, &[2]), "offset delta is 1"),
        (put(65, &[0x7e]), "key length"),
        (put(65, &[3]), "key length is -2"),
        (put(27, &[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), "beyond 64 bits"),
        (put(27, &[0; 8]), "before 1970"),
    ] {
        let error = refusal(change);
        assert!(error.contains(text), "{text}: {error}");
    }
}

#[test]
fn counts_must_be_the_bytes_counts() {
    let fewer = refusal(|batch| {
        batch[26] = 1;
        batch[60] = 2;
    });
    assert!(fewer.contains("left behind the 2 records"), "{fewer}");
    let more = refusal(|batch| {
        batch[26] = 3;
        batch[60] = 4;
    });
    assert!(more.contains("end after 3 records"), "{more}");
    let garbage = refusal(|batch| batch.push(0));
    assert!(garbage.contains("1 bytes are left behind"), "{garbage}");
}

#[test]
fn lengths_must_be_the_bytes_lengths() {
    let batch = three();
    assert!(refused(&[]).contains("no bytes"));
    assert!(refused(&batch[..60]).contains("shorter than the header"));
    assert!(refused(&batch[..batch.len() - 1]).contains("the length says"));
    assert!(refused(&[batch.clone(), vec![1, 2, 3]].concat()).contains("batch 1 (at byte"));
    for length in [0, 48, -1, i32::MIN] {
        let mut short = batch.clone();
        short[8..12].copy_from_slice(&i32::to_be_bytes(length));
        assert!(refused(&short).contains(&format!("length {length} is shorter")));
    }
}

#[test]
fn a_header_count_is_not_believed() {
    let mut set = RecordSet::new();
    set.push(1, None, None, &[]);
    let mut batch = build_batch(&[set]).bytes.to_vec();
    // The last byte counts the headers; 2^31-1 of them would size a buffer.
    batch.pop();
    batch.extend([0xfe, 0xff, 0xff, 0xff, 0x0f]);
    batch[HEADER_LEN] += 2 * 4;
    let batch = resized(batch);
    assert!(refused(&batch).contains("header count of 2147483647"));
    assert!(read(batch).is_err());
}

#[test]
fn control_batches_are_skipped_and_append_time_is_shown() {
    let mut control = three();
    control[22] |= 0x30;
    let control = resized(control);
    let mut appended = three();
    appended[22] |= 0x08;
    let appended = resized(appended);
    let mut all = [control, appended].concat();
    stamp(&mut all, Offset(10), 1).unwrap();
    let read = read(all).unwrap();
    assert_eq!(read.iter().map(|record| record.offset.0).collect::<Vec<_>>(), [13, 14, 15]);
    assert!(read.iter().all(|record| record.timestamp_ms == 1_700_000_000_005));
}

#[test]
fn reading_ends_at_damage() {
    let mut both = [three(), three()].concat();
    let last = both.len() - 1;
    both[last] ^= 1;
    let read: Vec<_> = records(Bytes::from(both), &LIMITS).collect();
    assert_eq!(read.len(), 4);
    assert!(read[..3].iter().all(Result::is_ok));
    assert!(read[3].as_ref().unwrap_err().to_string().contains("CRC-32C"));
}

fn plains() -> impl Strategy<Value = Vec<Plain>> {
    let bytes = || vec(any::<u8>(), 0..40);
    let headers = vec((bytes(), option::of(bytes())), 0..4);
    let one = (0..1i64 << 50, option::of(bytes()), option::of(bytes()), headers)
        .prop_map(|(timestamp_ms, key, value, headers)| Plain { timestamp_ms, key, value, headers });
    vec(one, 1..20)
}

fn as_read(plains: &[Plain]) -> Vec<Record> {
    let bytes = |bytes: &Option<Vec<u8>>| bytes.clone().map(Bytes::from);
    let record = |(plain, offset): (&Plain, u64)| Record {
        offset: Offset(offset),
        timestamp_ms: plain.timestamp_ms,
        key: bytes(&plain.key),
        value: bytes(&plain.value),
        headers: plain.headers.iter().map(|(name, value)| (Bytes::from(name.clone()), bytes(value))).collect(),
    };
    plains.iter().zip(0..).map(record).collect()
}

proptest! {
    #[test]
    fn what_is_built_is_sound_and_comes_back(plains in plains(), cut in 0usize..20) {
        let (left, right) = plains.split_at(cut.min(plains.len()));
        let sets = [set_of(left), set_of(right)];
        let bound = sets[0].batch_size_max() + sets[1].batch_size_max();
        let built = build_batch(&sets);
        prop_assert!(built.bytes.len() <= bound);
        let infos = check_batches(&built.bytes, &LIMITS).unwrap();
        prop_assert_eq!(infos.len(), 1);
        prop_assert_eq!(infos[0].record_count, built.record_count);
        prop_assert_eq!(infos[0].timestamp_ms_max, built.timestamp_ms_max);
        prop_assert_eq!(read(built.bytes.to_vec()).unwrap(), as_read(&plains));
        let mut appended = set_of(left);
        appended.append(set_of(right));
        prop_assert_eq!(appended.len(), plains.len());
        prop_assert_eq!(appended.timestamp_ms(plains.len() - 1), plains[plains.len() - 1].timestamp_ms);
        prop_assert_eq!(build_batch(&[appended]), built);
    }

    #[test]
    fn no_bytes_panic(bytes in vec(any::<u8>(), 0..200)) {
        let _ = check_batches(&bytes, &LIMITS);
        let _ = read(bytes.clone());
        let _ = parse_header(&bytes);
        let _ = stamp(&mut bytes.clone(), Offset(1), 1);
    }

    #[test]
    fn no_sealed_bytes_panic(changes in vec((0usize..200, any::<u8>()), 1..6), cut in 0usize..40, codec in 0u8..5) {
        let squeeze: Squeeze = CODECS.iter().find(|(known, _)| *known == codec).map_or(|bytes| bytes.to_vec(), |it| it.1);
        let mut batch = recompressed(&three(), codec, squeeze);
        for (at, byte) in changes {
            let len = batch.len();
            batch[at % len] = byte;
        }
        batch.truncate(batch.len().saturating_sub(cut).max(HEADER_LEN));
        batch[16] = 2;
        let batch = resized(batch);
        // Whatever passes the check can be read, and holds as many records.
        if let Ok(infos) = check_batches(&batch, &LIMITS) {
            let mut stamped = batch.clone();
            stamp(&mut stamped, Offset(0), 0).unwrap();
            prop_assert_eq!(read(stamped).unwrap().len() as u32, infos[0].record_count);
        }
        let _ = read(batch);
    }

    #[test]
    fn every_flipped_bit_is_seen(plains in plains(), bit in any::<prop::sample::Index>()) {
        let mut batch = batch_of(&plains);
        let bit = bit.index(batch.len() * 8);
        batch[bit / 8] ^= 1 << (bit % 8);
        // Base offset and leader epoch are stamped over, so the CRC leaves them out.
        let stamped_over = bit / 8 < 8 || (12..16).contains(&(bit / 8));
        prop_assert_eq!(check_batches(&batch, &LIMITS).is_ok(), stamped_over);
        prop_assert!(bit / 8 < CRC_COVERS_FROM || read(batch).is_err());
    }
}
