//! Syncing: the leader brings the assignments, everybody gets its own once they are written.

use super::super::error::GroupError;
use super::{AfterPersist, LiveGroup, Output, Phase, Sync, Synced, Ticket};
use std::collections::BTreeMap;

impl LiveGroup {
    /// A member asks for its assignment; the answer comes as an output.
    pub fn sync(&mut self, sync: &Sync, ticket: Ticket, now_ms: i64) {
        if let Err(error) = self.try_sync(sync, ticket, now_ms) {
            self.outputs.push(Output::Synced(ticket, Err(error)));
        }
    }

    fn try_sync(&mut self, sync: &Sync, ticket: Ticket, now_ms: i64) -> Result<(), GroupError> {
        self.check_speaker(&sync.speaker)?;
        let is_other = |given: &Option<String>, own: &str| given.as_deref().is_some_and(|given| given != own);
        if is_other(&sync.protocol_type, &self.protocol_type)
            || is_other(&sync.protocol, self.protocol.as_deref().unwrap_or_default())
        {
            return Err(GroupError::InconsistentProtocol);
        }
        let member_id = &sync.speaker.member_id;
        match self.phase {
            Phase::Empty | Phase::Dead => Err(GroupError::UnknownMember(member_id.clone())),
            Phase::PreparingRebalance => Err(GroupError::RebalanceInProgress),
            Phase::CompletingRebalance => {
                self.unsynced.remove(member_id);
                let before = self.members.get_mut(member_id).and_then(|member| member.syncing.replace(ticket));
                self.outputs.extend(before.map(|old| Output::Synced(old, Err(GroupError::RebalanceInProgress))));
                if self.leader.as_ref() == Some(member_id) && !self.is_assigning() {
                    self.assign(sync);
                }
                Ok(())
            }
            Phase::Stable => {
                self.unsynced.remove(member_id);
                self.keep_alive(member_id, now_ms);
                let answer = self.synced(member_id);
                self.outputs.push(Output::Synced(ticket, Ok(answer)));
                Ok(())
            }
        }
    }

    fn is_assigning(&self) -> bool {
        matches!(&self.persisting, Some((_, AfterPersist::Assign { generation, .. })) if *generation == self.generation)
    }

    /// The leader's word is written before anybody acts on it.
    fn assign(&mut self, sync: &Sync) {
        let of_members = sync.assignments.iter().filter(|(id, _)| self.members.contains_key(id)).cloned();
        let assignments: BTreeMap<String, Vec<u8>> = of_members.collect();
        let metadata = self.metadata(Some(&assignments));
        self.persist(metadata, AfterPersist::Assign { generation: self.generation, assignments });
    }

    /// The assignments are written, or were refused.
    pub(super) fn assigned(
        &mut self,
        mut assignments: BTreeMap<String, Vec<u8>>,
        result: Result<(), GroupError>,
        now_ms: i64,
    ) {
        let waiting: Vec<(String, Ticket)> = self
            .members
            .iter_mut()
            .filter_map(|(id, member)| {
                let ticket = member.syncing.take()?;
                member.deadline_ms = now_ms + i64::from(member.session_timeout_ms);
                Some((id.clone(), ticket))
            })
            .collect();
        if let Err(error) = result {
            self.outputs.extend(waiting.into_iter().map(|(_, ticket)| Output::Synced(ticket, Err(error.clone()))));
            return self.prepare_rebalance(now_ms);
        }
        self.phase = Phase::Stable;
        for (id, member) in &mut self.members {
            member.assignment = assignments.remove(id).unwrap_or_default();
        }
        for (id, ticket) in waiting {
            let answer = self.synced(&id);
            self.outputs.push(Output::Synced(ticket, Ok(answer)));
        }
    }

    fn synced(&self, member_id: &str) -> Synced {
        Synced {
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone().unwrap_or_default(),
            assignment: self.members.get(member_id).map(|member| member.assignment.clone()).unwrap_or_default(),
        }
    }

    /// Members that joined and never asked for their assignment go: their partitions would be read by nobody.
    pub(super) fn drop_unsynced(&mut self, now_ms: i64) {
        if self.unsynced.is_empty() || self.sync_until_ms > now_ms {
            return;
        }
        let absent = std::mem::take(&mut self.unsynced);
        absent.iter().for_each(|id| self.forget_member(id));
        if matches!(self.phase, Phase::CompletingRebalance | Phase::Stable) {
            self.prepare_rebalance(now_ms);
        }
    }
}
