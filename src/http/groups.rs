//! `/v1/groups`: list, describe, set offsets, delete. Any node answers.

use super::fetch_source::READ_PATIENCE;
use super::fields::{self, Fields, bad_field, pointer};
use super::path::{self, GroupPath};
use super::problem::Problem;
use super::query::Query;
use super::topics::json;
use super::{Answer, AppState, errors};
use crate::broker::groups::{
    Described, GroupError, GroupKind, Listed, PartitionKey, Reply, Request, assigned_partitions,
};
use crate::broker::{Progress, ReadFrom, Reset};
use axum::Router;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;
use utoipa::ToSchema;

/// The members of a request to set offsets.
pub const RESET_FIELDS: &[&str] = &["offsets", "topics", "to", "dry_run"];

/// All groups.
#[derive(Serialize, ToSchema)]
pub struct GroupList {
    groups: Vec<GroupSummary>,
}

/// A group as the list shows it.
#[derive(Serialize, ToSchema)]
pub struct GroupSummary {
    group: String,
    /// Empty, PreparingRebalance, CompletingRebalance, or Stable.
    state: String,
    /// What its members are now: "kafka", "http"; null without members.
    kind: Option<&'static str>,
    /// How many there are.
    members: u64,
}

/// A group with its members and offsets.
#[derive(Serialize, ToSchema)]
pub struct GroupDescription {
    group: String,
    /// Empty, PreparingRebalance, CompletingRebalance, or Stable.
    state: String,
    /// What its members are now: "kafka", "http"; null without members.
    kind: Option<&'static str>,
    /// Grows with each rebalance of Kafka members.
    generation: i32,
    /// How Kafka members share out partitions; empty for others.
    protocol: String,
    members: Vec<GroupMember>,
    offsets: Vec<GroupOffset>,
    /// Records that are not acknowledged, in all partitions whose leader could be asked.
    lag: u64,
    /// Age of the oldest of them, in seconds; 0 where there is none.
    lag_seconds: f64,
}

/// A member of a group.
#[derive(Serialize, ToSchema)]
pub struct GroupMember {
    member: String,
    /// Of a Kafka client; empty for one that polls over HTTP.
    client_id: String,
    /// Of a Kafka client; empty for one that polls over HTTP.
    client_host: String,
    /// `group.instance.id` of a static member.
    instance_id: Option<String>,
    /// What it reads: assigned to a Kafka client, leased to one that polls over HTTP.
    partitions: Vec<GroupPartition>,
}

/// A partition of a topic.
#[derive(Serialize, ToSchema)]
pub struct GroupPartition {
    topic: String,
    partition: i32,
}

/// How far a group is in one partition.
#[derive(Serialize, ToSchema)]
pub struct GroupOffset {
    topic: String,
    partition: i32,
    /// Of the next record to be read: all before it are acknowledged.
    offset: i64,
    /// What a Kafka client committed with it.
    metadata: String,
    committed_at_ms: i64,
    /// Null while the partition has no leader, or where the topic is gone.
    log_start_offset: Option<i64>,
    /// Null while the partition has no leader, or where the topic is gone.
    high_watermark: Option<i64>,
    /// Records that are not acknowledged.
    lag: Option<i64>,
    /// Age of the oldest of them, in seconds; 0 where there is none.
    lag_seconds: Option<f64>,
}

/// Offsets that were set.
#[derive(Serialize, ToSchema)]
pub struct GroupOffsets {
    offsets: Vec<GroupOffsetAt>,
}

/// An offset of one partition.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupOffsetAt {
    topic: String,
    partition: i32,
    offset: i64,
}

/// This module's routes.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/v1/groups", get(list))
        .route("/v1/groups/{group}", get(describe).delete(delete))
        .route("/v1/groups/{group}/offsets", post(reset))
}

async fn list(State(app): State<AppState>, RawQuery(raw): RawQuery) -> Answer {
    Query::parse(raw.as_deref(), &[])?;
    let listed = app.broker.groups(Instant::now() + READ_PATIENCE).await;
    let listed = listed.map_err(|error| errors::group(error, ""))?;
    Ok(json(StatusCode::OK, &GroupList { groups: listed.into_iter().map(summary).collect() }))
}

fn summary(listed: Listed) -> GroupSummary {
    GroupSummary {
        group: listed.group,
        state: listed.phase.name().to_string(),
        kind: kind_name(listed.kind),
        members: listed.members as u64,
    }
}

fn kind_name(kind: GroupKind) -> Option<&'static str> {
    match kind {
        GroupKind::None => None,
        GroupKind::Kafka => Some("kafka"),
        GroupKind::Http => Some("http"),
    }
}

async fn describe(State(app): State<AppState>, GroupPath(group): GroupPath, RawQuery(raw): RawQuery) -> Answer {
    Query::parse(raw.as_deref(), &[])?;
    let found = app.broker.group_view(&group, Instant::now() + READ_PATIENCE).await;
    let found = found.map_err(|error| errors::group(error, &group))?;
    let (described, progress) = found.ok_or_else(|| errors::group(GroupError::UnknownGroup(group.clone()), &group))?;
    Ok(json(StatusCode::OK, &description(described, progress)))
}

fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

fn description(described: Described, progress: Vec<Progress>) -> GroupDescription {
    let partitions = |of: Vec<(String, i32)>| {
        of.into_iter().map(|(topic, partition)| GroupPartition { topic, partition }).collect::<Vec<_>>()
    };
    let mut members: Vec<GroupMember> = Vec::new();
    for member in described.members {
        members.push(GroupMember {
            partitions: partitions(assigned_partitions(&member.assignment).unwrap_or_default()),
            member: member.member_id,
            client_id: member.client_id,
            client_host: member.client_host.trim_start_matches('/').to_string(),
            instance_id: member.instance_id,
        });
    }
    for poller in described.pollers {
        let leased = poller.leases.into_iter().flat_map(|(_, of)| of).map(|at| (at.topic, at.partition));
        members.push(GroupMember {
            partitions: partitions(leased.collect()),
            member: poller.member,
            client_id: String::new(),
            client_host: String::new(),
            instance_id: None,
        });
    }
    let lag = progress.iter().filter_map(|of| of.lag).sum::<i64>().max(0) as u64;
    let lag_ms = progress.iter().filter_map(|of| of.lag_ms).max().unwrap_or(0);
    GroupDescription {
        group: described.group,
        state: described.phase.name().to_string(),
        kind: kind_name(described.kind),
        generation: described.generation,
        protocol: described.protocol,
        members,
        offsets: progress.into_iter().map(offset).collect(),
        lag,
        lag_seconds: seconds(lag_ms),
    }
}

fn offset(of: Progress) -> GroupOffset {
    GroupOffset {
        topic: of.at.topic,
        partition: of.at.partition,
        offset: of.committed.offset,
        metadata: of.committed.metadata,
        committed_at_ms: of.committed.committed_at_ms,
        log_start_offset: of.log_start_offset,
        high_watermark: of.high_watermark,
        lag: of.lag,
        lag_seconds: of.lag_ms.map(seconds),
    }
}

async fn delete(State(app): State<AppState>, GroupPath(group): GroupPath, RawQuery(raw): RawQuery) -> Answer {
    Query::parse(raw.as_deref(), &[])?;
    let request = Request::Delete { group: group.clone() };
    let deleted = app.broker.ask_group(&group, request, false, Instant::now() + READ_PATIENCE).await;
    match deleted.map_err(|error| errors::group(error, &group))? {
        Reply::Done => Ok(StatusCode::NO_CONTENT.into_response()),
        _ => Err(errors::group(GroupError::Unavailable("another answer was given".to_string()), &group)),
    }
}

async fn reset(
    State(app): State<AppState>,
    GroupPath(group): GroupPath,
    RawQuery(raw): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    Query::parse(raw.as_deref(), &[])?;
    let body = fields::json_body(&app, &headers, body).await?;
    let fields = Fields::parse(&body, RESET_FIELDS)?;
    let dry_run: Option<bool> = fields.get("dry_run", "true or false")?;
    let deadline = Instant::now() + READ_PATIENCE;
    let reset = app.broker.reset_group(&group, reset_of(&fields)?, dry_run.unwrap_or(false), deadline).await;
    let offsets = reset.map_err(|error| errors::poll(error, &group))?.into_iter();
    let offset = |(at, offset): (PartitionKey, i64)| GroupOffsetAt { topic: at.topic, partition: at.partition, offset };
    Ok(json(StatusCode::OK, &GroupOffsets { offsets: offsets.map(offset).collect() }))
}

fn reset_of(fields: &Fields<'_>) -> Result<Reset, Problem> {
    let offsets = offsets_of(fields)?;
    let topics = topics_of(fields)?;
    let to: Option<Value> = fields.get("to", TO_ACCEPTED)?;
    match (offsets, to) {
        (Some(offsets), None) if topics.is_none() && !offsets.is_empty() => Ok(Reset::Exactly(offsets)),
        (None, Some(to)) => Ok(Reset::To(topics.unwrap_or_default(), place(&to)?)),
        _ => Err(bad_field(
            "",
            "give either \"offsets\": [{\"topic\", \"partition\", \"offset\"}], or \"to\": \"earliest\" (or \"latest\", \
             or a time in ms since 1970), with \"topics\": [\"…\"] for some topics only"
                .to_owned(),
        )),
    }
}

const TO_ACCEPTED: &str = "\"earliest\", \"latest\", or a time in ms since 1970";

fn place(to: &Value) -> Result<ReadFrom, Problem> {
    match to {
        Value::String(word) if word == "earliest" => Ok(ReadFrom::Earliest),
        Value::String(word) if word == "latest" => Ok(ReadFrom::Latest),
        other => match other.as_i64().filter(|ms| *ms >= 0) {
            Some(ms) => Ok(ReadFrom::Time(ms)),
            None => Err(bad_field("/to", format!("to must be {TO_ACCEPTED}, not {other}"))),
        },
    }
}

/// `"offsets"`: each partition once.
pub fn offsets_of(fields: &Fields<'_>) -> Result<Option<Vec<(PartitionKey, i64)>>, Problem> {
    let accepted = "a list of {\"topic\", \"partition\", \"offset\"}";
    let given: Option<Vec<GroupOffsetAt>> = fields.get("offsets", accepted)?;
    let Some(given) = given else { return Ok(None) };
    let mut offsets: Vec<(PartitionKey, i64)> = Vec::with_capacity(given.len());
    for (place, at) in given.into_iter().enumerate() {
        let place = place.to_string();
        let refused = |member: &str, text: &str| bad_field(&pointer(&["offsets", &place, member]), text.to_owned());
        path::topic_name(&at.topic).map_err(|problem| refused("topic", problem.detail()))?;
        if at.partition < 0 || at.offset < 0 {
            let member = if at.partition < 0 { "partition" } else { "offset" };
            return Err(refused(member, &format!("{member} must be a whole number from 0")));
        }
        let key = PartitionKey { topic: at.topic, partition: at.partition };
        if offsets.iter().any(|(other, _)| *other == key) {
            return Err(refused("partition", "this partition is named before; name it once"));
        }
        offsets.push((key, at.offset));
    }
    Ok(Some(offsets))
}

/// `"topics"`: names that topics can have, at least one.
pub fn topics_of(fields: &Fields<'_>) -> Result<Option<Vec<String>>, Problem> {
    let topics: Option<Vec<String>> = fields.get("topics", "a list of names of topics, like [\"orders\"]")?;
    let Some(mut topics) = topics else { return Ok(None) };
    if topics.is_empty() {
        return Err(bad_field("/topics", "name at least one topic, like [\"orders\"]".to_owned()));
    }
    for (place, name) in topics.iter().enumerate() {
        path::topic_name(name)
            .map_err(|problem| bad_field(&pointer(&["topics", &place.to_string()]), problem.detail().to_owned()))?;
    }
    topics.sort();
    topics.dedup();
    Ok(Some(topics))
}
