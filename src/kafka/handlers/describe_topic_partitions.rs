//! DescribeTopicPartitions (75): as Metadata, but asked of the partitions' leaders, and page by page (KIP-966).

use super::metadata::TOPIC_OPERATIONS;
use super::{broker_id, is_internal, leader_epoch};
use crate::broker::{PartitionView, TopicView};
use crate::kafka::context::{Endpoint, RequestContext};
use crate::kafka::errors::{self, ResponseError};
use crate::types::NodeId;
use kafka_protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use kafka_protocol::messages::{BrokerId, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse};
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;

pub const VERSIONS: RangeInclusive<i16> = 0..=0;

/// Partitions in one answer, whatever a client asks for.
const PARTITIONS_MAX: usize = 2000;

pub async fn handle(ctx: &RequestContext, request: DescribeTopicPartitionsRequest) -> DescribeTopicPartitionsResponse {
    let nodes = ctx.endpoints();
    let mut names: BTreeSet<String> = request.topics.iter().map(|topic| topic.name.to_string()).collect();
    if names.is_empty() {
        names = ctx.broker.topics().iter().map(|topic| topic.name.clone()).collect();
    }
    let (from_topic, from_partition) = match &request.cursor {
        Some(cursor) => (cursor.topic_name.to_string(), usize::try_from(cursor.partition_index).unwrap_or(0)),
        None => (String::new(), 0),
    };
    let mut left = usize::try_from(request.response_partition_limit).unwrap_or(0).clamp(1, PARTITIONS_MAX);
    let mut topics = Vec::new();
    let mut next = None;
    for name in names.into_iter().filter(|name| *name >= from_topic) {
        let answer = DescribeTopicPartitionsResponseTopic::default()
            .with_name(Some(super::asked::topic_name(&name)))
            .with_is_internal(is_internal(&name));
        let topic = match ctx.broker.resolve_topic(&name, false, ctx.deadline).await {
            Ok(topic) => topic,
            Err(error) => {
                topics.push(answer.with_error_code(errors::of_lookup(&error).code()));
                continue;
            }
        };
        let skipped = if name == from_topic { from_partition } else { 0 };
        let count = topic.assignments.len();
        if left == 0 {
            next = Some((name, skipped));
            break;
        }
        let partitions = described(ctx, &topic, skipped, left, &nodes).await;
        left -= partitions.len();
        let shown = skipped + partitions.len();
        let answer = answer.with_topic_id(topic.id.0).with_topic_authorized_operations(TOPIC_OPERATIONS);
        topics.push(answer.with_partitions(partitions));
        if shown < count {
            next = Some((name, shown));
            break;
        }
    }
    let cursor = |(topic, partition): (String, usize)| {
        Cursor::default().with_topic_name(super::asked::topic_name(&topic)).with_partition_index(partition as i32)
    };
    DescribeTopicPartitionsResponse::default().with_topics(topics).with_next_cursor(next.map(cursor))
}

async fn described(
    ctx: &RequestContext,
    topic: &Arc<TopicView>,
    skipped: usize,
    count_max: usize,
    nodes: &[Endpoint],
) -> Vec<DescribeTopicPartitionsResponsePartition> {
    let views = ctx.broker.describe_partitions(topic, ctx.deadline).await;
    views.into_iter().skip(skipped).take(count_max).map(|view| partition_of(view, nodes)).collect()
}

fn partition_of(view: PartitionView, nodes: &[Endpoint]) -> DescribeTopicPartitionsResponsePartition {
    let ids = |nodes: Vec<NodeId>| nodes.into_iter().map(broker_id).collect::<Vec<_>>();
    let is_alive = |id: &NodeId| nodes.iter().any(|node| node.id == *id && node.alive);
    let offline = view.replicas.iter().copied().filter(|id| !is_alive(id)).collect();
    let leader = view.leader.filter(is_alive);
    let error = if leader.is_some() { errors::NONE } else { ResponseError::LeaderNotAvailable.code() };
    DescribeTopicPartitionsResponsePartition::default()
        .with_error_code(error)
        .with_partition_index(view.partition.0 as i32)
        .with_leader_id(leader.map_or(BrokerId(-1), broker_id))
        .with_leader_epoch(leader_epoch(view.term))
        .with_replica_nodes(ids(view.replicas))
        .with_isr_nodes(ids(view.in_sync))
        // Replicas out of sync are never told of as able to lead. Java fails on lists that are null.
        .with_eligible_leader_replicas(Some(Vec::new()))
        .with_last_known_elr(Some(Vec::new()))
        .with_offline_replicas(ids(offline))
}
