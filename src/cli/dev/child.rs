//! One node as a child process: starting it, passing on what it says, ending it.

use super::plan::{NodePlan, RunningNode};
use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStderr, Command};

/// From SIGTERM to SIGKILL: what a node promises to need at most.
const STOP_TIME_MAX: Duration = Duration::from_secs(5);
/// For the rest of the log of a node that has ended.
const REST_OF_LOG_TIME_MAX: Duration = Duration::from_millis(200);

/// How to start one node.
pub struct ChildCommand {
    pub program: PathBuf,
    pub arguments: Vec<String>,
    pub plan: NodePlan,
    pub home: PathBuf,
}

/// A node that was started.
pub struct NodeProcess {
    child: Child,
    pub pid: u32,
    log: Log,
}

/// What a node says on standard error, on its way to ours.
struct Log {
    node_id: u16,
    pipe: BufReader<ChildStderr>,
    /// Of the line that is being read; kept here, so that reading can be given up and taken up again.
    line: Vec<u8>,
    /// The last whole line, for telling why the node ended.
    last: String,
}

impl ChildCommand {
    /// Starts the process, in a process group of its own: a Ctrl-C in the terminal is for the supervisor, which then
    /// ends the nodes in order.
    pub fn start(&self) -> io::Result<NodeProcess> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.process_group(0).kill_on_drop(true).spawn()?;
        let pid = child.id().expect("a child that was not waited for has an id");
        let pipe = child.stderr.take().expect("standard error was asked to be a pipe");
        let log = Log { node_id: self.plan.node_id, pipe: BufReader::new(pipe), line: Vec::new(), last: String::new() };
        Ok(NodeProcess { child, pid, log })
    }

    /// This node, running as process `pid`.
    pub fn running(&self, pid: u32) -> RunningNode {
        let data_dir = self.home.join(format!("node-{}", self.plan.node_id));
        RunningNode { plan: self.plan.clone(), pid, data_dir }
    }
}

impl NodeProcess {
    /// Passes on the node's log until it ends. May be dropped and called again.
    pub async fn ended(&mut self) -> io::Result<ExitStatus> {
        let status = tokio::select! {
            status = self.child.wait() => status,
            () = self.log.pass_on() => self.child.wait().await,
        };
        // What it said last is still in the pipe, and says most.
        let _ = tokio::time::timeout(REST_OF_LOG_TIME_MAX, self.log.pass_on()).await;
        status
    }

    /// Asks the node to end, and ends it after five seconds.
    pub async fn stop(&mut self) {
        if let Some(pid) = i32::try_from(self.pid).ok().and_then(rustix::process::Pid::from_raw) {
            // It may have ended by itself just now.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        if tokio::time::timeout(STOP_TIME_MAX, self.ended()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }

    /// The last line of its log.
    pub fn last_line(&self) -> &str {
        &self.log.last
    }
}

impl Log {
    async fn pass_on(&mut self) {
        while let Ok(1..) = self.pipe.read_until(b'\n', &mut self.line).await {
            self.last = String::from_utf8_lossy(&self.line).trim_end().to_owned();
            self.line.clear();
            // Where nobody reads our standard error, nobody misses the line.
            let _ = writeln!(io::stderr(), "node-{} | {}", self.node_id, self.last);
        }
    }
}

/// How a process ended, in words.
pub fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(9)) => "was killed (signal 9)".to_owned(),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}
