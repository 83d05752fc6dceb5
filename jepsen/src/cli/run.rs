//! `jepsen run`.

use crate::cli::exit::Outcome;

#[derive(clap::Args)]
pub struct Arguments {}

pub fn run(_arguments: Arguments) -> Outcome {
    anyhow::bail!("this build has no `run` yet")
}
