//! Parsing of JSON records as they come over HTTP: records a second on one core, beside what a tree of values costs.

use balsa::http::json_record::{RecordParser, parse_line, parse_records};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

/// Records of a request.
const RECORDS: usize = 100;

fn bodies() -> [(&'static str, String); 3] {
    let text = format!("{{\"value\":\"{}\"}}", "x".repeat(86));
    let trade = r#"{"key":"BTCUSD","value":{"symbol":"BTCUSD","price":101.512,"quantity":1200,"time":1700000000123}}"#;
    let full =
        r#"{"key":"BTCUSD","timestamp_ms":1700000000000,"headers":[["trace","ab12"]],"value":"{\"price\":101.512}"}"#;
    [("text", text), ("trade", trade.to_owned()), ("headers and escapes", full.to_owned())]
}

fn parse(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("http json");
    group.throughput(Throughput::Elements(RECORDS as u64));
    for (name, record) in bodies() {
        let body = format!("{{\"records\":[{}]}}", vec![record.as_str(); RECORDS].join(","));
        group.bench_function(format!("request/{name}"), |bencher| {
            bencher.iter(|| {
                let mut size = 0;
                let count = parse_records(black_box(body.as_bytes()), |_, record| {
                    size += record.size();
                    Ok(())
                });
                (count.expect("the body is sound"), size)
            });
        });
        let lines = format!("{record}\n").repeat(RECORDS);
        group.bench_function(format!("lines/{name}"), |bencher| {
            let mut parser = RecordParser::default();
            bencher.iter(|| {
                let mut size = 0;
                for line in black_box(&lines).lines() {
                    size += parse_line(&mut parser, line.as_bytes(), |record| Ok(record.size())).expect("a sound line");
                }
                size
            });
        });
        group.bench_function(format!("as a tree of values/{name}"), |bencher| {
            bencher.iter(|| serde_json::from_str::<serde_json::Value>(black_box(&body)).expect("sound JSON"));
        });
    }
    group.finish();
}

criterion_group!(benches, parse);
criterion_main!(benches);
