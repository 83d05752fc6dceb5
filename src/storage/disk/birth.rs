//! Making a log's directory: complete, or not at all.

use super::super::segment::SegmentHeader;
use super::super::shared::Shared;
use super::super::small_file::{self, START_MAGIC, VOTE_MAGIC};
use super::super::start::Start;
use super::layout;
use crate::types::{GroupId, LogIndex, Offset};
use std::io;

/// Makes the directory of a new log, durably: `start`, an empty vote, an empty first segment.
///
/// # Errors
/// When anything of that name is there already; nothing is changed then.
pub(in crate::storage) fn create(shared: &Shared, group: GroupId) -> io::Result<()> {
    let fs = &*shared.fs;
    let groups = shared.dir.join(layout::GROUPS);
    let dir = layout::group_dir(&shared.dir, group);
    if fs.exists(&dir)? {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{} is there already", dir.display())));
    }
    let making = groups.join(format!("{group}{}", layout::NEW_SUFFIX));
    if fs.exists(&making)? {
        fs.remove_dir_all(&making)?;
    }
    fs.create_dir(&making)?;
    small_file::write_new(fs, &making.join(layout::START), START_MAGIC, &Start::default().encode())?;
    small_file::write_new(fs, &making.join(layout::VOTE), VOTE_MAGIC, &[0])?;
    let header =
        SegmentHeader { group, generation: 0, first: LogIndex(0), base_offset: Offset(0), salt: shared.draw_salt() };
    header.create(fs, &making)?;
    fs.sync_dir(&making)?;
    fs.rename(&making, &dir)?;
    fs.sync_dir(&groups)
}
