//! The command line. Each command has a file here, with its arguments and its body.
//!
//! Rules that all commands keep: results on standard output, progress and errors on standard error, and an exit code
//! that a script can use (see [`exit`]).

mod check;
mod clean;
mod exit;
mod list;
mod mutants;
mod report;
mod run;

use clap::{Parser, Subcommand};
use exit::Outcome;
use std::process::ExitCode;

/// Breaks a Balsa cluster on purpose, and checks that its clients never saw a thing they must not see.
#[derive(Parser)]
#[command(name = "jepsen", version, about, after_help = exit::HELP, max_term_width = 120)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a cluster, clients and faults; then check the history and write the report
    Run(Box<run::Arguments>),
    /// Check the history of a run
    Check(check::Arguments),
    /// Write DIR/report.html, and the same as text
    Report(report::Arguments),
    /// Run the suite against builds that are broken on purpose: each must be caught
    Mutants(mutants::Arguments),
    /// List workloads and faults, and what this machine can do of them
    List(list::Arguments),
    /// Remove what a run that was killed left behind
    Clean(clean::Arguments),
}

/// Runs the command that the arguments ask for.
pub fn main() -> ExitCode {
    exit::report(run(Arguments::parse().command))
}

fn run(command: Command) -> Outcome {
    match command {
        Command::Run(arguments) => run::run(*arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Report(arguments) => report::run(&arguments),
        Command::Mutants(arguments) => mutants::run(arguments),
        Command::List(arguments) => list::run(arguments),
        Command::Clean(arguments) => clean::run(arguments),
    }
}
