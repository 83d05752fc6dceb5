//! `jepsen report`: a run's page, and the same as text.

use crate::cli::exit::{Outcome, Verdict};
use crate::report;
use std::io::Write;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct Arguments {
    /// The directory of a run
    dir: PathBuf,
    /// The run asked for less than acks=all: count what was lost, and don't call it an anomaly
    #[arg(long)]
    loss_allowed: bool,
}

pub fn run(arguments: &Arguments) -> Outcome {
    anyhow::ensure!(arguments.dir.is_dir(), "{}: a report is of a run's directory", arguments.dir.display());
    show(&arguments.dir, arguments.loss_allowed)
}

/// Checks the run in `dir`, writes its page and prints the same: also the end of each `run`.
pub fn show(dir: &Path, loss_allowed: bool) -> Outcome {
    let (page, report) = report::write(dir, loss_allowed)?;
    let text = format!("{}\nThe same with pictures: {}\n", report.text(), page.display());
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(if report.clean() { Verdict::Clean } else { Verdict::Anomaly })
}
