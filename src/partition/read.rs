//! Reads of the leader's replica: resolve where to begin, wait for records, take batches as they are.

use super::Replica;
use crate::mutant::{self, Mutant};
use crate::record::{Limits, records};
use crate::state::partition::ProducerView;
use crate::storage::StoredBatches;
use crate::types::{LogIndex, NodeId, Offset, Term};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use tokio::time::Instant;

/// Where a read begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReadFrom {
    Offset(Offset),
    Earliest,
    /// At the high watermark.
    Latest,
    /// This many records before the high watermark, or at the log start.
    Tail(u64),
    /// At the first record whose timestamp is at least this many ms; at the high watermark if there is none.
    Time(i64),
}

/// One read of this replica.
#[derive(Clone, Copy, Debug)]
pub struct LocalRead {
    pub from: ReadFrom,
    /// At least one entry's batches come, however large. 0: none, only where the log begins and ends.
    pub max_bytes: usize,
    /// Until when to wait for a record, if there is none; the past for not at all.
    pub wait_until: Option<Instant>,
    pub linearizable: bool,
    pub deadline: Instant,
}

/// What a read found.
#[derive(Clone, Debug)]
pub struct ReadResult {
    pub start_offset: Offset,
    pub log_start_offset: Offset,
    pub high_watermark: Offset,
    pub term: Term,
    pub batches: Vec<StoredBatches>,
}

/// Why this replica gave nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LocalReadError {
    NotLeader {
        leader: Option<NodeId>,
        term: Term,
    },
    NotReady,
    OutOfRange {
        offset: Offset,
        log_start_offset: Offset,
        high_watermark: Offset,
    },
    StorageFailed(String),
    NotHere(String),
    /// This replica has no log: nothing was written here, which says nothing about the others.
    NeverWritten,
}

/// What the leader says of its partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    pub leader: NodeId,
    pub term: Term,
    pub in_sync: Vec<NodeId>,
    pub log_start_offset: Offset,
    pub high_watermark: Offset,
    pub size_bytes: u64,
}

const INFLATE_LIMITS: Limits =
    Limits { record_bytes_max: usize::MAX, batch_bytes_max: usize::MAX, inflated_bytes_max: 64 << 20 };

/// Entries that a follower may lack and still count as in sync while writes go on.
const IN_SYNC_LAG_MAX: u64 = 1024;

impl Replica {
    /// The term in which this replica leads with everything of earlier terms applied.
    fn serving_term(&self) -> Result<Term, LocalReadError> {
        match self.group.leading() {
            Some(term) if self.group.has_applied_in(term) => Ok(term),
            Some(_) => Err(LocalReadError::NotReady),
            None => {
                let known = self.group.leadership();
                Err(LocalReadError::NotLeader { leader: known.leader, term: known.term })
            }
        }
    }

    /// The term in which this replica serves.
    ///
    /// # Errors
    /// This replica does not lead (yet).
    pub fn leading_term(&self) -> Result<Term, LocalReadError> {
        self.serving_term()
    }

    /// First offset that is kept.
    pub fn log_start_offset(&self) -> Offset {
        self.group.log.state().log_start_offset.max(self.group.applied_now().log_start_offset)
    }

    /// The largest term up to `wanted` and where it ends, as the leader in `term` says it.
    pub fn end_of_term(&self, wanted: Term, term: Term) -> Option<(Term, Offset)> {
        self.look(|state| state.term_starts().end_of(wanted, term, state.high_watermark()))
    }

    /// Kafka's producers that are known here.
    ///
    /// # Errors
    /// This replica does not lead (yet).
    pub fn producers(&self) -> Result<Vec<ProducerView>, LocalReadError> {
        self.serving_term()?;
        Ok(self.look(|state| state.producers().views().collect()))
    }

    /// Reads. Never shows what is not committed.
    ///
    /// # Errors
    /// This replica does not lead (yet), the offset is outside of the log, or the disk failed.
    pub async fn read(&self, read: LocalRead) -> Result<ReadResult, LocalReadError> {
        let term = self.serving_term()?;
        if read.linearizable {
            self.group.read_index(read.deadline).await.map_err(|leader| LocalReadError::NotLeader { leader, term })?;
        }
        let mut applied = self.group.applied();
        let mut high_watermark = self.visible_end(applied.borrow_and_update().high_watermark);
        let start_offset = self.resolve(read.from, high_watermark).await?;
        if let Some(wait_until) = read.wait_until {
            while start_offset >= high_watermark {
                if !matches!(tokio::time::timeout_at(wait_until, applied.changed()).await, Ok(Ok(()))) {
                    break;
                }
                high_watermark = self.visible_end(applied.borrow_and_update().high_watermark);
                self.serving_term()?;
            }
        }
        let batches = match read.max_bytes {
            0 => Vec::new(),
            max_bytes => self.batches(start_offset, high_watermark, max_bytes).await?,
        };
        let log_start_offset = self.log_start_offset();
        Ok(ReadResult { start_offset, log_start_offset, high_watermark, term, batches })
    }

    // Where reads end: at what is committed.
    fn visible_end(&self, high_watermark: Offset) -> Offset {
        if mutant::on(Mutant::ServedAboveCommit) { self.group.log.state().log_end_offset } else { high_watermark }
    }

    async fn batches(
        &self,
        from: Offset,
        upto: Offset,
        max_bytes: usize,
    ) -> Result<Vec<StoredBatches>, LocalReadError> {
        if let Some(batches) = self.group.log.fetch_cached(from, upto, max_bytes) {
            return Ok(batches);
        }
        let log = self.group.log.clone();
        let read = self.tasks.blocking(move || log.fetch(from, upto, max_bytes)).await;
        read.map_err(|error| LocalReadError::StorageFailed(error.to_string()))
    }

    async fn resolve(&self, from: ReadFrom, high_watermark: Offset) -> Result<Offset, LocalReadError> {
        let log_start_offset = self.log_start_offset();
        match from {
            ReadFrom::Offset(offset) if offset < log_start_offset || offset > high_watermark => {
                Err(LocalReadError::OutOfRange { offset, log_start_offset, high_watermark })
            }
            ReadFrom::Offset(offset) => Ok(offset),
            ReadFrom::Earliest => Ok(log_start_offset),
            ReadFrom::Latest => Ok(high_watermark),
            ReadFrom::Tail(count) => Ok(Offset(high_watermark.0.saturating_sub(count)).max(log_start_offset)),
            ReadFrom::Time(timestamp_ms) => self.offset_at(timestamp_ms, high_watermark).await.map(|(at, _)| at),
        }
    }

    /// The first record at or after `timestamp_ms` with its timestamp; the high watermark and `None` past the newest.
    pub async fn offset_at(
        &self,
        timestamp_ms: i64,
        high_watermark: Offset,
    ) -> Result<(Offset, Option<i64>), LocalReadError> {
        let log = self.group.log.clone();
        let failed = |error: std::io::Error| LocalReadError::StorageFailed(error.to_string());
        let found = self.tasks.blocking(move || log.offset_for_time(timestamp_ms)).await.map_err(failed)?;
        let Some(found) = found else { return Ok((high_watermark, None)) };
        let log_start_offset = self.log_start_offset();
        let mut at = found.max(log_start_offset);
        while at < high_watermark {
            let batches = self.batches(at, high_watermark, 1).await?;
            let Some(last) = batches.last() else { break };
            let next = last.next_offset();
            for stored in &batches {
                for record in records(stored.to_bytes(), &INFLATE_LIMITS) {
                    let record = record.map_err(|error| LocalReadError::StorageFailed(error.to_string()))?;
                    let is_shown = (log_start_offset..high_watermark).contains(&record.offset);
                    if is_shown && record.timestamp_ms >= timestamp_ms {
                        return Ok((record.offset, Some(record.timestamp_ms)));
                    }
                }
            }
            at = next;
        }
        Ok((high_watermark, None))
    }

    /// The first of the records with the largest timestamp, with that; the high watermark and `None` where there is
    /// no record.
    ///
    /// # Errors
    /// As for `read`.
    pub async fn offset_of_newest(&self) -> Result<(Offset, Option<i64>), LocalReadError> {
        self.serving_term()?;
        let high_watermark = self.group.applied_now().high_watermark;
        // Whether a record is at least so new can be asked of the time index: halve what is left.
        let mut found = self.offset_at(-1, high_watermark).await?;
        let mut beyond = i64::MAX;
        while let Some(known) = found.1.filter(|known| *known < beyond) {
            let middle = known + 1 + (beyond - 1 - known) / 2;
            match self.offset_at(middle, high_watermark).await? {
                (_, None) => beyond = middle - 1,
                newer => found = newer,
            }
        }
        Ok(found)
    }

    /// What the leader says of the partition.
    ///
    /// # Errors
    /// This replica does not lead (yet).
    pub fn summary(&self, alive: &BTreeSet<NodeId>) -> Result<Summary, LocalReadError> {
        let term = self.serving_term()?;
        let log = self.group.log.state();
        let applied = self.group.applied_now();
        let applied_index = applied.last.map_or(LogIndex(0), |last| last.index);
        let last_index = log.last.map_or(LogIndex(0), |last| last.index);
        // While writes go on, every follower lacks the newest for a moment.
        let tolerance = if last_index > applied_index { IN_SYNC_LAG_MAX } else { 0 };
        let replication = self.group.replication();
        let is_in_sync = |node: &NodeId| {
            *node == self.group.node_id
                || alive.contains(node)
                    && replication.iter().any(|(other, matched)| {
                        other == node && matched.is_some_and(|index| index.0 + tolerance >= applied_index.0)
                    })
        };
        let mut in_sync: Vec<NodeId> = self.group.voters().into_iter().filter(is_in_sync).collect();
        in_sync.sort_unstable();
        Ok(Summary {
            leader: self.group.node_id,
            term,
            in_sync,
            log_start_offset: log.log_start_offset.max(applied.log_start_offset),
            high_watermark: applied.high_watermark,
            size_bytes: log.size_bytes,
        })
    }

    /// Offset and, where a record is there, its timestamp.
    ///
    /// # Errors
    /// As for `read`.
    pub async fn offset_for(&self, from: ReadFrom) -> Result<(Offset, Option<i64>), LocalReadError> {
        self.serving_term()?;
        let high_watermark = self.group.applied_now().high_watermark;
        match from {
            ReadFrom::Time(timestamp_ms) => self.offset_at(timestamp_ms, high_watermark).await,
            other => self.resolve(other, high_watermark).await.map(|offset| (offset, None)),
        }
    }
}
