//! Reads partitions piece by piece: the pull-based source behind every answer that has records.
//!
//! Purpose: one way to walk over stored batches and records, for one partition or for all of a topic, within a bound
//! that is fixed when the read begins (the high watermarks then), so that every read ends. Invariants: at most two
//! fetched pieces are held (one is given, one is fetched ahead); offsets only rise; a record is given at most once.
//!
//! Not here: how records look, how they are framed, and following for ever ([`super::sse`]).

use crate::broker::StoredBatches;
use crate::broker::{Broker, Fetch, FetchError, Fetched, Isolation, OffsetAt, ReadFrom, TopicView};
use crate::record::{self, BatchError, Limits, Record};
use crate::types::{Offset, PartitionId};
use futures::FutureExt;
use futures::future::BoxFuture;
use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long a read waits for a leader before it is told that there is none, beyond its `wait_ms`.
pub const READ_PATIENCE: Duration = Duration::from_secs(10);

/// Bytes of one fetch. Large enough to keep a connection busy, small enough that many slow readers fit into memory.
pub const PIECE_BYTES: usize = 1 << 20;

/// Where less than this is left to read, nothing is fetched ahead: it would be thrown away too often.
const AHEAD_BYTES_MIN: u64 = 512 << 10;

/// How long to wait for records that must be there, since the high watermark was seen beyond them: a new leader may need
/// a moment to know that they are committed.
const BEHIND_WAIT_MS: u64 = 5000;

/// What is stored was checked when it was written; these limits only keep damage from taking all memory.
static LIMITS: Limits = Limits { record_bytes_max: 64 << 20, batch_bytes_max: 64 << 20, inflated_bytes_max: 64 << 20 };

/// What reads need of the broker; the tests have another one.
pub trait Fetcher: Clone + Send + Sync + 'static {
    fn fetch(&self, request: Fetch) -> impl Future<Output = Result<Fetched, FetchError>> + Send;
    fn offsets(
        &self,
        topic: &Arc<TopicView>,
        at: ReadFrom,
        deadline: Instant,
    ) -> impl Future<Output = Result<Vec<OffsetAt>, FetchError>> + Send;
    /// The topic as the catalog has it now.
    fn topic(&self, name: &str) -> Option<Arc<TopicView>>;
}

impl Fetcher for Broker {
    async fn fetch(&self, request: Fetch) -> Result<Fetched, FetchError> {
        Broker::fetch(self, request).await
    }

    async fn offsets(
        &self,
        topic: &Arc<TopicView>,
        at: ReadFrom,
        deadline: Instant,
    ) -> Result<Vec<OffsetAt>, FetchError> {
        Broker::offsets(self, topic, at, deadline).await
    }

    fn topic(&self, name: &str) -> Option<Arc<TopicView>> {
        Broker::topic(self, name)
    }
}

/// A read error and the partition that it comes from, where it comes from one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadError {
    pub partition: Option<PartitionId>,
    pub error: FetchError,
}

/// What all fetches of one read have in common.
#[derive(Clone)]
pub struct Options {
    pub topic: Arc<TopicView>,
    pub isolation: Isolation,
    pub linearizable: bool,
    /// Largest piece to fetch at once.
    pub piece_bytes: usize,
}

impl Options {
    /// A fetch of `partition` from `from`, held up to `wait_ms`.
    pub fn fetch(&self, partition: PartitionId, from: ReadFrom, max_bytes: usize, wait_ms: u64) -> Fetch {
        Fetch {
            topic: self.topic.clone(),
            partition,
            from,
            max_bytes: max_bytes.clamp(1, self.piece_bytes),
            wait_ms,
            isolation: self.isolation,
            linearizable: self.linearizable,
            deadline: Instant::now() + Duration::from_millis(wait_ms) + READ_PATIENCE,
        }
    }
}

/// One partition's part of a read: what is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lane {
    pub partition: PartitionId,
    /// The next offset to give.
    pub next: Offset,
    /// Where this read ends.
    pub end: Offset,
}

impl Lane {
    /// Records still to come.
    pub fn left(&self) -> u64 {
        self.end.0.saturating_sub(self.next.0)
    }
}

/// Walks over the lanes, one after the other, each to its end.
pub struct Source<F> {
    fetcher: F,
    options: Options,
    lanes: Vec<Lane>,
    /// The lane that is read now; all before it are at their ends.
    at: usize,
    /// Fetched and not yet given; of the lane that is read now.
    ready: VecDeque<StoredBatches>,
    /// The fetch behind `ready`, begun while that is being given.
    ahead: Option<Ahead>,
}

/// A fetch that was begun before it is needed, and where it begins.
struct Ahead {
    partition: PartitionId,
    from: Offset,
    fetched: Begun,
}

enum Begun {
    Done(Result<Fetched, FetchError>),
    Running(BoxFuture<'static, Result<Fetched, FetchError>>),
}

impl<F: Fetcher> Source<F> {
    /// Reads `lanes`, in this order.
    pub fn new(fetcher: F, mut options: Options, lanes: Vec<Lane>) -> Source<F> {
        // The quorum was asked when the ends were found; nothing behind them is read.
        options.linearizable = false;
        Source { fetcher, options, lanes, at: 0, ready: VecDeque::new(), ahead: None }
    }

    /// The same read from here on, on its own.
    fn fork(&self) -> Source<F> {
        Source {
            fetcher: self.fetcher.clone(),
            options: self.options.clone(),
            lanes: self.lanes.clone(),
            at: self.at,
            ready: VecDeque::new(),
            ahead: None,
        }
    }

    /// Puts in what was fetched already, for the first lane.
    pub fn preload(&mut self, batches: Vec<StoredBatches>) {
        self.ready.extend(batches);
    }

    /// The lanes, where they stand.
    pub fn lanes(&self) -> &[Lane] {
        &self.lanes
    }

    /// The lane that is read now, or was read last; an empty read has none.
    pub fn current(&self) -> Option<usize> {
        (!self.lanes.is_empty()).then(|| self.at.min(self.lanes.len() - 1))
    }

    /// Marks everything below `next` of the lane that is read now as given.
    fn advance(&mut self, next: Offset) {
        if let Some(lane) = self.lanes.get_mut(self.at) {
            lane.next = lane.next.max(next);
        }
    }

    /// The next batches, with the lane as it stood before them; `None` at the end of all lanes. About `bytes_wanted`
    /// are fetched if nothing is at hand. Whoever takes the batches says by `advance` how much of them was given.
    pub async fn next(&mut self, bytes_wanted: u64) -> Result<Option<(Lane, StoredBatches)>, ReadError> {
        loop {
            let Some(lane) = self.lanes.get(self.at).copied() else { return Ok(None) };
            if lane.left() == 0 {
                self.ready.clear();
                self.at += 1;
                continue;
            }
            if let Some(batches) = self.ready.pop_front() {
                if batches.next_offset() > lane.next && batches.base_offset < lane.end {
                    if self.ready.is_empty() {
                        let left = bytes_wanted.saturating_sub(batches.len() as u64);
                        self.begin_ahead(lane, batches.next_offset(), left);
                    }
                    return Ok(Some((lane, batches)));
                }
                continue;
            }
            let in_lane = |error| ReadError { partition: Some(lane.partition), error };
            let fetched = match self.ahead.take() {
                Some(ahead) if (ahead.partition, ahead.from) == (lane.partition, lane.next) => match ahead.fetched {
                    Begun::Done(fetched) => fetched,
                    Begun::Running(fetch) => fetch.await,
                },
                _ => self.fetcher.fetch(self.behind(lane.partition, lane.next, bytes_wanted)).await,
            };
            let fetched = fetched.map_err(in_lane)?;
            if fetched.batches.is_empty() {
                // Below a high watermark that was seen there are records, on every leader that may follow.
                let reason = format!(
                    "partition {} gave no records at offset {}, below its high watermark {}",
                    lane.partition, lane.next, lane.end
                );
                return Err(in_lane(FetchError::Unavailable { reason, retry_after_ms: 500 }));
            }
            self.ready.extend(fetched.batches);
        }
    }

    /// A fetch of records that are there, since the high watermark was seen beyond them.
    fn behind(&self, partition: PartitionId, from: Offset, bytes_wanted: u64) -> Fetch {
        let wanted = usize::try_from(bytes_wanted).unwrap_or(usize::MAX);
        self.options.fetch(partition, ReadFrom::Offset(from), wanted, BEHIND_WAIT_MS)
    }

    /// Begins the fetch of what follows, so that the disk or another node works while this one renders and sends.
    fn begin_ahead(&mut self, lane: Lane, from: Offset, bytes_left: u64) {
        self.ahead = None;
        if from >= lane.end || bytes_left < AHEAD_BYTES_MIN {
            return;
        }
        let (fetcher, request) = (self.fetcher.clone(), self.behind(lane.partition, from, bytes_left));
        let mut fetch: BoxFuture<'static, _> = Box::pin(async move { fetcher.fetch(request).await });
        // One poll sends the request off; whoever needs its answer polls on.
        let fetched = match (&mut fetch).now_or_never() {
            Some(fetched) => Begun::Done(fetched),
            None => Begun::Running(fetch),
        };
        self.ahead = Some(Ahead { partition: lane.partition, from, fetched });
    }
}

/// How much a read may still give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    pub records: u64,
    pub bytes: u64,
    /// Whether something was given: the first record comes however large it is.
    pub given: bool,
}

impl Budget {
    pub fn new(records: u64, bytes: u64) -> Budget {
        Budget { records, bytes, given: false }
    }

    /// How many bytes are worth fetching: few for few records.
    pub fn bytes_wanted(&self) -> u64 {
        self.bytes.min(self.records.saturating_mul(4 << 10).max(64 << 10))
    }

    /// Takes `records` of `bytes` together; `false` when they do not fit.
    pub fn take(&mut self, records: u64, bytes: u64) -> bool {
        if self.records == 0 || (self.given && bytes > self.bytes) {
            return false;
        }
        self.records = self.records.saturating_sub(records);
        self.bytes = self.bytes.saturating_sub(bytes);
        self.given = true;
        true
    }
}

/// Bytes of a record as `max_bytes` counts them: key, value and headers.
pub fn record_bytes(record: &Record) -> u64 {
    let headers: usize =
        record.headers.iter().map(|(name, value)| name.len() + value.as_ref().map_or(0, |v| v.len())).sum();
    (record.key.as_ref().map_or(0, |key| key.len()) + record.value.as_ref().map_or(0, |value| value.len()) + headers)
        as u64
}

/// The records of a batch that is being given.
pub struct OpenBatch {
    pub lane: Lane,
    records: record::Records,
    /// Where the lane stands once this batch is given.
    pub behind: Offset,
}

impl OpenBatch {
    /// Opens the part of `batches` that is within the lane.
    pub fn open(lane: Lane, batches: StoredBatches) -> OpenBatch {
        let behind = batches.next_offset().min(lane.end);
        OpenBatch { lane, records: record::records(batches.to_bytes(), &LIMITS), behind }
    }

    /// The next record within the lane.
    pub fn next_record(&mut self) -> Result<Option<Record>, ReadError> {
        while let Some(record) = self.records.next() {
            let record = record.map_err(|error| self.damaged(&error))?;
            if record.offset >= self.lane.end {
                break;
            }
            if record.offset >= self.lane.next {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    fn damaged(&self, error: &BatchError) -> ReadError {
        let detail = format!("the record batch before offset {} cannot be read: {error}", self.behind);
        ReadError { partition: Some(self.lane.partition), error: FetchError::StorageFailed(detail) }
    }
}

/// Walks over records, within a budget.
pub struct Records<F> {
    pub source: Source<F>,
    pub budget: Budget,
    open: Option<OpenBatch>,
    /// A record that came when there was no budget left for it in this run; see [`Records::stopped`].
    stopped: bool,
}

impl<F: Fetcher> Records<F> {
    pub fn new(source: Source<F>, budget: Budget) -> Records<F> {
        Records { source, budget, open: None, stopped: false }
    }

    /// The same read from here on, on its own: to find out where it will end.
    pub fn fork(&self) -> Records<F> {
        Records { source: self.source.fork(), budget: self.budget, open: None, stopped: self.stopped }
    }

    /// Whether the budget is used up, so that nothing more comes.
    pub fn stopped(&self) -> bool {
        self.stopped || self.budget.records == 0
    }

    /// The next record of the batch at hand. Never waits; `None` when [`Records::open`] must be called.
    pub fn next_at_hand(&mut self) -> Result<Option<(PartitionId, Record)>, ReadError> {
        if self.stopped() {
            return Ok(None);
        }
        let Some(open) = &mut self.open else { return Ok(None) };
        match open.next_record()? {
            Some(record) if self.budget.take(1, record_bytes(&record)) => {
                self.source.advance(record.offset.plus(1));
                Ok(Some((open.lane.partition, record)))
            }
            Some(_) => {
                self.stopped = true;
                Ok(None)
            }
            None => {
                self.source.advance(open.behind);
                self.open = None;
                Ok(None)
            }
        }
    }

    /// Goes to the next batch; `false` when the read is at its end.
    pub async fn open(&mut self) -> Result<bool, ReadError> {
        if self.stopped() {
            return Ok(false);
        }
        let next = self.source.next(self.budget.bytes_wanted()).await?;
        self.open = next.map(|(lane, batches)| OpenBatch::open(lane, batches));
        Ok(self.open.is_some())
    }
}

/// Walks over batches as they are stored, within a budget; a batch is given whole.
pub struct Batches<F> {
    pub source: Source<F>,
    pub budget: Budget,
    stopped: bool,
}

impl<F: Fetcher> Batches<F> {
    pub fn new(source: Source<F>, budget: Budget) -> Batches<F> {
        Batches { source, budget, stopped: false }
    }

    /// The same read from here on, on its own: to find out where it will end.
    pub fn fork(&self) -> Batches<F> {
        Batches { source: self.source.fork(), budget: self.budget, stopped: self.stopped }
    }

    /// The next batches; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<StoredBatches>, ReadError> {
        if self.stopped || self.budget.records == 0 {
            return Ok(None);
        }
        let Some((lane, batches)) = self.source.next(self.budget.bytes_wanted()).await? else { return Ok(None) };
        let records = batches.next_offset().0 - lane.next.0;
        if !self.budget.take(records, batches.len() as u64) {
            self.stopped = true;
            return Ok(None);
        }
        self.source.advance(batches.next_offset());
        Ok(Some(batches))
    }
}
