//! Forgets what nobody needs: offsets of groups that are long without members, and of topics that are gone.
//!
//! Kafka's rule (KIP-211): the time runs from when a group became empty; where nobody ever joined (offsets were only
//! committed), from each commit. A group that has nothing left goes too. Forgetting is tombstones in the log.

use super::shard::Led;
use super::{Coordinator, Shard};
use crate::state::group::{GroupEntry, GroupRecord};
use std::collections::BTreeSet;
use std::sync::Arc;

impl Coordinator {
    /// Looks now and then, and when a topic is deleted, until the node stops.
    pub async fn sweep(self) {
        let parts = &self.inner.parts;
        let stopping = parts.tasks.stopping();
        let mut image = parts.controller.watch();
        let names = |image: &crate::state::meta::MetaImage| -> BTreeSet<_> {
            image.topics().map(|topic| (topic.id, topic.name.clone())).collect()
        };
        let mut before = names(&image.borrow_and_update());
        let mut due = tokio::time::Instant::now() + self.inner.config.sweep_interval;
        loop {
            tokio::select! {
                () = stopping.cancelled() => return,
                changed = image.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let now = names(&image.borrow_and_update());
                    let gone: BTreeSet<String> =
                        before.difference(&now).map(|(_, name)| name.to_string()).collect();
                    before = now;
                    if !gone.is_empty() {
                        self.sweep_shards(&gone).await;
                    }
                }
                () = tokio::time::sleep_until(due) => {
                    self.sweep_shards(&BTreeSet::new()).await;
                    due = tokio::time::Instant::now() + self.inner.config.sweep_interval;
                }
            }
        }
    }

    /// `gone`: topics of these names were deleted just now (and others may have their names).
    async fn sweep_shards(&self, gone: &BTreeSet<String>) {
        let parts = &self.inner.parts;
        if !parts.controller.is_caught_up() {
            return;
        }
        let image = parts.controller.image();
        let Some(topic) = image.topic(crate::state::group::GROUP_TOPIC) else { return };
        for (_, at, _) in topic.groups() {
            let leads = parts.partitions.get(at).is_some_and(|replica| replica.group.leading().is_some());
            if !leads {
                continue;
            }
            let shard = self.shard(at);
            if let Ok(led) = self.enter(&shard).await {
                self.sweep_shard(&shard, &led, gone).await;
            }
        }
    }

    async fn sweep_shard(&self, _shard: &Arc<Shard>, led: &Led, gone: &BTreeSet<String>) {
        let image = self.inner.parts.controller.image();
        let expires_before_ms =
            self.inner.parts.clock.now_ms().saturating_sub(self.inner.config.retention.as_millis() as i64);
        let is_gone = |topic: &str| gone.contains(topic) || image.topic(topic).is_none();
        let records = led.replica.with_groups(|table| {
            let mut records = Vec::new();
            for (name, entry) in table.iter() {
                let is_alive = led.living(name).is_some_and(|live| live.has_members()) || led.is_polled(name);
                records.extend(tombstones(name, entry, is_alive, expires_before_ms, &is_gone));
            }
            records
        });
        let records = records.unwrap_or_default();
        if !records.is_empty() {
            tracing::info!(partition = %led.replica.group.id, count = records.len(), "offsets of groups are forgotten");
            // Where this fails, the next sweep finds the same.
            drop(self.write(led, &records).await);
        }
    }
}

fn tombstones(
    name: &str,
    entry: &GroupEntry,
    is_alive: bool,
    expires_before_ms: i64,
    is_gone: &impl Fn(&str) -> bool,
) -> Vec<GroupRecord> {
    let empty_since_ms = entry.metadata.as_ref().filter(|kept| kept.members.is_empty()).map(|kept| kept.state_since_ms);
    let is_over = |committed_at_ms: i64| {
        !is_alive && empty_since_ms.unwrap_or(committed_at_ms).max(committed_at_ms) <= expires_before_ms
    };
    let goes = entry.offsets.iter().filter(|(at, kept)| is_gone(&at.topic) || is_over(kept.committed_at_ms));
    let mut records: Vec<GroupRecord> =
        goes.map(|(at, _)| GroupRecord::offset(name, &at.topic, at.partition, None)).collect();
    let nothing_left = records.len() == entry.offsets.len() && entry.leases.is_empty();
    let is_empty = empty_since_ms.is_some_and(|since| since <= expires_before_ms || !entry.offsets.is_empty());
    if nothing_left && is_empty && !is_alive {
        records.push(GroupRecord::group(name, None));
    }
    records
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::group::{CommittedOffset, GroupMetadata, MemberMetadata, PartitionKey};

    fn entry(members: usize, empty_since_ms: i64, committed_at_ms: &[i64]) -> GroupEntry {
        let offset =
            |at: i64| CommittedOffset { offset: 1, leader_epoch: -1, metadata: String::new(), committed_at_ms: at };
        let offsets =
            committed_at_ms.iter().zip(0..).map(|(at, partition)| (PartitionKey::new("t", partition), offset(*at)));
        let metadata = GroupMetadata {
            members: vec![MemberMetadata::default(); members],
            state_since_ms: empty_since_ms,
            ..GroupMetadata::default()
        };
        GroupEntry { metadata: Some(metadata), offsets: offsets.collect(), ..GroupEntry::default() }
    }

    fn count(entry: &GroupEntry, is_alive: bool, before_ms: i64, is_gone: bool) -> usize {
        tombstones("g", entry, is_alive, before_ms, &|_| is_gone).len()
    }

    #[test]
    fn offsets_go_when_the_group_was_empty_for_long() {
        assert_eq!(count(&entry(0, 100, &[50, 60]), false, 99, false), 0);
        assert_eq!(count(&entry(0, 100, &[50, 60]), false, 100, false), 3, "the offsets and the group");
        assert_eq!(count(&entry(0, 100, &[50, 160]), false, 100, false), 1, "one was committed since");
        assert_eq!(count(&entry(0, 100, &[50]), true, 500, false), 0, "it has members");
    }

    #[test]
    fn without_members_ever_the_time_runs_from_the_commit() {
        let mut standalone = entry(0, 0, &[50, 150]);
        standalone.metadata = None;
        assert_eq!(count(&standalone, false, 100, false), 1);
        assert_eq!(count(&standalone, false, 150, false), 2);
    }

    #[test]
    fn offsets_of_deleted_topics_go_at_once_and_living_groups_stay() {
        assert_eq!(count(&entry(1, 100, &[50, 60]), true, 0, true), 2);
        assert_eq!(count(&entry(0, 100, &[50]), false, 0, true), 2);
        assert_eq!(count(&entry(0, 100, &[]), false, 0, true), 0, "it may have just begun");
    }
}
