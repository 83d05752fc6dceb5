//! `balsa bench start`: from the start of a process to the first acknowledged record.

use super::local::{self, Options};
use super::report::{Report, Times};
use super::wire::{self, Wire};
use super::{failed, target};
use crate::cli::exit::{Failure, Outcome};
use crate::cli::servers::Output;
use std::time::{Duration, Instant};
use tokio::io::AsyncBufReadExt;
use tokio::process::Child;

#[derive(clap::Args)]
pub struct Arguments {
    /// Nodes of the cluster that is started
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=5))]
    nodes: u16,
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
}

const TIME_MAX: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(1);

pub async fn run(arguments: Arguments) -> Outcome {
    measure(arguments.nodes, arguments.rounds).await?.print(arguments.output)
}

/// Starts and stops clusters, one after the other.
pub async fn measure(nodes: u16, rounds: u32) -> Result<Report, Failure> {
    let mut report = Report::new(format!("start to first acknowledged record, {nodes} nodes"));
    let mut times = Times::new();
    for _ in 0..rounds {
        times.add(round(nodes).await?);
    }
    report.times = Some(times);
    Ok(report)
}

async fn round(nodes: u16) -> Result<Duration, Failure> {
    let port = local::free_ports(nodes)?;
    let begun = Instant::now();
    let mut child = local::spawn_at(&Options { nodes, ..Options::default() }, port)?;
    let time = first_acknowledged(&format!("127.0.0.1:{port}"), begun, &mut child).await;
    stop(child).await?;
    time
}

/// Tries to write until it works.
async fn first_acknowledged(authority: &str, begun: Instant, child: &mut Child) -> Result<Duration, Failure> {
    let target = "/v1/topics/first/records";
    let request = wire::request("POST", "balsa", target, &[("Content-Type", "application/octet-stream")], b"first");
    let mut last = String::from("nobody listens");
    while begun.elapsed() < TIME_MAX {
        if let Ok(mut wire) = Wire::connect(authority).await {
            match wire.exchange(&request, false).await {
                Ok(answer) if answer.head.is_ok() => return Ok(begun.elapsed()),
                Ok(answer) => last = target::problem_text(answer.head.status, &answer.body),
                Err(error) => last = error.to_string(),
            }
        }
        if child.try_wait().map_err(|error| failed("waiting for a process", &error))?.is_some() {
            return Err(Failure::failed("the cluster ended; its own messages say why"));
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(Failure::failed(format_args!("no record was acknowledged within {} s: {last}", TIME_MAX.as_secs())))
}

/// Stops a cluster once it has said that it is ready: before, there is more under way than is measured here.
async fn stop(mut child: Child) -> Outcome {
    let stdout = child.stdout.take().expect("standard output was asked to be a pipe");
    let mut line = String::new();
    let mut lines = tokio::io::BufReader::new(stdout);
    let _ = tokio::time::timeout(TIME_MAX, lines.read_line(&mut line)).await;
    if let Some(pid) = child.id() {
        local::signal(pid.cast_signed(), rustix::process::Signal::TERM)?;
    }
    child.wait().await.map_err(|error| failed("waiting for a process", &error))?;
    Ok(())
}
