//! Kafka's requests against real nodes, in every version that is advertised: administrators' ones, and what becomes of
//! an idempotent producer's batches, and groups.

mod admin;
mod groups;
mod producers;
#[path = "../support/mod.rs"]
mod support;
mod wire;
