//! One file for each API: the versions that are served, and how. Each calls the broker and knows nothing else.

pub mod alter_configs;
pub mod alter_partition_reassignments;
pub mod api_versions;
mod asked;
pub mod create_partitions;
pub mod create_topics;
pub mod delete_groups;
pub mod delete_records;
pub mod delete_topics;
pub mod describe_cluster;
pub mod describe_configs;
pub mod describe_groups;
pub mod describe_log_dirs;
pub mod describe_producers;
pub mod describe_quorum;
pub mod describe_topic_partitions;
pub mod elect_leaders;
pub mod fetch;
mod fetch_answer;
mod fetch_read;
pub mod find_coordinator;
pub mod heartbeat;
pub mod incremental_alter_configs;
pub mod init_producer_id;
pub mod join_group;
pub mod leave_group;
pub mod list_groups;
pub mod list_offsets;
pub mod list_partition_reassignments;
pub mod metadata;
pub mod offset_commit;
pub mod offset_delete;
pub mod offset_fetch;
pub mod offset_for_leader_epoch;
pub mod produce;
pub mod produce_old;
pub mod sync_group;

use super::context::RequestContext;
use super::errors::{self, ResponseError};
use crate::broker::{Direct, Isolation, TopicView};
use crate::types::{NodeId, PartitionId, Term};
use kafka_protocol::messages::BrokerId;
use kafka_protocol::protocol::StrBytes;
use std::sync::Arc;

/// Partitions that one request has looked at side by side.
const CONCURRENT_PARTITIONS: usize = 64;

pub use crate::broker::groups::is_internal;

fn text(text: String) -> StrBytes {
    StrBytes::from_string(text)
}

fn optional(text: Option<StrBytes>) -> Option<String> {
    text.map(|text| text.to_string())
}

/// A node as Kafka numbers it.
pub fn broker_id(node: NodeId) -> BrokerId {
    BrokerId(i32::try_from(node.0).unwrap_or(i32::MAX))
}

/// A term as a leader epoch; none (-1) before the first election.
pub fn leader_epoch(term: Term) -> i32 {
    if term.0 == 0 { -1 } else { i32::try_from(term.0).unwrap_or(i32::MAX) }
}

/// A leader epoch that a client names; it names none by -1.
pub fn term_of(leader_epoch: i32) -> Option<Term> {
    u64::try_from(leader_epoch).ok().map(Term)
}

/// What a read may show.
pub fn isolation_of(level: i8) -> Isolation {
    if level == 1 { Isolation::ReadCommitted } else { Isolation::ReadUncommitted }
}

/// A topic that a request about its partitions names; not made by that.
async fn topic_of(ctx: &RequestContext, name: &str) -> Result<Arc<TopicView>, ResponseError> {
    let found = ctx.broker.resolve_topic(name, false, ctx.deadline).await;
    found.map_err(|error| errors::of_records_topic(&error))
}

/// A partition by its number on the wire.
fn partition_of(topic: &Arc<TopicView>, partition: i32) -> Result<Direct, ResponseError> {
    let number = u32::try_from(partition).map_err(|_| ResponseError::UnknownTopicOrPartition)?;
    Ok(Direct { topic: topic.clone(), partition: PartitionId(number) })
}
