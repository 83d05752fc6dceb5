//! The disk reserve: proposals stop while there still is room for purges, votes, checkpoints and the entries of the
//! groups themselves.
//!
//! The free space is not asked for each time, but after some bytes, and again and again while it is short.

use crate::vfs::Vfs;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes after which the free space is looked at again.
const REFRESH_BYTES: u64 = 8 << 20;

pub(super) struct Space {
    dir: PathBuf,
    reserve_bytes: u64,
    /// As it was last seen; what is appended since is taken off.
    free: AtomicU64,
    spent: AtomicU64,
}

impl Space {
    pub fn new(dir: PathBuf, reserve_bytes: u64) -> Space {
        // The first check looks.
        Space { dir, reserve_bytes, free: AtomicU64::new(0), spent: AtomicU64::new(0) }
    }

    /// Notes that `bytes` were appended.
    pub fn spend(&self, bytes: u64) {
        self.spent.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Whether there is room for more. `pending_bytes` were appended and are not written yet.
    ///
    /// # Errors
    /// `StorageFull` when the reserve is reached.
    pub fn check(&self, fs: &dyn Vfs, pending_bytes: u64) -> io::Result<()> {
        let spent = self.spent.load(Ordering::Relaxed);
        let free = self.free.load(Ordering::Relaxed);
        if spent < REFRESH_BYTES && free > spent.saturating_add(self.reserve_bytes) {
            return Ok(());
        }
        let free = fs.free_bytes(&self.dir)?;
        self.free.store(free, Ordering::Relaxed);
        // What races with this look is looked at by the next one, at most one refresh later.
        self.spent.store(pending_bytes.min(REFRESH_BYTES / 2), Ordering::Relaxed);
        if free > pending_bytes.saturating_add(self.reserve_bytes) {
            return Ok(());
        }
        let text = format!(
            "the disk of {} is full: {free} bytes are free, {} are kept in reserve; make room, or purge",
            self.dir.display(),
            self.reserve_bytes
        );
        Err(io::Error::new(io::ErrorKind::StorageFull, text))
    }
}
