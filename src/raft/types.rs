//! Balsa's types for openraft, and the way between them and the log's.
//!
//! One leader per term (`leader_id_std`), so that a log id is a term and an index, as in the Raft paper.

use crate::mutant::{self, Mutant};
use crate::state::meta::MetaResponse;
use crate::state::partition::Applied;
use crate::storage::{DataEntry, LogEntry, Payload};
use crate::types::{LogId, LogIndex, Term};
use bytes::Bytes;
use openraft::entry::RaftEntry;
use openraft::impls::leader_id_std;
use openraft::{EntryPayload, RaftTypeConfig};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Ties openraft's parameters together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct TypeConfig;

impl RaftTypeConfig for TypeConfig {
    type D = Proposal;
    type R = Reply;
    type NodeId = u64;
    type Node = ();
    type Term = u64;
    type LeaderId = leader_id_std::LeaderId<u64, u64>;
    type Vote = openraft::impls::Vote<Self::LeaderId>;
    type Payload = EntryPayload<Proposal, u64, ()>;
    type Entry = openraft::Entry<CommittedLeaderId, Self::Payload>;
    type AsyncRuntime = openraft_rt_tokio::TokioRuntime;
    type Responder<T>
        = Callback<T>
    where
        T: openraft::OptionalSend + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: openraft::OptionalSend + 'static;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}

pub(super) type CommittedLeaderId = <leader_id_std::LeaderId<u64, u64> as openraft::vote::RaftLeaderId>::Committed;
pub(super) type Entry = openraft::Entry<CommittedLeaderId, EntryPayload<Proposal, u64, ()>>;
pub(super) type RaftLogId = openraft::LogId<CommittedLeaderId>;
pub(super) type Vote = openraft::impls::Vote<leader_id_std::LeaderId<u64, u64>>;
pub(super) type Membership = openraft::Membership<u64, ()>;
pub(super) type StoredMembership = openraft::StoredMembership<CommittedLeaderId, u64, ()>;

/// Ties proposals together that count on each other's places: once one of them was refused, those behind it that were
/// not yet appended become blank entries.
///
/// openraft refuses a proposal whose leader has not heard of a quorum lately, and may take the next one, in the same
/// term. A record that was to stand behind the refused one would then stand in its place. The fence is closed where
/// the refusal is heard, which is before openraft looks at the next proposal, and looked at where entries go into the
/// log, which is the only place that replicas and the state machine read them from.
#[derive(Clone, Debug, Default)]
pub struct Fence(Arc<AtomicBool>);

impl Fence {
    pub fn close(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    pub fn is_closed(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

impl PartialEq for Fence {
    fn eq(&self, other: &Fence) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Fence {}

/// What a leader proposes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proposal {
    Data(DataEntry),
    /// Data that counts on its place. Its reply is that of a blank entry if it became one.
    Fenced(DataEntry, Fence),
    Command(Bytes),
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Proposal::Data(data) | Proposal::Fenced(data, _) => {
                write!(f, "{} records in {} bytes", data.record_count, data.batches.len())
            }
            Proposal::Command(bytes) => write!(f, "a command of {} bytes", bytes.len()),
        }
    }
}

/// What applying a proposal gave.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    Partition(Applied),
    Meta(MetaResponse),
    Nothing,
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// A responder that calls back where the entry is applied: one hop less than a channel. Dropped uncalled when the
/// Raft core ends; what it holds must take that as "outcome unknown".
pub struct Callback<T>(Box<dyn FnOnce(T) + Send>);

impl<T> Callback<T> {
    pub(super) fn new(call: impl FnOnce(T) + Send + 'static) -> Callback<T> {
        Callback(Box::new(call))
    }
}

impl<T: openraft::OptionalSend + 'static> openraft::raft::responder::Responder<TypeConfig, T> for Callback<T> {
    fn on_complete(self, result: T) {
        (self.0)(result);
    }
}

/// A membership as it is stored and sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MembershipBytes {
    pub configs: Vec<BTreeSet<u64>>,
    pub nodes: BTreeSet<u64>,
}

impl MembershipBytes {
    pub fn of(membership: &Membership) -> MembershipBytes {
        MembershipBytes {
            configs: quorums(membership.get_joint_config().clone()),
            nodes: membership.nodes().map(|(id, ())| *id).collect(),
        }
    }

    pub fn restore(self) -> Membership {
        let nodes: std::collections::BTreeMap<u64, ()> = self.nodes.into_iter().map(|id| (id, ())).collect();
        Membership::new_with_defaults(quorums(self.configs), nodes.into_keys())
    }
}

/// Sets of voters of which each must agree: all of them. The mutant loses them where they are written, too, so that the
/// log is the same bytes everywhere, and only what comes of it shows.
fn quorums(mut configs: Vec<BTreeSet<u64>>) -> Vec<BTreeSet<u64>> {
    if mutant::on(Mutant::MembershipWithoutJoint) && configs.len() > 1 {
        configs.remove(0);
    }
    configs
}

pub(super) fn log_id(id: &RaftLogId) -> LogId {
    LogId { term: Term(*id.leader_id), index: LogIndex(id.index) }
}

pub(super) fn raft_log_id(id: LogId) -> RaftLogId {
    RaftLogId::new(CommittedLeaderId::new(id.term.0), id.index.0)
}

/// A log entry from openraft's. The membership is encoded.
pub(super) fn to_log_entry(entry: Entry) -> LogEntry {
    let id = log_id(&entry.log_id());
    let payload = match entry.payload {
        EntryPayload::Blank => Payload::Blank,
        EntryPayload::Membership(membership) => Payload::Membership(encode(&MembershipBytes::of(&membership)).into()),
        EntryPayload::Normal(Proposal::Command(bytes)) => Payload::Command(bytes),
        EntryPayload::Normal(Proposal::Fenced(_, fence)) if fence.is_closed() => Payload::Blank,
        EntryPayload::Normal(Proposal::Data(data) | Proposal::Fenced(data, _)) => Payload::Data(data),
    };
    LogEntry { id, payload }
}

/// The way back.
///
/// # Errors
/// `InvalidData` where a membership can't be decoded.
pub(super) fn from_log_entry(entry: LogEntry) -> std::io::Result<Entry> {
    let payload = match entry.payload {
        Payload::Blank => EntryPayload::Blank,
        Payload::Membership(bytes) => EntryPayload::Membership(decode::<MembershipBytes>(&bytes)?.restore()),
        Payload::Command(bytes) => EntryPayload::Normal(Proposal::Command(bytes)),
        Payload::Data(data) => EntryPayload::Normal(Proposal::Data(data)),
    };
    Ok(Entry { log_id: raft_log_id(entry.id), payload })
}

/// Format of votes, memberships and checkpoints as this floor writes them.
const FORMAT_VERSION: u8 = 1;

pub(super) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = vec![FORMAT_VERSION];
    bincode::serialize_into(&mut bytes, value).expect("plain data is always serialized");
    bytes
}

pub(super) fn decode<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> std::io::Result<T> {
    let invalid = |text: String| std::io::Error::new(std::io::ErrorKind::InvalidData, text);
    match bytes.split_first() {
        Some((&FORMAT_VERSION, rest)) => bincode::deserialize(rest).map_err(|error| invalid(error.to_string())),
        Some((version, _)) => Err(invalid(format!("format version {version} is newer than this balsa reads"))),
        None => Err(invalid("no bytes".into())),
    }
}

/// A vote as it is stored and sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct VoteBytes {
    pub term: u64,
    pub node: u64,
    pub committed: bool,
}

impl From<&Vote> for VoteBytes {
    fn from(vote: &Vote) -> VoteBytes {
        VoteBytes { term: vote.leader_id.term, node: vote.leader_id.voted_for, committed: vote.committed }
    }
}

impl From<VoteBytes> for Vote {
    fn from(vote: VoteBytes) -> Vote {
        Vote { leader_id: leader_id_std::LeaderId { term: vote.term, voted_for: vote.node }, committed: vote.committed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_behind_a_closed_fence_becomes_blank() {
        let data = DataEntry {
            base_offset: None,
            record_count: 1,
            timestamp_ms_max: 0,
            attributes: Bytes::new(),
            batches: Bytes::from_static(b"batch"),
        };
        let fence = Fence::default();
        let id = raft_log_id(LogId { term: Term(1), index: LogIndex(1) });
        let entry =
            || Entry { log_id: id, payload: EntryPayload::Normal(Proposal::Fenced(data.clone(), fence.clone())) };
        assert_eq!(to_log_entry(entry()).payload, Payload::Data(data.clone()));
        fence.close();
        assert_eq!(to_log_entry(entry()).payload, Payload::Blank);
    }
}
