//! AlterPartitionReassignments (45): replicas can't be moved yet, so only what is the case already can be asked for.

use super::asked::{Refusal, nodes, outcome};
use super::{partition_of, topic_of};
use crate::kafka::context::RequestContext;
use crate::kafka::errors::ResponseError;
use kafka_protocol::messages::alter_partition_reassignments_request::ReassignablePartition;
use kafka_protocol::messages::alter_partition_reassignments_response::{
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use kafka_protocol::messages::{AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse};
use std::ops::RangeInclusive;

pub const VERSIONS: RangeInclusive<i16> = 0..=1;

pub async fn handle(
    ctx: &RequestContext,
    request: AlterPartitionReassignmentsRequest,
) -> AlterPartitionReassignmentsResponse {
    let mut responses = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in &topic.partitions {
            let (code, message) = outcome(&judge(ctx, &topic.name, asked).await);
            let answer = ReassignablePartitionResponse::default().with_partition_index(asked.partition_index);
            partitions.push(answer.with_error_code(code).with_error_message(message));
        }
        responses.push(ReassignableTopicResponse::default().with_name(topic.name).with_partitions(partitions));
    }
    let response = AlterPartitionReassignmentsResponse::default().with_error_message(None).with_responses(responses);
    if ctx.version >= 1 {
        return response.with_allow_replication_factor_change(request.allow_replication_factor_change);
    }
    response
}

async fn judge(ctx: &RequestContext, topic: &str, asked: &ReassignablePartition) -> Result<(), Refusal> {
    let found = topic_of(ctx, topic).await.and_then(|view| partition_of(&view, asked.partition_index));
    let at = found.map_err(|error| Refusal::new(error, error.to_string()))?;
    let missing = || Refusal::new(ResponseError::UnknownTopicOrPartition, "there is no such partition");
    let now = at.topic.assignments.get(at.partition.0 as usize).ok_or_else(missing)?;
    match &asked.replicas {
        None => Err(Refusal::new(ResponseError::NoReassignmentInProgress, "no replica is being moved")),
        Some(wanted) if nodes(wanted) == *now => Ok(()),
        Some(_) => {
            let text = "moving replicas is not built yet: the partition stays where it is";
            Err(Refusal::new(ResponseError::InvalidReplicaAssignment, text))
        }
    }
}
