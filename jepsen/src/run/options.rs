//! What a run is asked for.

use crate::fault::Fault;
use crate::workload::Workload;
use crate::workload::world::Load;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Clone)]
pub struct Options {
    pub nodes: u16,
    /// How long faults come.
    pub time: Duration,
    pub workload: &'static dyn Workload,
    pub faults: Vec<&'static dyn Fault>,
    /// From the begin of one fault to that of the next, on average.
    pub interval: Duration,
    /// What the lengths of faults, and of the pauses after them, are multiplied by.
    pub pace: f64,
    pub seed: u64,
    pub binary: PathBuf,
    pub binary_version: String,
    /// Runs clients that are Python programs.
    pub python: PathBuf,
    pub dir: PathBuf,
    /// Where disk images are; the run's directory where missing.
    pub images: Option<PathBuf>,
    pub without_namespaces: bool,
    pub load: Load,
    pub replication_factor: u16,
    /// Keep the nodes' data.
    pub keep_data: bool,
    /// Further settings of the nodes.
    pub settings: Vec<String>,
    /// Further variables of the nodes' environment.
    pub environment: Vec<(String, String)>,
    pub command_line: Vec<String>,
}
