//! The one map from what the broker says to Kafka's error codes. Codes appear nowhere outside `kafka/`.
//!
//! What a client does next depends on the code alone: retriable ones are sent again, those about leaders make it look
//! for the leader first, the others reach the application. So each row is chosen by what the client should do.

use crate::broker::groups::GroupError;
use crate::broker::{DirectError, TopicError};
pub use kafka_protocol::error::ResponseError;

/// Code of success.
pub const NONE: i16 = 0;

/// Of a change of the catalog, or of looking a topic up.
pub fn of_topic(error: &TopicError) -> ResponseError {
    match error {
        TopicError::UnknownTopic(_) => ResponseError::UnknownTopicOrPartition,
        TopicError::Exists(_) => ResponseError::TopicAlreadyExists,
        TopicError::Invalid { field, .. } => of_invalid_field(field),
        // Retriable, and for a write that may have been made a retry tells which.
        TopicError::Unavailable { .. } | TopicError::OutcomeUnknown { .. } => ResponseError::RequestTimedOut,
    }
}

/// By the part of the request that is wrong (a JSON pointer).
fn of_invalid_field(field: &str) -> ResponseError {
    match field.split('/').nth(1).unwrap_or("") {
        "name" => ResponseError::InvalidTopicException,
        "partitions" => ResponseError::InvalidPartitions,
        "replication_factor" => ResponseError::InvalidReplicationFactor,
        "assignments" => ResponseError::InvalidReplicaAssignment,
        "config" => ResponseError::InvalidConfig,
        _ => ResponseError::InvalidRequest,
    }
}

/// Of a topic that is named in a request about records, where its name may be wrong.
pub fn of_lookup(error: &TopicError) -> ResponseError {
    match error {
        TopicError::Unavailable { .. } | TopicError::OutcomeUnknown { .. } => ResponseError::LeaderNotAvailable,
        other => of_topic(other),
    }
}

/// Of a write to a partition.
pub fn of_write(error: &DirectError) -> ResponseError {
    match error {
        DirectError::UnknownTopic(_) | DirectError::UnknownPartition { .. } => ResponseError::UnknownTopicOrPartition,
        // A replica that is not ready is no leader yet: look again in a moment.
        DirectError::NotLeader { .. } | DirectError::NotReady(_) => ResponseError::NotLeaderOrFollower,
        DirectError::FencedTerm { .. } => ResponseError::FencedLeaderEpoch,
        DirectError::UnknownTerm { .. } => ResponseError::UnknownLeaderEpoch,
        DirectError::OutOfRange { .. } => ResponseError::OffsetOutOfRange,
        // Retriable, and surely not written: a timeout would leave that open.
        DirectError::Overloaded(_) | DirectError::NotEnoughReplicas(_) => ResponseError::NotEnoughReplicas,
        DirectError::DiskFull(_) | DirectError::StorageFailed(_) => ResponseError::KafkaStorageError,
        DirectError::OutcomeUnknown(_) => ResponseError::RequestTimedOut,
        DirectError::Corrupt(_) => ResponseError::CorruptMessage,
        DirectError::UnsupportedFormat(_) => ResponseError::UnsupportedForMessageFormat,
        DirectError::UnsupportedCompression(_) => ResponseError::UnsupportedCompressionType,
        DirectError::TooLarge { .. } => ResponseError::MessageTooLarge,
        DirectError::InvalidTimestamp(_) => ResponseError::InvalidTimestamp,
        DirectError::InvalidRecord(_) => ResponseError::InvalidRecord,
        DirectError::OutOfOrderSequence(_) => ResponseError::OutOfOrderSequenceNumber,
        DirectError::DuplicateSequence(_) => ResponseError::DuplicateSequenceNumber,
        DirectError::InvalidProducerEpoch(_) => ResponseError::InvalidProducerEpoch,
        DirectError::UnknownProducer(_) => ResponseError::UnknownProducerId,
        DirectError::Internal(_) => ResponseError::UnknownServerError,
    }
}

/// Of a read of a partition. Java's consumer fails on codes that it does not expect in such an answer, and what this
/// node cannot serve now is worth another look for the leader.
pub fn of_read(error: &DirectError) -> ResponseError {
    match error {
        DirectError::Overloaded(_) | DirectError::NotEnoughReplicas(_) | DirectError::OutcomeUnknown(_) => {
            ResponseError::NotLeaderOrFollower
        }
        other => of_write(other),
    }
}

/// Of a topic that a write or read of its partitions names.
pub fn of_records_topic(error: &TopicError) -> ResponseError {
    match error {
        TopicError::UnknownTopic(_) => ResponseError::UnknownTopicOrPartition,
        TopicError::Unavailable { .. } | TopicError::OutcomeUnknown { .. } => ResponseError::NotLeaderOrFollower,
        other => of_topic(other),
    }
}

/// Of a producer id that could not be had: a code at which Java's producer asks the same node again.
pub fn of_allocation(error: &DirectError) -> ResponseError {
    match error {
        DirectError::Internal(_) => ResponseError::UnknownServerError,
        _ => ResponseError::CoordinatorLoadInProgress,
    }
}

/// Of a group. What may have been written, or can't be now, is asked again of whoever coordinates then.
pub fn of_group(error: &GroupError) -> ResponseError {
    match error {
        GroupError::InvalidGroupId => ResponseError::InvalidGroupId,
        GroupError::UnknownMember(_) => ResponseError::UnknownMemberId,
        GroupError::MemberIdRequired(_) => ResponseError::MemberIdRequired,
        GroupError::IllegalGeneration { .. } => ResponseError::IllegalGeneration,
        GroupError::RebalanceInProgress => ResponseError::RebalanceInProgress,
        // Members that poll over HTTP have no protocol in common with any client.
        GroupError::InconsistentProtocol | GroupError::HasHttpMembers(_) => ResponseError::InconsistentGroupProtocol,
        GroupError::FencedInstance(_) => ResponseError::FencedInstanceId,
        GroupError::InvalidSessionTimeout { .. } => ResponseError::InvalidSessionTimeout,
        GroupError::GroupFull(_) => ResponseError::GroupMaxSizeReached,
        GroupError::NonEmptyGroup | GroupError::HasKafkaMembers(_) => ResponseError::NonEmptyGroup,
        GroupError::UnknownGroup(_) => ResponseError::GroupIdNotFound,
        GroupError::SubscribedToTopic(_) => ResponseError::GroupSubscribedToTopic,
        GroupError::NotCoordinator => ResponseError::NotCoordinator,
        GroupError::Loading(_) | GroupError::Overloaded(_) => ResponseError::CoordinatorLoadInProgress,
        GroupError::Unavailable(_) | GroupError::StorageFailed(_) | GroupError::Unknown(_) => {
            ResponseError::CoordinatorNotAvailable
        }
        GroupError::Invalid(_) | GroupError::UnknownLease | GroupError::LeaseConflict => ResponseError::InvalidRequest,
    }
}
