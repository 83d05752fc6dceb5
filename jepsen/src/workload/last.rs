//! The last phase: nothing is broken any more, every partition takes writes again, and everything is read once more
//! from the beginning by clients that remember nothing.

use crate::history::{Edn, F, Key, Kind, Value};
use crate::workload::lane::Lane;
use crate::workload::poll::{Progress, Reader};
use crate::workload::send::{Acks, Outcome, Request, send};
use crate::workload::world::World;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const PAUSE: Duration = Duration::from_millis(100);
/// How long a key may give nothing while there is something to read.
const PATIENCE: Duration = Duration::from_secs(20);
/// The same after a key that gave nothing: what is broken is known to be.
const PATIENCE_LATER: Duration = Duration::from_secs(2);

/// Waits until each partition has taken a write; gives those that did not in time.
pub async fn writes_succeed(world: &Arc<World>, lanes: &mut [Lane], time_max: Duration) -> Vec<Key> {
    let deadline = Instant::now() + time_max;
    let keys = world.keys();
    let share = keys.len().div_ceil(lanes.len()).max(1);
    let each = keys.chunks(share).zip(lanes).map(|(keys, lane)| async move {
        let mut left = Vec::new();
        for key in keys {
            if !write_one(world, lane, *key, deadline).await {
                left.push(*key);
            }
        }
        left
    });
    futures::future::join_all(each).await.concat()
}

async fn write_one(world: &World, lane: &mut Lane, key: Key, deadline: Instant) -> bool {
    loop {
        let messages = world.messages(1);
        let idempotency_key = Some(format!("last-{}", messages[0].0));
        let request = Request { key, messages, acks: Acks::All, expected_offset: None, idempotency_key };
        match send(world, lane, &request).await {
            Outcome::Acknowledged(_) => return true,
            _ if Instant::now() > deadline => return false,
            _ => tokio::time::sleep(PAUSE).await,
        }
        lane.turn();
    }
}

/// Reads everything from the beginning, up to what anybody was ever told of. What could not be read, in words.
pub async fn read_everything(world: &Arc<World>, lane: Lane, time_max: Duration) -> Vec<String> {
    let deadline = Instant::now() + time_max;
    let mut reader = Reader::new(lane);
    reader.crash(world);
    let keys = world.keys();
    let ends = keys.iter().map(|key| {
        let end = i64::try_from(world.place(*key).known_end()).unwrap_or(i64::MAX);
        let end = Edn::Map(vec![(Edn::Keyword("end".to_owned()), Edn::Int(end))]);
        (Edn::Int(i64::try_from(key.0).unwrap_or(i64::MAX)), end)
    });
    let told = Value::Other(Edn::Map(ends.collect()));
    let asked = Value::Keys(keys.clone());
    let operation = world.recorder.invoke(reader.lane.process(), F::DebugTopicPartitions, asked);
    world.recorder.complete(operation, Kind::Ok, told, None);
    reader.assign_from_beginning(world, &keys);
    let mut unread = Vec::new();
    let mut patience = PATIENCE;
    for key in keys {
        let mut moved = Instant::now();
        while reader.position(key) < world.place(key).known_end() {
            if Instant::now() > deadline || moved.elapsed() > patience {
                let (at, end) = (reader.position(key), world.place(key).known_end());
                unread.push(format!("{}: key {key} was read up to {at} of {end}", reader.lane.process()));
                patience = PATIENCE_LATER;
                break;
            }
            match reader.poll(world, key, Duration::from_millis(500)).await {
                Progress::Records(0) => {}
                Progress::Records(_) => moved = Instant::now(),
                Progress::Failed => tokio::time::sleep(PAUSE).await,
            }
        }
    }
    unread
}
