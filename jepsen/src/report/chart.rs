//! Pictures of a run over time, as SVG: lanes of faults and elections, throughput, latency.
//!
//! Every picture is drawn a thousand units wide and stretched to its place, so that all share one axis of time at any
//! width of the page; hence text is never part of a drawing, but stands over it as HTML.

use crate::report::Report;
use crate::report::text::seconds;
use std::fmt::Write;

const WIDTH: f64 = 1000.0;

/// How many colours there are for kinds of faults; then they repeat.
pub const COLOURS: usize = 8;

/// Draws one run.
pub struct Charts<'a> {
    report: &'a Report,
    /// Kinds of faults, in the order of their colours.
    kinds: Vec<&'a str>,
}

/// A place in the text of a page cannot refuse to be written to.
macro_rules! put {
    ($out:expr, $($part:tt)*) => { write!($out, $($part)*).expect("a string takes all that is written to it") };
}
pub(super) use put;

/// Text within HTML.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for one in text.chars() {
        match one {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            one => out.push(one),
        }
    }
    out
}

impl<'a> Charts<'a> {
    pub fn new(report: &'a Report) -> Charts<'a> {
        let mut kinds: Vec<&str> = report.faults.iter().map(|fault| fault.window.kind.as_str()).collect();
        kinds.sort_unstable();
        kinds.dedup();
        Charts { report, kinds }
    }

    /// The colour of a kind of fault.
    pub fn colour(&self, kind: &str) -> usize {
        self.kinds.iter().position(|one| *one == kind).unwrap_or(0) % COLOURS
    }

    fn x(&self, ns: u64) -> f64 {
        ns.min(self.report.timeline.end_ns) as f64 / self.report.timeline.end_ns as f64 * WIDTH
    }

    /// All pictures, one above the other.
    pub fn all(&self) -> String {
        let mut out = String::from("<div class=\"time\">");
        self.phases(&mut out);
        for kind in &self.kinds {
            self.fault_lane(&mut out, kind);
        }
        self.marks_lane(&mut out, "elections", "election", &self.elections());
        self.marks_lane(&mut out, "anomalies", "anomaly", &self.anomalies());
        self.throughput(&mut out);
        self.latency(&mut out);
        self.delivered(&mut out);
        self.axis(&mut out);
        out.push_str("</div>");
        out
    }

    fn phases(&self, out: &mut String) {
        let phases = self.report.input.run.as_ref().map(|run| run.phases.as_slice()).unwrap_or_default();
        if phases.is_empty() {
            return;
        }
        out.push_str("<div class=\"row\"><div class=\"label\">phase</div><div class=\"plot phases\">");
        for phase in phases {
            let (from, to) = (self.x(phase.from_ns) / 10.0, self.x(phase.to_ns) / 10.0);
            let name = escape(&phase.name);
            let width = (to - from).max(0.0);
            put!(out, "<span style=\"left:{from:.2}%;width:{width:.2}%\" title=\"{name}\">{name}</span>");
        }
        out.push_str("</div></div>");
    }

    fn fault_lane(&self, out: &mut String, kind: &str) {
        let colour = self.colour(kind);
        let of_kind = self.report.faults.iter().filter(|fault| fault.window.kind == kind);
        let count = of_kind.clone().count();
        put!(out, "<div class=\"row lane\"><div class=\"label\">{} <small>{count}</small></div>", escape(kind));
        out.push_str("<div class=\"plot\">");
        svg(out, 14.0);
        for fault in of_kind {
            let window = &fault.window;
            let to = fault.to_ns(self.report.timeline.end_ns);
            let (from, width) = (self.x(window.from_ns), (self.x(to) - self.x(window.from_ns)).max(2.0));
            let length = if window.to_ns.is_some() { seconds(to - window.from_ns) } else { "never healed".to_owned() };
            let title = format!(
                "{kind} {} {} at {}, {length}; no write for {} in all, {} in one key",
                window.nodes.join(", "),
                window.detail,
                seconds(window.from_ns),
                seconds(fault.silence.all_ns),
                seconds(fault.silence.partition_ns)
            );
            let title = escape(&title);
            put!(out, "<rect class=\"c{colour}\" x=\"{from:.1}\" y=\"1\" width=\"{width:.1}\" height=\"12\">");
            put!(out, "<title>{title}</title></rect>");
        }
        out.push_str("</svg></div></div>");
    }

    fn elections(&self) -> Vec<(u64, String)> {
        let elections = self.report.input.run.as_ref().map(|run| run.elections.as_slice()).unwrap_or_default();
        let title = |one: &crate::report::run_file::Election| {
            format!("{} leads {} in term {} from {}", one.node, one.group, one.term, seconds(one.time_ns))
        };
        elections.iter().map(|one| (one.time_ns, title(one))).collect()
    }

    fn anomalies(&self) -> Vec<(u64, String)> {
        let ruled = self.report.verdict.anomalies();
        let of = ruled.flat_map(|ruled| ruled.found.examples.iter().map(move |finding| (ruled.rule, finding)));
        let incidents = self.report.input.run.iter().flat_map(|run| &run.incidents);
        let incidents = incidents.map(|one| (one.time_ns, format!("{}: {}", one.kind, one.detail)));
        of.map(|(rule, finding)| (finding.time_ns, format!("{rule}: {}", finding.text))).chain(incidents).collect()
    }

    fn marks_lane(&self, out: &mut String, name: &str, class: &str, marks: &[(u64, String)]) {
        if marks.is_empty() {
            return;
        }
        put!(out, "<div class=\"row lane\"><div class=\"label\">{name} <small>{}</small></div>", marks.len());
        out.push_str("<div class=\"plot\">");
        svg(out, 14.0);
        for (at, title) in marks {
            let (x, title) = (self.x(*at) - 1.0, escape(title));
            put!(
                out,
                "<rect class=\"{class}\" x=\"{x:.1}\" y=\"1\" width=\"2\" height=\"12\"><title>{title}</title></rect>"
            );
        }
        out.push_str("</svg></div></div>");
    }

    /// What stands behind a picture: faults as shades, anomalies as lines.
    fn background(&self, out: &mut String, height: f64) {
        for fault in &self.report.faults {
            let (from, to) = (self.x(fault.window.from_ns), self.x(fault.to_ns(self.report.timeline.end_ns)));
            let (colour, width) = (self.colour(&fault.window.kind), (to - from).max(1.5));
            put!(
                out,
                "<rect class=\"shade c{colour}\" x=\"{from:.1}\" y=\"0\" width=\"{width:.1}\" height=\"{height}\"/>"
            );
        }
        for (at, _) in self.anomalies() {
            let x = self.x(at);
            put!(out, "<path class=\"line anomaly\" d=\"M{x:.1} 0V{height}\"/>");
        }
    }

    /// Where the middle of a bucket is.
    fn middle(&self, bucket: usize) -> f64 {
        let timeline = &self.report.timeline;
        self.x(bucket as u64 * timeline.bucket_ns + timeline.bucket_ns / 2)
    }

    fn per_second(&self, count: u64) -> f64 {
        count as f64 * 1e9 / self.report.timeline.bucket_ns as f64
    }

    fn throughput(&self, out: &mut String) {
        let buckets = &self.report.timeline.buckets;
        let acknowledged: Vec<f64> = buckets.iter().map(|bucket| self.per_second(bucket.acknowledged)).collect();
        let bad: Vec<f64> = buckets.iter().map(|bucket| self.per_second(bucket.unknown + bucket.failed)).collect();
        let top = nice(acknowledged.iter().chain(&bad).copied().fold(1.0, f64::max));
        let legend = "<i class=\"key write\"></i>acknowledged <i class=\"key bad\"></i>failed or unknown";
        open(out, "records / s", legend, "tall");
        svg(out, 100.0);
        self.background(out, 100.0);
        let area = self.line(&acknowledged, top);
        put!(out, "<path class=\"area write\" d=\"M0 100{}L{WIDTH} 100Z\"/>", area.replacen('M', "L", 1));
        put!(out, "<path class=\"line write\" d=\"{area}\"/>");
        let width = (self.x(self.report.timeline.bucket_ns) * 0.8).max(1.0);
        for (at, rate) in bad.iter().enumerate().filter(|(_, rate)| **rate > 0.0) {
            // High enough to be seen, whatever the scale.
            let height = (rate / top * 100.0).clamp(3.0, 100.0);
            let (x, y) = (self.middle(at) - width / 2.0, 100.0 - height);
            put!(out, "<rect class=\"bad\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>");
        }
        put!(out, "<path class=\"line grid\" d=\"M0 50H{WIDTH}\"/></svg>");
        ticks(out, &[(0.5, short(top / 2.0)), (1.0, short(top))]);
        out.push_str("</div></div>");
    }

    fn delivered(&self, out: &mut String) {
        let buckets = &self.report.timeline.buckets;
        let delivered: Vec<f64> = buckets.iter().map(|bucket| self.per_second(bucket.delivered)).collect();
        let highest = delivered.iter().copied().fold(0.0, f64::max);
        if highest == 0.0 {
            return;
        }
        let top = nice(highest);
        open(out, "delivered / s", "<i class=\"key read\"></i>to consumers", "short");
        svg(out, 100.0);
        self.background(out, 100.0);
        let area = self.line(&delivered, top);
        put!(out, "<path class=\"area read\" d=\"M0 100{}L{WIDTH} 100Z\"/>", area.replacen('M', "L", 1));
        put!(out, "<path class=\"line read\" d=\"{area}\"/></svg>");
        ticks(out, &[(1.0, short(top))]);
        out.push_str("</div></div>");
    }

    /// A line through all buckets.
    fn line(&self, rates: &[f64], top: f64) -> String {
        let mut path = String::new();
        for (at, rate) in rates.iter().enumerate() {
            let command = if at == 0 { 'M' } else { 'L' };
            put!(path, "{command}{:.1} {:.1}", self.middle(at), 100.0 - rate / top * 100.0);
        }
        path
    }

    fn latency(&self, out: &mut String) {
        let buckets = &self.report.timeline.buckets;
        let all = buckets.iter().filter_map(|bucket| bucket.latency);
        let (lowest, highest) = all.fold((u64::MAX, 0), |(low, high), one| (low.min(one.p50), high.max(one.max)));
        if highest == 0 {
            return;
        }
        let decade = |ns: u64| (ns.max(1) as f64).log10();
        let (bottom, top) = (decade(lowest).floor(), decade(highest).ceil().max(decade(lowest).floor() + 1.0));
        let y = |ns: u64| 100.0 - (decade(ns) - bottom) / (top - bottom) * 100.0;
        let legend = "<i class=\"key p50\"></i>p50 <i class=\"key p99\"></i>p99 <i class=\"key max\"></i>longest";
        open(out, "latency", legend, "tall");
        svg(out, 100.0);
        for power in bottom as i32 + 1..top as i32 {
            let y = y(10u64.pow(power as u32));
            put!(out, "<path class=\"line grid\" d=\"M0 {y:.1}H{WIDTH}\"/>");
        }
        self.background(out, 100.0);
        for (class, of) in [
            ("max", (|one| one.max) as fn(&crate::report::timeline::Latency) -> u64),
            ("p99", |one| one.p99),
            ("p50", |one| one.p50),
        ] {
            let mut path = String::new();
            let mut before = false;
            for (at, bucket) in buckets.iter().enumerate() {
                // Nothing was acknowledged there: no line leads over it.
                if let Some(latency) = &bucket.latency {
                    let x = self.middle(at);
                    let command = if before { 'L' } else { 'M' };
                    put!(path, "{command}{x:.1} {:.1}", y(of(latency)));
                    if !before {
                        put!(path, "h1");
                    }
                }
                before = bucket.latency.is_some();
            }
            put!(out, "<path class=\"line {class}\" d=\"{path}\"/>");
        }
        out.push_str("</svg>");
        let powers = bottom as i32 + 1..=top as i32;
        let labels: Vec<(f64, String)> = powers
            .map(|power| ((f64::from(power) - bottom) / (top - bottom), seconds_short(10u64.pow(power as u32))))
            .collect();
        ticks(out, &labels);
        out.push_str("</div></div>");
    }

    fn axis(&self, out: &mut String) {
        let end = self.report.timeline.end_ns as f64 / 1e9;
        let step = [0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0].into_iter().find(|step| end / step <= 12.0);
        let step = step.unwrap_or_else(|| (end / 600.0).ceil() * 60.0);
        out.push_str("<div class=\"row axis\"><div class=\"label\"></div><div class=\"plot\">");
        let mut at = 0.0;
        while at <= end {
            let left = at / end * 100.0;
            let text = if step < 1.0 { format!("{at:.1} s") } else { format!("{at:.0} s") };
            put!(out, "<span style=\"left:{left:.2}%\">{text}</span>");
            at += step;
        }
        out.push_str("</div></div>");
    }
}

fn svg(out: &mut String, height: f64) {
    put!(out, "<svg viewBox=\"0 0 {WIDTH} {height}\" preserveAspectRatio=\"none\" role=\"img\">");
}

fn open(out: &mut String, name: &str, legend: &str, class: &str) {
    put!(out, "<div class=\"row chart\"><div class=\"label\">{name}<small>{legend}</small></div>");
    put!(out, "<div class=\"plot {class}\">");
}

/// Labels of heights, from the bottom (0) to the top (1).
fn ticks(out: &mut String, labels: &[(f64, String)]) {
    for (height, text) in labels {
        put!(out, "<span class=\"tick\" style=\"bottom:{:.1}%\">{text}</span>", height * 100.0);
    }
}

/// The next round number: few enough to be read, close enough to fill the picture.
fn nice(number: f64) -> f64 {
    let power = 10f64.powf(number.max(1e-9).log10().floor());
    let steps = [1.0, 1.2, 1.6, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0];
    steps.into_iter().map(|step| step * power).find(|step| *step >= number).unwrap_or(number)
}

/// A count in few letters.
pub fn short(count: f64) -> String {
    match count {
        _ if count >= 1e6 => format!("{} M", trimmed(count / 1e6)),
        _ if count >= 1e3 => format!("{} k", trimmed(count / 1e3)),
        _ => trimmed(count),
    }
}

fn trimmed(number: f64) -> String {
    let text = format!("{number:.1}");
    text.strip_suffix(".0").unwrap_or(&text).to_owned()
}

fn seconds_short(ns: u64) -> String {
    match ns {
        1_000_000_000.. => format!("{} s", ns / 1_000_000_000),
        1_000_000.. => format!("{} ms", ns / 1_000_000),
        1_000.. => format!("{} µs", ns / 1_000),
        _ => format!("{ns} ns"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_end_at_round_numbers() {
        assert_eq!([nice(1.0), nice(11.0), nice(12.5), nice(4999.0)], [1.0, 12.0, 16.0, 5000.0]);
        assert_eq!([short(1500.0), short(20.0), short(2e6)], ["1.5 k", "20", "2 M"]);
    }

    #[test]
    fn nothing_of_a_history_becomes_markup() {
        assert_eq!(escape("<b a='1'>&\"</b>"), "&lt;b a=&#39;1&#39;&gt;&amp;&quot;&lt;/b&gt;");
    }
}
