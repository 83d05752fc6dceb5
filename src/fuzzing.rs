//! What the fuzz targets run: one function per parser of bytes from outside. Not in any release: only tests and
//! `cargo fuzz` compile this.
//!
//! A target takes any bytes. It must not panic, and where bytes are taken it asserts what the rest of the house relies
//! on. `fuzz/fuzz_targets/NAME.rs` hands libFuzzer's bytes to the function of that name; the test below feeds the
//! committed corpus (`fuzz/corpus/NAME/`) to the same functions, on every machine and with any compiler. A crash that
//! was found and fixed stays there as one more file.

use crate::http::cursor::Cursor;
use crate::http::json_record::{RecordParser, parse_line, parse_records};
use crate::http::query::Query;
use crate::http::render::{Format, Renderer};
use crate::record::{
    ClientRules, Compression, HEADER_LEN, Limits, Record, TimestampRule, check_batches, parse_header, records, stamp,
    take_client_batch,
};
use crate::state::meta::{MetaCommand, MetaState};
use crate::state::partition::{EntryAttributes, PartitionCommand, PartitionState};
use crate::transport::Message;
use crate::types::{Offset, PartitionId, TopicId};
use bytes::Bytes;

/// Takes any bytes.
pub type Target = fn(&[u8]);

/// Names and functions of all targets.
pub const TARGETS: [(&str, Target); 12] = [
    ("record_check", record_check),
    ("record_sealed", record_sealed),
    ("record_iterate", record_iterate),
    ("json_records", json_records),
    ("json_line", json_line),
    ("json_render", json_render),
    ("query_and_cursor", query_and_cursor),
    ("segment", store::segment),
    ("vote", store::vote),
    ("peer_frames", peer_frames),
    ("kafka_requests", kafka_requests),
    ("state_codecs", state_codecs),
];

/// Small, so that a fuzzer meets them.
const LIMITS: Limits = Limits { record_bytes_max: 1 << 10, batch_bytes_max: 1 << 14, inflated_bytes_max: 1 << 16 };

/// Batches as a client sends them. What is taken must be readable, to the last record.
pub fn record_check(bytes: &[u8]) {
    client_batch(bytes);
    let Ok(infos) = check_batches(bytes, &LIMITS) else { return };
    let mut stamped = bytes.to_vec();
    stamp(&mut stamped, Offset(7), 3).expect("batches that were checked can be stamped");
    let read: Vec<Record> = records(Bytes::from(stamped), &LIMITS)
        .collect::<Result<_, _>>()
        .expect("batches that were checked can be read");
    let counted: u64 = infos.iter().map(|info| u64::from(info.record_count)).sum();
    assert_eq!(read.len() as u64, counted);
    assert!(read.iter().zip(7..).all(|(record, offset)| record.offset == Offset(offset)));
    assert_eq!(infos.iter().map(|info| info.len).sum::<usize>(), bytes.len());
}

/// A batch as a Kafka client sends it. What is taken can be read, and has the timestamps that are told of it.
fn client_batch(bytes: &[u8]) {
    let plain = TimestampRule::Create { oldest_ms: 0, newest_ms: i64::MAX };
    let append = TimestampRule::Append { now_ms: 77 };
    for (timestamps, compression) in
        [(plain, None), (append, None), (plain, Some(Compression::Zstd)), (plain, Some(Compression::None))]
    {
        let rules = ClientRules { limits: LIMITS, timestamps, compression };
        let Ok(taken) = take_client_batch(Bytes::copy_from_slice(bytes), &rules) else { continue };
        let mut stamped = taken.bytes.to_vec();
        stamp(&mut stamped, Offset(7), 3).expect("a batch that was taken can be stamped");
        let limits = Limits { batch_bytes_max: usize::MAX, ..LIMITS };
        let read: Vec<Record> = records(Bytes::from(stamped), &limits)
            .collect::<Result<_, _>>()
            .expect("a batch that was taken can be read");
        assert_eq!(read.len(), taken.record_count as usize);
        assert_eq!(read.iter().map(|record| record.timestamp_ms).max(), Some(taken.timestamp_ms_max));
    }
}

/// The same with length, magic and CRC made right, which no fuzzer guesses.
pub fn record_sealed(bytes: &[u8]) {
    record_check(&sealed(bytes));
}

fn sealed(bytes: &[u8]) -> Vec<u8> {
    let mut batch = bytes.to_vec();
    batch.resize(batch.len().max(HEADER_LEN), 0);
    let length = (batch.len() - 12) as u32;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch[16] = 2;
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}

/// Batches as a damaged disk gives them back.
pub fn record_iterate(bytes: &[u8]) {
    let _ = parse_header(bytes);
    let _ = stamp(&mut bytes.to_vec(), Offset(u64::MAX), -1);
    for batch in [bytes.to_vec(), sealed(bytes)] {
        let read: Vec<_> = records(Bytes::from(batch), &LIMITS).collect();
        assert!(read.iter().rev().skip(1).all(Result::is_ok), "nothing follows an error");
    }
}

/// The body of a produce request.
pub fn json_records(bytes: &[u8]) {
    let mut taken = 0;
    let count = parse_records(bytes, |place, record| {
        assert_eq!(place, taken);
        assert!(record.size() <= bytes.len());
        taken += 1;
        Ok(())
    });
    if let Ok(count) = count {
        assert_eq!(count, taken);
        serde_json::from_slice::<serde::de::IgnoredAny>(bytes).expect("what was taken is JSON");
    }
}

/// Lines of ndjson, each with the same parser, whose buffers live on.
pub fn json_line(bytes: &[u8]) {
    let mut parser = RecordParser::default();
    for line in bytes.split(|byte| *byte == b'\n') {
        let _ = parse_line(&mut parser, line, |record| {
            assert!(record.size() <= line.len());
            Ok(())
        });
    }
}

/// A stored record as JSON: whatever its bytes are, the answer is JSON, and on one line where lines are what is asked.
pub fn json_render(bytes: &[u8]) {
    let (value, key) = bytes.split_at(bytes.len() / 2);
    let record = Record {
        offset: Offset(1),
        timestamp_ms: 2,
        key: Some(Bytes::copy_from_slice(key)),
        value: Some(Bytes::copy_from_slice(value)),
        headers: vec![(Bytes::copy_from_slice(key), None), (Bytes::new(), Some(Bytes::copy_from_slice(value)))],
    };
    for format in Format::NAMES.iter().filter_map(|name| Format::parse(name)) {
        for renderer in [Renderer::document(format), Renderer::line(format)] {
            let mut out = Vec::new();
            renderer.record(&mut out, PartitionId(0), &record);
            serde_json::from_slice::<serde::de::IgnoredAny>(&out).expect("a rendered record is JSON");
        }
        let mut out = Vec::new();
        Renderer::line(format).record(&mut out, PartitionId(0), &record);
        let line = out.strip_suffix(b"\n").unwrap_or(&out);
        assert!(!line.contains(&b'\n') && !line.contains(&b'\r'), "a line has no line break within");
    }
}

/// A query string, and a cursor as it may stand there.
pub fn query_and_cursor(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(query) = Query::parse(Some(text), &["offset", "limit", "cursor"]) {
        let _ = query.number("limit", 1..=10);
        let _ = query.flag("limit");
    }
    if let Ok(cursor) = Cursor::decode(text, TopicId::default(), 3, "cursor") {
        assert_eq!(Cursor::decode(&cursor.encode(), TopicId::default(), 3, "cursor").ok(), Some(cursor));
    }
}

/// What another node sends: frames, and the messages within them.
pub fn peer_frames(bytes: &[u8]) {
    crate::transport::split_frames(bytes, 1 << 14);
    let (kind, rest) = bytes.split_at(bytes.len().min(1));
    let (header, payload) = rest.split_at(rest.len() / 2);
    for header in [rest, header] {
        let message = Message {
            kind: u16::from(kind.first().copied().unwrap_or(0)),
            header: Bytes::copy_from_slice(header),
            payload: vec![Bytes::copy_from_slice(payload)],
        };
        crate::raft::decode_all_ways(message);
    }
}

/// A Kafka client's request, without the length before it. What is not refused is decoded.
pub fn kafka_requests(bytes: &[u8]) {
    let _ = crate::kafka::dispatch::read(Bytes::copy_from_slice(bytes));
}

/// Commands and snapshots of the state machines, which come from peers and from disk.
pub fn state_codecs(bytes: &[u8]) {
    let _ = MetaCommand::decode(bytes);
    let _ = EntryAttributes::decode(bytes);
    let _ = PartitionCommand::decode(bytes);
    if let Ok(state) = MetaState::from_snapshot(bytes) {
        MetaState::from_snapshot(&state.to_snapshot()).expect("a snapshot of a sound state is sound");
    }
    let _ = PartitionState::from_snapshot(bytes);
}

/// A data directory of which one file was changed.
pub mod store {
    use crate::random::Random;
    use crate::record::{RecordSet, build_batch};
    use crate::storage::{DataEntry, LogEntry, Payload, RaftLog, Store, StoreConfig};
    use crate::types::{GroupId, LogId, LogIndex, NodeId, Term};
    use crate::vfs::{SimulatedFs, Vfs, read_file};
    use bytes::Bytes;
    use std::io::{self, IoSlice};
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    const GROUP: GroupId = GroupId(7);
    const ENTRIES: u64 = 6;

    /// The newest segment. The first byte says how the others are used: even, they replace what stands behind the
    /// segment's header; odd, each three of them change a byte, and the file ends where the last two say.
    pub fn segment(bytes: &[u8]) {
        let fs = SimulatedFs::new(1);
        let written = write(&fs).expect("the simulated disk has no faults");
        let path = file_of(&fs, ".segment");
        let old = read_file(&fs, &path).expect("the file is there");
        let (mode, rest) = bytes.split_at(bytes.len().min(1));
        let edits = mode.first().is_some_and(|mode| mode % 2 == 1);
        replace(&fs, &path, &if edits { edited(old, rest) } else { [&old[..64], rest].concat() });
        let Ok(read) = read(&fs) else { return };
        if edits {
            assert!(written.starts_with(&read), "damage may cut the end off, and nothing else");
        }
    }

    /// The vote's file, replaced or changed in the same way. A vote that changed must not be taken.
    pub fn vote(bytes: &[u8]) {
        let fs = SimulatedFs::new(1);
        write(&fs).expect("the simulated disk has no faults");
        let path = file_of(&fs, "vote");
        let old = read_file(&fs, &path).expect("the file is there");
        let (mode, rest) = bytes.split_at(bytes.len().min(1));
        let new =
            if mode.first().is_some_and(|mode| mode % 2 == 1) { edited(old.clone(), rest) } else { rest.to_vec() };
        replace(&fs, &path, &new);
        let store = open(&fs).expect("the vote is the group's, not the store's");
        assert!(store.open_log(GROUP).is_err() || new == old, "a changed vote was taken");
    }

    fn open(fs: &SimulatedFs) -> io::Result<Arc<Store>> {
        let config = StoreConfig {
            segment_bytes: 1 << 12,
            cache_bytes: 0,
            flusher_threads: 0,
            reserve_bytes: 0,
            ..StoreConfig::default()
        };
        Store::open(Arc::new(fs.clone()), Path::new("/data"), NodeId(1), config, &Random::from_seed(1))
    }

    fn write(fs: &SimulatedFs) -> io::Result<Vec<LogEntry>> {
        let store = open(fs)?;
        let log = store.open_log(GROUP)?;
        log.save_vote(b"a vote for node 2 in term 3")?;
        for index in 0..ENTRIES {
            let mut set = RecordSet::new();
            set.push(1_000 + index as i64, None, Some(&[b'v'; 40]), &[]);
            let built = build_batch(&[set]);
            let payload = Payload::Data(DataEntry {
                base_offset: None,
                record_count: built.record_count,
                timestamp_ms_max: built.timestamp_ms_max,
                attributes: Bytes::new(),
                batches: built.bytes,
            });
            log.append(
                vec![LogEntry { id: LogId { term: Term(3), index: LogIndex(index) }, payload }],
                Box::new(drop),
            )?;
        }
        log.close()?;
        store.close()?;
        drop((log, store));
        read(fs)
    }

    fn read(fs: &SimulatedFs) -> io::Result<Vec<LogEntry>> {
        let store = open(fs)?;
        let log = store.open_log(GROUP)?;
        let end = log.state().last.map_or(LogIndex(0), |last| last.index.next());
        let mut entries = Vec::new();
        while (entries.len() as u64) < end.0 {
            entries.extend(log.read(LogIndex(entries.len() as u64), end, 1 << 20)?);
        }
        log.close()?;
        store.close()?;
        Ok(entries)
    }

    fn file_of(fs: &SimulatedFs, suffix: &str) -> PathBuf {
        let dir = Path::new("/data/groups").join(GROUP.to_string());
        let names = fs.list(&dir).expect("the group has a directory");
        let found = names.iter().rev().find(|entry| entry.name.ends_with(suffix)).expect("the group has that file");
        dir.join(&found.name)
    }

    fn edited(mut bytes: Vec<u8>, edits: &[u8]) -> Vec<u8> {
        let (edits, last) = edits.as_chunks::<3>();
        for [high, low, change] in edits {
            let at = usize::from(u16::from_be_bytes([*high, *low])) % bytes.len();
            bytes[at] ^= change;
        }
        if let [high, low] = last {
            bytes.truncate(usize::from(u16::from_be_bytes([*high, *low])));
        }
        bytes
    }

    fn replace(fs: &SimulatedFs, path: &Path, bytes: &[u8]) {
        let file = fs.create(path).expect("the simulated disk has no faults");
        file.write_at(&mut [IoSlice::new(bytes)], 0).expect("the simulated disk has no faults");
        file.sync_data().expect("the simulated disk has no faults");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::path::PathBuf;

    fn fuzz_dir(name: &str) -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(name)
    }

    #[test]
    fn the_corpus_passes() {
        for (name, target) in TARGETS {
            let dir = fuzz_dir("corpus").join(name);
            let files: Vec<PathBuf> = std::fs::read_dir(&dir)
                .unwrap_or_else(|error| panic!("{}: {error}", dir.display()))
                .map(|entry| entry.unwrap().path())
                .collect();
            assert!(!files.is_empty(), "{} is empty", dir.display());
            for file in files {
                println!("{}", file.display());
                target(&std::fs::read(&file).unwrap());
            }
        }
    }

    /// A few bytes changed, cut off, doubled, or taken from elsewhere in the file.
    fn change(random: &crate::random::Random, bytes: &mut Vec<u8>) {
        let below = |bound: usize| random.below(bound as u64) as usize;
        for _ in 0..1 + below(4) {
            if bytes.is_empty() {
                return bytes.push(below(256) as u8);
            }
            let (at, other) = (below(bytes.len()), below(bytes.len()));
            match below(6) {
                0 => bytes[at] ^= 1 << below(8),
                1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][below(5)],
                2 => bytes.truncate(at),
                3 => bytes.insert(at, below(256) as u8),
                4 => bytes[at] = bytes[other],
                _ => {
                    let part = bytes[at..(at + below(64)).min(bytes.len())].to_vec();
                    bytes.splice(other..other, part);
                }
            }
        }
    }

    /// What every run of the tests does of the fuzzing: no coverage guides it, and it needs no build of its own.
    #[test]
    fn changed_files_of_the_corpus_do_no_harm() {
        const CHANGED_BY_TARGET: usize = 3_000;
        for (name, target) in TARGETS {
            let random = crate::random::Random::from_seed(name.bytes().map(u64::from).sum());
            let mut files: Vec<PathBuf> =
                std::fs::read_dir(fuzz_dir("corpus").join(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
            files.sort();
            for number in 0..CHANGED_BY_TARGET {
                let mut bytes = std::fs::read(&files[number % files.len()]).unwrap();
                change(&random, &mut bytes);
                target(&bytes);
            }
        }
    }

    #[test]
    fn every_target_is_a_program_and_every_program_a_target() {
        let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| name.to_string()).collect();
        let programs: BTreeSet<String> = std::fs::read_dir(fuzz_dir("fuzz_targets"))
            .unwrap()
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
            .collect();
        assert_eq!(targets, programs);
        let manifest = std::fs::read_to_string(fuzz_dir("Cargo.toml")).unwrap();
        for name in targets {
            assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is not in the manifest");
        }
    }

    fn put(name: &str, seed: &str, bytes: &[u8]) {
        let dir = fuzz_dir("corpus").join(name);
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join(seed), bytes).unwrap();
    }

    /// A sound batch as it is, and with each codec.
    fn batches() -> Vec<(&'static str, Vec<u8>)> {
        use std::io::Write;
        let mut set = crate::record::RecordSet::new();
        set.push(1_700_000_000_000, Some(b"BTC"), Some(br#"{"price": 101.5}"#), &[(b"trace", Some(b"ab12"))]);
        set.push(1_700_000_000_001, None, None, &[(b"", None)]);
        set.push(1_699_999_999_999, Some(b""), Some(&[b'z'; 70]), &[]);
        let plain = crate::record::build_batch(&[set]).bytes.to_vec();
        let records = &plain[HEADER_LEN..];
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(records).unwrap();
        let snappy = snap::raw::Encoder::new().compress_vec(records).unwrap();
        let mut xerial = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
        xerial.extend((snappy.len() as u32).to_be_bytes());
        xerial.extend(&snappy);
        let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
        lz4.write_all(records).unwrap();
        let squeezed = [
            ("gzip", 1, gzip.finish().unwrap()),
            ("snappy", 2, snappy),
            ("xerial", 2, xerial),
            ("lz4", 3, lz4.finish().unwrap()),
            ("zstd", 4, zstd::encode_all(records, 3).unwrap()),
        ];
        let mut all = vec![("plain", plain.clone()), ("two", [plain.clone(), plain.clone()].concat())];
        all.extend(squeezed.into_iter().map(|(name, codec, squeezed)| {
            let mut batch = [&plain[..HEADER_LEN], &squeezed].concat();
            batch[22] = codec;
            (name, sealed(&batch))
        }));
        all
    }

    /// How the seeds were made: `cargo test --lib fuzzing -- --ignored`.
    #[test]
    #[ignore = "writes the corpus into the source tree"]
    fn write_seeds() {
        for (name, batch) in batches() {
            for target in ["record_check", "record_sealed", "record_iterate"] {
                put(target, name, &batch);
            }
        }
        let record = r#"{"partition":3,"key":"BTC","value":{"price":101.5,"n":[1,-2.0e5,null,true,"\u20ac\ud83d\ude00"]},"headers":[["trace",{"base64":"YWI="}],["e",null]],"timestamp_ms":17}"#;
        put("json_records", "one", format!(r#"{{"records": [{record}]}}"#).as_bytes());
        put("json_records", "two", format!(r#"{{"records": [{record}, {{"value": null}}]}}"#).as_bytes());
        put("json_records", "base64", br#"{"records":[{"value":{"base64":"AP8="},"key":{"base64":""}}]}"#);
        put("json_line", "two", format!("{record}\n{{\"value\": \"text\"}}\n\n").as_bytes());
        put("json_line", "scalar", b"{\"value\": 123456789012345678901234567890.0}");
        put("json_render", "object", b"{\"a\": [1,\n 2]}key \"quoted\"");
        put("json_render", "base64", b"{\"base64\": \"AA\"}\x00\xff bytes");
        put("json_render", "deep", &[[b'['; 200], [b']'; 200]].concat());
        put("query_and_cursor", "query", b"offset=tail%3A5&limit=7&cursor=");
        let cursor = Cursor { topic: TopicId::default(), first: 1, positions: vec![Offset(0), Offset(300), Offset(7)] };
        put("query_and_cursor", "cursor", cursor.encode().as_bytes());
        put("segment", "untouched", &[1]);
        put("segment", "torn", &[1, 3, 0]);
        put("segment", "flipped", &[1, 0, 200, 1]);
        put("segment", "replaced", &[0; 300]);
        put("vote", "untouched", &[1]);
        put("vote", "flipped", &[1, 0, 20, 1]);
        put("vote", "cut", &[1, 0, 9]);
        put("vote", "empty", &[0]);
        put("peer_frames", "zeros", &[0; 64]);
        let mut append = vec![1, 0, 7, 0, 0, 0, 0, 0, 0, 0];
        append.extend([0; 60]);
        put("peer_frames", "append", &append);
        put("state_codecs", "empty_meta", &MetaState::new().to_snapshot());
        put("state_codecs", "command", &[1, 0, 0, 0, 0]);
    }
}
