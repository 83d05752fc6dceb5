//! `append`: clients write to many partitions with acks=all and an Idempotency-Key, and try again until their time is
//! over; others read forward, each its own share of the keys, with every key read by several.

use crate::history::Key;
use crate::workload::lane::Lane;
use crate::workload::poll::{Progress, Reader};
use crate::workload::retry::Retries;
use crate::workload::send::{Acks, Outcome, Request, send};
use crate::workload::world::World;
use crate::workload::{Client, Workload, topics};
use futures::future::BoxFuture;
use rand::Rng;
use rand::seq::SliceRandom;
use std::sync::Arc;
use std::time::Duration;

const WAIT: Duration = Duration::from_millis(100);
/// One of so many polls is followed by a new assignment.
const ASSIGN_ONE_OF: u32 = 25;

pub struct Append;

impl Workload for Append {
    fn name(&self) -> &'static str {
        "append"
    }

    fn about(&self) -> &'static str {
        "acks=all to many partitions, retries with Idempotency-Key, polls that read forward"
    }

    fn prepare<'a>(&'a self, world: &'a Arc<World>) -> BoxFuture<'a, anyhow::Result<()>> {
        Box::pin(async { topics::make(world, "append", world.load.keys).await })
    }

    fn client(&self, world: Arc<World>, number: usize, lane: Lane) -> Client {
        if number < world.load.clients { Box::pin(write(world, lane, Acks::All)) } else { Box::pin(read(world, lane)) }
    }
}

/// A batch of records for a key.
pub fn batch(world: &World, lane: &mut Lane, key: Key, acks: Acks) -> Request {
    let count = lane.random.random_range(world.load.records.div_ceil(2)..=world.load.records);
    let messages = world.messages(count);
    let idempotency_key = (acks == Acks::All).then(|| format!("send-{}", messages[0].0));
    Request { key, messages, acks, expected_offset: None, idempotency_key }
}

/// Writes to all keys in any order, until the load ends.
pub async fn write(world: Arc<World>, mut lane: Lane, acks: Acks) {
    let keys = world.keys();
    let mut retries = Retries::default();
    while world.next_operation().await {
        let key = keys[lane.random.random_range(0..keys.len())];
        let request = batch(&world, &mut lane, key, acks);
        match send(&world, &mut lane, &request).await {
            Outcome::Acknowledged(offsets) => retries.remember(&world, &mut lane, request, offsets),
            Outcome::Refused { .. } | Outcome::Unknown(_) => {
                world.pause(Duration::from_millis(20)).await;
            }
        }
        // Each node serves each client now and then.
        lane.turn();
        retries.now_and_then(&world, &mut lane).await;
    }
}

/// Reads forward, until the load ends.
pub async fn read(world: Arc<World>, lane: Lane) {
    let keys = world.keys();
    let mut reader = Reader::new(lane);
    assign_some(&world, &mut reader, &keys);
    while !world.stop.is_cancelled() {
        match reader.poll_next(&world, WAIT).await {
            Progress::Records(_) => {
                if reader.lane.random.random_ratio(1, 2) {
                    reader.lane.turn();
                }
            }
            Progress::Failed => {
                world.pause(Duration::from_millis(20)).await;
            }
        }
        if reader.lane.random.random_ratio(1, ASSIGN_ONE_OF) {
            assign_some(&world, &mut reader, &keys);
        }
    }
}

/// About two of three keys; later the same with one changed for another, so that most go on where they were.
fn assign_some(world: &World, reader: &mut Reader, keys: &[Key]) {
    let mut chosen = reader.keys();
    let mut others: Vec<Key> = keys.iter().filter(|key| !chosen.contains(key)).copied().collect();
    others.shuffle(&mut reader.lane.random);
    if chosen.is_empty() {
        chosen = others.split_off(others.len() / 3);
    } else if let Some(other) = others.pop() {
        let at = reader.lane.random.random_range(0..chosen.len());
        chosen[at] = other;
    }
    chosen.sort_unstable();
    reader.assign(world, &chosen);
}
