//! `balsa bench table`: every figure of `docs/performance.md` in one run, beside what was aimed for.

use super::local::{LocalCluster, Options};
use super::produce::{self, Mode, Plan, seconds};
use super::report::Report;
use super::target::Target;
use super::{create, failover, idle, read, start, tail};
use crate::cli::exit::{Failure, Outcome};
use crate::cli::servers::{Output, print};
use serde_json::json;

#[derive(clap::Args)]
pub struct Arguments {
    /// For each measurement of throughput
    #[arg(long, default_value_t = 5.0, value_parser = seconds)]
    seconds: f64,
    /// Kills of leaders, starts of clusters (a quarter of it)
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Only rows whose name contains this
    #[arg(long, default_value = "")]
    only: String,
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
}

/// What a row does.
enum Work {
    Produce(Plan),
    Read(read::Plan),
    Tail(tail::Plan),
    Create(create::Plan),
    Memory,
    Start(u16),
    Failover,
    Idle { partitions: u32, written: bool },
}

struct Row {
    name: &'static str,
    aim: &'static str,
    work: Work,
}

pub async fn run(arguments: Arguments) -> Outcome {
    let rows: Vec<Row> = rows(arguments.seconds).into_iter().filter(|row| row.name.contains(&arguments.only)).collect();
    let mut cluster = None;
    for row in rows {
        let report = measure(&arguments, &row, &mut cluster).await;
        match (arguments.output, report) {
            (Output::Json, Ok(report)) => {
                print(&format!("{}\n", json!({"name": row.name, "aim": row.aim, "result": report.json()})))?;
            }
            (Output::Json, Err(failure)) => {
                print(&format!("{}\n", json!({"name": row.name, "aim": row.aim, "failed": failure.to_string()})))?;
            }
            (Output::Text, Ok(report)) => print(&format!("{} (aim: {})\n{}\n", row.name, row.aim, report.text()))?,
            // The other rows are worth having.
            (Output::Text, Err(failure)) => {
                print(&format!("{} (aim: {})\n  failed: {failure}\n\n", row.name, row.aim))?
            }
        }
    }
    if let Some(cluster) = cluster {
        LocalCluster::stop(cluster).await;
    }
    Ok(())
}

async fn measure(arguments: &Arguments, row: &Row, shared: &mut Option<LocalCluster>) -> Result<Report, Failure> {
    let alone = matches!(row.work, Work::Start(_) | Work::Failover | Work::Idle { .. });
    if alone {
        // Nothing else may run beside these.
        if let Some(cluster) = shared.take() {
            cluster.stop().await;
        }
    } else if shared.is_none() {
        *shared = Some(LocalCluster::start(&Options::default()).await?);
    }
    match (&row.work, shared.as_ref()) {
        (Work::Start(nodes), _) => start::measure(*nodes, (arguments.rounds / 4).max(1)).await,
        (Work::Failover, _) => failover::measure(arguments.rounds, 4).await,
        (Work::Idle { partitions, written }, _) => {
            idle::measure(*partitions, *written, arguments.seconds.max(10.0)).await
        }
        (Work::Memory, Some(cluster)) => idle::memory_after_load(cluster, arguments.seconds).await,
        (work, Some(cluster)) => measure_on(&cluster.target()?, work).await,
        (_, None) => Err(Failure::failed("no cluster")),
    }
}

async fn measure_on(target: &Target, work: &Work) -> Result<Report, Failure> {
    match work {
        Work::Produce(plan) => produce::measure(target, plan).await,
        Work::Read(plan) => read::measure(target, plan).await,
        Work::Tail(plan) => tail::measure(target, plan).await,
        Work::Create(plan) => create::measure(target, plan).await,
        _ => Err(Failure::failed("this work has a cluster of its own")),
    }
}

fn rows(seconds: f64) -> Vec<Row> {
    let plan = || Plan { seconds, ..Plan::default() };
    let single = |connections, partitions| Work::Produce(Plan { connections, partitions, ..plan() });
    let read = |mode| Work::Read(read::Plan { mode, seconds, ..read::Plan::default() });
    let tail = |mode| Work::Tail(tail::Plan { mode, seconds, ..tail::Plan::default() });
    let json = Plan { mode: Mode::Json, record_bytes: 100, connections: 64, partitions: 10, ..plan() };
    let ndjson = Plan { mode: Mode::Ndjson, record_bytes: 100, partitions: 10, ..plan() };
    let small = Plan {
        mode: Mode::Batch,
        record_bytes: 100,
        records_per_request: Some(2500),
        connections: 16,
        partitions: 10,
        ..plan()
    };
    let large = Plan { mode: Mode::Batch, connections: 4, ..plan() };
    let steady = Plan { connections: 16, partitions: 10, rate: Some(5000.0), ..plan() };
    let row = |name, aim, work| Row { name, aim, work };
    vec![
        row("memory: idle", "15 MB a node", Work::Idle { partitions: 0, written: false }),
        row("single: 1 connection", "p50 0.6, p99 2 ms", single(1, 1)),
        row("single: 64 connections, 1 partition", "30 k/s", single(64, 1)),
        row("single: 64 connections, 10 partitions", "30 k/s", single(64, 10)),
        row("single: 256 connections, 1 partition", "40 k/s", single(256, 1)),
        row("single: 256 connections, 10 partitions", "40 k/s", single(256, 10)),
        row("single: 5,000 a second, 10 partitions", "p50 1, p99 5 ms", Work::Produce(steady)),
        row("json: 100 records of 100 B", "500 k records/s", Work::Produce(json)),
        row("ndjson: one stream of 100 B", "400 k records/s", Work::Produce(ndjson)),
        row("batch: 2,500 records of 100 B, 10 partitions", "1 M records/s", Work::Produce(small)),
        row("batch: 256 KiB of 1 KiB records, 1 partition", "180 MB/s", Work::Produce(large)),
        row("read: batches", "800 MB/s", read(read::Mode::Batch)),
        row("read: json", "500 k records/s", read(read::Mode::Json)),
        row("read: ndjson", "500 k records/s", read(read::Mode::Ndjson)),
        row("tail: server-sent events", "p50 1, p99 5 ms", tail(tail::Mode::Sse)),
        row("tail: long poll", "p50 1, p99 5 ms", tail(tail::Mode::Poll)),
        row("create: 1,000 partitions x 3", "0.5 s", Work::Create(create::Plan { partitions: 1000, rounds: 3 })),
        row("create: 10,000 partitions x 3", "5 s", Work::Create(create::Plan { partitions: 10_000, rounds: 1 })),
        row("memory: after load", "100 MB a node", Work::Memory),
        row("start: dev", "50 ms", Work::Start(1)),
        row("start: three nodes", "0.5 s", Work::Start(3)),
        row("failover", "median 0.5 s, worst 1 s", Work::Failover),
        row("idle: 1,000 partitions", "0.02 cores", Work::Idle { partitions: 1000, written: false }),
        row("idle: 1,000 partitions, written", "0.02 cores", Work::Idle { partitions: 1000, written: true }),
        row("idle: 10,000 partitions", "0.1 cores", Work::Idle { partitions: 10_000, written: false }),
    ]
}
