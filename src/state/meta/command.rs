//! What the meta group is asked, and what it answers.

use super::assignments::Assignments;
use super::codec::{self, DecodeError};
use super::image::Node;
use crate::types::{GroupId, LogIndex, NodeId, TopicId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Format version of commands and of answers.
const COMMAND_VERSION: u8 = 2;
const RESPONSE_VERSION: u8 = 2;

/// One entry of the meta log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetaCommand {
    /// Drawn at random by whoever first asks, and kept over retries: a command whose answer was lost is sent again
    /// with the same one, and gets its first answer instead of a second effect.
    pub request_id: u128,
    pub change: MetaChange,
}

/// A change of the catalog. Everything that must be chosen was chosen by the proposer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MetaChange {
    /// The first command of a cluster: its id and the nodes it begins with, with the UUIDs that are known already:
    /// those are fixed from here on, so that none of these nodes can lose its directory unnoticed before it registers.
    InitCluster {
        cluster_id: Uuid,
        nodes: Vec<Node>,
    },
    /// A node says who it is, each time it starts: adds it, or updates its addresses, rack and version. `node.uuid`
    /// must be there. Refused when the id is known under another UUID, or the UUID under another id.
    RegisterNode {
        node: Node,
    },
    CreateTopic {
        topic_id: TopicId,
        name: String,
        assignments: Assignments,
        config: BTreeMap<String, String>,
    },
    /// Both parts or none. A config value of `None` resets it to its default.
    AlterTopic {
        topic_id: TopicId,
        add: Option<AddPartitions>,
        config: BTreeMap<String, Option<String>>,
    },
    /// By id, so that a late retry never hits a topic that was created again under the same name.
    DeleteTopic {
        topic_id: TopicId,
    },
    /// So many ids of Kafka producers for one node to give out. Since version 2.
    TakeProducerIds {
        count: u32,
    },
}

/// Partitions to add behind those that a topic has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddPartitions {
    /// How many the topic had when the proposer looked: two concurrent requests must not both add.
    pub expected_partitions: u32,
    /// Of the added ones alone.
    pub assignments: Assignments,
}

/// The answer to a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetaResponse {
    /// Where the command took effect (for a retry: the first one): an image that has applied this index shows it.
    pub index: LogIndex,
    pub result: Result<MetaOutcome, MetaError>,
}

/// What a command did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MetaOutcome {
    ClusterInitialized,
    NodeRegistered,
    /// The groups of its partitions are numbered from `first_group`, in order.
    TopicCreated {
        topic_id: TopicId,
        first_group: GroupId,
    },
    TopicAltered,
    TopicDeleted,
    /// As many ids as were asked for, from `first` on. Since version 2.
    ProducerIds {
        first: u64,
    },
}

impl MetaOutcome {
    /// What the first version does not know.
    pub(super) fn is_of_version_2(&self) -> bool {
        matches!(self, MetaOutcome::ProducerIds { .. })
    }
}

/// Why a command did nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum MetaError {
    #[error("the cluster has no id yet: its nodes have not formed it")]
    NotInitialized,
    #[error("the cluster has been formed already, with the id {cluster_id}")]
    AlreadyInitialized { cluster_id: Uuid },
    /// The id belongs to a node with another identity: the operator reused an id, or the node lost its directory.
    #[error("node {node} is known to this cluster with the UUID {known}, not {given}")]
    NodeIdentity { node: NodeId, known: Uuid, given: Uuid },
    /// The directory was copied, or the node was given another id.
    #[error("the UUID {uuid} belongs to node {known}, not to node {given}")]
    NodeUuidTaken { uuid: Uuid, known: NodeId, given: NodeId },
    #[error("node {0} is not part of this cluster")]
    UnknownNode(NodeId),
    #[error("topic {0} exists already")]
    TopicExists(String),
    /// Also: it was deleted since the proposer looked.
    #[error("no topic has the id {0}")]
    UnknownTopic(TopicId),
    /// Another request changed the number since the proposer looked: look again, place again.
    #[error("topic {name} has {partitions} partitions by now, not {expected}")]
    PartitionsChanged { name: String, partitions: u32, expected: u32 },
    /// The proposer should have refused this.
    #[error("{0}")]
    Invalid(String),
}

impl MetaCommand {
    pub fn encode(&self) -> Vec<u8> {
        // What the first version has is written as it, for nodes that are not upgraded yet.
        let version = if matches!(self.change, MetaChange::TakeProducerIds { .. }) { COMMAND_VERSION } else { 1 };
        codec::encode(version, self)
    }

    /// # Errors
    /// Any bytes that this version does not write. A committed command that cannot be read must stop the node's meta
    /// replica: skipping it would make this replica differ from the others.
    pub fn decode(bytes: &[u8]) -> Result<MetaCommand, DecodeError> {
        codec::decode("a command of the meta group", COMMAND_VERSION, bytes)
    }
}

impl MetaResponse {
    pub fn encode(&self) -> Vec<u8> {
        let is_new = self.result.as_ref().is_ok_and(MetaOutcome::is_of_version_2);
        let version = if is_new { RESPONSE_VERSION } else { 1 };
        codec::encode(version, self)
    }

    pub fn decode(bytes: &[u8]) -> Result<MetaResponse, DecodeError> {
        codec::decode("an answer of the meta group", RESPONSE_VERSION, bytes)
    }
}
