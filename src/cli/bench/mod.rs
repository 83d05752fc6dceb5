//! `balsa bench`: what a cluster does on this machine, through its public HTTP API.
//!
//! Each measurement is bounded in time and count, says what it did, and prints throughput and times for people or as
//! JSON. The load runs on one thread, with requests made beforehand: it shares the machine with what it measures.
//!
//! It does not judge: figures of different machines, or of different hours, are no comparison.

mod create;
mod failover;
mod idle;
mod load;
mod local;
mod produce;
mod read;
mod report;
mod start;
mod table;
mod tail;
mod target;
mod trades;
mod wire;

use super::exit::{Failure, Outcome};
use super::runtime;
use super::servers::{Output, ServerArguments};
use clap::Subcommand;
use local::LocalCluster;
use target::Target;

#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// What all measurements of a cluster share.
#[derive(clap::Args)]
pub struct Shared {
    #[command(flatten)]
    servers: ServerArguments,
    /// Start a cluster for this measurement, on free ports and with a temporary directory
    #[arg(long)]
    cluster: bool,
    /// Nodes of that cluster
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=5))]
    nodes: u16,
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
}

#[derive(Subcommand)]
enum Command {
    /// Write records, in any of the API's forms
    Produce {
        #[command(flatten)]
        shared: Shared,
        #[command(flatten)]
        plan: produce::Plan,
    },
    /// Read records back
    Read {
        #[command(flatten)]
        shared: Shared,
        #[command(flatten)]
        plan: read::Plan,
    },
    /// From acknowledged to delivered to a reader that waits
    Tail {
        #[command(flatten)]
        shared: Shared,
        #[command(flatten)]
        plan: tail::Plan,
    },
    /// Make a topic with many partitions
    Create {
        #[command(flatten)]
        shared: Shared,
        #[command(flatten)]
        plan: create::Plan,
    },
    /// From the start of a process to the first acknowledged record (starts clusters of its own)
    Start(start::Arguments),
    /// Kill leaders: how long until the next acknowledged record (starts a cluster of its own)
    Failover(failover::Arguments),
    /// Processor time and memory of nodes that have nothing to do (starts clusters of its own)
    Idle(idle::Arguments),
    /// The whole table of docs/performance.md, in one run (starts clusters of its own)
    Table(table::Arguments),
    /// Print a feed of stock trades, or check that all of it came back
    Trades(trades::Arguments),
}

pub fn run(arguments: Arguments) -> Outcome {
    match arguments.command {
        Command::Trades(arguments) => trades::run(&arguments),
        Command::Start(arguments) => runtime::run_client(start::run(arguments)),
        Command::Failover(arguments) => runtime::run_client(failover::run(arguments)),
        Command::Idle(arguments) => runtime::run_client(idle::run(arguments)),
        Command::Table(arguments) => runtime::run_client(table::run(arguments)),
        Command::Produce { shared, plan } => {
            with_target(&shared, async |target| produce::measure(target, &plan).await?.print(shared.output))
        }
        Command::Read { shared, plan } => {
            with_target(&shared, async |target| read::measure(target, &plan).await?.print(shared.output))
        }
        Command::Tail { shared, plan } => {
            with_target(&shared, async |target| tail::measure(target, &plan).await?.print(shared.output))
        }
        Command::Create { shared, plan } => {
            with_target(&shared, async |target| create::measure(target, &plan).await?.print(shared.output))
        }
    }
}

/// Runs a measurement against the servers that were named, or against a cluster that lives as long as it.
fn with_target(shared: &Shared, work: impl AsyncFnOnce(&Target) -> Outcome) -> Outcome {
    runtime::run_client(async {
        if !shared.cluster {
            return work(&Target::new(shared.servers.list())).await;
        }
        let cluster = LocalCluster::start(&local::Options { nodes: shared.nodes, ..local::Options::default() }).await?;
        let outcome = work(&cluster.target()?).await;
        cluster.stop().await;
        outcome
    })
}

/// An error of the system, in words.
fn failed(what: &str, error: &std::io::Error) -> Failure {
    Failure::failed(format_args!("{what}: {error}"))
}
