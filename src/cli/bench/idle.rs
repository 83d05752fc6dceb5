//! `balsa bench idle`: what nodes take that have nothing to do, by number of partitions.

use super::failed;
use super::local::{LocalCluster, LocalNode, Options};
use super::produce::{self, seconds};
use super::report::Report;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::servers::Output;
use futures::future::join_all;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

#[derive(clap::Args)]
pub struct Arguments {
    /// Partitions of one topic; 0 is none
    #[arg(short, long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    partitions: u32,
    /// Write to each partition before, so that each has its Raft group
    #[arg(long)]
    written: bool,
    #[arg(long, default_value_t = 20.0, value_parser = seconds)]
    seconds: f64,
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
}

/// For groups to fall silent.
const SETTLE: Duration = Duration::from_secs(10);
/// Partitions that are written to at once.
const WRITTEN_AT_ONCE: usize = 32;

pub async fn run(arguments: Arguments) -> Outcome {
    measure(arguments.partitions, arguments.written, arguments.seconds).await?.print(arguments.output)
}

/// Starts a cluster, makes the partitions, and watches the nodes.
pub async fn measure(partitions: u32, written: bool, seconds: f64) -> Result<Report, Failure> {
    let cluster = LocalCluster::start(&Options::default()).await?;
    let report = measure_on(&cluster, partitions, written, seconds).await;
    cluster.stop().await;
    report
}

async fn measure_on(cluster: &LocalCluster, partitions: u32, written: bool, time: f64) -> Result<Report, Failure> {
    if partitions > 0 {
        let target = cluster.target()?;
        let topic = target.create_topic(partitions).await?;
        let all: Vec<u32> = if written { (0..partitions).collect() } else { Vec::new() };
        for some in all.chunks(WRITTEN_AT_ONCE) {
            let writes = join_all(some.iter().map(|partition| target.write_one(&topic, *partition))).await;
            writes.into_iter().collect::<Result<(), Failure>>()?;
        }
    }
    tokio::time::sleep(SETTLE).await;
    let state = if written { "written once" } else { "never written" };
    let mut report = Report::new(format!("idle, 3 nodes, {partitions} partitions ({state}), {time} s"));
    let nodes = cluster.nodes();
    let (before, begun) = (processor_seconds(&nodes)?, Instant::now());
    tokio::time::sleep(Duration::from_secs_f64(time)).await;
    let used = (processor_seconds(&nodes)? - before) / begun.elapsed().as_secs_f64();
    report.more.insert("cores_of_all".to_owned(), json!((used * 10_000.0).round() / 10_000.0));
    report.more.insert("megabytes_by_node".to_owned(), memory(&nodes)?);
    Ok(report)
}

/// Memory of the nodes of a cluster after it was under load.
pub async fn memory_after_load(cluster: &LocalCluster, time: f64) -> Result<Report, Failure> {
    let mut report = Report::new(format!("memory after {time} s of load (single records and batches of 256 KiB)"));
    let target = cluster.target()?;
    for (mode, connections) in [(produce::Mode::Single, 64), (produce::Mode::Batch, 8)] {
        let plan = produce::Plan { mode, connections, partitions: 10, seconds: time / 2.0, ..produce::Plan::default() };
        produce::measure(&target, &plan).await?;
    }
    report.more.insert("megabytes_by_node".to_owned(), memory(&cluster.nodes())?);
    Ok(report)
}

/// Resident memory of each node, in millions of bytes.
pub fn memory(nodes: &[LocalNode]) -> Result<Value, Failure> {
    let of_node = |node: &LocalNode| {
        let path = format!("/proc/{}/status", node.pid);
        let text = std::fs::read_to_string(&path).map_err(|error| failed(&path, &error))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line.and_then(|rest| rest.trim().split(' ').next()?.parse::<f64>().ok());
        let kibibytes = kibibytes.ok_or_else(|| Failure::failed(format_args!("{path}: no VmRSS")))?;
        Ok((kibibytes * 1024.0 / 1e5).round() / 10.0)
    };
    let all: Result<Vec<f64>, Failure> = nodes.iter().map(of_node).collect();
    Ok(json!(all?))
}

/// Processor time that the nodes have used, all together.
pub fn processor_seconds(nodes: &[LocalNode]) -> Result<f64, Failure> {
    let ticks_per_second = rustix::param::clock_ticks_per_second() as f64;
    let mut sum = 0.0;
    for node in nodes {
        let path = format!("/proc/{}/stat", node.pid);
        let text = std::fs::read_to_string(&path).map_err(|error| failed(&path, &error))?;
        // The second field is the name in parentheses, which may hold anything; behind it, fields 14 and 15 count.
        let behind_name = text.rsplit_once(')').map_or("", |(_, rest)| rest);
        let fields: Vec<&str> = behind_name.split_ascii_whitespace().collect();
        let ticks = |position: usize| fields.get(position).and_then(|field| field.parse::<f64>().ok());
        let (Some(user), Some(system)) = (ticks(11), ticks(12)) else {
            return Err(Failure::failed(format_args!("{path}: no processor times")));
        };
        sum += (user + system) / ticks_per_second;
    }
    Ok(sum)
}
