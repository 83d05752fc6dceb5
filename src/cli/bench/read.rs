//! `balsa bench read`: reading back what was written, as fast as the connection takes it.

use super::failed;
use super::load::{Pace, Tally};
use super::produce::{self, seconds};
use super::report::Report;
use super::target::{Route, Target, Via, problem_text};
use super::wire::{self, Wire};
use crate::cli::exit::Failure;
use clap::ValueEnum;
use futures::future::join_all;
use std::cell::Cell;
use std::time::Duration;
use tokio::time::Instant;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// The stored batches
    Batch,
    /// {"records": […]}
    Json,
    /// A record a line
    Ndjson,
}

#[derive(clap::Args, Clone, Debug)]
pub struct Plan {
    #[arg(short, long, value_enum, default_value = "batch")]
    pub mode: Mode,
    #[arg(long, default_value_t = 100)]
    pub record_bytes: usize,
    /// How much is written before, in millions of bytes of values
    #[arg(long, default_value_t = 200)]
    pub megabytes: u64,
    #[arg(short, long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=2048))]
    pub connections: u16,
    #[arg(short, long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub partitions: u32,
    #[arg(long, default_value_t = 5.0, value_parser = seconds)]
    pub seconds: f64,
    /// Largest answer
    #[arg(long, default_value_t = 8 * 1024 * 1024)]
    pub max_bytes: u64,
    #[arg(long, value_enum, default_value = "leader")]
    pub via: Via,
}

impl Default for Plan {
    fn default() -> Plan {
        Plan {
            mode: Mode::Batch,
            record_bytes: 100,
            megabytes: 200,
            connections: 1,
            partitions: 1,
            seconds: 5.0,
            max_bytes: 8 * 1024 * 1024,
            via: Via::Leader,
        }
    }
}

/// Fills a topic, then reads it over and over.
pub async fn measure(target: &Target, plan: &Plan) -> Result<Report, Failure> {
    let topic = target.create_topic(plan.partitions).await?;
    let report = run(target, plan, &topic).await;
    target.delete_topic(&topic).await?;
    report
}

async fn run(target: &Target, plan: &Plan, topic: &str) -> Result<Report, Failure> {
    let fill = produce::Plan {
        mode: produce::Mode::Batch,
        record_bytes: plan.record_bytes,
        connections: 4,
        partitions: plan.partitions,
        count: Some(plan.megabytes * 1_000_000 / plan.record_bytes.max(1) as u64),
        ..produce::Plan::default()
    };
    let filled = produce::run(target, &fill, topic).await?;
    if let Some((error, _)) = filled.errors.iter().next() {
        return Err(Failure::failed(format_args!("filling the topic: {error}")));
    }
    let routes = target.routes(topic, plan.partitions, usize::from(plan.connections), plan.via).await?;
    let time = Duration::from_secs_f64(plan.seconds);
    let tally = Tally::new(&Pace { warmup: Duration::ZERO, time, records_max: None, rate: None });
    let body_bytes = Cell::new(0);
    let readers = routes.iter().map(async |route| {
        if let Err(text) = read(route, plan, topic, &tally, &body_bytes).await {
            tally.error(text);
        }
    });
    join_all(readers).await;
    let mode = plan.mode.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
    let (bytes, connections, partitions) = (plan.record_bytes, plan.connections, plan.partitions);
    let work = format!("read {mode}: records of {bytes} B, {connections} connections, {partitions} partitions");
    let mut report = tally.report(work);
    let rate = body_bytes.get() as f64 / 1e6 / report.seconds.max(1e-9);
    report.more.insert("body_megabytes_per_second".to_owned(), serde_json::json!((rate * 10.0).round() / 10.0));
    Ok(report)
}

async fn read(route: &Route, plan: &Plan, topic: &str, tally: &Tally, body_bytes: &Cell<u64>) -> Result<(), String> {
    let media_type = match plan.mode {
        Mode::Batch => "application/vnd.balsa.batch",
        Mode::Json => "application/json",
        Mode::Ndjson => "application/x-ndjson",
    };
    let text = |error: std::io::Error| failed(&route.authority, &error).to_string();
    let mut wire = Wire::connect(&route.authority).await.map_err(text)?;
    let partition = route.partitions[0];
    let (mut offset, max_bytes) = (0, plan.max_bytes);
    while tally.claim(1) {
        let target = format!(
            "/v1/topics/{topic}/partitions/{partition}/records?offset={offset}&limit=100000000&max_bytes={max_bytes}"
        );
        let begun = Instant::now();
        let request = wire::request("GET", "balsa", &target, &[("Accept", media_type)], b"");
        let answer = wire.exchange(&request, false).await.map_err(text)?;
        if !answer.head.is_ok() {
            return Err(problem_text(answer.head.status, &answer.body));
        }
        let next = answer.head.next_offset.ok_or("the answer has no Balsa-Next-Offset")?;
        if next <= offset {
            if offset == 0 {
                return Err("the partition is empty".to_owned());
            }
            offset = 0;
            continue;
        }
        body_bytes.set(body_bytes.get() + answer.body_bytes);
        tally.add(begun, next - offset, (next - offset) * plan.record_bytes as u64);
        offset = next;
    }
    Ok(())
}
