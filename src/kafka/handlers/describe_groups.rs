//! DescribeGroups (15): the members of groups, what they told each other, and what they read.
//!
//! A group that does not exist is told as dead, without an error, as these versions have it.

use super::text;
use crate::broker::groups::{Described, GroupError, MemberView, Phase, Poller};
use crate::kafka::context::RequestContext;
use crate::kafka::errors;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::{DescribeGroupsRequest, DescribeGroupsResponse, GroupId};
use std::ops::RangeInclusive;

pub const VERSIONS: RangeInclusive<i16> = 0..=5;

/// Read, delete and describe, as bits (KIP-430): nobody is kept from anything.
const OPERATIONS: i32 = 1 << 3 | 1 << 6 | 1 << 8;

pub async fn handle(ctx: &RequestContext, request: DescribeGroupsRequest) -> DescribeGroupsResponse {
    let mut groups = Vec::with_capacity(request.groups.len());
    for group in request.groups {
        let answer = match describe(ctx, &group).await {
            Ok(Some(described)) => answer(group, described),
            Ok(None) => {
                DescribedGroup::default().with_group_id(group).with_group_state(text(Phase::Dead.name().into()))
            }
            Err(error) => {
                DescribedGroup::default().with_group_id(group).with_error_code(errors::of_group(&error).code())
            }
        };
        groups.push(match request.include_authorized_operations && ctx.version >= 3 {
            true => answer.with_authorized_operations(OPERATIONS),
            false => answer,
        });
    }
    DescribeGroupsResponse::default().with_groups(groups)
}

async fn describe(ctx: &RequestContext, group: &str) -> Result<Option<Described>, GroupError> {
    let here = ctx.broker.group_here(group)?;
    here.coordinator.describe(here.at, group).await
}

fn answer(group: GroupId, described: Described) -> DescribedGroup {
    let members = described.members.into_iter().map(member).chain(described.pollers.into_iter().map(poller));
    DescribedGroup::default()
        .with_group_id(group)
        .with_group_state(text(described.phase.name().to_string()))
        .with_protocol_type(text(described.protocol_type))
        .with_protocol_data(text(described.protocol))
        .with_members(members.collect())
}

fn member(member: MemberView) -> DescribedGroupMember {
    DescribedGroupMember::default()
        .with_member_id(text(member.member_id))
        .with_group_instance_id(member.instance_id.map(text))
        .with_client_id(text(member.client_id))
        .with_client_host(text(member.client_host))
        .with_member_metadata(member.metadata.into())
        .with_member_assignment(member.assignment.into())
}

/// One that polls over HTTP has told nothing in Kafka's form.
fn poller(poller: Poller) -> DescribedGroupMember {
    DescribedGroupMember::default().with_member_id(text(poller.member)).with_client_id(text("http".to_string()))
}
