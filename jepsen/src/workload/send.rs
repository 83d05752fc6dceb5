//! A send: records to one partition in one request, which are one batch; tried again with the same Idempotency-Key
//! until its time is over, and recorded as one operation.
//!
//! What the API says decides the outcome, strictly. Surely not written: a refusal of the request (4xx), 429, 503, and a
//! connection that could not be made. Everything else that is no answer may have been written, then or later, and
//! stays so whatever later tries are told, except by an acknowledgement, or by 409: an offset that is passed by is
//! passed for good.

use crate::history::{ErrorText, F, Key, Kind, Message, Micro, Offset, Place, Value};
use crate::workload::http::{Answer, Call, NoAnswer};
use crate::workload::lane::Lane;
use crate::workload::record;
use crate::workload::world::World;
use serde::Deserialize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

const BACKOFF: Duration = Duration::from_millis(40);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    All,
    Leader,
}

/// A send to be.
#[derive(Clone, Debug)]
pub struct Request {
    pub key: Key,
    pub messages: Vec<Message>,
    pub acks: Acks,
    pub expected_offset: Option<u64>,
    /// Tried again under this name until the time is over; without one it is tried once.
    pub idempotency_key: Option<String>,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The offset of each record.
    Acknowledged(Vec<u64>),
    /// Surely not written.
    Refused {
        error: ErrorText,
        status: u16,
        log_end: Option<u64>,
    },
    Unknown(ErrorText),
}

#[derive(Deserialize)]
struct Acknowledged {
    records: Vec<Placed>,
}

#[derive(Deserialize)]
struct Placed {
    offset: u64,
}

#[derive(Deserialize)]
struct Mismatch {
    log_end_offset: u64,
}

impl Request {
    /// The HTTP request.
    pub fn call(&self, world: &World) -> Call {
        let place = world.place(self.key);
        let acks = match self.acks {
            Acks::All => "all",
            Acks::Leader => "1",
        };
        // The node gives up a little before the client does, so that its answer is heard.
        let timeout_ms = (world.load.try_time_max.as_millis() * 9 / 10).max(1);
        let mut path = format!("{}?acks={acks}&timeout_ms={timeout_ms}", place.path());
        if let Some(offset) = self.expected_offset {
            path += &format!("&expected_offset={offset}");
        }
        let mut json = String::with_capacity(self.messages.len() * (world.load.record_bytes + 16) + 16);
        json += r#"{"records":["#;
        for (at, message) in self.messages.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            json += &format!(r#"{comma}{{"value":"{}"}}"#, record::value(*message, world.load.record_bytes));
        }
        json += "]}";
        let call = Call::post(path, json);
        match &self.idempotency_key {
            Some(key) => call.with("idempotency-key", key.clone()),
            None => call,
        }
    }

    fn value(&self, place: impl Fn(usize) -> Place) -> Value {
        let micro =
            |(at, message): (usize, &Message)| Micro::Send { key: self.key, message: *message, place: place(at) };
        Value::Micros(self.messages.iter().enumerate().map(micro).collect())
    }
}

/// Carries a send out and records it. A process that learns nothing of its outcome ends with it.
pub async fn send(world: &World, lane: &mut Lane, request: &Request) -> Outcome {
    let call = request.call(world);
    let operation = world.recorder.invoke(lane.process(), F::Send, request.value(|_| Place::Asked));
    let outcome = until_clear(world, lane, request, &call).await;
    let count = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
    match &outcome {
        Outcome::Acknowledged(offsets) => {
            let place = world.place(request.key);
            offsets.iter().for_each(|offset| place.saw(*offset));
            count(&world.tally.sends_ok);
            let value = request.value(|at| Place::At(Offset(offsets[at])));
            world.recorder.complete(operation, Kind::Ok, value, None);
            world.acknowledge(request.key, offsets.len());
        }
        Outcome::Refused { error, .. } => {
            count(&world.tally.sends_fail);
            world.recorder.complete(operation, Kind::Fail, request.value(|_| Place::Asked), Some(error.clone()));
        }
        Outcome::Unknown(error) => {
            count(&world.tally.sends_info);
            world.recorder.unknown(operation, error.clone());
            lane.renew();
        }
    }
    outcome
}

async fn until_clear(world: &World, lane: &mut Lane, request: &Request, call: &Call) -> Outcome {
    let deadline = Instant::now() + world.load.op_time_max;
    let mut unknown: Option<ErrorText> = None;
    loop {
        let outcome = once(world, lane, request, call).await;
        let (again, outcome) = match outcome {
            Outcome::Acknowledged(_) => return outcome,
            Outcome::Refused { status, .. } if request.expected_offset.is_some() && status == 409 => return outcome,
            Outcome::Refused { status, .. } => (matches!(status, 0 | 429 | 503), outcome),
            Outcome::Unknown(ref error) => {
                unknown = Some(error.clone());
                lane.unclear += 1;
                (true, outcome)
            }
        };
        let over = request.idempotency_key.is_none() || Instant::now() + BACKOFF >= deadline;
        if !again || over {
            return unknown.map_or(outcome, Outcome::Unknown);
        }
        lane.turn();
        tokio::time::sleep(BACKOFF).await;
    }
}

async fn once(world: &World, lane: &Lane, request: &Request, call: &Call) -> Outcome {
    let node = lane.node();
    match lane.http.call(node, call, world.load.try_time_max).await {
        Ok(answer) => told(world, request, &answer),
        Err(NoAnswer::NotSent(text)) => {
            Outcome::Refused { error: ErrorText::detailed("not-sent", &text), status: 0, log_end: None }
        }
        Err(NoAnswer::Timeout) => Outcome::Unknown(ErrorText::keyword("timeout")),
        Err(NoAnswer::Broken(text)) => Outcome::Unknown(ErrorText::detailed("broken", &text)),
    }
}

/// What an answer says.
fn told(world: &World, request: &Request, answer: &Answer) -> Outcome {
    let status = answer.status.as_u16();
    let error = || ErrorText::http(status, &answer.detail());
    match status {
        200 => match offsets(request, answer) {
            Ok(offsets) => Outcome::Acknowledged(offsets),
            Err(reason) => {
                world.incident("unsound-answer", format!("200 to a send to key {}: {reason}", request.key));
                Outcome::Unknown(ErrorText::detailed("unsound-answer", &reason))
            }
        },
        409 => {
            let mismatch: Option<Mismatch> = serde_json::from_slice(&answer.body).ok();
            Outcome::Refused { error: error(), status, log_end: mismatch.map(|mismatch| mismatch.log_end_offset) }
        }
        400..=499 | 503 => Outcome::Refused { error: error(), status, log_end: None },
        500 => {
            world.incident("internal-error", format!("500 to a send to key {}: {}", request.key, answer.detail()));
            Outcome::Unknown(error())
        }
        _ => Outcome::Unknown(error()),
    }
}

/// The offsets of an acknowledgement: one for each record, and contiguous, since a request is one batch.
pub fn offsets(request: &Request, answer: &Answer) -> Result<Vec<u64>, String> {
    let told: Acknowledged = serde_json::from_slice(&answer.body).map_err(|error| error.to_string())?;
    let offsets: Vec<u64> = told.records.iter().map(|placed| placed.offset).collect();
    let contiguous = offsets.windows(2).all(|pair| pair[1] == pair[0] + 1);
    if offsets.len() != request.messages.len() || !contiguous {
        return Err(format!("{} records, answered with offsets {offsets:?}", request.messages.len()));
    }
    let first = offsets.first().copied();
    match request.expected_offset.filter(|expected| first != Some(*expected)) {
        Some(expected) => Err(format!("expected_offset={expected}, answered with {first:?}")),
        None => Ok(offsets),
    }
}
