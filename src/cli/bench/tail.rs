//! `balsa bench tail`: from the moment a record is acknowledged to the moment a waiting reader has it.

use super::produce::seconds;
use super::report::{Report, Times};
use super::target::{Target, problem_text};
use super::wire::{self, Wire};
use crate::cli::exit::Failure;
use clap::ValueEnum;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Server-sent events
    Sse,
    /// Requests that wait (wait_ms)
    Poll,
}

#[derive(clap::Args, Clone, Debug)]
pub struct Plan {
    #[arg(short, long, value_enum, default_value = "sse")]
    pub mode: Mode,
    /// Records a second
    #[arg(long, default_value_t = 200.0, value_parser = rate)]
    pub rate: f64,
    #[arg(long, default_value_t = 5.0, value_parser = seconds)]
    pub seconds: f64,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "expected records a second".to_owned())?;
    if (0.1..=100_000.0).contains(&rate) { Ok(rate) } else { Err("expected 0.1 to 100000 records a second".to_owned()) }
}

impl Default for Plan {
    fn default() -> Plan {
        Plan { mode: Mode::Sse, rate: 200.0, seconds: 5.0 }
    }
}

/// When each record was acknowledged and delivered, by its number; one of the two comes first.
#[derive(Default)]
struct Moments {
    acknowledged: BTreeMap<u64, Instant>,
    delivered: BTreeMap<u64, Instant>,
}

/// Writes records one by one, while a reader waits for each.
pub async fn measure(target: &Target, plan: &Plan) -> Result<Report, Failure> {
    let topic = target.create_topic(1).await?;
    let report = run(target, plan, &topic).await;
    target.delete_topic(&topic).await?;
    report
}

async fn run(target: &Target, plan: &Plan, topic: &str) -> Result<Report, Failure> {
    target.write_one(topic, 0).await?;
    let moments = RefCell::new(Moments::default());
    let mode = if plan.mode == Mode::Sse { "server-sent events" } else { "long poll" };
    let mut report = Report::new(format!("tail by {mode}: from acknowledged to delivered, {} records/s", plan.rate));
    let reading = async {
        match plan.mode {
            Mode::Sse => follow_events(target, topic, &moments).await,
            Mode::Poll => follow_polls(target, topic, &moments).await,
        }
    };
    // The reader has no end of its own.
    let outcome = tokio::select! {
        outcome = reading => outcome,
        outcome = write(target, plan, topic, &moments) => outcome,
    };
    outcome.map_err(Failure::failed)?;
    let Moments { acknowledged, delivered } = moments.into_inner();
    let mut times = Times::new();
    for (number, acknowledged) in &acknowledged {
        match delivered.get(number) {
            // A reader may have it before the writer has its acknowledgement.
            Some(delivered) => times.add(delivered.saturating_duration_since(*acknowledged)),
            None => *report.errors.entry("not delivered".to_owned()).or_default() += 1,
        }
    }
    report.times = Some(times);
    Ok(report)
}

async fn write(target: &Target, plan: &Plan, topic: &str, moments: &RefCell<Moments>) -> Result<(), String> {
    let text = |error: std::io::Error| format!("writing: {error}");
    // Another node than the reader's, where there is one.
    let mut wire = Wire::connect(&target.authority(1)).await.map_err(text)?;
    let path = format!("/v1/topics/{topic}/partitions/0/records");
    let interval = Duration::from_secs_f64(1.0 / plan.rate);
    let started = Instant::now();
    let mut due = started;
    let mut number = 1;
    while started.elapsed().as_secs_f64() < plan.seconds {
        tokio::time::sleep_until(due).await;
        due += interval;
        let request = wire::request("POST", "balsa", &path, &[("Content-Type", "application/octet-stream")], b"tail");
        let answer = wire.exchange(&request, false).await.map_err(text)?;
        if !answer.head.is_ok() {
            return Err(problem_text(answer.head.status, &answer.body));
        }
        moments.borrow_mut().acknowledged.insert(number, Instant::now());
        number += 1;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    Ok(())
}

async fn follow_events(target: &Target, topic: &str, moments: &RefCell<Moments>) -> Result<(), String> {
    let text = |error: std::io::Error| format!("reading: {error}");
    let mut wire = Wire::connect(&target.authority(0)).await.map_err(text)?;
    let path = format!("/v1/topics/{topic}/partitions/0/records?offset=1");
    let request = wire::request("GET", "balsa", &path, &[("Accept", "text/event-stream")], b"");
    tokio::io::AsyncWriteExt::write_all(&mut wire.write, &request).await.map_err(text)?;
    let head = wire.answers.head().await.map_err(text)?;
    let mut state = head.body();
    let mut waiting = Vec::new();
    while let Some(piece) = wire.answers.piece(&mut state).await.map_err(text)? {
        let now = Instant::now();
        waiting.extend_from_slice(&piece);
        let complete = waiting.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        for line in waiting[..complete].split(|byte| *byte == b'\n') {
            if let Some(offset) = line.strip_prefix(b"id:").and_then(|id| std::str::from_utf8(id).ok()) {
                let offset = offset.trim().parse().map_err(|_| format!("an event's id is no offset: {offset}"))?;
                moments.borrow_mut().delivered.entry(offset).or_insert(now);
            }
        }
        waiting.drain(..complete);
    }
    Err(problem_text(head.status, &waiting))
}

async fn follow_polls(target: &Target, topic: &str, moments: &RefCell<Moments>) -> Result<(), String> {
    let text = |error: std::io::Error| format!("reading: {error}");
    let mut wire = Wire::connect(&target.authority(0)).await.map_err(text)?;
    let mut offset = 1;
    loop {
        let path = format!("/v1/topics/{topic}/partitions/0/records?offset={offset}&wait_ms=30000");
        let request = wire::request("GET", "balsa", &path, &[("Accept", "application/json")], b"");
        let answer = wire.exchange(&request, false).await.map_err(text)?;
        if !answer.head.is_ok() {
            return Err(problem_text(answer.head.status, &answer.body));
        }
        let (now, next) = (Instant::now(), answer.head.next_offset.ok_or("the answer has no Balsa-Next-Offset")?);
        for delivered in offset..next {
            moments.borrow_mut().delivered.insert(delivered, now);
        }
        offset = next;
    }
}
