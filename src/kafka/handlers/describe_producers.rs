//! DescribeProducers (61): the idempotent producers that a partition's leader knows (KIP-664).

use super::{CONCURRENT_PARTITIONS, partition_of, topic_of};
use crate::broker::{ProducerView, TopicView};
use crate::kafka::context::RequestContext;
use crate::kafka::errors::{self, ResponseError};
use futures::stream::StreamExt;
use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::describe_producers_response::{PartitionResponse, ProducerState, TopicResponse};
use kafka_protocol::messages::{DescribeProducersRequest, DescribeProducersResponse, ProducerId};
use std::ops::RangeInclusive;
use std::sync::Arc;

pub const VERSIONS: RangeInclusive<i16> = 0..=0;

pub async fn handle(ctx: &RequestContext, request: DescribeProducersRequest) -> DescribeProducersResponse {
    let topics = futures::stream::iter(request.topics).then(|topic| topic_answer(ctx, topic));
    DescribeProducersResponse::default().with_topics(topics.collect().await)
}

async fn topic_answer(ctx: &RequestContext, topic: TopicRequest) -> TopicResponse {
    let view = topic_of(ctx, &topic.name).await;
    let answers = topic.partition_indexes.into_iter().map(|partition| {
        let view = &view;
        async move {
            let answer = PartitionResponse::default().with_partition_index(partition);
            match find(ctx, view, partition).await {
                Ok(producers) => answer.with_active_producers(producers.into_iter().map(described).collect()),
                Err(error) => answer.with_error_code(error.code()),
            }
        }
    });
    let answers = futures::stream::iter(answers).buffered(CONCURRENT_PARTITIONS).collect().await;
    TopicResponse::default().with_name(topic.name).with_partitions(answers)
}

async fn find(
    ctx: &RequestContext,
    view: &Result<Arc<TopicView>, ResponseError>,
    partition: i32,
) -> Result<Vec<ProducerView>, ResponseError> {
    let at = partition_of(view.as_ref().map_err(|error| *error)?, partition)?;
    ctx.broker.producers_direct(&at).await.map_err(|error| errors::of_read(&error))
}

fn described(producer: ProducerView) -> ProducerState {
    ProducerState::default()
        .with_producer_id(ProducerId(producer.producer_id))
        .with_producer_epoch(i32::from(producer.epoch))
        .with_last_sequence(producer.last_sequence)
        .with_last_timestamp(producer.last_appended_at_ms)
        // There are no transactions.
        .with_coordinator_epoch(-1)
        .with_current_txn_start_offset(-1)
}
