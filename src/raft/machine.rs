//! A group's state machine as openraft wants it: an adapter over the pure state of `state/`.
//!
//! The state is in memory. A *checkpoint* of it is saved when a segment was begun, so that a restart applies at most
//! about one segment again. A snapshot is a checkpoint: all that is retained is in the log, so it carries no records.
//!
//! Invariant: what is applied is committed; readers see the state only behind its lock, at an entry's boundary.

use super::types::*;
use crate::state::meta::{MetaCommand, MetaState};
use crate::state::partition::PartitionState;
use crate::storage::{LogEntry, RaftLog};
use crate::tasks::{OnPanic, Tasks};
use crate::types::{LogId, Offset};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use openraft::entry::RaftEntry;
use openraft::storage::{EntryResponder, RaftStateMachine, Snapshot, SnapshotMeta};
use openraft::{EntryPayload, RaftSnapshotBuilder};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::watch;

/// Whose state it is.
#[derive(Debug)]
pub enum MachineState {
    Partition(Box<PartitionState>),
    Meta(Box<MetaState>),
}

impl MachineState {
    fn apply(&mut self, entry: &LogEntry) -> Result<Reply, String> {
        match self {
            MachineState::Partition(state) => state.apply(entry).map(Reply::Partition),
            MachineState::Meta(state) => match &entry.payload {
                crate::storage::Payload::Command(bytes) => {
                    let command = MetaCommand::decode(bytes).map_err(|error| error.to_string())?;
                    Ok(Reply::Meta(state.apply(entry.id.index, command)))
                }
                _ => Ok(Reply::Nothing),
            },
        }
    }

    /// Whether applying an entry needs its records, not only its header.
    pub(super) fn applies_records(&self) -> bool {
        matches!(self, MachineState::Partition(state) if state.groups().is_some())
    }

    fn to_snapshot(&self) -> Vec<u8> {
        match self {
            MachineState::Partition(state) => state.to_snapshot(),
            MachineState::Meta(state) => state.to_snapshot(),
        }
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), String> {
        match self {
            MachineState::Partition(state) => {
                let restored = PartitionState::from_snapshot(bytes)?;
                if state.groups().is_some() != restored.groups().is_some() {
                    return Err("a checkpoint of another kind of partition".to_string());
                }
                **state = restored;
                #[cfg(feature = "mutants")]
                if crate::mutant::on(crate::mutant::Mutant::ProducerTableDropped) {
                    state.forget_producers();
                }
            }
            MachineState::Meta(state) => {
                **state = MetaState::from_snapshot(bytes).map_err(|error| error.to_string())?
            }
        }
        Ok(())
    }

    /// First offset that is not committed; 0 for the meta group.
    pub fn high_watermark(&self) -> Offset {
        match self {
            MachineState::Partition(state) => state.high_watermark(),
            MachineState::Meta(_) => Offset(0),
        }
    }

    /// First offset that readers see; 0 for the meta group.
    fn log_start_offset(&self) -> Offset {
        match self {
            MachineState::Partition(state) => state.log_start_offset(),
            MachineState::Meta(_) => Offset(0),
        }
    }
}

/// How far a group has applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AppliedTo {
    pub last: Option<LogId>,
    pub high_watermark: Offset,
    /// First offset that readers see, as far as the state machine knows: the log may start later.
    pub log_start_offset: Offset,
}

/// A group's state, shared with its readers.
pub struct SharedState {
    pub machine: RwLock<MachineState>,
    pub applied: watch::Sender<AppliedTo>,
}

/// What a checkpoint holds: the state, and the membership in force there.
#[derive(Serialize, Deserialize)]
struct Checkpoint {
    membership_at: Option<LogId>,
    membership: MembershipBytes,
    state: Vec<u8>,
}

/// The adapter.
pub struct GroupMachine {
    log: Arc<dyn RaftLog>,
    shared: Arc<SharedState>,
    membership: StoredMembership,
    tasks: Tasks,
    checkpointing: Arc<AtomicBool>,
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

impl GroupMachine {
    /// Loads the newest checkpoint. Blocks on the disk.
    ///
    /// # Errors
    /// Damage, or a checkpoint of a newer version.
    pub(super) fn load(log: Arc<dyn RaftLog>, empty: MachineState, tasks: Tasks) -> io::Result<GroupMachine> {
        let checkpoint = log.load_checkpoint()?;
        let shared =
            Arc::new(SharedState { machine: RwLock::new(empty), applied: watch::Sender::new(AppliedTo::default()) });
        let mut machine = GroupMachine {
            log,
            shared,
            membership: StoredMembership::default(),
            tasks,
            checkpointing: Arc::new(AtomicBool::new(false)),
        };
        if let Some((upto, bytes)) = checkpoint {
            machine.restore(Some(upto), &bytes)?;
        }
        Ok(machine)
    }

    pub(super) fn shared(&self) -> Arc<SharedState> {
        self.shared.clone()
    }

    fn restore(&mut self, last: Option<LogId>, bytes: &[u8]) -> io::Result<()> {
        let checkpoint: Checkpoint = decode(bytes)?;
        let mut machine = self.shared.machine.write();
        machine.restore(&checkpoint.state).map_err(invalid)?;
        let (high_watermark, log_start_offset) = (machine.high_watermark(), machine.log_start_offset());
        drop(machine);
        let at = checkpoint.membership_at.map(raft_log_id);
        self.membership = StoredMembership::new(at, checkpoint.membership.restore());
        self.shared.applied.send_replace(AppliedTo { last, high_watermark, log_start_offset });
        Ok(())
    }

    fn checkpoint(&self) -> Vec<u8> {
        encode(&Checkpoint {
            membership_at: self.membership.log_id().as_ref().map(log_id),
            membership: MembershipBytes::of(self.membership.membership()),
            state: self.shared.machine.read().to_snapshot(),
        })
    }

    /// Saves a checkpoint beside the work, one at a time; a failure only costs time at the next start.
    fn checkpoint_if_wanted(&self, upto: LogId) {
        if !self.log.wants_checkpoint(upto.index) || self.checkpointing.swap(true, Ordering::AcqRel) {
            return;
        }
        let bytes = self.checkpoint();
        let (log, running, tasks) = (self.log.clone(), self.checkpointing.clone(), self.tasks.clone());
        self.tasks.spawn("checkpoint", OnPanic::Log, async move {
            if let Err(error) = tasks.blocking(move || log.save_checkpoint(upto, &bytes)).await {
                tracing::warn!(%error, %upto, "a checkpoint could not be saved");
            }
            running.store(false, Ordering::Release);
        });
    }

    /// Applies one entry and says what its proposer gets.
    fn apply_one(&mut self, machine: &mut MachineState, entry: Entry) -> io::Result<(LogId, Reply)> {
        let id = log_id(&entry.log_id());
        if let EntryPayload::Membership(membership) = &entry.payload {
            self.membership = StoredMembership::new(Some(entry.log_id()), membership.clone());
            return Ok((id, Reply::Nothing));
        }
        let reply = machine.apply(&to_log_entry(entry)).map_err(invalid)?;
        Ok((id, reply))
    }
}

impl RaftStateMachine<TypeConfig> for GroupMachine {
    type SnapshotData = Bytes;
    type SnapshotBuilder = SnapshotBytes;

    async fn applied_state(&mut self) -> Result<(Option<RaftLogId>, StoredMembership), io::Error> {
        let last = self.shared.applied.borrow().last.map(raft_log_id);
        Ok((last, self.membership.clone()))
    }

    async fn apply<S>(&mut self, entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + Send,
    {
        // What is ready is applied in one go, so that waiting reads wake once and see whole steps.
        let mut parts = entries.ready_chunks(256);
        let mut upto = None;
        while let Some(part) = parts.next().await {
            let mut answers = Vec::with_capacity(part.len());
            let shared = self.shared.clone();
            {
                let mut machine = shared.machine.write();
                for item in part {
                    let (entry, responder) = item?;
                    let (id, reply) = self.apply_one(&mut machine, entry)?;
                    upto = Some(id);
                    answers.extend(responder.map(|responder| (responder, reply)));
                }
                let (high_watermark, log_start_offset) = (machine.high_watermark(), machine.log_start_offset());
                shared.applied.send_modify(|applied| {
                    assert!(high_watermark >= applied.high_watermark, "the high watermark never goes back");
                    *applied = AppliedTo { last: upto, high_watermark, log_start_offset };
                });
            }
            for (responder, reply) in answers {
                responder.send(reply);
            }
        }
        if let Some(upto) = upto {
            self.checkpoint_if_wanted(upto);
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBytes {
        SnapshotBytes {
            last: self.shared.applied.borrow().last,
            membership: self.membership.clone(),
            bytes: self.checkpoint().into(),
        }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta<CommittedLeaderId, u64, ()>,
        snapshot: Bytes,
    ) -> Result<(), io::Error> {
        let last = meta.last_log_id.as_ref().map(log_id);
        self.restore(last, &snapshot)?;
        let Some(last) = last else { return Ok(()) };
        let end = self.shared.machine.read().high_watermark();
        let log = self.log.clone();
        self.tasks
            .blocking(move || {
                // A snapshot ahead of the log replaces it: what is left would have a hole in front of the next entry.
                if log.state().last.is_none_or(|own| own.index < last.index) {
                    log.reset(last, end)?;
                }
                log.save_checkpoint(last, &snapshot)
            })
            .await
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<CommittedLeaderId, u64, (), Bytes>>, io::Error> {
        if self.shared.applied.borrow().last.is_none() {
            return Ok(None);
        }
        self.get_snapshot_builder().await.build_snapshot().await.map(Some)
    }
}

/// A view of the state at one entry, already encoded.
pub struct SnapshotBytes {
    last: Option<LogId>,
    membership: StoredMembership,
    bytes: Bytes,
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBytes {
    type SnapshotData = Bytes;

    async fn build_snapshot(&mut self) -> Result<Snapshot<CommittedLeaderId, u64, (), Bytes>, io::Error> {
        let meta = SnapshotMeta { last_log_id: self.last.map(raft_log_id), last_membership: self.membership.clone() };
        Ok(Snapshot { meta, snapshot: self.bytes.clone() })
    }
}
