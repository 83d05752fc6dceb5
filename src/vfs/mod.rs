//! The file system as a trait, so that a simulation can own it: lose what was not synced, tear writes, fail, fill up.
//!
//! Small, synchronous and positional: there is no cursor, no buffering and no caching here. What is durable when:
//!
//! * bytes of a file: after [`VfsFile::sync_data`] (or `sync_all`) returned `Ok`;
//! * a name (a file made, renamed or removed): after [`Vfs::sync_dir`] of its directory returned `Ok`.
//!
//! A failed sync is final: what it should have made durable may be gone, and a second sync that succeeds says nothing
//! of it. Callers must not retry it.
//!
//! Two makers: [`RealFs`] and [`SimulatedFs`].

mod real;
mod simulated;

pub use real::RealFs;
pub use simulated::SimulatedFs;

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

/// One name within a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    pub name: String,
    pub is_dir: bool,
}

/// A file system. All methods may block.
pub trait Vfs: Send + Sync + 'static {
    /// Opens a file that is there, for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn VfsFile>>;

    /// Makes a file for reading and writing; what stood there under that name is emptied.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn VfsFile>>;

    /// Makes one directory; its parent must be there.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// All names of a directory, sorted. Names that are not UTF-8 are left out: none of ours are.
    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>>;

    /// Whether a file or a directory stands there.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// Renames a file or a directory; a file that stands at `to` is replaced in one step.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes a directory and all within.
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;

    /// Makes the names of a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Bytes that may still be written to the file system of `path`.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;

    /// Takes an exclusive lock on a file (made when missing), until the value is dropped or the process ends.
    ///
    /// # Errors
    /// `WouldBlock` when another holder has it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>>;
}

/// An open file. May be used by several threads at once.
pub trait VfsFile: Send + Sync + 'static {
    /// Reads at `position` into `buffer`; returns fewer bytes only at the end of the file.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize>;

    /// Writes all of `slices`, one behind the other, from `position` on. After an error any part may be written.
    fn write_at(&self, slices: &mut [IoSlice<'_>], position: u64) -> io::Result<()>;

    /// Makes all bytes and the length durable.
    fn sync_data(&self) -> io::Result<()>;

    /// As `sync_data`, and all that is known about the file too. For a file that was made shorter.
    fn sync_all(&self) -> io::Result<()>;

    /// Cuts the file, or extends it with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Length in bytes. The name avoids a clash with collections, which are never blocking.
    fn file_len(&self) -> io::Result<u64>;

    /// Reserves space for `len` bytes from `position` on, so that writes there need not find any. The file's length
    /// stays as it is: what is reserved cannot be read and never looks like data.
    ///
    /// # Errors
    /// `Unsupported` where the file system has no such thing; `StorageFull`.
    fn allocate(&self, position: u64, len: u64) -> io::Result<()>;
}

/// Reads the whole file. For small files only.
pub fn read_file(fs: &dyn Vfs, path: &Path) -> io::Result<Vec<u8>> {
    let file = fs.open(path)?;
    let len = usize::try_from(file.file_len()?).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
    let mut bytes = vec![0; len];
    let got = file.read_at(&mut bytes, 0)?;
    bytes.truncate(got);
    Ok(bytes)
}
