//! CreatePartitions (37): more partitions for a topic. Records stay where they are.

use super::asked::{Refusal, changeable, deadline, nodes, outcome};
use crate::broker::AlterTopic;
use crate::kafka::context::RequestContext;
use crate::kafka::errors::ResponseError;
use crate::types::NodeId;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::{CreatePartitionsRequest, CreatePartitionsResponse};
use std::ops::RangeInclusive;
use tokio::time::Instant;

pub const VERSIONS: RangeInclusive<i16> = 0..=3;

pub async fn handle(ctx: &RequestContext, request: CreatePartitionsRequest) -> CreatePartitionsResponse {
    let until = deadline(ctx, request.timeout_ms);
    let mut results = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let (code, message) = outcome(&add(ctx, &topic, request.validate_only, until).await);
        let result = CreatePartitionsTopicResult::default().with_name(topic.name);
        results.push(result.with_error_code(code).with_error_message(message));
    }
    CreatePartitionsResponse::default().with_results(results)
}

async fn add(
    ctx: &RequestContext,
    topic: &CreatePartitionsTopic,
    validate_only: bool,
    until: Instant,
) -> Result<(), Refusal> {
    let view = changeable(ctx, &topic.name).await?;
    let has = view.assignments.len();
    let wanted = u32::try_from(topic.count).ok().filter(|wanted| *wanted as usize > has).ok_or_else(|| {
        let text = format!("the topic has {has} partitions; {} would not be more", topic.count);
        Refusal::new(ResponseError::InvalidPartitions, text)
    })?;
    let explicit: Option<Vec<Vec<NodeId>>> =
        topic.assignments.as_ref().map(|lists| lists.iter().map(|list| nodes(&list.broker_ids)).collect());
    if explicit.as_ref().is_some_and(|lists| lists.len() != wanted as usize - has) {
        let text = format!("{} partitions are added, so replicas are to be assigned to as many", wanted as usize - has);
        return Err(Refusal::new(ResponseError::InvalidReplicaAssignment, text));
    }
    if validate_only {
        return Ok(ctx.broker.check_new_partitions(&view, wanted, explicit.as_deref())?);
    }
    let change = AlterTopic { partitions: Some(wanted), assignments: explicit, ..AlterTopic::default() };
    Ok(ctx.broker.alter_topic(&topic.name, change, until).await.map(drop)?)
}
