//! Streams of records, one a line: appended while they arrive, acknowledged while more of them come.
//!
//! Purpose: what was parsed from the bytes that arrived is a run; a run becomes one batch for each partition in it. A
//! bounded number of runs is on its way at a time, and while that many are, arriving lines gather in the next one.
//!
//! Invariants: runs are handed to the broker in order, each before the next, so the records of one partition keep
//! their order; a run is reported once it is appended in all its partitions, in order, so `through_line` covers all
//! lines before it; memory is bounded by the runs on their way, one incomplete line, and the outbox.

use super::body::Encoding;
use super::json_record::{self, RecordParser};
use super::ndjson_lines::{Lines, Source};
use super::ndjson_outbox::{Outbox, Reader};
use super::problem::{self, Problem};
use super::produce::Asked;
use super::produce_plan::{Plan, Spread};
use super::{Answer, AppState, Streamed, errors};
use crate::broker::{Broker, Produce, ProduceError, ProduceRecords, Produced, TopicView};
use crate::tasks::OnPanic;
use crate::types::PartitionId;
use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use futures::future::{BoxFuture, join_all};
use futures::stream::{FuturesOrdered, StreamExt};
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Runs that are on their way at a time.
const RUNS_IN_FLIGHT_MAX: usize = 8;

/// A run that has so many bytes takes no more lines.
const RUN_BYTES_MAX: usize = 1 << 20;

/// Answers 200 and appends what the body brings, in a task of its own: it must not depend on how the client reads.
/// With `await_body`, the answer waits for the first bytes: the client asked for a go-ahead, which must come first.
pub async fn stream(
    app: AppState,
    asked: Asked,
    topic: Arc<TopicView>,
    source: (Body, Encoding),
    await_body: bool,
) -> Answer {
    let outbox = Arc::new(Outbox::default());
    let (began, first_bytes) = oneshot::channel();
    let spread = Spread {
        keyless: PartitionId(0),
        key_partitions: topic.assignments.len() as u32,
        topic,
        fixed: asked.partition,
        now_ms: 0,
        listed: false,
    };
    let stream = Stream {
        lines: Lines::new(app.config.line_bytes_max),
        source: Source::new(source.0, source.1),
        parser: RecordParser::default(),
        run: Run::default(),
        in_flight: FuturesOrdered::new(),
        outbox: outbox.clone(),
        ending: None,
        append_failed: false,
        records: 0,
        skipped: 0,
        spread,
        asked,
        app: app.clone(),
    };
    app.tasks.spawn("ndjson stream", OnPanic::Log, stream.drive(began));
    if await_body {
        // Whether bytes came or the stream ended: the answer can begin.
        let _ = first_bytes.await;
    }
    let lines = futures::stream::unfold(Reader(outbox), |reader| async {
        let bytes = reader.next().await?;
        Some((Ok::<_, std::convert::Infallible>(bytes), reader))
    });
    let mut response = Response::new(Body::from_stream(lines));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    response.extensions_mut().insert(Streamed);
    Ok(response)
}

/// Lines that were parsed and not yet handed to the broker.
#[derive(Default)]
struct Run {
    plan: Plan,
    bytes: usize,
    first_line: u64,
}

/// What became of a run.
struct Settled {
    first_line: u64,
    last_line: u64,
    parts: Vec<(PartitionId, u64, Result<Produced, ProduceError>)>,
}

/// Why no more lines are taken.
enum Ending {
    /// The body is complete.
    Complete,
    /// The line that could not be taken, and why.
    Failed(u64, Problem),
}

struct Stream {
    app: AppState,
    asked: Asked,
    spread: Spread,
    source: Source,
    lines: Lines,
    parser: RecordParser,
    run: Run,
    in_flight: FuturesOrdered<BoxFuture<'static, Settled>>,
    outbox: Arc<Outbox>,
    ending: Option<Ending>,
    /// Some run was not appended: `through_line` stays where it is.
    append_failed: bool,
    records: u64,
    skipped: u64,
}

impl Stream {
    /// Runs the stream to its end.
    async fn drive(mut self, began: oneshot::Sender<()>) {
        let mut began = Some(began);
        let stopping = self.app.tasks.stopping();
        // A stream may be quiet for as long as a connection may be.
        let pause_max = self.app.config.idle_timeout;
        loop {
            if self.run.bytes > 0 && self.in_flight.len() < RUNS_IN_FLIGHT_MAX {
                self.send_run().await;
            }
            if self.ending.is_some() && self.run.bytes == 0 && self.in_flight.is_empty() {
                return self.finish();
            }
            let full = self.outbox.is_full();
            let reads = self.ending.is_none() && self.run.bytes < RUN_BYTES_MAX && !full;
            tokio::select! {
                Some(settled) = self.in_flight.next() => self.settle(settled),
                data = self.source.next(pause_max), if reads => {
                    began.take();
                    self.arrived(data);
                }
                () = self.outbox.emptied() => {
                    if self.outbox.is_gone() {
                        self.ending.get_or_insert(Ending::Complete);
                    }
                }
                () = stopping.cancelled(), if self.ending.is_none() => self.stop(),
            }
        }
    }

    fn arrived(&mut self, data: Result<Option<bytes::Bytes>, Problem>) {
        match data {
            Ok(Some(data)) => self.take(|lines, taker| lines.feed(&data, taker)),
            Ok(None) => {
                self.take(|lines, taker| lines.end(taker));
                self.ending.get_or_insert(Ending::Complete);
            }
            Err(problem) => self.fail(self.lines.complete() + 1, problem),
        }
    }

    fn stop(&mut self) {
        let problem =
            Problem::new(&problem::STOPPING, "the node is stopping; go on with another node, from the line given")
                .retry_after_ms(1000);
        self.fail(self.lines.complete() + 1, problem);
    }

    fn fail(&mut self, line: u64, problem: Problem) {
        self.ending.get_or_insert(Ending::Failed(line, problem));
    }

    /// Puts the lines that `feed` finds into the run.
    fn take(&mut self, feed: impl FnOnce(&mut Lines, &mut LineTaker<'_>) -> Result<(), (u64, Problem)>) {
        if self.run.bytes == 0 {
            self.begin_run();
        }
        let Stream { run, parser, spread, outbox, skipped, asked, .. } = self;
        let mut taker = |number: u64, line: Result<&[u8], Problem>| {
            let taken = line.and_then(|line| {
                json_record::parse_line(parser, line, |record| run.plan.add(spread, 0, record))?;
                run.bytes += line.len();
                Ok(())
            });
            match taken {
                Ok(()) => Ok(()),
                Err(problem) if asked.options.skip_bad_lines => {
                    *skipped += 1;
                    outbox.skipped(number, problem);
                    Ok(())
                }
                Err(problem) => Err((number, problem)),
            }
        };
        if let Err((line, problem)) = feed(&mut self.lines, &mut taker) {
            self.fail(line, problem);
        }
    }

    fn begin_run(&mut self) {
        let topic = &self.spread.topic;
        self.spread.keyless = self.app.sticky.batch(topic.id, topic.assignments.len() as u32);
        self.spread.now_ms = self.app.broker.now_ms();
        self.run = Run { plan: Plan::new(), bytes: 0, first_line: self.lines.complete() + 1 };
    }

    /// Hands the run to the broker, which orders the requests to a partition as they are first polled.
    async fn send_run(&mut self) {
        let Run { plan, first_line, .. } = std::mem::take(&mut self.run);
        let last_line = match &self.ending {
            Some(Ending::Failed(line, _)) => self.lines.complete().min(line - 1),
            _ => self.lines.complete(),
        };
        let broker = self.app.broker.clone();
        let deadline = Instant::now() + self.asked.options.timeout;
        let topic = self.spread.topic.clone();
        let acks = self.asked.options.acks;
        let mut produced: BoxFuture<'static, Settled> = Box::pin(async move {
            let parts = plan.parts.into_iter().map(|part| {
                let count = part.set.len() as u64;
                let request = Produce {
                    topic: topic.clone(),
                    partition: part.partition,
                    records: ProduceRecords::Set(part.set),
                    acks,
                    deadline,
                    expected_offset: None,
                    idempotency: None,
                };
                produce_part(broker.clone(), count, request)
            });
            Settled { first_line, last_line, parts: join_all(parts).await }
        });
        match futures::poll!(&mut produced) {
            std::task::Poll::Ready(settled) => self.in_flight.push_back(Box::pin(std::future::ready(settled))),
            std::task::Poll::Pending => self.in_flight.push_back(produced),
        }
    }

    fn settle(&mut self, settled: Settled) {
        let mut failure = None;
        for (partition, count, result) in settled.parts {
            match result {
                Ok(produced) => {
                    self.records += count;
                    if let Some(base_offset) = produced.base_offset {
                        self.outbox.run(partition, base_offset, count);
                    }
                }
                Err(error) => failure = Some(errors::produce(error, &self.spread.topic.name, partition)),
            }
        }
        match failure {
            None if self.append_failed => {}
            None => self.outbox.through_line(settled.last_line),
            Some(problem) => {
                // What follows may be appended, but the client can rely on nothing behind the first failure, which
                // comes before any bad line that was found since.
                if !self.append_failed {
                    self.append_failed = true;
                    self.ending = Some(Ending::Failed(settled.first_line, problem));
                }
            }
        }
    }

    fn finish(self) {
        match self.ending {
            Some(Ending::Failed(line, problem)) => self.outbox.failed(line, problem),
            _ => self.outbox.done(self.records, self.skipped),
        }
    }
}

/// What a line is given to.
type LineTaker<'a> = dyn FnMut(u64, Result<&[u8], Problem>) -> Result<(), (u64, Problem)> + 'a;

async fn produce_part(
    broker: Broker,
    count: u64,
    request: Produce,
) -> (PartitionId, u64, Result<Produced, ProduceError>) {
    let partition = request.partition;
    (partition, count, broker.produce(request).await)
}
