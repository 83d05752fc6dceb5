//! A verdict as text.

use crate::check::{Judged, Ruled, Verdict};
use std::fmt::{self, Write};

/// How many findings of a rule are printed.
const SHOWN_MAX: usize = 3;

/// The whole verdict.
pub fn verdict(verdict: &Verdict) -> String {
    let mut out = String::new();
    write_verdict(&mut out, verdict).expect("a string takes all that is written to it");
    out
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
    if verdict.clean { writeln!(out, "\nNo anomaly.") } else { writeln!(out, "\nANOMALIES: {}", names.join(", ")) }
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
