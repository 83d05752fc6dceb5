//! Groups as people look at them: members with what they read, offsets with how far behind they are; and setting offsets
//! from outside.

use super::Broker;
use super::api::{Fetch, FetchError, Isolation, PartitionView, ReadFrom, TopicError, TopicView};
use super::groups::{Commit, CommittedOffset, Described, GroupError, OffsetsOf, PartitionKey, Reply, Request};
use super::polls::PollError;
use crate::record::{Limits, records};
use crate::types::{Offset, PartitionId};
use futures::stream::StreamExt;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::time::Instant;

/// Partitions whose oldest unread record is looked at side by side.
const CONCURRENT_PARTITIONS: usize = 32;
const LIMITS: Limits = Limits { record_bytes_max: 64 << 20, batch_bytes_max: 64 << 20, inflated_bytes_max: 64 << 20 };

/// How far a group is in one partition.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    pub at: PartitionKey,
    pub committed: CommittedOffset,
    /// The ends of the log; `None` where the partition's leader could not be asked, or the topic is gone.
    pub log_start_offset: Option<i64>,
    pub high_watermark: Option<i64>,
    /// Records that are not acknowledged.
    pub lag: Option<i64>,
    /// Age of the oldest of them, in ms.
    pub lag_ms: Option<i64>,
}

/// Where offsets are to be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reset {
    /// To these offsets.
    Exactly(Vec<(PartitionKey, i64)>),
    /// Of all partitions of these topics (all that the group has offsets of, where none is named).
    To(Vec<String>, ReadFrom),
}

impl Broker {
    /// A group and how far it is; `None` where there is no such group.
    ///
    /// # Errors
    /// Its coordinator can't be asked.
    pub async fn group_view(
        &self,
        group: &str,
        deadline: Instant,
    ) -> Result<Option<(Described, Vec<Progress>)>, GroupError> {
        let request = Request::Describe { group: group.to_string() };
        let described = match self.ask_group(group, request, false, deadline).await {
            Ok(Reply::Described(Some(described))) => described,
            Ok(_) | Err(GroupError::UnknownGroup(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let names: BTreeSet<&str> = described.offsets.iter().map(|(at, _)| at.topic.as_str()).collect();
        let mut topics: BTreeMap<&str, (Arc<TopicView>, Vec<PartitionView>)> = BTreeMap::new();
        for name in names {
            if let Some(topic) = self.topic(name) {
                let partitions = self.describe_partitions(&topic, deadline).await;
                topics.insert(name, (topic, partitions));
            }
        }
        let looks = described.offsets.iter().map(|(at, committed)| {
            let found = topics.get(at.topic.as_str());
            let view = found.and_then(|(topic, views)| Some((topic, views.get(usize::try_from(at.partition).ok()?)?)));
            self.progress(at, committed, view, deadline)
        });
        let looks: Vec<_> = looks.collect();
        let progress = futures::stream::iter(looks).buffered(CONCURRENT_PARTITIONS).collect().await;
        Ok(Some((described, progress)))
    }

    async fn progress(
        &self,
        at: &PartitionKey,
        committed: &CommittedOffset,
        view: Option<(&Arc<TopicView>, &PartitionView)>,
        deadline: Instant,
    ) -> Progress {
        let (at, committed) = (at.clone(), committed.clone());
        let Some((topic, view)) = view.filter(|(_, view)| view.leader.is_some()) else {
            return Progress { at, committed, log_start_offset: None, high_watermark: None, lag: None, lag_ms: None };
        };
        let (start, end) = (view.log_start_offset.0 as i64, view.high_watermark.0 as i64);
        let lag = (end - committed.offset.max(start)).max(0);
        let lag_ms = match lag {
            0 => Some(0),
            _ => self.age_at(topic, view.partition, committed.offset.max(start), deadline).await,
        };
        Progress { at, committed, log_start_offset: Some(start), high_watermark: Some(end), lag: Some(lag), lag_ms }
    }

    /// How old the record at an offset is, in ms.
    async fn age_at(&self, topic: &Arc<TopicView>, partition: PartitionId, at: i64, deadline: Instant) -> Option<i64> {
        let at = Offset(at as u64);
        let request = Fetch {
            topic: topic.clone(),
            partition,
            from: ReadFrom::Offset(at),
            max_bytes: 1,
            wait_ms: 0,
            isolation: Isolation::ReadCommitted,
            linearizable: false,
            deadline,
        };
        let fetched = self.fetch(request).await.ok()?;
        let found = fetched.batches.iter().flat_map(|batches| records(batches.to_bytes(), &LIMITS));
        let oldest = found.filter_map(Result::ok).find(|record| record.offset >= at)?;
        Some((self.now_ms() - oldest.timestamp_ms).max(0))
    }

    /// Sets offsets of a group without members; `dry_run` only tells which. The offsets that hold then.
    ///
    /// # Errors
    /// The group has members; a topic or partition does not exist; an offset is outside of the log.
    pub async fn reset_group(
        &self,
        group: &str,
        reset: Reset,
        dry_run: bool,
        deadline: Instant,
    ) -> Result<Vec<(PartitionKey, i64)>, PollError> {
        let targets = match reset {
            Reset::Exactly(offsets) => self.check_offsets(offsets, deadline).await?,
            Reset::To(topics, to) => {
                let topics = if topics.is_empty() { self.topics_of(group, deadline).await? } else { topics };
                self.resolve_reset(&topics, to, deadline).await?
            }
        };
        if dry_run || targets.is_empty() {
            return Ok(targets);
        }
        let commit = |(at, offset): &(PartitionKey, i64)| Commit {
            at: at.clone(),
            offset: *offset,
            leader_epoch: -1,
            metadata: String::new(),
        };
        let request = Request::Commit { group: group.to_string(), commits: targets.iter().map(commit).collect() };
        self.ask_group(group, request, true, deadline).await.map_err(|error| match error {
            GroupError::UnknownMember(_) | GroupError::HasHttpMembers(_) => GroupError::NonEmptyGroup,
            other => other,
        })?;
        Ok(targets)
    }

    async fn topics_of(&self, group: &str, deadline: Instant) -> Result<Vec<String>, PollError> {
        let request = Request::Offsets { group: group.to_string(), partitions: None };
        let Reply::Offsets(offsets) = self.ask_group(group, request, false, deadline).await? else {
            return Ok(Vec::new());
        };
        let offsets: OffsetsOf = offsets;
        if offsets.is_empty() {
            return Err(GroupError::UnknownGroup(group.to_string()).into());
        }
        let names: BTreeSet<String> = offsets.into_iter().map(|(at, _)| at.topic).collect();
        Ok(names.into_iter().collect())
    }

    async fn resolve_reset(
        &self,
        topics: &[String],
        to: ReadFrom,
        deadline: Instant,
    ) -> Result<Vec<(PartitionKey, i64)>, PollError> {
        let mut targets = Vec::new();
        for name in topics {
            let found = self.resolve_topic(name, false, deadline).await;
            let topic = found.map_err(|error| PollError::Topic(name.clone(), error))?;
            let failed = |error| PollError::Fetch(PartitionKey::new(name, 0), error);
            for found in self.offsets(&topic, to, deadline).await.map_err(failed)? {
                targets.push((PartitionKey::new(name, found.partition.0 as i32), found.offset.0 as i64));
            }
        }
        targets.sort();
        Ok(targets)
    }

    /// Refuses offsets that are not in the log: the group would stand still there.
    async fn check_offsets(
        &self,
        offsets: Vec<(PartitionKey, i64)>,
        deadline: Instant,
    ) -> Result<Vec<(PartitionKey, i64)>, PollError> {
        let mut views: BTreeMap<String, Vec<PartitionView>> = BTreeMap::new();
        for (at, offset) in &offsets {
            if !views.contains_key(&at.topic) {
                let found = self.resolve_topic(&at.topic, false, deadline).await;
                let topic = found.map_err(|error: TopicError| PollError::Topic(at.topic.clone(), error))?;
                views.insert(at.topic.clone(), self.describe_partitions(&topic, deadline).await);
            }
            let partitions = &views[&at.topic];
            let refused = |error| PollError::Fetch(at.clone(), error);
            let Some(view) = usize::try_from(at.partition).ok().and_then(|number| partitions.get(number)) else {
                return Err(refused(FetchError::UnknownPartition {
                    topic: at.topic.clone(),
                    partition: PartitionId(at.partition as u32),
                    partitions: partitions.len() as u32,
                }));
            };
            let (start, end) = (view.log_start_offset, view.high_watermark);
            if !(start.0 as i64..=end.0 as i64).contains(offset) {
                let offset = Offset(*offset as u64);
                return Err(refused(FetchError::OutOfRange { offset, log_start_offset: start, high_watermark: end }));
            }
        }
        Ok(offsets)
    }
}
