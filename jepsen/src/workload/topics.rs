//! `topics`: topics are created, written, read, deleted, and created again under the same name, under load. Each
//! incarnation has keys of its own: a record of an old one that shows up in a new one is one that nobody sent there.
//!
//! A request that names a topic means whichever has the name when it is carried out. So that no request of one
//! incarnation can be carried out in the next, a client deletes a topic only after each of its requests had a clear
//! outcome; where one had not, the name is left for good, and another taken.

use crate::history::Key;
use crate::workload::append::batch;
use crate::workload::http::{Answer, Call, NoAnswer};
use crate::workload::lane::Lane;
use crate::workload::poll::{Progress, Reader};
use crate::workload::send::{Acks, Outcome, send};
use crate::workload::world::World;
use crate::workload::{Client, Workload};
use anyhow::{Context, bail};
use futures::future::BoxFuture;
use rand::Rng;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const CREATE_TIME_MAX: Duration = Duration::from_secs(60);
const TRY_TIME: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(100);
const PARTITIONS: u32 = 3;

pub struct Topics;

impl Workload for Topics {
    fn name(&self) -> &'static str {
        "topics"
    }

    fn about(&self) -> &'static str {
        "topics are created, written, deleted and created again; nothing old shows in the new"
    }

    fn prepare<'a>(&'a self, world: &'a Arc<World>) -> BoxFuture<'a, anyhow::Result<()>> {
        // One that stays, for whoever waits until the cluster takes writes.
        Box::pin(async { make(world, "stays", 1).await })
    }

    fn client(&self, world: Arc<World>, number: usize, lane: Lane) -> Client {
        Box::pin(live(world, number, lane))
    }
}

/// Creates topics with so many partitions in sum, half of them with a replica on every node, and gives them keys.
pub async fn make(world: &Arc<World>, name: &str, keys: usize) -> anyhow::Result<()> {
    let mut lane = Lane::new(0, 1, world.nodes.clone(), world.seed);
    let everywhere = u16::try_from(world.nodes.len()).expect("there are five nodes at most");
    let few = (keys.div_ceil(2), world.replication_factor.min(everywhere));
    let all = (keys - few.0, everywhere);
    for (at, (partitions, replicas)) in [few, all].into_iter().filter(|(partitions, _)| *partitions > 0).enumerate() {
        let topic = format!("{name}-{at}");
        let partitions = u32::try_from(partitions).context("too many keys")?;
        create(&mut lane, &topic, partitions, replicas, CREATE_TIME_MAX).await?;
        for partition in 0..partitions {
            world.add_place(&topic, partition);
        }
    }
    Ok(())
}

/// Creates a topic, and waits until it is there.
async fn create(
    lane: &mut Lane,
    topic: &str,
    partitions: u32,
    replicas: u16,
    time_max: Duration,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + time_max;
    let body = format!(r#"{{"name":"{topic}","partitions":{partitions},"replication_factor":{replicas}}}"#);
    loop {
        let call = Call::post("/v1/topics".to_owned(), body.clone());
        let heard = match lane.http.call(lane.node(), &call, TRY_TIME).await {
            Ok(answer) if answer.status == 201 => return Ok(()),
            // Ours: nobody else uses this name. An answer before this one was lost on its way.
            Ok(answer) if answer.problem().as_deref() == Some("topic-exists") => return Ok(()),
            heard => heard,
        };
        lane.unclear += u64::from(is_unclear(&heard));
        if Instant::now() > deadline {
            bail!("topic {topic} could not be created within {} s: {}", time_max.as_secs(), shown(&heard));
        }
        lane.turn();
        tokio::time::sleep(PAUSE).await;
    }
}

/// Whether a try may yet be carried out.
fn is_unclear(heard: &Result<Answer, NoAnswer>) -> bool {
    match heard {
        Ok(answer) => answer.status.is_server_error() && answer.status != 503,
        Err(NoAnswer::NotSent(_)) => false,
        Err(NoAnswer::Timeout | NoAnswer::Broken(_)) => true,
    }
}

fn shown(heard: &Result<Answer, NoAnswer>) -> String {
    match heard {
        Ok(answer) => format!("{}: {}", answer.status, answer.detail()),
        Err(error) => format!("{error:?}"),
    }
}

/// Deletes a topic, and waits until every node says so.
async fn delete(world: &World, lane: &mut Lane, topic: &str) -> anyhow::Result<()> {
    let deadline = Instant::now() + CREATE_TIME_MAX;
    loop {
        let heard = lane.http.call(lane.node(), &Call::delete(format!("/v1/topics/{topic}")), TRY_TIME).await;
        match &heard {
            Ok(answer) if answer.status.is_success() => return Ok(()),
            // Deleted by a try whose answer was lost.
            Ok(answer) if answer.problem().as_deref() == Some("unknown-topic") => return Ok(()),
            Ok(answer) if answer.status == 500 => {
                world.incident("internal-error", format!("DELETE {topic}: {}", answer.detail()))
            }
            _ => {}
        }
        // One that is carried out later would delete the next topic of this name.
        lane.unclear += u64::from(is_unclear(&heard));
        if Instant::now() > deadline || world.stop.is_cancelled() {
            bail!("topic {topic} could not be deleted: {}", shown(&heard));
        }
        lane.turn();
        tokio::time::sleep(PAUSE).await;
    }
}

/// One client's topics, one after the other.
async fn live(world: Arc<World>, number: usize, lane: Lane) {
    let mut generation = 0;
    let mut reader = Reader::new(lane);
    while !world.stop.is_cancelled() {
        let topic = format!("topic-{number}-{generation}");
        match incarnation(&world, &mut reader, &topic).await {
            // The same name again.
            Ok(true) => {}
            Ok(false) => generation += 1,
            Err(error) => {
                generation += 1;
                if !world.stop.is_cancelled() {
                    world.incident("topic-stuck", format!("{error:#}"));
                }
            }
        }
    }
}

/// A topic from its creation to its deletion. Whether its name can be used again.
async fn incarnation(world: &World, reader: &mut Reader, topic: &str) -> anyhow::Result<bool> {
    let replicas = world.replication_factor.min(u16::try_from(world.nodes.len())?);
    // Each try counts: one that waits in a node that stands still is carried out later, whatever the next try is told.
    let unclear = reader.lane.unclear;
    create(&mut reader.lane, topic, PARTITIONS, replicas, CREATE_TIME_MAX).await?;
    let keys: Vec<Key> = (0..PARTITIONS).map(|partition| world.add_place(topic, partition)).collect();
    reader.assign(world, &keys);
    // What an old incarnation left would show before the first write.
    for key in &keys {
        reader.poll(world, *key, Duration::ZERO).await;
    }
    let sends = reader.lane.random.random_range(5..40);
    for _ in 0..sends {
        if !world.next_operation().await {
            // It stays, and is read in the last phase.
            return Ok(false);
        }
        let key = keys[reader.lane.random.random_range(0..keys.len())];
        let request = batch(world, &mut reader.lane, key, Acks::All);
        match send(world, &mut reader.lane, &request).await {
            Outcome::Acknowledged(_) => {}
            Outcome::Refused { .. } => tokio::time::sleep(PAUSE).await,
            Outcome::Unknown(_) => {
                reader.forget();
                reader.assign(world, &keys);
            }
        }
        reader.lane.turn();
    }
    read_all(world, reader, &keys).await;
    if reader.lane.unclear > unclear {
        return Ok(false);
    }
    // Each acknowledged record was read by now, and the others have a clear outcome.
    keys.iter().for_each(|key| world.retire(*key));
    delete(world, &mut reader.lane, topic).await?;
    Ok(reader.lane.unclear == unclear)
}

/// Reads what was acknowledged, while the topic is there.
async fn read_all(world: &World, reader: &mut Reader, keys: &[Key]) {
    let deadline = Instant::now() + CREATE_TIME_MAX;
    for key in keys {
        while reader.position(*key) < world.place(*key).known_end() && Instant::now() < deadline {
            if reader.poll(world, *key, Duration::from_millis(200)).await == Progress::Failed {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
