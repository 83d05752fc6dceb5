//! `balsa dev`: a cluster on this machine, to try things out and to test against.
//!
//! One node runs within this process, since that starts fastest. Several are processes of this same binary under a
//! supervisor, so that one of them can be killed like a real node. Nothing here is different from what `balsa serve`
//! runs, but for `auto_create_topics`, which is on, and a quieter log.
//!
//! It does not manage clusters: no nodes are added later, and the number of nodes belongs to the data directory.

mod announce;
mod child;
mod home;
mod plan;
mod supervisor;

use super::exit::{Failure, Outcome};
use super::{logging, runtime, serve};
use announce::{Announcer, Style};
use clap::ValueEnum;
use home::Home;
use plan::NodePlan;
use std::path::PathBuf;
use std::time::{Duration, Instant};

#[derive(clap::Args)]
pub struct Arguments {
    /// How many nodes
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=5))]
    nodes: u16,
    /// Where the nodes keep everything, each in a directory of its own
    #[arg(long, value_name = "DIR", default_value = "./balsa-data")]
    data_dir: PathBuf,
    /// Keep everything in a temporary directory, which is removed at the end
    #[arg(long, conflicts_with = "data_dir")]
    ephemeral: bool,
    /// Don't start a node again that ended by itself
    #[arg(long)]
    no_restart: bool,
    /// For people, or for programs: one JSON object once ready, then one for each event
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
    /// First port for HTTP; the next nodes take the next ports
    #[arg(long, default_value_t = 8082)]
    http_port: u16,
    /// First port for Kafka clients; the next nodes take the next ports
    #[arg(long, default_value_t = 9092)]
    kafka_port: u16,
    /// First port for traffic between the nodes
    #[arg(long, default_value_t = 9192)]
    peer_port: u16,
    /// Level of the nodes' log, on standard error
    #[arg(long, value_name = "LEVEL", default_value = "warn")]
    log_level: String,
    /// Any key of the configuration, for all nodes, such as raft.quiesce_after_ms=1000
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

/// From the start to a cluster that takes requests, at most. Long, since a machine may be busy and a log long.
const READY_TIME_MAX: Duration = Duration::from_secs(60);

/// Runs nodes until Ctrl-C or SIGTERM.
pub fn run(arguments: Arguments) -> Outcome {
    let started = Instant::now();
    let plans = plan::plan(&arguments)?;
    plan::check_ports(&plans)?;
    let home = Home::open(&arguments, &plans)?;
    let style = if arguments.output == Output::Json { Style::Json } else { Style::Text };
    let announcer = Announcer::new(style, started, home.path().to_owned(), arguments.ephemeral);
    let outcome = match plans.as_slice() {
        [only] => run_within(&arguments, only, &home, announcer),
        _ => run_children(&arguments, plans, &home, announcer),
    };
    drop(home);
    outcome
}

/// One node, in this process.
fn run_within(arguments: &Arguments, plan: &NodePlan, home: &Home, mut announcer: Announcer) -> Outcome {
    let config = serve::load_from(None, plan.flags(home, arguments)?)?;
    logging::install(&config.log)?;
    let runtime = runtime::for_node(&config)?;
    let announce = async {
        match supervisor::ready(plan.http, READY_TIME_MAX).await {
            Ok(()) => announcer.ready(&[plan.running(home, std::process::id())]),
            Err(failure) => Err(failure),
        }
    };
    let leftovers = home.ephemeral_path();
    serve::run_until_signal(runtime, config, announce, move || {
        if let Some(path) = leftovers {
            // The process ends now: there is nobody left to tell.
            let _ = std::fs::remove_dir_all(path);
        }
    })
}

/// Several nodes, each a process of its own.
fn run_children(arguments: &Arguments, plans: Vec<NodePlan>, home: &Home, announcer: Announcer) -> Outcome {
    // Refuses a wrong setting once, before any child does so.
    for plan in &plans {
        serve::load_from(None, plan.flags(home, arguments)?)?;
    }
    let program = std::env::current_exe()
        .map_err(|error| Failure::failed(format_args!("this program's own file cannot be found: {error}")))?;
    let commands = plans.into_iter().map(|plan| {
        let arguments = plan.command_line(home, arguments);
        child::ChildCommand { program: program.clone(), arguments, plan, home: home.path().to_owned() }
    });
    let commands = commands.collect();
    runtime::for_client()?.block_on(supervisor::run(commands, !arguments.no_restart, announcer))
}
