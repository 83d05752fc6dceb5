//! Keeps the nodes of a `dev` cluster running: starts them, tells when they are ready, starts again what died.
//!
//! A node that was killed is started again at once. A node that ends by itself before it was ready has a reason to do
//! so again: it is tried with growing pauses, and given up after a few times. When the supervisor ends, so do all.

use super::announce::{Announcer, NodeEvent};
use super::child::{self, ChildCommand, NodeProcess};
use super::plan::RunningNode;
use super::{Failure, Outcome, READY_TIME_MAX};
use crate::cli::exit::Code;
use crate::cli::runtime::StopSignals;
use crate::client::{Client, Request, Server};
use futures::future::join_all;
use http::Method;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::ExitStatus;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Pause before a node is started again; doubles with each failed start.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// A node that failed to start this often, one time after the other, is given up.
const FAILED_STARTS_MAX: u32 = 5;
const PROBE_TIME_MAX: Duration = Duration::from_secs(1);

/// What a node's keeper says to the supervisor: which node, its process, what happened.
struct Report {
    node: usize,
    pid: u32,
    event: NodeEvent,
    /// The last line of the node's log, where it ended.
    last_line: String,
}

/// Runs all nodes until a signal comes, or none is left.
pub async fn run(commands: Vec<ChildCommand>, restart: bool, mut announcer: Announcer) -> Outcome {
    let mut signals = StopSignals::listen()?;
    let stop = CancellationToken::new();
    let (reports, mut inbox) = mpsc::channel(64);
    let keepers = commands.iter().enumerate().map(|(node, command)| Keeper {
        node,
        command,
        restart,
        stop: stop.clone(),
        reports: reports.clone(),
    });
    let mut all_ended = std::pin::pin!(join_all(keepers.map(Keeper::keep)));
    let mut start = Start { ready: BTreeMap::new(), done: false };
    let mut outcome = Ok(());
    let deadline = tokio::time::sleep(READY_TIME_MAX);
    tokio::pin!(deadline);
    loop {
        tokio::select! {
            _ = &mut all_ended => break,
            _ = signals.next() => stop.cancel(),
            Some(report) = inbox.recv() => {
                if let Err(failure) = start.take(&commands, report, &mut announcer) {
                    outcome = Err(failure);
                    stop.cancel();
                }
            }
            () = &mut deadline, if !start.done && !stop.is_cancelled() => {
                outcome = Err(not_ready(READY_TIME_MAX));
                stop.cancel();
            }
        }
    }
    if outcome.is_ok() && !stop.is_cancelled() {
        return Err(Failure::failed("no node is left"));
    }
    outcome
}

fn not_ready(time: Duration) -> Failure {
    let seconds = time.as_secs();
    Failure::new(
        Code::Unavailable,
        format_args!("the nodes were not ready within {seconds} s; --log-level info says more"),
    )
}

/// The first phase: until every node was ready once, an end of one ends all.
struct Start {
    ready: BTreeMap<usize, RunningNode>,
    done: bool,
}

impl Start {
    fn take(&mut self, commands: &[ChildCommand], report: Report, announcer: &mut Announcer) -> Outcome {
        let Report { node, pid, event, last_line } = report;
        let node_id = commands[node].plan.node_id;
        if self.done {
            announcer.event(node_id, pid, &event);
            return Ok(());
        }
        match event {
            NodeEvent::Ready => {
                self.ready.insert(node, commands[node].running(pid));
            }
            NodeEvent::Ended { how, signal: None, .. } => {
                let said = if last_line.is_empty() { String::new() } else { format!(": {last_line}") };
                return Err(Failure::failed(format_args!("node {node_id} {how} before it was ready{said}")));
            }
            // Killed from outside: it is started again.
            NodeEvent::Ended { .. } => {
                self.ready.remove(&node);
                announcer.event(node_id, pid, &event);
            }
            NodeEvent::Started => {}
        }
        if self.ready.len() == commands.len() {
            self.done = true;
            let nodes: Vec<RunningNode> = self.ready.values().cloned().collect();
            // Whoever started the cluster may read only the exit code; it runs on without a reader.
            return match announcer.ready(&nodes) {
                Err(Failure::ReaderGone) => Ok(()),
                outcome => outcome,
            };
        }
        Ok(())
    }
}

/// Keeps one node running.
struct Keeper<'a> {
    node: usize,
    command: &'a ChildCommand,
    restart: bool,
    stop: CancellationToken,
    reports: mpsc::Sender<Report>,
}

impl Keeper<'_> {
    async fn keep(self) {
        let mut failed_starts = 0;
        loop {
            let mut process = match self.command.start() {
                Ok(process) => process,
                Err(error) => return self.report_unstartable(&error).await,
            };
            let pid = process.pid;
            self.report(pid, NodeEvent::Started, "").await;
            let mut was_ready = false;
            let status = tokio::select! {
                status = process.ended() => status,
                () = self.watch(pid, &mut was_ready) => process.ended().await,
                () = self.stop.cancelled() => return process.stop().await,
            };
            let killed = status.as_ref().is_ok_and(|status| status.code().is_none());
            failed_starts = if was_ready || killed { 0 } else { failed_starts + 1 };
            let again_in = self.again_in(failed_starts);
            self.report_end(&process, status, again_in).await;
            let Some(pause) = again_in else { return };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.stop.cancelled() => return,
            }
        }
    }

    /// Tells when the node is ready; then waits until the nodes are to stop.
    async fn watch(&self, pid: u32, was_ready: &mut bool) {
        if ready(self.command.plan.http, Duration::MAX).await.is_ok() {
            *was_ready = true;
            self.report(pid, NodeEvent::Ready, "").await;
        }
        std::future::pending::<()>().await;
    }

    fn again_in(&self, failed_starts: u32) -> Option<Duration> {
        let go_on = self.restart && failed_starts < FAILED_STARTS_MAX;
        go_on.then(|| PAUSE_MIN.saturating_mul(1 << failed_starts.min(10)).min(PAUSE_MAX))
    }

    async fn report(&self, pid: u32, event: NodeEvent, last_line: &str) {
        let report = Report { node: self.node, pid, event, last_line: last_line.to_owned() };
        // The supervisor reads until all keepers have ended.
        let _ = self.reports.send(report).await;
    }

    async fn report_end(&self, process: &NodeProcess, status: std::io::Result<ExitStatus>, again_in: Option<Duration>) {
        use std::os::unix::process::ExitStatusExt;
        let (how, code, signal) = match status {
            Ok(status) => (child::how(status), status.code(), status.signal()),
            Err(error) => (format!("was lost sight of ({error})"), None, None),
        };
        let reason = match (self.restart, again_in) {
            (_, Some(_)) => "",
            (false, None) => "--no-restart was given",
            (true, None) => "it failed to start too often",
        };
        self.report(process.pid, NodeEvent::Ended { how, code, signal, again_in, reason }, process.last_line()).await;
    }

    async fn report_unstartable(&self, error: &std::io::Error) {
        let how = format!("cannot be started ({error})");
        let reason = "the program cannot be run";
        self.report(0, NodeEvent::Ended { how, code: None, signal: None, again_in: None, reason }, "").await;
    }
}

/// Waits until the node at this address says that it is ready.
pub async fn ready(http: SocketAddr, time_max: Duration) -> Outcome {
    let server: Server = http.to_string().parse().expect("a socket address is a server's address");
    let started = Instant::now();
    let mut client = Client::new(vec![server]);
    loop {
        let probe = Request::new(Method::GET, "/readyz").within(PROBE_TIME_MAX);
        if client.fetch(probe).await.is_ok() {
            return Ok(());
        }
        let waited = started.elapsed();
        if waited > time_max {
            return Err(not_ready(time_max));
        }
        // Often at first, since a fresh node needs only milliseconds.
        let pause = if waited < Duration::from_millis(500) { 2 } else { 20 };
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
}
