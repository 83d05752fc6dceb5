//! The `born` file: which groups were made in this data directory and not removed, so that one that vanished is
//! noticed.
//!
//! 16 bytes of header (magic, version, zeros), then a record of 16 bytes for each group made or removed: group (8),
//! what happened (4), checksum (4). Records are only appended. A torn last record is cut off: what it told of is seen
//! from the directories.

use super::layout::{self, VERSION};
use super::small_file::{check_kind, damaged, missing_is_damage};
use crate::types::GroupId;
use crate::vfs::{Vfs, VfsFile, read_file};
use std::collections::BTreeSet;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"BALSABRN";
const RECORD_LEN: usize = 16;
const MADE: u32 = 1;
const REMOVED: u32 = 2;

pub(super) struct Born {
    groups: BTreeSet<GroupId>,
    file: Arc<dyn VfsFile>,
    len: u64,
    failed: bool,
}

impl Born {
    /// Makes the file, synced; its name is not.
    pub fn create(fs: &dyn Vfs, store_dir: &Path) -> io::Result<()> {
        let mut header = [0; RECORD_LEN];
        header[..8].copy_from_slice(MAGIC);
        header[8..12].copy_from_slice(&VERSION.to_le_bytes());
        let file = fs.create(&store_dir.join(layout::BORN))?;
        file.write_at(&mut [IoSlice::new(&header)], 0)?;
        file.sync_data()
    }

    pub fn load(fs: &dyn Vfs, store_dir: &Path) -> io::Result<Born> {
        let path = store_dir.join(layout::BORN);
        let bytes = read_file(fs, &path).map_err(|error| missing_is_damage(&path, error))?;
        check_kind(&path, &bytes, MAGIC)?;
        if bytes.len() < RECORD_LEN {
            return Err(damaged(&path, "it ends within its header"));
        }
        let records = &bytes[RECORD_LEN..];
        let mut groups = BTreeSet::new();
        let mut sound = 0;
        for record in records.chunks_exact(RECORD_LEN) {
            let Some((group, what)) = decode(record) else { break };
            match what {
                MADE => groups.insert(group),
                _ => groups.remove(&group),
            };
            sound += RECORD_LEN;
        }
        // Only the last record can be torn: each is synced before the next one is written.
        if records.len() - sound > RECORD_LEN {
            return Err(damaged(&path, &format!("the record at byte {} is unsound", RECORD_LEN + sound)));
        }
        let file = fs.open(&path)?;
        let len = (RECORD_LEN + sound) as u64;
        if bytes.len() as u64 > len {
            file.set_len(len)?;
            file.sync_all()?;
        }
        Ok(Born { groups, file, len, failed: false })
    }

    pub fn contains(&self, group: GroupId) -> bool {
        self.groups.contains(&group)
    }

    pub fn groups(&self) -> impl Iterator<Item = GroupId> {
        self.groups.iter().copied()
    }

    /// Notes that a group was made. Durable before it returns.
    pub fn made(&mut self, group: GroupId) -> io::Result<()> {
        if self.groups.contains(&group) {
            return Ok(());
        }
        self.write(group, MADE)?;
        self.groups.insert(group);
        Ok(())
    }

    /// Notes that a group was removed. Durable before it returns.
    pub fn removed(&mut self, group: GroupId) -> io::Result<()> {
        if !self.groups.contains(&group) {
            return Ok(());
        }
        self.write(group, REMOVED)?;
        self.groups.remove(&group);
        Ok(())
    }

    fn write(&mut self, group: GroupId, what: u32) -> io::Result<()> {
        if self.failed {
            return Err(io::Error::other("an earlier write of the list of groups failed"));
        }
        let record = encode(group, what);
        let written = self.file.write_at(&mut [IoSlice::new(&record)], self.len).and_then(|()| self.file.sync_data());
        self.failed = written.is_err();
        written?;
        self.len += RECORD_LEN as u64;
        Ok(())
    }
}

fn encode(group: GroupId, what: u32) -> [u8; RECORD_LEN] {
    let mut record = [0; RECORD_LEN];
    record[..8].copy_from_slice(&group.0.to_le_bytes());
    record[8..12].copy_from_slice(&what.to_le_bytes());
    let sum = crc32c::crc32c(&record[..12]);
    record[12..].copy_from_slice(&sum.to_le_bytes());
    record
}

fn decode(record: &[u8]) -> Option<(GroupId, u32)> {
    let group = GroupId(u64::from_le_bytes(*record.first_chunk()?));
    let what = u32::from_le_bytes(*record[8..].first_chunk()?);
    (record == encode(group, what) && (what == MADE || what == REMOVED)).then_some((group, what))
}
