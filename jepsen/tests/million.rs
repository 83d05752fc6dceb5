//! How long a large history takes. Not run by default: `cargo test --release -p jepsen --test million -- --ignored
//! --nocapture` prints the figures; a million operations must take less than a minute.

mod simulated;

use jepsen::check::{Options, check};
use jepsen::history::History;
use simulated::Plan;
use std::io::Write;
use std::time::{Duration, Instant};

fn million(lines: Vec<jepsen::history::Line>) -> Duration {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.edn");
    let mut file = std::io::BufWriter::new(std::fs::File::create(&path).unwrap());
    for line in &lines {
        writeln!(file, "{line}").unwrap();
    }
    file.flush().unwrap();
    drop((lines, file));
    let began = Instant::now();
    let history = History::read(&path).unwrap();
    let read = began.elapsed();
    let verdict = check(&[&history], Options::default()).unwrap();
    let all = began.elapsed();
    assert!(verdict.clean, "{}", jepsen::report::text::verdict(&verdict));
    let bytes = std::fs::metadata(&path).unwrap().len();
    println!(
        "{} operations, {} messages delivered, {} MB: read {read:?}, checked {:?}, together {all:?}",
        verdict.counts.operations,
        verdict.counts.messages_delivered,
        bytes / 1_000_000,
        all - read
    );
    assert!(verdict.counts.operations >= 1_000_000);
    all
}

#[test]
#[ignore = "it measures"]
fn a_million_operations_take_less_than_a_minute() {
    let plan = Plan { clients: 10, keys: 20, operations: 1_000_000, crashes: 1 };
    assert!(million(simulated::history(1, plan)) < Duration::from_secs(60));
}

#[test]
#[ignore = "it measures"]
fn so_do_a_million_of_a_log_end() {
    assert!(million(simulated::log_end(1, 10, 100, 1_000_000)) < Duration::from_secs(60));
}
