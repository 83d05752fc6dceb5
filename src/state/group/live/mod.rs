//! A living group of Kafka members: who is in, which generation, who waits for what.
//!
//! ```text
//!          first join                 all joined, or time up            leader's sync is written
//!  Empty ─────────────▶ PreparingRebalance ──────────▶ CompletingRebalance ──────────▶ Stable
//!    ▲                    ▲        │                        │                            │
//!    └── nobody is left ──┼────────┘                        │                            │
//!                         └── a member comes, goes, fails, or wants another protocol ◀───┘
//! ```
//!
//! Decides only: time is an input (`now_ms`, of any clock that never goes back), answers and writes are outputs. Whoever
//! calls carries the outputs out in their order.
//!
//! Invariants: the generation only grows; nobody hears of an assignment before it is written; each ticket is answered
//! exactly once (checked by tests); in `Empty` and `Dead` there are no members, in `Stable` nobody waits.
//!
//! KIPs: 62 (two timeouts), 345 (static members), 394 (known member ids). What members tell each other (subscriptions,
//! assignments, cooperative rebalancing) is bytes here.

mod join;
mod member;
mod sync;
#[cfg(test)]
mod tests;
mod types;

pub use member::{assigned_partitions, subscribed_topics};
pub use types::*;

use super::error::GroupError;
use super::records::{GroupMetadata, MemberMetadata};
use member::Member;
use std::collections::{BTreeMap, BTreeSet};

/// What happens once the metadata is written.
#[derive(Debug)]
enum AfterPersist {
    /// The assignments of this generation are in force.
    Assign {
        generation: i32,
        assignments: BTreeMap<String, Vec<u8>>,
    },
    /// A static member came back under a new id within its generation, and waits for the answer.
    Rejoined {
        ticket: Ticket,
        answer: Joined,
    },
    Nothing,
}

/// A living group.
#[derive(Debug)]
pub struct LiveGroup {
    config: LiveConfig,
    phase: Phase,
    generation: i32,
    protocol_type: String,
    protocol: Option<String>,
    leader: Option<String>,
    members: BTreeMap<String, Member>,
    /// Member id by instance id.
    instances: BTreeMap<String, String>,
    /// Ids that were given out and did not come back yet, with the end of patience.
    pending: BTreeMap<String, i64>,
    /// Members whose sync of this generation is awaited, until `sync_until_ms`.
    unsynced: BTreeSet<String>,
    sync_until_ms: i64,
    /// When the rebalance ends at the latest.
    rebalance_until_ms: i64,
    /// The rebalance of a group that was empty: it ends at this time, not when all have joined.
    initial_until_ms: Option<i64>,
    persisting: Option<(PersistToken, AfterPersist)>,
    /// The newest generation could not be written: it is known here only.
    unsaved: bool,
    last_token: u64,
    outputs: Vec<Output>,
}

impl LiveGroup {
    /// A group as its newest metadata has it: members that were there are there still, and have a session's time to be
    /// heard of.
    pub fn restore(config: LiveConfig, metadata: Option<&GroupMetadata>, now_ms: i64) -> LiveGroup {
        let mut group = LiveGroup {
            config,
            phase: Phase::Empty,
            generation: 0,
            protocol_type: String::new(),
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            instances: BTreeMap::new(),
            pending: BTreeMap::new(),
            unsynced: BTreeSet::new(),
            sync_until_ms: 0,
            rebalance_until_ms: 0,
            initial_until_ms: None,
            persisting: None,
            unsaved: false,
            last_token: 0,
            outputs: Vec::new(),
        };
        let Some(metadata) = metadata else { return group };
        group.generation = metadata.generation;
        group.protocol_type = metadata.protocol_type.clone();
        if metadata.members.is_empty() {
            return group;
        }
        group.phase = Phase::Stable;
        group.protocol = metadata.protocol.clone();
        for kept in &metadata.members {
            if let Some(instance) = &kept.instance_id {
                group.instances.insert(instance.clone(), kept.member_id.clone());
            }
            let member = Member::restore(kept, metadata.protocol.as_deref().unwrap_or_default(), now_ms);
            group.members.insert(kept.member_id.clone(), member);
        }
        let known = |leader: &String| group.members.contains_key(leader);
        group.leader = metadata.leader.clone().filter(known).or_else(|| group.members.keys().next().cloned());
        group
    }

    pub fn phase(&self) -> Phase {
        self.phase
    }

    pub fn generation(&self) -> i32 {
        self.generation
    }

    pub fn protocol_type(&self) -> &str {
        &self.protocol_type
    }

    pub fn protocol(&self) -> Option<&str> {
        self.protocol.as_deref()
    }

    /// Members, and those that were told an id and have not joined yet.
    pub fn has_members(&self) -> bool {
        !self.members.is_empty() || !self.pending.is_empty()
    }

    /// Whether nothing is known here that is not in the table too.
    pub fn is_idle(&self) -> bool {
        let is_empty = matches!(self.phase, Phase::Empty | Phase::Dead) && !self.has_members();
        is_empty && self.persisting.is_none() && !self.unsaved && self.outputs.is_empty()
    }

    /// Members as tools show them.
    pub fn members(&self) -> Vec<MemberView> {
        let protocol = self.protocol.as_deref().filter(|_| self.phase == Phase::Stable);
        self.members
            .iter()
            .map(|(id, member)| MemberView {
                member_id: id.clone(),
                instance_id: member.instance_id.clone(),
                client_id: member.client_id.clone(),
                client_host: member.client_host.clone(),
                metadata: protocol.map(|protocol| member.metadata(protocol)).unwrap_or_default(),
                assignment: if self.phase == Phase::Stable { member.assignment.clone() } else { Vec::new() },
            })
            .collect()
    }

    /// Whether a member reads `topic`. One whose subscription can't be read is taken to read all.
    pub fn is_subscribed(&self, topic: &str) -> bool {
        let reads = |member: &Member| {
            member
                .protocols
                .iter()
                .any(|(_, subscription)| subscribed_topics(subscription).is_none_or(|topics| topics.contains(&topic)))
        };
        self.members.values().any(reads)
    }

    /// What is to happen, in order; to be taken after each call.
    pub fn take_outputs(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.outputs)
    }

    /// Nobody is in the group any more, ever. Only for an empty group.
    ///
    /// # Errors
    /// It has members.
    pub fn delete(&mut self) -> Result<(), GroupError> {
        if self.has_members() {
            return Err(GroupError::NonEmptyGroup);
        }
        self.phase = Phase::Dead;
        Ok(())
    }

    /// A member is alive.
    ///
    /// # Errors
    /// It is not (one of this generation), or has to join again.
    pub fn heartbeat(&mut self, speaker: &Speaker, now_ms: i64) -> Result<(), GroupError> {
        self.check_speaker(speaker)?;
        self.keep_alive(&speaker.member_id, now_ms);
        if self.phase == Phase::PreparingRebalance { Err(GroupError::RebalanceInProgress) } else { Ok(()) }
    }

    /// Whether the speaker may commit offsets.
    ///
    /// # Errors
    /// It is not a member of this generation. Without members anybody may who names no generation.
    pub fn check_commit(&mut self, speaker: &Speaker, now_ms: i64) -> Result<(), GroupError> {
        if speaker.generation < 0 && speaker.member_id.is_empty() && speaker.instance_id.is_none() {
            let is_free = self.members.is_empty();
            return if is_free { Ok(()) } else { Err(GroupError::UnknownMember(String::new())) };
        }
        self.check_speaker(speaker)?;
        self.keep_alive(&speaker.member_id, now_ms);
        // It knows of the generation by its join, but not what it is to read.
        if self.phase == Phase::CompletingRebalance { Err(GroupError::RebalanceInProgress) } else { Ok(()) }
    }

    fn check_speaker(&self, speaker: &Speaker) -> Result<(), GroupError> {
        self.check_member(&speaker.member_id, speaker.instance_id.as_deref())?;
        if speaker.generation != self.generation {
            return Err(GroupError::IllegalGeneration { given: speaker.generation, current: self.generation });
        }
        Ok(())
    }

    fn check_member(&self, member_id: &str, instance_id: Option<&str>) -> Result<(), GroupError> {
        if self.phase == Phase::Dead {
            return Err(GroupError::UnknownMember(member_id.to_string()));
        }
        if let Some(instance) = instance_id {
            match self.instances.get(instance) {
                None => return Err(GroupError::UnknownMember(member_id.to_string())),
                Some(current) if current != member_id => return Err(GroupError::FencedInstance(instance.to_string())),
                Some(_) => {}
            }
        }
        if self.members.contains_key(member_id) {
            Ok(())
        } else {
            Err(GroupError::UnknownMember(member_id.to_string()))
        }
    }

    fn keep_alive(&mut self, member_id: &str, now_ms: i64) {
        if let Some(member) = self.members.get_mut(member_id) {
            member.deadline_ms = now_ms + i64::from(member.session_timeout_ms);
        }
    }

    /// A member goes by itself, or is sent away; a static one may be named by its instance id alone.
    ///
    /// # Errors
    /// There is no such member.
    pub fn leave(&mut self, member_id: &str, instance_id: Option<&str>, now_ms: i64) -> Result<(), GroupError> {
        let member_id = match instance_id {
            Some(instance) if member_id.is_empty() => self.instances.get(instance).cloned().unwrap_or_default(),
            _ => member_id.to_string(),
        };
        if instance_id.is_none() && self.pending.remove(&member_id).is_some() {
            self.complete_if_all_joined(now_ms);
            return Ok(());
        }
        self.check_member(&member_id, instance_id)?;
        self.remove_member(&member_id, now_ms);
        Ok(())
    }

    fn remove_member(&mut self, member_id: &str, now_ms: i64) {
        self.forget_member(member_id);
        match self.phase {
            Phase::Stable | Phase::CompletingRebalance => self.prepare_rebalance(now_ms),
            Phase::PreparingRebalance => self.complete_if_all_joined(now_ms),
            Phase::Empty | Phase::Dead => {}
        }
    }

    /// Takes a member out, and answers it if it waits.
    fn forget_member(&mut self, member_id: &str) {
        let Some(member) = self.members.remove(member_id) else { return };
        if let Some(instance) = &member.instance_id {
            self.instances.remove(instance);
        }
        self.unsynced.remove(member_id);
        let gone = || GroupError::UnknownMember(member_id.to_string());
        self.outputs.extend(member.joining.map(|ticket| Output::Joined(ticket, Err(gone()))));
        self.outputs.extend(member.syncing.map(|ticket| Output::Synced(ticket, Err(gone()))));
        if self.leader.as_deref() == Some(member_id) {
            self.leader = self.members.keys().next().cloned();
        }
    }

    /// When `on_time` is to be called at the latest; `None` while nothing waits for time.
    pub fn next_deadline_ms(&self) -> Option<i64> {
        let sessions = self.members.values().filter_map(Member::expires_at_ms);
        let rebalance = (self.phase == Phase::PreparingRebalance).then_some(self.rebalance_until_ms);
        let sync = (!self.unsynced.is_empty()).then_some(self.sync_until_ms);
        sessions.chain(self.pending.values().copied()).chain(rebalance).chain(self.initial_until_ms).chain(sync).min()
    }

    /// Time has passed.
    pub fn on_time(&mut self, now_ms: i64) {
        let waited = self.pending.len();
        self.pending.retain(|_, until| *until > now_ms);
        if self.pending.len() < waited {
            self.complete_if_all_joined(now_ms);
        }
        let late = |member: &Member| member.expires_at_ms().is_some_and(|at| at <= now_ms);
        let expired: Vec<String> =
            self.members.iter().filter(|(_, member)| late(member)).map(|(id, _)| id.clone()).collect();
        for member_id in expired {
            self.remove_member(&member_id, now_ms);
        }
        self.drop_unsynced(now_ms);
        if self.phase == Phase::PreparingRebalance {
            let until = self.initial_until_ms.unwrap_or(self.rebalance_until_ms).min(self.rebalance_until_ms);
            if until <= now_ms {
                self.complete_join(now_ms);
            }
        }
    }

    /// The metadata as it is to be kept, with these assignments.
    fn metadata(&self, assignments: Option<&BTreeMap<String, Vec<u8>>>) -> GroupMetadata {
        let protocol = self.protocol.clone().filter(|_| !self.members.is_empty());
        let members = self.members.iter().map(|(id, member)| MemberMetadata {
            member_id: id.clone(),
            instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            rebalance_timeout_ms: member.rebalance_timeout_ms,
            session_timeout_ms: member.session_timeout_ms,
            subscription: protocol.as_deref().map(|protocol| member.metadata(protocol)).unwrap_or_default(),
            assignment: match assignments {
                Some(assignments) => assignments.get(id).cloned().unwrap_or_default(),
                None => member.assignment.clone(),
            },
        });
        GroupMetadata {
            protocol_type: self.protocol_type.clone(),
            generation: self.generation,
            leader: self.leader.clone().filter(|_| !self.members.is_empty()),
            // Whoever writes it knows the time of day.
            state_since_ms: -1,
            members: members.collect(),
            protocol,
        }
    }

    fn persist(&mut self, metadata: GroupMetadata, after: AfterPersist) {
        self.last_token += 1;
        let token = PersistToken(self.last_token);
        // Somebody may still wait for an answer that hangs on the write before; that one is told to try again.
        if let Some((_, AfterPersist::Rejoined { ticket, .. })) = self.persisting.replace((token, after)) {
            self.outputs.push(Output::Joined(ticket, Err(GroupError::RebalanceInProgress)));
        }
        self.outputs.push(Output::Persist(token, metadata));
    }

    /// A write that was ordered is durable, or was refused.
    pub fn persisted(&mut self, token: PersistToken, result: Result<(), GroupError>, now_ms: i64) {
        if self.persisting.as_ref().is_none_or(|(current, _)| *current != token) {
            return;
        }
        self.unsaved = result.is_err();
        match (self.persisting.take().map(|(_, after)| after), result) {
            (Some(AfterPersist::Assign { generation, assignments }), result) => {
                if self.phase == Phase::CompletingRebalance && self.generation == generation {
                    self.assigned(assignments, result, now_ms);
                }
            }
            (Some(AfterPersist::Rejoined { ticket, answer }), result) => {
                self.outputs.push(Output::Joined(ticket, result.map(|()| answer)));
            }
            (Some(AfterPersist::Nothing) | None, _) => {}
        }
    }
}
