//! ListOffsets (2): where partitions begin, end, or reach a time.

use super::{CONCURRENT_PARTITIONS, isolation_of, leader_epoch, partition_of, term_of, topic_of};
use crate::broker::{OffsetQuery, TopicView};
use crate::kafka::context::RequestContext;
use crate::kafka::errors::{self, ResponseError};
use futures::stream::StreamExt;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};
use std::ops::RangeInclusive;
use std::sync::Arc;

pub const VERSIONS: RangeInclusive<i16> = 1..=8;

/// Timestamps that are none, by what they ask for.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
/// Of what is on the broker's own disk (KIP-405): here that is all.
const EARLIEST_LOCAL: i64 = -4;

pub async fn handle(ctx: &RequestContext, request: ListOffsetsRequest) -> ListOffsetsResponse {
    let isolation_level = request.isolation_level;
    let topics = futures::stream::iter(request.topics).then(|topic| topic_answer(ctx, topic, isolation_level));
    ListOffsetsResponse::default().with_topics(topics.collect().await)
}

async fn topic_answer(ctx: &RequestContext, topic: ListOffsetsTopic, isolation_level: i8) -> ListOffsetsTopicResponse {
    let view = topic_of(ctx, &topic.name).await;
    let answers = topic.partitions.into_iter().map(|asked| {
        let view = &view;
        async move {
            let index = asked.partition_index;
            match find(ctx, view, &asked, isolation_level).await {
                Ok(answer) => answer,
                Err(error) => refused(index, error),
            }
        }
    });
    let answers = futures::stream::iter(answers).buffered(CONCURRENT_PARTITIONS).collect().await;
    ListOffsetsTopicResponse::default().with_name(topic.name).with_partitions(answers)
}

async fn find(
    ctx: &RequestContext,
    view: &Result<Arc<TopicView>, ResponseError>,
    asked: &ListOffsetsPartition,
    isolation_level: i8,
) -> Result<ListOffsetsPartitionResponse, ResponseError> {
    let at = partition_of(view.as_ref().map_err(|error| *error)?, asked.partition_index)?;
    let what = match asked.timestamp {
        LATEST => OffsetQuery::Latest(isolation_of(isolation_level)),
        EARLIEST => OffsetQuery::Earliest,
        MAX_TIMESTAMP if ctx.version >= 7 => OffsetQuery::MaxTimestamp,
        EARLIEST_LOCAL if ctx.version >= 8 => OffsetQuery::Earliest,
        time if time >= 0 => OffsetQuery::Time(time),
        _ => return Err(ResponseError::UnsupportedVersion),
    };
    let found = ctx.broker.offset_direct(&at, what, term_of(asked.current_leader_epoch)).await;
    let found = found.map_err(|error| errors::of_read(&error))?;
    let answer = ListOffsetsPartitionResponse::default()
        .with_partition_index(asked.partition_index)
        .with_offset(found.offset.map_or(-1, |offset| offset.0 as i64))
        .with_timestamp(found.timestamp_ms.unwrap_or(-1));
    Ok(if ctx.version >= 4 { answer.with_leader_epoch(leader_epoch(found.term)) } else { answer })
}

fn refused(index: i32, error: ResponseError) -> ListOffsetsPartitionResponse {
    ListOffsetsPartitionResponse::default()
        .with_partition_index(index)
        .with_error_code(error.code())
        .with_offset(-1)
        .with_timestamp(-1)
}
