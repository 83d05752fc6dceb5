//! Joining, and the rebalance that gathers all members into the next generation.

use super::super::error::GroupError;
use super::super::records::TEXT_LEN_MAX;
use super::member::Member;
use super::{AfterPersist, Join, Joined, JoinedMember, LiveGroup, Output, Phase, Ticket};
use std::collections::BTreeMap;

/// Protocols that one member may name, and bytes of all that it says with them.
const PROTOCOLS_MAX: usize = 64;

impl LiveGroup {
    /// A member asks to join; the answer comes as an output, now or when the rebalance ends.
    pub fn join(&mut self, join: &Join, ticket: Ticket, now_ms: i64) {
        let refused = match self.check_join(join) {
            Err(error) => Some(error),
            Ok(()) if join.member_id.is_empty() => self.join_new(join, ticket, now_ms).err(),
            Ok(()) => self.join_known(join, ticket, now_ms).err(),
        };
        self.outputs.extend(refused.map(|error| Output::Joined(ticket, Err(error))));
    }

    fn check_join(&self, join: &Join) -> Result<(), GroupError> {
        let (min, max) = (self.config.session_timeout_ms_min, self.config.session_timeout_ms_max);
        if !(min..=max).contains(&join.session_timeout_ms) {
            return Err(GroupError::InvalidSessionTimeout { given: join.session_timeout_ms, min, max });
        }
        if self.phase == Phase::Dead {
            return Err(GroupError::UnknownMember(join.member_id.clone()));
        }
        let texts = [&join.client_id, &join.client_host, &join.protocol_type, &join.member_id, &join.id_for_new];
        let names = join.protocols.iter().map(|(name, _)| name).chain(texts).chain(&join.instance_id);
        let is_bounded = join.protocols.len() <= PROTOCOLS_MAX && names.into_iter().all(|t| t.len() <= TEXT_LEN_MAX);
        if join.protocol_type.is_empty() || join.protocols.is_empty() || !is_bounded || !self.has_common_protocol(join)
        {
            return Err(GroupError::InconsistentProtocol);
        }
        let is_known = self.members.contains_key(&join.member_id)
            || self.pending.contains_key(&join.member_id)
            || join.instance_id.as_ref().is_some_and(|instance| self.instances.contains_key(instance));
        if !is_known && self.members.len() + self.pending.len() >= self.config.members_max {
            return Err(GroupError::GroupFull(self.config.members_max));
        }
        Ok(())
    }

    fn has_common_protocol(&self, join: &Join) -> bool {
        if self.members.is_empty() {
            return true;
        }
        let replaced = join.instance_id.as_ref().and_then(|instance| self.instances.get(instance));
        let is_other = |id: &String| *id != join.member_id && Some(id) != replaced;
        let everybodys = |name: &str| self.members.iter().all(|(id, member)| !is_other(id) || member.supports(name));
        self.protocol_type == join.protocol_type && join.protocols.iter().any(|(name, _)| everybodys(name))
    }

    /// A member without id.
    fn join_new(&mut self, join: &Join, ticket: Ticket, now_ms: i64) -> Result<(), GroupError> {
        let known = join.instance_id.as_ref().and_then(|instance| self.instances.get(instance)).cloned();
        if let Some(old_id) = known {
            self.replace_static(&old_id, join, ticket, now_ms);
            return Ok(());
        }
        if join.instance_id.is_none() && join.requires_known_id {
            let patience = now_ms + i64::from(join.session_timeout_ms);
            self.pending.insert(join.id_for_new.clone(), patience);
            self.wait_for_more(now_ms);
            return Err(GroupError::MemberIdRequired(join.id_for_new.clone()));
        }
        self.add_member(join.id_for_new.clone(), join, ticket, now_ms);
        Ok(())
    }

    /// A member that says who it is.
    fn join_known(&mut self, join: &Join, ticket: Ticket, now_ms: i64) -> Result<(), GroupError> {
        if join.instance_id.is_none() && self.pending.remove(&join.member_id).is_some() {
            self.add_member(join.member_id.clone(), join, ticket, now_ms);
            return Ok(());
        }
        self.check_member(&join.member_id, join.instance_id.as_deref())?;
        let Some(member) = self.members.get_mut(&join.member_id) else {
            return Err(GroupError::UnknownMember(join.member_id.clone()));
        };
        let says_the_same = member.protocols == join.protocols;
        member.update(join);
        let is_leader = self.leader.as_ref() == Some(&join.member_id);
        match self.phase {
            // It did not get the answer, or comes for nothing: that is told again.
            Phase::CompletingRebalance if says_the_same => {
                self.keep_alive(&join.member_id, now_ms);
                let answer = self.joined(&join.member_id);
                self.outputs.push(Output::Joined(ticket, Ok(answer)));
            }
            Phase::Stable if says_the_same && !is_leader => {
                self.keep_alive(&join.member_id, now_ms);
                let answer = self.joined(&join.member_id);
                self.outputs.push(Output::Joined(ticket, Ok(answer)));
            }
            // A leader comes again where it wants another assignment (partitions were added, say).
            Phase::CompletingRebalance | Phase::Stable => {
                self.wait_to_join(&join.member_id, ticket);
                self.prepare_rebalance(now_ms);
            }
            Phase::PreparingRebalance => {
                self.wait_to_join(&join.member_id, ticket);
                self.complete_if_all_joined(now_ms);
            }
            Phase::Empty | Phase::Dead => return Err(GroupError::UnknownMember(join.member_id.clone())),
        }
        Ok(())
    }

    fn wait_to_join(&mut self, member_id: &str, ticket: Ticket) {
        let Some(member) = self.members.get_mut(member_id) else { return };
        // An earlier request of the same member: its client waits for this one.
        let before = member.joining.replace(ticket);
        self.outputs.extend(before.map(|old| Output::Joined(old, Err(GroupError::RebalanceInProgress))));
    }

    fn add_member(&mut self, member_id: String, join: &Join, ticket: Ticket, now_ms: i64) {
        if let Some(instance) = &join.instance_id {
            self.instances.insert(instance.clone(), member_id.clone());
        }
        if self.members.is_empty() {
            self.protocol_type.clone_from(&join.protocol_type);
        }
        self.leader.get_or_insert_with(|| member_id.clone());
        if !self.leader.as_ref().is_some_and(|leader| *leader == member_id || self.members.contains_key(leader)) {
            self.leader = Some(member_id.clone());
        }
        let mut member = Member::new(join, now_ms + self.config.new_member_ms_max);
        member.joining = Some(ticket);
        self.members.insert(member_id, member);
        if self.phase == Phase::PreparingRebalance {
            self.wait_for_more(now_ms);
            self.complete_if_all_joined(now_ms);
        } else {
            self.prepare_rebalance(now_ms);
        }
    }

    /// An empty group's first rebalance waits as long as members keep coming.
    fn wait_for_more(&mut self, now_ms: i64) {
        if self.initial_until_ms.is_some() {
            self.initial_until_ms = Some((now_ms + self.config.initial_delay_ms).min(self.rebalance_until_ms));
        }
    }

    /// A static member is back under a new id (KIP-345). Whoever still goes by the old one is fenced.
    fn replace_static(&mut self, old_id: &str, join: &Join, ticket: Ticket, now_ms: i64) {
        let (new_id, instance) = (join.id_for_new.clone(), join.instance_id.clone().unwrap_or_default());
        let Some(mut member) = self.members.remove(old_id) else { return };
        let fenced = || GroupError::FencedInstance(instance.clone());
        self.outputs.extend(member.joining.take().map(|old| Output::Joined(old, Err(fenced()))));
        self.outputs.extend(member.syncing.take().map(|old| Output::Synced(old, Err(fenced()))));
        let says_the_same = member.protocols == join.protocols;
        member.update(join);
        member.deadline_ms = now_ms + i64::from(member.session_timeout_ms);
        self.members.insert(new_id.clone(), member);
        self.instances.insert(instance, new_id.clone());
        let was_leader = self.leader.as_deref() == Some(old_id);
        if was_leader {
            self.leader = Some(new_id.clone());
        }
        if self.unsynced.remove(old_id) {
            self.unsynced.insert(new_id.clone());
        }
        match self.phase {
            Phase::Stable if says_the_same || self.choose_protocol() == self.protocol => {
                let mut answer = self.joined(&new_id);
                answer.members.clear();
                if was_leader {
                    // It must not assign anew, which nobody waits for: so it is told that another one leads.
                    answer.leader = old_id.to_string();
                }
                let metadata = self.metadata(None);
                self.persist(metadata, AfterPersist::Rejoined { ticket, answer });
            }
            Phase::Stable | Phase::CompletingRebalance => {
                self.wait_to_join(&new_id, ticket);
                self.prepare_rebalance(now_ms);
            }
            Phase::PreparingRebalance => {
                self.wait_to_join(&new_id, ticket);
                self.complete_if_all_joined(now_ms);
            }
            Phase::Empty | Phase::Dead => {
                let gone = GroupError::UnknownMember(join.member_id.clone());
                self.outputs.push(Output::Joined(ticket, Err(gone)));
            }
        }
    }

    /// All members are to join again.
    pub(super) fn prepare_rebalance(&mut self, now_ms: i64) {
        let was_empty = self.phase == Phase::Empty;
        self.unsynced.clear();
        for member in self.members.values_mut() {
            let waited = member.syncing.take();
            self.outputs.extend(waited.map(|old| Output::Synced(old, Err(GroupError::RebalanceInProgress))));
            if waited.is_some() {
                member.deadline_ms = now_ms + i64::from(member.session_timeout_ms);
            }
        }
        self.phase = Phase::PreparingRebalance;
        self.rebalance_until_ms = now_ms + self.rebalance_timeout_ms();
        self.initial_until_ms = None;
        if was_empty {
            self.initial_until_ms = Some((now_ms + self.config.initial_delay_ms).min(self.rebalance_until_ms));
        } else {
            self.complete_if_all_joined(now_ms);
        }
    }

    pub(super) fn rebalance_timeout_ms(&self) -> i64 {
        let longest = self.members.values().map(|member| i64::from(member.rebalance_timeout_ms)).max();
        longest.unwrap_or(0).max(0)
    }

    pub(super) fn complete_if_all_joined(&mut self, now_ms: i64) {
        let all = self.pending.is_empty() && self.members.values().all(|member| member.joining.is_some());
        if self.phase == Phase::PreparingRebalance && self.initial_until_ms.is_none() && all {
            self.complete_join(now_ms);
        }
    }

    /// Begins the next generation with whoever has joined. Static members keep their place though they have not.
    pub(super) fn complete_join(&mut self, now_ms: i64) {
        let is_absent = |member: &Member| member.joining.is_none() && member.instance_id.is_none();
        let absent: Vec<String> =
            self.members.iter().filter(|(_, member)| is_absent(member)).map(|(id, _)| id.clone()).collect();
        absent.iter().for_each(|id| self.forget_member(id));
        let joined = |id: &String| self.members.get(id).is_some_and(|member| member.joining.is_some());
        if !self.members.is_empty() && !self.leader.as_ref().is_some_and(joined) {
            let Some(leader) = self.members.keys().find(|id| joined(id)).cloned() else {
                // Only static members, and none of them is back: somebody has to assign, so wait on.
                self.rebalance_until_ms = now_ms + self.rebalance_timeout_ms().max(1);
                self.initial_until_ms = None;
                return;
            };
            self.leader = Some(leader);
        }
        self.initial_until_ms = None;
        self.generation = self.generation.wrapping_add(1).max(1);
        if self.members.is_empty() {
            self.phase = Phase::Empty;
            (self.protocol, self.leader) = (None, None);
            let metadata = self.metadata(None);
            return self.persist(metadata, AfterPersist::Nothing);
        }
        self.protocol = self.choose_protocol();
        self.phase = Phase::CompletingRebalance;
        self.unsynced = self.members.keys().cloned().collect();
        self.sync_until_ms = now_ms + self.rebalance_timeout_ms().max(1);
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for id in ids {
            let Some(member) = self.members.get_mut(&id) else { continue };
            member.is_new = false;
            let Some(ticket) = member.joining.take() else { continue };
            member.deadline_ms = now_ms + i64::from(member.session_timeout_ms);
            let answer = self.joined(&id);
            self.outputs.push(Output::Joined(ticket, Ok(answer)));
        }
    }

    /// Each member votes for the first of its protocols that all have.
    fn choose_protocol(&self) -> Option<String> {
        let common = |name: &str| self.members.values().all(|member| member.supports(name));
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.members.values() {
            if let Some((name, _)) = member.protocols.iter().find(|(name, _)| common(name)) {
                *votes.entry(name).or_default() += 1;
            }
        }
        votes.into_iter().max_by_key(|(_, votes)| *votes).map(|(name, _)| name.to_string())
    }

    /// The answer to a member of the current generation.
    fn joined(&self, member_id: &str) -> Joined {
        let protocol = self.protocol.clone().unwrap_or_default();
        let is_leader = self.leader.as_deref() == Some(member_id);
        let members = self.members.iter().filter(|_| is_leader).map(|(id, member)| JoinedMember {
            member_id: id.clone(),
            instance_id: member.instance_id.clone(),
            metadata: member.metadata(&protocol),
        });
        Joined {
            member_id: member_id.to_string(),
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            leader: self.leader.clone().unwrap_or_default(),
            members: members.collect(),
            protocol,
        }
    }
}
