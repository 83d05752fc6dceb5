//! IncrementalAlterConfigs (44): sets, resets or extends single settings of topics (KIP-339).

use super::alter_configs::{apply, refuse_others};
use super::asked::{Refusal, changeable, outcome};
use crate::broker::SettingKind;
use crate::kafka::context::RequestContext;
use crate::kafka::errors::ResponseError;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

pub const VERSIONS: RangeInclusive<i16> = 0..=1;

/// What is to be done with a setting.
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

pub async fn handle(ctx: &RequestContext, request: IncrementalAlterConfigsRequest) -> IncrementalAlterConfigsResponse {
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
    IncrementalAlterConfigsResponse::default().with_responses(responses)
}

async fn alter(ctx: &RequestContext, resource: &AlterConfigsResource, validate_only: bool) -> Result<(), Refusal> {
    refuse_others(resource.resource_type)?;
    let topic = changeable(ctx, &resource.resource_name).await?;
    let settings = ctx.broker.topic_settings(&topic);
    let invalid = |text: String| Refusal::new(ResponseError::InvalidRequest, text);
    let mut changes = BTreeMap::new();
    for config in &resource.configs {
        let name = config.name.to_string();
        let value = match config.config_operation {
            DELETE => None,
            SET => Some(value_of(config)?),
            APPEND | SUBTRACT => {
                let list = settings.iter().find(|setting| setting.name == name && setting.kind == SettingKind::List);
                let list = list.ok_or_else(|| invalid(format!("{name} is not a setting with a list")))?;
                Some(changed_list(&list.value, &value_of(config)?, config.config_operation == APPEND))
            }
            other => return Err(invalid(format!("there is no operation {other} on a setting"))),
        };
        if changes.insert(name.clone(), value).is_some() {
            return Err(invalid(format!("the request names the setting {name} more than once")));
        }
    }
    apply(ctx, &resource.resource_name, changes, validate_only).await
}

fn value_of(config: &AlterableConfig) -> Result<String, Refusal> {
    let missing = || Refusal::new(ResponseError::InvalidConfig, format!("{} has no value", config.name.as_str()));
    config.value.as_ref().map(ToString::to_string).ok_or_else(missing)
}

/// A list with values added, each once, or taken away.
fn changed_list(list: &str, values: &str, add: bool) -> String {
    let split = |text: &str| {
        text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect::<Vec<_>>()
    };
    let mut list = split(list);
    for value in split(values) {
        list.retain(|known| *known != value);
        if add {
            list.push(value);
        }
    }
    list.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_extended_and_shortened() {
        assert_eq!(changed_list("delete", "compact", true), "delete,compact");
        assert_eq!(changed_list("delete", "delete", true), "delete");
        assert_eq!(changed_list("delete,compact", "delete", false), "compact");
        assert_eq!(changed_list("delete", "delete", false), "");
    }
}
