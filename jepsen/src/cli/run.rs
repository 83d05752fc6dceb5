//! `jepsen run`.

use crate::cli::exit::{Outcome, Verdict};
use crate::cluster::binary::{self, Build};
use crate::fault::{self, Fault};
use crate::report;
use crate::run::options::Options;
use crate::run::{self, interrupt};
use crate::workload::world::Load;
use crate::workload::{self, Workload};
use anyhow::{Context, bail};
use clap::ValueEnum;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LoadKind {
    /// Operations come at a fixed rate, whether or not those before are done
    Open,
    /// Each client begins the next operation when the one before is done
    Closed,
}

#[derive(clap::Args)]
pub struct Arguments {
    /// Nodes of the cluster, 3 to 5
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(3..=5))]
    nodes: u16,
    /// How long faults come, in each run
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// What clients do; several are run one after the other (see `list`)
    #[arg(long, value_delimiter = ',', default_value = "append")]
    workload: Vec<String>,
    /// What is broken, in one schedule (see `list`)
    #[arg(long, value_delimiter = ',')]
    fault: Vec<String>,
    /// Milliseconds from one fault to the next, on average
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u64).range(100..))]
    interval_ms: u64,
    /// How long faults last, and how long nodes are spared after them: 0.3 for many short ones
    #[arg(long, default_value_t = 1.0, value_name = "FACTOR")]
    pace: f64,
    /// Decides which faults come, where and when; drawn and printed where missing
    #[arg(long)]
    seed: Option<u64>,
    /// Runs of each workload, with rising seeds
    #[arg(long, default_value_t = 1)]
    rounds: u64,
    /// Where histories, logs and the report go [default: jepsen-out/TIME]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Where disk images go, if not there too; memory (/dev/shm) is quick
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    /// The balsa to be tested, instead of a release build of this workspace
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// A Python that can import confluent_kafka, for the workload `kafka`
    #[arg(long, value_name = "PATH", default_value = "target/jepsen-python/bin/python")]
    python: PathBuf,
    /// Run on loopback addresses and plain directories, with faults of processes only
    #[arg(long)]
    no_namespaces: bool,
    /// How operations come
    #[arg(long, value_enum, default_value = "open")]
    load: LoadKind,
    /// Operations a second, of open load
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// Clients that write
    #[arg(long, default_value_t = 24)]
    clients: usize,
    /// Clients that read
    #[arg(long, default_value_t = 3)]
    readers: usize,
    /// Partitions
    #[arg(long, default_value_t = 8)]
    keys: usize,
    /// Most records of one send
    #[arg(long, default_value_t = 25)]
    records: usize,
    /// Bytes of a record's value
    #[arg(long, default_value_t = 100)]
    record_bytes: usize,
    /// Replicas of half of the partitions; the others have one on every node
    #[arg(long, default_value_t = 3)]
    replication_factor: u16,
    /// Keep the nodes' data of a run without an anomaly, too
    #[arg(long)]
    keep_data: bool,
    /// A setting of all nodes, as `balsa serve --set`
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// Runs, checks, reports.
pub fn run(arguments: Arguments) -> Outcome {
    let options = options(&arguments)?;
    let interrupt = interrupt::listen()?;
    let mut verdict = Verdict::Clean;
    for options in &options {
        eprintln!(
            "jepsen: {} with {} for {} s, seed {}, in {}",
            options.workload.name(),
            names(&options.faults),
            options.time.as_secs(),
            options.seed,
            options.dir.display()
        );
        run::one(options, &interrupt)?;
        if interrupt.is_cancelled() {
            bail!("interrupted; what there is of the run is in {}", options.dir.display());
        }
        if checked(options)? == Verdict::Anomaly {
            verdict = Verdict::Anomaly;
        }
    }
    Ok(verdict)
}

fn names(faults: &[&'static dyn Fault]) -> String {
    let names: Vec<&str> = faults.iter().map(|fault| fault.name()).collect();
    if names.is_empty() { "no fault".to_owned() } else { names.join(", ") }
}

/// One for each run.
fn options(arguments: &Arguments) -> anyhow::Result<Vec<Options>> {
    let workloads: Vec<&'static dyn Workload> =
        arguments.workload.iter().map(|name| workload::named(name)).collect::<anyhow::Result<_>>()?;
    let faults: Vec<&'static dyn Fault> =
        arguments.fault.iter().map(|name| fault::named(name)).collect::<anyhow::Result<_>>()?;
    if arguments.clients == 0 || arguments.keys == 0 || arguments.records == 0 || arguments.rounds == 0 {
        bail!("--clients, --keys, --records and --rounds are 1 at least");
    }
    let binary = binary::find(arguments.binary.as_deref(), Build::Release)?;
    let binary_version = binary::version(&binary)?;
    let seed = arguments.seed.unwrap_or_else(rand::random);
    let out = match &arguments.out {
        Some(dir) => dir.clone(),
        None => Path::new("jepsen-out").join(unix_seconds()?.to_string()),
    };
    let alone = workloads.len() == 1 && arguments.rounds == 1;
    let mut all = Vec::new();
    for round in 0..arguments.rounds {
        for workload in &workloads {
            let dir = if alone { out.clone() } else { out.join(format!("{}-{}", workload.name(), round + 1)) };
            all.push(Options {
                nodes: arguments.nodes,
                time: Duration::from_secs(arguments.seconds),
                workload: *workload,
                faults: faults.clone(),
                interval: Duration::from_millis(arguments.interval_ms),
                pace: arguments.pace.clamp(0.05, 20.0),
                seed: seed.wrapping_add(round),
                binary: binary.clone(),
                python: arguments.python.clone(),
                binary_version: binary_version.clone(),
                dir,
                images: arguments.images.clone(),
                without_namespaces: arguments.no_namespaces,
                load: load(arguments),
                replication_factor: arguments.replication_factor,
                keep_data: arguments.keep_data,
                settings: arguments.set.clone(),
                environment: vec![],
                command_line: std::env::args().collect(),
            });
        }
    }
    Ok(all)
}

fn load(arguments: &Arguments) -> Load {
    Load {
        rate: (arguments.load == LoadKind::Open).then_some(arguments.rate),
        clients: arguments.clients,
        readers: arguments.readers,
        keys: arguments.keys,
        records: arguments.records,
        record_bytes: arguments.record_bytes,
        ..Load::default()
    }
}

fn unix_seconds() -> anyhow::Result<u64> {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Ok(since_epoch.context("the clock is before 1970")?.as_secs())
}

/// Checks a run's histories and writes its report.
fn checked(options: &Options) -> Outcome {
    let (page, report) = report::write(&options.dir, options.workload.loss_is_allowed())?;
    println!("{}", report.text());
    println!("The same with pictures: {}", page.display());
    let incidents = report.input.run.as_ref().map_or(0, |run| run.incidents.len());
    Ok(if report.verdict.clean && incidents == 0 { Verdict::Clean } else { Verdict::Anomaly })
}
