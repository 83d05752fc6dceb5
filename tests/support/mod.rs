//! Real processes of the built binary for integration tests: start, signal, restart, clean up.
//!
//! One cluster runs at a time within a test binary (a machine with two cores should not judge two at once); each node
//! logs to a file beside its data, whose end is printed when the test fails.

// Each test binary uses its own part of this.
#![allow(dead_code)]

pub mod http;
pub mod records;

use http::Http;
use parking_lot::{Mutex, MutexGuard};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Longer than anything here should take, on a machine that does much else.
pub const LONG: Duration = Duration::from_secs(60);

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A port that nobody listens on: from below the range that the kernel takes outgoing ports from, so that it is still
/// free when a node comes back to it.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = std::process::id().wrapping_mul(97).wrapping_add(NEXT.fetch_add(1, Relaxed));
        let port = 10_000 + (number % 20_000) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// How one node is started.
#[derive(Clone)]
pub struct NodeSpec {
    pub id: u64,
    pub data_dir: PathBuf,
    pub http: String,
    pub kafka: String,
    pub peer: String,
    pub peers: String,
    pub extra: Vec<String>,
    pub log: PathBuf,
}

impl NodeSpec {
    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_balsa"));
        command
            .arg("serve")
            .args(["--node-id", &self.id.to_string(), "--data-dir"])
            .arg(&self.data_dir)
            .args(["--http", &self.http, "--kafka", &self.kafka, "--peer", &self.peer, "--peers", &self.peers])
            .args(&self.extra)
            .stdin(Stdio::null());
        // Settings of whoever runs the tests must not reach the nodes.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("BALSA_")) {
            command.env_remove(name);
        }
        command
    }

    fn spawn(&self) -> Child {
        let log = File::options().create(true).append(true).open(&self.log).expect("the log file opens");
        let out = log.try_clone().expect("the log file opens twice");
        self.command().stdout(out).stderr(log).spawn().expect("the binary starts")
    }

    /// Starts a process that is expected to end by itself, and waits for that: its exit status and what it wrote.
    pub fn run_to_end(&self, most: Duration) -> (ExitStatus, String) {
        let output = self.log.with_extension("end");
        let file = File::create(&output).expect("the output file opens");
        let out = file.try_clone().expect("the output file opens twice");
        let mut child = self.command().stdout(out).stderr(file).spawn().expect("the binary starts");
        let status = wait_for_end(&mut child, most);
        let text = std::fs::read_to_string(&output).expect("the output is text");
        match status {
            Some(status) => (status, text),
            None => {
                let _ = child.kill();
                let _ = child.wait();
                panic!("node {} did not end within {most:?}:\n{text}", self.id);
            }
        }
    }
}

fn wait_for_end(child: &mut Child, most: Duration) -> Option<ExitStatus> {
    let begin = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            return Some(status);
        }
        if begin.elapsed() > most {
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A cluster of real processes on loopback.
pub struct Cluster {
    pub specs: BTreeMap<u64, NodeSpec>,
    children: BTreeMap<u64, Child>,
    /// None for a cluster beside another one, in that one's directory and turn.
    directory: Option<TempDir>,
    _turn: Option<MutexGuard<'static, ()>>,
}

impl Cluster {
    /// Starts `nodes` nodes and waits until all are ready.
    pub fn start(nodes: u64) -> Cluster {
        Cluster::start_with(nodes, &[])
    }

    /// The same, with further arguments for each node.
    pub fn start_with(nodes: u64, extra: &[&str]) -> Cluster {
        let mut cluster = Cluster::prepare(nodes, extra);
        for id in 1..=nodes {
            cluster.spawn(id);
        }
        for id in 1..=nodes {
            cluster.wait_ready(id);
        }
        cluster
    }

    /// Chooses ports and directories, and starts nothing.
    pub fn prepare(nodes: u64, extra: &[&str]) -> Cluster {
        let turn = ONE_AT_A_TIME.lock();
        let directory = TempDir::new().expect("a temporary directory can be made");
        let ports: Vec<[u16; 3]> = (0..nodes).map(|_| [free_port(), free_port(), free_port()]).collect();
        let peers: Vec<String> = (1..).zip(&ports).map(|(id, ports)| format!("{id}=127.0.0.1:{}", ports[2])).collect();
        let specs = (1..).zip(&ports).map(|(id, ports)| {
            let at = |port: u16| format!("127.0.0.1:{port}");
            let spec = NodeSpec {
                id,
                data_dir: directory.path().join(format!("node-{id}")),
                http: at(ports[0]),
                kafka: at(ports[1]),
                peer: at(ports[2]),
                peers: peers.join(","),
                extra: extra.iter().map(|&argument| argument.to_owned()).collect(),
                log: directory.path().join(format!("node-{id}.log")),
            };
            (id, spec)
        });
        Cluster { specs: specs.collect(), children: BTreeMap::new(), directory: Some(directory), _turn: Some(turn) }
    }

    /// A second cluster, in the turn of this one. Starts nothing.
    pub fn beside(&self, specs: Vec<NodeSpec>) -> Cluster {
        let specs = specs.into_iter().map(|spec| (spec.id, spec)).collect();
        Cluster { specs, children: BTreeMap::new(), directory: None, _turn: None }
    }

    pub fn directory(&self) -> &Path {
        self.directory.as_ref().expect("only the first cluster of a test is asked").path()
    }

    pub fn ids(&self) -> Vec<u64> {
        self.specs.keys().copied().collect()
    }

    pub fn spec(&self, id: u64) -> &NodeSpec {
        &self.specs[&id]
    }

    pub fn address(&self, id: u64) -> String {
        self.specs[&id].http.clone()
    }

    /// A new client of one node.
    pub fn http(&self, id: u64) -> Http {
        Http::new(&self.specs[&id].http)
    }

    /// Starts a node that does not run. Does not wait until it is ready.
    pub fn spawn(&mut self, id: u64) {
        let child = self.specs[&id].spawn();
        assert!(self.children.insert(id, child).is_none(), "node {id} runs already");
    }

    /// Waits until `/readyz` is 200.
    pub fn wait_ready(&mut self, id: u64) {
        let begin = Instant::now();
        let mut http = self.http(id);
        let mut last = String::new();
        while begin.elapsed() < LONG {
            let child = self.children.get_mut(&id).expect("the node was started");
            if let Some(status) = child.try_wait().expect("a child can be waited for") {
                panic!("node {id} ended with {status} before it was ready");
            }
            match http.get("/readyz?verbose") {
                Ok(reply) if reply.status == 200 => return,
                Ok(reply) => last = reply.text(),
                Err(error) => last = error.to_string(),
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("node {id} is not ready after {LONG:?}: {last}");
    }

    pub fn process_id(&self, id: u64) -> u32 {
        self.children[&id].id()
    }

    pub fn is_running(&self, id: u64) -> bool {
        self.children.contains_key(&id)
    }

    fn signal(&self, id: u64, signal: Signal) {
        let pid = Pid::from_child(&self.children[&id]);
        kill_process(pid, signal).expect("a child that was not waited for can be signalled");
    }

    /// kill -9, and the end of it.
    pub fn kill(&mut self, id: u64) {
        let mut child = self.children.remove(&id).expect("the node runs");
        child.kill().expect("a child can be killed");
        child.wait().expect("a child can be waited for");
    }

    /// SIGSTOP.
    pub fn pause(&self, id: u64) {
        self.signal(id, Signal::STOP);
    }

    /// SIGCONT.
    pub fn resume(&self, id: u64) {
        self.signal(id, Signal::CONT);
    }

    /// SIGTERM: how it ended, and after what time.
    pub fn terminate(&mut self, id: u64) -> (ExitStatus, Duration) {
        let begin = Instant::now();
        self.signal(id, Signal::TERM);
        let mut child = self.children.remove(&id).expect("the node runs");
        match wait_for_end(&mut child, LONG) {
            Some(status) => (status, begin.elapsed()),
            None => {
                let _ = child.kill();
                let _ = child.wait();
                panic!("node {id} still runs {LONG:?} after SIGTERM");
            }
        }
    }

    pub fn restart(&mut self, id: u64) {
        self.spawn(id);
        self.wait_ready(id);
    }

    /// What a node has logged, over all its lives.
    pub fn log(&self, id: u64) -> String {
        std::fs::read_to_string(&self.specs[&id].log).unwrap_or_default()
    }

    /// Memory of a node's process, in bytes.
    pub fn resident_bytes(&self, id: u64) -> u64 {
        let path = format!("/proc/{}/status", self.process_id(id));
        let status = std::fs::read_to_string(path).expect("a running process has a status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the status names the memory");
        let kilobytes = line.trim().trim_end_matches(" kB").parse::<u64>();
        kilobytes.expect("the memory is a number of kB") * 1024
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in self.children.values_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            for id in self.ids() {
                let log = self.log(id);
                let lines: Vec<&str> = log.lines().collect();
                eprintln!("--- end of the log of node {id}\n{}", lines[lines.len().saturating_sub(40)..].join("\n"));
            }
            if let Some(directory) = &mut self.directory
                && std::env::var_os("KEEP_TEST_DIRECTORY").is_some()
            {
                directory.disable_cleanup(true);
                eprintln!("--- kept {}", directory.path().display());
            }
        }
    }
}
