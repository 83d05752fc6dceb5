//! Damage of every file is an error that names it, never a panic, and never repaired by forgetting.

use super::testing::{GROUP, all, append, blank, command, config, data, id, store_at};
use super::{DiskLog, RaftLog, Store, StoreConfig, layout};
use crate::types::{GroupId, LogIndex, NodeId};
use crate::vfs::{SimulatedFs, Vfs, read_file};
use proptest::prelude::*;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn open(fs: &SimulatedFs) -> io::Result<(Arc<Store>, Arc<DiskLog>)> {
    let store = store_at(Arc::new(fs.clone()), Path::new("node"), config())?;
    let log = store.open_log(GROUP)?;
    Ok((store, log))
}

// A log over several segments, with its last flush alone in the last one, all flushed one by one.
fn filled(fs: &SimulatedFs, entries: u64) -> (Arc<Store>, Arc<DiskLog>) {
    let (store, log) = open(fs).expect("opens");
    append(&*log, vec![blank(1, 0), command(1, 1, "a command")]).expect("appends");
    for index in 2..entries {
        append(&*log, vec![data(1 + index / 10, index, 2, 400)]).expect("appends");
    }
    (store, log)
}

fn group_dir() -> PathBuf {
    layout::group_dir(Path::new("node"), GROUP)
}

fn segments(fs: &SimulatedFs) -> Vec<PathBuf> {
    let names = fs.list(&group_dir()).expect("lists");
    names.iter().filter(|entry| entry.name.ends_with(".segment")).map(|entry| group_dir().join(&entry.name)).collect()
}

fn write(fs: &SimulatedFs, path: &Path, bytes: &[u8]) {
    let file = fs.create(path).expect("creates");
    file.write_at(&mut [IoSlice::new(bytes)], 0).expect("writes");
    file.sync_all().expect("syncs");
}

fn error_text<T>(result: io::Result<T>) -> String {
    result.err().expect("must be refused").to_string()
}

#[test]
fn a_torn_tail_is_cut_at_every_byte() {
    let fs = SimulatedFs::new(1);
    let (store, log) = open(&fs).expect("opens");
    append(&*log, vec![data(1, 0, 1, 20)]).expect("appends");
    let path = segments(&fs).remove(0);
    let first = read_file(&fs, &path).expect("reads").len();
    append(&*log, vec![data(1, 1, 1, 30), blank(1, 2)]).expect("appends");
    let whole = read_file(&fs, &path).expect("reads");
    fs.power_cut();
    drop((store, log));
    for len in first..whole.len() {
        for tail in [&[][..], &[0; 10], &[0xFF; 200]] {
            let bytes = [&whole[..len], tail].concat();
            write(&fs, &path, &bytes);
            let (store, log) = open(&fs).expect("a torn tail is cut");
            // The last bytes of a frame may be zeros themselves.
            let frames = if len >= whole.len() - 64 { 2 } else { 1 };
            let kept = if bytes.starts_with(&whole) { 3 } else { frames };
            assert_eq!(log.state().last, Some(id(1, kept - 1)), "cut to {len} bytes");
            append(&*log, vec![blank(1, kept)]).expect("appends");
            assert_eq!(all(&*log).len() as u64, kept + 1);
            fs.power_cut();
            drop((store, log));
        }
    }
}

#[test]
fn damage_below_what_was_flushed_is_never_cut() {
    let fs = SimulatedFs::new(1);
    let (store, log) = open(&fs).expect("opens");
    let mut ends = Vec::new();
    let path = segments(&fs).remove(0);
    for index in 0..5 {
        append(&*log, vec![data(1, index, 2, 100)]).expect("appends");
        ends.push(read_file(&fs, &path).expect("reads").len() as u64);
    }
    drop((store, log));
    fs.power_cut();
    // The last frame has no witness. Before it, each byte is protected.
    for byte in 0..ends[3] {
        fs.flip_bit(&path, byte, (byte % 8) as u32).expect("flips");
        let text = error_text(open(&fs));
        assert!(text.contains("segment"), "{text}");
        fs.flip_bit(&path, byte, (byte % 8) as u32).expect("flips back");
        fs.power_cut();
    }
    assert_eq!(open(&fs).expect("is sound").1.state().last, Some(id(1, 4)));
}

#[test]
fn a_clean_stop_proves_all_of_it_flushed() {
    let fs = SimulatedFs::new(1);
    let (store, _log) = filled(&fs, 6);
    store.close().expect("closes");
    let path = segments(&fs).pop().expect("some");
    let len = read_file(&fs, &path).expect("reads").len() as u64;
    fs.open(&path).expect("opens").set_len(len - 1).expect("cuts");
    let text = error_text(open(&fs));
    assert!(text.contains("it was flushed up to byte"), "{text}");
}

#[test]
fn a_damaged_closed_segment_is_told_when_it_is_read() {
    let fs = SimulatedFs::new(1);
    let (store, log) = filled(&fs, 30);
    let paths = segments(&fs);
    assert!(paths.len() > 3);
    fs.flip_bit(&paths[1], 900, 1).expect("flips");
    let mut told = 0;
    for index in 0..30 {
        if let Err(error) = log.read(LogIndex(index), LogIndex(index + 1), 1) {
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            assert!(error.to_string().contains(paths[1].to_str().expect("text")), "{error}");
            told += 1;
        }
    }
    assert!((1..20).contains(&told));
    drop((store, log));
    // Without its index file a closed segment is scanned, and then the damage is met at once.
    fs.power_cut();
    for entry in fs.list(&group_dir()).expect("lists") {
        if entry.name.ends_with(".index") {
            fs.remove_file(&group_dir().join(entry.name)).expect("removes");
        }
    }
    error_text(open(&fs));
    fs.power_cut();
    fs.flip_bit(&paths[1], 900, 1).expect("flips back");
    assert_eq!(all(&*open(&fs).expect("indexes are rebuilt").1).len(), 30);
}

#[test]
fn a_missing_file_is_damage() {
    let fs = SimulatedFs::new(1);
    drop(filled(&fs, 30));
    fs.power_cut();
    let paths = segments(&fs);
    let dir = group_dir();
    let lost = [dir.join("vote"), dir.join("start"), paths[0].clone(), paths[2].clone(), dir.clone()];
    for path in lost.into_iter().chain([PathBuf::from("node/born"), PathBuf::from("node/identity")]) {
        let aside = path.with_file_name("aside");
        fs.rename(&path, &aside).expect("renames");
        let text = error_text(open(&fs));
        assert!(text.contains("is damaged") || text.contains("born"), "{text}");
        fs.rename(&aside, &path).expect("renames");
        fs.sync_dir(path.parent().expect("some")).expect("syncs");
        fs.power_cut();
    }
    assert_eq!(all(&*open(&fs).expect("is sound").1).len(), 30);
}

#[test]
fn a_newer_version_is_refused_by_name() {
    let fs = SimulatedFs::new(1);
    let (store, log) = filled(&fs, 30);
    log.save_checkpoint(id(1, 3), b"state").expect("saves");
    store.close().expect("closes");
    drop((store, log));
    let dir = group_dir();
    let last = segments(&fs).pop().expect("some");
    let files = ["node/identity", "node/born"].map(PathBuf::from).into_iter();
    for path in files.chain([dir.join("start"), dir.join("vote"), last.clone(), last.with_extension("index")]) {
        let before = read_file(&fs, &path).expect("reads");
        let mut newer = before.clone();
        newer[8] = 2;
        write(&fs, &path, &newer);
        let text = error_text(open(&fs));
        assert!(text.contains("format version 2") && text.contains(path.to_str().expect("text")), "{text}");
        assert_eq!(read_file(&fs, &path).expect("reads"), newer, "nothing was touched");
        write(&fs, &path, &before);
    }
    assert_eq!(all(&*open(&fs).expect("is sound").1).len(), 30);
}

#[test]
fn another_node_another_cluster_another_process() {
    let fs = SimulatedFs::new(1);
    let cluster = |number: u128| uuid::Uuid::from_u128(number);
    let store = store_at(Arc::new(fs.clone()), Path::new("node"), config()).expect("opens");
    assert!(store.is_new());
    let text = error_text(store_at(Arc::new(fs.clone()), Path::new("node"), config()));
    assert_eq!(text, "node is in use by another process");
    store.set_cluster_id(cluster(1)).expect("saves");
    store.close().expect("closes");
    let random = crate::random::Random::from_seed(2);
    let other = Store::open(Arc::new(fs.clone()), Path::new("node"), NodeId(2), config(), &random);
    assert!(error_text(other).starts_with("node belongs to node 1, not to node 2"));
    let again = store_at(Arc::new(fs.clone()), Path::new("node"), config()).expect("opens");
    assert!(!again.is_new());
    assert_eq!(again.identity(), store.identity());
    assert!(error_text(again.set_cluster_id(cluster(2))).contains("belongs to cluster"));
}

#[test]
fn many_idle_logs_keep_few_files_open() {
    let fs = SimulatedFs::new(1);
    let few = StoreConfig { open_files_max: 8, ..config() };
    let store = store_at(Arc::new(fs), Path::new("node"), few).expect("opens");
    let logs: Vec<_> = (0..40).map(|group| store.open_log(GroupId(group)).expect("opens")).collect();
    for round in 0..3 {
        for log in &logs {
            append(&**log, vec![data(1, round, 1, 50)]).expect("appends");
        }
    }
    assert!(logs.iter().all(|log| all(&**log).len() == 3));
    assert!(size_of::<DiskLog>() < 1024);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_an_error_and_never_a_panic(
        which in 0usize..8,
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        keep in 0usize..400,
    ) {
        let fs = SimulatedFs::new(1);
        let (store, log) = filled(&fs, 30);
        log.save_checkpoint(id(1, 3), b"state").expect("saves");
        store.close().expect("closes");
        drop((store, log));
        let dir = group_dir();
        let all_segments = segments(&fs);
        let path = match which {
            0 => PathBuf::from("node/identity"),
            1 => PathBuf::from("node/born"),
            2 => dir.join("start"),
            3 => dir.join("vote"),
            4 => dir.join(layout::checkpoint_name(LogIndex(3))),
            5 => all_segments[1].with_extension("index"),
            6 => all_segments[1].clone(),
            _ => all_segments.last().expect("some").clone(),
        };
        // Behind a sound beginning, so that more than the magic is looked at.
        let before = read_file(&fs, &path).expect("reads");
        let kept = keep.min(before.len());
        write(&fs, &path, &[&before[..kept], &bytes].concat());
        if let Ok((_store, log)) = open(&fs) {
            for index in 0..30 {
                let _ = log.read(LogIndex(index), LogIndex(index + 1), 1);
            }
            let _ = log.load_checkpoint();
        }
    }
}
