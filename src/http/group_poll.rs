//! Groups over HTTP: poll, ack, renew, leave. No connection, no session: a member is a name, what it holds is a lease.

use super::fields::{self, Fields, bad_field};
use super::groups::{offsets_of, topics_of};
use super::path::GroupPath;
use super::problem::Problem;
use super::query::{Query, shown};
use super::render::{self, Format, Renderer};
use super::topics::json;
use super::{Answer, AppState, errors};
use crate::broker::groups::{Ack, GroupError, LeaseId, Request};
use crate::broker::{Poll, Polled, ReadFrom};
use axum::Router;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde::Serialize;
use std::ops::RangeInclusive;
use std::time::Duration;
use tokio::time::Instant;
use utoipa::ToSchema;
use uuid::Uuid;

/// The members of the requests.
pub const POLL_FIELDS: &[&str] = &["topics", "member", "from", "max_records", "max_bytes", "wait_ms", "lease_ms"];
pub const ACK_FIELDS: &[&str] = &["lease", "offsets", "release"];
pub const RENEW_FIELDS: &[&str] = &["lease", "lease_ms"];
pub const LEAVE_FIELDS: &[&str] = &["member"];

pub const MAX_RECORDS_DEFAULT: u64 = 500;
pub const MAX_RECORDS_MAX: u64 = 10_000;
pub const MAX_BYTES_DEFAULT: u64 = 1 << 20;
pub const MAX_BYTES_MAX: u64 = 8 << 20;
pub const WAIT_MS_MAX: u64 = 60_000;
pub const LEASE_MS_DEFAULT: u64 = 30_000;
pub const LEASE_MS_MAX: u64 = 12 * 60 * 60 * 1000;
/// Longest name of a member.
pub const MEMBER_LEN_MAX: usize = 255;

/// How long an answer may take besides waiting for records.
const PATIENCE: Duration = Duration::from_secs(15);

/// A lease that goes on.
#[derive(Serialize, ToSchema)]
pub struct LeaseAnswer {
    lease: String,
    /// For how long from now.
    lease_ms: u64,
}

/// What was acknowledged, or given back.
#[derive(Serialize, ToSchema)]
pub struct AckAnswer {
    lease: String,
    /// "acknowledged" or "released".
    done: &'static str,
}

/// A member that has left.
#[derive(Serialize, ToSchema)]
pub struct LeaveAnswer {
    member: String,
}

/// This module's routes.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/v1/groups/{group}/poll", post(poll))
        .route("/v1/groups/{group}/ack", post(ack))
        .route("/v1/groups/{group}/renew", post(renew))
        .route("/v1/groups/{group}/leave", post(leave))
}

async fn poll(
    State(app): State<AppState>,
    GroupPath(group): GroupPath,
    RawQuery(raw): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let query = Query::parse(raw.as_deref(), &["format"])?;
    let formats = Format::NAMES.map(|name| (name, Format::parse(name).unwrap_or_default()));
    let format = query.choice("format", &formats, Format::Auto)?;
    let body = fields::json_body(&app, &headers, body).await?;
    let made_up = format!("member-{:016x}", app.broker.random_below(u64::MAX));
    let poll = poll_of(group, made_up, &Fields::parse(&body, POLL_FIELDS)?)?;
    let stopping = app.tasks.stopping();
    let polled = tokio::select! {
        polled = app.broker.poll_group(&poll) => polled,
        // Nothing was handed out yet, so nothing is lost by an answer without records.
        () = stopping.cancelled() => Ok(Polled::default()),
    };
    let polled = polled.map_err(|error| errors::poll(error, &poll.group))?;
    Ok(polled_answer(&poll.member, &polled, format))
}

fn poll_of(group: String, made_up: String, fields: &Fields<'_>) -> Result<Poll, Problem> {
    let topics = topics_of(fields)?
        .ok_or_else(|| bad_field("/topics", "a poll needs \"topics\": the names of those to read".to_owned()))?;
    let from: Option<String> = fields.get("from", FROM_ACCEPTED)?;
    let from = match from.as_deref() {
        None | Some("earliest") => ReadFrom::Earliest,
        Some("latest") => ReadFrom::Latest,
        Some(other) => {
            return Err(bad_field("/from", format!("from must be {FROM_ACCEPTED}, not {}", shown(other))));
        }
    };
    let number = |name: &str, range: RangeInclusive<u64>, default: u64| ranged(fields, name, range, default);
    Ok(Poll {
        group,
        member: member_of(fields)?.unwrap_or(made_up),
        topics,
        from,
        max_records: number("max_records", 1..=MAX_RECORDS_MAX, MAX_RECORDS_DEFAULT)? as usize,
        max_bytes: number("max_bytes", 1..=MAX_BYTES_MAX, MAX_BYTES_DEFAULT)? as usize,
        wait: Duration::from_millis(number("wait_ms", 0..=WAIT_MS_MAX, 0)?),
        lease_ms: number("lease_ms", 1..=LEASE_MS_MAX, LEASE_MS_DEFAULT)? as i64,
    })
}

const FROM_ACCEPTED: &str = "\"earliest\" or \"latest\"";

fn ranged(fields: &Fields<'_>, name: &str, range: RangeInclusive<u64>, default: u64) -> Result<u64, Problem> {
    let accepted = format!("a whole number from {} to {}", range.start(), range.end());
    let given: Option<u64> = fields.get(name, &accepted)?;
    match given {
        None => Ok(default),
        Some(number) if range.contains(&number) => Ok(number),
        Some(number) => Err(bad_field(&format!("/{name}"), format!("{name} must be {accepted}, not {number}"))),
    }
}

fn member_of(fields: &Fields<'_>) -> Result<Option<String>, Problem> {
    let member: Option<String> = fields.get("member", "a name")?;
    let is_good = |name: &String| (1..=MEMBER_LEN_MAX).contains(&name.len()) && !name.chars().any(char::is_control);
    match member {
        Some(name) if !is_good(&name) => {
            let text = format!("member must have 1 to {MEMBER_LEN_MAX} bytes without control characters");
            Err(bad_field("/member", text))
        }
        member => Ok(member),
    }
}

fn lease_of(fields: &Fields<'_>) -> Result<(String, LeaseId), Problem> {
    let text: Option<String> = fields.get("lease", LEASE_ACCEPTED)?;
    let text = text.ok_or_else(|| bad_field("/lease", format!("\"lease\" is needed: {LEASE_ACCEPTED}")))?;
    match Uuid::try_parse(&text) {
        Ok(id) => Ok((text, LeaseId(id.as_u128()))),
        Err(_) => Err(bad_field("/lease", format!("lease must be {LEASE_ACCEPTED}, not {}", shown(&text)))),
    }
}

const LEASE_ACCEPTED: &str = "what a poll gave as \"lease\"";

/// `{"member", "lease", "records"}`; a record is as everywhere, with its topic in front.
fn polled_answer(member: &str, polled: &Polled, format: Format) -> Response {
    let renderer = Renderer::document(format);
    let mut out = Vec::with_capacity(256 + polled.records.len() * 160);
    out.extend_from_slice(b"{\"member\":");
    render::string(&mut out, member);
    out.extend_from_slice(b",\"lease\":");
    match polled.lease {
        Some(id) => render::string(&mut out, &Uuid::from_u128(id.0).to_string()),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"records\":[");
    let mut one = Vec::new();
    for (place, (topic, partition, record)) in polled.records.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        one.clear();
        renderer.record(&mut one, *partition, record);
        out.extend_from_slice(b"{\"topic\":");
        render::string(&mut out, &topic.name);
        out.push(b',');
        out.extend_from_slice(&one[1..]);
    }
    out.extend_from_slice(b"]}\n");
    (StatusCode::OK, [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], out).into_response()
}

async fn ack(
    State(app): State<AppState>,
    GroupPath(group): GroupPath,
    RawQuery(raw): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    Query::parse(raw.as_deref(), &[])?;
    let body = fields::json_body(&app, &headers, body).await?;
    let fields = Fields::parse(&body, ACK_FIELDS)?;
    let (text, lease) = lease_of(&fields)?;
    let release: Option<bool> = fields.get("release", "true or false")?;
    let release = release.unwrap_or(false);
    let ack = match (offsets_of(&fields)?, release) {
        (Some(_), true) => {
            let text = "a lease is acknowledged by \"offsets\" or given back by \"release\", not both at once";
            return Err(bad_field("/release", text.to_owned()));
        }
        (None, true) => Ack::Release,
        (None, false) => Ack::All,
        // Done up to and with the one that is named.
        (Some(offsets), false) => {
            Ack::Before(offsets.into_iter().map(|(at, offset)| (at, offset.saturating_add(1))).collect())
        }
    };
    let done = if release { "released" } else { "acknowledged" };
    ask(&app, &group, Request::Ack { group: group.clone(), lease, ack }).await?;
    Ok(json(StatusCode::OK, &AckAnswer { lease: text, done }))
}

async fn renew(
    State(app): State<AppState>,
    GroupPath(group): GroupPath,
    RawQuery(raw): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    Query::parse(raw.as_deref(), &[])?;
    let body = fields::json_body(&app, &headers, body).await?;
    let fields = Fields::parse(&body, RENEW_FIELDS)?;
    let (text, lease) = lease_of(&fields)?;
    let lease_ms = ranged(&fields, "lease_ms", 1..=LEASE_MS_MAX, LEASE_MS_DEFAULT)?;
    let request = Request::Renew { group: group.clone(), lease, duration_ms: lease_ms as i64 };
    ask(&app, &group, request).await?;
    Ok(json(StatusCode::OK, &LeaseAnswer { lease: text, lease_ms }))
}

async fn leave(
    State(app): State<AppState>,
    GroupPath(group): GroupPath,
    RawQuery(raw): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    Query::parse(raw.as_deref(), &[])?;
    let body = fields::json_body(&app, &headers, body).await?;
    let fields = Fields::parse(&body, LEAVE_FIELDS)?;
    let member = member_of(&fields)?
        .ok_or_else(|| bad_field("/member", "\"member\" is needed: the name that polls go by".to_owned()))?;
    ask(&app, &group, Request::Leave { group: group.clone(), member: member.clone() }).await?;
    Ok(json(StatusCode::OK, &LeaveAnswer { member }))
}

async fn ask(app: &AppState, group: &str, request: Request) -> Result<(), Problem> {
    let is_about_lease = matches!(request, Request::Ack { .. } | Request::Renew { .. });
    match app.broker.ask_group(group, request, false, Instant::now() + PATIENCE).await {
        Ok(_) => Ok(()),
        // Where there is no group there is no lease of it.
        Err(GroupError::UnknownGroup(_)) if is_about_lease => Err(errors::group(GroupError::UnknownLease, group)),
        Err(error) => Err(errors::group(error, group)),
    }
}
