//! What one node's broker asks of another's: message kinds, headers, answers. `peer/` serves them.
//!
//! Purpose: encode and decode. Bytes come from outside: errors, never panics.

use crate::partition::{Append, AppendError, Appended, LocalReadError, ReadFrom, ReadResult, Summary};
use crate::raft::joined_payload;
use crate::state::partition::{Applied, Identity, PartitionCommand};
use crate::storage::StoredBatches;
use crate::transport::Message;
use crate::types::{Acks, GroupId, NodeId, Offset, Term};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub const KIND_APPEND: u16 = 40;
pub const KIND_COMMAND: u16 = 41;
pub const KIND_READ: u16 = 42;
pub const KIND_SUMMARIES: u16 = 43;
pub const KIND_OFFSET: u16 = 44;
pub const KIND_GROUP: u16 = 45;
/// Asks a leader to hand over a group; the answer is an [`super::Elected`].
pub const KIND_TRANSFER: u16 = 46;
/// Asks the meta group's leader what it knows of the voters.
pub const KIND_QUORUM: u16 = 47;

/// The answer's header holds the result.
pub const ANSWER: u16 = 0;

#[derive(Debug, Serialize, Deserialize)]
pub struct AppendHeader {
    pub group: GroupId,
    pub record_count: u32,
    pub timestamp_ms_max: i64,
    pub identity: Identity,
    pub expected_offset: Option<Offset>,
    pub acks: Acks,
}

pub type AppendAnswer = Result<Appended, AppendError>;

#[derive(Debug, Serialize, Deserialize)]
pub struct CommandHeader {
    pub group: GroupId,
    pub command: PartitionCommand,
}

pub type CommandAnswer = Result<Applied, AppendError>;

#[derive(Debug, Serialize, Deserialize)]
pub struct ReadHeader {
    pub group: GroupId,
    pub from: ReadFrom,
    pub max_bytes: u64,
    pub wait_ms: u64,
    pub linearizable: bool,
    pub deadline_ms: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct ReadAnswerHeader {
    start_offset: Offset,
    log_start_offset: Offset,
    high_watermark: Offset,
    term: Term,
    batches: Vec<(Offset, u32, Term, u32)>,
}

/// Asks a node for summaries of those of these groups that it leads. A group that was never written is left out.
#[derive(Debug, Serialize, Deserialize)]
pub struct SummariesHeader {
    pub groups: Vec<GroupId>,
}

#[derive(Debug, Serialize, Deserialize)]
pub enum SummaryAnswer {
    Leads(Summary),
    /// Another one leads, if known.
    Elsewhere(Option<NodeId>, Term),
    /// Nothing was ever written there as far as this replica knows.
    NeverWritten,
}

pub type SummariesAnswer = Vec<(GroupId, SummaryAnswer)>;

#[derive(Debug, Serialize, Deserialize)]
pub struct OffsetHeader {
    pub group: GroupId,
    pub at: ReadFrom,
}

pub type OffsetAnswer = Result<(Offset, Option<i64>), LocalReadError>;

/// A message of one header.
pub fn message<T: Serialize>(kind: u16, header: &T) -> Message {
    let header = bincode::serialize(header).expect("plain data is always serialized");
    Message { kind, header: header.into(), payload: Vec::new() }
}

/// A header as `message` wrote it; the error is for the log.
pub fn header<T: for<'de> Deserialize<'de>>(message: &Message) -> Result<T, String> {
    bincode::deserialize(&message.header).map_err(|error| format!("kind {}: {error}", message.kind))
}

pub fn append_message(group: GroupId, append: &Append) -> Message {
    let header = AppendHeader {
        group,
        record_count: append.record_count,
        timestamp_ms_max: append.timestamp_ms_max,
        identity: append.identity,
        expected_offset: append.expected_offset,
        acks: append.acks,
    };
    let mut message = message(KIND_APPEND, &header);
    message.payload.push(append.batches.clone());
    message
}

pub fn append_of(header: &AppendHeader, message: &mut Message) -> Append {
    Append {
        batches: joined_payload(message),
        record_count: header.record_count,
        timestamp_ms_max: header.timestamp_ms_max,
        identity: header.identity,
        expected_offset: header.expected_offset,
        acks: header.acks,
    }
}

/// The answer to a read: batches behind the header, uncopied.
pub fn read_answer(result: Result<ReadResult, LocalReadError>) -> Message {
    let result = match result {
        Ok(read) => read,
        Err(error) => return message(ANSWER, &Err::<ReadAnswerHeader, _>(error)),
    };
    let shape = |stored: &StoredBatches| (stored.base_offset, stored.record_count, stored.term, stored.len() as u32);
    let header: Result<_, LocalReadError> = Ok(ReadAnswerHeader {
        start_offset: result.start_offset,
        log_start_offset: result.log_start_offset,
        high_watermark: result.high_watermark,
        term: result.term,
        batches: result.batches.iter().map(shape).collect(),
    });
    let mut answer = message(ANSWER, &header);
    for stored in result.batches {
        answer.payload.push(Bytes::copy_from_slice(&stored.prefix));
        answer.payload.push(stored.rest);
    }
    answer
}

/// The result that `read_answer` sent.
pub fn read_result(mut answer: Message) -> Result<Result<ReadResult, LocalReadError>, String> {
    let header: Result<ReadAnswerHeader, LocalReadError> = header(&answer)?;
    let header = match header {
        Ok(header) => header,
        Err(error) => return Ok(Err(error)),
    };
    let mut body = joined_payload(&mut answer);
    let mut batches = Vec::with_capacity(header.batches.len().min(65_536));
    for (base_offset, record_count, term, len) in header.batches {
        let len = len as usize;
        let mut prefix = [0; 16];
        if len > body.len() || len < prefix.len() {
            return Err("a batch does not fit into its message".to_string());
        }
        let stored = body.split_to(len);
        prefix.copy_from_slice(&stored[..16]);
        batches.push(StoredBatches { base_offset, record_count, term, prefix, rest: stored.slice(16..) });
    }
    let ReadAnswerHeader { start_offset, log_start_offset, high_watermark, term, .. } = header;
    Ok(Ok(ReadResult { start_offset, log_start_offset, high_watermark, term, batches }))
}
