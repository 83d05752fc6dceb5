//! A partition's replica on this node, as its broker sees it: admit, propose, read, wait.
//!
//! Purpose: only the leader admits, and only once it has applied the first entry of its own term: what earlier leaders
//! left is known in full then. Admission is one lock per partition, taken for the moment of a check and a proposal, so
//! that the order of admission is the order in the log (a lock and not a mailbox: one hop less on every write).
//!
//! Invariants:
//! - An append that is answered with anything but [`AppendError::Unknown`] was not, and will not be, written.
//! - An error never reveals a write that may still vanish: an answer that rests on appends on their way waits for them.
//! - A read never shows what is not committed.
//!
//! Does not find leaders and does not forward: that is `broker`.

mod admission;
mod groups;
mod read;

pub use admission::{Append, AppendDone, AppendError, Appended};
pub use read::{LocalRead, LocalReadError, ReadFrom, ReadResult, Summary};

use crate::clock::SharedClock;
use crate::raft::{Group, Groups, OpenError};
use crate::tasks::Tasks;
use crate::types::GroupId;
use admission::Admission;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// Appends of one partition on their way, in bytes; beyond it writers are told to slow down.
const IN_FLIGHT_BYTES_MAX: usize = 64 << 20;

/// One partition's replica.
pub struct Replica {
    pub group: Arc<Group>,
    clock: SharedClock,
    tasks: Tasks,
    admission: Admission,
}

/// The open replicas of this node. Cheap to clone.
#[derive(Clone)]
pub struct Partitions {
    groups: Groups,
    clock: SharedClock,
    tasks: Tasks,
    open: Arc<Mutex<HashMap<GroupId, Arc<Replica>>>>,
}

impl Partitions {
    pub fn new(groups: Groups, clock: SharedClock, tasks: Tasks) -> Partitions {
        Partitions { groups, clock, tasks, open: Arc::new(Mutex::new(HashMap::new())) }
    }

    /// The replica of `group`, opened if need be.
    ///
    /// # Errors
    /// This node holds no such group, or its log is damaged.
    pub async fn open(&self, group: GroupId) -> Result<Arc<Replica>, OpenError> {
        if let Some(replica) = self.open.lock().get(&group) {
            return Ok(replica.clone());
        }
        let opened = self.groups.open(group).await?;
        let mut open = self.open.lock();
        let replica = open.entry(group).or_insert_with(|| {
            Arc::new(Replica {
                group: opened,
                clock: self.clock.clone(),
                tasks: self.tasks.clone(),
                admission: Admission::default(),
            })
        });
        Ok(replica.clone())
    }

    /// The replica of `group`, if it is open.
    pub fn get(&self, group: GroupId) -> Option<Arc<Replica>> {
        self.open.lock().get(&group).cloned()
    }

    /// Whether this node holds a replica of `group`, and it was never written. Of a group that was deleted, or is not
    /// known here (yet), nobody can say so: its log may have been removed.
    pub fn is_unwritten(&self, group: GroupId) -> bool {
        self.groups.get(group).is_none() && !self.groups.has_log(group) && self.groups.is_held(group)
    }

    /// Ends the replica of a deleted group and removes its log.
    ///
    /// # Errors
    /// As the disk has it; the log is gone at the next start at the latest.
    pub async fn remove(&self, group: GroupId) -> std::io::Result<()> {
        self.open.lock().remove(&group);
        self.groups.remove(group).await
    }
}
