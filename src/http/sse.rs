//! Server-sent events: follows one partition, or all of a topic, for ever.
//!
//! A record is an event, `id:` its offset (or, for all partitions, the cursor behind it), `data:` the record on one
//! line. Everything happens when the client takes what was written before: nothing is read ahead beyond one piece per
//! partition, so a slow reader costs bounded memory and nobody else's time. What is waiting at the leader arrives at
//! once: each partition has a fetch parked there.
//!
//! A partition that is without a leader for a while is a pause, not an end. What cannot get better (the topic was
//! deleted, retention overtook the reader) ends the stream with an event named `problem`. The node's stop ends it too.

use super::cursor::Cursor;
use super::errors;
use super::fetch_source::{Budget, Fetcher, Lane, OpenBatch, Options, PIECE_BYTES, ReadError, record_bytes};
use super::render::{self, Renderer};
use crate::broker::StoredBatches;
use crate::broker::{FetchError, Fetched, ReadFrom};
use crate::types::{Offset, PartitionId, TopicId};
use axum::body::Body;
use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::{self, FuturesUnordered};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// How often a comment shows that the connection lives.
pub const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How often a read of all partitions looks for new ones.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long one fetch is parked at the leader.
const PARK_MS: u64 = 30_000;

/// How long an offset may be beyond what the leader knows: a new leader learns what is committed within moments.
const AHEAD_MAX: Duration = Duration::from_secs(10);

/// Bytes that one step writes at most, but for one record.
const SLICE_BYTES: usize = 64 << 10;

/// Bytes that the parked fetches of one stream may bring all together.
const PARKED_BYTES_MAX: usize = 8 << 20;

/// What the ids of events are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ids {
    /// The record's offset, for one partition.
    Offsets,
    /// The cursor behind the record, for all partitions of a topic.
    Cursors(TopicId),
}

type Parked = BoxFuture<'static, (usize, Result<Fetched, FetchError>)>;

/// A stream of events.
pub struct Follow<F> {
    fetcher: F,
    options: Options,
    ids: Ids,
    lanes: Vec<Lane>,
    renderer: Renderer,
    budget: Budget,
    stopping: CancellationToken,
    parked: FuturesUnordered<Parked>,
    /// Lanes without a parked fetch; they get one once everything at hand is written.
    idle: Vec<usize>,
    ready: VecDeque<(usize, StoredBatches)>,
    open: Option<(usize, OpenBatch)>,
    keep_alive: Duration,
    ticks: Interval,
    commented: Instant,
    ended: bool,
}

impl<F: Fetcher> Follow<F> {
    /// Follows `lanes` from where they stand; their ends don't matter.
    pub fn new(
        fetcher: F,
        mut options: Options,
        ids: Ids,
        lanes: Vec<Lane>,
        renderer: Renderer,
        budget: Budget,
        stopping: CancellationToken,
    ) -> Follow<F> {
        // The quorum was asked where the stream began; behind that only what is new matters.
        options.linearizable = false;
        options.piece_bytes = (PARKED_BYTES_MAX / lanes.len().max(1)).clamp(16 << 10, PIECE_BYTES);
        let look_every = if ids == Ids::Offsets { KEEP_ALIVE } else { LOOK_EVERY };
        Follow {
            fetcher,
            options,
            ids,
            idle: (0..lanes.len()).collect(),
            lanes,
            renderer,
            budget,
            stopping,
            parked: FuturesUnordered::new(),
            ready: VecDeque::new(),
            open: None,
            keep_alive: KEEP_ALIVE,
            ticks: ticks(look_every),
            commented: Instant::now(),
            ended: false,
        }
    }

    /// Comments and looks at another pace, for tests.
    #[cfg(test)]
    pub fn at_pace(mut self, keep_alive: Duration, look_every: Duration) -> Follow<F> {
        self.keep_alive = keep_alive;
        self.ticks = ticks(look_every);
        self
    }

    /// Puts in what was fetched already for a lane.
    pub fn preloaded(mut self, lane: usize, batches: Vec<StoredBatches>) -> Follow<F> {
        self.ready.extend(batches.into_iter().map(|batches| (lane, batches)));
        self
    }

    /// The answer's body.
    pub fn into_body(self) -> Body {
        Body::from_stream(stream::unfold(self, |mut follow| async move {
            let bytes = follow.step().await?;
            Some((Ok::<Bytes, Infallible>(bytes), follow))
        }))
    }

    /// What is to be written next; `None` at the end.
    pub async fn step(&mut self) -> Option<Bytes> {
        loop {
            if self.ended {
                return None;
            }
            match self.write_ready() {
                Ok(out) if !out.is_empty() => return Some(out.into()),
                Ok(_) if self.ended => return None,
                Ok(_) => {}
                Err(error) => return Some(self.end(error)),
            }
            self.park();
            tokio::select! {
                biased;
                () = self.stopping.cancelled() => return None,
                now = self.ticks.tick() => {
                    self.look_for_partitions();
                    if now.duration_since(self.commented) >= self.keep_alive {
                        self.commented = now;
                        return Some(Bytes::from_static(b": keep-alive\n\n"));
                    }
                }
                Some((lane, result)) = self.parked.next() => match result {
                    Ok(fetched) => {
                        self.idle.push(lane);
                        self.ready.extend(fetched.batches.into_iter().map(|batches| (lane, batches)));
                    }
                    Err(error) => {
                        let partition = Some(self.lanes[lane].partition);
                        return Some(self.end(ReadError { partition, error }));
                    }
                },
            }
        }
    }

    /// Writes what is at hand, up to a slice.
    fn write_ready(&mut self) -> Result<Vec<u8>, ReadError> {
        let mut out = Vec::new();
        while out.len() < SLICE_BYTES {
            let Some((n, open)) = &mut self.open else {
                let Some((n, batches)) = self.ready.pop_front() else { break };
                let lane = Lane { end: Offset(u64::MAX), ..self.lanes[n] };
                if batches.next_offset() > lane.next {
                    self.open = Some((n, OpenBatch::open(lane, batches)));
                }
                continue;
            };
            let n = *n;
            match open.next_record()? {
                Some(record) if self.budget.take(1, record_bytes(&record)) => {
                    self.lanes[n].next = record.offset.plus(1);
                    out.extend_from_slice(b"id: ");
                    self.write_id(&mut out, n, record.offset);
                    out.extend_from_slice(b"\ndata: ");
                    self.renderer.record(&mut out, self.lanes[n].partition, &record);
                    out.extend_from_slice(b"\n\n");
                }
                Some(_) => {
                    self.ended = true;
                    break;
                }
                None => {
                    self.lanes[n].next = self.lanes[n].next.max(open.behind);
                    self.open = None;
                }
            }
        }
        self.ended |= self.budget.records == 0;
        Ok(out)
    }

    fn write_id(&self, out: &mut Vec<u8>, lane: usize, offset: Offset) {
        match self.ids {
            Ids::Offsets => render::number(out, offset.0),
            Ids::Cursors(topic) => out.extend_from_slice(cursor(topic, &self.lanes, Some(lane)).encode().as_bytes()),
        }
    }

    /// Gives every idle lane a fetch at its leader.
    fn park(&mut self) {
        while let Some(n) = self.idle.pop() {
            let (fetcher, options, lane) = (self.fetcher.clone(), self.options.clone(), self.lanes[n]);
            self.parked.push(Box::pin(async move { (n, wait_for_records(&fetcher, &options, lane).await) }));
        }
    }

    /// Takes partitions in that the topic got meanwhile: from their beginning, so that nothing is missed.
    fn look_for_partitions(&mut self) {
        let Ids::Cursors(id) = self.ids else { return };
        let Some(topic) = self.fetcher.topic(&self.options.topic.name).filter(|topic| topic.id == id) else { return };
        for partition in self.lanes.len()..topic.assignments.len() {
            let partition = PartitionId(u32::try_from(partition).expect("partitions are numbered by u32"));
            self.idle.push(self.lanes.len());
            self.lanes.push(Lane { partition, next: Offset(0), end: Offset(0) });
        }
        self.options.topic = topic;
    }

    /// Ends the stream with the event that says why.
    fn end(&mut self, error: ReadError) -> Bytes {
        self.ended = true;
        let problem = errors::fetch(error.error, &self.options.topic.name, error.partition);
        tracing::info!(topic = self.options.topic.name, %problem, "a stream of events ended");
        format!("event: problem\ndata: {}\n\n", problem.to_value()).into()
    }
}

fn ticks(period: Duration) -> Interval {
    let mut ticks = tokio::time::interval_at(Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// The cursor where lanes stand; the next read begins behind the lane that was read last.
pub fn cursor(topic: TopicId, lanes: &[Lane], current: Option<usize>) -> Cursor {
    let mut positions = vec![Offset(0); lanes.len()];
    for lane in lanes {
        if let Some(position) = positions.get_mut(lane.partition.0 as usize) {
            *position = lane.next;
        }
    }
    let first = current.and_then(|at| lanes.get((at + 1) % lanes.len())).map_or(0, |lane| lane.partition.0);
    Cursor { topic, first, positions }
}

/// The next records of a lane, however long that takes; an error that time does not heal.
async fn wait_for_records<F: Fetcher>(fetcher: &F, options: &Options, lane: Lane) -> Result<Fetched, FetchError> {
    let begun = Instant::now();
    loop {
        let request = options.fetch(lane.partition, ReadFrom::Offset(lane.next), options.piece_bytes, PARK_MS);
        let pause_ms = match fetcher.fetch(request).await {
            // The whole wait is over, mostly; where it is not, this must not become a busy loop.
            Ok(fetched) if fetched.batches.is_empty() => 20,
            Ok(fetched) => return Ok(fetched),
            Err(FetchError::Unavailable { retry_after_ms, .. } | FetchError::Overloaded { retry_after_ms, .. }) => {
                retry_after_ms.clamp(50, 1000)
            }
            Err(FetchError::OutOfRange { offset, high_watermark, .. })
                if offset > high_watermark && begun.elapsed() < AHEAD_MAX =>
            {
                50
            }
            Err(error) => return Err(error),
        };
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
    }
}

#[cfg(test)]
#[path = "sse_tests.rs"]
mod tests;
