//! One run: a cluster is made, clients work on it while faults come and go, all is healed, everything is read once more,
//! and the histories and `run.json` are complete. Checking them is for others.
//!
//! | module | what it does |
//! |---|---|
//! | [`options`] | what a run is asked for |
//! | [`phases`] | the phases of a run, in order |
//! | [`watch`] | listens to the nodes meanwhile: who leads, who died |
//! | [`gaps`] | the time without an acknowledged write after each kill of a leader |
//! | [`interrupt`] | Ctrl-C and SIGTERM |
//!
//! A run lives on a thread of its own, inside the hub of its network; the caller's thread stays outside. Whatever way
//! a run ends (also by a panic of ours), what it made outside of its directory is removed.

pub mod gaps;
pub mod interrupt;
pub mod options;
pub mod phases;
pub mod watch;

use crate::cluster::capabilities::{Capabilities, Capability};
use crate::cluster::created::Created;
use crate::cluster::network::Network;
use crate::fault;
use anyhow::{Context, anyhow};
use options::Options;
use std::sync::Arc;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

/// Everything that blocks has its own deadline; this is for what is left when a run has ended.
const LEFT_OVER_TIME_MAX: std::time::Duration = std::time::Duration::from_secs(1);

fn small_runtime() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// A name for a run that no other run of this machine has now.
fn run_id() -> String {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    // Names of network interfaces and namespaces are short.
    format!("{:x}-{:x}", std::process::id(), since_epoch.as_millis() & 0xff_ffff)
}

/// Runs one workload. `interrupt` ends it early.
///
/// # Errors
/// When there is no complete history: no cluster, or no way to write.
pub fn one(options: &Options, interrupt: &CancellationToken) -> anyhow::Result<()> {
    let own = std::path::absolute(&options.dir)?;
    let images = std::path::absolute(options.images.as_ref().unwrap_or(&options.dir))?;
    let options = Options { dir: own, images: Some(images.clone()), ..options.clone() };
    std::fs::create_dir_all(&options.dir).with_context(|| options.dir.display().to_string())?;
    std::fs::create_dir_all(&images).with_context(|| images.display().to_string())?;
    let created = Arc::new(Created::begin(&run_id())?);
    let thread = {
        let (created, interrupt) = (created.clone(), interrupt.clone());
        std::thread::Builder::new().name("run".to_owned()).spawn(move || inside(&options, created, &interrupt))?
    };
    let outcome = thread.join().unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        Err(anyhow!("the runner panicked: {}", text.unwrap_or("without a text")))
    });
    // In order this was done already, and then there is nothing left to do.
    let removed = small_runtime()?.block_on(created.remove_all());
    outcome.and(removed)
}

/// The run's own thread.
fn inside(options: &Options, created: Arc<Created>, interrupt: &CancellationToken) -> anyhow::Result<()> {
    let images = options.images.clone().unwrap_or_else(|| options.dir.clone());
    let (capabilities, network) = small_runtime()?.block_on(async {
        let capabilities = Capabilities::probe(&images, options.without_namespaces).await?;
        let wanted = capabilities.has(Capability::Namespaces);
        let network = if wanted { Some(Network::create(&created, options.nodes).await?) } else { None };
        anyhow::Ok((capabilities, network))
    })?;
    if let Some(network) = &network {
        network.enter()?;
    }
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(phases::run(options, created, capabilities, network, interrupt));
    runtime.shutdown_timeout(LEFT_OVER_TIME_MAX);
    outcome
}

/// The faults that can be done here, and those that cannot, with the reason.
pub fn possible(
    wanted: &[&'static dyn fault::Fault],
    capabilities: &Capabilities,
) -> (Vec<&'static dyn fault::Fault>, Vec<(&'static str, String)>) {
    let mut possible = Vec::new();
    let mut not = Vec::new();
    for fault in wanted {
        match fault::not_done(*fault, capabilities) {
            None => possible.push(*fault),
            Some(reason) => not.push((fault.name(), reason)),
        }
    }
    (possible, not)
}
