//! Answers with records as bodies: gathered where they are small, streamed where they are large.
//!
//! Every answer says in its headers where the next read goes on (`Balsa-Next-Offset`, a cursor), before its first
//! record is sent. So a page is gathered up to [`GATHER_BYTES`]; where that is not all, the rest is *planned* (its end
//! is computed, or found by walking over it without rendering) and then streamed, piece by piece, as fast as the client
//! takes it. Memory per answer stays bounded, however much was asked for.
//!
//! What fails before the first byte is a problem; what fails later breaks the connection off, so that a cut answer
//! never looks complete.

use super::fetch_source::{Batches, Budget, Fetcher, Lane, ReadError, Records};
use super::render::Renderer;
use crate::broker::StoredBatches;
use crate::types::Offset;
use axum::body::Body;
use bytes::Bytes;
use futures::stream;
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Up to how many bytes an answer is put together before it is sent.
const GATHER_BYTES: usize = 2 << 20;

/// Bytes of one piece of a streamed answer; also what is rendered at a time before other tasks get a turn.
const SLICE_BYTES: usize = 64 << 10;

/// A `max_bytes` from here on is no bound at all: ends are computed instead of looked for.
const UNBOUNDED_BYTES: u64 = 1 << 40;

/// Where answers end that are bounded by `max_bytes` only beyond this: their end is looked for beforehand, and the
/// client waits meanwhile.
const PLANNED_BYTES_MAX: u64 = 1 << 30;

/// Batches smaller than this are copied together; larger ones are sent from where they are.
const COPY_BYTES_MAX: usize = 16 << 10;

/// How records follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Elements of a JSON array.
    Elements,
    /// A line each.
    Lines,
}

/// An answer whose end is known, ready to be sent.
pub struct Page<S> {
    /// What was put together already.
    pub gathered: VecDeque<Bytes>,
    /// What is still to be streamed behind it, if anything.
    rest: Option<S>,
    /// Where every lane will stand behind the last record.
    pub lanes: Vec<Lane>,
    /// The lane that the last record is from.
    pub current: Option<usize>,
}

/// What streams on: the records, and how to write them.
pub struct RecordRest<F> {
    records: Records<F>,
    writer: Writer,
}

/// Writes records one behind the other.
struct Writer {
    renderer: Renderer,
    framing: Framing,
    first: bool,
}

impl Writer {
    /// Writes records until `out` has `enough` bytes; `true` at the end of the read.
    async fn fill<F: Fetcher>(
        &mut self,
        records: &mut Records<F>,
        out: &mut Vec<u8>,
        enough: usize,
    ) -> Result<bool, ReadError> {
        let mut turn = out.len() + SLICE_BYTES;
        loop {
            while let Some((partition, record)) = records.next_at_hand()? {
                if self.framing == Framing::Elements && !self.first {
                    out.push(b',');
                }
                self.first = false;
                self.renderer.record(out, partition, &record);
                if self.framing == Framing::Lines {
                    out.push(b'\n');
                }
                if out.len() >= enough {
                    return Ok(false);
                }
                if out.len() >= turn {
                    turn = out.len() + SLICE_BYTES;
                    tokio::task::yield_now().await;
                }
            }
            if !records.open().await? {
                return Ok(true);
            }
        }
    }
}

/// Renders a page of records. `partial` allows a page that an error ends early, if it has a record at least: only where
/// the answer's headers tell that there is more.
pub async fn records<F: Fetcher>(
    mut records: Records<F>,
    renderer: Renderer,
    framing: Framing,
    partial: bool,
) -> Result<Page<RecordRest<F>>, ReadError> {
    let mut writer = Writer { renderer, framing, first: true };
    let mut out = Vec::new();
    let done = match writer.fill(&mut records, &mut out, GATHER_BYTES).await {
        Ok(done) => done,
        Err(_) if partial && !out.is_empty() => true,
        Err(error) => return Err(error),
    };
    let gathered = VecDeque::from([Bytes::from(out)]);
    if done || records.stopped() {
        let (lanes, current) = (records.source.lanes().to_vec(), records.source.current());
        return Ok(Page { gathered, rest: None, lanes, current });
    }
    let (lanes, current) = plan_records(&mut records).await?;
    Ok(Page { gathered, rest: Some(RecordRest { records, writer }), lanes, current })
}

/// Where a read of records will end.
async fn plan_records<F: Fetcher>(records: &mut Records<F>) -> Result<(Vec<Lane>, Option<usize>), ReadError> {
    if records.budget.bytes >= UNBOUNDED_BYTES {
        return Ok(project(records.source.lanes(), records.source.current(), records.budget.records));
    }
    records.budget.bytes = records.budget.bytes.min(PLANNED_BYTES_MAX);
    let mut ahead = records.fork();
    let mut steps = 0_u32;
    loop {
        while ahead.next_at_hand()?.is_some() {
            steps += 1;
            if steps.is_multiple_of(1024) {
                tokio::task::yield_now().await;
            }
        }
        if !ahead.open().await? {
            return Ok((ahead.source.lanes().to_vec(), ahead.source.current()));
        }
    }
}

/// Where lanes stand after `records` more: offsets have no holes, so this is arithmetic.
fn project(lanes: &[Lane], current: Option<usize>, mut records: u64) -> (Vec<Lane>, Option<usize>) {
    let mut lanes = lanes.to_vec();
    let mut at = current;
    for (n, lane) in lanes.iter_mut().enumerate().skip(current.unwrap_or(0)) {
        let given = lane.left().min(records);
        if given > 0 {
            at = Some(n);
        }
        lane.next = lane.next.plus(given);
        records -= given;
    }
    (lanes, at)
}

impl<F: Fetcher> Page<RecordRest<F>> {
    /// The body: `before`, the records, `behind`.
    pub fn into_body(self, before: Vec<u8>, behind: &'static [u8]) -> Body {
        let mut ready = self.gathered;
        ready.push_front(before.into());
        let Some(rest) = self.rest else {
            ready.push_back(Bytes::from_static(behind));
            return whole(ready);
        };
        Body::from_stream(stream::unfold((ready, Some(rest)), move |(mut ready, rest)| async move {
            if let Some(bytes) = ready.pop_front() {
                return Some((Ok(bytes), (ready, rest)));
            }
            let mut rest = rest?;
            let mut out = Vec::with_capacity(SLICE_BYTES + (SLICE_BYTES >> 2));
            match rest.writer.fill(&mut rest.records, &mut out, SLICE_BYTES).await {
                Ok(false) => Some((Ok(out.into()), (ready, Some(rest)))),
                Ok(true) => {
                    out.extend_from_slice(behind);
                    Some((Ok(out.into()), (ready, None)))
                }
                Err(error) => Some((Err(broken_off(&error)), (ready, None))),
            }
        }))
    }
}

/// Gathers a page of stored batches, unchanged.
pub async fn batches<F: Fetcher>(mut batches: Batches<F>) -> Result<Page<Batches<F>>, ReadError> {
    let mut gathered = VecDeque::new();
    let mut bytes = 0;
    let mut small = Vec::new();
    let mut done = false;
    while bytes < GATHER_BYTES && !done {
        match batches.next().await {
            Ok(Some(stored)) => {
                bytes += stored.len();
                push(&mut gathered, &mut small, stored);
            }
            Ok(None) => done = true,
            // The headers tell where this answer ends, so a shorter one is sound.
            Err(_) if bytes > 0 => done = true,
            Err(error) => return Err(error),
        }
    }
    flush(&mut gathered, &mut small);
    if done {
        let (lanes, current) = (batches.source.lanes().to_vec(), batches.source.current());
        return Ok(Page { gathered, rest: None, lanes, current });
    }
    let (lanes, current) = plan_batches(&mut batches).await?;
    Ok(Page { gathered, rest: Some(batches), lanes, current })
}

/// Where a read of batches will end.
async fn plan_batches<F: Fetcher>(batches: &mut Batches<F>) -> Result<(Vec<Lane>, Option<usize>), ReadError> {
    let Budget { records, bytes, .. } = batches.budget;
    let left: u64 = batches.source.lanes().iter().map(Lane::left).sum();
    if bytes >= UNBOUNDED_BYTES && records >= left {
        return Ok(project(batches.source.lanes(), batches.source.current(), left));
    }
    batches.budget.bytes = bytes.min(PLANNED_BYTES_MAX);
    let mut ahead = batches.fork();
    while ahead.next().await?.is_some() {}
    Ok((ahead.source.lanes().to_vec(), ahead.source.current()))
}

impl<F: Fetcher> Page<Batches<F>> {
    /// The body: the batches, one behind the other.
    pub fn into_body(self) -> Body {
        let ready = self.gathered;
        let Some(rest) = self.rest else { return whole(ready) };
        Body::from_stream(stream::unfold((ready, Some(rest)), |(mut ready, rest)| async move {
            if let Some(bytes) = ready.pop_front() {
                return Some((Ok(bytes), (ready, rest)));
            }
            let mut batches = rest?;
            let mut small = Vec::new();
            while ready.is_empty() && small.len() < SLICE_BYTES {
                match batches.next().await {
                    Ok(Some(stored)) => push(&mut ready, &mut small, stored),
                    Ok(None) => break,
                    Err(error) => return Some((Err(broken_off(&error)), (ready, None))),
                }
            }
            flush(&mut ready, &mut small);
            let bytes = ready.pop_front()?;
            Some((Ok(bytes), (ready, Some(batches))))
        }))
    }
}

/// Queues a batch: small ones copied together, large ones as they are (only their 16 stamped bytes are copied).
fn push(queue: &mut VecDeque<Bytes>, small: &mut Vec<u8>, stored: StoredBatches) {
    small.extend_from_slice(&stored.prefix);
    if stored.rest.len() <= COPY_BYTES_MAX {
        small.extend_from_slice(&stored.rest);
        if small.len() >= SLICE_BYTES {
            flush(queue, small);
        }
    } else {
        flush(queue, small);
        queue.push_back(stored.rest);
    }
}

fn flush(queue: &mut VecDeque<Bytes>, small: &mut Vec<u8>) {
    if !small.is_empty() {
        queue.push_back(std::mem::take(small).into());
    }
}

/// Ends a body that was begun.
fn broken_off(error: &ReadError) -> io::Error {
    tracing::warn!(partition = error.partition.map(|p| p.0), error = %error.error, "an answer was broken off");
    io::Error::other(error.error.to_string())
}

/// The offset that a read of one partition goes on at.
pub fn next_offset<S>(page: &Page<S>) -> Offset {
    page.lanes.first().map_or(Offset(0), |lane| lane.next)
}

/// A body that is all here, so that it has a Content-Length.
pub fn whole(mut chunks: VecDeque<Bytes>) -> Body {
    chunks.retain(|chunk| !chunk.is_empty());
    let left = chunks.iter().map(|chunk| chunk.len() as u64).sum();
    Body::new(Whole { chunks, left })
}

struct Whole {
    chunks: VecDeque<Bytes>,
    left: u64,
}

impl http_body::Body for Whole {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        Poll::Ready(self.chunks.pop_front().map(|chunk| {
            self.left -= chunk.len() as u64;
            Ok(http_body::Frame::data(chunk))
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.chunks.is_empty()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.left)
    }
}
