//! A file system in memory that loses what was not synced.

/// A file system in memory (see the module).
#[derive(Debug, Clone)]
pub struct SimulatedFs;
