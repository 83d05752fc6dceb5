//! DeleteGroups (42): groups without members go, with their offsets.

use crate::broker::groups::GroupError;
use crate::kafka::context::RequestContext;
use crate::kafka::errors;
use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse};
use std::ops::RangeInclusive;

pub const VERSIONS: RangeInclusive<i16> = 0..=2;

pub async fn handle(ctx: &RequestContext, request: DeleteGroupsRequest) -> DeleteGroupsResponse {
    let mut results = Vec::with_capacity(request.groups_names.len());
    for group in request.groups_names {
        let code = delete(ctx, &group).await.map_or_else(|error| errors::of_group(&error).code(), |()| errors::NONE);
        results.push(DeletableGroupResult::default().with_group_id(group).with_error_code(code));
    }
    DeleteGroupsResponse::default().with_results(results)
}

async fn delete(ctx: &RequestContext, group: &str) -> Result<(), GroupError> {
    let here = ctx.broker.group_here(group)?;
    here.coordinator.delete(here.at, group).await
}
