//! The tokio runtimes that commands run on, and the signals that end them.

use super::exit::{Failure, Outcome};
use crate::config::Config;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// For a node: a worker for each core (or as configured), and a bounded number of threads for blocking reads.
pub fn for_node(config: &Config) -> Result<Runtime, Failure> {
    let mut builder = Builder::new_multi_thread();
    if config.worker_threads > 0 {
        builder.worker_threads(config.worker_threads);
    }
    builder.max_blocking_threads(config.blocking_threads).thread_name("balsa").enable_all();
    built(&mut builder)
}

/// For a client or supervisor: one thread, which leaves the cores to the nodes.
pub fn for_client() -> Result<Runtime, Failure> {
    built(Builder::new_current_thread().enable_all())
}

fn built(builder: &mut Builder) -> Result<Runtime, Failure> {
    builder.build().map_err(|error| Failure::failed(format_args!("the runtime cannot be started: {error}")))
}

/// SIGTERM and SIGINT, from the moment of making on.
pub struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// Must be called on a runtime.
    pub fn listen() -> Result<StopSignals, Failure> {
        let listen =
            |kind| signal(kind).map_err(|error| Failure::failed(format_args!("signals cannot be received: {error}")));
        Ok(StopSignals { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    /// Waits for one of them, and names it.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Runs a client command to its end. Does not wait for threads that still read standard input.
pub fn run_client(command: impl Future<Output = Outcome>) -> Outcome {
    let runtime = for_client()?;
    let outcome = runtime.block_on(command);
    runtime.shutdown_background();
    outcome
}
