//! `GET /v1/topics/{topic}/records`: reads of all partitions of a topic, from a cursor to the next.
//!
//! An answer ends where the partitions ended when it began. Records of one partition are in order and together; each
//! answer begins with another partition, so that none starves. Partitions that were added since the cursor was given
//! are read from their beginning.

use super::accept::{self, EVENTS, JSON, NDJSON};
use super::cursor::{Cursor, TEXT_BYTES_MAX};
use super::fetch::{budget, last_event_id, records_answer, unless_stopping};
use super::fetch_page::{self, Framing};
use super::fetch_query::ReadQuery;
use super::fetch_source::{Budget, Fetcher, Lane, Options, PIECE_BYTES, READ_PATIENCE, ReadError, Records, Source};
use super::path::TopicPath;
use super::problem::{self, Problem};
use super::render::{self, Renderer};
use super::{Answer, AppState, errors, sse};
use crate::broker::StoredBatches;
use crate::broker::{OffsetAt, ReadFrom, TopicView};
use crate::types::{Offset, PartitionId};
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use futures::StreamExt;
use futures::stream::{self, FuturesUnordered};
use tokio::time::Instant;

/// The forms that records of all partitions come in, the default first.
pub const TOPIC_FORMS: &[&str] = &[JSON, NDJSON, EVENTS];

/// `next_cursor`, for forms that have no other place for it.
pub const NEXT_CURSOR: HeaderName = HeaderName::from_static("balsa-next-cursor");

/// Leaders that are asked for their ends at a time.
const ASKED_AT_ONCE: usize = 32;

pub async fn read_topic(
    State(app): State<AppState>,
    TopicPath(name): TopicPath,
    RawQuery(raw): RawQuery,
    headers: HeaderMap,
) -> Answer {
    let mut query = ReadQuery::of_topic(raw.as_deref())?;
    let form = accept::choose(&headers, TOPIC_FORMS)?;
    let mut origin = "cursor";
    if form == EVENTS {
        query.wait_ms = 0;
        if let Some(id) = last_event_id(&headers)? {
            query.cursor = Some(id.to_owned());
            origin = "Last-Event-ID";
        }
    }
    let resolved = app.broker.resolve_topic(&name, false, Instant::now() + READ_PATIENCE).await;
    let topic = resolved.map_err(|error| errors::topic(error, &name))?;
    let cursor = match &query.cursor {
        Some(text) => Some(Cursor::decode(text, topic.id, topic.assignments.len(), origin)?),
        None => None,
    };
    let options = Options {
        topic: topic.clone(),
        isolation: query.isolation,
        linearizable: query.linearizable,
        piece_bytes: PIECE_BYTES,
    };
    let refused = |error: ReadError| errors::fetch(error.error, &topic.name, error.partition);
    let begin = begin(&app.broker, &options, &query, cursor.as_ref());
    let Begun { lanes, ready } = unless_stopping(&app.tasks.stopping(), begin).await?.map_err(refused)?;
    if form == EVENTS {
        // A cursor that a client could not send back would be a trap.
        cursor_header(&sse::cursor(topic.id, &lanes, None))?;
        let budget = Budget::new(query.limit.unwrap_or(u64::MAX), query.max_bytes.unwrap_or(u64::MAX));
        let (ids, renderer) = (sse::Ids::Cursors(topic.id), Renderer::line(query.format));
        let stopping = app.tasks.stopping();
        let follow = sse::Follow::new(app.broker.clone(), options, ids, lanes, renderer, budget, stopping);
        return Ok(records_answer(EVENTS, follow.into_body()));
    }
    let mut source = Source::new(app.broker.clone(), options, lanes);
    source.preload(ready);
    let records = Records::new(source, budget(&query));
    // An answer that lacked a partition would look complete, so an error ends all of it.
    if form == NDJSON {
        let page = fetch_page::records(records, Renderer::line(query.format), Framing::Lines, false).await;
        let page = page.map_err(refused)?;
        let next = cursor_header(&sse::cursor(topic.id, &page.lanes, page.current))?;
        return Ok(answer(NDJSON, next, page.into_body(Vec::new(), b"")));
    }
    let page = fetch_page::records(records, Renderer::document(query.format), Framing::Elements, false).await;
    let page = page.map_err(refused)?;
    let next = cursor_header(&sse::cursor(topic.id, &page.lanes, page.current))?;
    let before = document_begin(&topic, &next);
    Ok(answer(JSON, next, page.into_body(before, b"]}\n")))
}

fn document_begin(topic: &TopicView, next: &HeaderValue) -> Vec<u8> {
    let mut before = Vec::with_capacity(256);
    before.extend_from_slice(b"{\"topic\":");
    render::string(&mut before, &topic.name);
    before.extend_from_slice(b",\"next_cursor\":\"");
    before.extend_from_slice(next.as_bytes());
    before.extend_from_slice(b"\",\"records\":[");
    before
}

fn answer(media_type: &'static str, next: HeaderValue, body: Body) -> Response {
    let mut response = records_answer(media_type, body);
    response.headers_mut().insert(NEXT_CURSOR, next);
    response
}

/// The cursor as text, if a client can send it back in a request line.
fn cursor_header(cursor: &Cursor) -> Result<HeaderValue, Problem> {
    let text = cursor.encode();
    if text.len() > TEXT_BYTES_MAX {
        return Err(Problem::new(
            &problem::BAD_REQUEST,
            format!(
                "the topic's {} partitions are too many for one cursor; read them one by one with GET /v1/topics/{{topic}}/partitions/{{partition}}/records",
                cursor.positions.len()
            ),
        ));
    }
    Ok(HeaderValue::from_str(&text).expect("base64url has only characters that headers may have"))
}

/// A read that knows where it begins and ends.
pub struct Begun {
    pub lanes: Vec<Lane>,
    /// Fetched already, of the first lane.
    pub ready: Vec<StoredBatches>,
}

/// Finds where each partition begins and ends, and waits for records if there are none and waiting was asked for.
pub async fn begin<F: Fetcher>(
    fetcher: &F,
    options: &Options,
    query: &ReadQuery,
    cursor: Option<&Cursor>,
) -> Result<Begun, ReadError> {
    let ends = ends(fetcher, options).await?;
    let starts = starts(fetcher, options, query, cursor, &ends).await?;
    let lane = |(n, (&next, &end)): (usize, (&Offset, &Offset))| Lane {
        partition: PartitionId(u32::try_from(n).expect("partitions are numbered by u32")),
        next,
        end: end.max(next),
    };
    let mut lanes: Vec<Lane> = starts.iter().zip(&ends).enumerate().map(lane).collect();
    if let Some(cursor) = cursor.filter(|_| !lanes.is_empty()) {
        let first = cursor.first as usize % lanes.len();
        lanes.rotate_left(first);
    }
    let mut ready = Vec::new();
    if query.wait_ms > 0
        && lanes.iter().all(|lane| lane.left() == 0)
        && let Some((n, end, batches)) = wait_for_any(fetcher, options, &lanes, query.wait_ms).await?
    {
        lanes[n].end = end;
        lanes.rotate_left(n);
        ready = batches;
    }
    Ok(Begun { lanes, ready })
}

/// The high watermark of each partition.
async fn ends<F: Fetcher>(fetcher: &F, options: &Options) -> Result<Vec<Offset>, ReadError> {
    if !options.linearizable {
        return offsets(fetcher, options, ReadFrom::Latest).await;
    }
    let partitions = u32::try_from(options.topic.assignments.len()).expect("partitions are numbered by u32");
    let asked = stream::iter((0..partitions).map(PartitionId)).map(|partition| async move {
        let fetched = fetcher.fetch(options.fetch(partition, ReadFrom::Latest, 1, 0)).await;
        fetched.map(|fetched| fetched.high_watermark).map_err(|error| ReadError { partition: Some(partition), error })
    });
    let mut asked = asked.buffered(ASKED_AT_ONCE);
    let mut ends = Vec::with_capacity(options.topic.assignments.len());
    while let Some(end) = asked.next().await {
        ends.push(end?);
    }
    Ok(ends)
}

/// Where each partition begins.
async fn starts<F: Fetcher>(
    fetcher: &F,
    options: &Options,
    query: &ReadQuery,
    cursor: Option<&Cursor>,
    ends: &[Offset],
) -> Result<Vec<Offset>, ReadError> {
    if let Some(cursor) = cursor {
        let mut starts = cursor.positions.clone();
        if starts.len() < ends.len() {
            let earliest = offsets(fetcher, options, ReadFrom::Earliest).await?;
            starts.extend(earliest.into_iter().skip(cursor.positions.len()));
        }
        return Ok(starts);
    }
    match query.from {
        ReadFrom::Latest | ReadFrom::Tail(0) => Ok(ends.to_vec()),
        ReadFrom::Tail(count) => {
            let earliest = offsets(fetcher, options, ReadFrom::Earliest).await?;
            Ok(earliest.iter().zip(ends).map(|(&start, end)| start.max(Offset(end.0.saturating_sub(count)))).collect())
        }
        ReadFrom::Time(_) => {
            // A partition whose records are all older has its end as it is now, which may be beyond the one seen.
            let found = offsets(fetcher, options, query.from).await?;
            Ok(found.iter().zip(ends).map(|(&found, &end)| found.min(end)).collect())
        }
        ReadFrom::Earliest | ReadFrom::Offset(_) => offsets(fetcher, options, ReadFrom::Earliest).await,
    }
}

/// Offsets of all partitions, by partition.
async fn offsets<F: Fetcher>(fetcher: &F, options: &Options, at: ReadFrom) -> Result<Vec<Offset>, ReadError> {
    let deadline = Instant::now() + READ_PATIENCE;
    let found = fetcher.offsets(&options.topic, at, deadline).await;
    let found = found.map_err(|error| ReadError { partition: None, error })?;
    let mut offsets = vec![Offset(0); options.topic.assignments.len()];
    for OffsetAt { partition, offset, .. } in found {
        if let Some(slot) = offsets.get_mut(partition.0 as usize) {
            *slot = offset;
        }
    }
    Ok(offsets)
}

/// Waits until one of the lanes has records: which one, where it ends now, and the records.
async fn wait_for_any<F: Fetcher>(
    fetcher: &F,
    options: &Options,
    lanes: &[Lane],
    wait_ms: u64,
) -> Result<Option<(usize, Offset, Vec<StoredBatches>)>, ReadError> {
    // Several partitions may answer at the same moment; only one answer is kept, so each may be small.
    let options = Options { piece_bytes: 256 << 10, linearizable: false, ..options.clone() };
    let wait = |(n, lane): (usize, &Lane)| {
        let request = options.fetch(lane.partition, ReadFrom::Offset(lane.next), options.piece_bytes, wait_ms);
        let partition = lane.partition;
        async move { (n, partition, fetcher.fetch(request).await) }
    };
    let mut waiting: FuturesUnordered<_> = lanes.iter().enumerate().map(wait).collect();
    while let Some((n, partition, fetched)) = waiting.next().await {
        let fetched = fetched.map_err(|error| ReadError { partition: Some(partition), error })?;
        if !fetched.batches.is_empty() {
            return Ok(Some((n, fetched.high_watermark, fetched.batches)));
        }
    }
    Ok(None)
}
