//! The one map from what the broker says to Kafka's error codes. Codes appear nowhere outside `kafka/`.
//!
//! What a client does next depends on the code alone: retriable ones are sent again, those about leaders make it look
//! for the leader first, the others reach the application. So each row is chosen by what the client should do.

use crate::broker::TopicError;
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
