//! One node: a `balsa serve` process that is started, killed, stopped and gone on with.
//!
//! Whoever wants to do something with a node's process or disk holds its [`Node::hold`] for as long as it lasts, so
//! that two faults never work on one node. A process that ends without having been told to is news: the cluster hears
//! of it by a channel, and starts it again.

use crate::cluster::created::{Created, MARKER, Thing, kill, started};
use crate::cluster::disk::Disk;
use anyhow::Context;
use rustix::process::Signal;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::process::Command;
use tokio::sync::{mpsc, watch};

/// For a process to be gone after SIGKILL; one that waits for a disk takes longer.
const GONE_TIME_MAX: Duration = Duration::from_secs(20);

/// How a node is started.
#[derive(Clone, Debug)]
pub struct Launch {
    pub program: PathBuf,
    pub arguments: Vec<String>,
    pub environment: Vec<(String, String)>,
    /// The network namespace that it runs in.
    pub namespace: Option<String>,
}

/// A process ended by itself.
#[derive(Clone, Debug)]
pub struct Death {
    pub node: u16,
    pub how: String,
    /// The last that it said.
    pub last_words: String,
}

pub struct Node {
    pub number: u16,
    pub http: SocketAddr,
    pub kafka: SocketAddr,
    pub disk: Disk,
    pub launch: Launch,
    log: PathBuf,
    created: Arc<Created>,
    deaths: mpsc::UnboundedSender<Death>,
    held: Arc<tokio::sync::Mutex<()>>,
    excused: AtomicBool,
    running: parking_lot::Mutex<Option<Running>>,
    tasks: tokio_util::task::TaskTracker,
}

/// A started process.
#[derive(Clone)]
struct Running {
    pid: i32,
    /// Set before we end it.
    expected: Arc<AtomicBool>,
    ended: watch::Receiver<bool>,
}

/// The run's directory, the notes, who hears of deaths, and the owner of tasks.
pub type Places<'a> = (&'a Path, Arc<Created>, mpsc::UnboundedSender<Death>, tokio_util::task::TaskTracker);

/// The right to do something with a node.
pub type Hold = tokio::sync::OwnedMutexGuard<()>;

impl Node {
    pub fn new(
        number: u16,
        (http, kafka): (SocketAddr, SocketAddr),
        disk: Disk,
        launch: Launch,
        places: Places,
    ) -> Node {
        let (dir, created, deaths, tasks) = places;
        let log = dir.join(format!("n{number}.log"));
        let (held, running, excused) = (Arc::default(), parking_lot::Mutex::default(), AtomicBool::new(false));
        Node { number, http, kafka, disk, launch, log, created, deaths, held, excused, running, tasks }
    }

    pub fn name(&self) -> String {
        format!("n{}", self.number)
    }

    /// Waits until nobody else does something with this node.
    pub async fn hold(&self) -> Hold {
        self.held.clone().lock_owned().await
    }

    /// The same, if nobody does.
    pub fn try_hold(&self) -> Option<Hold> {
        self.held.clone().try_lock_owned().ok()
    }

    /// Starts the process, unless it runs.
    pub fn start(&self) -> anyhow::Result<()> {
        let mut running = self.running.lock();
        if running.as_ref().is_some_and(|running| !*running.ended.borrow()) {
            return Ok(());
        }
        let log = std::fs::File::options().create(true).append(true).open(&self.log)?;
        let mut command = match &self.launch.namespace {
            Some(name) => {
                // Not `ip netns exec`: that makes a mount namespace too, and a disk that is mounted in there stays
                // mounted when it is unmounted here.
                let mut command = Command::new("nsenter");
                command.arg(format!("--net=/run/netns/{name}")).arg("--").arg(&self.launch.program);
                command
            }
            None => Command::new(&self.launch.program),
        };
        command.args(&self.launch.arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        command.envs(self.launch.environment.iter().map(|(name, value)| (name, value)));
        command.env(MARKER, self.created.id()).process_group(0).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| self.launch.program.display().to_string())?;
        let pid = child.id().context("the process ended at once")?.cast_signed();
        if let Some(started) = started(pid) {
            self.created.note(&Thing::Process { pid, started })?;
        }
        let (ended_sender, ended) = watch::channel(false);
        let expected = Arc::new(AtomicBool::new(false));
        *running = Some(Running { pid, expected: expected.clone(), ended });
        let (deaths, node, log) = (self.deaths.clone(), self.number, self.log.clone());
        self.tasks.spawn(async move {
            let status = child.wait().await;
            let _ = ended_sender.send(true);
            if !expected.load(Ordering::SeqCst) {
                let how = status.map_or_else(|error| error.to_string(), how);
                // Where nobody listens any more, the run is over.
                let _ = deaths.send(Death { node, how, last_words: last_words(&log) });
            }
        });
        Ok(())
    }

    /// Ends the process at once, and waits until it is gone.
    pub async fn kill(&self) -> anyhow::Result<()> {
        self.end(Signal::KILL).await
    }

    /// Ends the process in order.
    pub async fn stop(&self) -> anyhow::Result<()> {
        self.expect_end();
        self.signal(Signal::TERM);
        let Some(mut running) = self.running() else { return Ok(()) };
        let in_order = tokio::time::timeout(Duration::from_secs(6), running.ended.wait_for(|ended| *ended)).await;
        match in_order {
            Ok(_) => Ok(()),
            Err(_) => self.kill().await,
        }
    }

    async fn end(&self, signal: Signal) -> anyhow::Result<()> {
        self.expect_end();
        self.signal(signal);
        let Some(mut running) = self.running() else { return Ok(()) };
        tokio::time::timeout(GONE_TIME_MAX, running.ended.wait_for(|ended| *ended))
            .await
            .with_context(|| format!("n{} (process {}) does not end", self.number, running.pid))??;
        Ok(())
    }

    /// From now on this node may end by itself: its data was damaged.
    pub fn excuse(&self) {
        self.excused.store(true, Ordering::SeqCst);
    }

    pub fn is_excused(&self) -> bool {
        self.excused.load(Ordering::SeqCst)
    }

    /// From now on the process may end without this being news.
    pub fn expect_end(&self) {
        if let Some(running) = self.running() {
            running.expected.store(true, Ordering::SeqCst);
        }
    }

    /// Sends a signal, if the process runs.
    pub fn signal(&self, signal: Signal) {
        if let Some(running) = self.running().filter(|running| !*running.ended.borrow()) {
            kill(running.pid, signal);
        }
    }

    /// The process, if it runs.
    pub fn pid(&self) -> Option<i32> {
        self.running().filter(|running| !*running.ended.borrow()).map(|running| running.pid)
    }

    fn running(&self) -> Option<Running> {
        self.running.lock().clone()
    }

    /// The lines of its log that tell of a panic.
    pub fn panics(&self) -> Vec<String> {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        log.lines().filter(|line| line.contains("panicked at")).map(str::to_owned).collect()
    }
}

/// How a process ended, in words.
fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

/// The end of a log, and the last panic in it if that is near.
fn last_words(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let tail = String::from_utf8_lossy(&text[text.len().saturating_sub(4096)..]).into_owned();
    let lines: Vec<&str> = tail.lines().filter(|line| !line.trim().is_empty()).collect();
    let from = lines.iter().rposition(|line| line.contains("panicked")).unwrap_or(lines.len().saturating_sub(2));
    lines[from..].iter().take(6).copied().collect::<Vec<&str>>().join(" | ")
}
