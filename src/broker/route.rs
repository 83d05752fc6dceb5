//! Finds a partition's leader and asks it, here or on another node. Stale hints are refreshed by each answer.
//!
//! A request is forwarded once: the node that gets it answers, or says whom to ask; it never forwards again.

use super::forward;
use crate::partition::{
    Append, AppendDone, AppendError, Appended, LocalRead, LocalReadError, Partitions, ReadFrom, ReadResult, Replica,
};
use crate::raft::OpenError;
use crate::state::partition::{Applied, PartitionCommand};
use crate::transport::{CallError, Lane, Liveness, Message, Transport};
use crate::types::{GroupId, NodeId};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// How long a replica waits for an election before it says that it knows no leader.
const ELECTION_PATIENCE: Duration = Duration::from_millis(2000);

/// A partition's group and its replicas, the preferred leader first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub group: GroupId,
    pub replicas: Arc<[NodeId]>,
}

/// What an attempt to write came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Attempt<T> {
    Done(T),
    /// Answered: not written by this attempt.
    Refused(AppendError),
    /// No answer: may have been written by this attempt.
    Unknown(String),
}

/// Finds leaders. Cheap to clone.
#[derive(Clone)]
pub struct Router {
    inner: Arc<Inner>,
}

struct Inner {
    node_id: NodeId,
    partitions: Partitions,
    transport: Transport,
    /// Who led last, as answers from elsewhere said.
    hints: Mutex<HashMap<GroupId, NodeId>>,
}

impl Router {
    pub fn new(node_id: NodeId, partitions: Partitions, transport: Transport) -> Router {
        Router { inner: Arc::new(Inner { node_id, partitions, transport, hints: Mutex::new(HashMap::new()) }) }
    }

    pub(super) fn partitions(&self) -> &Partitions {
        &self.inner.partitions
    }

    pub(super) fn transport(&self) -> &Transport {
        &self.inner.transport
    }

    /// Whether a node can be asked: this one, or one that is heard of.
    pub(super) fn is_reachable(&self, node: NodeId) -> bool {
        let liveness = self.inner.transport.liveness();
        node == self.inner.node_id || !matches!(liveness.borrow().get(&node), Some(Liveness::Gone | Liveness::Silent))
    }

    /// The node to ask for `target`; `attempt` counts those that brought no hint.
    pub(super) fn guess(&self, target: &Target, attempt: usize) -> NodeId {
        let hint = self.inner.hints.lock().get(&target.group).copied();
        if let Some(hint) = hint.filter(|hint| self.is_reachable(*hint)) {
            return hint;
        }
        let reachable: Vec<NodeId> = target.replicas.iter().copied().filter(|node| self.is_reachable(*node)).collect();
        let candidates: &[NodeId] = if reachable.is_empty() { &target.replicas } else { &reachable };
        candidates.get(attempt % candidates.len().max(1)).copied().unwrap_or(self.inner.node_id)
    }

    /// Notes who leads, or that whoever was thought to does not. True if that is news worth asking at once.
    pub(super) fn learn(&self, group: GroupId, leader: Option<NodeId>) -> bool {
        let mut hints = self.inner.hints.lock();
        match leader {
            Some(leader) => hints.insert(group, leader) != Some(leader),
            None => {
                hints.remove(&group);
                false
            }
        }
    }

    /// Forgets a deleted group.
    pub fn forget(&self, group: GroupId) {
        self.inner.hints.lock().remove(&group);
    }

    /// Sends an append to `node`. What a remote node gets is queued before this returns, in the order of calls.
    pub(super) fn append(
        &self,
        node: NodeId,
        target: &Target,
        append: &Append,
        patience: Duration,
    ) -> impl Future<Output = Attempt<Appended>> + Send + use<> {
        let remote = (node != self.inner.node_id).then(|| {
            let message = forward::append_message(target.group, append);
            self.inner.transport.start_call(node, Lane::Forward, message, patience)
        });
        let local = remote.is_none().then(|| (self.inner.partitions.clone(), target.clone(), append.clone()));
        async move {
            if let Some((partitions, target, append)) = local {
                let (sender, receiver) = oneshot::channel();
                let done: AppendDone = Box::new(move |result| {
                    let _ = sender.send(result);
                });
                append_here(&partitions, target.group, append, done).await;
                return match tokio::time::timeout(patience, receiver).await {
                    Ok(Ok(Ok(appended))) => Attempt::Done(appended),
                    Ok(Ok(Err(AppendError::Unknown))) => Attempt::Unknown("leadership changed".to_string()),
                    Ok(Ok(Err(error))) => Attempt::Refused(error),
                    Ok(Err(_)) => Attempt::Unknown("the replica has stopped".to_string()),
                    Err(_) => Attempt::Unknown("a quorum did not answer in time".to_string()),
                };
            }
            let Some(answer) = remote else { return Attempt::Refused(AppendError::NotReady) };
            attempt_of::<Appended>(answer.await.unwrap_or(Err(CallError::Broken(node))))
        }
    }

    /// Sends a claim or its release to `node`.
    pub(super) async fn command(
        &self,
        node: NodeId,
        target: &Target,
        command: &PartitionCommand,
        patience: Duration,
    ) -> Attempt<Applied> {
        if node != self.inner.node_id {
            let header = forward::CommandHeader { group: target.group, command: command.clone() };
            let message = forward::message(forward::KIND_COMMAND, &header);
            return attempt_of(self.inner.transport.call(node, Lane::Forward, message, patience).await);
        }
        let work = command_here(&self.inner.partitions, target.group, command);
        match tokio::time::timeout(patience, work).await {
            Ok(Ok(applied)) => Attempt::Done(applied),
            Ok(Err(AppendError::Unknown)) => Attempt::Unknown("leadership changed".to_string()),
            Ok(Err(error)) => Attempt::Refused(error),
            Err(_) => Attempt::Unknown("a quorum did not answer in time".to_string()),
        }
    }

    /// Reads from `node`.
    pub(super) async fn read(
        &self,
        node: NodeId,
        target: &Target,
        read: LocalRead,
    ) -> Result<Result<ReadResult, LocalReadError>, String> {
        if node == self.inner.node_id {
            return Ok(read_here(&self.inner.partitions, target.group, read).await);
        }
        let now = Instant::now();
        let wait = read.wait_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        let patience = read.deadline.saturating_duration_since(now).max(Duration::from_millis(10));
        let header = forward::ReadHeader {
            group: target.group,
            from: read.from,
            max_bytes: read.max_bytes as u64,
            wait_ms: wait.as_millis() as u64,
            linearizable: read.linearizable,
            deadline_ms: patience.as_millis() as u64,
        };
        let message = forward::message(forward::KIND_READ, &header);
        let answer = self.inner.transport.call(node, Lane::Read, message, patience).await;
        forward::read_result(answer.map_err(|error| error.to_string())?)
    }

    /// What `node` says of those of `groups` that it leads.
    pub(super) async fn summaries(
        &self,
        node: NodeId,
        groups: Vec<GroupId>,
        patience: Duration,
    ) -> Result<forward::SummariesAnswer, String> {
        if node == self.inner.node_id {
            return Ok(super::views::summaries_here(&self.inner.partitions, &self.inner.transport, groups).await);
        }
        let message = forward::message(forward::KIND_SUMMARIES, &forward::SummariesHeader { groups });
        let answer = self.inner.transport.call(node, Lane::Read, message, patience).await;
        forward::header(&answer.map_err(|error| error.to_string())?)
    }

    /// Resolves an offset on `node`.
    pub(super) async fn offset(
        &self,
        node: NodeId,
        target: &Target,
        at: ReadFrom,
        patience: Duration,
    ) -> Result<forward::OffsetAnswer, String> {
        if node == self.inner.node_id {
            return Ok(offset_here(&self.inner.partitions, target.group, at).await);
        }
        let header = forward::OffsetHeader { group: target.group, at };
        let message = forward::message(forward::KIND_OFFSET, &header);
        let answer = self.inner.transport.call(node, Lane::Read, message, patience).await;
        forward::header(&answer.map_err(|error| error.to_string())?)
    }
}

fn attempt_of<T: for<'de> serde::Deserialize<'de>>(answer: Result<Message, CallError>) -> Attempt<T> {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error @ (CallError::Unreachable(_) | CallError::Refused(..))) => {
            return Attempt::Refused(AppendError::NotHere(error.to_string()));
        }
        Err(CallError::Busy(_)) => return Attempt::Refused(AppendError::Overloaded),
        Err(error) => return Attempt::Unknown(error.to_string()),
    };
    match forward::header::<Result<T, AppendError>>(&answer) {
        Ok(Ok(done)) => Attempt::Done(done),
        Ok(Err(AppendError::Unknown)) => Attempt::Unknown("leadership changed".to_string()),
        Ok(Err(error)) => Attempt::Refused(error),
        Err(error) => Attempt::Unknown(error),
    }
}

fn not_here(error: &OpenError) -> String {
    error.to_string()
}

/// Opens the replica and, where nobody leads, gets an election going and waits for it a moment.
pub(super) async fn led_replica(partitions: &Partitions, group: GroupId) -> Result<Arc<Replica>, OpenError> {
    let replica = partitions.open(group).await?;
    replica.group.ensure_leader(ELECTION_PATIENCE).await;
    Ok(replica)
}

/// Appends on this node's replica; serves both local requests and those of other nodes.
pub async fn append_here(partitions: &Partitions, group: GroupId, append: Append, done: AppendDone) {
    match led_replica(partitions, group).await {
        Ok(replica) => replica.append(append, done).await,
        Err(error) => done(Err(AppendError::NotHere(not_here(&error)))),
    }
}

/// Claims or releases a key on this node's replica.
pub async fn command_here(
    partitions: &Partitions,
    group: GroupId,
    command: &PartitionCommand,
) -> Result<Applied, AppendError> {
    match led_replica(partitions, group).await {
        Ok(replica) => replica.command(command).await,
        Err(error) => Err(AppendError::NotHere(not_here(&error))),
    }
}

/// Reads from this node's replica. A group is not born for a look at it, only for a wait.
pub async fn read_here(partitions: &Partitions, group: GroupId, read: LocalRead) -> Result<ReadResult, LocalReadError> {
    if read.wait_until.is_none() && partitions.is_unwritten(group) {
        return Err(LocalReadError::NeverWritten);
    }
    match led_replica(partitions, group).await {
        Ok(replica) => replica.read(read).await,
        Err(error) => Err(LocalReadError::NotHere(not_here(&error))),
    }
}

/// Resolves an offset on this node's replica.
pub async fn offset_here(partitions: &Partitions, group: GroupId, at: ReadFrom) -> forward::OffsetAnswer {
    if partitions.is_unwritten(group) {
        return Err(LocalReadError::NeverWritten);
    }
    match led_replica(partitions, group).await {
        Ok(replica) => replica.offset_for(at).await,
        Err(error) => Err(LocalReadError::NotHere(not_here(&error))),
    }
}
