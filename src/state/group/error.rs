//! Why a group's coordinator refuses something. One vocabulary; each front maps it once.

use serde::{Deserialize, Serialize};

/// A refusal. Except for `Unknown`, nothing of the request has happened, or will.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum GroupError {
    #[error("the group id is empty or longer than 32,767 bytes")]
    InvalidGroupId,
    #[error("member {0} is not in the group (any more)")]
    UnknownMember(String),
    /// Join again under this member id (KIP-394).
    #[error("join again as member {0}")]
    MemberIdRequired(String),
    #[error("generation {given} is not the group's, which is {current}")]
    IllegalGeneration { given: i32, current: i32 },
    #[error("the group is rebalancing")]
    RebalanceInProgress,
    #[error("the member has no protocol in common with the others of the group, or another protocol type")]
    InconsistentProtocol,
    /// Another member goes by this `group.instance.id` now (KIP-345).
    #[error("another member has taken the group instance id {0}")]
    FencedInstance(String),
    #[error("the session timeout of {given} ms is not within {min} to {max} ms")]
    InvalidSessionTimeout { given: i32, min: i32, max: i32 },
    #[error("the group has {0} members, and takes no more")]
    GroupFull(usize),
    #[error("the group has members")]
    NonEmptyGroup,
    #[error("group {0} does not exist")]
    UnknownGroup(String),
    #[error("members of the group read topic {0}")]
    SubscribedToTopic(String),
    /// The group is read over HTTP now; a Kafka client can't join it.
    #[error("group {0} has members that poll over HTTP: a group has members of one kind at a time")]
    HasHttpMembers(String),
    /// The group has Kafka clients as members; it can't be polled over HTTP.
    #[error("group {0} has Kafka clients as members: a group has members of one kind at a time")]
    HasKafkaMembers(String),
    #[error("the lease has run out, was acknowledged, or was never given")]
    UnknownLease,
    /// What was to be leased is leased to another, or its offset has moved meanwhile.
    #[error("what was polled went to another member meanwhile")]
    LeaseConflict,
    /// Ask again who coordinates.
    #[error("this node does not coordinate the group")]
    NotCoordinator,
    /// It coordinates, or will soon, but can't say anything yet.
    #[error("the group's coordinator is not ready: {0}")]
    Loading(String),
    #[error("the group's coordinator can't be reached: {0}")]
    Unavailable(String),
    /// A bound was met.
    #[error("{0}")]
    Overloaded(String),
    #[error("the disk of the group's coordinator takes no writes: {0}")]
    StorageFailed(String),
    /// It may have been written.
    #[error("the outcome is unknown: {0}")]
    Unknown(String),
    /// The request itself is wrong.
    #[error("{0}")]
    Invalid(String),
}
