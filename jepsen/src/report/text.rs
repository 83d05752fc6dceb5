//! A run and its verdict as text.

use crate::check::{Judged, Ruled, Verdict};
use crate::report::Report;
use crate::report::faults::by_kind;
use crate::report::run_file::RunFile;
use std::fmt::{self, Write};

/// How many findings of a rule are printed.
const SHOWN_MAX: usize = 3;

/// The whole verdict.
pub fn verdict(verdict: &Verdict) -> String {
    let mut out = String::new();
    write_verdict(&mut out, verdict).expect("a string takes all that is written to it");
    out
}

/// The run, its faults, and the verdict.
pub fn report(report: &Report) -> String {
    let mut out = String::new();
    write_report(&mut out, report).expect("a string takes all that is written to it");
    out
}

fn write_report(out: &mut String, report: &Report) -> fmt::Result {
    if let Some(run) = &report.input.run {
        write_run(out, run)?;
    }
    let timeline = &report.timeline;
    writeln!(out, "{} of history, {} records acknowledged", seconds(timeline.end_ns), timeline.acknowledged)?;
    if let Some(latency) = timeline.latency {
        let [p50, p99, max] = [latency.p50, latency.p99, latency.max].map(seconds);
        writeln!(out, "acknowledged writes took {p50} (p50), {p99} (p99), {max} (longest)")?;
    }
    writeln!(out)?;
    if !report.faults.is_empty() {
        writeln!(out, "{:<26} {:>6}   longest time without an acknowledged write (middle)", "fault", "times")?;
        for of in by_kind(&report.faults) {
            let [all, all_middle] = [of.worst.all_ns, of.middle.all_ns].map(seconds);
            let [one, one_middle] = [of.worst.partition_ns, of.middle.partition_ns].map(seconds);
            let text = format!("{all} ({all_middle}) in all; {one} ({one_middle}) of one key");
            writeln!(out, "{:<26} {:>6}   {text}", of.kind, of.count)?;
        }
        writeln!(out)?;
    }
    write_verdict(out, &report.verdict)?;
    let incidents = report.input.run.as_ref().map_or(0, |run| run.incidents.len());
    if incidents > 0 { writeln!(out, "INCIDENTS: {incidents}, told above") } else { Ok(()) }
}

fn write_run(out: &mut String, run: &RunFile) -> fmt::Result {
    writeln!(out, "{}", run.command_line.join(" "))?;
    writeln!(out, "workload {}, seed {}, nodes {}", run.workload, run.seed, run.nodes.join(", "))?;
    let faults: u64 = run.faults_done.values().sum();
    writeln!(out, "{faults} faults done, {} elections seen", run.elections.len())?;
    for not_done in &run.faults_not_done {
        writeln!(out, "NOT DONE: {}: {}", not_done.kind, not_done.reason)?;
    }
    for note in &run.notes {
        writeln!(out, "note: {note}")?;
    }
    for (name, value) in &run.figures {
        writeln!(out, "{name}: {value}")?;
    }
    for incident in &run.incidents {
        writeln!(out, "INCIDENT: {} at {}: {}", incident.kind, seconds(incident.time_ns), incident.detail)?;
    }
    match &run.exit {
        Some(exit) => writeln!(out, "the run ended: {} {}", exit.verdict, exit.reason),
        None => writeln!(out, "the run did not come to its end"),
    }
}

/// Nanoseconds as a person reads them.
pub fn seconds(ns: u64) -> String {
    let ns = ns as f64;
    match ns {
        _ if ns < 1e6 => format!("{:.0} µs", ns / 1e3),
        _ if ns < 10e6 => format!("{:.1} ms", ns / 1e6),
        _ if ns < 1e9 => format!("{:.0} ms", ns / 1e6),
        _ if ns < 100e9 => format!("{:.2} s", ns / 1e9),
        _ => format!("{:.0} s", ns / 1e9),
    }
}

fn write_verdict(out: &mut String, verdict: &Verdict) -> fmt::Result {
    let counts = &verdict.counts;
    writeln!(out, "{:<26} {:>10} {:>10} {:>10}", "operation", "ok", "fail", "info")?;
    for (name, count) in &counts.by_f {
        writeln!(out, "{name:<26} {:>10} {:>10} {:>10}", count.ok, count.fail, count.info)?;
    }
    for (name, count) in &counts.faults {
        writeln!(out, "{:<26} {count:>10} lines", format!("fault: {name}"))?;
    }
    writeln!(
        out,
        "\n{} keys, {} messages acknowledged, {} deliveries, {} last readings",
        counts.keys, counts.messages_acknowledged, counts.messages_delivered, counts.last_readings
    )?;
    if counts.messages_lost > 0 {
        let share = counts.messages_lost as f64 * 100.0 / counts.messages_acknowledged as f64;
        writeln!(out, "{} acknowledged messages were read by nobody ({share:.3}%)", counts.messages_lost)?;
    }
    writeln!(out)?;
    for ruled in &verdict.rules {
        write_rule(out, ruled)?;
    }
    for note in &verdict.notes {
        writeln!(out, "note: {note}")?;
    }
    for warning in &verdict.warnings {
        writeln!(out, "warning: {warning}")?;
    }
    let names: Vec<String> =
        verdict.anomalies().map(|ruled| format!("{} ({})", ruled.rule, ruled.found.count)).collect();
    if names.is_empty() {
        writeln!(out, "\nNo anomaly in the histories.")
    } else {
        writeln!(out, "\nANOMALIES: {}", names.join(", "))
    }
}

fn write_rule(out: &mut String, ruled: &Ruled) -> fmt::Result {
    let name = ruled.rule;
    match &ruled.judged {
        Judged::Clean => return writeln!(out, "ok          {name}"),
        Judged::NotJudged(why) => return writeln!(out, "not judged  {name}: {why}"),
        Judged::Noted(why) => writeln!(out, "noted       {name}: {} times; {why}", ruled.found.count)?,
        Judged::Anomaly => writeln!(out, "ANOMALY     {name}: {} times; {}", ruled.found.count, ruled.meaning)?,
    }
    if matches!(ruled.judged, Judged::Noted(_)) {
        return Ok(());
    }
    for finding in ruled.found.examples.iter().take(SHOWN_MAX) {
        let key = finding.key.as_ref().map(|key| format!("key {key}: ")).unwrap_or_default();
        writeln!(out, "            - {key}{}", finding.text)?;
        for line in &finding.proof {
            writeln!(out, "                {line}")?;
        }
    }
    Ok(())
}
