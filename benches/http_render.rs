//! From a stored batch to the JSON of its records: what a read of JSON costs per record, beside fetching.

use balsa::http::render::{Format, Renderer};
use balsa::record::{self, Limits, RecordSet};
use balsa::types::PartitionId;
use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

const RECORDS: usize = 10_000;
static LIMITS: Limits = Limits { record_bytes_max: 1 << 20, batch_bytes_max: 8 << 20, inflated_bytes_max: 32 << 20 };

/// A batch of records with these values, and short keys.
fn batch(value: impl Fn(usize) -> Vec<u8>) -> Bytes {
    let mut set = RecordSet::new();
    for n in 0..RECORDS {
        set.push(1_700_000_000_000 + n as i64, Some(format!("SYM{}", n % 500).as_bytes()), Some(&value(n)), &[]);
    }
    record::build_batch(&[set]).bytes
}

/// 100 bytes of JSON.
fn trade(n: usize) -> Vec<u8> {
    let trade = format!(
        "{{\"symbol\":\"SYM{}\",\"price\":{}.25,\"quantity\":{},\"time\":\"2026-11-21T09:24:00.{:06}Z\",\"side\":\"buy\"",
        n % 500,
        n % 1000,
        n % 100,
        n % 1_000_000
    );
    format!("{:-<92}\"}}", trade + ",\"note\":\"").into_bytes()
}

fn render(c: &mut Criterion) {
    let mut group = c.benchmark_group("render");
    group.throughput(Throughput::Elements(RECORDS as u64));
    let kinds = [
        ("json", batch(trade)),
        ("text", batch(|n| format!("{:x<100}", format!("plain text number {n} ")).into_bytes())),
        ("bytes", batch(|n| vec![(n as u8) | 0x80; 100])),
    ];
    for (kind, batch) in &kinds {
        group.bench_with_input(BenchmarkId::new("iterate", kind), batch, |b, batch| {
            b.iter(|| {
                record::records(batch.clone(), &LIMITS)
                    .map(|record| record.expect("a sound batch").offset.0)
                    .sum::<u64>()
            });
        });
        let renderer = Renderer::line(Format::Auto);
        let mut out = Vec::with_capacity(4 << 20);
        group.bench_with_input(BenchmarkId::new("lines", kind), batch, |b, batch| {
            b.iter(|| {
                out.clear();
                for record in record::records(batch.clone(), &LIMITS) {
                    renderer.record(&mut out, PartitionId(3), &record.expect("a sound batch"));
                    out.push(b'\n');
                }
                black_box(&out).len()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, render);
criterion_main!(benches);
