//! The command line against real processes: clusters that are killed, clients that are piped, errors that scripts see.

mod dev_cluster;

use dev_cluster::*;
use rustix::process::Signal;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

fn numbers(count: u32) -> String {
    (0..count).map(|number| format!("record {number}\n")).collect()
}

fn sorted_lines(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn what_is_produced_is_consumed() {
    let cluster = DevCluster::start(&["--nodes", "3", "--ephemeral"]);
    assert!(cluster.balsa(&["topic", "create", "t", "--partitions", "3"]).status.success());
    let input = numbers(5000);
    let produced = cluster.balsa_with_input(&["produce", "t", "-o", "json"], &input);
    assert!(stdout(&produced).starts_with("{\"records\":5000,\"refused\":0,"), "{}", stdout(&produced));
    for server in [cluster.server(1), cluster.server(2), cluster.server(3)] {
        let consumed = cluster.balsa(&["consume", "t", "--server", &server]);
        assert_eq!(sorted_lines(&stdout(&consumed)), sorted_lines(&input));
        assert_eq!(stderr(&consumed), "");
    }
    let keyed = cluster.balsa_with_input(&["produce", "t", "--key-separator", ":", "-p", "1", "-H", "a=b"], "k:v:w\n");
    assert!(keyed.status.success(), "{}", stderr(&keyed));
    let last = cluster.balsa(&["consume", "t", "-p", "1", "--from", "tail:1", "-o", "json"]);
    let record: serde_json::Value = serde_json::from_slice(&last.stdout).unwrap();
    assert_eq!((&record["key"], &record["value"]), (&"k".into(), &"v:w".into()));
    assert_eq!(record["headers"], serde_json::json!([["a", "b"]]));
    let with_key = cluster.balsa(&["consume", "t", "-p", "1", "--from", "tail:1", "--key-separator", "="]);
    assert_eq!(stdout(&with_key), "k=v:w\n");
    assert_eq!(stdout(&cluster.balsa(&["consume", "t", "-n", "7"])).lines().count(), 7);
}

#[test]
fn values_keep_their_bytes() {
    let cluster = DevCluster::start(&["--ephemeral"]);
    let values = [
        "",
        "{\"b\": 1.0, \"a\": 123456789012345678901234567890}",
        "\"quoted\"",
        "tab\tend\\",
        "ünïcode ✓",
        "null",
        "7",
    ];
    let input = values.join("\n");
    assert!(cluster.balsa_with_input(&["produce", "v", "-p", "0"], &input).status.success());
    assert_eq!(stdout(&cluster.balsa(&["consume", "v", "-p", "0"])), format!("{input}\n"));
}

#[test]
fn topics_and_the_cluster_are_shown() {
    let cluster = DevCluster::start(&["--nodes", "3", "--ephemeral"]);
    assert_eq!(stdout(&cluster.balsa(&["topic", "list"])), "no topics\n");
    let created = cluster.balsa(&["topic", "create", "a", "-p", "2", "-c", "max.message.bytes=1000", "-o", "json"]);
    let topic: serde_json::Value = serde_json::from_slice(&created.stdout).unwrap();
    assert_eq!(topic["partitions"].as_array().unwrap().len(), 2);
    assert_eq!(topic["config"]["max.message.bytes"], "1000");
    assert_fails(&cluster.balsa(&["topic", "create", "a"]), 5, "exists");
    assert!(cluster.balsa(&["topic", "create", "a", "--if-not-exists"]).status.success());
    assert!(stdout(&cluster.balsa(&["topic", "list"])).contains("a      2           3"));
    assert!(
        stdout(&cluster.balsa(&["topic", "alter", "a", "--partitions", "4", "-c", "max.message.bytes="]))
            .contains("\n3 ")
    );
    assert!(stdout(&cluster.balsa(&["topic", "describe", "a"])).contains("high watermark"));
    assert_fails(&cluster.balsa(&["topic", "delete", "a"]), 2, "--yes");
    assert!(cluster.balsa(&["topic", "delete", "a", "--yes"]).status.success());
    assert_fails(&cluster.balsa(&["topic", "describe", "a"]), 3, "a");
    assert!(cluster.balsa(&["topic", "delete", "a", "--yes", "--if-exists"]).status.success());
    let status = stdout(&cluster.balsa(&["cluster", "status"]));
    assert_eq!(status.matches(" alive ").count(), 3, "{status}");
}

#[test]
fn errors_are_a_line_and_an_exit_code() {
    let cluster = DevCluster::start(&["--ephemeral", "--set", "auto_create_topics=false"]);
    assert_fails(&cluster.balsa(&["consume", "nope"]), 3, "nope");
    assert_fails(&cluster.balsa_with_input(&["produce", "nope"], "x\n"), 3, "nope");
    assert!(cluster.balsa(&["topic", "create", "t"]).status.success());
    assert_fails(&cluster.balsa(&["consume", "t", "--from", "5"]), 2, "--partition");
    assert_fails(&cluster.balsa(&["consume", "t", "-p", "0", "--from", "5"]), 2, "5");
    let refused =
        cluster.balsa_with_input(&["produce", "t", "--json"], "{\"value\":1}\n{\"valeu\":2}\n{\"value\":3}\n");
    assert_fails(&refused, 2, "line 2");
    let skipped =
        cluster.balsa_with_input(&["produce", "t", "--json", "--skip-errors"], "{\"value\":1}\nx\n{\"value\":3}\n");
    assert_fails(&skipped, 1, "1 lines were refused");
    assert_eq!(stdout(&cluster.balsa(&["consume", "t"])).lines().count(), 3);
    let nobody = Command::new(BALSA).args(["topic", "list", "--server", "http://127.0.0.1:1"]).output().unwrap();
    assert_fails(&nobody, 4, "127.0.0.1:1");
    // A server that does not answer is passed over.
    let servers = format!("http://127.0.0.1:1,{}", cluster.server(1));
    assert!(cluster.balsa(&["topic", "list", "--server", &servers]).status.success());
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let cluster = DevCluster::start(&["--ephemeral"]);
    assert!(cluster.balsa_with_input(&["produce", "t"], &numbers(50_000)).status.success());
    for arguments in [vec!["consume", "t", "--server", &cluster.server(1)], vec!["bench", "trades", "--count", "50000"]]
    {
        let mut child =
            Command::new(BALSA).args(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut first = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""), "{arguments:?}");
        assert!(!first.is_empty());
    }
}

/// A client command whose output is read while it runs.
struct Running(Child);

impl Running {
    fn start(arguments: &[&str], servers: &str) -> Running {
        let mut command = Command::new(BALSA);
        command.args(arguments).env("BALSA_SERVER", servers).stdin(Stdio::piped()).stdout(Stdio::piped());
        Running(command.stderr(Stdio::null()).spawn().unwrap())
    }

    fn lines(&mut self) -> impl Iterator<Item = String> + use<> {
        BufReader::new(self.0.stdout.take().unwrap()).lines().map(Result::unwrap)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn lines_are_written_while_more_are_typed() {
    let cluster = DevCluster::start(&["--ephemeral"]);
    assert!(cluster.balsa(&["topic", "create", "t"]).status.success());
    let mut producer = Running::start(&["produce", "t"], &cluster.server(1));
    let mut consumer = Running::start(&["consume", "t", "--follow"], &cluster.server(1));
    let mut lines = consumer.lines();
    for line in ["one", "two"] {
        writeln!(producer.0.stdin.as_mut().unwrap(), "{line}").unwrap();
        assert_eq!(lines.next().unwrap(), line);
    }
}

#[test]
fn following_goes_on_at_another_server() {
    let mut cluster = DevCluster::start(&["--nodes", "3", "--ephemeral", "--no-restart"]);
    assert!(cluster.balsa(&["topic", "create", "t"]).status.success());
    let servers = format!("{},{}", cluster.server(2), cluster.server(3));
    let mut consumer = Running::start(&["consume", "t", "--follow"], &servers);
    let mut lines = consumer.lines();
    assert!(cluster.balsa_with_input(&["produce", "t"], "before\n").status.success());
    assert_eq!(lines.next().unwrap(), "before");
    signal(cluster.pid(2), Signal::KILL);
    let ended = cluster.event("node_ended", 2);
    assert_eq!((&ended["signal"], &ended["reason"]), (&9.into(), &"--no-restart was given".into()));
    assert!(cluster.balsa_with_input(&["produce", "t"], "after\n").status.success());
    assert_eq!(lines.next().unwrap(), "after");
}

#[test]
fn a_killed_node_comes_back_with_its_records() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data").display().to_string();
    let mut cluster = DevCluster::start(&["--nodes", "3", "--data-dir", &data]);
    assert!(cluster.balsa_with_input(&["produce", "t"], &numbers(100)).status.success());
    let before = cluster.pid(2);
    cluster.kill_and_await(2);
    assert_ne!(cluster.pid(2), before);
    let consumed = cluster.balsa(&["consume", "t", "--server", &cluster.server(2)]);
    assert_eq!(stdout(&consumed), numbers(100));

    let pids = [1, 2, 3].map(|node| cluster.pid(node));
    let (code, time) = cluster.stop();
    assert_eq!(code, Some(0));
    assert!(time < Duration::from_secs(6), "{time:?}");
    assert!(!pids.into_iter().any(is_alive));

    let cluster = DevCluster::start(&["--nodes", "3", "--data-dir", &data]);
    assert_eq!(stdout(&cluster.balsa(&["consume", "t"])), numbers(100));
    drop(cluster);
    let other = dev_command(free_port(), &["--data-dir", &data]).output().unwrap();
    assert_fails(&other, 2, "was made with --nodes 3");
}

#[test]
fn nodes_die_with_their_supervisor() {
    let cluster = DevCluster::start(&["--nodes", "3", "--ephemeral"]);
    let home = cluster.ready["data_dir"].as_str().unwrap().to_owned();
    let pids = [1, 2, 3].map(|node| cluster.pid(node));
    signal(cluster.supervisor(), Signal::KILL);
    wait_until("all nodes end", || !pids.into_iter().any(is_alive));
    std::fs::remove_dir_all(home).unwrap();
}

#[test]
fn a_temporary_directory_is_removed() {
    for nodes in ["1", "2"] {
        let mut cluster = DevCluster::start(&["--nodes", nodes, "--ephemeral"]);
        let home = cluster.ready["data_dir"].as_str().unwrap().to_owned();
        assert!(std::fs::exists(&home).unwrap());
        assert_eq!(cluster.stop().0, Some(0));
        assert!(!std::fs::exists(&home).unwrap());
    }
}

#[test]
fn a_port_in_use_is_named_before_anything_is_started() {
    let (port, directory) = (free_port(), tempfile::tempdir().unwrap());
    let taken = TcpListener::bind(("127.0.0.1", port + 1)).unwrap();
    let data = directory.path().join("data");
    let output = dev_command(port, &["--nodes", "3", "--data-dir", data.to_str().unwrap()]).output().unwrap();
    assert_fails(&output, 1, &taken.local_addr().unwrap().to_string());
    assert_eq!(stderr(&output).lines().count(), 1);
    assert!(!data.exists());
}

fn serve_command(port: u16, data: &str) -> Command {
    let mut command = Command::new(BALSA);
    command.args(["serve", "--node-id", "1", "--data-dir", data, "--log-level", "error", "--kafka", ""]);
    command.args(["--http", &format!("127.0.0.1:{port}"), "--peer", &format!("127.0.0.1:{}", port + 10)]);
    command.args(["--peers", &format!("1=127.0.0.1:{}", port + 10)]);
    command
}

#[test]
fn a_node_is_served_stopped_and_served_again() {
    let (port, directory) = (free_port(), tempfile::tempdir().unwrap());
    let data = directory.path().join("data").display().to_string();
    let server = format!("http://127.0.0.1:{port}");
    for round in 1..=2 {
        let mut node = serve_command(port, &data).spawn().unwrap();
        let ask =
            || Command::new(BALSA).args(["topic", "create", "t", "--if-not-exists", "-s", &server]).output().unwrap();
        wait_until("the node takes requests", || ask().status.success());
        let mut produce = Command::new(BALSA);
        produce.args(["produce", "t", "-s", &server]);
        assert!(run_with_input(produce, "x\n").status.success());
        let second = serve_command(free_port(), &data).output().unwrap();
        assert_fails(&second, 1, &data);
        let consumed = Command::new(BALSA).args(["consume", "t", "-s", &server]).output().unwrap();
        assert_eq!(stdout(&consumed), "x\n".repeat(round));
        let begun = Instant::now();
        signal(node.id() as i32, Signal::TERM);
        assert_eq!(node.wait().unwrap().code(), Some(0));
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }
}

#[test]
fn a_wrong_configuration_is_refused_in_a_line() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("balsa.toml");
    std::fs::write(&file, "[http]\nlissten = \"127.0.0.1:1\"\n").unwrap();
    let output = Command::new(BALSA).args(["serve", "--config", file.to_str().unwrap()]).output().unwrap();
    assert_fails(&output, 2, "there is no key http.lissten (did you mean http.listen?)");
    let output = Command::new(BALSA).args(["serve", "--http", "0.0.0.0:0"]).output().unwrap();
    assert_fails(&output, 2, "allow_insecure_listener");
    let output = Command::new(BALSA).args(["serve"]).env("BALSA_RAFT_HEARTBEAT", "1").output().unwrap();
    assert_fails(&output, 2, "BALSA_RAFT_HEARTBEAT");
    let output = Command::new(BALSA).args(["serve", "--log-level", "balsa=loud"]).output().unwrap();
    assert_fails(&output, 2, "log.level");
    let printed = Command::new(BALSA).args(["serve", "--print-config", "--rack", "b"]).output().unwrap();
    assert!(stdout(&printed).contains("rack = \"b\""));
}
