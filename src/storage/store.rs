//! A node's data directory.

use super::{LogEntry, LogState, MemoryLog, RaftLog, StoreConfig, StoredBatches};
use crate::random::Random;
use crate::types::{GroupId, NodeId};
use crate::vfs::Vfs;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Who a data directory belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    pub node_id: NodeId,
    /// Made when the directory was.
    pub node_uuid: uuid::Uuid,
    /// `None` until the cluster is known.
    pub cluster_id: Option<uuid::Uuid>,
}

/// A node's data directory, locked.
pub struct Store {}

impl Store {
    /// Opens a data directory, or makes it.
    pub fn open(
        _fs: Arc<dyn Vfs>,
        _dir: &Path,
        _node_id: NodeId,
        _config: StoreConfig,
        _random: &Random,
    ) -> io::Result<Arc<Store>> {
        todo!()
    }
    pub fn identity(&self) -> Identity {
        todo!()
    }
    /// Whether `open` made the directory: nothing was ever stored by this node.
    pub fn is_new(&self) -> bool {
        todo!()
    }
    /// Saves the cluster's id, durable before it returns; refused when another one is known.
    pub fn set_cluster_id(&self, _cluster_id: uuid::Uuid) -> io::Result<()> {
        todo!()
    }
    /// Opens a group's log, making it when it was never made. Opened twice, it is the same.
    pub fn open_log(self: &Arc<Self>, _group: GroupId) -> io::Result<Arc<DiskLog>> {
        todo!()
    }
    pub fn has_log(&self, _group: GroupId) -> bool {
        todo!()
    }
    pub fn logs(&self) -> Vec<GroupId> {
        todo!()
    }
    pub fn remove_log(&self, _group: GroupId) -> io::Result<()> {
        todo!()
    }
    /// Flushes and closes all logs, ends the flushers, and unlocks the directory. Blocks.
    pub fn close(&self) -> io::Result<()> {
        todo!()
    }
}

/// The log of a group on disk; implements `RaftLog`.
pub type DiskLog = MemoryLog;

const _: fn(&DiskLog) -> LogState = <DiskLog as RaftLog>::state;
const _: Option<(LogEntry, StoredBatches)> = None;
