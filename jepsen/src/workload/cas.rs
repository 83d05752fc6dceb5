//! `cas`: clients append at the end that they believe in (`expected_offset`), or at any end, and ask for the end with
//! `consistency=linearizable`. All of it is written to a history of its own too, which must be linearizable.
//!
//! Deciding that is only possible for histories of some ten thousand operations per key in which few outcomes are
//! unknown, so the clients turn to new keys as a run goes on: each key has its time.

use crate::history::{Append, ErrorText, F, Key, Kind, LogKey, Value};
use crate::workload::http::{Call, NoAnswer};
use crate::workload::lane::Lane;
use crate::workload::poll::Reader;
use crate::workload::send::{Acks, Outcome, Request, send};
use crate::workload::world::World;
use crate::workload::{Client, Workload, topics};
use futures::future::BoxFuture;
use rand::Rng;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Records of one append, at most: several, so that an end in the middle of a batch would be noticed.
const RECORDS_MAX: usize = 3;
/// Operations of all clients on one key, about; then it is left.
const OPERATIONS_MAX: u64 = 8_000;
/// Keys in use at a time.
const WIDTH: usize = 6;

pub struct Cas;

impl Workload for Cas {
    fn name(&self) -> &'static str {
        "cas"
    }

    fn about(&self) -> &'static str {
        "expected_offset and linearizable reads of the log end, checked for linearizability"
    }

    fn has_log_end(&self) -> bool {
        true
    }

    fn prepare<'a>(&'a self, world: &'a Arc<World>) -> BoxFuture<'a, anyhow::Result<()>> {
        // Many keys: those behind are for later.
        Box::pin(async { topics::make(world, "cas", world.load.keys.max(WIDTH) * 5).await })
    }

    fn client(&self, world: Arc<World>, number: usize, lane: Lane) -> Client {
        if number < world.load.clients { Box::pin(write(world, lane)) } else { Box::pin(read(world, lane)) }
    }
}

fn log_key(key: Key) -> LogKey {
    LogKey::Number(key.0)
}

/// The keys in use: those that are not worn out.
fn in_use(world: &World, keys: &[Key]) -> Vec<Key> {
    let worn = |key: &&Key| world.place(**key).known_end() > OPERATIONS_MAX;
    let fresh: Vec<Key> = keys.iter().filter(|key| !worn(key)).take(WIDTH).copied().collect();
    if fresh.is_empty() { keys.to_vec() } else { fresh }
}

async fn write(world: Arc<World>, mut lane: Lane) {
    let keys = world.keys();
    let mut believed: BTreeMap<Key, u64> = BTreeMap::new();
    while world.next_operation().await {
        let used = in_use(&world, &keys);
        let key = used[lane.random.random_range(0..used.len())];
        match lane.random.random_range(0..10) {
            0..6 => {
                // Mostly right, now and then not, since a wrong one that is taken would be worst of all.
                let end = believed.get(&key).copied().unwrap_or(world.place(key).known_end());
                let wrong = lane.random.random_ratio(1, 20);
                let at = if wrong { end.saturating_sub(1) } else { end };
                append(&world, &mut lane, key, Some(at), &mut believed).await;
            }
            6..8 => append(&world, &mut lane, key, None, &mut believed).await,
            _ => read_end(&world, &mut lane, key, &mut believed).await,
        }
        lane.turn();
    }
}

async fn append(world: &World, lane: &mut Lane, key: Key, at: Option<u64>, believed: &mut BTreeMap<Key, u64>) {
    let n = lane.random.random_range(1..=RECORDS_MAX);
    let messages = world.messages(n);
    let idempotency_key = Some(format!("cas-{}", messages[0].0));
    let request = Request { key, messages, acks: Acks::All, expected_offset: at, idempotency_key };
    let log_end = world.log_end.as_ref().expect("this workload has a history of the log's end");
    let asked = Append::of(n as u64, at);
    let operation = log_end.invoke(lane.process(), F::Append, Value::Append(log_key(key), asked));
    match send(world, lane, &request).await {
        Outcome::Acknowledged(offsets) => {
            let told = Append { offset: offsets.first().copied(), ..asked };
            believed.insert(key, offsets[0] + n as u64);
            log_end.complete(operation, Kind::Ok, Value::Append(log_key(key), told), None);
        }
        Outcome::Refused { status: 409, log_end: end, .. } if at.is_some() => {
            believed.remove(&key);
            end.map(|end| believed.insert(key, end));
            let told = Append { end, ..asked };
            let error = ErrorText::keyword("wrong-offset");
            log_end.complete(operation, Kind::Fail, Value::Append(log_key(key), told), Some(error));
        }
        Outcome::Refused { error, .. } => {
            log_end.complete(operation, Kind::Fail, Value::Append(log_key(key), asked), Some(error));
        }
        Outcome::Unknown(error) => {
            believed.remove(&key);
            log_end.unknown(operation, error);
        }
    }
}

async fn read_end(world: &World, lane: &mut Lane, key: Key, believed: &mut BTreeMap<Key, u64>) {
    let log_end = world.log_end.as_ref().expect("this workload has a history of the log's end");
    let call = Call::head(format!("{}?offset=latest&consistency=linearizable", world.place(key).path()));
    let operation = log_end.invoke(lane.process(), F::End, Value::End(log_key(key), None));
    let answer = lane.http.call(lane.node(), &call, world.load.try_time_max).await;
    let error = match answer {
        Ok(answer) if answer.status == 200 => match answer.number("balsa-high-watermark") {
            Some(end) => {
                believed.insert(key, end);
                return log_end.complete(operation, Kind::Ok, Value::End(log_key(key), Some(end)), None);
            }
            None => ErrorText::keyword("no-high-watermark"),
        },
        Ok(answer) => ErrorText::http(answer.status.as_u16(), &answer.detail()),
        Err(NoAnswer::Timeout) => ErrorText::keyword("timeout"),
        Err(NoAnswer::NotSent(text) | NoAnswer::Broken(text)) => ErrorText::detailed("broken", &text),
    };
    // Asking has no effect, so nothing is left open.
    log_end.complete(operation, Kind::Fail, Value::End(log_key(key), None), Some(error));
}

/// Reads the keys in use forward.
async fn read(world: Arc<World>, lane: Lane) {
    let keys = world.keys();
    let mut reader = Reader::new(lane);
    while !world.stop.is_cancelled() {
        let used = in_use(&world, &keys);
        if reader.keys() != used {
            reader.assign(&world, &used);
        }
        reader.poll_next(&world, Duration::from_millis(100)).await;
        reader.lane.turn();
    }
}
