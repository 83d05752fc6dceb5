//! What all logs of a store share: the file system, the flushers' queue, the tail cache, open files, counters.

use super::chunks::Chunks;
use super::disk::DiskLog;
use super::recent::Recent;
use super::segment::SparseIndex;
use super::space::Space;
use super::stats::StorageStats;
use super::{StoreConfig, layout};
use crate::random::Random;
use crate::types::{GroupId, LogIndex};
use crate::vfs::{Vfs, VfsFile};
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

/// A segment's file. The salt tells it from an earlier one under the same name.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct SegmentKey {
    pub group: GroupId,
    pub first: LogIndex,
    pub salt: u32,
}

/// Flushes that the tail cache remembers. Beyond, the oldest are forgotten as if memory were short, so that the list
/// stays bounded when logs are purged as fast as they are written.
const FLUSHES_MAX: usize = 1 << 16;

pub(super) struct Shared {
    pub fs: Arc<dyn Vfs>,
    pub dir: PathBuf,
    pub config: StoreConfig,
    pub random: Random,
    pub stats: StorageStats,
    pub chunks: Arc<Chunks>,
    pub space: Space,
    pub files: Recent<SegmentKey, Arc<dyn VfsFile>>,
    pub indexes: Recent<SegmentKey, Arc<SparseIndex>>,
    /// Cleared when the file system says that it cannot reserve space.
    pub can_allocate: AtomicBool,
    queue: Mutex<Queue>,
    queued: Condvar,
    /// What was flushed, oldest first: what the tail cache may forget.
    flushed: Mutex<VecDeque<(Weak<DiskLog>, LogIndex)>>,
}

#[derive(Default)]
struct Queue {
    ready: VecDeque<Arc<DiskLog>>,
    stopped: bool,
}

impl Shared {
    pub fn new(fs: Arc<dyn Vfs>, dir: &Path, config: StoreConfig, random: &Random) -> Shared {
        Shared {
            fs,
            dir: dir.to_path_buf(),
            random: random.clone(),
            stats: StorageStats::default(),
            chunks: Arc::default(),
            space: Space::new(dir.to_path_buf(), config.reserve_bytes),
            files: Recent::new(config.open_files_max),
            indexes: Recent::new(config.open_indexes_max),
            can_allocate: AtomicBool::new(true),
            queue: Mutex::default(),
            queued: Condvar::new(),
            flushed: Mutex::default(),
            config,
        }
    }

    /// A number that no other segment is likely to have.
    pub fn draw_salt(&self) -> u32 {
        self.random.next_u64() as u32
    }

    /// A segment's file; opened when it is not.
    pub fn file(&self, group_dir: &Path, key: SegmentKey) -> io::Result<Arc<dyn VfsFile>> {
        if let Some(file) = self.files.get(&key) {
            return Ok(file);
        }
        let file = self.fs.open(&layout::segment_path(group_dir, key.first))?;
        self.files.insert(key, file.clone());
        Ok(file)
    }

    /// Forgets a group's open files and indexes.
    pub fn forget_group(&self, group: GroupId) {
        self.files.remove_if(|key| key.group == group);
        self.indexes.remove_if(|key| key.group == group);
    }

    /// Gives a log with something to write to the flushers. Where there are none (any more), the caller writes.
    pub fn enqueue(&self, log: Arc<DiskLog>) {
        let mut queue = self.queue.lock();
        if (self.config.flusher_threads > 0 || self.config.flush_on_demand) && !queue.stopped {
            queue.ready.push_back(log);
            drop(queue);
            self.queued.notify_one();
        } else {
            drop(queue);
            while log.flush_once() {}
        }
    }

    /// A flusher's life: until `stop`, and until nothing is queued any more.
    pub fn run_flusher(&self) {
        // A flusher that dies takes a log's acknowledgements with it: nobody would ever be told. So the node stops.
        let life = std::panic::AssertUnwindSafe(|| self.flush_until_stopped());
        if std::panic::catch_unwind(life).is_err() {
            tracing::error!("a flusher panicked: the node cannot go on");
            std::process::abort();
        }
    }

    fn flush_until_stopped(&self) {
        loop {
            let mut queue = self.queue.lock();
            let log = loop {
                if let Some(log) = queue.ready.pop_front() {
                    break log;
                }
                if queue.stopped {
                    return;
                }
                self.queued.wait(&mut queue);
            };
            drop(queue);
            if log.flush_once() {
                // Behind all others that wait: one busy log must not starve them.
                self.enqueue(log);
            }
        }
    }

    /// Writes for the log that has waited longest; whether there was one.
    pub fn flush_next(&self) -> bool {
        let Some(log) = self.queue.lock().ready.pop_front() else { return false };
        if log.flush_once() {
            self.enqueue(log);
        }
        true
    }

    /// Takes a log out of the queue, for its owner to flush it; whether it was there.
    pub fn take_from_queue(&self, log: &DiskLog) -> bool {
        let mut queue = self.queue.lock();
        let before = queue.ready.len();
        queue.ready.retain(|queued| !std::ptr::eq(&**queued, log));
        queue.ready.len() < before
    }

    /// Ends the flushers once the queue is empty.
    pub fn stop(&self) {
        self.queue.lock().stopped = true;
        self.queued.notify_all();
    }

    /// Notes that a log's entries up to `upto` may be forgotten, and forgets the oldest of all logs beyond the bound.
    pub fn flushed(&self, log: Weak<DiskLog>, upto: LogIndex) {
        let mut flushed = self.flushed.lock();
        flushed.push_back((log, upto));
        while flushed.len() > FLUSHES_MAX || self.stats.cache_bytes.load(Ordering::Relaxed) > self.config.cache_bytes {
            let Some((log, upto)) = flushed.pop_front() else { break };
            // The log's own lock comes after this one, never before.
            if let Some(log) = log.upgrade() {
                log.forget_cached(upto);
            }
        }
    }
}
