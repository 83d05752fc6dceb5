//! The main job: a million trades through two nodes while the third dies twice, and all of them back in order.

mod support;

use bytes::Bytes;
use futures::stream;
use http::Method;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};
use support::Cluster;
use support::http::Reply;
use support::records::{agreed_leader, append, create_topic};

const TOPIC: &str = "trades";
const PARTITIONS: u32 = 10;
const TRADES: usize = 1_000_000;
const SYMBOLS: usize = 500;
const SEED: u64 = 20_261_121;
/// Lines that are handed to the connection at once.
const CHUNK_LINES: usize = 500;

/// A feed of trades of the symbols whose number leaves `part` over when divided by `parts`.
struct Feed {
    random: StdRng,
    part: usize,
    parts: usize,
    left: usize,
    /// Per symbol: price in hundredths, and trades so far.
    symbols: Vec<(u32, u64)>,
    time_ms: u64,
    sent: Arc<AtomicUsize>,
}

impl Feed {
    fn new(part: usize, parts: usize, sent: Arc<AtomicUsize>) -> Feed {
        let mut random = StdRng::seed_from_u64(SEED + part as u64);
        let symbols = (0..SYMBOLS).map(|_| (random.random_range(500..50_000), 0)).collect();
        Feed { random, part, parts, left: TRADES / parts, symbols, time_ms: 1_760_000_000_000, sent }
    }

    fn line(&mut self, out: &mut String) {
        let number = self.random.random_range(0..SYMBOLS / self.parts) * self.parts + self.part;
        let (price, count) = &mut self.symbols[number];
        *price = price.saturating_add_signed(self.random.random_range(-5..=5)).max(1);
        self.time_ms += self.random.random_range(0..3);
        let (whole, rest, quantity) = (*price / 100, *price % 100, self.random.random_range(1..1000));
        let symbol = symbol(number);
        writeln!(
            out,
            r#"{{"key":"{symbol}","value":{{"symbol":"{symbol}","trade":{count},"price":{whole}.{rest:02},"quantity":{quantity},"time_ms":{}}}}}"#,
            self.time_ms
        )
        .expect("a string takes all that is written to it");
        *count += 1;
    }
}

fn symbol(number: usize) -> String {
    let letter = |at: usize| char::from(b'A' + (at % 26) as u8);
    [letter(number / 676), letter(number / 26), letter(number), 'X'].iter().collect()
}

impl Iterator for Feed {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.left == 0 {
            return None;
        }
        let lines = self.left.min(CHUNK_LINES);
        self.left -= lines;
        let mut chunk = String::with_capacity(lines * 130);
        (0..lines).for_each(|_| self.line(&mut chunk));
        self.sent.fetch_add(lines, SeqCst);
        Some(chunk.into())
    }
}

/// Streams one part of the feed through one node; what it answered.
fn produce(cluster: &Cluster, node: u64, part: usize, sent: &Arc<AtomicUsize>) -> std::thread::JoinHandle<Reply> {
    let mut http = cluster.http(node);
    let feed = Feed::new(part, 2, sent.clone());
    spawn(move || {
        http.time_max = Duration::from_secs(600);
        let headers = [("content-type", "application/x-ndjson")];
        http.send_stream(Method::POST, &format!("/v1/topics/{TOPIC}/records"), &headers, stream::iter(feed)).unwrap()
    })
}

/// No error, all acknowledged: the ranges of offsets, by partition.
fn acknowledged(reply: &Reply) -> Vec<(u64, u64, u64)> {
    let text = reply.text();
    assert_eq!(reply.status, 200, "{text}");
    let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect();
    let last = lines.pop().expect("there is a last line");
    assert_eq!(last, serde_json::json!({"done": true, "records": TRADES / 2}));
    let number = |line: &Value, name: &str| line[name].as_u64().unwrap_or_else(|| panic!("no {name} in {line}"));
    let runs = lines.iter().map(|line| (number(line, "partition"), number(line, "base_offset"), number(line, "count")));
    let runs: Vec<_> = runs.collect();
    assert_eq!(runs.iter().map(|(_, _, count)| count).sum::<u64>(), TRADES as u64 / 2);
    runs
}

fn wait_for(sent: &AtomicUsize, count: usize) {
    let begin = Instant::now();
    while sent.load(SeqCst) < count {
        assert!(begin.elapsed() < Duration::from_secs(300), "the streams stand still at {}", sent.load(SeqCst));
        sleep(Duration::from_millis(5));
    }
}

/// Reads a partition to its end; per symbol, the numbers of its trades must be 0, 1, 2, ….
fn read_back(cluster: &Cluster, node: u64, partition: u32, next: &mut BTreeMap<String, u64>) -> u64 {
    let mut http = cluster.http(node);
    let mut offset = 0;
    loop {
        let target = format!(
            "/v1/topics/{TOPIC}/partitions/{partition}/records?offset={offset}&limit=100000&max_bytes=16000000"
        );
        let reply = http.get_as(&target, "application/x-ndjson").unwrap().expect(200);
        for line in reply.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let record: Value = serde_json::from_slice(line).expect("a line is JSON");
            assert_eq!(record["offset"], offset, "offsets have no holes");
            let symbol = record["value"]["symbol"].as_str().expect("a trade has a symbol");
            assert_eq!(record["key"], symbol);
            let expected = next.entry(symbol.to_owned()).or_default();
            assert_eq!(record["value"]["trade"], *expected, "{symbol}, at {partition}/{offset}");
            *expected += 1;
            offset += 1;
        }
        if reply.header("balsa-next-offset") == reply.header("balsa-high-watermark") {
            return offset;
        }
    }
}

#[test]
fn a_million_trades_survive_a_node_that_dies_twice() {
    let mut cluster = Cluster::start(3);
    create_topic(&mut cluster.http(1), TOPIC, PARTITIONS);
    let led = (0..PARTITIONS).filter(|partition| agreed_leader(&cluster, TOPIC, *partition) == 3).count();
    assert!((3..=4).contains(&led), "node 3 leads {led} of {PARTITIONS}");

    let begin = Instant::now();
    let sent = Arc::new(AtomicUsize::new(0));
    let streams = [produce(&cluster, 1, 0, &sent), produce(&cluster, 2, 1, &sent)];
    for share in [TRADES / 5, TRADES * 3 / 5] {
        wait_for(&sent, share);
        cluster.kill(3);
        sleep(Duration::from_millis(1500));
        cluster.spawn(3);
        cluster.wait_ready(3);
    }
    let replies = streams.map(|stream| stream.join().expect("a stream ends"));
    println!("written after {:.1} s", begin.elapsed().as_secs_f64());
    let mut runs: Vec<_> = replies.iter().flat_map(acknowledged).collect();
    runs.sort_unstable();
    for pair in runs.windows(2) {
        let ((partition, base, count), (next_partition, next_base, _)) = (pair[0], pair[1]);
        assert!(partition != next_partition || base + count == next_base, "{:?} and {:?}", pair[0], pair[1]);
    }

    let mut next = BTreeMap::new();
    let nodes = cluster.ids();
    let total: u64 =
        (0..PARTITIONS).map(|partition| read_back(&cluster, nodes[partition as usize % 3], partition, &mut next)).sum();
    println!("read back after {:.1} s", begin.elapsed().as_secs_f64());
    assert_eq!(total, TRADES as u64, "nothing is lost, nothing is there twice");
    assert_eq!(next.values().sum::<u64>(), TRADES as u64);
    // The node that died is a full member again.
    append(&mut cluster.http(3), TOPIC, 0, "after").unwrap().unwrap();
}
