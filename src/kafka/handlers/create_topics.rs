//! CreateTopics (19): any node takes it; the topic is there on every living node when the answer comes.

use super::asked::{Refusal, deadline, nodes, refuse_internal};
use crate::broker::{CreateTopic, SettingView};
use crate::kafka::context::RequestContext;
use crate::kafka::errors::ResponseError;
use crate::types::NodeId;
use kafka_protocol::messages::create_topics_request::{CreatableReplicaAssignment, CreatableTopic};
use kafka_protocol::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use kafka_protocol::messages::{CreateTopicsRequest, CreateTopicsResponse};
use kafka_protocol::protocol::StrBytes;
use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;
use tokio::time::Instant;
use uuid::Uuid;

pub const VERSIONS: RangeInclusive<i16> = 2..=7;

/// "Not given."
const UNSET: i32 = -1;

/// What became of a topic.
struct Made {
    id: Uuid,
    partitions: u32,
    replication_factor: u32,
    settings: Vec<SettingView>,
}

pub async fn handle(ctx: &RequestContext, request: CreateTopicsRequest) -> CreateTopicsResponse {
    let until = deadline(ctx, request.timeout_ms);
    let mut named: HashMap<StrBytes, usize> = HashMap::new();
    for topic in &request.topics {
        *named.entry(topic.name.0.clone()).or_default() += 1;
    }
    let mut results = Vec::with_capacity(request.topics.len());
    // One after the other: placement looks at what the one before took.
    for topic in request.topics {
        let name = topic.name.clone();
        let made = if named.get(&name.0).is_some_and(|times| *times > 1) {
            if named.insert(name.0.clone(), usize::MAX) == Some(usize::MAX) {
                continue;
            }
            Err(Refusal::new(ResponseError::InvalidRequest, "the request names this topic more than once"))
        } else {
            make(ctx, topic, request.validate_only, until).await
        };
        let result = CreatableTopicResult::default().with_name(name).with_error_message(None);
        results.push(match made {
            Ok(made) => described(ctx, result, made),
            Err(refusal) => result
                .with_error_code(refusal.code())
                .with_error_message(refusal.message())
                .with_num_partitions(UNSET)
                .with_replication_factor(-1)
                .with_configs(if ctx.version >= 5 { None } else { Some(Vec::new()) }),
        });
    }
    CreateTopicsResponse::default().with_topics(results)
}

async fn make(
    ctx: &RequestContext,
    topic: CreatableTopic,
    validate_only: bool,
    until: Instant,
) -> Result<Made, Refusal> {
    refuse_internal(&topic.name)?;
    let config: BTreeMap<String, String> = topic
        .configs
        .iter()
        .filter_map(|config| Some((config.name.to_string(), config.value.as_ref()?.to_string())))
        .collect();
    let request = CreateTopic {
        name: topic.name.to_string(),
        partitions: count(topic.num_partitions, ResponseError::InvalidPartitions, "number of partitions")?,
        replication_factor: count(
            i32::from(topic.replication_factor),
            ResponseError::InvalidReplicationFactor,
            "replication factor",
        )?,
        assignments: explicit(&topic)?,
        config: config.clone(),
    };
    if validate_only {
        let (partitions, replication_factor) = ctx.broker.check_new_topic(&request)?;
        let settings = ctx.broker.settings_of(&config);
        return Ok(Made { id: Uuid::nil(), partitions, replication_factor, settings });
    }
    let view = ctx.broker.create_topic(request, until).await?;
    Ok(Made {
        id: view.id.0,
        partitions: view.assignments.len() as u32,
        replication_factor: view.replication_factor,
        settings: ctx.broker.topic_settings(&view),
    })
}

fn count(given: i32, error: ResponseError, what: &str) -> Result<Option<u32>, Refusal> {
    match given {
        UNSET => Ok(None),
        1.. => Ok(Some(given as u32)),
        _ => Err(Refusal::new(error, format!("the {what} is {given}; give 1 or more, or -1 for the default"))),
    }
}

/// Replicas by partition; partitions are to be numbered from 0 without holes.
fn explicit(topic: &CreatableTopic) -> Result<Option<Vec<Vec<NodeId>>>, Refusal> {
    if topic.assignments.is_empty() {
        return Ok(None);
    }
    if topic.num_partitions != UNSET || topic.replication_factor != -1 {
        let text = "replicas are assigned, so the number of partitions and the replication factor are to be -1";
        return Err(Refusal::new(ResponseError::InvalidRequest, text));
    }
    let mut by_partition: Vec<&CreatableReplicaAssignment> = topic.assignments.iter().collect();
    by_partition.sort_by_key(|assignment| assignment.partition_index);
    if (0..).zip(&by_partition).any(|(place, assignment)| assignment.partition_index != place) {
        let text = "partitions with assigned replicas are to be numbered from 0, without holes and each once";
        return Err(Refusal::new(ResponseError::InvalidReplicaAssignment, text));
    }
    Ok(Some(by_partition.iter().map(|assignment| nodes(&assignment.broker_ids)).collect()))
}

fn described(ctx: &RequestContext, result: CreatableTopicResult, made: Made) -> CreatableTopicResult {
    let config = |setting: SettingView| {
        CreatableTopicConfigs::default()
            .with_name(StrBytes::from_static_str(setting.name))
            .with_config_source(super::describe_configs::source_of_topic(&setting))
            .with_value(Some(StrBytes::from_string(setting.value)))
    };
    let result = if ctx.version >= 5 {
        result
            .with_num_partitions(made.partitions as i32)
            .with_replication_factor(made.replication_factor as i16)
            .with_configs(Some(made.settings.into_iter().map(config).collect()))
    } else {
        result.with_configs(Some(Vec::new()))
    };
    if ctx.version >= 7 { result.with_topic_id(made.id) } else { result }
}
