//! What controllers of different nodes say to each other. Bytes come from outside: errors, never panics.

use super::ChangeError;
use crate::state::meta::MetaResponse;
use crate::transport::{CallError, Message};
use crate::types::LogIndex;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub const KIND_HELLO: u16 = 32;
pub const KIND_META_CHANGE: u16 = 33;
pub const KIND_META_WAIT: u16 = 34;
/// Kinds of controllers are below this number (and not below Raft's).
pub const KIND_END: u16 = 40;

pub(super) const ANSWER_OK: u16 = 0;
pub(super) const ANSWER_UNAVAILABLE: u16 = 1;
pub(super) const ANSWER_UNKNOWN: u16 = 2;
pub(super) const ANSWER_BAD: u16 = 3;

/// "Who are you, and do you belong to a cluster?"
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Hello {
    pub uuid: Uuid,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct HelloAnswer {
    pub uuid: Uuid,
    pub cluster_id: Option<Uuid>,
    /// It has taken part in a cluster, though it may not know the id yet.
    pub formed: bool,
    /// The UUID under which the cluster knows the asking node.
    pub knows_you_as: Option<Uuid>,
}

/// What each node tells all others with its heartbeats.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    pub meta_applied: Option<LogIndex>,
    pub leaders: u64,
    pub disk_total_bytes: u64,
    pub disk_free_bytes: u64,
}

impl NodeStatus {
    pub fn encode(&self) -> Vec<u8> {
        bincode::serialize(self).expect("plain data is always serialized")
    }

    /// What a peer's heartbeat carried, if it can be read.
    pub fn decode(bytes: &[u8]) -> Option<NodeStatus> {
        bincode::deserialize(bytes).ok()
    }
}

pub(super) fn message<T: Serialize>(kind: u16, header: &T) -> Message {
    let header = bincode::serialize(header).expect("plain data is always serialized");
    Message { kind, header: header.into(), payload: Vec::new() }
}

pub(super) fn header<T: for<'de> Deserialize<'de>>(message: &Message) -> Result<T, String> {
    bincode::deserialize(&message.header).map_err(|error| error.to_string())
}

pub(super) fn change_answer(result: Result<MetaResponse, ChangeError>) -> Message {
    match result {
        Ok(response) => Message { kind: ANSWER_OK, header: response.encode().into(), payload: Vec::new() },
        Err(ChangeError::Unavailable(reason)) => message(ANSWER_UNAVAILABLE, &reason),
        Err(ChangeError::Unknown) => message(ANSWER_UNKNOWN, &()),
    }
}

pub(super) fn change_result(answer: Result<Message, CallError>) -> Result<MetaResponse, ChangeError> {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error @ (CallError::Unreachable(_) | CallError::Busy(_) | CallError::Refused(..))) => {
            return Err(ChangeError::Unavailable(error.to_string()));
        }
        Err(_) => return Err(ChangeError::Unknown),
    };
    match answer.kind {
        ANSWER_OK => MetaResponse::decode(&answer.header).map_err(|_| ChangeError::Unknown),
        ANSWER_UNAVAILABLE => Err(ChangeError::Unavailable(header(&answer).unwrap_or_default())),
        _ => Err(ChangeError::Unknown),
    }
}
