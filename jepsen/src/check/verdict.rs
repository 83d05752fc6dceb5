//! Which findings are forbidden in a run, and what comes of it.
//!
//! Rules find; here it is decided what that means. Nothing that was found is left out: what is not forbidden is told as
//! noted, with the reason, and what cannot be judged is told as not judged.

use crate::check::counts::{self, Counts};
use crate::check::facts::Facts;
use crate::check::finding::{Findings, Found};
use crate::check::log_end;
use crate::check::ops::{self, Op, What};
use crate::check::rule::Rule;
use crate::check::rules;
use crate::history::{F, History};
use serde::Serialize;

/// What the run promised, where its history doesn't say it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// `acks=1`, `acks=0`: what was acknowledged may be lost; that is measured, and no anomaly.
    pub loss_allowed: bool,
}

/// What became of one rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ruled {
    pub rule: &'static str,
    pub meaning: &'static str,
    #[serde(flatten)]
    pub judged: Judged,
    #[serde(flatten)]
    pub found: Found,
}

/// How a rule was judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "judged", content = "why", rename_all = "kebab-case")]
pub enum Judged {
    /// It holds.
    Clean,
    /// It is broken, and must not be.
    Anomaly,
    /// It may be broken in this run: why.
    Noted(String),
    /// This history cannot say: why.
    NotJudged(String),
}

/// What a history comes to.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    pub clean: bool,
    pub rules: Vec<Ruled>,
    pub counts: Counts,
    /// Why the run is not worth much.
    pub warnings: Vec<String>,
    /// How its files were read.
    pub notes: Vec<String>,
}

impl Verdict {
    pub fn anomalies(&self) -> impl Iterator<Item = &Ruled> {
        self.rules.iter().filter(|ruled| ruled.judged == Judged::Anomaly)
    }
}

/// Checks the histories of one run: that of sends and polls, and that of a log's end where there is one. Histories that
/// hold the other's operations are taken apart first, so that either file can be given as either.
pub fn check(histories: &[&History], options: Options) -> Result<Verdict, String> {
    let mut findings = Findings::default();
    let mut context = Context { options, ..Context::default() };
    let mut counts = Counts::default();
    let mut warnings = Vec::new();
    let mut notes = Vec::new();
    for history in histories {
        notes.extend(history.notes.iter().cloned());
        let ops = ops::pair(&history.lines)?;
        counts.add_ops(&history.lines, &ops);
        let of_end = ops.iter().any(|op| op.what == What::LogEnd);
        if of_end {
            context.log_end = true;
            warnings.extend(log_end::check(&history.lines, &ops, &mut findings));
        }
        if ops.iter().any(|op| matches!(op.what, What::Send | What::Poll | What::Txn | What::Group)) {
            let facts = Facts::new(&history.lines, ops, options.loss_allowed);
            counts.add_messages(&facts);
            context.look_at(&facts);
            warnings.extend(counts::warnings(&facts, &counts));
            run_rules(&facts, &mut findings);
        } else {
            warnings.extend(unknown(&history.lines, &ops));
        }
    }
    if counts.operations == 0 {
        return Err("no client did anything in it".to_owned());
    }
    context.complete = counts.last_readings > 0 && counts.open == 0;
    let rules: Vec<Ruled> = Rule::ALL.iter().map(|rule| context.judge(*rule, &mut findings)).collect();
    let clean = !rules.iter().any(|ruled| ruled.judged == Judged::Anomaly);
    Ok(Verdict { clean, rules, counts, warnings, notes })
}

fn run_rules(facts: &Facts, findings: &mut Findings) {
    rules::lost::check(facts, findings);
    rules::vanished::check(facts, findings);
    rules::offsets::check(facts, findings);
    rules::reads::check(facts, findings);
    rules::polls::check(facts, findings);
    rules::sends::check(facts, findings);
    rules::torn::check(facts, findings);
    rules::fresh::check(facts, findings);
    rules::order::check(facts, findings);
    rules::cycles::check(facts, findings);
    rules::groups::check(facts, findings);
    rules::reads::nothing_read(facts, findings);
}

/// Operations that nobody checks.
fn unknown(lines: &[crate::history::Line], ops: &[Op]) -> Option<String> {
    let named = ops.iter().filter(|op| matches!(lines[op.invoked as usize].f, F::Named(_))).count();
    (named > 0).then(|| format!("{named} operations have an :f that no rule knows"))
}

/// What a run is like, as far as judging depends on it.
#[derive(Default)]
struct Context {
    options: Options,
    messages: bool,
    transactions: bool,
    subscribe: bool,
    groups: bool,
    linearizable_polls: bool,
    log_end: bool,
    /// It has a last reading, and the history is whole.
    complete: bool,
}

impl Context {
    fn look_at(&mut self, facts: &Facts) {
        self.messages = true;
        for op in &facts.ops {
            self.transactions |= op.what == What::Txn;
            self.subscribe |= op.what == What::Subscribe;
            self.groups |= op.what == What::Group;
            self.linearizable_polls |= facts.lines[op.invoked as usize].linearizable;
        }
    }

    fn judge(&self, rule: Rule, findings: &mut Findings) -> Ruled {
        let found = findings.by_rule.remove(&rule).unwrap_or_default();
        let judged = match (self.not_judged(rule), self.allowed(rule)) {
            (Some(why), _) => Judged::NotJudged(why.to_owned()),
            (None, _) if found.count == 0 => Judged::Clean,
            (None, Some(why)) => Judged::Noted(why.to_owned()),
            (None, None) => Judged::Anomaly,
        };
        Ruled { rule: rule.name(), meaning: rule.meaning(), judged, found }
    }

    fn not_judged(&self, rule: Rule) -> Option<&'static str> {
        match rule {
            Rule::LogEnd => (!self.log_end).then_some("no history of a log's end"),
            _ if !self.messages => Some("no history of sends and polls"),
            Rule::Unseen | Rule::TornSend | Rule::TornTransaction if !self.complete => {
                Some("no last reading that came to its end")
            }
            Rule::TornTransaction
            | Rule::PrecommittedRead
            | Rule::IntSendSkip
            | Rule::G0
            | Rule::G1c
            | Rule::G1cWrites => (!self.transactions).then_some("no transactions"),
            Rule::GroupOffsetBack | Rule::GroupOffsetAhead | Rule::GroupSharedKey => {
                (!self.groups).then_some("no consumer groups")
            }
            Rule::StalePoll => (!self.linearizable_polls).then_some("no linearizable polls"),
            _ => None,
        }
    }

    /// Why a rule may be broken in this run.
    fn allowed(&self, rule: Rule) -> Option<&'static str> {
        let subscribe = "consumers that subscribe may be led anywhere";
        match rule {
            Rule::LostWrite | Rule::Unseen | Rule::StalePoll if self.options.loss_allowed => {
                Some("the run asked for less than acks=all: losses are measured")
            }
            Rule::PollSkip | Rule::NonmonotonicPoll | Rule::Hole if self.subscribe => Some(subscribe),
            Rule::Hole | Rule::G0 | Rule::G0Process | Rule::G0Realtime | Rule::G1cWrites if self.transactions => {
                Some("transactions may interleave, and take offsets for their markers")
            }
            Rule::IntSendSkip => Some("a transaction is no batch"),
            _ => None,
        }
    }
}
