//! AlterConfigs (33): gives a topic exactly these settings; those that are not named go back to their defaults.

use super::asked::{Refusal, changeable, outcome};
use super::describe_configs::{BROKER, TOPIC};
use crate::broker::AlterTopic;
use crate::kafka::context::RequestContext;
use crate::kafka::errors::ResponseError;
use kafka_protocol::messages::alter_configs_request::AlterConfigsResource;
use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{AlterConfigsRequest, AlterConfigsResponse};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

pub const VERSIONS: RangeInclusive<i16> = 0..=2;

pub async fn handle(ctx: &RequestContext, request: AlterConfigsRequest) -> AlterConfigsResponse {
    let mut responses = Vec::with_capacity(request.resources.len());
    for resource in &request.resources {
        let (code, message) = outcome(&alter(ctx, resource, request.validate_only).await);
        responses.push(
            AlterConfigsResourceResponse::default()
                .with_error_code(code)
                .with_error_message(message)
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone()),
        );
    }
    AlterConfigsResponse::default().with_responses(responses)
}

async fn alter(ctx: &RequestContext, resource: &AlterConfigsResource, validate_only: bool) -> Result<(), Refusal> {
    refuse_others(resource.resource_type)?;
    let topic = changeable(ctx, &resource.resource_name).await?;
    let mut changes: BTreeMap<String, Option<String>> = topic.config.keys().map(|name| (name.clone(), None)).collect();
    for config in &resource.configs {
        changes.insert(config.name.to_string(), config.value.as_ref().map(ToString::to_string));
    }
    apply(ctx, &resource.resource_name, changes, validate_only).await
}

/// Only topics have settings that change while nodes run.
pub fn refuse_others(resource_type: i8) -> Result<(), Refusal> {
    let text = match resource_type {
        TOPIC => return Ok(()),
        BROKER => "the settings of nodes are in their configuration files, and need a restart".to_owned(),
        other => format!("resources of type {other} have no settings here; topics (2) have"),
    };
    Err(Refusal::new(ResponseError::InvalidRequest, text))
}

/// Makes changes of a topic's settings, or only checks them.
pub async fn apply(
    ctx: &RequestContext,
    topic: &str,
    changes: BTreeMap<String, Option<String>>,
    validate_only: bool,
) -> Result<(), Refusal> {
    if validate_only {
        return Ok(ctx.broker.check_topic_settings(&changes)?);
    }
    let change = AlterTopic { config: changes, ..AlterTopic::default() };
    Ok(ctx.broker.alter_topic(topic, change, ctx.deadline).await.map(drop)?)
}
