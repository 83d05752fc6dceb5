//! `run.json`: what a run knows of itself that its histories don't say.
//!
//! The runner writes it, at the start, after each fault and at the end, each time whole and by renaming, so that a run
//! that was killed has one too. Times are nanoseconds since the run began, of the histories' clock. Members that a
//! reader does not know are skipped, and those that are missing have defaults: an older run can still be shown.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

pub const FILE_NAME: &str = "run.json";

/// A run's summary.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunFile {
    /// As it was given; together with the seed it makes the run again.
    pub command_line: Vec<String>,
    pub seed: u64,
    /// In the order of their numbers.
    pub nodes: Vec<String>,
    /// `append`, `cas`, …
    pub workload: String,
    /// Where the runner knows: the version of the binary under test, the kernel, the number of cores.
    pub environment: BTreeMap<String, String>,
    /// When the run began, milliseconds since 1970.
    pub began_unix_ms: u64,
    /// What may be lost with this workload (`acks=1`): losses are counted, and are no anomaly.
    pub loss_is_allowed: bool,
    /// How many of each kind were done.
    pub faults_done: BTreeMap<String, u64>,
    /// Faults that were asked for and not done. They count as not tested.
    pub faults_not_done: Vec<FaultNotDone>,
    /// When each fault began and was healed, for the pictures.
    pub faults: Vec<FaultWindow>,
    pub records_acknowledged: u64,
    /// What must not happen and no history shows. Each is an anomaly.
    pub incidents: Vec<Incident>,
    /// Counts and measurements for people, in the order in which they are to be shown.
    pub figures: Vec<(String, String)>,
    pub elections: Vec<Election>,
    pub phases: Vec<Phase>,
    /// Whatever a person should know: a client that could not finish its last reading, a node that did not come back.
    pub notes: Vec<String>,
    /// Missing while the run goes on, and in one that was killed.
    pub exit: Option<Exit>,
}

/// A fault that was asked for and could not be done here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FaultNotDone {
    pub kind: String,
    pub reason: String,
}

/// One fault, from its beginning to its healing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FaultWindow {
    pub kind: String,
    /// The nodes that it hit.
    pub nodes: Vec<String>,
    pub from_ns: u64,
    /// When it was healed; the same as `from_ns` for what has no length, missing for what was never healed.
    pub to_ns: Option<u64>,
    /// More on it: which link, how many milliseconds.
    pub detail: String,
}

/// A node that died by itself, an answer 500, a retry that was answered differently, a cluster that did not heal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Incident {
    pub time_ns: u64,
    /// `node-died`, `panic`, `internal-error`, `retry-answered-differently`, `unsound-answer`, `not-healed`, …
    pub kind: String,
    pub detail: String,
}

/// A leader that was seen to be new.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Election {
    pub time_ns: u64,
    pub group: String,
    pub term: u64,
    pub node: String,
}

/// A part of the run: warming up, faults, healing, the last reading.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Phase {
    pub name: String,
    pub from_ns: u64,
    pub to_ns: u64,
}

/// How the run ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Exit {
    /// `clean`, `anomaly`, `interrupted` or `failed`.
    pub verdict: String,
    /// Why, where it is not clear from the verdict.
    pub reason: String,
}

impl RunFile {
    /// Reads `DIR/run.json`; nothing where there is none.
    pub fn read(dir: &Path) -> io::Result<Option<RunFile>> {
        match std::fs::read(dir.join(FILE_NAME)) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes `DIR/run.json`: a reader sees the old one or the new one, never a part.
    pub fn write(&self, dir: &Path) -> io::Result<()> {
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        let temporary = dir.join("run.json.new");
        std::fs::write(&temporary, bytes)?;
        std::fs::rename(temporary, dir.join(FILE_NAME))
    }
}
