//! What an append costs, beside what the disk costs: `cargo bench --bench storage`.
//!
//! `append/…`: entries of one size through a window of outstanding ones; each counts when it is on disk.
//! `latency/…`: one entry at a time, beside a raw `pwrite` + `fdatasync` of the same size.
//! `sync/…`: the same raw write, into space that was reserved, written before, or neither.
//!
//! The disk's own noise is in all of them: compare figures of one run. `BALSA_BENCH_DIR` chooses the disk.

use balsa::random::Random;
use balsa::storage::{DataEntry, DiskLog, LogEntry, Payload, RaftLog, Store, StoreConfig};
use balsa::types::{GroupId, LogId, LogIndex, NodeId, Term};
use balsa::vfs::{RealFs, Vfs, VfsFile};
use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::io::IoSlice;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, atomic::Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const SIZES: [usize; 4] = [100, 1 << 10, 16 << 10, 256 << 10];
/// Entries that may be on their way at a time, and bytes.
const WINDOW: usize = 1_000;
const WINDOW_BYTES: usize = 8 << 20;

fn temporary() -> TempDir {
    // Not the system's temporary directory, which often is memory.
    let dir = std::env::var_os("BALSA_BENCH_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    tempfile::tempdir_in(dir).expect("a temporary directory")
}

fn batch(len: usize) -> Bytes {
    let mut bytes = vec![7; len.max(61)];
    bytes[8..12].copy_from_slice(&(len.max(61) as u32 - 12).to_be_bytes());
    bytes[16] = 2;
    bytes[23..27].fill(0);
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes.into()
}

struct Writer {
    store: Arc<Store>,
    log: Arc<DiskLog>,
    next: u64,
    sender: SyncSender<()>,
    receiver: Receiver<()>,
    _dir: TempDir,
}

impl Writer {
    fn new() -> Writer {
        let dir = temporary();
        let config = StoreConfig::default();
        let random = Random::from_system();
        let store = Store::open(Arc::new(RealFs), &dir.path().join("node"), NodeId(1), config, &random).expect("opens");
        let log = store.open_log(GroupId(1)).expect("opens");
        let (sender, receiver) = sync_channel(WINDOW * 2);
        Writer { store, log, next: 0, sender, receiver, _dir: dir }
    }

    // Keeps the disk from filling up.
    fn shorten(&self) {
        let state = self.log.state();
        if state.size_bytes > 1 << 30
            && let Some(last) = state.flushed
        {
            self.log.purge(last).expect("purges");
        }
    }

    fn append(&mut self, batches: &Bytes) {
        let data = DataEntry {
            base_offset: None,
            record_count: 1,
            timestamp_ms_max: 0,
            attributes: Bytes::new(),
            batches: batches.clone(),
        };
        let id = LogId { term: Term(1), index: LogIndex(self.next) };
        self.next += 1;
        let sender = self.sender.clone();
        let flushed = move |result: std::io::Result<()>| {
            result.expect("flushes");
            sender.send(()).expect("the bench waits");
        };
        self.log.append(vec![LogEntry { id, payload: Payload::Data(data) }], Box::new(flushed)).expect("appends");
    }

    fn run(&mut self, count: u64, batches: &Bytes, window: usize) -> Duration {
        self.shorten();
        let started = Instant::now();
        let mut outstanding = 0;
        for _ in 0..count {
            if outstanding == window {
                self.receiver.recv().expect("flushes");
                outstanding -= 1;
            }
            self.append(batches);
            outstanding += 1;
        }
        (0..outstanding).for_each(|_| self.receiver.recv().expect("flushes"));
        started.elapsed()
    }
}

fn append(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append");
    for size in SIZES {
        let batches = batch(size);
        let mut writer = Writer::new();
        let window = WINDOW.min(WINDOW_BYTES / size);
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter_custom(|count| writer.run(count, &batches, window));
        });
        let stats = writer.store.stats();
        let given = writer.next * batches.len() as u64;
        println!(
            "{size} B: {:.3} bytes written per byte, {:.1} entries per sync",
            stats.bytes_written.load(Ordering::Relaxed) as f64 / given as f64,
            writer.next as f64 / stats.syncs.load(Ordering::Relaxed) as f64
        );
        writer.store.close().expect("closes");
    }
    group.finish();
}

fn latency(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("latency");
    for size in [100, 4 << 10, 64 << 10] {
        let batches = batch(size);
        let mut writer = Writer::new();
        group.bench_function(BenchmarkId::new("log", size), |bencher| {
            bencher.iter_custom(|count| writer.run(count, &batches, 1));
        });
        raw(&mut group, BenchmarkId::new("raw", size), size, |file| {
            file.allocate(0, 8 << 20).expect("reserves");
        });
    }
    group.finish();
}

fn sync(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sync");
    let size = 4 << 10;
    raw(&mut group, BenchmarkId::new("appended", size), size, |_| {});
    raw(&mut group, BenchmarkId::new("reserved", size), size, |file| {
        file.allocate(0, 8 << 20).expect("reserves");
    });
    raw(&mut group, BenchmarkId::new("written before", size), size, |file| {
        file.write_at(&mut [IoSlice::new(&vec![0; 8 << 20])], 0).expect("writes");
        file.sync_all().expect("syncs");
    });
    group.finish();
}

fn raw(
    group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>,
    name: BenchmarkId,
    size: usize,
    prepare: impl Fn(&dyn VfsFile),
) {
    let dir = temporary();
    let bytes = vec![7; size];
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|count| {
            let mut spent = Duration::ZERO;
            let mut left = count;
            // As many as fit into what was prepared; preparing is not counted.
            while left > 0 {
                let some = left.min((8 << 20) / size as u64);
                let file = RealFs.create(&dir.path().join("raw")).expect("creates");
                prepare(&*file);
                let started = Instant::now();
                for number in 0..some {
                    file.write_at(&mut [IoSlice::new(&bytes)], number * size as u64).expect("writes");
                    file.sync_data().expect("syncs");
                }
                spent += started.elapsed();
                left -= some;
            }
            spent
        });
    });
}

criterion_group! {
    name = storage;
    config = Criterion::default().sample_size(10).warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2));
    targets = append, latency, sync
}
criterion_main!(storage);
