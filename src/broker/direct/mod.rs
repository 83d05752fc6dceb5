//! The broker as Kafka's clients use it: they find leaders by themselves, so nothing here is forwarded.
//!
//! Purpose: what a partition's leader does for a client that came to it, past the lanes: one record batch of a client is
//! one entry of the log, under the client's own identity. A node that does not lead says so at once, and who does.
//!
//! Invariants: an error other than [`DirectError::OutcomeUnknown`] means that nothing was, or will be, written. Nothing
//! above the high watermark is shown. A partition is born by a write alone, at its first living replica.
//!
//! Does not know Kafka's messages or error codes: that is `kafka`.

mod error;
mod leaders;
mod produce;
mod read;
mod trim;

pub use crate::state::partition::ProducerView;
pub use error::DirectError;
pub use leaders::LeaderView;
pub use produce::{DirectProduced, PendingProduce};
pub use read::{DirectFollower, DirectOffset, DirectRead, OffsetQuery};

use super::api::TopicView;
use super::route::{Target, led_replica};
use super::{Broker, Missing};
use crate::partition::Replica;
use crate::types::{NodeId, PartitionId, Term};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long a request waits for this node to serve after it was elected, and how often it looks.
const ELECTED_PATIENCE: Duration = Duration::from_millis(500);
const ELECTED_STEP: Duration = Duration::from_millis(2);

/// What a request is about.
#[derive(Clone, Debug)]
pub struct Direct {
    pub topic: Arc<TopicView>,
    pub partition: PartitionId,
}

/// This node's part in a partition, for a request that came here.
enum Place {
    Replica(Arc<Replica>),
    /// A replica of a partition that was never written, as far as this node knows; it would be born here.
    Unborn,
}

impl From<Missing> for DirectError {
    fn from(missing: Missing) -> DirectError {
        match missing {
            Missing::Topic(topic) => DirectError::UnknownTopic(topic),
            Missing::Partition { topic, partition, partitions } => {
                DirectError::UnknownPartition { topic, partition, partitions }
            }
        }
    }
}

impl Broker {
    pub(super) fn direct_target(&self, at: &Direct) -> Result<Target, DirectError> {
        Ok(self.target(&at.topic, at.partition)?)
    }

    /// The replica to ask for a partition that nobody leads yet: it would be born there.
    fn birthplace(&self, target: &Target) -> Option<NodeId> {
        let router = &self.inner.parts.router;
        target.replicas.iter().copied().find(|node| router.is_reachable(*node))
    }

    /// The replica of this node, or who is to be asked instead. Gives birth to nothing.
    async fn direct_place(&self, target: &Target) -> Result<Place, DirectError> {
        let parts = &self.inner.parts;
        if !target.replicas.contains(&self.node_id()) {
            let leader = Some(parts.router.guess(target, 0));
            return Err(DirectError::NotLeader { leader, term: Term(0) });
        }
        if let Some(group) = parts.groups.get(target.group) {
            // The short way: refuse without waiting for anything.
            let known = group.leadership();
            if known.leader.is_some_and(|leader| leader != self.node_id() && parts.router.is_reachable(leader)) {
                return Err(DirectError::NotLeader { leader: known.leader, term: known.term });
            }
        }
        if parts.router.partitions().is_unwritten(target.group) {
            let leader = self.birthplace(target);
            if leader != Some(self.node_id()) {
                return Err(DirectError::NotLeader { leader, term: Term(0) });
            }
            return Ok(Place::Unborn);
        }
        self.open_replica(target).await.map(Place::Replica)
    }

    /// The replica of this node where it leads, or would lead; `None` for a partition that was never written.
    pub(super) async fn direct_replica(&self, at: &Direct) -> Result<Option<Arc<Replica>>, DirectError> {
        let target = self.direct_target(at)?;
        match self.direct_place(&target).await? {
            Place::Replica(replica) => Ok(Some(replica)),
            Place::Unborn => self.check_unborn(&target, true).await.map(|()| None),
        }
    }

    /// Opens the replica (it may be born by that) and waits a moment for an election where nobody leads.
    async fn open_replica(&self, target: &Target) -> Result<Arc<Replica>, DirectError> {
        let opened = led_replica(self.inner.parts.router.partitions(), target.group).await;
        let replica = opened.map_err(|error| DirectError::NotReady(error.to_string()))?;
        // Just elected, it serves as soon as its first entry is applied; a refusal would cost its client a round.
        let until = Instant::now() + ELECTED_PATIENCE;
        while replica.leading_term().is_err()
            && replica.group.leadership().leader == Some(self.node_id())
            && Instant::now() < until
        {
            tokio::time::sleep(ELECTED_STEP).await;
        }
        Ok(replica)
    }
}

/// Compares the leader epoch that a client believes in with the term (KIP-320).
fn check_term(asked: Option<Term>, current: Term) -> Result<(), DirectError> {
    match asked {
        // What a partition has before its first election; clients were told that it has none.
        None | Some(Term(0)) => Ok(()),
        Some(asked) if asked < current => Err(DirectError::FencedTerm { current }),
        Some(asked) if asked > current => Err(DirectError::UnknownTerm { current }),
        Some(_) => Ok(()),
    }
}
