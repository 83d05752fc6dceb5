//! `GET /v1/topics/{topic}/partitions/{partition}/records`: reads of one partition, in every form.
//!
//! The first fetch decides everything that can be refused; what follows it is [`super::fetch_page`] or [`super::sse`].

use super::accept::{self, BATCHES, EVENTS, JSON, NDJSON, OCTETS};
use super::fetch_page::{self, Framing, Page};
use super::fetch_query::{LIMIT_DEFAULT, MAX_BYTES_DEFAULT, ReadQuery};
use super::fetch_source::{
    Batches, Budget, Fetcher, Lane, Options, PIECE_BYTES, READ_PATIENCE, ReadError, Records, Source,
};
use super::path::PartitionPath;
use super::problem::{self, Problem};
use super::query::{bad_parameter, number};
use super::render::{self, Renderer};
use super::{Answer, AppState, errors, fetch_topic, fetch_value, sse};
use crate::broker::{Fetched, ReadFrom};
use crate::types::{Offset, PartitionId};
use axum::Router;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::Response;
use axum::routing::get;
use std::future::Future;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The forms that records of one partition come in, the default first.
pub const PARTITION_FORMS: &[&str] = &[JSON, NDJSON, EVENTS, BATCHES, OCTETS];

/// Where the log stands, on every answer that reads one partition.
pub const HIGH_WATERMARK: HeaderName = HeaderName::from_static("balsa-high-watermark");
pub const LOG_START_OFFSET: HeaderName = HeaderName::from_static("balsa-log-start-offset");
pub const NEXT_OFFSET: HeaderName = HeaderName::from_static("balsa-next-offset");
pub const LEADER: HeaderName = HeaderName::from_static("balsa-leader");

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// This module's routes.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/v1/topics/{topic}/partitions/{partition}/records", get(read_partition))
        .route("/v1/topics/{topic}/records", get(fetch_topic::read_topic))
}

/// The answer's first fetch, and what the rest of it needs.
struct Begun {
    options: Options,
    partition: PartitionId,
    first: Fetched,
}

impl Begun {
    /// A source that has what was fetched already.
    fn source<F: Fetcher>(&mut self, fetcher: F) -> Source<F> {
        let lane = Lane { partition: self.partition, next: self.first.start_offset, end: self.first.high_watermark };
        let mut source = Source::new(fetcher, self.options.clone(), vec![lane]);
        source.preload(std::mem::take(&mut self.first.batches));
        source
    }

    fn problem(&self, error: ReadError) -> Problem {
        errors::fetch(error.error, &self.options.topic.name, error.partition)
    }
}

async fn read_partition(
    State(app): State<AppState>,
    PartitionPath(topic, partition): PartitionPath,
    RawQuery(raw): RawQuery,
    headers: HeaderMap,
) -> Answer {
    let mut query = ReadQuery::of_partition(raw.as_deref())?;
    let form = accept::choose(&headers, PARTITION_FORMS)?;
    if form == OCTETS && query.limit != Some(1) {
        let given = query.limit.map_or_else(String::new, |limit| limit.to_string());
        return Err(bad_parameter(
            "limit",
            &given,
            "1 with Accept: application/octet-stream, which answers with one value",
        ));
    }
    if form == EVENTS {
        if let Some(id) = last_event_id(&headers)? {
            query.from = ReadFrom::Offset(event_offset(id)?);
        }
        query.wait_ms = 0;
    }
    let deadline = Instant::now() + READ_PATIENCE;
    let resolved = app.broker.resolve_topic(&topic, false, deadline).await;
    let topic = resolved.map_err(|error| errors::topic(error, &topic))?;
    let options =
        Options { topic, isolation: query.isolation, linearizable: query.linearizable, piece_bytes: PIECE_BYTES };
    let budget = budget(&query);
    let wanted = usize::try_from(budget.bytes_wanted()).unwrap_or(usize::MAX);
    let request = options.fetch(partition, query.from, wanted, query.wait_ms);
    let first = unless_stopping(&app.tasks.stopping(), app.broker.fetch(request)).await?;
    let first = first.map_err(|error| errors::fetch(error, &options.topic.name, Some(partition)))?;
    let mut begun = Begun { options, partition, first };
    match form {
        EVENTS => Ok(events(&app, begun, &query)),
        BATCHES => {
            let batches = Batches::new(begun.source(app.broker.clone()), budget);
            let page = fetch_page::batches(batches).await.map_err(|error| begun.problem(error))?;
            let next = fetch_page::next_offset(&page);
            Ok(answer(BATCHES, &begun.first, next, page.into_body()))
        }
        OCTETS => {
            let mut records = Records::new(begun.source(app.broker.clone()), budget);
            let record = fetch_value::first_record(&mut records).await.map_err(|error| begun.problem(error))?;
            let next = records.source.lanes()[0].next;
            let mut response = answer(OCTETS, &begun.first, next, Body::empty());
            fetch_value::put(&mut response, record);
            Ok(response)
        }
        _ => {
            let records = Records::new(begun.source(app.broker.clone()), budget);
            if form == NDJSON {
                let page = fetch_page::records(records, Renderer::line(query.format), Framing::Lines, true).await;
                let page = page.map_err(|error| begun.problem(error))?;
                let next = fetch_page::next_offset(&page);
                return Ok(answer(NDJSON, &begun.first, next, page.into_body(Vec::new(), b"")));
            }
            let page = fetch_page::records(records, Renderer::document(query.format), Framing::Elements, true).await;
            let page = page.map_err(|error| begun.problem(error))?;
            Ok(document(&begun, page))
        }
    }
}

/// How much an answer may have.
pub fn budget(query: &ReadQuery) -> Budget {
    Budget::new(query.limit.unwrap_or(LIMIT_DEFAULT), query.max_bytes.unwrap_or(MAX_BYTES_DEFAULT))
}

/// Waits, unless the node stops: nobody may be kept waiting then.
pub async fn unless_stopping<T>(stopping: &CancellationToken, work: impl Future<Output = T>) -> Result<T, Problem> {
    tokio::select! {
        biased;
        done = work => Ok(done),
        () = stopping.cancelled() => Err(Problem::new(
            &problem::STOPPING,
            "the node is stopping and takes no reads any more; ask another node, or retry",
        )
        .retry_after_ms(1000)),
    }
}

/// `Last-Event-ID`, as clients send it when they come back.
pub fn last_event_id(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let Some(value) = headers.get(LAST_EVENT_ID) else { return Ok(None) };
    match value.to_str() {
        Ok(text) if text.trim().is_empty() => Ok(None),
        Ok(text) => Ok(Some(text.trim())),
        Err(_) => Err(bad_event_id("?")),
    }
}

/// The offset behind the event that a client saw last.
fn event_offset(id: &str) -> Result<Offset, Problem> {
    number(id).and_then(|seen| seen.checked_add(1)).map(Offset).ok_or_else(|| bad_event_id(id))
}

fn bad_event_id(shown: &str) -> Problem {
    Problem::new(
        &problem::BAD_HEADER,
        format!(
            "header Last-Event-ID: {} is not accepted: it takes the id of the last event that was seen, here an offset",
            super::query::shown(shown)
        ),
    )
    .with("header", "Last-Event-ID")
}

fn events(app: &AppState, mut begun: Begun, query: &ReadQuery) -> Response {
    let start = begun.first.start_offset;
    let batches = std::mem::take(&mut begun.first.batches);
    let lane = Lane { partition: begun.partition, next: start, end: begun.first.high_watermark };
    let budget = Budget::new(query.limit.unwrap_or(u64::MAX), query.max_bytes.unwrap_or(u64::MAX));
    let follow = sse::Follow::new(
        app.broker.clone(),
        begun.options,
        sse::Ids::Offsets,
        vec![lane],
        Renderer::line(query.format),
        budget,
        app.tasks.stopping(),
    );
    answer(EVENTS, &begun.first, start, follow.preloaded(0, batches).into_body())
}

/// The JSON document around a page of records.
fn document<F: Fetcher>(begun: &Begun, page: Page<fetch_page::RecordRest<F>>) -> Response {
    let next = fetch_page::next_offset(&page);
    let mut before = Vec::with_capacity(192);
    before.extend_from_slice(b"{\"topic\":");
    render::string(&mut before, &begun.options.topic.name);
    for (name, value) in [
        ("partition", u64::from(begun.partition.0)),
        ("log_start_offset", begun.first.log_start_offset.0),
        ("high_watermark", begun.first.high_watermark.0),
        ("next_offset", next.0),
    ] {
        before.extend_from_slice(b",\"");
        before.extend_from_slice(name.as_bytes());
        before.extend_from_slice(b"\":");
        render::number(&mut before, value);
    }
    before.extend_from_slice(b",\"records\":[");
    answer(JSON, &begun.first, next, page.into_body(before, b"]}\n"))
}

/// An answer with the headers that say where the log stands.
fn answer(media_type: &'static str, log: &Fetched, next: Offset, body: Body) -> Response {
    let mut response = records_answer(media_type, body);
    let headers = response.headers_mut();
    headers.insert(HIGH_WATERMARK, log.high_watermark.0.into());
    headers.insert(LOG_START_OFFSET, log.log_start_offset.0.into());
    headers.insert(NEXT_OFFSET, next.0.into());
    headers.insert(LEADER, log.leader.0.into());
    response
}

/// An answer whose form depends on `Accept` and that no cache may keep.
pub fn records_answer(media_type: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
