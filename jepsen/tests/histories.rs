//! A history for each anomaly, which must be named, and valid ones, which must not be.
//!
//! Each file in `histories/` begins with what is expected: exactly these anomalies, no others.

use jepsen::check::{Options, Rule, check};
use jepsen::history::History;
use std::collections::BTreeSet;
use std::path::PathBuf;

struct Fixture {
    name: String,
    expected: BTreeSet<String>,
    options: Options,
    history: History,
}

fn fixtures() -> Vec<Fixture> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/histories");
    let paths = std::fs::read_dir(dir).expect("the histories are there").map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "edn")).map(fixture).collect()
}

fn fixture(path: PathBuf) -> Fixture {
    let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
    let text = std::fs::read_to_string(&path).unwrap();
    let head = |what: &str| text.lines().find_map(|line| line.strip_prefix(what)).map(str::trim);
    let expected = head("; expect:").unwrap_or_else(|| panic!("{name} says nothing of what is expected"));
    let expected = expected.split(", ").filter(|rule| *rule != "nothing").map(str::to_owned).collect();
    let options = Options { loss_allowed: head("; options:") == Some("loss-allowed") };
    let history = History::read(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
    Fixture { name, expected, options, history }
}

#[test]
fn each_history_shows_exactly_its_anomalies() {
    let mut wrong = Vec::new();
    for Fixture { name, expected, options, history } in fixtures() {
        let verdict = check(&[&history], options).unwrap_or_else(|error| panic!("{name}: {error}"));
        let found: BTreeSet<String> = verdict.anomalies().map(|ruled| ruled.rule.to_owned()).collect();
        if found != expected {
            wrong.push(format!("{name}: found {found:?}, expected {expected:?}"));
        }
        for ruled in verdict.anomalies() {
            let proof =
                ruled.found.examples.iter().all(|finding| !finding.proof.is_empty() && !finding.text.is_empty());
            assert!(proof || ruled.rule == Rule::EmptyTransactionGraph.name(), "{name}: {ruled:?} has no proof");
        }
        assert_eq!(verdict.clean, found.is_empty());
        assert_eq!(name.starts_with("valid-"), expected.is_empty(), "{name}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Rules that are noted and never an anomaly.
const HARMLESS: [Rule; 3] = [Rule::IntSendSkip, Rule::G0, Rule::G1cWrites];

#[test]
fn each_rule_has_a_history_that_breaks_it() {
    let shown: BTreeSet<String> = fixtures().into_iter().flat_map(|fixture| fixture.expected).collect();
    for rule in Rule::ALL.iter().filter(|rule| !HARMLESS.contains(rule)) {
        assert!(shown.contains(rule.name()), "no history shows {}", rule.name());
    }
}

#[test]
fn every_line_is_read_and_written_the_same() {
    for Fixture { name, history, .. } in fixtures() {
        let text: String = history.lines.iter().map(|line| format!("{line}\n")).collect();
        let again = History::from_reader(text.as_bytes()).unwrap();
        assert_eq!(again.lines, history.lines, "{name}");
    }
}
