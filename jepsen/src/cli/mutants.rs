//! `jepsen mutants`: the suite against builds that are broken on purpose. One that is not caught is a hole in the suite.

use crate::cli::exit::{Outcome, Verdict};
use crate::cluster::binary::{self, Build};
use crate::fault::{self, Fault};
use crate::report;
use crate::run::options::Options;
use crate::run::{self, interrupt};
use crate::workload;
use crate::workload::world::Load;
use anyhow::bail;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(clap::Args)]
pub struct Arguments {
    /// Only these
    #[arg(long, value_delimiter = ',')]
    mutant: Vec<String>,
    /// A balsa that was built with the feature `mutants`, instead of building one
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// Where the runs go [default: jepsen-out/mutants]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Where disk images go, if not there too; memory (/dev/shm) is quick
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    /// How long faults come in each run
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Runs of a mutant, with rising seeds, until it is caught
    #[arg(long, default_value_t = 3)]
    tries: u64,
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// How a mutant is hunted.
struct Hunt {
    mutant: &'static str,
    nodes: u16,
    workload: &'static str,
    faults: &'static [&'static str],
    interval_ms: u64,
    settings: &'static [&'static str],
}

const SMALL_SEGMENTS: &[&str] = &["storage.segment_bytes=131072"];

const HUNTS: [Hunt; 6] = [
    Hunt {
        mutant: "flush-skipped",
        nodes: 3,
        workload: "append",
        faults: &["power-cut"],
        interval_ms: 2500,
        settings: &[],
    },
    Hunt {
        mutant: "leader-only-ack",
        nodes: 3,
        workload: "append",
        faults: &["partition", "kill-leader"],
        interval_ms: 1500,
        settings: &[],
    },
    Hunt {
        mutant: "served-above-commit",
        nodes: 3,
        workload: "append",
        faults: &["partition"],
        interval_ms: 1000,
        settings: &[],
    },
    Hunt {
        mutant: "producer-table-dropped",
        nodes: 3,
        workload: "append",
        faults: &["kill"],
        interval_ms: 2500,
        settings: SMALL_SEGMENTS,
    },
    Hunt {
        mutant: "checksum-ignored",
        nodes: 3,
        workload: "append",
        faults: &["corrupt", "kill-leader"],
        interval_ms: 2500,
        settings: SMALL_SEGMENTS,
    },
    Hunt {
        mutant: "metadata-missing-deletes",
        nodes: 3,
        workload: "topics",
        faults: &["kill", "partition", "pause"],
        interval_ms: 1500,
        settings: &[],
    },
];

/// Mutants that only the simulation hunts, and why.
const ELSEWHERE: [(&str, &str); 2] = [
    ("vote-not-persisted", "needs two elections in one term around a restart: the simulation makes those"),
    (
        "membership-without-joint",
        "the product has no interface for changes of membership yet: the simulation makes them",
    ),
];

/// What became of one.
struct Result {
    mutant: &'static str,
    hunt: String,
    tries: u64,
    /// The anomalies by name, or nothing if it survived.
    caught_by: Vec<String>,
}

/// Hunts the mutants, and prints what became of each.
pub fn run(arguments: Arguments) -> Outcome {
    let known = |name: &String| {
        HUNTS.iter().any(|hunt| hunt.mutant == name) || ELSEWHERE.iter().any(|(mutant, _)| mutant == name)
    };
    if let Some(unknown) = arguments.mutant.iter().find(|name| !known(name)) {
        bail!("there is no mutant {unknown:?}");
    }
    let wanted = |name: &str| arguments.mutant.is_empty() || arguments.mutant.iter().any(|wanted| wanted == name);
    let binary = binary::find(arguments.binary.as_deref(), Build::Mutants)?;
    let interrupt = interrupt::listen()?;
    let mut results = Vec::new();
    for hunt in HUNTS.iter().filter(|hunt| wanted(hunt.mutant)) {
        results.push(one(hunt, &arguments, &binary, &interrupt)?);
    }
    println!("{:26} {:44} {:6} caught by", "mutant", "hunted with", "tries");
    for result in &results {
        let caught_by = if result.caught_by.is_empty() { "SURVIVED".to_owned() } else { result.caught_by.join(", ") };
        println!("{:26} {:44} {:<6} {caught_by}", result.mutant, result.hunt, result.tries);
    }
    for (mutant, why) in ELSEWHERE.iter().filter(|(mutant, _)| wanted(mutant)) {
        println!("{mutant:26} not here: {why}");
    }
    let survivors = results.iter().filter(|result| result.caught_by.is_empty()).count();
    Ok(if survivors == 0 { Verdict::Clean } else { Verdict::Anomaly })
}

fn one(
    hunt: &Hunt,
    arguments: &Arguments,
    binary: &Path,
    interrupt: &tokio_util::sync::CancellationToken,
) -> anyhow::Result<Result> {
    let out = arguments.out.clone().unwrap_or_else(|| Path::new("jepsen-out").join("mutants"));
    let mut result = Result {
        mutant: hunt.mutant,
        hunt: format!("{} + {}", hunt.workload, hunt.faults.join(", ")),
        tries: 0,
        caught_by: vec![],
    };
    while result.caught_by.is_empty() && result.tries < arguments.tries {
        let dir = out.join(format!("{}-{}", hunt.mutant, result.tries + 1));
        let options = options(hunt, arguments, binary, dir, result.tries)?;
        eprintln!("jepsen: {}, try {}, seed {}", hunt.mutant, result.tries + 1, options.seed);
        result.tries += 1;
        // A cluster that does not even heal is caught as well, by what its run file says.
        let ran = run::one(&options, interrupt);
        if interrupt.is_cancelled() {
            bail!("interrupted");
        }
        ran?;
        let (_, report) = report::write(&options.dir, false)?;
        let rules = report.verdict.anomalies().map(|ruled| ruled.rule.to_owned());
        let run = report.input.run.as_ref();
        let incidents = run.into_iter().flat_map(|run| run.incidents.iter().map(|incident| incident.kind.clone()));
        let mut names: Vec<String> = rules.chain(incidents).collect();
        names.sort();
        names.dedup();
        result.caught_by = names;
    }
    Ok(result)
}

fn options(hunt: &Hunt, arguments: &Arguments, binary: &Path, dir: PathBuf, round: u64) -> anyhow::Result<Options> {
    let faults: anyhow::Result<Vec<&'static dyn Fault>> = hunt.faults.iter().map(|name| fault::named(name)).collect();
    Ok(Options {
        nodes: hunt.nodes,
        time: Duration::from_secs(arguments.seconds),
        workload: workload::named(hunt.workload)?,
        faults: faults?,
        interval: Duration::from_millis(hunt.interval_ms),
        pace: 1.0,
        seed: arguments.seed.wrapping_add(round),
        binary: binary.to_owned(),
        // No mutant needs a workload of such clients.
        python: PathBuf::new(),
        binary_version: format!("{} with the mutant {}", binary::version(binary)?, hunt.mutant),
        dir,
        images: arguments.images.clone(),
        without_namespaces: false,
        load: Load { rate: Some(150), keys: 6, readers: 6, ..Load::default() },
        replication_factor: 3,
        keep_data: false,
        settings: hunt.settings.iter().map(|setting| (*setting).to_owned()).collect(),
        environment: vec![("BALSA_MUTANT".to_owned(), hunt.mutant.to_owned())],
        command_line: std::env::args().collect(),
    })
}
