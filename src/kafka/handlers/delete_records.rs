//! DeleteRecords (21): moves the start of partitions' logs forward. Asked of each partition's leader.

use super::asked::deadline;
use super::{CONCURRENT_PARTITIONS, is_internal, partition_of, topic_of};
use crate::broker::TopicView;
use crate::kafka::context::RequestContext;
use crate::kafka::errors::{self, ResponseError};
use crate::types::Offset;
use futures::stream::StreamExt;
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use kafka_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};
use std::ops::RangeInclusive;
use std::sync::Arc;
use tokio::time::Instant;

pub const VERSIONS: RangeInclusive<i16> = 0..=2;

/// "Up to the high watermark", and in an answer "there is none".
const HIGH_WATERMARK: i64 = -1;

pub async fn handle(ctx: &RequestContext, request: DeleteRecordsRequest) -> DeleteRecordsResponse {
    let until = deadline(ctx, request.timeout_ms);
    let topics = futures::stream::iter(request.topics).then(|topic| topic_answer(ctx, topic, until));
    DeleteRecordsResponse::default().with_topics(topics.collect().await)
}

async fn topic_answer(ctx: &RequestContext, topic: DeleteRecordsTopic, until: Instant) -> DeleteRecordsTopicResult {
    let view = match is_internal(&topic.name) {
        true => Err(ResponseError::InvalidTopicException),
        false => topic_of(ctx, &topic.name).await,
    };
    let answers = topic.partitions.into_iter().map(|asked| {
        let view = &view;
        async move {
            let answer = DeleteRecordsPartitionResult::default().with_partition_index(asked.partition_index);
            match delete(ctx, view, &asked, until).await {
                Ok(start) => answer.with_low_watermark(start.0 as i64),
                Err(error) => answer.with_error_code(error.code()).with_low_watermark(HIGH_WATERMARK),
            }
        }
    });
    let answers = futures::stream::iter(answers).buffered(CONCURRENT_PARTITIONS).collect().await;
    DeleteRecordsTopicResult::default().with_name(topic.name).with_partitions(answers)
}

async fn delete(
    ctx: &RequestContext,
    view: &Result<Arc<TopicView>, ResponseError>,
    asked: &DeleteRecordsPartition,
    until: Instant,
) -> Result<Offset, ResponseError> {
    let at = partition_of(view.as_ref().map_err(|error| *error)?, asked.partition_index)?;
    let to = match asked.offset {
        HIGH_WATERMARK => None,
        offset => Some(Offset(u64::try_from(offset).map_err(|_| ResponseError::OffsetOutOfRange)?)),
    };
    ctx.broker.trim(&at, to, until).await.map_err(|error| errors::of_write(&error))
}
