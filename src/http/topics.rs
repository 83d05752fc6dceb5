//! `/v1/topics`: create, list, describe, change, delete; offsets by time.
//!
//! The list shows a topic as a request to create it would (`partitions` is their number): a topic may have 10,000. The
//! description of one topic shows each partition, asked of its leader.

use super::fetch_source::READ_PATIENCE;
use super::fields::{self, Fields, bad_field, pointer};
use super::path::{self, TopicPath};
use super::problem::Problem;
use super::query::{Query, bad_parameter, number, shown};
use super::{Answer, AppState, errors};
use crate::broker::groups::is_internal;
use crate::broker::{AlterTopic, CreateTopic, OffsetAt, PartitionView, ReadFrom, TopicView};
use crate::types::NodeId;
use axum::Router;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;
use tokio::time::Instant;
use utoipa::ToSchema;

/// The most partitions that a topic may have.
pub const PARTITIONS_MAX: u32 = 10_000;
/// The most replicas that a partition may have.
pub const REPLICATION_FACTOR_MAX: u32 = 5;

/// How long a change of the catalog may take before its outcome is told as unknown.
const CHANGE_PATIENCE: Duration = Duration::from_secs(30);

/// The members of a request to create a topic.
pub const CREATE_FIELDS: &[&str] = &["name", "partitions", "replication_factor", "assignments", "config"];
/// The members of a request to change a topic.
pub const ALTER_FIELDS: &[&str] = &["partitions", "config"];

/// All topics.
#[derive(Serialize, ToSchema)]
pub struct TopicList {
    topics: Vec<TopicSummary>,
}

/// A topic as the list shows it.
#[derive(Serialize, ToSchema)]
pub struct TopicSummary {
    name: String,
    /// Of this life of the topic: one that is created again gets another.
    #[schema(format = "uuid")]
    id: String,
    /// How many there are.
    partitions: u32,
    replication_factor: u32,
    /// The settings that were given.
    config: BTreeMap<String, String>,
}

/// A topic with its partitions.
#[derive(Serialize, ToSchema)]
pub struct TopicDescription {
    name: String,
    /// Of this life of the topic: one that is created again gets another.
    #[schema(format = "uuid")]
    id: String,
    /// The settings that were given.
    config: BTreeMap<String, String>,
    replication_factor: u32,
    partitions: Vec<PartitionDescription>,
}

/// One partition of a topic.
#[derive(Serialize, ToSchema)]
pub struct PartitionDescription {
    partition: u32,
    /// Null while there is none.
    leader: Option<u64>,
    term: u64,
    /// Nodes that hold it; the first is the preferred leader.
    replicas: Vec<u64>,
    /// Replicas that have everything that is committed.
    in_sync: Vec<u64>,
    log_start_offset: u64,
    /// The offset behind the last committed record.
    high_watermark: u64,
    /// On the disk of the leader.
    size_bytes: u64,
}

/// Offsets of all partitions at one time.
#[derive(Serialize, ToSchema)]
pub struct OffsetList {
    offsets: Vec<OffsetEntry>,
}

/// An offset of one partition.
#[derive(Serialize, ToSchema)]
pub struct OffsetEntry {
    partition: u32,
    offset: u64,
    /// Of the record there; null at the ends.
    timestamp_ms: Option<i64>,
}

/// This module's routes.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/v1/topics", get(list).post(create))
        .route("/v1/topics/{topic}", get(describe).patch(alter).delete(delete))
        .route("/v1/topics/{topic}/offsets", get(offsets))
}

/// A JSON answer, with a line end for those who look at it in a terminal.
pub fn json<T: Serialize>(status: StatusCode, document: &T) -> Response {
    let mut body = serde_json::to_vec(document).expect("answers have string keys only");
    body.push(b'\n');
    (status, [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
}

async fn list(State(app): State<AppState>, RawQuery(raw): RawQuery) -> Answer {
    let with_internal = Query::parse(raw.as_deref(), &["internal"])?.flag("internal")?;
    let topics = app.broker.topics();
    let shown = topics.iter().filter(|topic| with_internal || !is_internal(&topic.name));
    let topics = shown.map(|topic| summary(topic)).collect();
    Ok(json(StatusCode::OK, &TopicList { topics }))
}

async fn create(State(app): State<AppState>, RawQuery(raw): RawQuery, headers: HeaderMap, body: Body) -> Answer {
    Query::parse(raw.as_deref(), &[])?;
    let request = create_request(&fields::json_body(&app, &headers, body).await?)?;
    let name = request.name.clone();
    check_not_internal(&name)?;
    let deadline = Instant::now() + CHANGE_PATIENCE;
    let made = app.broker.create_topic(request, deadline).await;
    let topic = made.map_err(|error| errors::topic(error, &name))?;
    let partitions = app.broker.describe_partitions(&topic, Instant::now() + READ_PATIENCE).await;
    let mut response = json(StatusCode::CREATED, &description(&topic, partitions));
    let location = HeaderValue::from_str(&format!("/v1/topics/{name}"));
    response.headers_mut().insert(header::LOCATION, location.expect("topic names have plain characters only"));
    Ok(response)
}

async fn describe(State(app): State<AppState>, TopicPath(name): TopicPath, RawQuery(raw): RawQuery) -> Answer {
    Query::parse(raw.as_deref(), &[])?;
    let deadline = Instant::now() + READ_PATIENCE;
    let resolved = app.broker.resolve_topic(&name, false, deadline).await;
    let topic = resolved.map_err(|error| errors::topic(error, &name))?;
    let partitions = app.broker.describe_partitions(&topic, deadline).await;
    Ok(json(StatusCode::OK, &description(&topic, partitions)))
}

async fn alter(
    State(app): State<AppState>,
    TopicPath(name): TopicPath,
    RawQuery(raw): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    Query::parse(raw.as_deref(), &[])?;
    check_not_internal(&name)?;
    let request = alter_request(&fields::json_body(&app, &headers, body).await?)?;
    let changed = app.broker.alter_topic(&name, request, Instant::now() + CHANGE_PATIENCE).await;
    let topic = changed.map_err(|error| errors::topic(error, &name))?;
    let partitions = app.broker.describe_partitions(&topic, Instant::now() + READ_PATIENCE).await;
    Ok(json(StatusCode::OK, &description(&topic, partitions)))
}

async fn delete(State(app): State<AppState>, TopicPath(name): TopicPath, RawQuery(raw): RawQuery) -> Answer {
    Query::parse(raw.as_deref(), &[])?;
    check_not_internal(&name)?;
    let deleted = app.broker.delete_topic(&name, Instant::now() + CHANGE_PATIENCE).await;
    deleted.map_err(|error| errors::topic(error, &name))?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn offsets(State(app): State<AppState>, TopicPath(name): TopicPath, RawQuery(raw): RawQuery) -> Answer {
    let query = Query::parse(raw.as_deref(), &["time"])?;
    let at = query.get("time").map_or(Ok(ReadFrom::Latest), time)?;
    let deadline = Instant::now() + READ_PATIENCE;
    let resolved = app.broker.resolve_topic(&name, false, deadline).await;
    let topic = resolved.map_err(|error| errors::topic(error, &name))?;
    let found = app.broker.offsets(&topic, at, deadline).await;
    let found = found.map_err(|error| errors::fetch(error, &name, None))?;
    let mut offsets: Vec<OffsetEntry> = found.into_iter().map(offset_entry).collect();
    offsets.sort_by_key(|entry| entry.partition);
    Ok(json(StatusCode::OK, &OffsetList { offsets }))
}

/// The cluster's own topics are for the cluster to make and change.
fn check_not_internal(name: &str) -> Result<(), Problem> {
    if is_internal(name) { Err(errors::internal_topic(name)) } else { Ok(()) }
}

fn time(text: &str) -> Result<ReadFrom, Problem> {
    match text {
        "earliest" => Ok(ReadFrom::Earliest),
        "latest" => Ok(ReadFrom::Latest),
        _ => number(text)
            .and_then(|ms| i64::try_from(ms).ok())
            .map(ReadFrom::Time)
            .ok_or_else(|| bad_parameter("time", text, "earliest, latest, or a time in ms since 1970")),
    }
}

fn offset_entry(at: OffsetAt) -> OffsetEntry {
    OffsetEntry { partition: at.partition.0, offset: at.offset.0, timestamp_ms: at.timestamp_ms }
}

fn summary(topic: &TopicView) -> TopicSummary {
    TopicSummary {
        name: topic.name.clone(),
        id: topic.id.to_string(),
        partitions: u32::try_from(topic.assignments.len()).unwrap_or(u32::MAX),
        replication_factor: topic.replication_factor,
        config: topic.config.clone(),
    }
}

fn description(topic: &TopicView, mut partitions: Vec<PartitionView>) -> TopicDescription {
    let ids = |nodes: Vec<NodeId>| nodes.into_iter().map(|node| node.0).collect();
    partitions.sort_by_key(|view| view.partition);
    let partition = |view: PartitionView| PartitionDescription {
        partition: view.partition.0,
        leader: view.leader.map(|node| node.0),
        term: view.term.0,
        replicas: ids(view.replicas),
        in_sync: ids(view.in_sync),
        log_start_offset: view.log_start_offset.0,
        high_watermark: view.high_watermark.0,
        size_bytes: view.size_bytes,
    };
    TopicDescription {
        name: topic.name.clone(),
        id: topic.id.to_string(),
        config: topic.config.clone(),
        replication_factor: topic.replication_factor,
        partitions: partitions.into_iter().map(partition).collect(),
    }
}

/// A request to create a topic; what only the cluster knows (which nodes and settings there are) is the broker's matter.
fn create_request(body: &[u8]) -> Result<CreateTopic, Problem> {
    let fields = Fields::parse(body, CREATE_FIELDS)?;
    let name: Option<String> = fields.get("name", "a string")?;
    let name = name.ok_or_else(|| bad_field("/name", "a topic needs a \"name\"".to_owned()))?;
    path::topic_name(&name).map_err(|refused| bad_field("/name", refused.detail().to_owned()))?;
    let request = CreateTopic {
        name,
        partitions: ranged(&fields, "partitions", PARTITIONS_MAX)?,
        replication_factor: ranged(&fields, "replication_factor", REPLICATION_FACTOR_MAX)?,
        assignments: assignments(&fields)?,
        config: config(&fields)?
            .into_iter()
            .map(|(key, value)| value.map(|value| (key.clone(), value)).ok_or(key))
            .collect::<Result<_, String>>()
            .map_err(|key| bad_field(&pointer(&["config", &key]), format!("config {key:?} must have a value")))?,
    };
    agree(&request)?;
    Ok(request)
}

/// A request to change a topic.
fn alter_request(body: &[u8]) -> Result<AlterTopic, Problem> {
    let fields = Fields::parse(body, ALTER_FIELDS)?;
    if fields.is_empty() {
        return Err(bad_field("", "there is nothing to change; give \"partitions\" or \"config\"".to_owned()));
    }
    let partitions = ranged(&fields, "partitions", PARTITIONS_MAX)?;
    Ok(AlterTopic { partitions, assignments: None, config: config(&fields)? })
}

fn ranged(fields: &Fields<'_>, name: &str, max: u32) -> Result<Option<u32>, Problem> {
    let accepted = format!("a whole number from 1 to {max}");
    let given: Option<u64> = fields.get(name, &accepted)?;
    match given {
        None => Ok(None),
        Some(number) => match u32::try_from(number) {
            Ok(number) if (1..=max).contains(&number) => Ok(Some(number)),
            _ => Err(bad_field(&pointer(&[name]), format!("{name} must be {accepted}, not {number}"))),
        },
    }
}

/// The settings, as texts; numbers and booleans are taken by their text. Null resets a setting.
fn config(fields: &Fields<'_>) -> Result<BTreeMap<String, Option<String>>, Problem> {
    let mut config = BTreeMap::new();
    let Some(settings) = fields.within("config")? else { return Ok(config) };
    for (key, text) in settings.iter() {
        let value = match serde_json::from_str(text) {
            Ok(Value::Null) => None,
            Ok(Value::String(value)) => Some(value),
            Ok(Value::Number(_) | Value::Bool(_)) => Some(text.to_owned()),
            _ => {
                let detail =
                    format!("config {key:?} must be a string, a number, a boolean or null, not {}", shown(text));
                return Err(bad_field(&pointer(&["config", key]), detail));
            }
        };
        config.insert(key.to_owned(), value);
    }
    Ok(config)
}

fn assignments(fields: &Fields<'_>) -> Result<Option<Vec<Vec<NodeId>>>, Problem> {
    let accepted = "a list with the list of replicas of each partition, like [[1,2,3],[2,3,1]]";
    let given: Option<Vec<Vec<u64>>> = fields.get("assignments", accepted)?;
    Ok(given.map(|partitions| partitions.into_iter().map(|nodes| nodes.into_iter().map(NodeId).collect()).collect()))
}

/// Whether the parts of a request agree with each other.
fn agree(request: &CreateTopic) -> Result<(), Problem> {
    let Some(assignments) = &request.assignments else { return Ok(()) };
    if assignments.is_empty() || assignments.len() > PARTITIONS_MAX as usize {
        let detail = format!("assignments must be of 1 to {PARTITIONS_MAX} partitions, not {}", assignments.len());
        return Err(bad_field("/assignments", detail));
    }
    if let Some(partitions) = request.partitions
        && partitions as usize != assignments.len()
    {
        let detail = format!("assignments are of {} partitions, but partitions is {partitions}", assignments.len());
        return Err(bad_field("/assignments", detail));
    }
    let replicas = request.replication_factor.map_or(assignments[0].len(), |factor| factor as usize);
    for (partition, nodes) in assignments.iter().enumerate() {
        let at = pointer(&["assignments", &partition.to_string()]);
        if nodes.is_empty() || nodes.len() > REPLICATION_FACTOR_MAX as usize {
            let detail =
                format!("partition {partition} must have 1 to {REPLICATION_FACTOR_MAX} replicas, not {}", nodes.len());
            return Err(bad_field(&at, detail));
        }
        if nodes.len() != replicas {
            let detail = format!("partition {partition} has {} replicas where {replicas} are expected", nodes.len());
            return Err(bad_field(&at, detail));
        }
        if nodes.iter().collect::<HashSet<_>>().len() != nodes.len() {
            return Err(bad_field(&at, format!("partition {partition} names a node twice")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_in_full() {
        let body = br#"{"name":"t","partitions":2,"replication_factor":3,"assignments":[[1,2,3],[2,3,1]],
            "config":{"max.message.bytes":2097152,"a":"b","c":true}}"#;
        let request = create_request(body).unwrap();
        assert_eq!((request.name.as_str(), request.partitions, request.replication_factor), ("t", Some(2), Some(3)));
        assert_eq!(request.assignments.unwrap()[1], [NodeId(2), NodeId(3), NodeId(1)]);
        assert_eq!(request.config["max.message.bytes"], "2097152");
        assert_eq!(request.config["c"], "true");
        let request = create_request(br#"{"name":"t"}"#).unwrap();
        assert_eq!((request.partitions, request.replication_factor), (None, None));
        let request = alter_request(br#"{"config":{"max.message.bytes":null},"partitions":5}"#).unwrap();
        assert_eq!((request.partitions, &request.config["max.message.bytes"]), (Some(5), &None));
    }

    #[test]
    fn what_is_not_accepted_is_refused_by_field() {
        for (body, field) in [
            (r#"{}"#, "/name"),
            (r#"{"name":""}"#, "/name"),
            (r#"{"name":".."}"#, "/name"),
            (r#"{"name":"a b"}"#, "/name"),
            (r#"{"name":7}"#, "/name"),
            (r#"{"name":"t","partitions":0}"#, "/partitions"),
            (r#"{"name":"t","partitions":10001}"#, "/partitions"),
            (r#"{"name":"t","partitions":"3"}"#, "/partitions"),
            (r#"{"name":"t","partitions":1.5}"#, "/partitions"),
            (r#"{"name":"t","partitions":-1}"#, "/partitions"),
            (r#"{"name":"t","replication_factor":6}"#, "/replication_factor"),
            (r#"{"name":"t","replicas":3}"#, "/replicas"),
            (r#"{"name":"t","assignments":[]}"#, "/assignments"),
            (r#"{"name":"t","assignments":[1]}"#, "/assignments"),
            (r#"{"name":"t","partitions":2,"assignments":[[1]]}"#, "/assignments"),
            (r#"{"name":"t","assignments":[[1,2],[1]]}"#, "/assignments/1"),
            (r#"{"name":"t","assignments":[[1,1]]}"#, "/assignments/0"),
            (r#"{"name":"t","assignments":[[]]}"#, "/assignments/0"),
            (r#"{"name":"t","replication_factor":2,"assignments":[[1]]}"#, "/assignments/0"),
            (r#"{"name":"t","config":[]}"#, "/config"),
            (r#"{"name":"t","config":{"a":{}}}"#, "/config/a"),
            (r#"{"name":"t","config":{"a":null}}"#, "/config/a"),
            (r#"{"name":"t","config":{"a":1,"a":2}}"#, "/config/a"),
        ] {
            let problem = create_request(body.as_bytes()).unwrap_err();
            assert_eq!(problem.status(), 400, "{body}");
            assert_eq!(problem.member("field").and_then(Value::as_str), Some(field), "{body}");
        }
        assert!(alter_request(b"{}").is_err());
        assert!(alter_request(br#"{"name":"x"}"#).unwrap_err().detail().contains("partitions, config"));
    }

    #[test]
    fn times() {
        assert_eq!(time("earliest").unwrap(), ReadFrom::Earliest);
        assert_eq!(time("1700000000000").unwrap(), ReadFrom::Time(1_700_000_000_000));
        for bad in ["", "-1", "now", "99999999999999999999"] {
            assert!(time(bad).is_err(), "{bad}");
        }
    }
}
