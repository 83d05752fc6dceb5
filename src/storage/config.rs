//! What a [`super::Store`] may be told. The defaults are meant for production.

/// How a node's logs are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// A segment is closed, and the next begun, when an entry would make it larger. An entry that is larger than
    /// this by itself gets a segment of its own.
    pub segment_bytes: u64,
    /// Distance of two points of the sparse index, in bytes of the segment.
    pub index_interval_bytes: u64,
    /// Memory for the newest entries of all logs together. Entries not yet on disk are held beyond it.
    pub cache_bytes: u64,
    /// Threads that write and sync. 0: `append` writes and syncs by itself before it returns, which makes a
    /// simulation repeatable and is slow otherwise.
    pub flusher_threads: usize,
    /// Instead of threads: what is appended is written by whoever calls [`super::Store::flush_next`], and by those
    /// that have to wait for it. For a simulation, which has one thread and decides how long a disk takes.
    pub flush_on_demand: bool,
    /// Bytes appended to one log and not yet written from which on `DiskLog::is_congested` says so.
    pub pending_bytes_max: u64,
    /// Free space from which on `RaftLog::check_space` refuses, so that purges, votes and checkpoints still can be
    /// written.
    pub reserve_bytes: u64,
    /// Segment files that are open at the same time, of all logs together.
    pub open_files_max: usize,
    /// Sparse indexes of closed segments held in memory, of all logs together.
    pub open_indexes_max: usize,
}

impl Default for StoreConfig {
    fn default() -> StoreConfig {
        StoreConfig {
            segment_bytes: 128 << 20,
            index_interval_bytes: 16 << 10,
            cache_bytes: 32 << 20,
            flusher_threads: 2,
            flush_on_demand: false,
            pending_bytes_max: 64 << 20,
            reserve_bytes: 64 << 20,
            open_files_max: 512,
            open_indexes_max: 64,
        }
    }
}
