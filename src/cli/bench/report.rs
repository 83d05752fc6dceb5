//! What was measured, for people and for programs.

use crate::cli::exit::Outcome;
use crate::cli::servers::{Output, grouped, print};
use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// Times, in microseconds, with three digits.
pub struct Times(Histogram<u64>);

impl Times {
    pub fn new() -> Times {
        Times(Histogram::new_with_bounds(1, 600_000_000, 3).expect("these bounds are sound"))
    }

    pub fn add(&mut self, time: Duration) {
        self.0.saturating_record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1));
    }

    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// Milliseconds below which this part of the times is.
    pub fn quantile_ms(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / 1000.0
    }

    pub fn max_ms(&self) -> f64 {
        self.0.max() as f64 / 1000.0
    }

    fn json(&self) -> Value {
        json!({
            "count": self.count(), "p50": self.quantile_ms(0.5), "p90": self.quantile_ms(0.9),
            "p99": self.quantile_ms(0.99), "p999": self.quantile_ms(0.999), "max": self.max_ms(),
        })
    }

    fn text(&self) -> String {
        let quantiles = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];
        let shown: Vec<String> =
            quantiles.iter().map(|(name, quantile)| format!("{name} {:.2}", self.quantile_ms(*quantile))).collect();
        format!("{}, max {:.2} ms", shown.join(", "), self.max_ms())
    }
}

/// The result of one measurement.
pub struct Report {
    /// What was done, in words.
    pub work: String,
    pub seconds: f64,
    pub records: u64,
    pub bytes: u64,
    pub requests: u64,
    pub times: Option<Times>,
    /// How often each error came.
    pub errors: BTreeMap<String, u64>,
    /// Figures of one kind of measurement only.
    pub more: Map<String, Value>,
}

impl Report {
    pub fn new(work: impl Into<String>) -> Report {
        Report {
            work: work.into(),
            seconds: 0.0,
            records: 0,
            bytes: 0,
            requests: 0,
            times: None,
            errors: BTreeMap::new(),
            more: Map::new(),
        }
    }

    pub fn records_per_second(&self) -> f64 {
        self.records as f64 / self.seconds.max(1e-9)
    }

    /// Millions of bytes a second.
    pub fn megabytes_per_second(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.seconds.max(1e-9)
    }

    pub fn json(&self) -> Value {
        let mut object = Map::new();
        object.insert("work".to_owned(), json!(self.work));
        if self.seconds > 0.0 {
            object.insert("seconds".to_owned(), json!(self.seconds));
        }
        if self.records > 0 {
            object.insert("records".to_owned(), json!(self.records));
            object.insert("records_per_second".to_owned(), json!(self.records_per_second()));
            object.insert("megabytes_per_second".to_owned(), json!(self.megabytes_per_second()));
            object.insert("requests".to_owned(), json!(self.requests));
        }
        object.extend(self.times.as_ref().map(|times| ("ms".to_owned(), times.json())));
        object.extend(self.more.clone());
        object.insert("errors".to_owned(), json!(self.errors));
        Value::Object(object)
    }

    pub fn text(&self) -> String {
        let mut text = format!("{}\n", self.work);
        if self.records > 0 {
            let (records, rate) = (grouped(self.records), grouped(self.records_per_second() as u64));
            let (megabytes, seconds) = (self.megabytes_per_second(), self.seconds);
            text += &format!("  {records} records in {seconds:.2} s: {rate} records/s, {megabytes:.1} MB/s");
            text += &format!(", {} requests/s\n", grouped((self.requests as f64 / seconds.max(1e-9)) as u64));
        }
        if let Some(times) = self.times.as_ref().filter(|times| times.count() > 0) {
            text += &format!("  {}\n", times.text());
        }
        for (name, value) in &self.more {
            text += &format!("  {}: {value}\n", name.replace('_', " "));
        }
        for (error, count) in &self.errors {
            text += &format!("  {count} times: {error}\n");
        }
        text
    }

    pub fn print(&self, output: Output) -> Outcome {
        match output {
            Output::Text => print(&self.text()),
            Output::Json => print(&format!("{}\n", self.json())),
        }
    }
}
