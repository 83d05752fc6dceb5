//! DescribeQuorum (55): who votes on the catalog, under the name of Kafka's own log of it.

use super::{broker_id, leader_epoch};
use crate::broker::QuorumView;
use crate::kafka::context::RequestContext;
use crate::kafka::errors::ResponseError;
use crate::types::{LogIndex, NodeId};
use kafka_protocol::messages::describe_quorum_response::{PartitionData, ReplicaState, TopicData};
use kafka_protocol::messages::{DescribeQuorumRequest, DescribeQuorumResponse};
use std::ops::RangeInclusive;

pub const VERSIONS: RangeInclusive<i16> = 0..=1;

/// The log of the catalog, as Kafka calls it.
const CATALOG: &str = "__cluster_metadata";
/// "Not known."
const UNKNOWN: i64 = -1;

pub async fn handle(ctx: &RequestContext, request: DescribeQuorumRequest) -> DescribeQuorumResponse {
    let quorum = ctx.broker.quorum(ctx.deadline).await;
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| {
            let answer = PartitionData::default().with_partition_index(asked.partition_index);
            if topic.topic_name.as_str() != CATALOG || asked.partition_index != 0 {
                return answer.with_error_code(ResponseError::UnknownTopicOrPartition.code());
            }
            match &quorum {
                Some(quorum) => described(ctx, answer, quorum),
                None => answer.with_error_code(ResponseError::LeaderNotAvailable.code()),
            }
        });
        TopicData::default().with_topic_name(topic.topic_name.clone()).with_partitions(partitions.collect())
    });
    DescribeQuorumResponse::default().with_topics(topics.collect())
}

fn described(ctx: &RequestContext, answer: PartitionData, quorum: &QuorumView) -> PartitionData {
    let now_ms = ctx.broker.now_ms();
    let state = |(node, end): &(NodeId, Option<LogIndex>)| {
        let state = ReplicaState::default()
            .with_replica_id(broker_id(*node))
            .with_log_end_offset(end.map_or(UNKNOWN, |end| end.0 as i64));
        // When a follower asked last is not counted here; it has what is committed, or not.
        let caught_up = end.is_some_and(|end| end >= quorum.high_watermark);
        let at = if *node == quorum.leader || caught_up { now_ms } else { UNKNOWN };
        if ctx.version >= 1 { state.with_last_fetch_timestamp(at).with_last_caught_up_timestamp(at) } else { state }
    };
    answer
        .with_leader_id(broker_id(quorum.leader))
        .with_leader_epoch(leader_epoch(quorum.term))
        .with_high_watermark(quorum.high_watermark.0 as i64)
        .with_current_voters(quorum.voters.iter().map(state).collect())
}
