//! `jepsen report`: a run's page, and the same as text.

use crate::cli::exit::{Outcome, Verdict};
use crate::report;
use std::io::Write;
use std::path::PathBuf;

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
    let (page, report) = report::write(&arguments.dir, arguments.loss_allowed)?;
    let text = format!("{}\nThe same with pictures: {}\n", report.text(), page.display());
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(if report.verdict.clean { Verdict::Clean } else { Verdict::Anomaly })
}
