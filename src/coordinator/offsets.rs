//! What is asked about groups, and what is done to them from outside: offsets, lists, descriptions, deletion.

use super::{Coordinator, check_name, not_of_groups};
use crate::state::group::live::{LiveGroup, MemberView, Phase};
use crate::state::group::{CommittedOffset, GroupEntry, GroupError, GroupRecord, LeaseId, PartitionKey};
use crate::types::GroupId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Committed offsets, by partition; of those that were asked for, also that there is none.
pub type OffsetsOf = Vec<(PartitionKey, Option<CommittedOffset>)>;

/// What kind of members a group has now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GroupKind {
    /// None.
    None,
    Kafka,
    Http,
}

/// A group, in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    pub group: String,
    pub phase: Phase,
    pub protocol_type: String,
    pub kind: GroupKind,
    pub members: usize,
}

/// All about a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Described {
    pub group: String,
    pub phase: Phase,
    pub kind: GroupKind,
    pub protocol_type: String,
    pub protocol: String,
    pub generation: i32,
    /// Kafka clients.
    pub members: Vec<MemberView>,
    /// Members that poll over HTTP, with what they hold.
    pub pollers: Vec<Poller>,
    pub offsets: Vec<(PartitionKey, CommittedOffset)>,
}

/// A member that polls over HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Poller {
    pub member: String,
    pub leases: Vec<(LeaseId, Vec<PartitionKey>)>,
}

impl Coordinator {
    /// Committed offsets: of these partitions, or all that the group has. Never what is behind what was answered before,
    /// as a quorum is asked first.
    ///
    /// # Errors
    /// This node does not coordinate the group.
    pub async fn offsets(
        &self,
        at: GroupId,
        group: &str,
        partitions: Option<Vec<PartitionKey>>,
    ) -> Result<OffsetsOf, GroupError> {
        check_name(group)?;
        self.read(at, |table| {
            let kept = table.get(group);
            match partitions {
                Some(partitions) => {
                    let of = |at: &PartitionKey| kept.and_then(|kept| kept.offsets.get(at)).cloned();
                    partitions.into_iter().map(|at| (at.clone(), of(&at))).collect()
                }
                None => {
                    let all = kept.into_iter().flat_map(|kept| &kept.offsets);
                    all.map(|(at, offset)| (at.clone(), Some(offset.clone()))).collect()
                }
            }
        })
        .await
    }

    /// The groups of one partition, by name.
    ///
    /// # Errors
    /// This node does not coordinate them.
    pub async fn list(&self, at: GroupId) -> Result<Vec<Listed>, GroupError> {
        let shard = self.shard(at);
        let led = self.enter(&shard).await?;
        let kept = led.replica.with_groups(|table| {
            let listed = |(name, entry): (&str, &GroupEntry)| {
                let protocol_type = entry.metadata.as_ref().map(|kept| kept.protocol_type.clone());
                (name.to_string(), protocol_type.unwrap_or_default())
            };
            table.iter().map(listed).collect::<Vec<_>>()
        });
        let mut names: BTreeSet<(String, String)> = kept.ok_or_else(not_of_groups)?.into_iter().collect();
        names.retain(|(name, _)| led.living(name).is_none());
        names.extend(led.all_living().map(|(name, live)| (name.clone(), live.protocol_type().to_string())));
        let known: BTreeSet<String> = names.iter().map(|(name, _)| name.clone()).collect();
        let polled = led.http.keys().filter(|name| !known.contains(*name));
        names.extend(polled.map(|name| (name.clone(), String::new())));
        let listed = names.into_iter().map(|(group, protocol_type)| {
            let live = led.living(&group);
            let pollers = led.http.get(&group).map_or(0, |http| http.members().len());
            let members = live.map_or(0, |live| live.members().len());
            Listed {
                phase: phase_of(live, pollers),
                kind: kind_of(live, pollers),
                members: members + pollers,
                protocol_type,
                group,
            }
        });
        Ok(listed.collect())
    }

    /// All about one group; `None` where there is no such group.
    ///
    /// # Errors
    /// This node does not coordinate it.
    pub async fn describe(&self, at: GroupId, group: &str) -> Result<Option<Described>, GroupError> {
        check_name(group)?;
        let shard = self.shard(at);
        let led = self.enter(&shard).await?;
        let kept = led.replica.with_groups(|table| table.get(group).cloned()).ok_or_else(not_of_groups)?;
        let (live, http) = (led.living(group), led.http.get(group));
        if kept.is_none() && live.is_none() && http.is_none() {
            return Ok(None);
        }
        let kept = kept.unwrap_or_default();
        let pollers: Vec<Poller> = http.map(|http| http.pollers()).unwrap_or_default();
        let metadata = kept.metadata.unwrap_or_default();
        Ok(Some(Described {
            group: group.to_string(),
            phase: phase_of(live, pollers.len()),
            kind: kind_of(live, pollers.len()),
            protocol_type: live.map_or(metadata.protocol_type, |live| live.protocol_type().to_string()),
            protocol: live.and_then(LiveGroup::protocol).unwrap_or_default().to_string(),
            generation: live.map_or(metadata.generation, LiveGroup::generation),
            members: live.map(LiveGroup::members).unwrap_or_default(),
            pollers,
            offsets: kept.offsets.into_iter().collect(),
        }))
    }

    /// Deletes a group that has no members, with its offsets.
    ///
    /// # Errors
    /// It has members, or there is none.
    pub async fn delete(&self, at: GroupId, group: &str) -> Result<(), GroupError> {
        check_name(group)?;
        let shard = self.shard(at);
        let written = {
            let mut led = self.enter(&shard).await?;
            if led.is_polled(group) {
                return Err(GroupError::NonEmptyGroup);
            }
            let kept = led.replica.with_groups(|table| table.get(group).cloned()).ok_or_else(not_of_groups)?;
            if kept.is_none() && led.living(group).is_none() {
                return Err(GroupError::UnknownGroup(group.to_string()));
            }
            let deleted = led.group(group).delete();
            self.carry_out(&shard, &mut led, group).await;
            deleted?;
            led.http.remove(group);
            let kept = kept.unwrap_or_default();
            let mut records: Vec<GroupRecord> =
                kept.offsets.keys().map(|at| GroupRecord::offset(group, &at.topic, at.partition, None)).collect();
            records.push(GroupRecord::group(group, None));
            self.write(&led, &records).await
        };
        written.await.unwrap_or_else(|_| Err(GroupError::Unknown("this node is stopping".to_string())))
    }

    /// Forgets offsets of topics that no member reads.
    ///
    /// # Errors
    /// There is no such group; each partition has a result of its own.
    pub async fn delete_offsets(
        &self,
        at: GroupId,
        group: &str,
        partitions: &[PartitionKey],
    ) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        check_name(group)?;
        let shard = self.shard(at);
        let (results, written) = {
            let mut led = self.enter(&shard).await?;
            led.check_no_http(group)?;
            let is_kept = led.replica.with_groups(|table| table.get(group).is_some()).ok_or_else(not_of_groups)?;
            if !is_kept && led.living(group).is_none() {
                return Err(GroupError::UnknownGroup(group.to_string()));
            }
            let live = led.group(group);
            if live.has_members() && live.protocol_type() != "consumer" {
                return Err(GroupError::NonEmptyGroup);
            }
            let check = |at: &PartitionKey| match live.has_members() && live.is_subscribed(&at.topic) {
                true => Err(GroupError::SubscribedToTopic(at.topic.clone())),
                false => Ok(()),
            };
            let results: Vec<Result<(), GroupError>> = partitions.iter().map(check).collect();
            self.carry_out(&shard, &mut led, group).await;
            let goes = partitions.iter().zip(&results).filter(|(_, result)| result.is_ok());
            let records: Vec<GroupRecord> =
                goes.map(|(at, _)| GroupRecord::offset(group, &at.topic, at.partition, None)).collect();
            if records.is_empty() {
                return Ok(results);
            }
            (results, self.write(&led, &records).await)
        };
        written.await.unwrap_or_else(|_| Err(GroupError::Unknown("this node is stopping".to_string())))?;
        Ok(results)
    }
}

fn phase_of(live: Option<&LiveGroup>, pollers: usize) -> Phase {
    if pollers > 0 { Phase::Stable } else { live.map_or(Phase::Empty, LiveGroup::phase) }
}

fn kind_of(live: Option<&LiveGroup>, pollers: usize) -> GroupKind {
    match (live.is_some_and(LiveGroup::has_members), pollers) {
        (true, _) => GroupKind::Kafka,
        (false, 0) => GroupKind::None,
        (false, _) => GroupKind::Http,
    }
}
