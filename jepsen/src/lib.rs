//! Fault injection that a user can run: real processes, real faults, and a checker that reads what the clients saw.
//!
//! | module | what it does |
//! |---|---|
//! | [`history`] | what clients and faults did: types, the recorder, EDN writing and reading |
//! | [`check`] | the rules: what a history must not hold |
//! | [`report`] | a person's view of a run: one HTML page, and text |
//! | [`cluster`] | real processes of the product, each on its own network address and disk |
//! | [`fault`] | what is broken and how it is healed, on a schedule drawn from a seed |
//! | [`workload`] | what the clients do, and how outcomes are told apart |
//! | [`run`] | one run, from an empty directory to its histories |
//! | [`cli`] | arguments; nothing else prints |
//!
//! The crate knows Balsa by its public interfaces only: it links none of it, and reads no file of a node. A history
//! therefore says what a user saw. `history` and `check` do no I/O beyond the files that they are given.

pub mod check;
pub mod cli;
pub mod cluster;
pub mod fault;
pub mod history;
pub mod report;
pub mod run;
pub mod workload;
