//! JoinGroup (11): a member takes part in the next generation; the answer comes when all have joined.

use super::{optional, text};
use crate::broker::groups::{GroupError, Join, Joined};
use crate::kafka::context::RequestContext;
use crate::kafka::errors;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::{JoinGroupRequest, JoinGroupResponse};
use std::ops::RangeInclusive;

pub const VERSIONS: RangeInclusive<i16> = 0..=7;

/// Since this version a new member gets an id first and comes again with it (KIP-394).
const KNOWN_ID_FROM: i16 = 4;

pub async fn handle(ctx: &RequestContext, request: JoinGroupRequest) -> JoinGroupResponse {
    let member_id = request.member_id.clone();
    match join(ctx, request).await {
        Ok(joined) => {
            let members = joined.members.into_iter().map(|member| {
                JoinGroupResponseMember::default()
                    .with_member_id(text(member.member_id))
                    .with_group_instance_id(member.instance_id.map(text))
                    .with_metadata(member.metadata.into())
            });
            JoinGroupResponse::default()
                .with_generation_id(joined.generation)
                .with_protocol_type(Some(text(joined.protocol_type)))
                .with_protocol_name(Some(text(joined.protocol)))
                .with_leader(text(joined.leader))
                .with_member_id(text(joined.member_id))
                .with_members(members.collect())
        }
        Err(error) => {
            let given = match &error {
                GroupError::MemberIdRequired(id) => text(id.clone()),
                _ => member_id,
            };
            JoinGroupResponse::default()
                .with_error_code(errors::of_group(&error).code())
                .with_generation_id(-1)
                // Before version 7 a name is never null.
                .with_protocol_name((ctx.version < 7).then(|| text(String::new())))
                .with_member_id(given)
        }
    }
}

async fn join(ctx: &RequestContext, request: JoinGroupRequest) -> Result<Joined, GroupError> {
    let here = ctx.broker.group_here(&request.group_id)?;
    let session_timeout_ms = request.session_timeout_ms;
    let join = Join {
        member_id: request.member_id.to_string(),
        instance_id: optional(request.group_instance_id),
        client_id: ctx.client_id.as_ref().map(|id| id.to_string()).unwrap_or_default(),
        client_host: format!("/{}", ctx.client_host),
        session_timeout_ms,
        rebalance_timeout_ms: if ctx.version >= 1 { request.rebalance_timeout_ms } else { session_timeout_ms },
        protocol_type: request.protocol_type.to_string(),
        protocols: request.protocols.iter().map(|of| (of.name.to_string(), of.metadata.to_vec())).collect(),
        requires_known_id: ctx.version >= KNOWN_ID_FROM,
        id_for_new: String::new(),
    };
    here.coordinator.join(here.at, &request.group_id, join).await
}
