//! Connections that each send one request after the other, for a time or a number of records.

use super::report::{Report, Times};
use super::target::{Route, problem_text};
use super::wire::Wire;
use bytes::Bytes;
use futures::future::join_all;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::time::Duration;
use tokio::time::Instant;

/// How long and how fast.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Sent before anything counts.
    pub warmup: Duration,
    pub time: Duration,
    /// Ends earlier once so many records were sent.
    pub records_max: Option<u64>,
    /// Requests a second of all connections together; as fast as answers come, if not given.
    pub rate: Option<f64>,
}

/// What one connection sends, in turn.
pub struct Sender {
    pub route: Route,
    pub requests: Vec<Bytes>,
    pub records_per_request: u64,
    pub bytes_per_request: u64,
}

/// Errors of one kind beyond this are not kept apart.
const ERROR_KINDS_MAX: usize = 20;
/// After an error, so that a server in trouble is not hammered.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(10);

/// What all connections add to.
pub struct Tally {
    pub from: Instant,
    pub until: Instant,
    left: Cell<u64>,
    sums: RefCell<Sums>,
    last: Cell<Instant>,
}

struct Sums {
    times: Times,
    records: u64,
    bytes: u64,
    requests: u64,
    errors: BTreeMap<String, u64>,
}

impl Tally {
    pub fn new(pace: &Pace) -> Tally {
        let from = Instant::now() + pace.warmup;
        let sums = Sums { times: Times::new(), records: 0, bytes: 0, requests: 0, errors: BTreeMap::new() };
        let left = Cell::new(pace.records_max.unwrap_or(u64::MAX));
        Tally { from, until: from + pace.time, left, sums: RefCell::new(sums), last: Cell::new(from) }
    }

    /// Takes records from those still to be sent; false when the time is over or none is left.
    pub fn claim(&self, records: u64) -> bool {
        let left = self.left.get();
        if left == 0 || Instant::now() >= self.until {
            return false;
        }
        self.left.set(left.saturating_sub(records));
        true
    }

    /// Counts an answer, unless it belongs to the warm-up.
    pub fn add(&self, begun: Instant, records: u64, bytes: u64) {
        let now = Instant::now();
        if begun < self.from {
            return;
        }
        let mut sums = self.sums.borrow_mut();
        sums.times.add(now - begun);
        sums.records += records;
        sums.bytes += bytes;
        sums.requests += 1;
        self.last.set(now);
    }

    /// Counts records without a request of their own.
    pub fn add_records(&self, records: u64, bytes: u64) {
        let now = Instant::now();
        if now < self.from {
            return;
        }
        let mut sums = self.sums.borrow_mut();
        sums.records += records;
        sums.bytes += bytes;
        self.last.set(now);
    }

    pub fn error(&self, text: String) {
        let errors = &mut self.sums.borrow_mut().errors;
        let known = errors.len() < ERROR_KINDS_MAX || errors.contains_key(&text);
        *errors.entry(if known { text } else { "others".to_owned() }).or_default() += 1;
    }

    /// What was counted, as a report.
    pub fn report(self, work: String) -> Report {
        let sums = self.sums.into_inner();
        let mut report = Report::new(work);
        report.seconds = (self.last.get() - self.from).as_secs_f64();
        report.records = sums.records;
        report.bytes = sums.bytes;
        report.requests = sums.requests;
        report.times = (sums.times.count() > 0).then_some(sums.times);
        report.errors = sums.errors;
        report
    }
}

/// Runs all senders at once.
pub async fn run(senders: Vec<Sender>, pace: &Pace) -> Tally {
    let tally = Tally::new(pace);
    let count = senders.len();
    let started = Instant::now();
    let workers = senders.iter().enumerate().map(|(number, sender)| {
        let schedule = pace.rate.map(|rate| {
            let interval = Duration::from_secs_f64(count as f64 / rate);
            Schedule { next: started + interval.mul_f64(number as f64 / count as f64), interval }
        });
        send(sender, schedule, &tally)
    });
    join_all(workers).await;
    tally
}

/// When to send, whether or not the answer before has come: a slow answer must not hide those that it delays.
struct Schedule {
    next: Instant,
    interval: Duration,
}

async fn send(sender: &Sender, mut schedule: Option<Schedule>, tally: &Tally) {
    let mut wire: Option<Wire> = None;
    let mut turn = 0;
    while tally.claim(sender.records_per_request) {
        let begun = match &mut schedule {
            None => Instant::now(),
            Some(schedule) => {
                let due = schedule.next;
                schedule.next += schedule.interval;
                if due >= tally.until {
                    return;
                }
                tokio::time::sleep_until(due).await;
                due
            }
        };
        let request = &sender.requests[turn % sender.requests.len()];
        turn += 1;
        match one(&mut wire, &sender.route.authority, request).await {
            Ok(None) => tally.add(begun, sender.records_per_request, sender.bytes_per_request),
            Ok(Some(problem)) => {
                tally.error(problem);
                tokio::time::sleep(PAUSE_AFTER_ERROR).await;
            }
            Err(error) => {
                wire = None;
                tally.error(format!("{}: {error}", sender.route.authority));
                tokio::time::sleep(PAUSE_AFTER_ERROR).await;
            }
        }
    }
}

/// Sends one request; gives the problem that the server answered with, if it did.
async fn one(wire: &mut Option<Wire>, authority: &str, request: &[u8]) -> io::Result<Option<String>> {
    let open = match wire {
        Some(open) => open,
        None => wire.insert(Wire::connect(authority).await?),
    };
    let answer = open.exchange(request, false).await?;
    let fine = answer.head.is_ok() && answer.head.status != 207;
    Ok((!fine).then(|| problem_text(answer.head.status, &answer.body)))
}
