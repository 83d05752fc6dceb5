//! How a command ends: exit codes that scripts can rely on, and one line on standard error.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

/// Shown below `--help`.
pub const HELP: &str = "Exit codes: 0 done, 1 failed, 2 wrong usage or refused as wrong, 3 not found, \
                        4 unavailable (nobody answered, or no quorum), 5 conflict (exists already, or changed meanwhile)";

/// What a command gives back.
pub type Outcome = Result<(), Failure>;

/// The exit codes, from 1. They don't change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    Failed = 1,
    /// Also what `clap` uses for arguments that it cannot read.
    Usage = 2,
    NotFound = 3,
    Unavailable = 4,
    Conflict = 5,
}

/// Why a command ended early.
#[derive(Debug)]
pub enum Failure {
    /// To be told in one line.
    Error { code: Code, message: String },
    /// The reader of standard output went away: not an error, and nothing to say.
    ReaderGone,
}

impl Failure {
    pub fn new(code: Code, message: impl fmt::Display) -> Failure {
        Failure::Error { code, message: one_line(&message.to_string()) }
    }

    pub fn failed(message: impl fmt::Display) -> Failure {
        Failure::new(Code::Failed, message)
    }

    pub fn usage(message: impl fmt::Display) -> Failure {
        Failure::new(Code::Usage, message)
    }

    /// The same exit code with another text.
    pub fn reworded(self, message: impl fmt::Display) -> Failure {
        match self {
            Failure::Error { code, .. } => Failure::new(code, message),
            Failure::ReaderGone => Failure::ReaderGone,
        }
    }

    /// A failed write to standard output.
    pub fn output(error: &io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::ReaderGone,
            _ => Failure::failed(format_args!("standard output: {error}")),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Error { message, .. } => f.write_str(message),
            Failure::ReaderGone => f.write_str("the reader of the output went away"),
        }
    }
}

/// Prints why a command failed, and gives its exit code.
pub fn report(outcome: Outcome) -> ExitCode {
    match outcome {
        Ok(()) | Err(Failure::ReaderGone) => ExitCode::SUCCESS,
        Err(Failure::Error { code, message }) => {
            // Nobody may be there to read it; the exit code still says it.
            let _ = writeln!(io::stderr(), "balsa: {message}");
            ExitCode::from(code as u8)
        }
    }
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line() {
        assert_eq!(Failure::failed("first\n  second\n").to_string(), "first; second");
    }

    #[test]
    fn a_closed_pipe_is_no_error() {
        assert!(matches!(Failure::output(&io::ErrorKind::BrokenPipe.into()), Failure::ReaderGone));
        assert!(matches!(
            Failure::output(&io::ErrorKind::StorageFull.into()),
            Failure::Error { code: Code::Failed, .. }
        ));
    }
}
