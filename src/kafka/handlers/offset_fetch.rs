//! OffsetFetch (9): how far groups have read; of several groups since version 8.
//!
//! A group, or a partition, of which nothing is known has offset -1 and no error: that is how clients learn where there
//! is nothing.

use super::text;
use crate::broker::groups::{GroupError, OffsetsOf, PartitionKey};
use crate::kafka::context::RequestContext;
use crate::kafka::errors;
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{OffsetFetchRequest, OffsetFetchResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use std::ops::RangeInclusive;

pub const VERSIONS: RangeInclusive<i16> = 1..=8;

/// What is told of a partition without offset.
const NONE: i64 = -1;

/// What is told of one partition.
struct Told {
    partition: i32,
    offset: i64,
    leader_epoch: i32,
    metadata: StrBytes,
}

pub async fn handle(ctx: &RequestContext, request: OffsetFetchRequest) -> OffsetFetchResponse {
    if ctx.version < 8 {
        let topics = request.topics.as_ref().map(|topics| {
            let keys =
                topics.iter().flat_map(|of| of.partition_indexes.iter().map(|at| PartitionKey::new(&of.name, *at)));
            keys.collect::<Vec<_>>()
        });
        return one_group(ctx, &request.group_id, topics).await;
    }
    let mut groups = Vec::with_capacity(request.groups.len());
    for group in request.groups {
        let answer = OffsetFetchResponseGroup::default().with_group_id(group.group_id.clone());
        let topics = group.topics.as_ref().map(|topics| {
            let keys =
                topics.iter().flat_map(|of| of.partition_indexes.iter().map(|at| PartitionKey::new(&of.name, *at)));
            keys.collect::<Vec<_>>()
        });
        groups.push(match fetch(ctx, &group.group_id, topics).await {
            Ok(offsets) => answer.with_topics(by_topic(offsets).into_iter().map(topic_since_8).collect()),
            Err(error) => answer.with_error_code(errors::of_group(&error).code()),
        });
    }
    OffsetFetchResponse::default().with_groups(groups)
}

async fn fetch(
    ctx: &RequestContext,
    group: &str,
    partitions: Option<Vec<PartitionKey>>,
) -> Result<OffsetsOf, GroupError> {
    let here = ctx.broker.group_here(group)?;
    here.coordinator.offsets(here.at, group, partitions).await
}

/// Before version 8. Version 1 has no place for an error but at each partition.
async fn one_group(ctx: &RequestContext, group: &str, partitions: Option<Vec<PartitionKey>>) -> OffsetFetchResponse {
    let asked = partitions.clone().unwrap_or_default();
    let (offsets, code) = match fetch(ctx, group, partitions).await {
        Ok(offsets) => (offsets, errors::NONE),
        Err(error) => (asked.into_iter().map(|at| (at, None)).collect(), errors::of_group(&error).code()),
    };
    let topics = by_topic(offsets).into_iter().map(|(name, partitions)| {
        let partitions = partitions.into_iter().map(|told| {
            OffsetFetchResponsePartition::default()
                .with_partition_index(told.partition)
                .with_committed_offset(told.offset)
                .with_committed_leader_epoch(told.leader_epoch)
                .with_metadata(Some(told.metadata))
                .with_error_code(code)
        });
        OffsetFetchResponseTopic::default().with_name(name).with_partitions(partitions.collect())
    });
    OffsetFetchResponse::default().with_topics(topics.collect()).with_error_code(code)
}

fn topic_since_8((name, partitions): (TopicName, Vec<Told>)) -> OffsetFetchResponseTopics {
    let partitions = partitions.into_iter().map(|told| {
        OffsetFetchResponsePartitions::default()
            .with_partition_index(told.partition)
            .with_committed_offset(told.offset)
            .with_committed_leader_epoch(told.leader_epoch)
            .with_metadata(Some(told.metadata))
    });
    OffsetFetchResponseTopics::default().with_name(name).with_partitions(partitions.collect())
}

/// Runs of one topic become that topic.
fn by_topic(offsets: OffsetsOf) -> Vec<(TopicName, Vec<Told>)> {
    let mut topics: Vec<(TopicName, Vec<Told>)> = Vec::new();
    for (at, offset) in offsets {
        let told = match offset {
            Some(kept) => Told {
                partition: at.partition,
                offset: kept.offset,
                leader_epoch: kept.leader_epoch,
                metadata: text(kept.metadata),
            },
            None => Told { partition: at.partition, offset: NONE, leader_epoch: -1, metadata: StrBytes::default() },
        };
        match topics.last_mut().filter(|(name, _)| ***name == *at.topic) {
            Some((_, partitions)) => partitions.push(told),
            None => topics.push((TopicName(text(at.topic)), vec![told])),
        }
    }
    topics
}
