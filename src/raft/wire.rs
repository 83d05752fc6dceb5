//! Raft messages between nodes: a bincode header and the entries' payloads behind it, uncopied.
//!
//! Purpose: requests and answers of one group as [`Message`]s. Bytes come from outside: decoding gives errors, never
//! panics. Does not know connections.

use super::types::*;
use crate::storage::{DataEntry, LogEntry, Payload};
use crate::transport::Message;
use crate::types::{GroupId, LogId, NodeId, Offset};
use bytes::Bytes;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest, VoteResponse};
use serde::{Deserialize, Serialize};
use std::io;

/// Kinds of messages below this number are Raft's.
pub const KIND_END: u16 = 32;
pub(super) const KIND_APPEND: u16 = 1;
pub(super) const KIND_VOTE: u16 = 2;
pub(super) const KIND_PRE_VOTE: u16 = 3;
pub(super) const KIND_SNAPSHOT: u16 = 4;
pub(super) const KIND_TRANSFER: u16 = 5;
pub(super) const KIND_QUIESCE: u16 = 6;

/// Answer: carried out, the header holds the result.
pub(super) const ANSWER_OK: u16 = 0;
/// Answer: not carried out; the header is a text that says why.
pub(super) const ANSWER_REFUSED: u16 = 1;

#[derive(Serialize, Deserialize)]
pub(super) struct AppendHeader {
    pub group: GroupId,
    vote: VoteBytes,
    prev: Option<LogId>,
    commit: Option<LogId>,
    entries: Vec<EntryHeader>,
}

#[derive(Serialize, Deserialize)]
struct EntryHeader {
    id: LogId,
    payload_len: u32,
    kind: EntryKind,
}

#[derive(Serialize, Deserialize)]
enum EntryKind {
    Blank,
    Membership,
    Command,
    Data { base_offset: Option<Offset>, record_count: u32, timestamp_ms_max: i64, attributes: Vec<u8> },
}

#[derive(Serialize, Deserialize)]
pub(super) struct VoteHeader {
    pub group: GroupId,
    vote: VoteBytes,
    last: Option<LogId>,
    leadership_transfer: bool,
}

#[derive(Serialize, Deserialize)]
pub(super) struct VoteAnswer {
    vote: VoteBytes,
    granted: bool,
    last: Option<LogId>,
}

#[derive(Serialize, Deserialize)]
pub(super) enum AppendAnswer {
    Success,
    PartialSuccess(Option<LogId>),
    Conflict,
    HigherVote(VoteBytes),
}

#[derive(Serialize, Deserialize)]
pub(super) struct SnapshotHeader {
    pub group: GroupId,
    pub vote: VoteBytes,
    pub last: Option<LogId>,
    pub membership_at: Option<LogId>,
    pub membership: MembershipBytes,
}

#[derive(Serialize, Deserialize)]
pub(super) struct TransferHeader {
    pub group: GroupId,
    pub from: VoteBytes,
    pub to: NodeId,
    pub last: Option<LogId>,
}

/// The leader has nothing more to send, and asks to be believed alive for as long as its node is.
#[derive(Serialize, Deserialize)]
pub(super) struct QuiesceHeader {
    pub group: GroupId,
    pub term: u64,
    pub last: LogId,
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.to_string())
}

/// The group that a Raft message is for: the first field of every header.
pub fn group_of(message: &Message) -> io::Result<GroupId> {
    match message.header.split_first() {
        Some((_, rest)) => bincode::deserialize(rest).map_err(|error| invalid(&error.to_string())),
        None => Err(invalid("a message without header")),
    }
}

/// A message of one header and no payload.
pub(super) fn message<T: Serialize>(kind: u16, header: &T) -> Message {
    Message { kind, header: encode(header).into(), payload: Vec::new() }
}

pub(super) fn refused(reason: impl Into<String>) -> Message {
    Message { kind: ANSWER_REFUSED, header: reason.into().into_bytes().into(), payload: Vec::new() }
}

pub(super) fn append_message(group: GroupId, request: AppendEntriesRequest<TypeConfig>) -> Message {
    let mut payload = Vec::with_capacity(request.entries.len());
    let mut entries = Vec::with_capacity(request.entries.len());
    for entry in request.entries {
        let LogEntry { id, payload: body } = to_log_entry(entry);
        let (kind, bytes) = match body {
            Payload::Blank => (EntryKind::Blank, Bytes::new()),
            Payload::Membership(bytes) => (EntryKind::Membership, bytes),
            Payload::Command(bytes) => (EntryKind::Command, bytes),
            Payload::Data(data) => {
                let DataEntry { base_offset, record_count, timestamp_ms_max, attributes, batches } = data;
                let attributes = attributes.to_vec();
                (EntryKind::Data { base_offset, record_count, timestamp_ms_max, attributes }, batches)
            }
        };
        entries.push(EntryHeader { id, payload_len: bytes.len() as u32, kind });
        if !bytes.is_empty() {
            payload.push(bytes);
        }
    }
    let header = AppendHeader {
        group,
        vote: VoteBytes::from(&request.vote),
        prev: request.prev_log_id.as_ref().map(log_id),
        commit: request.leader_commit.as_ref().map(log_id),
        entries,
    };
    Message { kind: KIND_APPEND, header: encode(&header).into(), payload }
}

/// All payload of a received message in one piece.
pub fn joined_payload(message: &mut Message) -> Bytes {
    match message.payload.len() {
        0 => Bytes::new(),
        1 => message.payload.remove(0),
        _ => message.payload.concat().into(),
    }
}

pub(super) fn append_request(mut message: Message) -> io::Result<AppendEntriesRequest<TypeConfig>> {
    let header: AppendHeader = decode(&message.header)?;
    let mut body = joined_payload(&mut message);
    let mut entries = Vec::with_capacity(header.entries.len().min(65_536));
    for EntryHeader { id, payload_len, kind } in header.entries {
        if payload_len as usize > body.len() {
            return Err(invalid("an entry is longer than the message"));
        }
        let bytes = body.split_to(payload_len as usize);
        let payload = match kind {
            EntryKind::Blank => Payload::Blank,
            EntryKind::Membership => Payload::Membership(bytes),
            EntryKind::Command => Payload::Command(bytes),
            EntryKind::Data { base_offset, record_count, timestamp_ms_max, attributes } => Payload::Data(DataEntry {
                base_offset,
                record_count,
                timestamp_ms_max,
                attributes: attributes.into(),
                batches: bytes,
            }),
        };
        entries.push(from_log_entry(LogEntry { id, payload })?);
    }
    Ok(AppendEntriesRequest {
        vote: header.vote.into(),
        prev_log_id: header.prev.map(raft_log_id),
        entries,
        leader_commit: header.commit.map(raft_log_id),
    })
}

pub(super) fn append_answer(response: AppendEntriesResponse<TypeConfig>) -> Message {
    let answer = match response {
        AppendEntriesResponse::Success => AppendAnswer::Success,
        AppendEntriesResponse::PartialSuccess(id) => AppendAnswer::PartialSuccess(id.as_ref().map(log_id)),
        AppendEntriesResponse::Conflict => AppendAnswer::Conflict,
        AppendEntriesResponse::HigherVote(vote) => AppendAnswer::HigherVote(VoteBytes::from(&vote)),
    };
    message(ANSWER_OK, &answer)
}

pub(super) fn append_response(answer: &Message) -> io::Result<AppendEntriesResponse<TypeConfig>> {
    Ok(match decode(&answer.header)? {
        AppendAnswer::Success => AppendEntriesResponse::Success,
        AppendAnswer::PartialSuccess(id) => AppendEntriesResponse::PartialSuccess(id.map(raft_log_id)),
        AppendAnswer::Conflict => AppendEntriesResponse::Conflict,
        AppendAnswer::HigherVote(vote) => AppendEntriesResponse::HigherVote(vote.into()),
    })
}

pub(super) fn vote_message(kind: u16, group: GroupId, request: &VoteRequest<TypeConfig>) -> Message {
    let header = VoteHeader {
        group,
        vote: VoteBytes::from(&request.vote),
        last: request.last_log_id.as_ref().map(log_id),
        leadership_transfer: request.leadership_transfer,
    };
    message(kind, &header)
}

pub(super) fn vote_request(request: &Message) -> io::Result<VoteRequest<TypeConfig>> {
    let header: VoteHeader = decode(&request.header)?;
    let mut vote = VoteRequest::new(header.vote.into(), header.last.map(raft_log_id));
    vote.leadership_transfer = header.leadership_transfer;
    Ok(vote)
}

pub(super) fn vote_answer(response: &VoteResponse<TypeConfig>) -> Message {
    let answer = VoteAnswer {
        vote: VoteBytes::from(&response.vote),
        granted: response.vote_granted,
        last: response.last_log_id.as_ref().map(log_id),
    };
    message(ANSWER_OK, &answer)
}

pub(super) fn vote_response(answer: &Message) -> io::Result<VoteResponse<TypeConfig>> {
    let answer: VoteAnswer = decode(&answer.header)?;
    Ok(VoteResponse::new(Vote::from(answer.vote), answer.last.map(raft_log_id), answer.granted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{LogIndex, Term};

    fn data(index: u64, text: &'static str) -> LogEntry {
        let payload = Payload::Data(DataEntry {
            base_offset: Some(Offset(index * 10)),
            record_count: 10,
            timestamp_ms_max: 5,
            attributes: Bytes::from_static(b"attributes"),
            batches: Bytes::from_static(text.as_bytes()),
        });
        LogEntry { id: LogId { term: Term(3), index: LogIndex(index) }, payload }
    }

    #[test]
    fn append_requests_come_back_as_they_were() {
        let entries = vec![data(4, "first"), data(5, "second")];
        let request = AppendEntriesRequest::<TypeConfig> {
            vote: VoteBytes { term: 3, node: 1, committed: true }.into(),
            prev_log_id: Some(raft_log_id(LogId { term: Term(2), index: LogIndex(3) })),
            entries: entries.iter().cloned().map(|entry| from_log_entry(entry).unwrap()).collect(),
            leader_commit: None,
        };
        let mut sent = append_message(GroupId(7), request);
        assert_eq!(group_of(&sent).unwrap(), GroupId(7));
        sent.payload = vec![joined_payload(&mut sent)];
        let back = append_request(sent).unwrap();
        assert_eq!(back.entries.into_iter().map(to_log_entry).collect::<Vec<_>>(), entries);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_refused_without_panic(header: Vec<u8>, body: Vec<u8>) {
            let mut bytes = vec![1];
            bytes.extend(header);
            let message = Message { kind: KIND_APPEND, header: bytes.into(), payload: vec![body.into()] };
            let _ = group_of(&message);
            let _ = vote_request(&message);
            let _ = append_response(&message);
            let _ = append_request(message);
        }
    }
}
