//! What `check` and `report` are given: a run's directory, or a history.

use crate::check::{self, Options, Verdict};
use crate::history::{HISTORY_FILE, History, LOG_END_FILE};
use crate::report::run_file::RunFile;
use anyhow::{Context, bail};
use std::path::{Path, PathBuf};

/// A run as it lies on disk.
#[derive(Debug, Default)]
pub struct Input {
    /// Of sends and polls.
    pub history: Option<History>,
    pub log_end: Option<History>,
    pub run: Option<RunFile>,
}

impl Input {
    /// Reads a directory's files, or the one file that is named.
    pub fn read(path: &Path) -> anyhow::Result<Input> {
        if !path.is_dir() {
            return Ok(Input { history: Some(read(path)?), ..Input::default() });
        }
        let input = Input {
            history: read_if_there(path, HISTORY_FILE)?,
            log_end: read_if_there(path, LOG_END_FILE)?,
            run: RunFile::read(path).with_context(|| format!("{}: run.json", path.display()))?,
        };
        if input.history.is_none() && input.log_end.is_none() {
            bail!("{}: neither {HISTORY_FILE} nor {LOG_END_FILE} is there", path.display());
        }
        Ok(input)
    }

    /// The histories that are there.
    pub fn histories(&self) -> Vec<&History> {
        self.history.iter().chain(&self.log_end).collect()
    }

    /// Checks them, by what the run promised; `loss_allowed` where only the caller knows.
    pub fn check(&self, loss_allowed: bool) -> anyhow::Result<Verdict> {
        let of_run = self.run.as_ref().is_some_and(|run| run.loss_is_allowed);
        let options = Options { loss_allowed: loss_allowed || of_run };
        check::check(&self.histories(), options).map_err(anyhow::Error::msg)
    }
}

fn read(path: &Path) -> anyhow::Result<History> {
    History::read(path).with_context(|| path.display().to_string())
}

/// The file, or the same compressed.
fn read_if_there(dir: &Path, name: &str) -> anyhow::Result<Option<History>> {
    let candidates: [PathBuf; 2] = [dir.join(name), dir.join(format!("{name}.gz"))];
    candidates.iter().find(|path| path.exists()).map(|path| read(path)).transpose()
}
