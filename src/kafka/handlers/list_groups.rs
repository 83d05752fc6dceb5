//! ListGroups (16): the groups that this node coordinates; clients ask all nodes.

use super::text;
use crate::kafka::context::RequestContext;
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{GroupId, ListGroupsRequest, ListGroupsResponse};
use std::ops::RangeInclusive;

pub const VERSIONS: RangeInclusive<i16> = 0..=4;

pub async fn handle(ctx: &RequestContext, request: ListGroupsRequest) -> ListGroupsResponse {
    let is_wanted = |state: &str| {
        request.states_filter.is_empty() || request.states_filter.iter().any(|one| one.eq_ignore_ascii_case(state))
    };
    let listed = ctx.broker.groups_here().await.into_iter().filter(|listed| is_wanted(listed.phase.name()));
    let groups = listed.map(|listed| {
        ListedGroup::default()
            .with_group_id(GroupId(text(listed.group)))
            .with_protocol_type(text(listed.protocol_type))
            .with_group_state(text(listed.phase.name().to_string()))
    });
    ListGroupsResponse::default().with_groups(groups.collect())
}
