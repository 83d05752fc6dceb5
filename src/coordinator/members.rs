//! What Kafka's members ask: join, sync, heartbeat, leave, commit.

use super::{Coordinator, Entered, Shard, check_name};
use crate::state::group::live::{Join, Joined, Speaker, Sync, Synced};
use crate::state::group::{CommittedOffset, GroupError, GroupRecord, PartitionKey};
use crate::types::GroupId;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// A rebalance ends by its own timeout; this is for a client whose timeout is beyond all measure.
const JOIN_PATIENCE: Duration = Duration::from_secs(30 * 60);
const SYNC_PATIENCE: Duration = Duration::from_secs(30 * 60);

/// An offset to be committed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    pub at: PartitionKey,
    pub offset: i64,
    pub leader_epoch: i32,
    pub metadata: String,
}

impl Coordinator {
    /// Joins; back when the rebalance has ended.
    ///
    /// # Errors
    /// As the group decides; or this node does not coordinate it (any more).
    pub async fn join(&self, at: GroupId, group: &str, mut join: Join) -> Result<Joined, GroupError> {
        check_name(group)?;
        if join.id_for_new.is_empty() {
            let prefix = join.instance_id.as_ref().unwrap_or(&join.client_id);
            join.id_for_new = format!("{prefix}-{}", self.inner.parts.random.uuid());
        }
        let shard = self.shard(at);
        let answer = {
            let mut led = self.enter(&shard).await?;
            led.check_room(group)?;
            led.check_no_http(group)?;
            let now_ms = led.now_ms();
            let (ticket, answer) = led.await_join();
            led.group(group).join(&join, ticket, now_ms);
            self.finish(&shard, &mut led, group).await;
            answer
        };
        match tokio::time::timeout(JOIN_PATIENCE, answer).await {
            Ok(result) => result.unwrap_or(Err(GroupError::NotCoordinator)),
            Err(_) => Err(GroupError::RebalanceInProgress),
        }
    }

    /// Asks for an assignment; back when the leader's word is written.
    ///
    /// # Errors
    /// As for `join`.
    pub async fn sync(&self, at: GroupId, group: &str, sync: &Sync) -> Result<Synced, GroupError> {
        check_name(group)?;
        let shard = self.shard(at);
        let answer = {
            let mut led = self.enter(&shard).await?;
            let now_ms = led.now_ms();
            let (ticket, answer) = led.await_sync();
            led.group(group).sync(sync, ticket, now_ms);
            self.finish(&shard, &mut led, group).await;
            answer
        };
        match tokio::time::timeout(SYNC_PATIENCE, answer).await {
            Ok(result) => result.unwrap_or(Err(GroupError::NotCoordinator)),
            Err(_) => Err(GroupError::RebalanceInProgress),
        }
    }

    /// A member is alive.
    ///
    /// # Errors
    /// As the group decides.
    pub async fn heartbeat(&self, at: GroupId, group: &str, speaker: &Speaker) -> Result<(), GroupError> {
        check_name(group)?;
        let shard = self.shard(at);
        let mut led = self.enter(&shard).await?;
        let now_ms = led.now_ms();
        let result = led.group(group).heartbeat(speaker, now_ms);
        self.carry_out(&shard, &mut led, group).await;
        result
    }

    /// Members leave, each by its id, or by its instance id.
    ///
    /// # Errors
    /// This node does not coordinate the group; each member has a result of its own.
    pub async fn leave(
        &self,
        at: GroupId,
        group: &str,
        members: &[(String, Option<String>)],
    ) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        check_name(group)?;
        let shard = self.shard(at);
        let mut led = self.enter(&shard).await?;
        let now_ms = led.now_ms();
        let live = led.group(group);
        let results = members.iter().map(|(id, instance)| live.leave(id, instance.as_deref(), now_ms)).collect();
        self.finish(&shard, &mut led, group).await;
        Ok(results)
    }

    /// Commits offsets, all or none; back once they are durable.
    ///
    /// # Errors
    /// The speaker may not, or nothing was written, or (`Unknown`) it may have been.
    pub async fn commit(
        &self,
        at: GroupId,
        group: &str,
        speaker: &Speaker,
        commits: &[Commit],
    ) -> Result<(), GroupError> {
        check_name(group)?;
        let shard = self.shard(at);
        let written = {
            let mut led = self.enter(&shard).await?;
            led.check_room(group)?;
            led.check_no_http(group)?;
            let now_ms = led.now_ms();
            let allowed = led.group(group).check_commit(speaker, now_ms);
            self.carry_out(&shard, &mut led, group).await;
            allowed?;
            if commits.is_empty() {
                return Ok(());
            }
            let records = self.records_of(group, commits);
            self.write(&led, &records).await
        };
        written.await.unwrap_or_else(|_| Err(GroupError::Unknown("this node is stopping".to_string())))
    }

    pub(super) fn records_of(&self, group: &str, commits: &[Commit]) -> Vec<GroupRecord> {
        let committed_at_ms = self.inner.parts.clock.now_ms();
        let record = |commit: &Commit| {
            let value = CommittedOffset {
                offset: commit.offset,
                leader_epoch: commit.leader_epoch,
                metadata: commit.metadata.clone(),
                committed_at_ms,
            };
            GroupRecord::offset(group, &commit.at.topic, commit.at.partition, Some(value))
        };
        commits.iter().map(record).collect()
    }

    /// Carries out what was decided, and lets the timer know.
    pub(super) async fn finish(&self, shard: &Arc<Shard>, led: &mut Entered<'_>, group: &str) {
        self.carry_out(shard, led, group).await;
        self.drive(shard, &led.core);
    }
}
