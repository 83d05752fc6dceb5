//! What a record costs on its way in and out: building a batch, checking one, reading one.
//!
//! Throughput is records a second; the batches are those of the figures in `docs/performance.md` (2,500 of 100 B).

use balsa::record::{Limits, RecordSet, build_batch, check_batches, records};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

const LIMITS: Limits = Limits { record_bytes_max: 1 << 20, batch_bytes_max: 8 << 20, inflated_bytes_max: 32 << 20 };
const RECORDS: u64 = 2_500;

fn set(value_len: usize) -> RecordSet {
    let value = vec![b'x'; value_len];
    let mut set = RecordSet::new();
    for place in 0..RECORDS {
        set.push(1_700_000_000_000 + place as i64 / 10, Some(&place.to_le_bytes()), Some(&value), &[]);
    }
    set
}

fn record(criterion: &mut Criterion) {
    for value_len in [100, 1024] {
        let mut group = criterion.benchmark_group(format!("record/{value_len}"));
        group.throughput(Throughput::Elements(RECORDS));
        group.bench_function("push", |bencher| bencher.iter(|| set(black_box(value_len))));
        let sets = [set(value_len)];
        group.bench_function("build", |bencher| bencher.iter(|| build_batch(black_box(&sets))));
        let batch = build_batch(&sets).bytes;
        group.bench_function("crc", |bencher| bencher.iter(|| crc32c::crc32c(black_box(&batch))));
        group.bench_function("check", |bencher| bencher.iter(|| check_batches(black_box(&batch), &LIMITS)));
        group.bench_function("iterate", |bencher| {
            bencher.iter(|| records(black_box(batch.clone()), &LIMITS).filter(Result::is_ok).count())
        });
        group.finish();
    }
}

criterion_group!(benches, record);
criterion_main!(benches);
