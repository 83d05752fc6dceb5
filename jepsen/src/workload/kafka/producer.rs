//! Sends through an idempotent producer. One message a send: how a library cuts batches is its own business, and only a
//! batch is one piece.

use super::child::{Child, Silent};
use super::{Producers, bootstrap};
use crate::history::{ErrorText, F, Key, Kind, Message, Micro, Offset, Place, Value};
use crate::workload::lane::Lane;
use crate::workload::record;
use crate::workload::world::World;
use rand::Rng;
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

const PAUSE: Duration = Duration::from_millis(50);
/// Over the time that the library tries.
const ANSWER_TIME: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
struct Told {
    offset: Option<u64>,
    error: Option<String>,
    #[serde(default)]
    detail: String,
    #[serde(default)]
    not_sent: bool,
}

impl Producers {
    /// The producer of a number, started if there is none that works.
    fn get(&self, world: &World, number: usize) -> anyhow::Result<Arc<Child>> {
        let mut all = self.0.lock();
        if let Some(child) = all.get(&number).filter(|child| child.is_alive()) {
            return Ok(child.clone());
        }
        let delivery_ms = world.load.op_time_max.as_millis().to_string();
        let arguments = ["producer".to_owned(), bootstrap(world), delivery_ms];
        let child = Arc::new(Child::start(world, &format!("producer-{number}"), &arguments)?);
        all.insert(number, child.clone());
        Ok(child)
    }

    /// A producer that can't go on: an idempotent one stops for good once it can't tell what was written.
    fn give_up(&self, number: usize, child: &Arc<Child>) {
        let mut all = self.0.lock();
        if all.get(&number).is_some_and(|known| Arc::ptr_eq(known, child)) {
            all.remove(&number);
        }
    }

    /// Ends all of them.
    pub fn end(&self) {
        self.0.lock().clear();
    }
}

/// Sends to all keys in any order, until the load ends.
pub async fn write(world: Arc<World>, mut lane: Lane, number: usize) {
    let keys = world.keys();
    while world.next_operation().await {
        let child = match world.producers.get(&world, number) {
            Ok(child) => child,
            Err(error) => return world.incident("client-stuck", format!("{error:#}")),
        };
        let key = keys[lane.random.random_range(0..keys.len())];
        if !send(&world, &mut lane, &child, number, key).await {
            world.pause(PAUSE).await;
        }
    }
}

fn value(key: Key, message: Message, place: Place) -> Value {
    Value::Micros(vec![Micro::Send { key, message, place }])
}

/// One send; whether it was acknowledged.
async fn send(world: &World, lane: &mut Lane, child: &Arc<Child>, number: usize, key: Key) -> bool {
    let message = world.messages(1)[0];
    let place = world.place(key);
    let operation = world.recorder.invoke(lane.process(), F::Send, value(key, message, Place::Asked));
    let command = json!({
        "do": "send", "topic": place.topic, "partition": place.partition,
        "value": record::value(message, world.load.record_bytes),
    });
    let told: Result<Told, Silent> = child.ask(command, world.load.op_time_max + ANSWER_TIME).await;
    let unknown = match told {
        Ok(Told { offset: Some(offset), .. }) => {
            place.saw(offset);
            world.tally.sends_ok.fetch_add(1, Ordering::Relaxed);
            world.recorder.complete(operation, Kind::Ok, value(key, message, Place::At(Offset(offset))), None);
            world.acknowledge(key, 1);
            return true;
        }
        Ok(Told { not_sent: true, detail, .. }) => {
            world.producers.give_up(number, child);
            world.tally.sends_fail.fetch_add(1, Ordering::Relaxed);
            let error = ErrorText::detailed("not-sent", &detail);
            world.recorder.complete(operation, Kind::Fail, value(key, message, Place::Asked), Some(error));
            return false;
        }
        Ok(Told { error, .. }) => ErrorText::detailed("kafka", error.as_deref().unwrap_or("no offset")),
        Err(Silent(why)) => {
            world.producers.give_up(number, child);
            ErrorText::keyword(why)
        }
    };
    world.tally.sends_info.fetch_add(1, Ordering::Relaxed);
    world.recorder.unknown(operation, unknown);
    lane.renew();
    false
}
