//! `balsa serve`: one node in this process, until SIGTERM or SIGINT.
//!
//! The node ends by itself once told to. Should that take too long, the process ends all the same: what was
//! acknowledged is on disk, so nothing is lost by not waiting.

use super::exit::{Failure, Outcome};
use super::runtime::StopSignals;
use super::{logging, runtime};
use crate::config::{Config, FlagValue, Sources, keys};
use std::path::PathBuf;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

/// From the signal to the end of the process, at most. A little below the five seconds that supervisors grant.
const STOP_TIME_MAX: Duration = Duration::from_millis(4700);
/// For blocking work that still runs when the node has ended.
const BLOCKING_WORK_TIME_MAX: Duration = Duration::from_millis(200);

#[derive(clap::Args)]
pub struct Arguments {
    /// Configuration file (TOML); see deploy/balsa.toml for every key
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// This node's number in --peers, from 1
    #[arg(long, value_name = "ID")]
    pub node_id: Option<String>,
    /// Where the node keeps everything
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// Rack or zone of this node
    #[arg(long)]
    pub rack: Option<String>,
    /// Where HTTP clients connect
    #[arg(long, value_name = "ADDR")]
    pub http: Option<String>,
    /// Host and port by which others name the HTTP listener
    #[arg(long, value_name = "HOST:PORT")]
    pub http_advertised: Option<String>,
    /// Where Kafka clients connect
    #[arg(long, value_name = "ADDR")]
    pub kafka: Option<String>,
    /// Where the other nodes connect
    #[arg(long, value_name = "ADDR")]
    pub peer: Option<String>,
    /// All nodes of the cluster, the same list on each
    #[arg(long, value_name = "1=ADDR,2=ADDR,…")]
    pub peers: Option<String>,
    /// Level of the log, or directives such as "info,balsa::raft=debug"
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// Format of the log: text or json
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// Any key of the configuration file, such as raft.quiesce_after_ms=1000
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Print the configuration that results, as TOML, and end
    #[arg(long)]
    pub print_config: bool,
    /// End with the process of this id, which must be the parent
    #[arg(long, hide = true, value_name = "PID")]
    pub supervised_by: Option<i32>,
}

/// Runs a node until it is told to stop.
pub fn run(arguments: Arguments) -> Outcome {
    if let Some(supervisor) = arguments.supervised_by {
        end_with(supervisor)?;
    }
    let config = load(&arguments)?;
    if arguments.print_config {
        use std::io::Write;
        return std::io::stdout().write_all(config.to_toml().as_bytes()).map_err(|error| Failure::output(&error));
    }
    logging::install(&config.log)?;
    #[cfg(feature = "mutants")]
    select_mutant()?;
    let runtime = runtime::for_node(&config)?;
    run_until_signal(runtime, config, async { Ok(()) }, || {})
}

// `BALSA_MUTANT` names the bug that this node has on purpose.
#[cfg(feature = "mutants")]
fn select_mutant() -> Outcome {
    let Ok(name) = std::env::var("BALSA_MUTANT") else { return Ok(()) };
    let mutant = crate::mutant::named(&name).map_err(Failure::usage)?;
    tracing::warn!(mutant = name, "this node breaks its promises on purpose");
    crate::mutant::select(Some(mutant));
    Ok(())
}

/// Runs a node on `runtime` until a signal comes, or `beside`, which runs along with it, fails. Where the node does not
/// end in time, `at_deadline` is the last thing that this process does.
pub fn run_until_signal(
    runtime: Runtime,
    config: Config,
    beside: impl Future<Output = Outcome>,
    at_deadline: impl FnOnce() + Send + 'static,
) -> Outcome {
    let outcome = runtime.block_on(async {
        let mut signals = StopSignals::listen()?;
        let stop = CancellationToken::new();
        let mut node = std::pin::pin!(crate::node::run(config, stop.clone().cancelled_owned()));
        let until_told = async {
            let failed = async {
                match beside.await {
                    Ok(()) => std::future::pending().await,
                    Err(failure) => failure,
                }
            };
            let outcome = tokio::select! {
                failure = failed => Err(failure),
                name = signals.next() => {
                    tracing::info!(signal = name, "stopping");
                    Ok(())
                }
            };
            end_process_after(STOP_TIME_MAX, at_deadline);
            stop.cancel();
            outcome
        };
        let told = tokio::select! {
            biased;
            outcome = until_told => outcome,
            result = &mut node => return ended(result),
        };
        told.and(ended(node.await))
    });
    runtime.shutdown_timeout(BLOCKING_WORK_TIME_MAX);
    outcome
}

fn ended(result: anyhow::Result<()>) -> Outcome {
    result.map_err(|error| Failure::failed(format_args!("{error:#}")))
}

/// The configuration from the file, the environment and the flags.
pub fn load(arguments: &Arguments) -> Result<Config, Failure> {
    let mut flags = Vec::new();
    let named = [
        ("--node-id", "node_id", &arguments.node_id),
        ("--data-dir", "data_dir", &arguments.data_dir),
        ("--rack", "rack", &arguments.rack),
        ("--http", "http.listen", &arguments.http),
        ("--http-advertised", "http.advertised", &arguments.http_advertised),
        ("--kafka", "kafka.listen", &arguments.kafka),
        ("--peer", "peer.listen", &arguments.peer),
        ("--peers", "peers", &arguments.peers),
        ("--log-level", "log.level", &arguments.log_level),
        ("--log-format", "log.format", &arguments.log_format),
    ];
    for (flag, key, value) in named {
        flags.extend(value.clone().map(|value| FlagValue { flag, key, value }));
    }
    for assignment in &arguments.set {
        flags.push(assigned(assignment)?);
    }
    load_from(arguments.config.clone(), flags)
}

/// The configuration from a file, the environment, and `flags`.
pub fn load_from(file: Option<PathBuf>, flags: Vec<FlagValue>) -> Result<Config, Failure> {
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())))
        .collect();
    Config::load(&Sources { file, environment, flags }).map_err(Failure::usage)
}

/// A `--set KEY=VALUE`.
pub fn assigned(assignment: &str) -> Result<FlagValue, Failure> {
    let Some((name, value)) = assignment.split_once('=') else {
        return Err(Failure::usage(format_args!("--set {assignment}: expected KEY=VALUE")));
    };
    let Some(key) = keys::find(name.trim()) else {
        return Err(Failure::usage(format_args!("--set {assignment}: there is no key {name}; see deploy/balsa.toml")));
    };
    Ok(FlagValue { flag: "--set", key: key.name, value: value.trim().to_owned() })
}

/// Asks the kernel to kill this process when its supervisor dies, however that happens.
fn end_with(supervisor: i32) -> Outcome {
    let asked = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    asked.map_err(|error| Failure::failed(format_args!("the supervisor cannot be watched: {error}")))?;
    let parent = rustix::process::getppid().map(rustix::process::Pid::as_raw_pid);
    // It may have died before the kernel was asked.
    if parent == Some(supervisor) { Ok(()) } else { Err(Failure::failed("the supervisor is gone")) }
}

/// Ends the process from a thread of its own, so that nothing in the runtime can hold it up.
fn end_process_after(time: Duration, at_deadline: impl FnOnce() + Send + 'static) {
    let watchdog = move || {
        std::thread::sleep(time);
        tracing::warn!("stopping takes too long; ending now (what was acknowledged is on disk)");
        at_deadline();
        std::process::exit(0);
    };
    if std::thread::Builder::new().name("stop-deadline".to_owned()).spawn(watchdog).is_err() {
        tracing::warn!("no thread for the deadline of stopping; it may take longer");
    }
}
