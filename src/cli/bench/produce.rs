//! `balsa bench produce`: writing, in each form that the API takes.

use super::load::{self, Pace, Sender, Tally};
use super::report::Report;
use super::target::{Route, Target, Via, problem_text};
use super::wire::{self, Wire};
use crate::cli::exit::Failure;
use crate::record::{RecordSet, build_batch};
use bytes::Bytes;
use clap::ValueEnum;
use futures::future::join_all;
use serde::Deserialize;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// One record a request, as plain bytes
    Single,
    /// {"records": […]}
    Json,
    /// A stream of lines on each connection
    Ndjson,
    /// Kafka record batches, as they are stored
    Batch,
}

#[derive(clap::Args, Clone, Debug)]
pub struct Plan {
    #[arg(short, long, value_enum, default_value = "single")]
    pub mode: Mode,
    #[arg(long, default_value_t = 1024)]
    pub record_bytes: usize,
    /// Default: 1 (single), 100 (json), a batch of 256 KiB (batch)
    #[arg(long)]
    pub records_per_request: Option<usize>,
    #[arg(short, long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=2048))]
    pub connections: u16,
    #[arg(short, long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub partitions: u32,
    #[arg(long, default_value_t = 5.0, value_parser = seconds)]
    pub seconds: f64,
    /// Sent before anything counts
    #[arg(long, default_value_t = 1.0, value_parser = seconds)]
    pub warmup: f64,
    /// End after so many records
    #[arg(long)]
    pub count: Option<u64>,
    /// Requests a second, of all connections together; default: as fast as answers come
    #[arg(long)]
    pub rate: Option<f64>,
    #[arg(long, value_enum, default_value = "any")]
    pub via: Via,
    /// all, 1 or 0
    #[arg(long, default_value = "all", value_parser = ["all", "1", "0"])]
    pub acks: String,
    /// Write to this topic, which exists (default: a new one, which is deleted at the end)
    #[arg(long)]
    pub topic: Option<String>,
}

/// A time in seconds, bounded so that a measurement ends.
pub fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "expected seconds".to_owned())?;
    if (0.0..=86_400.0).contains(&seconds) { Ok(seconds) } else { Err("expected 0 to 86400 seconds".to_owned()) }
}

impl Default for Plan {
    fn default() -> Plan {
        Plan {
            mode: Mode::Single,
            record_bytes: 1024,
            records_per_request: None,
            connections: 1,
            partitions: 1,
            seconds: 5.0,
            warmup: 1.0,
            count: None,
            rate: None,
            via: Via::Any,
            acks: "all".to_owned(),
            topic: None,
        }
    }
}

impl Plan {
    fn records_per_request(&self) -> usize {
        let fitting = (256 * 1024 / (self.record_bytes + 8)).max(1);
        let by_mode = match self.mode {
            Mode::Single => 1,
            Mode::Json => 100,
            Mode::Ndjson => (64 * 1024 / (self.record_bytes + 16)).max(1),
            Mode::Batch => fitting,
        };
        if self.mode == Mode::Single { 1 } else { self.records_per_request.unwrap_or(by_mode).max(1) }
    }

    fn pace(&self) -> Pace {
        let warmup = if self.count.is_some() { 0.0 } else { self.warmup };
        // A number of records ends by itself; a minute for each ten seconds asked for is long enough.
        let time = if self.count.is_some() { self.seconds.max(10.0) * 60.0 } else { self.seconds };
        Pace {
            warmup: Duration::from_secs_f64(warmup),
            time: Duration::from_secs_f64(time),
            records_max: self.count,
            rate: self.rate.filter(|rate| *rate > 0.0),
        }
    }

    fn work(&self) -> String {
        let mode = self.mode.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
        let (records, bytes) = (self.records_per_request(), self.record_bytes);
        let (connections, partitions, acks) = (self.connections, self.partitions, &self.acks);
        let rate = self.rate.map_or_else(String::new, |rate| format!(", {rate} requests/s"));
        format!(
            "produce {mode}: {records} x {bytes} B a request, {connections} connections, {partitions} partitions, acks={acks}{rate}"
        )
    }
}

/// Writes to a topic of its own, or to the one that was named.
pub async fn measure(target: &Target, plan: &Plan) -> Result<Report, Failure> {
    if let Some(topic) = &plan.topic {
        return run(target, plan, topic).await;
    }
    let topic = target.create_topic(plan.partitions).await?;
    let report = run(target, plan, &topic).await;
    target.delete_topic(&topic).await?;
    report
}

/// Writes to `topic`.
pub async fn run(target: &Target, plan: &Plan, topic: &str) -> Result<Report, Failure> {
    if plan.via == Via::Leader {
        // A partition has a leader once it was written to.
        join_all((0..plan.partitions).map(|partition| target.write_one(topic, partition))).await;
    }
    let routes = target.routes(topic, plan.partitions, usize::from(plan.connections), plan.via).await?;
    let pace = plan.pace();
    let tally = if plan.mode == Mode::Ndjson {
        stream(plan, topic, &routes, &pace).await
    } else {
        let requests: Vec<Bytes> = (0..plan.partitions).map(|partition| request(plan, topic, partition)).collect();
        load::run(senders(plan, routes, &requests), &pace).await
    };
    Ok(tally.report(plan.work()))
}

fn senders(plan: &Plan, routes: Vec<Route>, requests: &[Bytes]) -> Vec<Sender> {
    let records = plan.records_per_request() as u64;
    let sender = |route: Route| Sender {
        requests: route.partitions.iter().map(|partition| requests[*partition as usize].clone()).collect(),
        route,
        records_per_request: records,
        bytes_per_request: records * plan.record_bytes as u64,
    };
    routes.into_iter().map(sender).collect()
}

/// Text that is neither constant nor random: like a record that a program writes.
pub fn value(bytes: usize) -> String {
    let words = "balsa is a light wood and a raft made of it carries far more than its own weight over open water ";
    words.chars().cycle().take(bytes).collect()
}

fn request(plan: &Plan, topic: &str, partition: u32) -> Bytes {
    let target = format!("/v1/topics/{topic}/partitions/{partition}/records?acks={}", plan.acks);
    let (value, count) = (value(plan.record_bytes), plan.records_per_request());
    let (media_type, body) = match plan.mode {
        Mode::Single => ("application/octet-stream", value.into_bytes()),
        Mode::Json => {
            let records = vec![format!("{{\"value\":\"{value}\"}}"); count];
            ("application/json", format!("{{\"records\":[{}]}}", records.join(",")).into_bytes())
        }
        Mode::Batch => ("application/vnd.balsa.batch", batch(&value, count).to_vec()),
        Mode::Ndjson => unreachable!("a stream is not made of requests"),
    };
    wire::request("POST", "balsa", &target, &[("Content-Type", media_type)], &body)
}

fn batch(value: &str, count: usize) -> Bytes {
    use crate::clock::Clock;
    let now_ms = crate::clock::SystemClock.now_ms();
    let mut set = RecordSet::new();
    for _ in 0..count {
        set.push(now_ms, None, Some(value.as_bytes()), &[]);
    }
    build_batch(&[set]).bytes
}

/// One endless request on each connection.
async fn stream(plan: &Plan, topic: &str, routes: &[Route], pace: &Pace) -> Tally {
    let tally = Tally::new(pace);
    let lines = format!("{{\"value\":\"{}\"}}\n", value(plan.record_bytes)).repeat(plan.records_per_request());
    let chunk = format!("{:x}\r\n{lines}\r\n", lines.len());
    let streams = routes.iter().map(async |route| {
        // One partition for each connection, if there are as many connections; else the server spreads.
        let partition = match route.partitions.first() {
            Some(partition) if routes.len() >= plan.partitions as usize => format!("/partitions/{partition}"),
            _ => String::new(),
        };
        let target = format!("/v1/topics/{topic}{partition}/records?acks={}", plan.acks);
        if let Err(text) = one_stream(&route.authority, &target, chunk.as_bytes(), plan, &tally).await {
            tally.error(text);
        }
    });
    join_all(streams).await;
    tally
}

#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    count: u64,
    done: Option<bool>,
}

async fn one_stream(authority: &str, target: &str, chunk: &[u8], plan: &Plan, tally: &Tally) -> Result<(), String> {
    let text = |error: std::io::Error| format!("{authority}: {error}");
    let Wire { mut answers, mut write } = Wire::connect(authority).await.map_err(text)?;
    let head = wire::chunked_request("POST", "balsa", target, &[("Content-Type", "application/x-ndjson")]);
    let writing = async {
        write.write_all(&head).await?;
        while tally.claim(plan.records_per_request() as u64) {
            write.write_all(chunk).await?;
        }
        write.write_all(b"0\r\n\r\n").await
    };
    let reading = async {
        let head = answers.head().await.map_err(text)?;
        let (mut state, mut waiting, mut done) = (head.body(), Vec::new(), false);
        while let Some(piece) = answers.piece(&mut state).await.map_err(text)? {
            waiting.extend_from_slice(&piece);
            if !head.is_ok() {
                continue;
            }
            let complete = waiting.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            for line in waiting[..complete].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                let line: Line = serde_json::from_slice(line).map_err(|error| error.to_string())?;
                tally.add_records(line.count, line.count * plan.record_bytes as u64);
                done |= line.done == Some(true);
            }
            waiting.drain(..complete);
        }
        match (head.is_ok(), done) {
            (false, _) => Err(problem_text(head.status, &waiting)),
            (true, false) => Err("the stream ended early".to_owned()),
            (true, true) => Ok(()),
        }
    };
    tokio::pin!(reading);
    // The answer may end before all is sent, where the server refuses.
    tokio::select! {
        ended = &mut reading => return ended,
        written = writing => written.map_err(text)?,
    }
    tokio::time::timeout(wire::ANSWER_TIME_MAX, reading).await.map_err(|_| "the stream has no end".to_owned())?
}
