//! Carries out what peers ask of a group. Bytes from outside: refused with a reason, never a panic.

use super::group::Group;
use super::types::*;
use super::wire::*;
use crate::transport::{Incoming, Message};
use openraft::raft::TransferLeaderRequest;
use openraft::storage::{Snapshot, SnapshotMeta};
use std::fmt::Display;
use std::sync::Arc;
use tokio::time::Instant;

/// Carries out one request and answers it. Its first await puts the request into the group's queue.
pub(super) async fn carry_out(group: &Arc<Group>, incoming: Incoming) {
    let Incoming { message, reply, .. } = incoming;
    let answer = match message.kind {
        KIND_APPEND => append(group, message).await,
        KIND_VOTE => vote(group, &message).await,
        KIND_PRE_VOTE => pre_vote(group, &message).await,
        KIND_SNAPSHOT => snapshot(group, message).await,
        KIND_TRANSFER => transfer(group, &message).await,
        KIND_QUIESCE => quiesce(group, &message).await,
        other => Err(format!("message kind {other} is not known")),
    };
    reply.send(answer.unwrap_or_else(refused));
}

type Answer = Result<Message, String>;

fn text(error: impl Display) -> String {
    error.to_string()
}

async fn append(group: &Group, message: Message) -> Answer {
    let request = append_request(message).map_err(text)?;
    if !request.entries.is_empty() {
        group.touch();
        // Refused before openraft sees it: a log that fails an append ends the group, a full disk shall not.
        group.log.check_space().map_err(text)?;
    }
    group.raft.append_entries(request).await.map(append_answer).map_err(text)
}

async fn vote(group: &Arc<Group>, message: &Message) -> Answer {
    group.touch();
    let request = vote_request(message).map_err(text)?;
    let offered = request.last_log_id;
    // Before the vote is given: a request that comes meanwhile is to find it. Births show why: all replicas open the
    // group at once, and whoever is asked for its leader then would stand for election too.
    let before = group.candidate_heard(Some(Instant::now()));
    let response = group.raft.vote(request).await.map_err(text)?;
    if !response.vote_granted {
        group.candidate_heard(before);
    }
    if !response.vote_granted && response.last_log_id > offered {
        group.outbid();
    }
    Ok(vote_answer(&response))
}

async fn pre_vote(group: &Group, message: &Message) -> Answer {
    group.touch();
    let request = vote_request(message).map_err(text)?;
    group.raft.pre_vote(request).await.map(|response| vote_answer(&response)).map_err(text)
}

async fn snapshot(group: &Group, mut message: Message) -> Answer {
    group.touch();
    let header: SnapshotHeader = decode(&message.header).map_err(text)?;
    let membership = StoredMembership::new(header.membership_at.map(raft_log_id), header.membership.restore());
    let meta = SnapshotMeta { last_log_id: header.last.map(raft_log_id), last_membership: membership };
    let snapshot = Snapshot { meta, snapshot: joined_payload(&mut message) };
    let response = group.raft.install_full_snapshot(header.vote.into(), snapshot).await.map_err(text)?;
    Ok(super::wire::message(ANSWER_OK, &VoteBytes::from(&response.vote)))
}

async fn transfer(group: &Group, message: &Message) -> Answer {
    group.touch();
    let header: TransferHeader = decode(&message.header).map_err(text)?;
    let request = TransferLeaderRequest::new(header.from.into(), header.to.0, header.last.map(raft_log_id));
    match group.raft.handle_transfer_leader(request).await.map_err(text)? {
        Ok(()) => Ok(super::wire::message(ANSWER_OK, &())),
        Err(error) => Err(error.to_string()),
    }
}

async fn quiesce(group: &Group, message: &Message) -> Answer {
    let header: QuiesceHeader = decode(&message.header).map_err(text)?;
    if group.agree_to_quiesce(header.term, header.last).await {
        Ok(super::wire::message(ANSWER_OK, &()))
    } else {
        Err("not quiet here".to_string())
    }
}
