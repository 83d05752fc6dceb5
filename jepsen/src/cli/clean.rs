//! `jepsen clean`.

use crate::cli::exit::{Outcome, Verdict};
use crate::cluster::created;

#[derive(clap::Args)]
pub struct Arguments {}

/// Removes what runs left behind whose runner is gone.
pub fn run(_arguments: Arguments) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let cleaned = runtime.block_on(created::clean())?;
    if cleaned.is_empty() {
        println!("nothing is left of any run");
    }
    let mut failed = 0;
    for run in cleaned {
        match run.outcome {
            _ if run.running => println!("run {}: still going on; left alone", run.id),
            Ok(count) => println!("run {}: removed {count} things (its directory is kept)", run.id),
            Err(error) => {
                failed += 1;
                println!("run {}: {error:#}", run.id);
            }
        }
    }
    anyhow::ensure!(failed == 0, "{failed} runs could not be cleaned up");
    Ok(Verdict::Clean)
}
