//! Groups whose members poll over HTTP: who may read what, and what is handed out.
//!
//! A poll is three steps, so that nothing is used up that was not delivered: which partitions are the member's turn; the
//! records are read, by whoever asks; then what was read is leased, if nobody else was faster and the group's offset is
//! still where the records begin. Leases and offsets are in the log; who polled lately is known here only, and is known
//! again a moment after a failover.
//!
//! Times are this term's clock. A lease that a new leader finds begins its time anew: it never ends too early by that.

use super::shard::Led;
use super::{Commit, Coordinator, Entered, check_name};
use crate::coordinator::offsets::Poller;
use crate::state::group::live::LiveGroup;
use crate::state::group::{GroupCommand, GroupEntry, GroupError, Lease, LeaseId, LeasedRange, PartitionKey};
use crate::tasks::OnPanic;
use crate::types::GroupId;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::oneshot;

/// A member counts as polling for so long after its last poll; while it holds a lease, in any case.
pub const LINGER_MS: i64 = 10_000;
/// Members of one group.
const MEMBERS_MAX: usize = 5_000;

/// A partition that is a member's turn, and where the group is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    pub at: PartitionKey,
    /// `None` where the group has no offset yet.
    pub committed: Option<i64>,
}

/// What a member may read now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turns {
    pub turns: Vec<Turn>,
}

/// What was read for a member and is to be its own for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    pub member: String,
    pub duration_ms: i64,
    pub ranges: Vec<LeasedRange>,
}

/// What was leased: those ranges of the grant that nobody else had taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Granted {
    pub lease: LeaseId,
    pub ranges: Vec<LeasedRange>,
}

/// What a member says of a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ack {
    /// All of it is done.
    All,
    /// Done before these offsets; the rest goes on.
    Before(Vec<(PartitionKey, i64)>),
    /// Nothing more will be done: it may go to others.
    Release,
}

struct Held {
    lease: Lease,
    until_ms: i64,
    /// Done before these offsets.
    done: BTreeMap<PartitionKey, i64>,
}

/// The members and leases of one group.
#[derive(Default)]
pub(super) struct HttpGroup {
    /// Until when each counts as polling.
    members: BTreeMap<String, i64>,
    leases: BTreeMap<LeaseId, Held>,
}

impl HttpGroup {
    pub fn restore(entry: &GroupEntry) -> HttpGroup {
        let held = |(id, lease): (&LeaseId, &Lease)| {
            (*id, Held { lease: lease.clone(), until_ms: lease.duration_ms, done: BTreeMap::new() })
        };
        HttpGroup { members: BTreeMap::new(), leases: entry.leases.iter().map(held).collect() }
    }

    pub fn next_deadline_ms(&self) -> Option<i64> {
        self.members.values().copied().chain(self.leases.values().map(|held| held.until_ms)).min()
    }

    /// Who polled lately or holds something.
    pub fn members(&self) -> BTreeSet<&str> {
        let holders = self.leases.values().map(|held| held.lease.member.as_str());
        self.members.keys().map(String::as_str).chain(holders).collect()
    }

    /// The members with what they hold.
    pub fn pollers(&self) -> Vec<Poller> {
        let of = |member: &str| {
            let own = self.leases.iter().filter(|(_, held)| held.lease.member == member);
            let leases = own.map(|(id, held)| (*id, held.lease.ranges.iter().map(|range| range.at.clone()).collect()));
            Poller { member: member.to_string(), leases: leases.collect() }
        };
        self.members().into_iter().map(of).collect()
    }

    fn is_leased(&self, at: &PartitionKey) -> bool {
        self.leases.values().any(|held| held.lease.ranges.iter().any(|range| range.at == *at))
    }

    /// Takes partitions out of a lease, and the lease away once nothing is left of it.
    fn free(&mut self, id: LeaseId, partitions: &[PartitionKey]) {
        let Some(held) = self.leases.get_mut(&id) else { return };
        held.lease.ranges.retain(|range| !partitions.contains(&range.at));
        if held.lease.ranges.is_empty() {
            self.leases.remove(&id);
        }
    }
}

/// The free partitions that are a member's. Who holds some has these in its share already; the others are given out in
/// order, each to whoever has fewest.
fn share(http: &HttpGroup, member: &str, partitions: &BTreeSet<PartitionKey>) -> Vec<PartitionKey> {
    let mut counts: BTreeMap<&str, usize> = http.members().into_iter().map(|other| (other, 0)).collect();
    for held in http.leases.values() {
        let own = held.lease.ranges.iter().filter(|range| partitions.contains(&range.at)).count();
        *counts.entry(&held.lease.member).or_default() += own;
    }
    let mut own = Vec::new();
    for at in partitions.iter().filter(|at| !http.is_leased(at)) {
        let fewest = counts.iter().min_by_key(|(_, count)| **count).map(|(other, _)| *other);
        let Some(other) = fewest else { break };
        counts.entry(other).and_modify(|count| *count += 1);
        if other == member {
            own.push(at.clone());
        }
    }
    own
}

impl Led {
    /// # Errors
    /// The group is polled over HTTP.
    pub fn check_no_http(&self, group: &str) -> Result<(), GroupError> {
        if self.is_polled(group) { Err(GroupError::HasHttpMembers(group.to_string())) } else { Ok(()) }
    }

    /// Whether the group has members that poll, or leases.
    pub fn is_polled(&self, group: &str) -> bool {
        self.http.get(group).is_some_and(|http| !http.members.is_empty() || !http.leases.is_empty())
    }

    fn check_no_kafka(&self, group: &str) -> Result<(), GroupError> {
        let has_members = self.living(group).is_some_and(LiveGroup::has_members);
        if has_members { Err(GroupError::HasKafkaMembers(group.to_string())) } else { Ok(()) }
    }

    fn committed(&self, group: &str, at: &PartitionKey) -> Option<i64> {
        let found = self.replica.with_groups(|table| table.get(group)?.offsets.get(at).map(|kept| kept.offset));
        found.flatten()
    }
}

impl Coordinator {
    /// A member polls: what of these partitions is its turn?
    ///
    /// # Errors
    /// The group has Kafka clients as members, or too many of these.
    pub async fn turns(
        &self,
        at: GroupId,
        group: &str,
        member: &str,
        partitions: Vec<PartitionKey>,
    ) -> Result<Turns, GroupError> {
        check_name(group)?;
        let shard = self.shard(at);
        let mut led = self.enter(&shard).await?;
        led.check_room(group)?;
        led.check_no_kafka(group)?;
        let until_ms = led.now_ms() + LINGER_MS;
        let http = led.http.entry(group.to_string()).or_default();
        if http.members.len() >= MEMBERS_MAX && !http.members.contains_key(member) {
            return Err(GroupError::GroupFull(MEMBERS_MAX));
        }
        http.members.insert(member.to_string(), until_ms);
        let partitions: BTreeSet<PartitionKey> = partitions.into_iter().collect();
        let own = share(http, member, &partitions);
        let turn = |at: PartitionKey| Turn { committed: led.committed(group, &at), at };
        let turns = own.into_iter().map(turn).collect();
        self.drive(&shard, &led.core);
        Ok(Turns { turns })
    }

    /// Fixes where a group begins in partitions of which it has no offset.
    ///
    /// # Errors
    /// Nothing was written, or (`Unknown`) it may have been.
    pub async fn begin_at(&self, at: GroupId, group: &str, starts: Vec<Commit>) -> Result<(), GroupError> {
        check_name(group)?;
        let shard = self.shard(at);
        let written = {
            let led = self.enter(&shard).await?;
            led.check_no_kafka(group)?;
            let new: Vec<Commit> =
                starts.into_iter().filter(|start| led.committed(group, &start.at).is_none()).collect();
            if new.is_empty() {
                return Ok(());
            }
            self.write(&led, &self.records_of(group, &new)).await
        };
        written.await.unwrap_or_else(|_| Err(GroupError::Unknown("this node is stopping".to_string())))
    }

    /// Runs `work` to its end though its asker may go away: what is half done must be known here.
    async fn to_its_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, GroupError>> + Send + 'static,
    ) -> Result<T, GroupError> {
        let (sender, receiver) = oneshot::channel();
        self.inner.parts.tasks.spawn("group-lease", OnPanic::Log, async move {
            let _ = sender.send(work.await);
        });
        receiver.await.unwrap_or_else(|_| Err(GroupError::Unknown("this node is stopping".to_string())))
    }

    /// Leases what was read to the member it was read for.
    ///
    /// # Errors
    /// `LeaseConflict` where all of it went to others meanwhile.
    pub async fn grant(&self, at: GroupId, group: &str, grant: Grant) -> Result<Granted, GroupError> {
        check_name(group)?;
        let (coordinator, group) = (self.clone(), group.to_string());
        self.to_its_end(async move { coordinator.grant_now(at, &group, grant).await }).await
    }

    // A range may begin behind the group's offset, where what lay between is trimmed; never before it.
    async fn grant_now(&self, at: GroupId, group: &str, grant: Grant) -> Result<Granted, GroupError> {
        let shard = self.shard(at);
        let id = LeaseId(self.inner.parts.random.uuid().as_u128());
        let (term, ranges, holds) = {
            let mut led = self.enter(&shard).await?;
            led.check_no_kafka(group)?;
            let is_in_place = |range: &LeasedRange| {
                let is_free = led.http.get(group).is_none_or(|http| !http.is_leased(&range.at));
                is_free && led.committed(group, &range.at).is_none_or(|committed| committed <= range.from)
            };
            let ranges: Vec<LeasedRange> = grant.ranges.into_iter().filter(|range| is_in_place(range)).collect();
            if ranges.is_empty() {
                return Err(GroupError::LeaseConflict);
            }
            let lease = Lease { member: grant.member, duration_ms: grant.duration_ms, ranges: ranges.clone() };
            let command = GroupCommand::Grant { group: group.to_string(), id, lease: lease.clone() };
            let holds = self.command(&led, command).await?;
            let until_ms = led.now_ms() + grant.duration_ms;
            let http = led.http.entry(group.to_string()).or_default();
            http.leases.insert(id, Held { lease, until_ms, done: BTreeMap::new() });
            self.drive(&shard, &led.core);
            (led.term, ranges, holds)
        };
        match holds.await {
            Ok(true) => Ok(Granted { lease: id, ranges }),
            // Where the outcome is unknown the lease may be in the log: it ends by its time.
            Err(error @ GroupError::Unknown(_)) => Err(error),
            other => {
                let mut core = shard.core.lock().await;
                if let Some(led) = core.as_mut().filter(|led| led.term == term)
                    && let Some(http) = led.http.get_mut(group)
                {
                    http.leases.remove(&id);
                }
                Err(other.err().unwrap_or(GroupError::LeaseConflict))
            }
        }
    }

    /// A member is done with a lease, or with a part of it, or gives it back.
    ///
    /// # Errors
    /// `UnknownLease` once it has run out.
    pub async fn ack(&self, at: GroupId, group: &str, id: LeaseId, ack: Ack) -> Result<(), GroupError> {
        check_name(group)?;
        let (coordinator, group) = (self.clone(), group.to_string());
        self.to_its_end(async move { coordinator.ack_now(at, &group, id, ack).await }).await
    }

    async fn ack_now(&self, at: GroupId, group: &str, id: LeaseId, ack: Ack) -> Result<(), GroupError> {
        let shard = self.shard(at);
        let (term, freed, written, released) = {
            let mut led = self.enter(&shard).await?;
            let (commits, freed) = held(&mut led, group, id)?.settle(ack)?;
            let written = match commits.is_empty() {
                true => None,
                false => Some(self.write(&led, &self.records_of(group, &commits)).await),
            };
            let released = match freed.is_empty() {
                true => None,
                false => {
                    let partitions = freed.clone();
                    let command = GroupCommand::Release { group: group.to_string(), id, partitions };
                    Some(self.command(&led, command).await?)
                }
            };
            (led.term, freed, written, released)
        };
        if let Some(written) = written {
            written.await.unwrap_or_else(|_| Err(GroupError::Unknown("this node is stopping".to_string())))?;
        }
        if let Some(released) = released {
            released.await?;
        }
        // Only now: a poll in between must not see a free partition with the offset of before.
        let mut core = shard.core.lock().await;
        if let Some(http) = core.as_mut().filter(|led| led.term == term).and_then(|led| led.http.get_mut(group)) {
            http.free(id, &freed);
        }
        Ok(())
    }

    /// A lease is to last for so long from now.
    ///
    /// # Errors
    /// `UnknownLease` once it has run out.
    pub async fn renew(&self, at: GroupId, group: &str, id: LeaseId, duration_ms: i64) -> Result<(), GroupError> {
        check_name(group)?;
        let shard = self.shard(at);
        let holds = {
            let mut led = self.enter(&shard).await?;
            let now_ms = led.now_ms();
            held(&mut led, group, id)?.until_ms = now_ms + duration_ms;
            let command = GroupCommand::Renew { group: group.to_string(), id, duration_ms };
            let holds = self.command(&led, command).await?;
            self.drive(&shard, &led.core);
            holds
        };
        if holds.await? { Ok(()) } else { Err(GroupError::UnknownLease) }
    }

    /// A member goes: it has no share any more, and what it holds is free.
    ///
    /// # Errors
    /// There is no such member.
    pub async fn leave_poll(&self, at: GroupId, group: &str, member: &str) -> Result<(), GroupError> {
        check_name(group)?;
        let shard = self.shard(at);
        let mut led = self.enter(&shard).await?;
        let unknown = || GroupError::UnknownMember(member.to_string());
        let http = led.http.get_mut(group).ok_or_else(unknown)?;
        let was_member = http.members.remove(member).is_some();
        let of_member = http.leases.iter().filter(|(_, held)| held.lease.member == member);
        let leases: Vec<LeaseId> = of_member.map(|(id, _)| *id).collect();
        leases.iter().for_each(|id| drop(http.leases.remove(id)));
        self.release(&led, group, &leases).await;
        if was_member || !leases.is_empty() { Ok(()) } else { Err(unknown()) }
    }

    /// Orders the end of leases. Where that fails, a new leader finds them, and ends them by their time.
    async fn release(&self, led: &Led, group: &str, leases: &[LeaseId]) {
        for id in leases {
            let command = GroupCommand::Release { group: group.to_string(), id: *id, partitions: Vec::new() };
            if let Err(error) = self.command(led, command).await {
                tracing::debug!(group, %error, "the end of a lease was not written");
            }
        }
    }

    /// Ends what has run out.
    pub(super) async fn end_leases(&self, led: &mut Led, now_ms: i64) {
        let mut ended: Vec<(String, LeaseId)> = Vec::new();
        for (group, http) in &mut led.http {
            http.members.retain(|_, until_ms| *until_ms > now_ms);
            let over = http.leases.iter().filter(|(_, held)| held.until_ms <= now_ms);
            let over: Vec<LeaseId> = over.map(|(id, _)| *id).collect();
            for id in over {
                http.leases.remove(&id);
                ended.push((group.clone(), id));
            }
        }
        led.http.retain(|_, http| !http.members.is_empty() || !http.leases.is_empty());
        for (group, id) in ended {
            self.release(led, &group, &[id]).await;
        }
    }
}

/// A lease that is still in time.
fn held<'a>(led: &'a mut Entered<'_>, group: &str, id: LeaseId) -> Result<&'a mut Held, GroupError> {
    let now_ms = led.now_ms();
    let found = led.http.get_mut(group).and_then(|http| http.leases.get_mut(&id));
    found.filter(|held| held.until_ms > now_ms).ok_or(GroupError::UnknownLease)
}

impl Held {
    /// What is to be committed, and which partitions are free by that.
    fn settle(&mut self, ack: Ack) -> Result<(Vec<Commit>, Vec<PartitionKey>), GroupError> {
        let all = || self.lease.ranges.iter().map(|range| (range.at.clone(), range.to)).collect();
        let done: Vec<(PartitionKey, i64)> = match ack {
            Ack::Release => return Ok((Vec::new(), self.lease.ranges.iter().map(|range| range.at.clone()).collect())),
            Ack::All => all(),
            Ack::Before(offsets) => offsets,
        };
        let (mut commits, mut freed) = (Vec::new(), Vec::new());
        for (at, before) in done {
            let range = self.lease.ranges.iter().find(|range| range.at == at);
            let Some(range) = range.filter(|range| (range.from..=range.to).contains(&before)) else {
                let (topic, partition, last) = (&at.topic, at.partition, before - 1);
                let text = format!("offset {last} of partition {partition} of topic {topic} is not in the lease");
                return Err(GroupError::Invalid(text));
            };
            let known = self.done.get(&at).copied().unwrap_or(range.from);
            if before == range.to {
                freed.push(at.clone());
            }
            // Said before, or less than was said before: an offset never goes back.
            if before > known {
                commits.push(Commit { at, offset: before, leader_epoch: -1, metadata: String::new() });
            }
        }
        for commit in &commits {
            self.done.insert(commit.at.clone(), commit.offset);
        }
        Ok((commits, freed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(partition: i32) -> PartitionKey {
        PartitionKey::new("t", partition)
    }

    fn held(ranges: &[(i32, i64, i64)]) -> Held {
        let range = |(partition, from, to): &(i32, i64, i64)| LeasedRange { at: key(*partition), from: *from, to: *to };
        let lease = Lease { member: "m".into(), duration_ms: 10, ranges: ranges.iter().map(range).collect() };
        Held { lease, until_ms: 10, done: BTreeMap::new() }
    }

    #[test]
    fn shares_are_disjoint_and_leave_nothing_out() {
        let partitions: BTreeSet<PartitionKey> = (0..7).map(key).collect();
        let mut http = HttpGroup::default();
        for member in ["c", "a", "b"] {
            http.members.insert(member.to_string(), 10);
        }
        let all = |http: &HttpGroup| {
            let mut all: Vec<_> = ["a", "b", "c"].iter().flat_map(|member| share(http, member, &partitions)).collect();
            all.sort();
            all
        };
        assert_eq!(share(&http, "a", &partitions), [key(0), key(3), key(6)]);
        assert_eq!(all(&http), partitions.iter().cloned().collect::<Vec<_>>());
        assert!(share(&http, "stranger", &partitions).is_empty());

        let mut b = held(&[(0, 0, 1), (1, 0, 1), (2, 0, 1)]);
        b.lease.member = "b".into();
        http.leases.insert(LeaseId(1), b);
        assert_eq!(all(&http), [key(3), key(4), key(5), key(6)], "what is free");
        assert!(share(&http, "b", &partitions).is_empty(), "it holds its share");
    }

    #[test]
    fn an_ack_of_a_part_keeps_the_rest() {
        let mut held = held(&[(0, 5, 10), (1, 0, 3)]);
        let (commits, freed) = held.settle(Ack::Before(vec![(key(0), 7)])).unwrap();
        assert_eq!((commits[0].offset, freed.len()), (7, 0));
        let (commits, _) = held.settle(Ack::Before(vec![(key(0), 6)])).unwrap();
        assert!(commits.is_empty(), "an offset never goes back");
        let (commits, freed) = held.settle(Ack::Before(vec![(key(1), 3)])).unwrap();
        assert_eq!((commits.len(), freed), (1, vec![key(1)]));
        assert!(held.settle(Ack::Before(vec![(key(0), 11)])).is_err());
        assert!(held.settle(Ack::Before(vec![(key(2), 1)])).is_err());
    }

    #[test]
    fn an_ack_of_all_commits_all_and_a_release_nothing() {
        let mut given = held(&[(0, 5, 10), (1, 0, 3)]);
        let (commits, freed) = given.settle(Ack::All).unwrap();
        assert_eq!(commits.iter().map(|commit| commit.offset).collect::<Vec<_>>(), [10, 3]);
        assert_eq!(freed.len(), 2);
        let (commits, freed) = held(&[(0, 5, 10)]).settle(Ack::Release).unwrap();
        assert_eq!((commits.len(), freed.len()), (0, 1));
    }
}
