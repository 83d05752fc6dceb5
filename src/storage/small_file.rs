//! Small files that are replaced whole, so that a crash leaves the old or the new content.
//!
//! ```text
//! 0 magic (8)   8 version (4)   12 checksum of all else (4)   16 length of the body (8)   24 body
//! ```
//!
//! All numbers of our own files are little-endian.

use super::layout::{TEMPORARY_SUFFIX, VERSION};
use crate::types::{LogId, LogIndex, Term};
use crate::vfs::{Vfs, read_file};
use std::io::{self, IoSlice};
use std::path::Path;

pub(super) const IDENTITY_MAGIC: &[u8; 8] = b"BALSAIDN";
pub(super) const START_MAGIC: &[u8; 8] = b"BALSASTA";
pub(super) const VOTE_MAGIC: &[u8; 8] = b"BALSAVOT";
pub(super) const CHECKPOINT_MAGIC: &[u8; 8] = b"BALSACHK";

const HEADER_LEN: usize = 24;

/// Replaces `dir/name`, durably.
pub(super) fn save(fs: &dyn Vfs, dir: &Path, name: &str, magic: &[u8; 8], body: &[u8]) -> io::Result<()> {
    let temporary = dir.join(format!("{name}{TEMPORARY_SUFFIX}"));
    write_new(fs, &temporary, magic, body)?;
    fs.rename(&temporary, &dir.join(name))?;
    fs.sync_dir(dir)
}

/// Writes and syncs a file, but not its name: for a directory that is only being made.
pub(super) fn write_new(fs: &dyn Vfs, path: &Path, magic: &[u8; 8], body: &[u8]) -> io::Result<()> {
    let mut header = [0; HEADER_LEN];
    header[..8].copy_from_slice(magic);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header[16..].copy_from_slice(&(body.len() as u64).to_le_bytes());
    let checksum = checksum(&header, body);
    header[12..16].copy_from_slice(&checksum.to_le_bytes());
    let file = fs.create(path)?;
    file.write_at(&mut [IoSlice::new(&header), IoSlice::new(body)], 0)?;
    file.sync_data()
}

/// Reads the body.
///
/// # Errors
/// `NotFound`; `Unsupported` for a newer format version; `InvalidData` for damage. All name the file.
pub(super) fn load(fs: &dyn Vfs, path: &Path, magic: &[u8; 8]) -> io::Result<Vec<u8>> {
    let mut bytes = read_file(fs, path).map_err(|error| named(path, &error))?;
    check_kind(path, &bytes, magic)?;
    if bytes.len() < HEADER_LEN {
        return Err(damaged(path, "it ends within its header"));
    }
    let len = u64::from_le_bytes(bytes[16..24].try_into().expect("eight bytes"));
    let body = bytes.split_off(HEADER_LEN);
    if len != body.len() as u64 {
        return Err(damaged(path, "it does not have the length that it says"));
    }
    if bytes[12..16] != checksum(&bytes, &body).to_le_bytes() {
        return Err(damaged(path, "its checksum is wrong"));
    }
    Ok(body)
}

/// Checks magic and version at the start of any of our files.
pub(super) fn check_kind(path: &Path, bytes: &[u8], magic: &[u8; 8]) -> io::Result<()> {
    if bytes.len() < 12 || bytes[..8] != *magic {
        return Err(damaged(path, "it does not begin as such a file does"));
    }
    match u32::from_le_bytes(bytes[8..12].try_into().expect("four bytes")) {
        VERSION => Ok(()),
        0 => Err(damaged(path, "its format version is 0")),
        newer => {
            let text = format!(
                "{} has format version {newer}, this program knows version {VERSION} and older: \
                 start the newer program that wrote it",
                path.display()
            );
            Err(io::Error::new(io::ErrorKind::Unsupported, text))
        }
    }
}

fn checksum(header: &[u8], body: &[u8]) -> u32 {
    let sum = crc32c::crc32c(&header[..12]);
    crc32c::crc32c_append(crc32c::crc32c_append(sum, &header[16..HEADER_LEN]), body)
}

/// An error that names a damaged file and says what is wrong.
pub(super) fn damaged(path: &Path, reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{} is damaged: {reason}", path.display()))
}

/// The same error with the file's name.
pub(super) fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Takes fields off a body.
pub(super) struct Fields<'a>(pub &'a [u8]);

impl Fields<'_> {
    pub fn u8(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    pub fn u32(&mut self) -> Option<u32> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_le_bytes(*first))
    }

    pub fn u64(&mut self) -> Option<u64> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*first))
    }

    pub fn log_id(&mut self) -> Option<LogId> {
        Some(LogId { term: Term(self.u64()?), index: LogIndex(self.u64()?) })
    }

    pub fn uuid(&mut self) -> Option<uuid::Uuid> {
        let (first, rest) = self.0.split_first_chunk::<16>()?;
        self.0 = rest;
        Some(uuid::Uuid::from_bytes(*first))
    }
}

/// A file that must be there and is not, is damage; other errors stay as they are.
pub(super) fn missing_is_damage(path: &Path, error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::NotFound { damaged(path, "it is missing") } else { error }
}
