//! LeaveGroup (13): a member goes; several, also by their instance ids, since version 3.

use super::optional;
use crate::broker::groups::GroupError;
use crate::kafka::context::RequestContext;
use crate::kafka::errors;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{LeaveGroupRequest, LeaveGroupResponse};
use std::ops::RangeInclusive;

pub const VERSIONS: RangeInclusive<i16> = 0..=5;

pub async fn handle(ctx: &RequestContext, request: LeaveGroupRequest) -> LeaveGroupResponse {
    let answer = LeaveGroupResponse::default();
    let by_itself = vec![(request.member_id.to_string(), None)];
    let named = request.members.iter().map(|of| (of.member_id.to_string(), optional(of.group_instance_id.clone())));
    let members = if ctx.version < 3 { by_itself } else { named.collect() };
    let results = match leave(ctx, &request.group_id, &members).await {
        Ok(results) => results,
        Err(error) => return answer.with_error_code(errors::of_group(&error).code()),
    };
    let codes = results.iter().map(|result| result.as_ref().map_or_else(|e| errors::of_group(e).code(), |()| 0));
    if ctx.version < 3 {
        let code = codes.into_iter().next().unwrap_or(errors::NONE);
        return answer.with_error_code(code);
    }
    let each = request.members.iter().zip(codes).map(|(of, code)| {
        MemberResponse::default()
            .with_member_id(of.member_id.clone())
            .with_group_instance_id(of.group_instance_id.clone())
            .with_error_code(code)
    });
    answer.with_members(each.collect())
}

async fn leave(
    ctx: &RequestContext,
    group: &str,
    members: &[(String, Option<String>)],
) -> Result<Vec<Result<(), GroupError>>, GroupError> {
    let here = ctx.broker.group_here(group)?;
    here.coordinator.leave(here.at, group, members).await
}
