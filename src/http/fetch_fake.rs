//! A broker for the tests of reads: logs in memory, records visible as soon as they are appended.

use super::fetch_source::{Fetcher, Options, PIECE_BYTES};
use crate::broker::StoredBatches;
use crate::broker::{Fetch, FetchError, Fetched, Isolation, OffsetAt, ReadFrom, TopicConfig, TopicView};
use crate::record::{self, RecordSet};
use crate::types::{NodeId, Offset, PartitionId, Term, TopicId};
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// The fake; clones share the logs.
#[derive(Clone)]
pub struct Fake(Arc<Inner>);

struct Inner {
    topic: Mutex<Arc<TopicView>>,
    state: Mutex<State>,
    changed: Notify,
}

struct State {
    logs: Vec<Log>,
    /// Errors that the next fetches give.
    errors: Vec<FetchError>,
    fetches: usize,
}

#[derive(Default)]
struct Log {
    start: u64,
    end: u64,
    batches: Vec<(i64, StoredBatches)>,
}

impl Fake {
    pub fn new(partitions: u32) -> Fake {
        let logs = (0..partitions).map(|_| Log::default()).collect();
        Fake(Arc::new(Inner {
            topic: Mutex::new(topic_view(partitions)),
            state: Mutex::new(State { logs, errors: Vec::new(), fetches: 0 }),
            changed: Notify::new(),
        }))
    }

    /// Appends a batch; the n-th record of a partition has timestamp n.
    pub fn append(&self, partition: u32, values: &[&[u8]]) {
        let mut state = self.0.state.lock();
        let log = &mut state.logs[partition as usize];
        let mut set = RecordSet::new();
        for (n, value) in values.iter().enumerate() {
            set.push((log.end + n as u64) as i64, None, Some(value), &[]);
        }
        let built = record::build_batch(&[set]);
        let mut bytes = built.bytes.to_vec();
        record::stamp(&mut bytes, Offset(log.end), 1).unwrap();
        let (prefix, rest) = bytes.split_first_chunk::<16>().unwrap();
        let stored = StoredBatches {
            base_offset: Offset(log.end),
            record_count: built.record_count,
            term: Term(1),
            prefix: *prefix,
            rest: Bytes::copy_from_slice(rest),
        };
        log.end += u64::from(built.record_count);
        log.batches.push((built.timestamp_ms_max, stored));
        drop(state);
        self.0.changed.notify_waiters();
    }

    /// Appends `batches` batches of `per_batch` records, each a value of `bytes` bytes.
    pub fn fill(&self, partition: u32, batches: usize, per_batch: usize, bytes: usize) {
        let value = vec![b'x'; bytes];
        for _ in 0..batches {
            self.append(partition, &vec![value.as_slice(); per_batch]);
        }
    }

    pub fn add_partition(&self) {
        let mut state = self.0.state.lock();
        state.logs.push(Log::default());
        let mut view = topic_view(state.logs.len() as u32).as_ref().clone();
        view.partitions_at_create = 1;
        *self.0.topic.lock() = Arc::new(view);
    }

    /// Drops whole batches below `start`.
    pub fn retain_from(&self, partition: u32, start: u64) {
        let mut state = self.0.state.lock();
        let log = &mut state.logs[partition as usize];
        log.start = start;
        log.batches.retain(|(_, batches)| batches.next_offset().0 > start);
    }

    /// The next fetch fails.
    pub fn fail_once(&self, error: FetchError) {
        self.0.state.lock().errors.push(error);
        self.0.changed.notify_waiters();
    }

    pub fn fetches(&self) -> usize {
        self.0.state.lock().fetches
    }

    pub fn options(&self) -> Options {
        let topic = self.0.topic.lock().clone();
        Options { topic, isolation: Isolation::ReadCommitted, linearizable: false, piece_bytes: PIECE_BYTES }
    }

    fn look(&self, request: &Fetch) -> Result<Fetched, FetchError> {
        let mut state = self.0.state.lock();
        state.fetches += 1;
        if let Some(error) = state.errors.pop() {
            return Err(error);
        }
        let log = &state.logs[request.partition.0 as usize];
        let start = resolve(log, request.from);
        if !(log.start..=log.end).contains(&start) {
            return Err(FetchError::OutOfRange {
                offset: Offset(start),
                log_start_offset: Offset(log.start),
                high_watermark: Offset(log.end),
            });
        }
        let mut bytes = 0;
        let mut batches = Vec::new();
        for (_, stored) in log.batches.iter().filter(|(_, batches)| batches.next_offset().0 > start) {
            bytes += stored.len();
            if bytes > request.max_bytes && !batches.is_empty() {
                break;
            }
            batches.push(stored.clone());
        }
        Ok(Fetched {
            start_offset: Offset(start),
            log_start_offset: Offset(log.start),
            high_watermark: Offset(log.end),
            leader: NodeId(1),
            term: Term(1),
            batches,
        })
    }
}

fn resolve(log: &Log, from: ReadFrom) -> u64 {
    match from {
        ReadFrom::Offset(offset) => offset.0,
        ReadFrom::Earliest => log.start,
        ReadFrom::Latest => log.end,
        ReadFrom::Tail(count) => log.end.saturating_sub(count).max(log.start),
        // The n-th record has timestamp n.
        ReadFrom::Time(ms) => u64::try_from(ms).unwrap_or(0).clamp(log.start, log.end),
    }
}

fn topic_view(partitions: u32) -> Arc<TopicView> {
    Arc::new(TopicView {
        name: "t".to_owned(),
        id: TopicId(uuid::Uuid::from_u128(7)),
        replication_factor: 1,
        partitions_at_create: partitions,
        assignments: vec![vec![NodeId(1)]; partitions as usize],
        config: BTreeMap::new(),
        effective: TopicConfig { max_message_bytes: 1 << 20, ..TopicConfig::default() },
    })
}

impl Fetcher for Fake {
    async fn fetch(&self, request: Fetch) -> Result<Fetched, FetchError> {
        let until = Instant::now() + Duration::from_millis(request.wait_ms);
        loop {
            let changed = self.0.changed.notified();
            let fetched = self.look(&request)?;
            if !fetched.batches.is_empty() || tokio::time::timeout_at(until, changed).await.is_err() {
                return Ok(fetched);
            }
        }
    }

    async fn offsets(&self, _: &Arc<TopicView>, at: ReadFrom, _: Instant) -> Result<Vec<OffsetAt>, FetchError> {
        let state = self.0.state.lock();
        let offset = |(n, log): (usize, &Log)| OffsetAt {
            partition: PartitionId(n as u32),
            offset: Offset(resolve(log, at)),
            timestamp_ms: None,
        };
        Ok(state.logs.iter().enumerate().map(offset).collect())
    }

    fn topic(&self, _: &str) -> Option<Arc<TopicView>> {
        Some(self.0.topic.lock().clone())
    }
}
