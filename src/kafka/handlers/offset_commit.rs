//! OffsetCommit (8): a member says how far it has read. Answered once that is durable.
//!
//! Partitions that do not exist, or bring too long a metadata, are refused one by one; the rest is committed together.

use super::{optional, topic_of};
use crate::broker::groups::{Commit, GroupError, PartitionKey, Speaker};
use crate::kafka::context::RequestContext;
use crate::kafka::errors::{self, ResponseError};
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kafka_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};
use std::ops::RangeInclusive;

pub const VERSIONS: RangeInclusive<i16> = 2..=8;

type Checked = (i32, Result<Commit, ResponseError>);

pub async fn handle(ctx: &RequestContext, request: OffsetCommitRequest) -> OffsetCommitResponse {
    let mut topics: Vec<(OffsetCommitRequestTopic, Vec<Checked>)> = Vec::new();
    for topic in request.topics {
        let checked = check(ctx, &topic).await;
        topics.push((topic, checked));
    }
    let good = topics.iter().flat_map(|(_, checked)| checked).filter_map(|(_, result)| result.as_ref().ok());
    let commits: Vec<Commit> = good.cloned().collect();
    let speaker = Speaker {
        member_id: request.member_id.to_string(),
        instance_id: optional(request.group_instance_id),
        generation: request.generation_id_or_member_epoch,
    };
    let outcome = commit(ctx, &request.group_id, &speaker, &commits).await;
    let code_of = |result: &Result<Commit, ResponseError>| match (result, &outcome) {
        (Err(error), _) => error.code(),
        (Ok(_), Err(error)) => errors::of_group(error).code(),
        (Ok(_), Ok(())) => errors::NONE,
    };
    let answers = topics.iter().map(|(topic, checked)| {
        let partitions = checked.iter().map(|(partition, result)| {
            OffsetCommitResponsePartition::default().with_partition_index(*partition).with_error_code(code_of(result))
        });
        OffsetCommitResponseTopic::default().with_name(topic.name.clone()).with_partitions(partitions.collect())
    });
    OffsetCommitResponse::default().with_topics(answers.collect())
}

async fn check(ctx: &RequestContext, topic: &OffsetCommitRequestTopic) -> Vec<Checked> {
    let found = topic_of(ctx, &topic.name).await;
    let checked = |asked: &OffsetCommitRequestPartition| {
        let partitions = found.as_ref().map_err(|error| commit_error(*error))?.assignments.len();
        if usize::try_from(asked.partition_index).is_ok_and(|number| number < partitions) {
            one(ctx, topic, asked)
        } else {
            Err(ResponseError::UnknownTopicOrPartition)
        }
    };
    topic.partitions.iter().map(|asked| (asked.partition_index, checked(asked))).collect()
}

/// Clients of this API know no errors about leaders.
fn commit_error(error: ResponseError) -> ResponseError {
    match error {
        ResponseError::NotLeaderOrFollower => ResponseError::CoordinatorLoadInProgress,
        other => other,
    }
}

fn one(
    ctx: &RequestContext,
    topic: &OffsetCommitRequestTopic,
    asked: &OffsetCommitRequestPartition,
) -> Result<Commit, ResponseError> {
    let metadata = asked.committed_metadata.as_ref().map(|text| text.to_string()).unwrap_or_default();
    if metadata.len() > ctx.broker.offset_metadata_bytes_max() {
        return Err(ResponseError::OffsetMetadataTooLarge);
    }
    if asked.committed_offset < 0 {
        return Err(ResponseError::OffsetOutOfRange);
    }
    Ok(Commit {
        at: PartitionKey::new(&topic.name, asked.partition_index),
        offset: asked.committed_offset,
        leader_epoch: asked.committed_leader_epoch,
        metadata,
    })
}

async fn commit(ctx: &RequestContext, group: &str, speaker: &Speaker, commits: &[Commit]) -> Result<(), GroupError> {
    let here = ctx.broker.group_here(group)?;
    here.coordinator.commit(here.at, group, speaker, commits).await
}
