//! `jepsen check`: a verdict on a history.

use crate::check;
use crate::cli::exit::{Outcome, Verdict};
use crate::report::input::Input;
use crate::report::run_file::Incident;
use crate::report::text;
use clap::ValueEnum;
use serde::Serialize;
use std::io::Write;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Arguments {
    /// A history (EDN or JSON lines, also .gz), or the directory of a run
    history: PathBuf,
    /// The run asked for less than acks=all: count what was lost, and don't call it an anomaly
    #[arg(long)]
    loss_allowed: bool,
    /// How to print the verdict
    #[arg(short, long, default_value = "text")]
    output: Output,
}

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    Text,
    Json,
}

pub fn run(arguments: &Arguments) -> Outcome {
    let input = Input::read(&arguments.history)?;
    let mut verdict = input.check(arguments.loss_allowed)?;
    let incidents = input.run.map(|run| run.incidents).unwrap_or_default();
    verdict.clean &= incidents.is_empty();
    let mut text = match arguments.output {
        Output::Text => text::verdict(&verdict),
        Output::Json => serde_json::to_string_pretty(&Checked { verdict: &verdict, incidents: &incidents })?,
    };
    if matches!(arguments.output, Output::Text) {
        text.extend(incidents.iter().map(|one| format!("INCIDENT: {}: {}\n", one.kind, one.detail)));
    }
    if !text.ends_with('\n') {
        text.push('\n');
    }
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(if verdict.clean { Verdict::Clean } else { Verdict::Anomaly })
}

/// What `-o json` prints.
#[derive(Serialize)]
struct Checked<'a> {
    #[serde(flatten)]
    verdict: &'a check::Verdict,
    /// What the runner saw and no history shows.
    incidents: &'a [Incident],
}
