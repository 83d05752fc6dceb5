//! DescribeConfigs (32): the settings of topics, and of the node that is asked; only those that are obeyed.

use super::asked::{Refusal, outcome};
use crate::broker::{SettingKind, SettingView};
use crate::kafka::context::RequestContext;
use crate::kafka::errors::ResponseError;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};
use kafka_protocol::protocol::StrBytes;
use std::ops::RangeInclusive;

pub const VERSIONS: RangeInclusive<i16> = 1..=4;

/// Kinds of what has settings.
pub const TOPIC: i8 = 2;
pub const BROKER: i8 = 4;

/// Where a value comes from.
const SOURCE_TOPIC: i8 = 1;
const SOURCE_STATIC: i8 = 4;
const SOURCE_DEFAULT: i8 = 5;

/// Where the value of a topic's setting comes from.
pub fn source_of_topic(setting: &SettingView) -> i8 {
    if setting.is_default { SOURCE_DEFAULT } else { SOURCE_TOPIC }
}

pub async fn handle(ctx: &RequestContext, request: DescribeConfigsRequest) -> DescribeConfigsResponse {
    let mut results = Vec::with_capacity(request.resources.len());
    for resource in &request.resources {
        let found = settings(ctx, resource).await;
        let (code, message) = outcome(&found);
        let is_asked = |setting: &SettingView| {
            let names = resource.configuration_keys.as_ref();
            names.is_none_or(|names| names.iter().any(|name| name.as_str() == setting.name))
        };
        let settings = found.unwrap_or_default().into_iter().filter(is_asked);
        let configs = settings.map(|setting| described(ctx, &request, resource.resource_type, setting));
        let result = DescribeConfigsResult::default()
            .with_error_code(code)
            .with_error_message(message)
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone());
        results.push(result.with_configs(configs.collect()));
    }
    DescribeConfigsResponse::default().with_results(results)
}

async fn settings(ctx: &RequestContext, resource: &DescribeConfigsResource) -> Result<Vec<SettingView>, Refusal> {
    let name = &resource.resource_name;
    match resource.resource_type {
        TOPIC => {
            let topic = ctx.broker.resolve_topic(name, false, ctx.deadline).await?;
            Ok(ctx.broker.topic_settings(&topic))
        }
        // The settings that all nodes share by a change while they run: there are none.
        BROKER if name.is_empty() => Ok(Vec::new()),
        BROKER if name.as_str() == ctx.broker.node_id().to_string() => Ok(ctx.broker.node_settings()),
        BROKER => {
            let text = format!("this is node {}; ask node {} for its settings", ctx.broker.node_id(), name.as_str());
            Err(Refusal::new(ResponseError::InvalidRequest, text))
        }
        other => {
            let text = format!("resources of type {other} have no settings here; topics (2) and nodes (4) have");
            Err(Refusal::new(ResponseError::InvalidRequest, text))
        }
    }
}

fn described(
    ctx: &RequestContext,
    request: &DescribeConfigsRequest,
    resource_type: i8,
    setting: SettingView,
) -> DescribeConfigsResourceResult {
    let is_topic = resource_type == TOPIC;
    let source = match (setting.is_default, is_topic) {
        (true, _) => SOURCE_DEFAULT,
        (false, true) => SOURCE_TOPIC,
        (false, false) => SOURCE_STATIC,
    };
    let text = |text: &str| Some(StrBytes::from_string(text.to_owned()));
    let synonym = |value: &str, source| {
        let name = StrBytes::from_static_str(setting.name);
        DescribeConfigsSynonym::default().with_name(name).with_value(text(value)).with_source(source)
    };
    let mut synonyms = Vec::new();
    if request.include_synonyms {
        if !setting.is_default {
            synonyms.push(synonym(&setting.value, source));
        }
        synonyms.extend(setting.default.as_deref().map(|default| synonym(default, SOURCE_DEFAULT)));
    }
    let result = DescribeConfigsResourceResult::default()
        .with_name(StrBytes::from_static_str(setting.name))
        .with_value(text(&setting.value))
        .with_read_only(!is_topic)
        .with_config_source(source)
        .with_synonyms(synonyms);
    if ctx.version < 3 {
        return result;
    }
    let documentation = request.include_documentation.then(|| StrBytes::from_static_str(setting.doc));
    result.with_config_type(type_of(setting.kind)).with_documentation(documentation)
}

fn type_of(kind: SettingKind) -> i8 {
    match kind {
        SettingKind::Boolean => 1,
        SettingKind::Text => 2,
        SettingKind::Int => 3,
        SettingKind::Long => 5,
        SettingKind::List => 7,
    }
}
