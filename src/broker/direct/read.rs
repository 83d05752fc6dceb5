//! Reads of Kafka's clients: from the leader they came to, at once, never above the high watermark.

use super::super::api::{Isolation, StoredBatches};
use super::super::forward::SummaryAnswer;
use super::super::{Broker, Target};
use super::{Direct, DirectError, Place, check_term};
use crate::partition::{LocalRead, ReadFrom};
use crate::raft::{AppliedTo, Group, Groups};
use crate::types::{GroupId, Offset, Term};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// How long other replicas may take to say whether a partition was ever written.
const ASK_PATIENCE: Duration = Duration::from_secs(1);

/// What a read found.
#[derive(Clone, Debug)]
pub struct DirectRead {
    pub log_start_offset: Offset,
    pub high_watermark: Offset,
    pub last_stable_offset: Offset,
    pub term: Term,
    /// The first may begin before the offset that was asked for. Empty at the high watermark.
    pub batches: Vec<StoredBatches>,
}

/// Which offset is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetQuery {
    /// The log start.
    Earliest,
    /// The high watermark, or the last stable offset.
    Latest(Isolation),
    /// The first of the records with the largest timestamp (KIP-734).
    MaxTimestamp,
    /// The first record whose timestamp is at least this many ms.
    Time(i64),
}

/// An offset that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectOffset {
    /// `None` where there is no such record.
    pub offset: Option<Offset>,
    /// Of the record there; `None` at the ends.
    pub timestamp_ms: Option<i64>,
    pub term: Term,
}

/// Tells when a read may find more than before. To be made before the read, so that nothing passes in between.
pub struct DirectFollower(Follower);

enum Follower {
    Born { group: Arc<Group>, term: Term, seen: Offset, applied: watch::Receiver<AppliedTo> },
    Unborn { groups: Groups, group: GroupId, opened: watch::Receiver<u64> },
}

impl DirectFollower {
    /// Back when the high watermark moved, the partition was born, or this node leads it no longer. Bounded by nothing:
    /// the caller has a deadline. May be dropped and called again.
    pub async fn changed(&mut self) {
        match &mut self.0 {
            Follower::Born { group, term, seen, applied } => {
                let moved = async {
                    let reached = applied.wait_for(|applied| applied.high_watermark > *seen).await;
                    reached.map(|applied| applied.high_watermark).unwrap_or(*seen)
                };
                tokio::select! {
                    now = moved => *seen = now,
                    () = group.until_not_leading(*term) => {}
                }
            }
            Follower::Unborn { groups, group, opened } => {
                while groups.get(*group).is_none() && opened.changed().await.is_ok() {}
            }
        }
    }
}

impl Broker {
    /// Reads what is there, at once. At least one entry's batches come, however large, where there are any; with
    /// `max_bytes` of 0 none, only where the log begins and ends.
    ///
    /// # Errors
    /// This node does not lead, the client's leader epoch is another, or the offset is outside of the log.
    pub async fn read_direct(
        &self,
        at: &Direct,
        from: Offset,
        max_bytes: usize,
        current_term: Option<Term>,
        _isolation: Isolation,
    ) -> Result<DirectRead, DirectError> {
        let target = self.direct_target(at)?;
        let Place::Replica(replica) = self.direct_place(&target).await? else {
            // Only what proves that nothing was ever written may say that an offset is out of range.
            self.check_unborn(&target, from > Offset(0)).await?;
            if from > Offset(0) {
                let (log_start_offset, high_watermark) = (Offset(0), Offset(0));
                return Err(DirectError::OutOfRange { offset: from, log_start_offset, high_watermark });
            }
            return Ok(DirectRead {
                log_start_offset: Offset(0),
                high_watermark: Offset(0),
                last_stable_offset: Offset(0),
                term: Term(0),
                batches: Vec::new(),
            });
        };
        check_term(current_term, replica.leading_term()?)?;
        let read = LocalRead {
            from: ReadFrom::Offset(from),
            max_bytes,
            wait_until: None,
            linearizable: false,
            deadline: Instant::now(),
        };
        let read = replica.read(read).await?;
        self.inner.metrics.fetched(&read);
        Ok(DirectRead {
            log_start_offset: read.log_start_offset,
            high_watermark: read.high_watermark,
            // Without transactions all that is committed is stable.
            last_stable_offset: read.high_watermark,
            term: read.term,
            batches: read.batches,
        })
    }

    /// Follows a partition that this node leads, or would lead.
    ///
    /// # Errors
    /// This node does not lead.
    pub async fn follow_direct(&self, at: &Direct) -> Result<DirectFollower, DirectError> {
        let target = self.direct_target(at)?;
        let groups = &self.inner.parts.groups;
        let opened = groups.opened();
        Ok(DirectFollower(match self.direct_place(&target).await? {
            Place::Replica(replica) => {
                let mut applied = replica.group.applied();
                let seen = applied.borrow_and_update().high_watermark;
                Follower::Born { group: replica.group.clone(), term: replica.leading_term()?, seen, applied }
            }
            Place::Unborn => Follower::Unborn { groups: groups.clone(), group: target.group, opened },
        }))
    }

    /// Where a partition begins, ends, or reaches a time.
    ///
    /// # Errors
    /// As for reads.
    pub async fn offset_direct(
        &self,
        at: &Direct,
        what: OffsetQuery,
        current_term: Option<Term>,
    ) -> Result<DirectOffset, DirectError> {
        let target = self.direct_target(at)?;
        let Place::Replica(replica) = self.direct_place(&target).await? else {
            self.check_unborn(&target, true).await?;
            let offset = matches!(what, OffsetQuery::Earliest | OffsetQuery::Latest(_)).then_some(Offset(0));
            return Ok(DirectOffset { offset, timestamp_ms: None, term: Term(0) });
        };
        let term = replica.leading_term()?;
        check_term(current_term, term)?;
        let found = match what {
            OffsetQuery::Earliest => replica.offset_for(ReadFrom::Earliest).await?,
            OffsetQuery::Latest(_) => replica.offset_for(ReadFrom::Latest).await?,
            OffsetQuery::Time(timestamp_ms) => replica.offset_for(ReadFrom::Time(timestamp_ms)).await?,
            OffsetQuery::MaxTimestamp => replica.offset_of_newest().await?,
        };
        let is_end = matches!(what, OffsetQuery::Earliest | OffsetQuery::Latest(_));
        let offset = (is_end || found.1.is_some()).then_some(found.0);
        Ok(DirectOffset { offset, timestamp_ms: found.1, term })
    }

    /// Makes sure that what this node takes for unborn was never written: other replicas may have been written while
    /// this one was away. A short memory of the answer serves reads at the beginning, which a stale one does no harm.
    pub(super) async fn check_unborn(&self, target: &Target, surely: bool) -> Result<(), DirectError> {
        let known = self.inner.unborn.lock().get(&target.group).copied();
        if !surely && known.is_some_and(|at| at.elapsed() < ASK_PATIENCE) {
            return Ok(());
        }
        let router = &self.inner.parts.router;
        let asked = target.replicas.iter().map(|node| router.summaries(*node, vec![target.group], ASK_PATIENCE));
        let mut unwritten = 0;
        let mut written = None;
        for (node, answers) in target.replicas.iter().zip(futures::future::join_all(asked).await) {
            match answers.ok().and_then(|mut answers| answers.pop()) {
                Some((_, SummaryAnswer::NeverWritten)) => unwritten += 1,
                Some((_, SummaryAnswer::Leads(summary))) => written = Some((Some(*node), summary.term)),
                Some((_, SummaryAnswer::Elsewhere(leader, term))) if written.is_none() => {
                    written = Some((leader, term));
                }
                _ => {}
            }
        }
        // Nothing is acknowledged before a majority has a log, so then nothing was ever written (quorums intersect).
        if unwritten > target.replicas.len() / 2 {
            self.inner.unborn.lock().insert(target.group, Instant::now());
            return Ok(());
        }
        self.inner.unborn.lock().remove(&target.group);
        match written {
            Some((leader, term)) => Err(DirectError::NotLeader { leader, term }),
            None => Err(DirectError::NotReady("too few replicas can be asked whether anything was written".to_owned())),
        }
    }
}
