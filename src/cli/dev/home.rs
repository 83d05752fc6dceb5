//! The directory of a `dev` cluster: one directory for each node, and a note of how many there are.

use super::plan::NodePlan;
use super::{Arguments, Failure};
use serde::{Deserialize, Serialize};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The note's name. Its presence says that the directory is one of `balsa dev`.
const NOTE: &str = "dev.json";
/// Goes up when the note's meaning changes.
const NOTE_VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Note {
    format_version: u32,
    nodes: u16,
}

/// The directory, held for as long as the cluster runs. A temporary one is removed at the end.
pub struct Home {
    path: PathBuf,
    ephemeral: bool,
}

impl Home {
    /// Makes the directory, or opens one that was made for as many nodes.
    pub fn open(arguments: &Arguments, plans: &[NodePlan]) -> Result<Home, Failure> {
        let path = if arguments.ephemeral { temporary()? } else { existing(&arguments.data_dir)? };
        let home = Home { path, ephemeral: arguments.ephemeral };
        let failed = |error: io::Error| Failure::failed(format_args!("{}: {error}", home.path.display()));
        let nodes = u16::try_from(plans.len()).expect("a dev cluster has at most five nodes");
        match std::fs::read(home.path.join(NOTE)) {
            Ok(text) => home.check(&text, nodes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => home.write_note(nodes).map_err(failed)?,
            Err(error) => return Err(failed(error)),
        }
        Ok(home)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory, where it is to be removed at the end.
    pub fn ephemeral_path(&self) -> Option<PathBuf> {
        self.ephemeral.then(|| self.path.clone())
    }

    /// The data directory of one node.
    pub fn node(&self, node_id: u16) -> PathBuf {
        self.path.join(format!("node-{node_id}"))
    }

    fn check(&self, text: &[u8], nodes: u16) -> Result<(), Failure> {
        let path = self.path.display();
        let note: Note = serde_json::from_slice(text).map_err(|error| {
            Failure::failed(format_args!("{path}/{NOTE} is damaged ({error}); choose another --data-dir"))
        })?;
        if note.format_version > NOTE_VERSION {
            let version = note.format_version;
            return Err(Failure::failed(format_args!(
                "{path}/{NOTE} has format version {version}, and this balsa knows only {NOTE_VERSION}: run a newer one"
            )));
        }
        if note.nodes != nodes {
            let before = note.nodes;
            return Err(Failure::usage(format_args!(
                "{path} was made with --nodes {before}, so it cannot run with --nodes {nodes}: run `balsa dev --nodes \
                 {before}` again, or give another --data-dir, or remove {path} with all that is in it"
            )));
        }
        Ok(())
    }

    /// Written whole or not at all, like everything that decides what a directory is.
    fn write_note(&self, nodes: u16) -> io::Result<()> {
        let temporary = self.path.join(format!("{NOTE}.new"));
        let mut file = std::fs::File::create(&temporary)?;
        let text = serde_json::to_string(&Note { format_version: NOTE_VERSION, nodes })?;
        writeln!(file, "{text}")?;
        file.sync_all()?;
        std::fs::rename(&temporary, self.path.join(NOTE))?;
        std::fs::File::open(&self.path)?.sync_all()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if self.ephemeral
            && let Err(error) = std::fs::remove_dir_all(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "the temporary directory was not removed");
        }
    }
}

/// The directory, made if need be, by its absolute path: what is announced holds wherever it is read.
fn existing(path: &Path) -> Result<PathBuf, Failure> {
    std::fs::create_dir_all(path)
        .and_then(|()| path.canonicalize())
        .map_err(|error| Failure::failed(format_args!("{}: {error}", path.display())))
}

/// A new directory for one run.
fn temporary() -> Result<PathBuf, Failure> {
    let unique = uuid::Uuid::new_v4().simple().to_string();
    let path = std::env::temp_dir().join(format!("balsa-dev-{}", &unique[..12]));
    std::fs::create_dir(&path)
        .map_err(|error| Failure::failed(format_args!("{}: cannot be made: {error}", path.display())))?;
    Ok(path)
}
