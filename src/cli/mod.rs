//! The command line. `serve` and `dev` run nodes; every other command is a client of the public HTTP API.
//!
//! Rules that all commands keep: data on standard output, progress and errors on standard error, one line for an
//! error, an exit code that a script can use (see [`exit::Code`]), and silence when the reader of a pipe went away.
//! Nothing here knows the inside of a node.

mod answer;
mod bench;
mod cluster;
mod consume;
mod dev;
mod exit;
mod group;
mod logging;
mod produce;
mod runtime;
mod serve;
mod servers;
mod topic;

use clap::{Parser, Subcommand};
use exit::Outcome;

/// A Raft-replicated stream store: every acknowledged record is on disk on a quorum.
#[derive(Parser)]
#[command(name = "balsa", version, about, after_help = exit::HELP, max_term_width = 120)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a node
    Serve(Box<serve::Arguments>),
    /// Run a cluster on this machine to try things out: one command, one to five nodes
    Dev(dev::Arguments),
    /// Write the lines of standard input to a topic, a record each
    Produce(produce::Arguments),
    /// Print the records of a topic
    Consume(consume::Arguments),
    /// List, make, describe, alter and delete topics
    Topic(topic::Arguments),
    /// List, describe and delete groups, and set their offsets
    Group(group::Arguments),
    /// See how the cluster is
    Cluster(cluster::Arguments),
    /// Measure a cluster
    Bench(bench::Arguments),
}

/// Runs the command that the arguments ask for.
pub fn main() -> std::process::ExitCode {
    let arguments = Arguments::parse();
    exit::report(run(arguments.command))
}

fn run(command: Command) -> Outcome {
    match command {
        Command::Serve(arguments) => serve::run(*arguments),
        Command::Dev(arguments) => dev::run(arguments),
        Command::Produce(arguments) => produce::run(arguments),
        Command::Consume(arguments) => consume::run(arguments),
        Command::Topic(arguments) => topic::run(arguments),
        Command::Group(arguments) => group::run(arguments),
        Command::Cluster(arguments) => cluster::run(arguments),
        Command::Bench(arguments) => bench::run(arguments),
    }
}
