//! Polls of groups whose members have no connection of their own: any node reads for them, and the coordinator hands out.
//!
//! A poll asks for the member's turn, reads there, and has what it read leased; where somebody else was faster it begins
//! again. While there is nothing to read it waits on the partitions, and asks for its turn anew each second: shares change
//! as members come and go.

use super::Broker;
use super::api::{Fetch, FetchError, Isolation, ReadFrom, TopicError, TopicView};
use super::groups::{Commit, Grant, GroupError, LeaseId, LeasedRange, PartitionKey, Reply, Request};
use crate::coordinator::Turn;
use crate::record::{Limits, Record, records};
use crate::types::{Offset, PartitionId};
use futures::stream::{FuturesUnordered, StreamExt};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long a turn is taken for granted.
const TURN_PATIENCE: Duration = Duration::from_secs(1);
/// Between two looks of a member that has no turn.
const NO_TURN_PAUSE: Duration = Duration::from_millis(200);
/// Beyond the wait for records.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);
/// Partitions read at the same time for one poll.
const CONCURRENT_PARTITIONS: usize = 16;
/// Partitions that one poll waits on at the same time; others have their turn a second later.
const WATCHED_PARTITIONS_MAX: usize = 256;
const LIMITS: Limits = Limits { record_bytes_max: 64 << 20, batch_bytes_max: 64 << 20, inflated_bytes_max: 64 << 20 };

/// One poll.
#[derive(Clone, Debug)]
pub struct Poll {
    pub group: String,
    pub member: String,
    pub topics: Vec<String>,
    /// Where a group without offset begins: `Earliest` or `Latest`.
    pub from: ReadFrom,
    pub max_records: usize,
    /// At least one record comes, however large.
    pub max_bytes: usize,
    pub wait: Duration,
    pub lease_ms: i64,
}

/// What a poll gave. No lease where there is no record.
#[derive(Clone, Debug, Default)]
pub struct Polled {
    pub lease: Option<LeaseId>,
    pub records: Vec<(Arc<TopicView>, PartitionId, Record)>,
}

/// Why a poll gave nothing.
#[derive(Clone, Debug)]
pub enum PollError {
    Group(GroupError),
    Topic(String, TopicError),
    Fetch(PartitionKey, FetchError),
}

impl From<GroupError> for PollError {
    fn from(error: GroupError) -> PollError {
        PollError::Group(error)
    }
}

/// What was read of one partition.
struct Part {
    topic: Arc<TopicView>,
    range: LeasedRange,
    records: Vec<Record>,
}

type Topics = BTreeMap<String, Arc<TopicView>>;

impl Broker {
    /// Polls for a member, and leases what it gets to it.
    ///
    /// # Errors
    /// A topic does not exist, the group has Kafka clients as members, or nobody could be asked in time.
    pub async fn poll_group(&self, poll: &Poll) -> Result<Polled, PollError> {
        let until = Instant::now() + poll.wait;
        let deadline = until + ANSWER_PATIENCE;
        let mut topics = Topics::new();
        for name in &poll.topics {
            let found = self.resolve_topic(name, false, deadline).await;
            let topic = found.map_err(|error| PollError::Topic(name.clone(), error))?;
            topics.insert(name.clone(), topic);
        }
        let of = |(name, topic): (&String, &Arc<TopicView>)| {
            let partitions = topic.assignments.len() as i32;
            (0..partitions).map(|partition| PartitionKey::new(name, partition)).collect::<Vec<_>>()
        };
        let partitions: Vec<PartitionKey> = topics.iter().flat_map(of).collect();
        loop {
            let turns = self.turns(poll, &partitions, deadline).await?;
            let turns = self.begin(poll, &topics, turns, deadline).await?;
            if turns.is_empty() && Instant::now() < until {
                tokio::time::sleep(NO_TURN_PAUSE.min(until - Instant::now())).await;
            }
            let parts = self.read_turns(poll, &topics, &turns, until, deadline).await?;
            if !parts.is_empty()
                && let Some(polled) = self.lease(poll, parts, deadline).await?
            {
                return Ok(polled);
            }
            if Instant::now() >= until {
                return Ok(Polled::default());
            }
        }
    }

    async fn turns(&self, poll: &Poll, partitions: &[PartitionKey], deadline: Instant) -> Result<Vec<Turn>, PollError> {
        let (group, member) = (poll.group.clone(), poll.member.clone());
        let request = Request::Turns { group, member, partitions: partitions.to_vec() };
        let Reply::Turns(given) = self.ask_group(&poll.group, request, true, deadline).await? else {
            return Err(mismatch().into());
        };
        let mut turns = given.turns;
        // Each poll begins with another partition, so that none starves.
        if !turns.is_empty() {
            let first = self.random_below(turns.len() as u64) as usize;
            turns.rotate_left(first);
        }
        Ok(turns)
    }

    /// A group that begins at the end of the log begins where that is now, not where it is at the next poll.
    async fn begin(
        &self,
        poll: &Poll,
        topics: &Topics,
        mut turns: Vec<Turn>,
        deadline: Instant,
    ) -> Result<Vec<Turn>, PollError> {
        if poll.from != ReadFrom::Latest || turns.iter().all(|turn| turn.committed.is_some()) {
            return Ok(turns);
        }
        let mut ends: BTreeMap<PartitionKey, i64> = BTreeMap::new();
        for (name, topic) in topics {
            let failed = |error| PollError::Fetch(PartitionKey::new(name, 0), error);
            for end in self.offsets(topic, ReadFrom::Latest, deadline).await.map_err(failed)? {
                ends.insert(PartitionKey::new(name, end.partition.0 as i32), end.offset.0 as i64);
            }
        }
        let mut starts = Vec::new();
        for turn in turns.iter_mut().filter(|turn| turn.committed.is_none()) {
            turn.committed = ends.get(&turn.at).copied();
            let commit = |offset| Commit { at: turn.at.clone(), offset, leader_epoch: -1, metadata: String::new() };
            starts.extend(turn.committed.map(commit));
        }
        let request = Request::BeginAt { group: poll.group.clone(), starts };
        self.ask_group(&poll.group, request, true, deadline).await?;
        Ok(turns)
    }

    /// What there is; if there is nothing, what comes first within the patience.
    async fn read_turns(
        &self,
        poll: &Poll,
        topics: &Topics,
        turns: &[Turn],
        until: Instant,
        deadline: Instant,
    ) -> Result<Vec<Part>, PollError> {
        let mut parts = Vec::new();
        let (mut records_left, mut bytes_left) = (poll.max_records, poll.max_bytes);
        for some in turns.chunks(CONCURRENT_PARTITIONS) {
            let reads = some.iter().map(|turn| self.read_turn(topics, turn, poll.max_bytes, 0, deadline));
            for read in futures::future::join_all(reads).await {
                parts.extend(cut(read?, &mut records_left, &mut bytes_left));
            }
            if records_left == 0 || bytes_left == 0 {
                break;
            }
        }
        let left = until.saturating_duration_since(Instant::now()).min(TURN_PATIENCE);
        if !parts.is_empty() || left.is_zero() || turns.is_empty() {
            return Ok(parts);
        }
        let wait_ms = left.as_millis().max(1) as u64;
        let watched = turns.iter().take(WATCHED_PARTITIONS_MAX);
        let waits = watched.map(|turn| self.read_turn(topics, turn, poll.max_bytes, wait_ms, deadline));
        let mut waits: FuturesUnordered<_> = waits.collect();
        while let Some(read) = waits.next().await {
            parts.extend(cut(read?, &mut records_left, &mut bytes_left));
            if !parts.is_empty() {
                break;
            }
        }
        Ok(parts)
    }

    async fn read_turn(
        &self,
        topics: &Topics,
        turn: &Turn,
        max_bytes: usize,
        wait_ms: u64,
        deadline: Instant,
    ) -> Result<Part, PollError> {
        let topic = topics.get(&turn.at.topic).ok_or_else(|| PollError::Group(mismatch()))?.clone();
        let from = |offset: i64| ReadFrom::Offset(Offset(offset.max(0) as u64));
        let mut request = Fetch {
            topic: topic.clone(),
            partition: PartitionId(turn.at.partition as u32),
            from: turn.committed.map_or(ReadFrom::Earliest, from),
            max_bytes,
            wait_ms,
            isolation: Isolation::ReadCommitted,
            linearizable: false,
            deadline,
        };
        let mut fetched = self.fetch(request.clone()).await;
        // What the group was to read is trimmed: it goes on with the oldest that is left.
        if let Err(FetchError::OutOfRange { offset, log_start_offset, .. }) = &fetched
            && offset < log_start_offset
        {
            request.from = ReadFrom::Earliest;
            fetched = self.fetch(request).await;
        }
        let fetched = fetched.map_err(|error| PollError::Fetch(turn.at.clone(), error))?;
        let start = fetched.start_offset;
        let mut found = Vec::new();
        for batches in &fetched.batches {
            for record in records(batches.to_bytes(), &LIMITS) {
                let failed = |error: crate::record::BatchError| FetchError::StorageFailed(error.to_string());
                let record = record.map_err(failed).map_err(|error| PollError::Fetch(turn.at.clone(), error))?;
                if record.offset >= start {
                    found.push(record);
                }
            }
        }
        let from = start.0 as i64;
        Ok(Part { topic, range: LeasedRange { at: turn.at.clone(), from, to: from }, records: found })
    }

    /// Leases what was read. `None` where all of it went to others.
    async fn lease(&self, poll: &Poll, parts: Vec<Part>, deadline: Instant) -> Result<Option<Polled>, PollError> {
        let ranges = parts.iter().map(|part| part.range.clone()).collect();
        let grant = Grant { member: poll.member.clone(), duration_ms: poll.lease_ms, ranges };
        let request = Request::Grant { group: poll.group.clone(), grant };
        let granted = match self.ask_group(&poll.group, request, true, deadline).await {
            Ok(Reply::Granted(granted)) => granted,
            Ok(_) => return Err(mismatch().into()),
            Err(GroupError::LeaseConflict) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mine = parts.into_iter().filter(|part| granted.ranges.contains(&part.range));
        let records = mine.flat_map(|part| {
            let (topic, partition) = (part.topic, PartitionId(part.range.at.partition as u32));
            part.records.into_iter().map(move |record| (topic.clone(), partition, record))
        });
        Ok(Some(Polled { lease: Some(granted.lease), records: records.collect() }))
    }
}

/// As much of a part as there is room for; the first record of all in any case.
fn cut(mut part: Part, records_left: &mut usize, bytes_left: &mut usize) -> Option<Part> {
    let mut taken = 0;
    for record in &part.records {
        let size =
            record.key.as_ref().map_or(0, |key| key.len()) + record.value.as_ref().map_or(0, |value| value.len());
        if *records_left == 0 || *bytes_left == 0 {
            break;
        }
        taken += 1;
        *records_left -= 1;
        *bytes_left = bytes_left.saturating_sub(size.max(1));
    }
    part.records.truncate(taken);
    part.range.to = part.records.last()?.offset.0 as i64 + 1;
    Some(part)
}

fn mismatch() -> GroupError {
    GroupError::Unavailable("another node gave an answer to another question".to_string())
}
