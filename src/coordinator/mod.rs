//! Coordinates consumer groups: those whose partition of `__consumer_offsets` this node leads.
//!
//! Purpose: the world around `state/group`. A *shard* is one led partition in one term. A request is decided under its
//! shard's lock; what it writes gets its place in the log under that lock, so that the order of decisions is the order of
//! the log; the answer is parked until what it rests on is committed. A new term begins with the groups as they are
//! applied, which is all that was ever answered.
//!
//! Invariants: what is decided in one term is written in that term or not at all; nobody is answered on the strength of
//! what may still vanish; every wait ends; a node that coordinates nothing, or groups without members, has no timers.
//!
//! Does not find coordinators and does not forward: that is `broker`. Knows no message of Kafka or HTTP.

mod leases;
mod members;
mod offsets;
mod request;
mod shard;
mod sweep;

pub use leases::{Ack, Grant, Granted, LINGER_MS, Turn, Turns};
pub use members::Commit;
pub use offsets::{Described, GroupKind, Listed, OffsetsOf, Poller};
pub use request::{Reply, Request};

use crate::clock::SharedClock;
use crate::controller::Controller;
use crate::partition::{AppendError, Partitions};
use crate::random::Random;
use crate::state::group::live::LiveConfig;
use crate::state::group::{GroupError, TEXT_LEN_MAX};
use crate::tasks::Tasks;
use crate::types::GroupId;
use parking_lot::Mutex;
use shard::{Led, Shard};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::MutexGuard;
use tokio::time::Instant;

/// How long a request waits for an election, and for its term's first entry.
const LEADER_PATIENCE: Duration = Duration::from_millis(1500);
/// How long a write may take until its outcome counts as unknown.
const WRITE_PATIENCE: Duration = Duration::from_secs(10);

/// What an operator decides about groups.
#[derive(Clone, Debug)]
pub struct CoordinatorConfig {
    pub live: LiveConfig,
    /// Groups in one partition.
    pub groups_max: usize,
    /// How long the offsets of a group are kept that has no members.
    pub retention: Duration,
    /// How often it is looked for what is to be forgotten.
    pub sweep_interval: Duration,
    /// Longest `metadata` that a client may commit with an offset.
    pub metadata_bytes_max: usize,
}

impl Default for CoordinatorConfig {
    fn default() -> CoordinatorConfig {
        CoordinatorConfig {
            live: LiveConfig::default(),
            groups_max: 100_000,
            retention: Duration::from_secs(7 * 24 * 3600),
            sweep_interval: Duration::from_secs(600),
            metadata_bytes_max: 4096,
        }
    }
}

/// The parts below that it works with.
pub struct CoordinatorParts {
    pub partitions: Partitions,
    pub controller: Controller,
    pub clock: SharedClock,
    pub random: Random,
    pub tasks: Tasks,
}

struct Inner {
    config: CoordinatorConfig,
    parts: CoordinatorParts,
    shards: Mutex<BTreeMap<GroupId, Arc<Shard>>>,
}

/// The coordinator of this node. Cheap to clone. `at` is, in all calls, the Raft group of the partition that holds the
/// consumer group.
#[derive(Clone)]
pub struct Coordinator {
    inner: Arc<Inner>,
}

impl Coordinator {
    pub fn new(config: CoordinatorConfig, parts: CoordinatorParts) -> Coordinator {
        Coordinator { inner: Arc::new(Inner { config, parts, shards: Mutex::new(BTreeMap::new()) }) }
    }

    /// What an operator decided.
    pub fn config(&self) -> &CoordinatorConfig {
        &self.inner.config
    }

    fn shard(&self, at: GroupId) -> Arc<Shard> {
        self.inner.shards.lock().entry(at).or_insert_with(|| Arc::new(Shard::new(at))).clone()
    }

    /// The shard, locked, once this node leads it with all of earlier terms applied.
    async fn enter<'a>(&self, shard: &'a Arc<Shard>) -> Result<Entered<'a>, GroupError> {
        let parts = &self.inner.parts;
        let replica = parts.partitions.open(shard.at).await.map_err(|_| GroupError::NotCoordinator)?;
        let deadline = Instant::now() + LEADER_PATIENCE;
        if replica.group.leadership().leader.is_none() {
            replica.group.ensure_leader(LEADER_PATIENCE).await;
        }
        let term = replica.group.leading().ok_or(GroupError::NotCoordinator)?;
        let mut applied = replica.group.applied();
        while !replica.group.has_applied_in(term) {
            if !matches!(tokio::time::timeout_at(deadline, applied.changed()).await, Ok(Ok(()))) {
                return Err(GroupError::Loading("the first entry of its term is not committed yet".to_string()));
            }
        }
        let mut core = shard.core.lock().await;
        if replica.group.leading() != Some(term) {
            return Err(GroupError::NotCoordinator);
        }
        if core.as_ref().is_none_or(|led| led.term != term) {
            *core = Some(Led::begin(term, replica, &self.inner.config));
            self.drive(shard, &core);
        }
        Ok(Entered { core })
    }

    /// The groups as they are applied here, once a quorum has said that this node leads.
    async fn read<T>(
        &self,
        at: GroupId,
        look: impl FnOnce(&crate::state::group::GroupTable) -> T,
    ) -> Result<T, GroupError> {
        let parts = &self.inner.parts;
        let replica = parts.partitions.open(at).await.map_err(|_| GroupError::NotCoordinator)?;
        replica.group.ensure_leader(LEADER_PATIENCE).await;
        if replica.group.leading().is_none() {
            return Err(GroupError::NotCoordinator);
        }
        let deadline = Instant::now() + LEADER_PATIENCE;
        match replica.group.read_index(deadline).await {
            Ok(()) => {}
            Err(Some(_)) => return Err(GroupError::NotCoordinator),
            Err(None) => return Err(GroupError::Loading("a quorum did not answer in time".to_string())),
        }
        replica.with_groups(look).ok_or_else(not_of_groups)
    }
}

fn not_of_groups() -> GroupError {
    GroupError::Unavailable("the topic of the groups was made by another hand".to_string())
}

/// A shard that is led here, locked.
struct Entered<'a> {
    core: MutexGuard<'a, Option<Led>>,
}

impl std::ops::Deref for Entered<'_> {
    type Target = Led;
    fn deref(&self) -> &Led {
        self.core.as_ref().expect("entered only where it is led, and locked since")
    }
}

impl std::ops::DerefMut for Entered<'_> {
    fn deref_mut(&mut self) -> &mut Led {
        self.core.as_mut().expect("entered only where it is led, and locked since")
    }
}

/// A group's name can be stored.
fn check_name(group: &str) -> Result<(), GroupError> {
    if group.is_empty() || group.len() > TEXT_LEN_MAX { Err(GroupError::InvalidGroupId) } else { Ok(()) }
}

/// What became of a write, as its group's members hear of it.
fn refused(error: AppendError) -> GroupError {
    match error {
        AppendError::NotLeader { .. } => GroupError::NotCoordinator,
        AppendError::Overloaded => GroupError::Overloaded("too many writes of groups are on their way".to_string()),
        AppendError::DiskFull(reason) | AppendError::StorageFailed(reason) => GroupError::StorageFailed(reason),
        AppendError::Unknown => GroupError::Unknown("leadership changed during the write".to_string()),
        AppendError::NotReady => GroupError::Loading("its leader is not ready".to_string()),
        other => GroupError::Loading(format!("{other:?}")),
    }
}
