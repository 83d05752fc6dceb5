//! Each rule sees what it is there for, and lets its neighbour pass: a rule that cannot fail guards nothing.

use crate::rules;
use crate::source::Source;

/// What `rule` finds in `text` as the file of the module `module`.
fn of(rule: fn(&Source) -> Vec<String>, module: &str, text: &str) -> usize {
    let path = format!("src/{}.rs", module.replace("::", "/"));
    let module: Vec<&str> = module.split("::").collect();
    rule(&Source::parse(&path, &module, false, text)).len()
}

#[test]
fn floors_are_seen() {
    let of = |module, text| of(rules::floors, module, text);
    assert_eq!(of("storage::segment", "use crate::raft::Group;"), 1);
    assert_eq!(of("storage::segment", "use crate::transport::Lane;"), 1, "a sibling");
    assert_eq!(of("record", "use crate::clock::Clock;"), 1, "a sibling on floor 0");
    assert_eq!(of("storage", "use crate::{raft::{Group, http}, types::Offset, broker};"), 2);
    assert_eq!(of("storage", "fn f() { let x = crate::node::run(); }"), 1);
    assert_eq!(of("storage", "fn f() { println!(\"{}\", crate::node::NAME) }"), 1, "inside a macro");
    assert_eq!(of("storage", "use super::http::App;"), 1);
    assert_eq!(of("storage::disk::read", "use super::super::super::http::App;"), 1);
    assert_eq!(of("storage", "mod inner { use super::super::http::App; }"), 1);
    assert_eq!(of("http::fetch", "use crate::storage::StoredBatches;"), 1, "a front that sees the storage");
    assert_eq!(of("fresh", ""), 1, "a module without a floor");
    assert_eq!(
        of("storage::disk::read", "use super::super::segment; use crate::storage::log; use crate::types::Term;"),
        0
    );
    assert_eq!(of("storage", "mod inner { use super::http::App; }"), 0, "its own module of that name");
    assert_eq!(of("record", "use crate::types::Offset;"), 0);
    assert_eq!(of("storage", "// use crate::raft;\nconst A: &str = \"crate::raft\";"), 0);
}

#[test]
fn crates_are_seen() {
    let of = |module, text| of(rules::crates, module, text);
    assert_eq!(of("partition", "use openraft::Raft;"), 1);
    assert_eq!(of("partition", "fn f(raft: openraft::Raft) {}"), 1);
    assert_eq!(of("partition", "use sled;"), 1);
    assert_eq!(of("raft::group", "use openraft::Raft;"), 0);
    assert_eq!(of("partition", "use crate::raft::openraft::Raft; let openraft = 1;"), 0);
}

#[test]
fn impure_state_is_seen() {
    let of = |module, text| of(rules::purity, module, text);
    assert_eq!(of("state::meta", "use std::time::Instant;"), 1);
    assert_eq!(of("state::meta", "use tokio::sync::Mutex;"), 1);
    assert_eq!(of("state::meta", "fn f() { std::fs::read(x); }"), 1);
    assert_eq!(of("state::meta", "use std::collections::BTreeMap;"), 0);
    assert_eq!(of("raft", "use std::time::Instant;"), 0);
}

#[test]
fn bare_spawns_are_seen() {
    let of = |module, text| of(rules::spawns, module, text);
    assert_eq!(of("raft", "fn f() { tokio::spawn(async {}); }"), 1);
    assert_eq!(of("raft", "use tokio::task::spawn_blocking;"), 1);
    assert_eq!(of("raft", "fn f() { std::thread::spawn(|| {}); }"), 1);
    assert_eq!(of("raft", "#[cfg(not(test))] fn f() { tokio::spawn(async {}); }"), 1);
    assert_eq!(of("raft", "fn f(tasks: &Tasks) { tasks.spawn(x); }"), 0);
    assert_eq!(of("raft", "#[cfg(test)] mod tests { fn f() { tokio::spawn(async {}); } }"), 0);
    assert_eq!(of("raft", "#[cfg(test)] use x::y; fn f() { tokio::spawn(async {}); }"), 1, "behind a test's import");
    assert_eq!(of("tasks", "fn f() { tokio::spawn(async {}); }"), 0);
}

#[test]
fn a_clock_of_ones_own_is_seen() {
    let of = |module, text| of(rules::ambient, module, text);
    assert_eq!(of("raft", "fn f() { std::time::SystemTime::now(); }"), 1);
    assert_eq!(of("raft", "use std::time::Instant;"), 1);
    assert_eq!(of("raft", "use std::time::{Duration, Instant};"), 1);
    assert_eq!(of("raft", "fn f() { std::fs::read(x); }"), 1);
    assert_eq!(of("raft", "fn f() { std::env::var(x); }"), 1);
    assert_eq!(of("raft", "use tokio::time::{Duration, Instant};"), 0);
    assert_eq!(of("vfs::real", "use std::fs::File;"), 0);
}

#[test]
fn unwrap_and_leftovers_are_seen() {
    let of = |text| of(rules::calls, "raft", text);
    assert_eq!(of("fn f() { x.unwrap(); }"), 1);
    assert_eq!(of("fn f() { x\n    .unwrap(); }"), 1);
    assert_eq!(of("fn f() { vec![x.unwrap()]; }"), 1);
    assert_eq!(of("fn f() { todo!() }"), 1);
    assert_eq!(of("#[cfg(test)] mod tests { fn f() { dbg!(x); } }"), 1);
    assert_eq!(of("fn f() { x.unwrap_or(1); y.expect(\"why\"); }"), 0);
    assert_eq!(of("#[tokio::test] async fn f() { x.unwrap(); }"), 0);
    assert_eq!(of("#[cfg(test)] mod tests { fn f() { x.unwrap(); } }"), 0);
    assert_eq!(of("#[test] fn f() { x.unwrap(); } fn g() { x.unwrap(); }"), 1, "behind a test");
}

#[test]
fn left_over_words_are_seen() {
    let word = ["TO", "DO"].concat();
    assert_eq!(of(rules::texts, "raft", &format!("// {word}: later\nfn f() {{}}")), 1);
    assert_eq!(of(rules::texts, "raft", "// to do"), 0);
}

#[test]
fn lengths_are_seen() {
    let function = |lines: usize| format!("impl X {{\n fn f(\n x: [u8; 3],\n) {{\n{}}}\n}}", "x;\n".repeat(lines - 4));
    assert_eq!(of(rules::lengths, "raft", &function(rules::FUNCTION_LINES_MAX)), 0);
    assert_eq!(of(rules::lengths, "raft", &function(rules::FUNCTION_LINES_MAX + 1)), 1);
    assert_eq!(of(rules::lengths, "raft", &"\n".repeat(rules::FILE_LINES_MAX)), 0);
    assert_eq!(of(rules::lengths, "raft", &"\n".repeat(rules::FILE_LINES_MAX + 1)), 1);
}

#[test]
fn missing_docs_are_seen() {
    assert_eq!(of(rules::docs, "raft", "use std::fs;"), 1);
    assert_eq!(of(rules::docs, "raft", "//! Groups.\n"), 0);
}
