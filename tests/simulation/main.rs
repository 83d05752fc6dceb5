//! Whole nodes in one thread, on a simulated network, clock and disk, driven by a seed.
//!
//! ```text
//! cargo test --test simulation                                              a few histories
//! BALSA_SIM_HISTORIES=300 cargo test --test simulation -- histories --nocapture
//! BALSA_SIM_SECONDS=3600  cargo test --test simulation -- histories --nocapture    until the time is over
//! BALSA_SIM_SEED=123 RUST_LOG=trace cargo test --test simulation -- replay --nocapture
//! cargo test --test simulation --features mutants -- mutants --nocapture    each must be found
//! ```
//!
//! A seed decides everything: sizes, faults, the order of events. Each history runs in a process of its own (see
//! `runner`), so that nothing that a process keeps can make two runs of a seed differ.
//!
//! Real are: broker, partition, controller, raft, storage, transport, as `balsa::node` puts them together. Simulated
//! are: disk, network, clocks, randomness, threads. Left out is HTTP: calls enter at the broker.

mod faults;
mod healed;
mod invariants;
#[cfg(feature = "mutants")]
mod mutants;
mod observe;
mod panics;
mod report;
mod runner;
mod simulation;
mod swarm;
mod trace;
mod view;
mod voters;
mod workload;
mod world;

/// Without a number of histories or seconds: as many as a plain `cargo test` has the time for.
const HISTORIES_BY_DEFAULT: u64 = 8;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

#[test]
fn histories() {
    let first = number("BALSA_SIM_FIRST_SEED").unwrap_or(1);
    let seconds = number("BALSA_SIM_SECONDS");
    let histories =
        number("BALSA_SIM_HISTORIES").unwrap_or(if seconds.is_some() { u64::MAX } else { HISTORIES_BY_DEFAULT });
    let outcome = runner::run_many(first, histories, seconds);
    println!("{}", outcome.total);
    assert!(
        outcome.failures.is_empty(),
        "{} histories failed:\n{}",
        outcome.failures.len(),
        outcome.failures.join("\n")
    );
}

/// Runs `BALSA_SIM_SEED` here, with the log that `RUST_LOG` asks for.
#[test]
fn replay() {
    let Some(seed) = number("BALSA_SIM_SEED") else { return };
    if let Err(text) = runner::run_here(seed) {
        panic!("{text}");
    }
}

#[test]
fn a_seed_gives_the_same_bytes_again() {
    for seed in [3, 5] {
        let (one, other) = (runner::run_apart(seed).0, runner::run_apart(seed).0);
        let one = one.unwrap_or_else(|text| panic!("{text}"));
        assert_eq!(Ok(one), other);
    }
}

/// The process of one history; started by `runner`.
#[test]
#[ignore = "the process of a single history"]
fn one_history() {
    let Some(seed) = number("BALSA_SIM_SEED") else { return };
    runner::be_one_history(seed);
}
