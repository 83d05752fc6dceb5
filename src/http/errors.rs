//! The only map from broker errors to problems.

use super::problem::{self, Problem};
use crate::broker::groups::GroupError;
use crate::broker::{FetchError, PollError, ProduceError, TopicError};
use crate::types::PartitionId;

/// The problem for a topic that is not there.
pub fn unknown_topic(name: &str) -> Problem {
    Problem::new(
        &problem::UNKNOWN_TOPIC,
        format!(
            "topic {name:?} does not exist; create it with POST /v1/topics {{\"name\": {name:?}}}, or list those that exist with GET /v1/topics"
        ),
    )
    .with("topic", name)
}

/// The problem for a partition that is not there.
pub fn unknown_partition(topic: &str, partition: PartitionId, partitions: u32) -> Problem {
    Problem::new(
        &problem::UNKNOWN_PARTITION,
        format!("topic {topic:?} has {partitions} partitions, numbered from 0, so there is no partition {partition}"),
    )
    .with("topic", topic)
    .with("partition", partition.0)
    .with("partitions", partitions)
}

fn unavailable(reason: String, retry_after_ms: u64) -> Problem {
    Problem::new(&problem::UNAVAILABLE, format!("{reason}; nothing was written, so retry"))
        .retry_after_ms(retry_after_ms)
}

fn overloaded(reason: String, retry_after_ms: u64) -> Problem {
    Problem::new(&problem::OVERLOADED, format!("{reason}; nothing was written, so retry later"))
        .retry_after_ms(retry_after_ms)
}

fn outcome_unknown(reason: String) -> Problem {
    Problem::new(
        &problem::OUTCOME_UNKNOWN,
        format!("{reason}; it may have been written: look, or use an Idempotency-Key so that a retry is safe"),
    )
}

fn storage_failed(detail: String) -> Problem {
    Problem::new(&problem::STORAGE_FAILED, detail).retry_after_ms(5000)
}

/// The problem that a produce error of topic `topic`, partition `partition` becomes.
pub fn produce(error: ProduceError, topic: &str, partition: PartitionId) -> Problem {
    let problem = match error {
        ProduceError::UnknownTopic(name) => return unknown_topic(&name),
        ProduceError::UnknownPartition { topic, partition, partitions } => {
            return unknown_partition(&topic, partition, partitions);
        }
        ProduceError::Unavailable { reason, retry_after_ms } => unavailable(reason, retry_after_ms),
        ProduceError::Overloaded { reason, retry_after_ms } => overloaded(reason, retry_after_ms),
        ProduceError::OutcomeUnknown { reason } => outcome_unknown(reason),
        ProduceError::OffsetMismatch { log_end_offset, .. } => Problem::new(
            &problem::OFFSET_MISMATCH,
            format!(
                "the log of partition {partition} ends at offset {log_end_offset}, not at the expected one; nothing was written: read on, and retry with expected_offset={log_end_offset} if it still applies"
            ),
        )
        .with("log_end_offset", log_end_offset.0),
        ProduceError::IdempotencyConflict => Problem::new(
            &problem::IDEMPOTENCY_CONFLICT,
            "this Idempotency-Key was used before with another request; a retry must repeat the request byte for byte, a new request needs a new key",
        ),
        ProduceError::TooLarge { what, size, limit, name } => too_large(&what, size, limit, &name),
        ProduceError::BadBatch(detail) => Problem::new(&problem::BAD_BATCH, detail),
        ProduceError::DiskFull(detail) => Problem::new(&problem::DISK_FULL, detail).retry_after_ms(10_000),
        ProduceError::StorageFailed(detail) => storage_failed(detail),
    };
    problem.with("topic", topic).with("partition", partition.0)
}

/// The problem for a record or batch beyond the limit that `name` sets.
pub fn too_large(what: &str, size: u64, limit: u64, name: &str) -> Problem {
    Problem::new(
        &problem::RECORD_TOO_LARGE,
        format!("{what} of {size} bytes is larger than the {limit} bytes that {name} allows; nothing of the request was written"),
    )
    .with("limit", limit)
    .with("size", size)
}

/// The problem that a read error becomes.
pub fn fetch(error: FetchError, topic: &str, partition: Option<PartitionId>) -> Problem {
    let problem = match error {
        FetchError::UnknownTopic(name) => return unknown_topic(&name),
        FetchError::UnknownPartition { topic, partition, partitions } => {
            return unknown_partition(&topic, partition, partitions);
        }
        FetchError::OutOfRange { offset, log_start_offset, high_watermark } => Problem::new(
            &problem::OFFSET_OUT_OF_RANGE,
            format!(
                "offset {offset} is outside of the log, which begins at {log_start_offset} and ends at {high_watermark}; read from an offset in between, or from earliest or latest"
            ),
        )
        .with("offset", offset.0)
        .with("log_start_offset", log_start_offset.0)
        .with("high_watermark", high_watermark.0),
        FetchError::Unavailable { reason, retry_after_ms } => {
            Problem::new(&problem::UNAVAILABLE, format!("{reason}; retry")).retry_after_ms(retry_after_ms)
        }
        FetchError::Overloaded { reason, retry_after_ms } => {
            Problem::new(&problem::OVERLOADED, format!("{reason}; retry later")).retry_after_ms(retry_after_ms)
        }
        FetchError::StorageFailed(detail) => storage_failed(detail),
    };
    let problem = problem.with("topic", topic);
    match partition {
        Some(partition) => problem.with("partition", partition.0),
        None => problem,
    }
}

/// The problem that an error of the catalog becomes.
pub fn topic(error: TopicError, topic: &str) -> Problem {
    let problem = match error {
        TopicError::UnknownTopic(name) => return unknown_topic(&name),
        TopicError::Exists(name) => Problem::new(
            &problem::TOPIC_EXISTS,
            format!("topic {name:?} exists already; GET /v1/topics/{name} describes it, PATCH changes it"),
        ),
        TopicError::Invalid { field, detail } => Problem::new(&problem::BAD_FIELD, detail).with("field", field),
        TopicError::Unavailable { reason, retry_after_ms } => {
            Problem::new(&problem::UNAVAILABLE, format!("{reason}; retry")).retry_after_ms(retry_after_ms)
        }
        TopicError::OutcomeUnknown { reason } => Problem::new(
            &problem::OUTCOME_UNKNOWN,
            format!("{reason}; the change may still take place: look with GET /v1/topics/{topic} before a retry"),
        ),
    };
    problem.with("topic", topic)
}

/// The problem for a write to a topic of the cluster itself.
pub fn internal_topic(name: &str) -> Problem {
    let text =
        format!("topic {name:?} belongs to the cluster, which alone writes, changes and deletes it; use another");
    Problem::new(&problem::INTERNAL_TOPIC, text).with("topic", name)
}

/// The problem that an error about group `group` becomes.
pub fn group(error: GroupError, group: &str) -> Problem {
    let text = error.to_string();
    let problem = match error {
        GroupError::InvalidGroupId => Problem::new(&problem::BAD_PATH, text),
        GroupError::UnknownGroup(name) => Problem::new(
            &problem::UNKNOWN_GROUP,
            format!("group {name:?} does not exist; it begins with its first poll or commit, GET /v1/groups lists all"),
        ),
        GroupError::UnknownMember(member) => Problem::new(
            &problem::UNKNOWN_MEMBER,
            format!("member {member:?} is not in group {group:?} (any more); GET /v1/groups/{group} lists its members"),
        )
        .with("member", member),
        GroupError::UnknownLease => Problem::new(
            &problem::LEASE_ENDED,
            format!("{text}; what was not acknowledged comes again by POST /v1/groups/{group}/poll"),
        ),
        GroupError::LeaseConflict => Problem::new(&problem::LEASE_ENDED, text),
        GroupError::HasHttpMembers(_) | GroupError::HasKafkaMembers(_) => {
            Problem::new(&problem::OTHER_KIND_OF_MEMBERS, text)
        }
        GroupError::NonEmptyGroup | GroupError::SubscribedToTopic(_) => Problem::new(
            &problem::GROUP_HAS_MEMBERS,
            format!("{text}; let them leave first, GET /v1/groups/{group} lists them"),
        ),
        GroupError::Overloaded(_) | GroupError::GroupFull(_) => {
            Problem::new(&problem::OVERLOADED, format!("{text}; nothing was written, so retry later"))
                .retry_after_ms(1000)
        }
        GroupError::StorageFailed(detail) => storage_failed(detail),
        GroupError::Unknown(reason) => Problem::new(
            &problem::OUTCOME_UNKNOWN,
            format!("{reason}; it may have taken place: look with GET /v1/groups/{group} before a retry"),
        ),
        GroupError::Invalid(detail) => Problem::new(&problem::BAD_FIELD, detail).with("field", "/offsets"),
        // Only Kafka's members are refused by these.
        GroupError::MemberIdRequired(_)
        | GroupError::IllegalGeneration { .. }
        | GroupError::RebalanceInProgress
        | GroupError::InconsistentProtocol
        | GroupError::FencedInstance(_)
        | GroupError::InvalidSessionTimeout { .. }
        | GroupError::NotCoordinator
        | GroupError::Loading(_)
        | GroupError::Unavailable(_) => unavailable(text, 500),
    };
    if group.is_empty() { problem } else { problem.with("group", group) }
}

/// The problem that an error of a poll, or of setting offsets, becomes.
pub fn poll(error: PollError, name: &str) -> Problem {
    match error {
        PollError::Group(error) => group(error, name),
        PollError::Topic(name, error) => topic(error, &name),
        PollError::Fetch(at, error) => fetch(error, &at.topic, u32::try_from(at.partition).ok().map(PartitionId)),
    }
}
