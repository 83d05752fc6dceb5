//! Heartbeat (12): a member is alive, and hears whether it has to join again.

use super::optional;
use crate::broker::groups::{GroupError, Speaker};
use crate::kafka::context::RequestContext;
use crate::kafka::errors;
use kafka_protocol::messages::{HeartbeatRequest, HeartbeatResponse};
use std::ops::RangeInclusive;

pub const VERSIONS: RangeInclusive<i16> = 0..=4;

pub async fn handle(ctx: &RequestContext, request: HeartbeatRequest) -> HeartbeatResponse {
    let code = beat(ctx, request).await.map_or_else(|error| errors::of_group(&error).code(), |()| errors::NONE);
    HeartbeatResponse::default().with_error_code(code)
}

async fn beat(ctx: &RequestContext, request: HeartbeatRequest) -> Result<(), GroupError> {
    let here = ctx.broker.group_here(&request.group_id)?;
    let speaker = Speaker {
        member_id: request.member_id.to_string(),
        instance_id: optional(request.group_instance_id),
        generation: request.generation_id,
    };
    here.coordinator.heartbeat(here.at, &request.group_id, &speaker).await
}
