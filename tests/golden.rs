//! The data directory that format version 1 wrote, opened by this version.
//!
//! `tests/golden/v1` is never written anew: a version that cannot open it loses its users' data. It was made by
//! `cargo test --test golden -- --ignored`, which refuses to overwrite.

use balsa::random::Random;
use balsa::storage::{DataEntry, LogEntry, Payload, RaftLog, Store, StoreConfig};
use balsa::types::{GroupId, LogId, LogIndex, NodeId, Offset, Term};
use balsa::vfs::RealFs;
use bytes::Bytes;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const LONG: GroupId = GroupId(1);
const PURGED: GroupId = GroupId(2);
const UNTOUCHED: GroupId = GroupId(3);
const REMOVED: GroupId = GroupId(4);

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1")
}

fn open(dir: &Path) -> Arc<Store> {
    let config = StoreConfig {
        segment_bytes: 2048,
        index_interval_bytes: 256,
        cache_bytes: 0,
        flusher_threads: 0,
        reserve_bytes: 0,
        ..StoreConfig::default()
    };
    Store::open(Arc::new(RealFs), dir, NodeId(3), config, &Random::from_seed(20)).expect("opens")
}

fn id(term: u64, index: u64) -> LogId {
    LogId { term: Term(term), index: LogIndex(index) }
}

fn batch(records: u32, body_len: usize, fill: u8) -> Vec<u8> {
    let mut bytes = vec![0; 61];
    bytes[8..12].copy_from_slice(&(49 + body_len as u32).to_be_bytes());
    bytes[16] = 2;
    bytes[23..27].copy_from_slice(&(records - 1).to_be_bytes());
    bytes[57..61].copy_from_slice(&records.to_be_bytes());
    bytes.resize(61 + body_len, fill);
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes
}

fn entries() -> Vec<LogEntry> {
    let payload = |index: u64| match index {
        0 => Payload::Blank,
        1 => Payload::Membership(Bytes::from_static(b"a membership")),
        2 => Payload::Command(Bytes::from_static(b"a command")),
        _ => Payload::Data(DataEntry {
            base_offset: None,
            record_count: if index == 7 { 5 } else { 2 },
            timestamp_ms_max: 1_700_000_000_000 + index as i64,
            attributes: Bytes::from(vec![index as u8; index as usize % 5]),
            batches: match index {
                7 => [batch(2, 40, 1), batch(3, 50, 2)].concat().into(),
                _ => batch(2, 100 + index as usize, index as u8).into(),
            },
        }),
    };
    (0..40).map(|index| LogEntry { id: id(1 + index / 15, index), payload: payload(index) }).collect()
}

fn write(dir: &Path) {
    let store = open(dir);
    store.set_cluster_id(uuid::Uuid::from_u128(0xBA15A)).expect("saves");
    for group in [LONG, PURGED, UNTOUCHED, REMOVED] {
        store.open_log(group).expect("makes");
    }
    store.remove_log(REMOVED).expect("removes");
    let logs = [LONG, PURGED].map(|group| store.open_log(group).expect("opens"));
    for log in &logs {
        log.save_vote(b"a vote").expect("saves");
        for entry in entries() {
            log.append(vec![entry], Box::new(|flushed| flushed.expect("flushes"))).expect("appends");
        }
        log.save_checkpoint(id(2, 20), b"a state").expect("saves");
    }
    logs[1].purge(id(2, 20)).expect("purges");
    store.close().expect("closes");
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("makes");
    for entry in std::fs::read_dir(from).expect("lists") {
        let entry = entry.expect("lists");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("asks").is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copies");
        }
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(next).expect("lists") {
            let path = entry.expect("lists").path();
            if path.is_dir() { open.push(path) } else { found.push(path.strip_prefix(dir).expect("below").into()) }
        }
    }
    found.sort();
    found
}

#[test]
#[ignore = "writes the golden directory; only for a new format version"]
fn write_golden() {
    assert!(!golden().exists(), "the golden directory is there, and is never overwritten");
    write(&golden());
}

#[test]
fn opens_what_version_1_wrote() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("node");
    copy(&golden(), &path);
    let store = open(&path);
    assert!(!store.is_new());
    assert_eq!(store.identity().node_id, NodeId(3));
    assert_eq!(store.identity().cluster_id, Some(uuid::Uuid::from_u128(0xBA15A)));
    assert_eq!(store.logs(), vec![LONG, PURGED, UNTOUCHED]);
    for (group, first) in [(LONG, 0), (PURGED, 21)] {
        let log = store.open_log(group).expect("opens");
        assert_eq!(log.vote(), Some(Bytes::from_static(b"a vote")));
        assert_eq!(log.load_checkpoint().expect("loads"), Some((id(2, 20), Bytes::from_static(b"a state"))));
        let state = log.state();
        assert_eq!((state.last, state.log_end_offset), (Some(id(3, 39)), Offset(77)));
        let given = &entries()[first..];
        for expected in given {
            let index = expected.id.index;
            let found = log.read(index, index.next(), 1).expect("reads").remove(0);
            assert_eq!(found.id, expected.id);
            match (&found.payload, &expected.payload) {
                (Payload::Data(found), Payload::Data(expected)) => {
                    assert_eq!(found.attributes, expected.attributes);
                    assert_eq!(found.timestamp_ms_max, expected.timestamp_ms_max);
                    assert_eq!(found.batches[16..21], expected.batches[16..21]);
                    let base = found.base_offset.expect("is stamped");
                    assert_eq!(log.fetch(base, state.log_end_offset, 1).expect("fetches")[0].base_offset, base);
                }
                (found, expected) => assert_eq!(found, expected),
            }
        }
        assert_eq!(log.offset_for_time(1_700_000_000_039).expect("finds"), Some(Offset(75)));
        let next = LogEntry { id: id(3, 40), payload: Payload::Blank };
        log.append(vec![next], Box::new(|flushed| flushed.expect("flushes"))).expect("appends");
    }
    assert_eq!(store.open_log(UNTOUCHED).expect("opens").state().last, None);
    store.close().expect("closes");
}

#[test]
fn writes_the_same_bytes_as_version_1() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("node");
    write(&path);
    assert_eq!(files(&path), files(&golden()));
    for file in files(&golden()) {
        let same =
            std::fs::read(path.join(&file)).expect("reads") == std::fs::read(golden().join(&file)).expect("reads");
        assert!(same, "{} has other bytes: count up the format version", file.display());
    }
}
