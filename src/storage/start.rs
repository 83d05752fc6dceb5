//! The `start` file of a log: where it begins.

use super::layout;
use super::small_file::{self, Fields, START_MAGIC};
use crate::types::{LogId, LogIndex, Offset, Term};
use crate::vfs::Vfs;
use std::io;
use std::path::Path;

const HAS_PURGED: u8 = 1;
const MAY_BE_EMPTY: u8 = 2;

/// Where a log begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Start {
    /// Counted up by a reset; segments of an earlier generation are leftovers.
    pub generation: u64,
    pub purged: Option<LogId>,
    pub log_start_offset: Offset,
    /// No segment need be there: set by a reset. Otherwise a log without segments has lost them.
    pub may_be_empty: bool,
}

impl Start {
    pub fn encode(&self) -> Vec<u8> {
        let purged = self.purged.unwrap_or(LogId { term: Term(0), index: LogIndex(0) });
        let has = if self.purged.is_some() { HAS_PURGED } else { 0 };
        let empty = if self.may_be_empty { MAY_BE_EMPTY } else { 0 };
        let mut body = vec![has | empty];
        for number in [self.generation, purged.term.0, purged.index.0, self.log_start_offset.0] {
            body.extend_from_slice(&number.to_le_bytes());
        }
        body
    }

    fn decode(body: &[u8]) -> Option<Start> {
        let mut fields = Fields(body);
        let flags = fields.u8()?;
        let generation = fields.u64()?;
        let purged = fields.log_id()?;
        let log_start_offset = Offset(fields.u64()?);
        Some(Start {
            generation,
            purged: (flags & HAS_PURGED != 0).then_some(purged),
            log_start_offset,
            may_be_empty: flags & MAY_BE_EMPTY != 0,
        })
    }

    pub fn load(fs: &dyn Vfs, group_dir: &Path) -> io::Result<Start> {
        let path = group_dir.join(layout::START);
        let body =
            small_file::load(fs, &path, START_MAGIC).map_err(|error| small_file::missing_is_damage(&path, error))?;
        Start::decode(&body).ok_or_else(|| small_file::damaged(&path, "it ends too early"))
    }

    /// Durable before it returns.
    pub fn save(&self, fs: &dyn Vfs, group_dir: &Path) -> io::Result<()> {
        small_file::save(fs, group_dir, layout::START, START_MAGIC, &self.encode())
    }

    /// The log index behind what is purged.
    pub fn first_index(&self) -> LogIndex {
        self.purged.map_or(LogIndex(0), |purged| purged.index.next())
    }
}
