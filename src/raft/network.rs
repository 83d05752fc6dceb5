//! The way to other replicas as openraft wants it: an adapter over [`Transport`].
//!
//! AppendEntries are pipelined: several are on their way, answers are taken in order. Heartbeats have their own lane, so
//! that a large request never makes a leader look dead.

use super::types::*;
use super::wire::*;
use crate::transport::{CallError, Lane, Message, Transport};
use crate::types::{GroupId, NodeId};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, VoteRequest, VoteResponse,
};
use openraft::raft::{TransferLeaderRequest, TransferLeaderResponse};
use openraft::storage::Snapshot;
use std::future::Future;
use std::time::Duration;

/// AppendEntries on their way to one follower; times 1 MiB this bounds the memory they take.
const PIPELINE_DEPTH: usize = 32;
/// Deadline of a request that carries entries: a follower's flush may stand in a long queue.
const APPEND_DEADLINE: Duration = Duration::from_secs(10);
/// Deadline of a snapshot, which is small: it carries no records.
const SNAPSHOT_DEADLINE: Duration = Duration::from_secs(30);

type Rpc<T> = Result<T, RPCError<TypeConfig>>;
type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;
type BoxStream<'a, T> = std::pin::Pin<Box<dyn Stream<Item = T> + Send + 'a>>;

/// Makes clients of one group's other replicas.
pub struct NetworkFactory {
    pub(super) group: GroupId,
    pub(super) transport: Transport,
}

/// A client of one replica of one group.
#[derive(Clone)]
pub struct Network {
    group: GroupId,
    target: NodeId,
    lane: Lane,
    transport: Transport,
}

impl NetworkFactory {
    fn client(&self, target: u64, lane: Lane) -> Network {
        Network { group: self.group, target: NodeId(target), lane, transport: self.transport.clone() }
    }
}

impl RaftNetworkFactory<TypeConfig> for NetworkFactory {
    type Network = Network;

    async fn new_client(&mut self, target: u64, _node: &()) -> Network {
        self.client(target, Lane::Replicate)
    }

    async fn new_heartbeat_client(&mut self, target: u64, _node: &()) -> Network {
        self.client(target, Lane::Control)
    }

    async fn new_snapshot_client(&mut self, target: u64, _node: &()) -> Network {
        self.client(target, Lane::Read)
    }
}

fn rpc_error(error: &CallError) -> RPCError<TypeConfig> {
    match error {
        CallError::Unreachable(_) | CallError::Refused(..) => Unreachable::new(error).into(),
        CallError::Broken(_) | CallError::Timeout(_) | CallError::Busy(_) => NetworkError::new(error).into(),
    }
}

/// The answer's header where the request was carried out.
fn carried_out(answer: Result<Message, CallError>) -> Rpc<Message> {
    let answer = answer.map_err(|error| rpc_error(&error))?;
    if answer.kind == ANSWER_OK {
        return Ok(answer);
    }
    let reason = String::from_utf8_lossy(&answer.header).into_owned();
    Err(Unreachable::new(&std::io::Error::other(reason)).into())
}

fn network_error(error: std::io::Error) -> RPCError<TypeConfig> {
    NetworkError::new(&error).into()
}

impl Network {
    async fn call(&self, lane: Lane, message: Message, deadline: Duration) -> Rpc<Message> {
        carried_out(self.transport.call(self.target, lane, message, deadline).await)
    }

    /// Sends at once, in the order of calls; the future only waits for the answer.
    fn start_append(
        &self,
        request: AppendEntriesRequest<TypeConfig>,
        option: &RPCOption,
    ) -> impl Future<Output = Rpc<AppendEntriesResponse<TypeConfig>>> + Send + 'static + use<> {
        let deadline = if request.entries.is_empty() { option.hard_ttl() } else { APPEND_DEADLINE };
        let lane = if request.entries.is_empty() { self.lane } else { Lane::Replicate };
        let target = self.target;
        let answer = self.transport.start_call(target, lane, append_message(self.group, request), deadline);
        async move {
            let answer = answer.await.unwrap_or(Err(CallError::Broken(target)));
            append_response(&carried_out(answer)?).map_err(network_error)
        }
    }
}

impl RaftNetworkV2<TypeConfig> for Network {
    type SnapshotData = Bytes;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Rpc<AppendEntriesResponse<TypeConfig>> {
        self.start_append(request, &option).await
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Rpc<BoxStream<'s, Rpc<StreamAppendResult<TypeConfig>>>>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
    {
        let client = self.clone();
        Box::pin(async move {
            let answers = input
                .map(move |request| {
                    let previous = request.prev_log_id;
                    let last = request.entries.last().map(|entry| entry.log_id).or(previous);
                    let answer = client.start_append(request, &option);
                    async move { answer.await.map(|response| response.into_stream_result(previous, last)) }
                })
                .buffered(PIPELINE_DEPTH);
            Ok(Box::pin(answers) as BoxStream<'s, _>)
        })
    }

    async fn vote(&mut self, request: VoteRequest<TypeConfig>, option: RPCOption) -> Rpc<VoteResponse<TypeConfig>> {
        let message = vote_message(KIND_VOTE, self.group, &request);
        let answer = self.call(Lane::Control, message, option.hard_ttl()).await?;
        vote_response(&answer).map_err(network_error)
    }

    async fn pre_vote(&mut self, request: VoteRequest<TypeConfig>, option: RPCOption) -> Rpc<VoteResponse<TypeConfig>> {
        let message = vote_message(KIND_PRE_VOTE, self.group, &request);
        let answer = self.call(Lane::Control, message, option.hard_ttl()).await?;
        vote_response(&answer).map_err(network_error)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot<CommittedLeaderId, u64, (), Bytes>,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let header = SnapshotHeader {
            group: self.group,
            vote: VoteBytes::from(&vote),
            last: snapshot.meta.last_log_id.as_ref().map(log_id),
            membership_at: snapshot.meta.last_membership.log_id().as_ref().map(log_id),
            membership: MembershipBytes::of(snapshot.meta.last_membership.membership()),
        };
        let mut message = message(KIND_SNAPSHOT, &header);
        message.payload.push(snapshot.snapshot);
        tokio::select! {
            closed = cancel => Err(StreamingError::Closed(closed)),
            answer = self.call(Lane::Read, message, SNAPSHOT_DEADLINE) => {
                let answer = answer.map_err(StreamingError::from)?;
                let vote: VoteBytes = decode(&answer.header).map_err(network_error).map_err(StreamingError::from)?;
                Ok(SnapshotResponse { vote: vote.into() })
            }
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Rpc<TransferLeaderResponse<TypeConfig>> {
        let header = TransferHeader {
            group: self.group,
            from: VoteBytes::from(request.from_leader()),
            to: NodeId(*request.to_node_id()),
            last: request.last_log_id().map(log_id),
        };
        self.call(Lane::Control, message(KIND_TRANSFER, &header), option.hard_ttl()).await?;
        Ok(Ok(()))
    }
}
