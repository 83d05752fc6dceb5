//! FindCoordinator (10): the node that coordinates a group; of several groups since version 4.
//!
//! Coordinators of transactions are refused by name: there are none.

use super::broker_id;
use crate::kafka::context::RequestContext;
use crate::kafka::errors::{self, ResponseError};
use crate::types::NodeId;
use futures::stream::StreamExt;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{BrokerId, FindCoordinatorRequest, FindCoordinatorResponse};
use kafka_protocol::protocol::StrBytes;
use std::ops::RangeInclusive;

pub const VERSIONS: RangeInclusive<i16> = 0..=4;

/// Groups that are looked for side by side.
const CONCURRENT: usize = 16;
const KIND_GROUP: i8 = 0;

pub async fn handle(ctx: &RequestContext, request: FindCoordinatorRequest) -> FindCoordinatorResponse {
    if ctx.version >= 4 {
        let found = request.coordinator_keys.into_iter().map(|key| find(ctx, key, request.key_type));
        let found = futures::stream::iter(found).buffered(CONCURRENT).collect().await;
        return FindCoordinatorResponse::default().with_coordinators(found);
    }
    let found = find(ctx, request.key, request.key_type).await;
    FindCoordinatorResponse::default()
        .with_error_code(found.error_code)
        .with_error_message(found.error_message)
        .with_node_id(found.node_id)
        .with_host(found.host)
        .with_port(found.port)
}

async fn find(ctx: &RequestContext, key: StrBytes, kind: i8) -> Coordinator {
    let refuse = |error: ResponseError, text: String| {
        Coordinator::default()
            .with_key(key.clone())
            .with_node_id(BrokerId(-1))
            .with_port(-1)
            .with_error_code(error.code())
            .with_error_message(Some(StrBytes::from_string(text)))
    };
    if kind != KIND_GROUP {
        let text = "transactions are not served: there is no coordinator for them".to_string();
        return refuse(ResponseError::InvalidRequest, text);
    }
    match ctx.broker.coordinator_of(&key, ctx.deadline).await {
        Ok(node) => match address(ctx, node) {
            Some((host, port)) => Coordinator::default()
                .with_key(key)
                .with_node_id(broker_id(node))
                .with_host(StrBytes::from_string(host))
                .with_port(port),
            None => {
                let text = format!("node {node}, which coordinates the group, has no Kafka listener");
                refuse(ResponseError::CoordinatorNotAvailable, text)
            }
        },
        Err(error) => refuse(errors::of_group(&error), error.to_string()),
    }
}

fn address(ctx: &RequestContext, node: NodeId) -> Option<(String, i32)> {
    let endpoint = ctx.endpoints().into_iter().find(|endpoint| endpoint.id == node)?;
    Some((endpoint.host, i32::from(endpoint.port)))
}
