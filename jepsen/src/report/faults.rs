//! Faults as a person sees them: from when to when, and how long nobody could write.

use crate::history::{History, Process, Value};
use crate::report::run_file::{FaultWindow, RunFile};
use crate::report::timeline::{Silence, Timeline};
use std::collections::BTreeMap;

/// How long after a fault began a silence is still its doing, if it was healed sooner. A kill is over at once, but the
/// answers that were on their way come first, and then the silence.
const AFTER_NS: u64 = 3_000_000_000;

/// A fault and what it did.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    pub window: FaultWindow,
    pub silence: Silence,
}

impl Fault {
    /// When it was healed, or the end of the run.
    pub fn to_ns(&self, end_ns: u64) -> u64 {
        self.window.to_ns.unwrap_or(end_ns).max(self.window.from_ns)
    }
}

/// All faults of one kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OfKind {
    pub kind: String,
    pub count: u64,
    /// The longest silence of any, and of the one in the middle.
    pub worst: Silence,
    pub middle: Silence,
}

/// The faults of a run: as the runner told them, or else from the lines of the history.
pub fn faults(run: Option<&RunFile>, histories: &[&History], timeline: &Timeline) -> Vec<Fault> {
    let told = run.map(|run| run.faults.clone()).filter(|faults| !faults.is_empty());
    let mut windows = told.unwrap_or_else(|| histories.first().map(|history| from_lines(history)).unwrap_or_default());
    windows.sort_by_key(|window| window.from_ns);
    let silence = |window: &FaultWindow| {
        let to = window.to_ns.unwrap_or(timeline.end_ns).max(window.from_ns + AFTER_NS);
        timeline.silence(window.from_ns, to)
    };
    windows.into_iter().map(|window| Fault { silence: silence(&window), window }).collect()
}

/// A fault has a line when it begins and one when it is done.
fn from_lines(history: &History) -> Vec<FaultWindow> {
    let mut open: BTreeMap<&str, usize> = BTreeMap::new();
    let mut windows: Vec<FaultWindow> = Vec::new();
    for line in history.lines.iter().filter(|line| line.process == Process::Nemesis) {
        let kind = line.f.name();
        match open.remove(kind) {
            Some(begun) => windows[begun].to_ns = Some(line.time),
            None => {
                open.insert(kind, windows.len());
                let detail = match &line.value {
                    Value::Nil => String::new(),
                    value => value.to_string(),
                };
                windows.push(FaultWindow {
                    kind: kind.to_owned(),
                    from_ns: line.time,
                    detail,
                    ..FaultWindow::default()
                });
            }
        }
    }
    windows
}

/// By kind, the kind with the longest silence first.
pub fn by_kind(faults: &[Fault]) -> Vec<OfKind> {
    let mut kinds: BTreeMap<&str, Vec<Silence>> = BTreeMap::new();
    for fault in faults {
        kinds.entry(&fault.window.kind).or_default().push(fault.silence);
    }
    let mut found: Vec<OfKind> = kinds
        .into_iter()
        .map(|(kind, silences)| {
            let rank = |by: fn(&Silence) -> u64| {
                let mut all: Vec<u64> = silences.iter().map(by).collect();
                all.sort_unstable();
                (all[all.len() / 2], all[all.len() - 1])
            };
            let (all, partition) = (rank(|one| one.all_ns), rank(|one| one.partition_ns));
            OfKind {
                kind: kind.to_owned(),
                count: silences.len() as u64,
                worst: Silence { all_ns: all.1, partition_ns: partition.1 },
                middle: Silence { all_ns: all.0, partition_ns: partition.0 },
            }
        })
        .collect();
    found.sort_by_key(|of| std::cmp::Reverse((of.worst.partition_ns, of.count)));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read_from_the_lines_where_no_runner_told_them() {
        let text = "{:index 0 :time 5 :process :nemesis :type :info :f :kill :value [\"n1\"]}\n\
                    {:index 1 :time 9 :process :nemesis :type :info :f :kill :value [\"n1\"]}\n\
                    {:index 2 :time 12 :process :nemesis :type :info :f :pause :value nil}\n";
        let history = History::from_reader(text.as_bytes()).unwrap();
        let found = faults(None, &[&history], &Timeline::new(&[&history]));
        let windows: Vec<_> =
            found.iter().map(|fault| (fault.window.kind.as_str(), fault.window.from_ns, fault.window.to_ns)).collect();
        assert_eq!(windows, vec![("kill", 5, Some(9)), ("pause", 12, None)]);
    }
}
