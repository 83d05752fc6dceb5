//! `jepsen check`.

use crate::cli::exit::Outcome;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Arguments {
    /// A history, or the directory of a run
    history: PathBuf,
}

pub fn run(arguments: &Arguments) -> Outcome {
    anyhow::bail!("{}: this build has no `check` yet", arguments.history.display())
}
