//! How a command ends.

use std::process::ExitCode;

/// Shown below `--help`.
pub const HELP: &str =
    "Exit codes: 0 nothing found, 1 an anomaly, 2 no verdict (wrong usage, no usable history, a run that failed)";

/// What a command found, or why it could not say.
pub type Outcome = anyhow::Result<Verdict>;

/// What a command that came to its end has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Clean,
    Anomaly,
}

/// Prints why there is no verdict, and gives the exit code.
pub fn report(outcome: Outcome) -> ExitCode {
    match outcome {
        Ok(Verdict::Clean) => ExitCode::SUCCESS,
        Ok(Verdict::Anomaly) => ExitCode::from(1),
        Err(error) if reader_is_gone(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("jepsen: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// The reader of a pipe went away: it has what it wanted.
fn reader_is_gone(error: &anyhow::Error) -> bool {
    let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    kind == Some(std::io::ErrorKind::BrokenPipe)
}
