//! OffsetDelete (47): a group forgets offsets of topics that no member of it reads.

use crate::broker::groups::{GroupError, PartitionKey};
use crate::kafka::context::RequestContext;
use crate::kafka::errors;
use kafka_protocol::messages::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use kafka_protocol::messages::{OffsetDeleteRequest, OffsetDeleteResponse};
use std::ops::RangeInclusive;

pub const VERSIONS: RangeInclusive<i16> = 0..=0;

pub async fn handle(ctx: &RequestContext, request: OffsetDeleteRequest) -> OffsetDeleteResponse {
    let of_topic = |topic: &kafka_protocol::messages::offset_delete_request::OffsetDeleteRequestTopic| {
        let keys = topic.partitions.iter().map(|of| PartitionKey::new(&topic.name, of.partition_index));
        keys.collect::<Vec<_>>()
    };
    let keys: Vec<PartitionKey> = request.topics.iter().flat_map(of_topic).collect();
    let results = match delete(ctx, &request.group_id, &keys).await {
        Ok(results) => results,
        Err(error) => return OffsetDeleteResponse::default().with_error_code(errors::of_group(&error).code()),
    };
    let mut codes = results.iter().map(|result| match result {
        Ok(()) => errors::NONE,
        Err(error) => errors::of_group(error).code(),
    });
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|of| {
            OffsetDeleteResponsePartition::default()
                .with_partition_index(of.partition_index)
                .with_error_code(codes.next().unwrap_or(errors::NONE))
        });
        OffsetDeleteResponseTopic::default().with_name(topic.name.clone()).with_partitions(partitions.collect())
    });
    let topics = topics.collect();
    OffsetDeleteResponse::default().with_topics(topics)
}

async fn delete(
    ctx: &RequestContext,
    group: &str,
    partitions: &[PartitionKey],
) -> Result<Vec<Result<(), GroupError>>, GroupError> {
    let here = ctx.broker.group_here(group)?;
    here.coordinator.delete_offsets(here.at, group, partitions).await
}
