//! A node's data directory: whose it is, its lock, and the logs in it.

use super::born::Born;
use super::disk::{self, DiskLog};
use super::shared::Shared;
use super::small_file::{self, Fields, IDENTITY_MAGIC, damaged};
use super::stats::StorageStats;
use super::{RaftLog, StoreConfig, layout};
use crate::random::Random;
use crate::types::{GroupId, NodeId};
use crate::vfs::Vfs;
use parking_lot::Mutex;
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;

/// Whose data directory it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    pub node_id: NodeId,
    /// Drawn when the directory was made.
    pub node_uuid: uuid::Uuid,
    /// `None` until the cluster is known.
    pub cluster_id: Option<uuid::Uuid>,
}

/// A node's data directory, locked against other processes while this value lives and is not closed.
pub struct Store {
    shared: Arc<Shared>,
    identity: Mutex<Identity>,
    is_new: bool,
    /// What `born` has, so that asking never waits for the disk.
    known: Mutex<BTreeSet<GroupId>>,
    born: Mutex<Born>,
    /// A slot per group: different groups are opened side by side.
    open: Mutex<HashMap<GroupId, Slot>>,
    flushers: Mutex<Vec<JoinHandle<()>>>,
    lock: Mutex<Option<Box<dyn Send + Sync>>>,
}

type Slot = Arc<Mutex<Weak<DiskLog>>>;

impl Store {
    /// Opens a data directory, or makes it (its parent must be there), and starts the flushers.
    ///
    /// # Errors
    /// `WouldBlock` when another process has it; `InvalidInput` when it belongs to another node; `Unsupported` when a
    /// newer program wrote it; `InvalidData` when it is damaged. The text says so in one line, with the path.
    pub fn open(
        fs: Arc<dyn Vfs>,
        dir: &Path,
        node_id: NodeId,
        config: StoreConfig,
        random: &Random,
    ) -> io::Result<Arc<Store>> {
        if !fs.exists(dir)? {
            fs.create_dir(dir).map_err(|error| small_file::named(dir, &error))?;
            // Of a relative path with one part, the parent is empty, which is no path.
            let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
            fs.sync_dir(parent.unwrap_or(Path::new(".")))?;
        }
        let lock = lock(&*fs, dir)?;
        let is_new = !fs.exists(&dir.join(layout::IDENTITY))?;
        if is_new {
            make(&*fs, dir, node_id, random)?;
        }
        let identity = load_identity(&*fs, dir)?;
        if identity.node_id != node_id {
            let text = format!(
                "{} belongs to node {}, not to node {node_id}: give this node a directory of its own",
                dir.display(),
                identity.node_id
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let mut born = Born::load(&*fs, dir)?;
        tidy(&*fs, dir, &mut born)?;
        let shared = Arc::new(Shared::new(fs, dir, config, random));
        let flushers = start_flushers(&shared)?;
        Ok(Arc::new(Store {
            shared,
            identity: Mutex::new(identity),
            is_new,
            known: Mutex::new(born.groups().collect()),
            born: Mutex::new(born),
            open: Mutex::new(HashMap::new()),
            flushers: Mutex::new(flushers),
            lock: Mutex::new(Some(lock)),
        }))
    }

    /// Whose the directory is.
    pub fn identity(&self) -> Identity {
        *self.identity.lock()
    }

    /// Whether `open` made the directory: nothing was ever stored by this node.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// Saves the cluster's id, durable before it returns.
    ///
    /// # Errors
    /// `InvalidInput` when the directory belongs to another cluster.
    pub fn set_cluster_id(&self, cluster_id: uuid::Uuid) -> io::Result<()> {
        let mut identity = self.identity.lock();
        match identity.cluster_id {
            Some(known) if known == cluster_id => Ok(()),
            Some(known) => {
                let text = format!(
                    "{} belongs to cluster {known}, not to cluster {cluster_id}: give this node a directory of its own",
                    self.shared.dir.display()
                );
                Err(io::Error::new(io::ErrorKind::InvalidInput, text))
            }
            None => {
                let known = Identity { cluster_id: Some(cluster_id), ..*identity };
                save_identity(&*self.shared.fs, &self.shared.dir, &known)?;
                *identity = known;
                Ok(())
            }
        }
    }

    /// Opens a group's log, making it when it was never made. While it is open, the same is returned again; after
    /// `close`, it is read anew. Blocks.
    ///
    /// # Errors
    /// `InvalidData` when it is damaged or has vanished; nothing is changed then.
    pub fn open_log(&self, group: GroupId) -> io::Result<Arc<DiskLog>> {
        let slot = self.slot(group);
        let mut open = slot.lock();
        if self.lock.lock().is_none() {
            return Err(io::Error::other("the data directory is closed"));
        }
        if let Some(log) = open.upgrade()
            && !log.is_closed()
        {
            return Ok(log);
        }
        let dir = layout::group_dir(&self.shared.dir, group);
        if !self.has_log(group) {
            disk::create(&self.shared, group)?;
            self.born.lock().made(group)?;
            self.known.lock().insert(group);
        } else if !self.shared.fs.exists(&dir)? {
            return Err(damaged(&dir, "the group was made here, and its directory has vanished"));
        }
        let log = DiskLog::open(&self.shared, group)?;
        *open = Arc::downgrade(&log);
        Ok(log)
    }

    fn slot(&self, group: GroupId) -> Slot {
        self.open.lock().entry(group).or_default().clone()
    }

    /// Whether the group was made here, and not removed. Its log may be damaged all the same.
    pub fn has_log(&self, group: GroupId) -> bool {
        self.known.lock().contains(&group)
    }

    /// All groups made here and not removed, ascending.
    pub fn logs(&self) -> Vec<GroupId> {
        self.known.lock().iter().copied().collect()
    }

    /// Closes a group's log and removes all of it. Nothing happens when there is none. Blocks.
    pub fn remove_log(&self, group: GroupId) -> io::Result<()> {
        let slot = self.slot(group);
        let open = slot.lock();
        if !self.has_log(group) {
            return Ok(());
        }
        if let Some(log) = open.upgrade()
            && let Err(error) = log.close()
        {
            tracing::warn!(%group, %error, "closing a log that is removed");
        }
        let fs = &*self.shared.fs;
        let dir = layout::group_dir(&self.shared.dir, group);
        let trash = trash_dir(&self.shared.dir, group);
        if fs.exists(&dir)? {
            fs.rename(&dir, &trash)?;
            fs.sync_dir(&self.shared.dir.join(layout::GROUPS))?;
        }
        self.born.lock().removed(group)?;
        self.known.lock().remove(&group);
        if fs.exists(&trash)? { fs.remove_dir_all(&trash) } else { Ok(()) }
    }

    /// Counters, for metrics.
    pub fn stats(&self) -> &StorageStats {
        &self.shared.stats
    }

    /// Free space of the disk, in bytes. Asks the file system.
    pub fn free_bytes(&self) -> io::Result<u64> {
        self.shared.fs.free_bytes(&self.shared.dir)
    }

    /// Writes and syncs what waits of one log, where the configuration has it `flush_on_demand`; whether any waited.
    /// Blocks.
    pub fn flush_next(&self) -> bool {
        self.shared.flush_next()
    }

    /// Flushes and closes all logs, ends the flushers, and unlocks the directory. Blocks. Returns the first error,
    /// and closes the rest all the same.
    pub fn close(&self) -> io::Result<()> {
        let slots: Vec<Slot> = self.open.lock().drain().map(|(_, slot)| slot).collect();
        let open = slots.iter().filter_map(|slot| slot.lock().upgrade());
        let mut result = Ok(());
        for log in open {
            result = result.and(log.close());
        }
        self.end_flushers();
        self.lock.lock().take();
        result
    }

    fn end_flushers(&self) {
        self.shared.stop();
        for flusher in self.flushers.lock().drain(..) {
            // A flusher that panicked has said so already.
            let _ = flusher.join();
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.end_flushers();
    }
}

fn lock(fs: &dyn Vfs, dir: &Path) -> io::Result<Box<dyn Send + Sync>> {
    let path = dir.join(layout::LOCK);
    fs.lock(&path).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => {
            let text = format!("{} is in use by another process", dir.display());
            io::Error::new(io::ErrorKind::WouldBlock, text)
        }
        _ => small_file::named(&path, &error),
    })
}

// The identity comes last: a directory without one holds nothing yet.
fn make(fs: &dyn Vfs, dir: &Path, node_id: NodeId, random: &Random) -> io::Result<()> {
    let groups = dir.join(layout::GROUPS);
    if fs.exists(&groups)? {
        if !fs.list(&groups)?.is_empty() {
            return Err(damaged(dir, "it holds groups, and its identity file is missing"));
        }
    } else {
        fs.create_dir(&groups)?;
    }
    Born::create(fs, dir)?;
    save_identity(fs, dir, &Identity { node_id, node_uuid: random.uuid(), cluster_id: None })
}

fn save_identity(fs: &dyn Vfs, dir: &Path, identity: &Identity) -> io::Result<()> {
    let mut body = identity.node_id.0.to_le_bytes().to_vec();
    body.extend_from_slice(identity.node_uuid.as_bytes());
    body.push(u8::from(identity.cluster_id.is_some()));
    body.extend_from_slice(identity.cluster_id.unwrap_or_default().as_bytes());
    small_file::save(fs, dir, layout::IDENTITY, IDENTITY_MAGIC, &body)
}

fn load_identity(fs: &dyn Vfs, dir: &Path) -> io::Result<Identity> {
    let path = dir.join(layout::IDENTITY);
    let body = small_file::load(fs, &path, IDENTITY_MAGIC)?;
    let mut fields = Fields(&body);
    let mut decode = || {
        let (node_id, node_uuid) = (NodeId(fields.u64()?), fields.uuid()?);
        let (known, cluster_id) = (fields.u8()? == 1, fields.uuid()?);
        Some(Identity { node_id, node_uuid, cluster_id: known.then_some(cluster_id) })
    };
    decode().ok_or_else(|| damaged(&path, "it ends too early"))
}

fn trash_dir(store_dir: &Path, group: GroupId) -> std::path::PathBuf {
    store_dir.join(layout::GROUPS).join(format!("{group}{}", layout::TRASH_SUFFIX))
}

// Ends what a crash interrupted: logs half made or half removed, and logs that `born` does not have yet.
fn tidy(fs: &dyn Vfs, dir: &Path, born: &mut Born) -> io::Result<()> {
    let groups = dir.join(layout::GROUPS);
    let mut changed = false;
    for entry in fs.list(&groups)? {
        if let Some(stem) = entry.name.strip_suffix(layout::TRASH_SUFFIX) {
            // The rename may not be durable yet, and must be before `born` forgets the group.
            fs.sync_dir(&groups)?;
            if let Ok(group) = stem.parse() {
                born.removed(group)?;
            }
            fs.remove_dir_all(&groups.join(&entry.name))?;
            changed = true;
        } else if entry.name.ends_with(layout::NEW_SUFFIX) {
            fs.remove_dir_all(&groups.join(&entry.name))?;
            changed = true;
        } else if let Ok(group) = entry.name.parse::<GroupId>()
            && entry.name == group.to_string()
            && entry.is_dir
            && !born.contains(group)
        {
            fs.sync_dir(&groups)?;
            born.made(group)?;
        }
    }
    if changed { fs.sync_dir(&groups) } else { Ok(()) }
}

fn start_flushers(shared: &Arc<Shared>) -> io::Result<Vec<JoinHandle<()>>> {
    let start = |number: usize| {
        let shared = shared.clone();
        std::thread::Builder::new().name(format!("flusher-{number}")).spawn(move || shared.run_flusher())
    };
    let threads = if shared.config.flush_on_demand { 0 } else { shared.config.flusher_threads };
    (0..threads).map(start).collect()
}
