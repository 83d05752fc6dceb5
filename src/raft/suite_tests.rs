//! openraft's own storage suite, on the log in memory and on the log on disk.

use super::log_store::LogStore;
use super::machine::{GroupMachine, MachineState};
use super::types::TypeConfig;
use crate::random::Random;
use crate::storage::{MemoryLog, RaftLog, Store, StoreConfig};
use crate::tasks::Tasks;
use crate::types::{GroupId, NodeId};
use crate::vfs::RealFs;
use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use std::sync::Arc;

fn adapters(log: Arc<dyn RaftLog>) -> (LogStore, GroupMachine) {
    let tasks = Tasks::new();
    let empty = MachineState::Partition(Box::default());
    let machine = GroupMachine::load(log.clone(), empty, tasks.clone()).unwrap();
    (LogStore::new(log, tasks, false), machine)
}

struct InMemory;

impl StoreBuilder<TypeConfig, LogStore, GroupMachine, ()> for InMemory {
    async fn build(&self) -> Result<((), LogStore, GroupMachine), StorageError<TypeConfig>> {
        let (log, machine) = adapters(Arc::new(MemoryLog::new()));
        Ok(((), log, machine))
    }
}

struct OnDisk;

impl StoreBuilder<TypeConfig, LogStore, GroupMachine, (tempfile::TempDir, Arc<Store>)> for OnDisk {
    async fn build(
        &self,
    ) -> Result<((tempfile::TempDir, Arc<Store>), LogStore, GroupMachine), StorageError<TypeConfig>> {
        let dir = tempfile::tempdir().unwrap();
        let (config, random) = (StoreConfig::default(), Random::from_seed(1));
        let store = Store::open(Arc::new(RealFs), &dir.path().join("data"), NodeId(1), config, &random).unwrap();
        let (log, machine) = adapters(store.open_log(GroupId(1)).unwrap());
        Ok(((dir, store), log, machine))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_in_memory_passes_the_suite() {
    Suite::test_all(InMemory).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_on_disk_passes_the_suite() {
    Suite::test_all(OnDisk).await.unwrap();
}
