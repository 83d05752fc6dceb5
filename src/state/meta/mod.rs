//! The meta group's state: cluster id, nodes, topics, and which group and nodes each partition has.
//!
//! [`MetaState`] is the state machine: commands in log order, one after the other. Readers get a [`MetaImage`], which
//! never changes; a new one is made by each command and shares with the one before all that is the same.
//!
//! Invariants: a refused command changes nothing; a group id is given out once; a node's UUID never changes; every
//! replica is on a node that the image has. Names and settings of topics are checked at the door (`controller`): here
//! stands only what would break the image.
//!
//! It does not know who leads a group or which node is alive: that is not replicated state.

mod apply;
mod assignments;
mod codec;
mod command;
mod image;
mod shared_map;
mod snapshot;
#[cfg(test)]
mod tests;

use crate::types::LogIndex;
pub use assignments::{Assignments, AssignmentsError, PARTITIONS_MAX, REPLICATION_FACTOR_MAX};
pub use codec::DecodeError;
pub use command::{AddPartitions, MetaChange, MetaCommand, MetaError, MetaOutcome, MetaResponse};
pub use image::{FEATURE_VERSION, GroupPlace, GroupStatus, MetaImage, Node, NodeCounts, Topic};
use std::sync::Arc;

/// The state machine of the meta group.
#[derive(Clone, Debug, Default)]
pub struct MetaState {
    image: Arc<MetaImage>,
    requests: apply::RequestMemory,
}

impl MetaState {
    /// Before the first command.
    pub fn new() -> MetaState {
        MetaState::default()
    }

    /// The catalog as of the last command. Cheap; the image never changes.
    pub fn image(&self) -> Arc<MetaImage> {
        self.image.clone()
    }

    /// Applies the command of the entry at `index`. A command whose request id is among the newest 1,024 gets its
    /// first answer and changes nothing.
    ///
    /// # Panics
    /// When `index` was applied before: the replica would differ from the others.
    pub fn apply(&mut self, index: LogIndex, command: MetaCommand) -> MetaResponse {
        assert!(
            self.image.applied < Some(index),
            "meta entry {index} was applied before (at {:?})",
            self.image.applied
        );
        let image = Arc::make_mut(&mut self.image);
        image.applied = Some(index);
        if let Some(first) = self.requests.answer(command.request_id) {
            return first.clone();
        }
        let response = MetaResponse { index, result: apply::change(image, index, command.change) };
        self.requests.remember(command.request_id, response.clone());
        response
    }

    /// The state in bytes; equal states have equal bytes.
    pub fn to_snapshot(&self) -> Vec<u8> {
        snapshot::encode(self)
    }

    /// # Errors
    /// Any bytes that this version does not write; a newer version is named.
    pub fn from_snapshot(bytes: &[u8]) -> Result<MetaState, DecodeError> {
        snapshot::decode(bytes)
    }
}
