//! The disk reserve: appends stop while there still is room for purges, votes and checkpoints.
//!
//! The free space is not asked for at each append, but after some bytes, and again and again while it is short.

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
        // The first append looks.
        Space { dir, reserve_bytes, free: AtomicU64::new(0), spent: AtomicU64::new(0) }
    }

    /// Admits `bytes` more. `pending_bytes` were admitted before and are not written yet.
    ///
    /// # Errors
    /// `StorageFull` when less than the reserve would be left.
    pub fn admit(&self, fs: &dyn Vfs, bytes: u64, pending_bytes: u64) -> io::Result<()> {
        let spent = self.spent.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let free = self.free.load(Ordering::Relaxed);
        if spent < REFRESH_BYTES && free >= spent.saturating_add(self.reserve_bytes) {
            return Ok(());
        }
        let free = fs.free_bytes(&self.dir)?;
        let spent = pending_bytes + bytes;
        self.free.store(free, Ordering::Relaxed);
        if free >= spent.saturating_add(self.reserve_bytes) {
            // Racing appends are counted again by the next look, at most one refresh later.
            self.spent.store(spent.min(REFRESH_BYTES / 2), Ordering::Relaxed);
            return Ok(());
        }
        self.spent.store(pending_bytes, Ordering::Relaxed);
        let text = format!(
            "the disk of {} is full: {free} bytes are free, {} are kept in reserve; make room, or purge",
            self.dir.display(),
            self.reserve_bytes
        );
        Err(io::Error::new(io::ErrorKind::StorageFull, text))
    }
}
