//! Raft groups over openraft. The only floor that imports openraft.
//!
//! Purpose: a [`Group`] is one partition's (or the meta group's) replica on this node; [`Groups`] are all of them.
//! Does not know topics, producers or HTTP: a proposal is opaque here, and who holds which group is asked of a
//! [`Directory`].

mod group;
mod inbound;
mod log_store;
mod machine;
mod network;
mod registry;
#[cfg(test)]
mod suite_tests;
mod types;
mod wire;

pub use group::{CommittedVoters, Group, Leadership, ProposeDone, ProposeError, RaftTiming};
pub use log_store::FlushedEnd;
pub use machine::{AppliedTo, MachineState};
pub use registry::{Directory, Groups, OpenError};
pub use types::{Fence, Proposal, Reply};
pub use wire::{KIND_END, group_of, joined_payload};

/// Decodes any message as each of those that Raft knows; what the fuzz target of messages runs.
#[cfg(any(test, fuzzing))]
pub(crate) fn decode_all_ways(message: crate::transport::Message) {
    let _ = wire::group_of(&message);
    let _ = wire::vote_request(&message);
    let _ = wire::vote_response(&message);
    let _ = wire::append_response(&message);
    let _ = wire::append_request(message);
}
