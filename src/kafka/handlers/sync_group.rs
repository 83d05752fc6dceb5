//! SyncGroup (14): a member gets its assignment once the leader's word is written.

use super::{optional, text};
use crate::broker::groups::{GroupError, Speaker, Sync, Synced};
use crate::kafka::context::RequestContext;
use crate::kafka::errors;
use kafka_protocol::messages::{SyncGroupRequest, SyncGroupResponse};
use std::ops::RangeInclusive;

pub const VERSIONS: RangeInclusive<i16> = 0..=5;

pub async fn handle(ctx: &RequestContext, request: SyncGroupRequest) -> SyncGroupResponse {
    match sync(ctx, request).await {
        Ok(synced) => SyncGroupResponse::default()
            .with_protocol_type(Some(text(synced.protocol_type)))
            .with_protocol_name(Some(text(synced.protocol)))
            .with_assignment(synced.assignment.into()),
        Err(error) => SyncGroupResponse::default().with_error_code(errors::of_group(&error).code()),
    }
}

async fn sync(ctx: &RequestContext, request: SyncGroupRequest) -> Result<Synced, GroupError> {
    let here = ctx.broker.group_here(&request.group_id)?;
    let speaker = Speaker {
        member_id: request.member_id.to_string(),
        instance_id: optional(request.group_instance_id),
        generation: request.generation_id,
    };
    let assignments = request.assignments.iter().map(|of| (of.member_id.to_string(), of.assignment.to_vec()));
    let sync = Sync {
        speaker,
        protocol_type: optional(request.protocol_type),
        protocol: optional(request.protocol_name),
        assignments: assignments.collect(),
    };
    here.coordinator.sync(here.at, &request.group_id, &sync).await
}
