//! The rules of this house that no compiler holds: floors, lengths, banned calls, docs, dead files.
//!
//! What the rules are and why stands in `tidy/rules.rs`; that each can fail is shown in `tidy/bad_examples.rs`. There
//! is no list of exceptions beyond the named ones there: a rule that does not fit is changed for all.

#[path = "tidy/bad_examples.rs"]
mod bad_examples;
#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/source.rs"]
mod source;

use source::Source;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::LazyLock;

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn nothing(findings: Vec<String>) {
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
}

/// All that the crate compiles.
static REACHED: LazyLock<Vec<Source>> = LazyLock::new(|| source::reachable(top(), &["src/lib.rs", "src/main.rs"]));

/// All that the fault-injection suite compiles. It has no floors: it is a client.
static JEPSEN: LazyLock<Vec<Source>> =
    LazyLock::new(|| source::reachable(top(), &["jepsen/src/lib.rs", "jepsen/src/main.rs"]));

/// All Rust files that neither crate compiles: those of tests, benches and fuzz targets.
static BESIDE: LazyLock<Vec<Source>> = LazyLock::new(|| {
    let paths = ["tests", "benches", "fuzz", "jepsen/tests"].iter().flat_map(|dir| source::files(top(), dir));
    let parse = |path: String| {
        let text = std::fs::read_to_string(top().join(&path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        Source::parse(&path, &[], true, &text)
    };
    paths.map(parse).collect()
});

fn in_src(rule: fn(&Source) -> Vec<String>) {
    nothing(REACHED.iter().flat_map(rule).collect());
}

fn everywhere(rule: fn(&Source) -> Vec<String>) {
    nothing(REACHED.iter().chain(JEPSEN.iter()).chain(BESIDE.iter()).flat_map(rule).collect());
}

#[test]
fn modules_import_from_lower_floors_only() {
    in_src(rules::floors);
}

#[test]
fn some_crates_are_imported_in_one_place() {
    in_src(rules::crates);
}

#[test]
fn state_is_pure() {
    in_src(rules::purity);
}

#[test]
fn nothing_is_spawned_past_its_owner() {
    in_src(rules::spawns);
}

#[test]
fn the_world_is_asked_in_one_place() {
    in_src(rules::ambient);
}

#[test]
fn nothing_is_unwrapped_or_left_over() {
    nothing(REACHED.iter().chain(JEPSEN.iter()).flat_map(rules::calls).collect());
}

#[test]
fn no_note_to_oneself_is_left() {
    everywhere(rules::texts);
}

#[test]
fn files_and_functions_are_short() {
    everywhere(rules::lengths);
}

#[test]
fn every_file_says_what_it_is_for() {
    everywhere(rules::docs);
}

#[test]
fn no_file_is_dead() {
    let reached: BTreeSet<String> = REACHED.iter().chain(JEPSEN.iter()).map(|source| source.path.clone()).collect();
    let all: BTreeSet<String> = ["src", "jepsen/src"].iter().flat_map(|dir| source::files(top(), dir)).collect();
    let dead = all.difference(&reached).map(|path| format!("{path}: no module names it"));
    nothing(dead.collect());
}
