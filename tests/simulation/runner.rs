//! Runs histories: each in a process of its own, two at a time or as many as there are cores.
//!
//! A process is this test binary again, asked for the one test that runs `BALSA_SIM_SEED`. It tells its result in one
//! line of its standard output.

use crate::panics;
use crate::report::Total;
use crate::simulation::Simulation;
use crate::trace::Trace;
use crate::world::entropy;
use parking_lot::Mutex;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What the line with the result begins with.
const RESULT: &str = "simulation result ";
/// Failures after which no more histories are begun.
const FAILURES_MAX: usize = 5;

/// What many histories gave.
pub struct Outcome {
    pub total: Total,
    pub failures: Vec<String>,
}

fn command_for(seed: u64) -> String {
    format!("BALSA_SIM_SEED={seed} RUST_LOG=trace cargo test --test simulation -- replay --nocapture")
}

/// Runs histories from a seed on, as many as asked for, or until so many seconds are over.
pub fn run_many(first_seed: u64, histories: u64, seconds: Option<u64>) -> Outcome {
    let until = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let next = Arc::new(AtomicU64::new(0));
    let enough = Arc::new(AtomicBool::new(false));
    let outcome = Arc::new(Mutex::new(Outcome { total: Total::default(), failures: Vec::new() }));
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let workers: Vec<_> = (0..cores)
        .map(|_| {
            let (next, enough, outcome) = (next.clone(), enough.clone(), outcome.clone());
            std::thread::spawn(move || {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let late = until.is_some_and(|until| Instant::now() >= until);
                    if number >= histories || late || enough.load(Ordering::Relaxed) {
                        return;
                    }
                    let (result, took) = run_apart(first_seed + number);
                    if std::env::var_os("BALSA_SIM_VERBOSE").is_some() {
                        println!("seed {}: {took:?} {}", first_seed + number, result.is_ok());
                    }
                    let mut outcome = outcome.lock();
                    match result {
                        Ok(total) => outcome.total.add(&total),
                        Err(text) => outcome.failures.push(text),
                    }
                    enough.store(outcome.failures.len() >= FAILURES_MAX, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for worker in workers {
        worker.join().expect("a worker does not panic");
    }
    let mut outcome = outcome.lock();
    Outcome { total: outcome.total.clone(), failures: std::mem::take(&mut outcome.failures) }
}

/// Runs a history in a process of its own; says how long that took, too.
pub fn run_apart(seed: u64) -> (Result<Total, String>, Duration) {
    run_with(seed, None)
}

/// As `run_apart`, with a mutant of this name.
pub fn run_with(seed: u64, mutant: Option<&str>) -> (Result<Total, String>, Duration) {
    let started = Instant::now();
    let mut command = Command::new(std::env::current_exe().expect("this binary has a path"));
    command.args(["--exact", "one_history", "--ignored", "--nocapture", "--test-threads=1"]);
    command.envs(mutant.map(|name| ("BALSA_MUTANT", name)));
    command.env("BALSA_SIM_SEED", seed.to_string()).stdin(Stdio::null()).stderr(Stdio::piped());
    let output = command.output().expect("this binary can be started");
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|line| line.split_once(RESULT).map(|(_, result)| result));
    let result = line.and_then(|line| serde_json::from_str::<Result<Total, String>>(line).ok());
    let result = result.unwrap_or_else(|| {
        let errors = String::from_utf8_lossy(&output.stderr);
        Err(format!("seed {seed}: the process ended with {} and told no result\n{text}{errors}", output.status))
    });
    (result, started.elapsed())
}

/// Runs a history in a thread of this process, and says what it gave.
pub fn run_here(seed: u64) -> Result<Total, String> {
    if std::env::var_os("RUST_LOG").is_some() {
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
    }
    #[cfg(feature = "mutants")]
    if let Ok(name) = std::env::var("BALSA_MUTANT") {
        balsa::mutant::select(Some(balsa::mutant::named(&name)?));
    }
    let history = move || {
        entropy::seed(seed);
        panics::catch();
        let trace = Trace::new(std::env::var_os("BALSA_SIM_TRACE").as_deref());
        let mut simulation = Simulation::new(seed, trace);
        let result = simulation.run();
        let total = simulation.report.total();
        result.map(|()| total).map_err(|violation| {
            let (invariant, what, swarm) = (violation.invariant, violation.what, &simulation.swarm);
            format!("seed {seed}: {invariant}: {what}\n  {}\n  {swarm:?}", command_for(seed))
        })
    };
    std::thread::spawn(history).join().unwrap_or_else(|_| {
        let what = panics::take().unwrap_or_default();
        Err(format!("seed {seed}: the simulation itself panicked: {what}\n  {}", command_for(seed)))
    })
}

/// The life of a process that runs one history.
pub fn be_one_history(seed: u64) {
    let result = run_here(seed);
    let line = serde_json::to_string(&result).expect("a result is plain data");
    println!("{RESULT}{line}");
    // Nothing is torn down: that would only take time.
    std::process::exit(0);
}
