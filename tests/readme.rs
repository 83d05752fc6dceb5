//! The README word by word: its commands run against a cluster of real processes, in the order in which they stand.

mod dev_cluster;

use dev_cluster::*;
use std::path::Path;
use std::process::Command;

const README: &str = include_str!("../README.md");

/// The blocks that a shell can run.
fn blocks() -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = README.lines();
    while let Some(line) = lines.next() {
        if line == "```sh" {
            let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            blocks.push(block.join("\n"));
        }
    }
    blocks
}

/// The block as it is run here: other ports, this build, the processes of this cluster, fewer trades.
fn adapted(block: &str, cluster: &DevCluster) -> String {
    let directory = Path::new(BALSA).parent().unwrap().display().to_string();
    let mut text = block.replace("$PWD/target/release", &directory).replace("1000000", "20000");
    for node in 1..=3u16 {
        text = text.replace(&format!("127.0.0.1:{}", 8081 + node), &format!("127.0.0.1:{}", cluster.port + node - 1));
    }
    text = text.replace("kill -9 12345", &format!("kill -9 {}", cluster.pid(2)));
    text.replace("kill -9 12346", &format!("kill -9 {}", cluster.pid(3))).replace("sleep 1\nkill -9 12347", "")
}

#[test]
fn the_commands_of_the_readme_work() {
    let mut cluster = DevCluster::start(&["--nodes", "3", "--ephemeral"]);
    let mut blocks = blocks().into_iter();
    assert_eq!(blocks.next().unwrap(), "cargo run --release -- dev --nodes 3");
    assert_eq!(blocks.next().unwrap(), "cargo test --workspace");
    let mut all_output = String::new();
    for block in blocks {
        let script = format!("set -eu\n{}", adapted(&block, &cluster));
        let path = format!("{}:{}", Path::new(BALSA).parent().unwrap().display(), std::env::var("PATH").unwrap());
        let mut shell = Command::new("bash");
        shell.args(["-o", "pipefail", "-c", &script]).env("BALSA_SERVER", cluster.server(1)).env("PATH", path);
        let output = shell.output().unwrap();
        let text = stdout(&output);
        assert!(output.status.success(), "{script}\n{text}\n{}", stderr(&output));
        assert!(!text.contains("/problems/"), "{script}\n{text}");
        for (number, node) in [("12345", 2), ("12346", 3)] {
            if block.contains(number) {
                cluster.event("node_ready", node);
            }
        }
        all_output += &text;
    }
    for expected in ["hello, world", "still here", "bob", "20,000 trades: none lost", "cluster "] {
        assert!(all_output.contains(expected), "{expected} is not in\n{all_output}");
    }
}

#[test]
fn what_the_readme_links_to_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let links: Vec<&str> = README.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()).collect();
    assert!(links.len() >= 3);
    for link in links.into_iter().filter(|link| !link.starts_with("http")) {
        assert!(root.join(link).exists(), "{link}");
    }
}

#[test]
fn the_map_of_the_readme_is_the_house() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let map = README.split("## How it is built").nth(1).unwrap().split("```").nth(1).unwrap();
    let named: Vec<&str> = map.split_whitespace().filter_map(|word| word.strip_suffix('/')).collect();
    for name in &named {
        assert!(root.join(name).is_dir(), "src/{name} is in the map, and not there");
    }
    for entry in std::fs::read_dir(&root).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_dir()) {
        let name = entry.file_name().into_string().unwrap();
        assert!(named.contains(&name.as_str()), "src/{name} is not in the map");
    }
}
