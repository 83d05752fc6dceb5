//! A file system in memory that loses what was not synced.
//!
//! Each file and each directory has what programs see now, and what a power cut surely leaves; between the two stand
//! the changes since the last sync, in order. A power cut keeps a random part of them: of a directory a prefix of its
//! changes (a rename whole or not at all), of a file any of its writes, torn anywhere. A sync that fails dooms the
//! changes it was to save: programs go on seeing them, and no later sync saves them, as Linux does it.
//!
//! Everything random comes from the seed. Not simulated: permissions, links, time, directories renamed elsewhere.

use super::{DirEntry, Vfs, VfsFile};
use crate::random::Random;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// Writes are torn into blocks of so many bytes, of which any may survive.
const BLOCK_BYTES: usize = 512;
/// Free space when no capacity is set.
const BOUNDLESS_BYTES: u64 = 1 << 40;
const ROOT: u64 = 0;

/// A file system in memory (see the module). Cheap to clone; clones are the same file system.
#[derive(Clone)]
pub struct SimulatedFs(Arc<Mutex<State>>);

struct State {
    nodes: BTreeMap<u64, Node>,
    next_node: u64,
    random: Random,
    /// Counts power cuts: what was opened before one is dead.
    life: u64,
    locks: BTreeSet<PathBuf>,
    writes_left: Option<u64>,
    syncs_left: Option<u64>,
    /// The machine dies instead of failing the planned sync.
    dies: bool,
    dead: bool,
    capacity: Option<u64>,
}

enum Node {
    File(File),
    Dir(Dir),
}

#[derive(Default)]
struct File {
    durable: Vec<u8>,
    now: Vec<u8>,
    changes: Vec<Change>,
}

struct Change {
    what: What,
    doomed: bool,
}

#[derive(Clone)]
enum What {
    Write { position: usize, bytes: Vec<u8> },
    SetLen(usize),
}

#[derive(Default)]
struct Dir {
    durable: BTreeMap<String, u64>,
    now: BTreeMap<String, u64>,
    changes: Vec<Vec<(String, Option<u64>)>>,
}

impl What {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            What::Write { position, bytes: written } => {
                let end = position + written.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*position..end].copy_from_slice(written);
            }
            What::SetLen(len) => bytes.resize(*len, 0),
        }
    }

    // What of it reaches the disk when the power goes.
    fn torn(&self, random: &Random) -> Vec<What> {
        match self {
            What::SetLen(_) if random.below(2) == 0 => Vec::new(),
            What::SetLen(_) => vec![self.clone()],
            What::Write { position, bytes } => match random.below(4) {
                0 => Vec::new(),
                1 => vec![self.clone()],
                2 => {
                    let kept = random.below(bytes.len() as u64 + 1) as usize;
                    vec![What::Write { position: *position, bytes: bytes[..kept].to_vec() }]
                }
                _ => {
                    let blocks = bytes.chunks(BLOCK_BYTES).enumerate();
                    let kept = blocks.filter(|_| random.below(2) == 0);
                    let write = |(at, block): (usize, &[u8])| What::Write {
                        position: position + at * BLOCK_BYTES,
                        bytes: block.to_vec(),
                    };
                    kept.map(write).collect()
                }
            },
        }
    }
}

impl File {
    fn change(&mut self, what: What) {
        what.apply(&mut self.now);
        self.changes.push(Change { what, doomed: false });
    }

    fn sync(&mut self) {
        for change in self.changes.drain(..).filter(|change| !change.doomed) {
            change.what.apply(&mut self.durable);
        }
    }

    fn cut_power(&mut self, random: &Random) {
        for change in self.changes.drain(..).filter(|change| !change.doomed) {
            change.what.torn(random).iter().for_each(|what| what.apply(&mut self.durable));
        }
        self.now = self.durable.clone();
    }
}

impl Dir {
    fn change(&mut self, names: Vec<(String, Option<u64>)>) {
        set(&mut self.now, &names);
        self.changes.push(names);
    }

    fn sync(&mut self) {
        self.changes.drain(..).for_each(|names| set(&mut self.durable, &names));
    }

    fn cut_power(&mut self, random: &Random) {
        let kept = random.below(self.changes.len() as u64 + 1) as usize;
        self.changes.drain(..).take(kept).for_each(|names| set(&mut self.durable, &names));
        self.now = self.durable.clone();
    }
}

fn set(names: &mut BTreeMap<String, u64>, changes: &[(String, Option<u64>)]) {
    for (name, node) in changes {
        match node {
            Some(node) => names.insert(name.clone(), *node),
            None => names.remove(name),
        };
    }
}

impl SimulatedFs {
    /// An empty file system; all that is random in it comes from the seed.
    pub fn new(seed: u64) -> SimulatedFs {
        SimulatedFs(Arc::new(Mutex::new(State {
            nodes: BTreeMap::from([(ROOT, Node::Dir(Dir::default()))]),
            next_node: ROOT + 1,
            random: Random::from_seed(seed),
            life: 0,
            locks: BTreeSet::new(),
            writes_left: None,
            syncs_left: None,
            dies: false,
            dead: false,
            capacity: None,
        })))
    }

    /// Cuts the power and starts again: what was not synced is lost or torn, open files fail from now on, locks are
    /// free, and planned failures are forgotten.
    pub fn power_cut(&self) {
        let mut state = self.0.lock();
        let state = &mut *state;
        state.life += 1;
        state.locks.clear();
        (state.writes_left, state.syncs_left, state.dead) = (None, None, false);
        for node in state.nodes.values_mut() {
            match node {
                Node::File(file) => file.cut_power(&state.random),
                Node::Dir(dir) => dir.cut_power(&state.random),
            }
        }
    }

    /// Ends the process that uses it, and not the machine: what was written stays, synced or not; open files fail from
    /// now on, and locks are free. Planned failures of the disk stay planned, but for a death that came.
    pub fn kill(&self) {
        let mut state = self.0.lock();
        state.life += 1;
        state.locks.clear();
        if state.dead {
            (state.dead, state.syncs_left) = (false, None);
        }
    }

    /// Whether the death that [`SimulatedFs::die_at_sync`] planned has come.
    pub fn is_dead(&self) -> bool {
        self.0.lock().dead
    }

    /// Lets the n-th write from now on fail with EIO (1: the next one), in part written, and all writes after it.
    pub fn fail_write(&self, n: u64) {
        self.0.lock().writes_left = Some(n.saturating_sub(1));
    }

    /// Lets the n-th sync from now on fail with EIO (1: the next one), once.
    pub fn fail_sync(&self, n: u64) {
        let mut state = self.0.lock();
        (state.syncs_left, state.dies) = (Some(n.saturating_sub(1)), false);
    }

    /// Lets the machine die at the n-th sync from now on (1: the next one): it and all that follows fail, until
    /// [`SimulatedFs::power_cut`] starts it again.
    pub fn die_at_sync(&self, n: u64) {
        let mut state = self.0.lock();
        (state.syncs_left, state.dies) = (Some(n.saturating_sub(1)), true);
    }

    /// Ends planned failures.
    pub fn heal(&self) {
        let mut state = self.0.lock();
        (state.writes_left, state.syncs_left) = (None, None);
    }

    /// Bounds the bytes of all files together; writes beyond fail with ENOSPC.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.0.lock().capacity = bytes;
    }

    /// Bytes of all files together.
    pub fn used_bytes(&self) -> u64 {
        self.0.lock().used_bytes()
    }

    /// Flips a bit of a file, on disk too.
    ///
    /// # Errors
    /// `NotFound`; `InvalidInput` behind the file's end.
    pub fn flip_bit(&self, path: &Path, byte: u64, bit: u32) -> io::Result<()> {
        let mut state = self.0.lock();
        let node = state.find(path)?;
        let file = state.file(node)?;
        let at = byte as usize;
        let mask = 1 << (bit % 8);
        *file.now.get_mut(at).ok_or(io::ErrorKind::InvalidInput)? ^= mask;
        if let Some(byte) = file.durable.get_mut(at) {
            *byte ^= mask;
        }
        Ok(())
    }
}

impl State {
    fn used_bytes(&self) -> u64 {
        let len = |node: &Node| if let Node::File(file) = node { file.now.len() as u64 } else { 0 };
        self.reachable().iter().map(|node| self.nodes.get(node).map_or(0, len)).sum()
    }

    // Removed files take no space.
    fn reachable(&self) -> BTreeSet<u64> {
        let mut reached = BTreeSet::from([ROOT]);
        let mut open = vec![ROOT];
        while let Some(node) = open.pop() {
            if let Some(Node::Dir(dir)) = self.nodes.get(&node) {
                open.extend(dir.now.values().filter(|child| reached.insert(**child)));
            }
        }
        reached
    }

    fn alive(&self) -> io::Result<()> {
        if self.dead { Err(broken()) } else { Ok(()) }
    }

    fn find(&self, path: &Path) -> io::Result<u64> {
        self.alive()?;
        let mut node = ROOT;
        for component in path.components() {
            let Component::Normal(name) = component else { continue };
            let Some(Node::Dir(dir)) = self.nodes.get(&node) else { return Err(io::ErrorKind::NotADirectory.into()) };
            let name = name.to_str().ok_or(io::ErrorKind::InvalidInput)?;
            node = *dir.now.get(name).ok_or(io::ErrorKind::NotFound)?;
        }
        Ok(node)
    }

    fn file(&mut self, node: u64) -> io::Result<&mut File> {
        match self.nodes.get_mut(&node) {
            Some(Node::File(file)) => Ok(file),
            Some(Node::Dir(_)) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn dir(&mut self, node: u64) -> io::Result<&mut Dir> {
        match self.nodes.get_mut(&node) {
            Some(Node::Dir(dir)) => Ok(dir),
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    // The directory that holds the name, and the name.
    fn parent(&self, path: &Path) -> io::Result<(u64, String)> {
        let name = path.file_name().and_then(|name| name.to_str()).ok_or(io::ErrorKind::InvalidInput)?;
        Ok((self.find(path.parent().ok_or(io::ErrorKind::InvalidInput)?)?, name.to_string()))
    }

    fn add(&mut self, path: &Path, node: Node) -> io::Result<u64> {
        let (parent, name) = self.parent(path)?;
        let number = self.next_node;
        self.dir(parent)?.change(vec![(name, Some(number))]);
        self.next_node += 1;
        self.nodes.insert(number, node);
        Ok(number)
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.find(path)?;
        let (parent, name) = self.parent(path)?;
        self.dir(parent)?.change(vec![(name, None)]);
        Ok(())
    }

    // Whether the planned failure is now; counts down.
    fn sync_fails(&mut self) -> bool {
        match self.syncs_left {
            Some(0) => {
                self.syncs_left = None;
                self.dead = self.dies;
                true
            }
            Some(left) => {
                self.syncs_left = Some(left - 1);
                false
            }
            None => false,
        }
    }

    fn write_fails(&mut self) -> bool {
        match self.writes_left {
            Some(0) => true,
            Some(left) => {
                self.writes_left = Some(left - 1);
                false
            }
            None => false,
        }
    }
}

fn broken() -> io::Error {
    // EIO
    io::Error::from_raw_os_error(5)
}

struct SimulatedFile {
    fs: SimulatedFs,
    node: u64,
    life: u64,
}

impl SimulatedFile {
    fn with<T>(&self, act: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.fs.0.lock();
        if state.life != self.life {
            return Err(io::Error::other("the power was cut since this file was opened"));
        }
        state.alive()?;
        act(&mut state)
    }
}

struct Lock {
    fs: SimulatedFs,
    path: PathBuf,
    life: u64,
}

impl Drop for Lock {
    fn drop(&mut self) {
        let mut state = self.fs.0.lock();
        if state.life == self.life {
            state.locks.remove(&self.path);
        }
    }
}

impl SimulatedFs {
    fn handle(&self, state: &State, node: u64) -> Arc<dyn VfsFile> {
        Arc::new(SimulatedFile { fs: self.clone(), node, life: state.life })
    }
}

impl Vfs for SimulatedFs {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn VfsFile>> {
        let mut state = self.0.lock();
        let node = state.find(path)?;
        state.file(node)?;
        Ok(self.handle(&state, node))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn VfsFile>> {
        let mut state = self.0.lock();
        let node = match state.find(path) {
            Ok(node) => {
                state.file(node)?.change(What::SetLen(0));
                node
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => state.add(path, Node::File(File::default()))?,
            Err(error) => return Err(error),
        };
        Ok(self.handle(&state, node))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        if state.find(path).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.add(path, Node::Dir(Dir::default())).map(|_| ())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let mut state = self.0.lock();
        let node = state.find(path)?;
        let names = state.dir(node)?.now.clone();
        let is_dir = |node: &u64| matches!(state.nodes.get(node), Some(Node::Dir(_)));
        Ok(names.into_iter().map(|(name, node)| DirEntry { name, is_dir: is_dir(&node) }).collect())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        Ok(self.0.lock().find(path).is_ok())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        let node = state.find(from)?;
        let ((parent, old), (other, new)) = (state.parent(from)?, state.parent(to)?);
        if parent != other {
            return Err(io::ErrorKind::CrossesDevices.into());
        }
        state.dir(parent)?.change(vec![(old, None), (new, Some(node))]);
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.0.lock().remove(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.0.lock().remove(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        if state.sync_fails() {
            return Err(broken());
        }
        let node = state.find(path)?;
        state.dir(node)?.sync();
        Ok(())
    }

    fn free_bytes(&self, _path: &Path) -> io::Result<u64> {
        let state = self.0.lock();
        Ok(state.capacity.map_or(BOUNDLESS_BYTES, |capacity| capacity.saturating_sub(state.used_bytes())))
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        let mut state = self.0.lock();
        if !state.locks.insert(path.to_path_buf()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(Lock { fs: self.clone(), path: path.to_path_buf(), life: state.life }))
    }
}

impl VfsFile for SimulatedFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.with(|state| {
            let bytes = &state.file(self.node)?.now;
            let start = (position as usize).min(bytes.len());
            let count = buffer.len().min(bytes.len() - start);
            buffer[..count].copy_from_slice(&bytes[start..start + count]);
            Ok(count)
        })
    }

    fn write_at(&self, slices: &mut [IoSlice<'_>], position: u64) -> io::Result<()> {
        self.with(|state| {
            let mut bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
            let mut outcome = Ok(());
            if state.write_fails() {
                bytes.truncate(state.random.below(bytes.len() as u64 + 1) as usize);
                outcome = Err(broken());
            } else if let Some(capacity) = state.capacity {
                let len = state.file(self.node)?.now.len();
                let room = len as u64 + capacity.saturating_sub(state.used_bytes());
                if position + bytes.len() as u64 > room {
                    bytes.truncate(room.saturating_sub(position) as usize);
                    outcome = Err(io::ErrorKind::StorageFull.into());
                }
            }
            if !bytes.is_empty() {
                state.file(self.node)?.change(What::Write { position: position as usize, bytes });
            }
            outcome
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.with(|state| {
            let fails = state.sync_fails();
            let dies = state.dead;
            let file = state.file(self.node)?;
            if fails && dies {
                return Err(broken());
            }
            if fails {
                file.changes.iter_mut().for_each(|change| change.doomed = true);
                return Err(broken());
            }
            file.sync();
            Ok(())
        })
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.with(|state| {
            let file = state.file(self.node)?;
            // Of the same length nothing changes (only space that was reserved goes back).
            if file.now.len() as u64 != len {
                file.change(What::SetLen(len as usize));
            }
            Ok(())
        })
    }

    fn file_len(&self) -> io::Result<u64> {
        self.with(|state| Ok(state.file(self.node)?.now.len() as u64))
    }

    fn allocate(&self, _position: u64, _len: u64) -> io::Result<()> {
        self.with(|_| Ok(()))
    }
}

#[cfg(test)]
mod tests;
