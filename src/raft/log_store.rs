//! The log of a group as openraft wants it: an adapter over [`RaftLog`], without state of its own.
//!
//! Invariant: `io_completed` is called in log order, which the log promises for its `flushed` callbacks.

use super::types::*;
use crate::mutant::{self, Mutant};
use crate::storage::{LogEntry, RaftLog};
use crate::tasks::Tasks;
use crate::types::{LogId, LogIndex, Offset, Term};
use futures::Stream;
use openraft::RaftLogReader;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds, RangeInclusive};
use std::sync::Arc;
use tokio::sync::watch;

/// Bytes of entries in one AppendEntries request: capped by size, since a count would let large batches stall a lane.
const REPLICATE_BYTES_MAX: usize = 1 << 20;
/// Entries that are applied from one read of headers.
const APPLY_ENTRIES_MAX: usize = 1024;

/// How far the local log is flushed: the term of the last flushed entry and the log end offset behind it.
pub type FlushedEnd = (Term, Offset);

/// Adapter; clones share the log.
#[derive(Clone)]
pub struct LogStore {
    pub(super) log: Arc<dyn RaftLog>,
    pub(super) tasks: Tasks,
    pub(super) flushed: watch::Sender<FlushedEnd>,
    /// The state machine looks into the records, so that it needs more than headers.
    applies_records: bool,
}

impl LogStore {
    pub(super) fn new(log: Arc<dyn RaftLog>, tasks: Tasks, applies_records: bool) -> LogStore {
        LogStore { log, tasks, flushed: watch::Sender::new((Term(0), Offset(0))), applies_records }
    }

    async fn read(&self, from: LogIndex, to: LogIndex, bytes_max: usize) -> io::Result<Vec<LogEntry>> {
        if let Some(entries) = self.log.read_cached(from, to, bytes_max) {
            return Ok(entries);
        }
        let log = self.log.clone();
        self.tasks.blocking(move || log.read(from, to, bytes_max)).await
    }

    async fn read_headers(&self, from: LogIndex, to: LogIndex) -> io::Result<Vec<LogEntry>> {
        if let Some(entries) = self.log.read_headers_cached(from, to, APPLY_ENTRIES_MAX) {
            return Ok(entries);
        }
        let log = self.log.clone();
        self.tasks.blocking(move || log.read_headers(from, to, APPLY_ENTRIES_MAX)).await
    }

    /// Lets an empty log begin at `first`: openraft has checked what precedes (a snapshot, or nothing in its suite).
    async fn begin_behind(&self, first: LogIndex) -> io::Result<()> {
        let log = self.log.clone();
        let before = LogId { term: Term(0), index: LogIndex(first.0 - 1) };
        self.tasks.blocking(move || log.reset(before, Offset(0))).await
    }

    /// The range `[from, to)` cut to what the log has.
    fn clamp(&self, range: &impl RangeBounds<u64>) -> (LogIndex, LogIndex) {
        let state = self.log.state();
        let first = state.purged.map_or(0, |id| id.index.0 + 1);
        let end = state.last.map_or(0, |id| id.index.0 + 1);
        let from = match range.start_bound() {
            Bound::Included(index) => *index,
            Bound::Excluded(index) => index + 1,
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(index) => index + 1,
            Bound::Excluded(index) => *index,
            Bound::Unbounded => end,
        };
        (LogIndex(from.max(first)), LogIndex(to.min(end)))
    }
}

/// The last entry of each term, from the first of each and the last of all. That is what openraft keeps (its trait's
/// documentation shows first entries, but `LogIdList` takes an id for the *end* of its term): with anything else a
/// restarted replica is wrong about its own log, and cuts off committed entries that it has.
fn last_of_each_term(starts: &[LogId]) -> Vec<LogId> {
    let ends = starts.windows(2).filter(|pair| pair[0].term != pair[1].term);
    let ends = ends.map(|pair| LogId { term: pair[0].term, index: LogIndex(pair[1].index.0 - 1) });
    ends.chain(starts.last().copied()).collect()
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry>, io::Error> {
        let (mut from, to) = self.clamp(&range);
        let mut all = Vec::new();
        while from < to {
            let part = self.read(from, to, REPLICATE_BYTES_MAX).await?;
            let last = part.last().ok_or_else(|| io::Error::other("the log gave no entry of a range it has"))?;
            from = last.id.index.next();
            for entry in part {
                all.push(from_log_entry(entry)?);
            }
        }
        Ok(all)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        let entries = self.read(LogIndex(start), LogIndex(end), REPLICATE_BYTES_MAX).await?;
        entries.into_iter().map(from_log_entry).collect()
    }

    async fn entries_stream<R>(&mut self, range: R) -> impl Stream<Item = Result<Entry, io::Error>> + Send
    where
        R: RangeBounds<u64> + Clone + Debug + Send,
    {
        let (from, to) = self.clamp(&range);
        let store = self.clone();
        let parts = futures::stream::try_unfold((store, from), move |(store, from)| async move {
            if from >= to {
                return Ok::<_, io::Error>(None);
            }
            let part = if store.applies_records {
                store.read(from, to, REPLICATE_BYTES_MAX).await?
            } else {
                store.read_headers(from, to).await?
            };
            let last = part.last().ok_or_else(|| io::Error::other("the log gave no entry of a range it has"))?;
            let next = last.id.index.next();
            Ok(Some((part, (store, next))))
        });
        use futures::StreamExt;
        Box::pin(parts.flat_map(|part| {
            let entries: Vec<_> = match part {
                Ok(entries) => entries.into_iter().map(from_log_entry).collect(),
                Err(error) => vec![Err(error)],
            };
            futures::stream::iter(entries)
        }))
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        self.log.vote().map(|bytes| decode::<VoteBytes>(&bytes).map(Vote::from)).transpose()
    }

    async fn get_key_log_ids(&mut self, range: RangeInclusive<RaftLogId>) -> Result<Vec<RaftLogId>, io::Error> {
        let (from, to) = (LogIndex(range.start().index), LogIndex(range.end().index));
        let starts: Vec<LogId> = self.log.term_starts(from, to);
        let ids: Vec<RaftLogId> = last_of_each_term(&starts).into_iter().map(raft_log_id).collect();
        if ids.last() != Some(range.end()) {
            return Err(io::Error::other(format!("the log does not end with {:?} as it said", range.end())));
        }
        Ok(ids)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let state = self.log.state();
        Ok(LogState { last_purged_log_id: state.purged.map(raft_log_id), last_log_id: state.last.map(raft_log_id) })
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        if mutant::on(Mutant::VoteNotPersisted) {
            return Ok(());
        }
        let bytes = encode(&VoteBytes::from(vote));
        let log = self.log.clone();
        self.tasks.blocking(move || log.save_vote(&bytes)).await
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        let entries: Vec<LogEntry> = entries.into_iter().map(to_log_entry).collect();
        let flushed = self.flushed.clone();
        let records: u64 = entries
            .iter()
            .map(|entry| match &entry.payload {
                crate::storage::Payload::Data(data) => u64::from(data.record_count),
                _ => 0,
            })
            .sum();
        let state = self.log.state();
        let end = state.log_end_offset.plus(records);
        if let (None, Some(first)) = (state.last, entries.first())
            && first.id.index > LogIndex(0)
        {
            self.begin_behind(first.id.index).await?;
        }
        let term = entries.last().map_or(Term(0), |entry| entry.id.term);
        self.log.append(
            entries,
            Box::new(move |result| {
                if result.is_ok() {
                    flushed.send_replace((term, end));
                }
                callback.io_completed(result);
            }),
        )
    }

    async fn truncate_after(&mut self, last: Option<RaftLogId>) -> Result<(), io::Error> {
        let log = self.log.clone();
        let last = last.as_ref().map(log_id);
        self.tasks.blocking(move || log.truncate_after(last)).await
    }

    async fn purge(&mut self, upto: RaftLogId) -> Result<(), io::Error> {
        let log = self.log.clone();
        let upto = log_id(&upto);
        self.tasks.blocking(move || log.purge(upto)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_end_where_the_next_begins() {
        let id = |term, index| LogId { term: Term(term), index: LogIndex(index) };
        let ends = |ids: &[(u64, u64)]| {
            last_of_each_term(&ids.iter().map(|(term, index)| id(*term, *index)).collect::<Vec<_>>())
        };
        assert_eq!(ends(&[(0, 0)]), [id(0, 0)]);
        assert_eq!(ends(&[(2, 5), (2, 9)]), [id(2, 9)]);
        assert_eq!(ends(&[(0, 0), (2, 1), (3, 4), (4, 6), (4, 7)]), [id(0, 0), id(2, 3), id(3, 5), id(4, 7)]);
        assert_eq!(ends(&[(4, 6), (5, 8)]), [id(4, 7), id(5, 8)]);
    }
}
