//! What one node asks another's coordinator for, as values; and the one place that does it, for local askers too.

use super::leases::{Ack, Grant, Granted, Turns};
use super::{Commit, Coordinator, Described, Listed, OffsetsOf};
use crate::state::group::live::Speaker;
use crate::state::group::{GroupError, LeaseId, PartitionKey};
use crate::types::GroupId;
use serde::{Deserialize, Serialize};

/// A request about a group, or (`List`, `Ping`) about a partition of groups.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Request {
    /// Does this node coordinate? The partition begins to live by that.
    Ping,
    List,
    Describe {
        group: String,
    },
    Delete {
        group: String,
    },
    DeleteOffsets {
        group: String,
        partitions: Vec<PartitionKey>,
    },
    Offsets {
        group: String,
        partitions: Option<Vec<PartitionKey>>,
    },
    /// Sets offsets of a group without members.
    Commit {
        group: String,
        commits: Vec<Commit>,
    },
    Turns {
        group: String,
        member: String,
        partitions: Vec<PartitionKey>,
    },
    BeginAt {
        group: String,
        starts: Vec<Commit>,
    },
    Grant {
        group: String,
        grant: Grant,
    },
    Ack {
        group: String,
        lease: LeaseId,
        ack: Ack,
    },
    Renew {
        group: String,
        lease: LeaseId,
        duration_ms: i64,
    },
    Leave {
        group: String,
        member: String,
    },
}

impl Request {
    /// Whether asking again, where an answer was lost, does no harm.
    pub fn is_safe_twice(&self) -> bool {
        match self {
            Request::Ping
            | Request::List
            | Request::Describe { .. }
            | Request::Offsets { .. }
            | Request::Turns { .. }
            | Request::BeginAt { .. } => true,
            Request::Delete { .. }
            | Request::DeleteOffsets { .. }
            | Request::Commit { .. }
            | Request::Grant { .. }
            | Request::Ack { .. }
            | Request::Renew { .. }
            | Request::Leave { .. } => false,
        }
    }
}

/// The answer to a request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Reply {
    Done,
    Listed(Vec<Listed>),
    Described(Option<Described>),
    Each(Vec<Result<(), GroupError>>),
    Offsets(OffsetsOf),
    Turns(Turns),
    Granted(Granted),
}

impl Coordinator {
    /// Does what is asked, if this node coordinates the group.
    ///
    /// # Errors
    /// As each of the calls has them; `NotCoordinator` where another node is to be asked.
    pub async fn serve(&self, at: GroupId, request: Request) -> Result<Reply, GroupError> {
        match request {
            Request::Ping => {
                let shard = self.shard(at);
                self.enter(&shard).await.map(|_| Reply::Done)
            }
            Request::List => self.list(at).await.map(Reply::Listed),
            Request::Describe { group } => self.describe(at, &group).await.map(Reply::Described),
            Request::Delete { group } => self.delete(at, &group).await.map(|()| Reply::Done),
            Request::DeleteOffsets { group, partitions } => {
                self.delete_offsets(at, &group, &partitions).await.map(Reply::Each)
            }
            Request::Offsets { group, partitions } => self.offsets(at, &group, partitions).await.map(Reply::Offsets),
            Request::Commit { group, commits } => {
                let nobody = Speaker { generation: -1, ..Speaker::default() };
                self.commit(at, &group, &nobody, &commits).await.map(|()| Reply::Done)
            }
            Request::Turns { group, member, partitions } => {
                self.turns(at, &group, &member, partitions).await.map(Reply::Turns)
            }
            Request::BeginAt { group, starts } => self.begin_at(at, &group, starts).await.map(|()| Reply::Done),
            Request::Grant { group, grant } => self.grant(at, &group, grant).await.map(Reply::Granted),
            Request::Ack { group, lease, ack } => self.ack(at, &group, lease, ack).await.map(|()| Reply::Done),
            Request::Renew { group, lease, duration_ms } => {
                self.renew(at, &group, lease, duration_ms).await.map(|()| Reply::Done)
            }
            Request::Leave { group, member } => self.leave_poll(at, &group, &member).await.map(|()| Reply::Done),
        }
    }
}
