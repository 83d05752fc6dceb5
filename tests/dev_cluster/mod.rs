//! A cluster of real processes for tests: `balsa dev` on free ports, ended with the test.

#![allow(dead_code)] // Each test binary uses a part of this.

use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

pub const BALSA: &str = env!("CARGO_BIN_EXE_balsa");
const EVENT_TIME_MAX: Duration = Duration::from_secs(60);

pub struct DevCluster {
    child: Child,
    events: Receiver<Value>,
    pub ready: Value,
    pub port: u16,
    pids: Vec<i32>,
}

/// The first of three free ports, for HTTP; the peer ports are ten above.
pub fn free_port() -> u16 {
    static NEXT: Mutex<u16> = Mutex::new(0);
    let mut next = NEXT.lock().unwrap();
    // Several test binaries may run at once: each begins somewhere else.
    let spread = u16::try_from(std::process::id() % 400).unwrap() * 25;
    loop {
        let port = 12_000 + (spread + *next) % 10_000;
        *next += 25;
        let all = (0..3).flat_map(|node| [port + node, port + 10 + node]);
        if all.map(|port| TcpListener::bind(("127.0.0.1", port))).all(|bound| bound.is_ok()) {
            return port;
        }
    }
}

/// `balsa dev` with these flags, on ports from `port` on.
pub fn dev_command(port: u16, flags: &[&str]) -> Command {
    let mut command = Command::new(BALSA);
    command.args(["dev", "-o", "json", "--http-port", &port.to_string(), "--peer-port", &(port + 10).to_string()]);
    command.args(["--kafka-port", &(port + 20).to_string()]).args(flags).env_remove("BALSA_SERVER");
    command
}

impl DevCluster {
    pub fn start(flags: &[&str]) -> DevCluster {
        DevCluster::start_at(free_port(), flags)
    }

    pub fn start_at(port: u16, flags: &[&str]) -> DevCluster {
        let mut child = dev_command(port, flags).stdout(Stdio::piped()).spawn().unwrap();
        let events = follow(child.stdout.take().unwrap());
        let ready = events.recv_timeout(EVENT_TIME_MAX).expect("the cluster becomes ready");
        assert_eq!(ready["event"], "ready");
        let pids = ready["nodes"].as_array().unwrap().iter().map(|node| node["pid"].as_i64().unwrap() as i32).collect();
        DevCluster { child, events, ready, port, pids }
    }

    pub fn server(&self, node_id: u16) -> String {
        format!("http://127.0.0.1:{}", self.port + node_id - 1)
    }

    /// The process of a node, as of the events that were read.
    pub fn pid(&self, node_id: u16) -> i32 {
        self.pids[usize::from(node_id) - 1]
    }

    pub fn supervisor(&self) -> i32 {
        self.child.id() as i32
    }

    /// The next event of this kind for this node.
    pub fn event(&mut self, kind: &str, node_id: u16) -> Value {
        let deadline = Instant::now() + EVENT_TIME_MAX;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let event = self.events.recv_timeout(left).unwrap_or_else(|_| panic!("no event {kind} of node {node_id}"));
            if event["event"] == "node_started" {
                let position = event["node_id"].as_u64().unwrap() as usize - 1;
                self.pids[position] = event["pid"].as_i64().unwrap() as i32;
            }
            if event["event"] == kind && event["node_id"] == node_id {
                return event;
            }
        }
    }

    /// Kills a node and waits until it is back.
    pub fn kill_and_await(&mut self, node_id: u16) {
        signal(self.pid(node_id), rustix::process::Signal::KILL);
        self.event("node_ready", node_id);
    }

    /// Asks all to end; gives the exit code and how long it took.
    pub fn stop(&mut self) -> (Option<i32>, Duration) {
        let begun = Instant::now();
        signal(self.supervisor(), rustix::process::Signal::TERM);
        let status = self.child.wait().unwrap();
        (status.code(), begun.elapsed())
    }

    /// Runs a client command against the first node.
    pub fn balsa(&self, arguments: &[&str]) -> Output {
        self.balsa_with_input(arguments, "")
    }

    pub fn balsa_with_input(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = Command::new(BALSA);
        command.args(arguments).env("BALSA_SERVER", self.server(1));
        run_with_input(command, input)
    }
}

impl Drop for DevCluster {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.stop();
        }
    }
}

fn follow(stdout: ChildStdout) -> Receiver<Value> {
    let (sender, events) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let event = serde_json::from_str(&line).expect("each line is JSON");
            if sender.send(event).is_err() {
                return;
            }
        }
    });
    events
}

pub fn run_with_input(mut command: Command, input: &str) -> Output {
    use std::io::Write;
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writer = std::thread::spawn(move || {
        // It may end without reading all.
        let _ = stdin.write_all(input.as_bytes());
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

pub fn signal(pid: i32, signal: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), signal).unwrap();
}

/// Whether a process runs (one that ended and was not waited for does not).
pub fn is_alive(pid: i32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    !stat.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('Z'))
}

pub fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + EVENT_TIME_MAX;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Asserts an exit code and an error of one line that contains `part`.
pub fn assert_fails(output: &Output, code: i32, part: &str) {
    let error = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{error}");
    let last = error.lines().next_back().unwrap_or_default();
    assert!(last.starts_with("balsa: ") && last.contains(part), "{error}");
}
