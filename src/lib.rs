//! Balsa: a Raft-replicated stream store.
//!
//! Floors (a module imports only from lower floors; `tests/tidy.rs` holds this):
//!
//! ```text
//! 8 cli/, client/, node/      arguments; the client of the HTTP API; the composition root
//! 7 http/, kafka/, peer/      what speaks to the outside: HTTP clients, Kafka's clients, other nodes
//! 6 broker/            the one API that the fronts call: route, coalesce, forward
//! 5 coordinator/       consumer groups of the partitions of groups that this node leads
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
pub mod coordinator;
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
