//! The rules, each a function from a source file to what it finds there.

use crate::source::Source;

/// Which floor a module stands on. Within floor 0, `types` is what the others are made of.
const FLOORS: [(&str, u8); 24] = [
    ("main", 10),
    ("cli", 9),
    ("node", 8),
    ("client", 8),
    ("fuzzing", 8),
    ("http", 7),
    ("kafka", 7),
    ("peer", 7),
    ("broker", 6),
    ("coordinator", 5),
    ("partition", 4),
    ("controller", 4),
    ("raft", 3),
    ("state", 2),
    ("storage", 1),
    ("transport", 1),
    ("types", 0),
    ("record", 0),
    ("config", 0),
    ("clock", 0),
    ("vfs", 0),
    ("tasks", 0),
    ("random", 0),
    ("mutant", 0),
];

/// What its siblings on floor 0 may import too: the newtypes, and the one source of randomness (a simulated disk is
/// seeded by it).
const SIBLINGS: [&str; 2] = ["types", "random"];

/// Lower floors that a module must not see all the same, and why.
const NEVER: [(&str, &[&str], &str); 3] = [
    ("kafka", &["raft", "storage", "transport", "partition", "controller", "http"], "a front knows the broker only"),
    ("http", &["raft", "storage", "transport", "partition", "controller"], "a front knows the broker only"),
    ("state", &["clock", "vfs", "tasks", "random", "transport", "config"], "state is pure"),
];

/// Crates that only some modules may import.
const CRATES: [(&str, &[&str]); 6] = [
    ("kafka_protocol", &["kafka"]),
    ("openraft", &["raft"]),
    ("sled", &["storage"]),
    ("rand", &["random"]),
    ("axum", &["http"]),
    ("clap", &["cli", "config"]),
];

/// Crates and parts of `std` that `state` must not see: it is told what it needs, so that every replica agrees.
const IMPURE: [&[&str]; 8] = [
    &["tokio"],
    &["futures"],
    &["std", "fs"],
    &["std", "net"],
    &["std", "env"],
    &["std", "thread"],
    &["Instant"],
    &["SystemTime"],
];

pub const FILE_LINES_MAX: usize = 600;
pub const FUNCTION_LINES_MAX: usize = 70;

/// Where tasks and threads may begin: with their owner, and in four places that need a thread outside any runtime.
const SPAWNERS: [(&str, &str); 5] = [
    ("src/tasks.rs", "the owner of all tasks"),
    ("src/storage/flusher.rs", "blocks in fdatasync for its whole life; joined by the store"),
    ("src/storage/store.rs", "starts the flushers and joins them"),
    ("src/cli/serve.rs", "ends the process when stopping takes too long, whatever the runtime does"),
    ("src/cli/produce/lines.rs", "a client that blocks on its standard input"),
];

/// The world outside, and the only places that may ask it: all others are handed a clock, a file system, a
/// configuration, so that a simulation can hand them others. (`tokio::time::Instant` is the simulation's already.)
const AMBIENT: [(&[&str], &[&str]); 4] = [
    (&["SystemTime", "now"], &["src/clock.rs", "src/cli/"]),
    // The flusher measures how long a sync took, on a thread of its own; nothing is decided by it.
    (&["std", "time", "Instant"], &["src/cli/", "src/storage/flusher.rs"]),
    // The process's own memory is read from /proc for the metrics.
    (&["std", "fs"], &["src/vfs/", "src/config/", "src/cli/", "src/broker/metrics.rs"]),
    (&["std", "env"], &["src/cli/", "src/main.rs"]),
];

fn found(source: &Source, line: usize, what: impl std::fmt::Display) -> String {
    format!("{}:{line}: {what}", source.path)
}

fn floor_of(module: &str) -> Option<u8> {
    FLOORS.iter().find(|(name, _)| *name == module).map(|(_, floor)| *floor)
}

/// A module imports only from lower floors; siblings not.
pub fn floors(source: &Source) -> Vec<String> {
    let Some(own) = source.tops().filter(|own| *own != "lib") else { return vec![] };
    let Some(own_floor) = floor_of(own) else {
        return vec![found(source, 1, format!("module {own} stands on no floor: give it one here and in src/lib.rs"))];
    };
    let mut findings = Vec::new();
    for (target, line) in references(source) {
        if target == own {
            continue;
        }
        let never = NEVER.iter().find(|(module, targets, _)| *module == own && targets.contains(&target.as_str()));
        if let Some((_, _, why)) = never {
            findings.push(found(source, line, format!("{own} must not see {target}: {why}")));
        }
        // What is no module is an item of the crate's root, such as a macro.
        let Some(floor) = floor_of(&target) else { continue };
        let shown = floor == own_floor && SIBLINGS.contains(&target.as_str());
        if floor >= own_floor && !shown {
            let text = format!("{own} (floor {own_floor}) imports {target} (floor {floor})");
            findings.push(found(source, line, text));
        }
    }
    findings
}

/// The modules below the root that a file names, by `crate::` or by enough `super::`, each with its line.
fn references(source: &Source) -> Vec<(String, usize)> {
    let leads = |at: usize, word: &str| source.reads(at, &[word, ":", ":"]);
    let mut found = Vec::new();
    for at in 0..source.tokens.len() {
        let mut behind = at + 3;
        let from_root = if leads(at, "crate") {
            true
        } else if leads(at, "super") && !(at >= 3 && leads(at - 3, "super")) {
            let mut supers = 1;
            while leads(behind, "super") {
                supers += 1;
                behind += 3;
            }
            source.tokens[at].module.len() == supers
        } else {
            false
        };
        if from_root {
            let heads = source.entries(behind).into_iter().filter_map(|entry| source.tokens.get(entry));
            found.extend(heads.map(|head| (head.text.clone(), head.line)));
        }
    }
    found
}

/// Some crates are imported by one module only.
pub fn crates(source: &Source) -> Vec<String> {
    let Some(own) = source.tops() else { return vec![] };
    let mut findings = Vec::new();
    for (at, token) in source.tokens.iter().enumerate() {
        let Some((name, homes)) = CRATES.iter().find(|(name, _)| token.text == *name) else { continue };
        let leads = source.reads(at + 1, &[":", ":"]) || at > 0 && source.tokens[at - 1].text == "use";
        let within = at >= 2 && source.reads(at - 2, &[":", ":"]);
        if leads && !within && !homes.contains(&own) {
            findings.push(found(source, token.line, format!("{name} is imported in {} only", homes.join(", "))));
        }
    }
    findings
}

/// `state` sees no clock, disk, runtime or randomness.
pub fn purity(source: &Source) -> Vec<String> {
    if source.tops() != Some("state") {
        return vec![];
    }
    let mut findings = Vec::new();
    for (at, token) in source.tokens.iter().enumerate().filter(|(_, token)| !token.in_test) {
        for path in IMPURE.iter().filter(|path| source.names(at, path)) {
            findings.push(found(source, token.line, format!("state is pure, but names {}", path.join("::"))));
        }
    }
    findings
}

/// No task or thread begins outside its one owner.
pub fn spawns(source: &Source) -> Vec<String> {
    let bare = [
        &["tokio", "spawn"][..],
        &["tokio", "task", "spawn"],
        &["task", "spawn"],
        &["thread", "spawn"],
        &["thread", "scope"],
        &["thread", "Builder"],
        &["spawn_blocking"],
        &["spawn_local"],
    ];
    if SPAWNERS.iter().any(|(path, _)| *path == source.path) {
        return vec![];
    }
    let mut findings = Vec::new();
    for (at, token) in source.tokens.iter().enumerate().filter(|(_, token)| !token.in_test) {
        if bare.iter().any(|path| source.names(at, path)) {
            findings.push(found(source, token.line, "spawned past crate::tasks::Tasks"));
        }
    }
    findings.dedup();
    findings
}

/// Clock, disk and environment are asked in one place each.
pub fn ambient(source: &Source) -> Vec<String> {
    let mut findings = Vec::new();
    for (at, token) in source.tokens.iter().enumerate().filter(|(_, token)| !token.in_test) {
        for (path, homes) in AMBIENT {
            let at_home = homes.iter().any(|home| source.path.starts_with(home));
            if !at_home && source.names(at, path) {
                findings.push(found(
                    source,
                    token.line,
                    format!("{} belongs to {}", path.join("::"), homes.join(", ")),
                ));
            }
        }
    }
    findings
}

/// No `unwrap` outside tests, and nothing unfinished anywhere.
pub fn calls(source: &Source) -> Vec<String> {
    let mut findings = Vec::new();
    for (at, token) in source.tokens.iter().enumerate() {
        if source.reads(at, &[".", "unwrap", "("]) && !token.in_test {
            findings.push(found(source, token.line, "unwrap: return the error, or expect(\"the invariant\")"));
        }
        for name in ["todo", "unimplemented", "dbg"] {
            if source.reads(at, &[name, "!"]) {
                findings.push(found(source, token.line, format!("{name}! is left over")));
            }
        }
    }
    findings
}

/// What only the writer of a file understands, or was to be done before it landed.
pub fn texts(source: &Source) -> Vec<String> {
    // Put together here, so that this file is not found.
    let words = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("../", "shared"), concat!("/wo", "rk/")];
    let mut findings = Vec::new();
    for (line, text) in source.text.lines().enumerate() {
        for word in words.iter().filter(|word| text.contains(**word)) {
            findings.push(found(source, line + 1, format!("{word} is left over")));
        }
    }
    findings
}

/// Files and functions stay short enough to be read at once.
pub fn lengths(source: &Source) -> Vec<String> {
    let mut findings = Vec::new();
    let lines = source.text.lines().count();
    if lines > FILE_LINES_MAX {
        findings.push(found(source, 1, format!("{lines} lines; a file has {FILE_LINES_MAX} at most")));
    }
    for function in source.functions.iter().filter(|function| function.lines > FUNCTION_LINES_MAX) {
        let text = format!("fn {} has {} lines, of {FUNCTION_LINES_MAX} at most", function.name, function.lines);
        findings.push(found(source, function.line, text));
    }
    findings
}

/// Each file begins by saying what it is for.
pub fn docs(source: &Source) -> Vec<String> {
    if source.text.starts_with("//!") {
        return vec![];
    }
    vec![found(source, 1, "begins without module docs (//! what it is for, its invariants, what it does not do)")]
}
