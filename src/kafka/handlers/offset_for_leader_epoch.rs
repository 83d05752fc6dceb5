//! OffsetForLeaderEpoch (23): where the records of a leader epoch end (KIP-101, KIP-320), by which a consumer finds out
//! whether what it read was cut off by a failover.

use super::{CONCURRENT_PARTITIONS, partition_of, term_of, topic_of};
use crate::broker::TopicView;
use crate::kafka::context::RequestContext;
use crate::kafka::errors::{self, ResponseError};
use futures::stream::StreamExt;
use kafka_protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use kafka_protocol::messages::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use kafka_protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};
use std::ops::RangeInclusive;
use std::sync::Arc;

pub const VERSIONS: RangeInclusive<i16> = 2..=4;

/// "There is none."
const UNDEFINED: i32 = -1;

pub async fn handle(ctx: &RequestContext, request: OffsetForLeaderEpochRequest) -> OffsetForLeaderEpochResponse {
    let topics = futures::stream::iter(request.topics).then(|topic| topic_answer(ctx, topic));
    OffsetForLeaderEpochResponse::default().with_topics(topics.collect().await)
}

async fn topic_answer(ctx: &RequestContext, topic: OffsetForLeaderTopic) -> OffsetForLeaderTopicResult {
    let view = topic_of(ctx, &topic.topic).await;
    let answers = topic.partitions.into_iter().map(|asked| {
        let view = &view;
        async move {
            let answer = EpochEndOffset::default().with_partition(asked.partition);
            match find(ctx, view, &asked).await {
                Ok((epoch, offset)) => answer.with_leader_epoch(epoch).with_end_offset(offset),
                Err(error) => {
                    let none = i64::from(UNDEFINED);
                    answer.with_error_code(error.code()).with_leader_epoch(UNDEFINED).with_end_offset(none)
                }
            }
        }
    });
    let answers = futures::stream::iter(answers).buffered(CONCURRENT_PARTITIONS).collect().await;
    OffsetForLeaderTopicResult::default().with_topic(topic.topic).with_partitions(answers)
}

async fn find(
    ctx: &RequestContext,
    view: &Result<Arc<TopicView>, ResponseError>,
    asked: &OffsetForLeaderPartition,
) -> Result<(i32, i64), ResponseError> {
    let at = partition_of(view.as_ref().map_err(|error| *error)?, asked.partition)?;
    let Some(wanted) = term_of(asked.leader_epoch) else { return Ok((UNDEFINED, i64::from(UNDEFINED))) };
    let found = ctx.broker.end_of_term(&at, wanted, term_of(asked.current_leader_epoch)).await;
    let found = found.map_err(|error| errors::of_read(&error))?;
    Ok(found.map_or((UNDEFINED, i64::from(UNDEFINED)), |(term, end)| (super::leader_epoch(term), end.0 as i64)))
}
