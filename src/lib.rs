//! Balsa: a Raft-replicated stream store.
//!
//! Floors (a module imports only from lower floors; `tests/tidy.rs` holds this):
//!
//! ```text
//! 7 cli/, client/, node/      arguments; the client of the HTTP API; the composition root
//! 6 http/, kafka/, peer/      what speaks to the outside: HTTP clients, Kafka's clients, other nodes
//! 5 broker/            the one API that the fronts call: route, coalesce, forward
//! 4 partition/, controller/   one actor per led replica; drives the meta group
//! 3 raft/              the only importer of openraft
//! 2 state/             pure apply()
//! 1 storage/, transport/      segments and flusher; connections between nodes
//! 0 types/ record/ config/ clock vfs tasks random mutant
//! ```
pub mod broker;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod controller;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod http;
pub mod kafka;
pub mod mutant;
pub mod node;
pub mod partition;
pub mod peer;
pub mod raft;
pub mod random;
pub mod record;
pub mod state;
pub mod storage;
pub mod tasks;
pub mod transport;
pub mod types;
pub mod vfs;
