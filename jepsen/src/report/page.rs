//! The page: one HTML file, with its style and its pictures in it. It has no script, and asks no server for anything.

use crate::check::{Finding, Judged, Ruled};
use crate::report::Report;
use crate::report::chart::{Charts, escape, put, short};
use crate::report::faults::by_kind;
use crate::report::run_file::RunFile;
use crate::report::text::seconds;
use std::fmt::Write;

const STYLE: &str = include_str!("style.css");

/// How many broken rules show their proof at once, and how many findings of each.
const RULES_OPEN_MAX: usize = 4;
const FINDINGS_OPEN_MAX: usize = 2;

/// How many faults have a line of their own.
const FAULTS_MAX: usize = 12;

/// The whole page.
pub fn page(report: &Report) -> String {
    let charts = Charts::new(report);
    let mut out = String::from("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
    out.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">");
    put!(out, "<title>{}</title><style>{STYLE}</style></head><body><main>", escape(&title(report)));
    banner(&mut out, report);
    tiles(&mut out, report);
    out.push_str("<h2>What happened</h2><div class=\"card\">");
    out.push_str(&charts.all());
    out.push_str("</div>");
    anomalies(&mut out, report);
    faults(&mut out, report, &charts);
    doubts(&mut out, report);
    rules(&mut out, report);
    counts(&mut out, report);
    footer(&mut out, report);
    out.push_str("</main></body></html>\n");
    out
}

fn title(report: &Report) -> String {
    if report.clean() { "jepsen: no anomaly".to_owned() } else { format!("jepsen: {}", found(report)) }
}

/// Whether the run came to its own end.
fn interrupted(run: Option<&RunFile>) -> Option<String> {
    match run?.exit.as_ref() {
        None => Some("The run did not come to its end.".to_owned()),
        Some(exit) if matches!(exit.verdict.as_str(), "clean" | "anomaly") => None,
        Some(exit) => Some(format!("The run ended early: {} {}", exit.verdict, exit.reason)),
    }
}

fn banner(out: &mut String, report: &Report) {
    let verdict = &report.verdict;
    let run = report.input.run.as_ref();
    let early = interrupted(run);
    let operations = short(verdict.counts.operations as f64);
    let incidents = run.map(|run| run.incidents.as_slice()).unwrap_or_default();
    let (class, head) = match (report.clean(), &early) {
        (false, _) => ("bad", format!("{} in {operations} operations", found(report))),
        (true, Some(_)) => ("none", format!("No anomaly so far, in {operations} operations")),
        (true, None) => ("good", format!("No anomaly in {operations} operations")),
    };
    put!(out, "<div class=\"banner {class}\"><h1>{}</h1>", escape(&head));
    if !report.clean() {
        out.push_str("<ul>");
        for incident in incidents {
            let at = seconds(incident.time_ns);
            put!(out, "<li><b>{}</b> at {at}: {}</li>", escape(&incident.kind), escape(&incident.detail));
        }
        for ruled in verdict.anomalies() {
            put!(out, "<li><b>{}</b> × {}: {}</li>", escape(ruled.rule), ruled.found.count, escape(ruled.meaning));
        }
        out.push_str("</ul>");
    }
    if let Some(early) = early {
        put!(out, "<p><b>{}</b></p>", escape(&early));
    }
    if let Some(run) = run {
        let length = seconds(report.timeline.end_ns);
        let text = format!(
            "workload {}, {} nodes, {length}, seed {}, {} faults of {} kinds",
            run.workload,
            run.nodes.len(),
            run.seed,
            run.faults_done.values().sum::<u64>(),
            run.faults_done.len()
        );
        put!(out, "<p>{}</p>", escape(&text));
        put!(out, "<p class=\"command\"><code>{}</code></p>", escape(&run.command_line.join(" ")));
    }
    out.push_str("</div>");
}

/// How much is wrong, in words.
fn found(report: &Report) -> String {
    let rules = report.verdict.anomalies().count();
    let incidents = report.input.run.as_ref().map_or(0, |run| run.incidents.len());
    let parts = [(rules, "rule broken", "rules broken"), (incidents, "incident", "incidents")];
    let parts = parts.iter().filter(|(count, ..)| *count > 0);
    let words = parts.map(|(count, one, many)| format!("{count} {}", if *count == 1 { one } else { many }));
    words.collect::<Vec<_>>().join(" and ")
}

fn tile(out: &mut String, number: &str, name: &str) {
    put!(out, "<div class=\"tile\"><b>{}</b><span>{}</span></div>", escape(number), escape(name));
}

fn tiles(out: &mut String, report: &Report) {
    let (timeline, counts) = (&report.timeline, &report.verdict.counts);
    out.push_str("<div class=\"tiles\">");
    tile(out, &short(timeline.acknowledged as f64), "records acknowledged");
    tile(out, &short(counts.messages_delivered as f64), "deliveries checked");
    if counts.messages_acknowledged > 0 {
        let allowed =
            report.verdict.rules.iter().any(|ruled| ruled.rule == "unseen" && matches!(ruled.judged, Judged::Noted(_)));
        let name = if allowed { "acknowledged and lost, as the run allows" } else { "acknowledged and never read" };
        tile(out, &short(counts.messages_lost as f64), name);
    }
    if let Some(latency) = timeline.latency {
        tile(out, &seconds(latency.p50), &format!("write latency, p50; p99 is {}", seconds(latency.p99)));
    }
    let worst = timeline.silence(0, timeline.end_ns);
    tile(out, &seconds(worst.all_ns), "longest without any acknowledged write");
    tile(out, &seconds(worst.partition_ns), "the same, of one key");
    if let Some(run) = &report.input.run {
        tile(out, &run.elections.len().to_string(), "elections seen");
    }
    out.push_str("</div>");
}

fn anomalies(out: &mut String, report: &Report) {
    if report.verdict.anomalies().next().is_some() {
        out.push_str("<h2>What is wrong, and the proof</h2>");
    }
    for (at, ruled) in report.verdict.anomalies().enumerate() {
        rule(out, ruled, "", at < RULES_OPEN_MAX);
    }
}

fn rule(out: &mut String, ruled: &Ruled, class: &str, open: bool) {
    let open = if open { " open" } else { "" };
    put!(out, "<details class=\"rule {class}\"{open}><summary><b>{}</b>", escape(ruled.rule));
    put!(out, "<span class=\"count\">{} ×</span> <span>{}</span></summary>", ruled.found.count, escape(ruled.meaning));
    if let Judged::Noted(why) = &ruled.judged {
        put!(out, "<p class=\"soft\">No anomaly in this run: {}.</p>", escape(why));
    }
    let (first, rest) = ruled.found.examples.split_at(ruled.found.examples.len().min(FINDINGS_OPEN_MAX));
    findings(out, first);
    if !rest.is_empty() {
        put!(
            out,
            "<details class=\"rest\"><summary class=\"soft\">{} more</summary>",
            ruled.found.count - first.len() as u64
        );
        findings(out, rest);
        let left_out = ruled.found.count - ruled.found.examples.len() as u64;
        if left_out > 0 {
            put!(out, "<p class=\"soft\">and {left_out} that are counted only</p>");
        }
        out.push_str("</details>");
    }
    out.push_str("</details>");
}

fn findings(out: &mut String, findings: &[Finding]) {
    for finding in findings {
        out.push_str("<div class=\"finding\">");
        let key = finding.key.as_ref().map(|key| format!("key {key}: ")).unwrap_or_default();
        put!(out, "{}{} <small>at {}</small>", escape(&key), escape(&finding.text), seconds(finding.time_ns));
        if !finding.proof.is_empty() {
            put!(out, "<pre>{}</pre>", escape(&finding.proof.join("\n")));
        }
        out.push_str("</div>");
    }
}

fn faults(out: &mut String, report: &Report, charts: &Charts) {
    if report.faults.is_empty() {
        return;
    }
    out.push_str("<h2>Faults, and the longest time without an acknowledged write</h2><div class=\"card wide\"><table>");
    out.push_str(
        "<tr><th>fault</th><th class=\"n\">times</th><th class=\"n\">in all, longest</th><th class=\"n more\">middle</th>",
    );
    out.push_str("<th class=\"n\">of one key, longest</th><th class=\"n more\">middle</th></tr>");
    for of in by_kind(&report.faults) {
        let colour = charts.colour(&of.kind);
        put!(out, "<tr><td><i class=\"key b{colour}\"></i>{}</td><td class=\"n\">{}</td>", escape(&of.kind), of.count);
        for (worst, middle) in [(of.worst.all_ns, of.middle.all_ns), (of.worst.partition_ns, of.middle.partition_ns)] {
            put!(out, "<td class=\"n\">{}</td><td class=\"n more\">{}</td>", seconds(worst), seconds(middle));
        }
        out.push_str("</tr>");
    }
    out.push_str("</table></div>");
    worst_faults(out, report, charts);
}

/// One by one, those with the longest silence.
fn worst_faults(out: &mut String, report: &Report, charts: &Charts) {
    let mut worst: Vec<_> = report.faults.iter().collect();
    worst.sort_by_key(|fault| std::cmp::Reverse((fault.silence.partition_ns, fault.silence.all_ns)));
    worst.truncate(FAULTS_MAX);
    let count = worst.len();
    put!(out, "<details><summary class=\"soft\">The {count} that took longest, one by one</summary>");
    out.push_str(
        "<div class=\"card wide\"><table><tr><th>at</th><th>fault</th><th>nodes</th><th class=\"n\">healed after</th>",
    );
    out.push_str("<th class=\"n\">in all</th><th class=\"n\">of one key</th></tr>");
    for fault in worst {
        let window = &fault.window;
        let colour = charts.colour(&window.kind);
        let healed = window.to_ns.map_or("never".to_owned(), |to| seconds(to.saturating_sub(window.from_ns)));
        put!(out, "<tr><td>{}</td><td><i class=\"key b{colour}\"></i>", seconds(window.from_ns));
        put!(out, "{} <small>{}</small></td>", escape(&window.kind), escape(&window.detail));
        put!(out, "<td>{}</td><td class=\"n\">{healed}</td>", escape(&window.nodes.join(", ")));
        let silence = [fault.silence.all_ns, fault.silence.partition_ns].map(seconds);
        put!(out, "<td class=\"n\">{}</td><td class=\"n\">{}</td></tr>", silence[0], silence[1]);
    }
    out.push_str("</table></div></details>");
}

/// What was not done, and why the run may say less than it seems to.
fn doubts(out: &mut String, report: &Report) {
    let run = report.input.run.as_ref();
    let not_done = run.map(|run| run.faults_not_done.as_slice()).unwrap_or_default();
    let notes = run.map(|run| run.notes.as_slice()).unwrap_or_default();
    let verdict = &report.verdict;
    if not_done.is_empty() && notes.is_empty() && verdict.warnings.is_empty() && verdict.notes.is_empty() {
        return;
    }
    out.push_str("<h2>What was not done, and what to doubt</h2><div class=\"card not\"><ul>");
    for fault in not_done {
        put!(out, "<li><b>{} was not done:</b> {}</li>", escape(&fault.kind), escape(&fault.reason));
    }
    for text in notes.iter().chain(&verdict.warnings).chain(&verdict.notes) {
        put!(out, "<li>{}</li>", escape(text));
    }
    out.push_str("</ul></div>");
}

fn rules(out: &mut String, report: &Report) {
    let all = &report.verdict.rules;
    let clean: Vec<&Ruled> = all.iter().filter(|ruled| ruled.judged == Judged::Clean).collect();
    put!(out, "<h2>Rules that hold: {} of {}</h2><div class=\"card\"><div class=\"chips\">", clean.len(), all.len());
    for ruled in clean {
        put!(out, "<span title=\"not found: {}\">{}</span>", escape(ruled.meaning), escape(ruled.rule));
    }
    out.push_str("</div>");
    let not_judged: Vec<(&Ruled, &str)> = all
        .iter()
        .filter_map(|ruled| match &ruled.judged {
            Judged::NotJudged(why) => Some((ruled, why.as_str())),
            _ => None,
        })
        .collect();
    if !not_judged.is_empty() {
        out.push_str("<p class=\"soft\">Not judged: ");
        let texts: Vec<String> =
            not_judged.iter().map(|(ruled, why)| format!("<b>{}</b> ({})", escape(ruled.rule), escape(why))).collect();
        put!(out, "{}.</p>", texts.join(", "));
    }
    out.push_str("</div>");
    for ruled in all.iter().filter(|ruled| matches!(ruled.judged, Judged::Noted(_))) {
        rule(out, ruled, "noted", false);
    }
}

fn counts(out: &mut String, report: &Report) {
    out.push_str("<h2>Operations</h2><div class=\"card wide\"><table><tr><th>operation</th><th class=\"n\">ok</th>");
    out.push_str("<th class=\"n\">fail</th><th class=\"n\">unknown</th></tr>");
    for (name, count) in &report.verdict.counts.by_f {
        put!(out, "<tr><td>{}</td><td class=\"n\">{}</td>", escape(name), count.ok);
        put!(out, "<td class=\"n\">{}</td><td class=\"n\">{}</td></tr>", count.fail, count.info);
    }
    out.push_str("</table></div>");
    let figures = report.input.run.as_ref().map(|run| run.figures.as_slice()).unwrap_or_default();
    if !figures.is_empty() {
        out.push_str("<h2>Figures</h2><div class=\"card wide\"><table>");
        for (name, value) in figures {
            put!(out, "<tr><td>{}</td><td class=\"n\">{}</td></tr>", escape(name), escape(value));
        }
        out.push_str("</table></div>");
    }
}

fn footer(out: &mut String, report: &Report) {
    out.push_str("<footer>");
    if let Some(run) = &report.input.run {
        let facts: Vec<String> =
            run.environment.iter().map(|(name, value)| format!("{} {}", escape(name), escape(value))).collect();
        put!(out, "<p>{}</p>", facts.join(" · "));
    }
    out.push_str("<p>A key is a partition. A silence counts from one acknowledged write to the next, or to the last that was asked for.</p></footer>");
}
