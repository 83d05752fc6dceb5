//! Listens to the nodes while a run goes on: who leads what, several times a second; and who died by itself, which is an
//! incident, and is started again.

use crate::cluster::Cluster;
use crate::cluster::leaders::{Leaders, TopicAnswer};
use crate::workload::http::{Call, Http};
use crate::workload::world::World;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const LOOK: Duration = Duration::from_millis(120);
const ANSWER_TIME_MAX: Duration = Duration::from_millis(400);
/// Topics that are asked for in one round; the others' turn comes next.
const TOPICS_MAX: usize = 4;
const RESTART_PAUSE: Duration = Duration::from_millis(300);
/// A node that dies again and again is left dead.
const RESTARTS_MAX: usize = 20;

/// Asks who leads, until `stop`.
pub async fn leaders(world: Arc<World>, leaders: Arc<Leaders>, stop: CancellationToken) {
    let http = Http::default();
    let mut node = 0;
    let mut turn = 0;
    while tokio::time::timeout(LOOK, stop.cancelled()).await.is_err() {
        let topics = world.topics();
        for at in 0..topics.len().min(TOPICS_MAX) {
            let call = Call::get(format!("/v1/topics/{}", topics[(turn + at) % topics.len()]));
            node = (node + 1) % world.nodes.len();
            let Ok(answer) = http.call(world.nodes[node], &call, ANSWER_TIME_MAX).await else { continue };
            if let Ok(topic) = serde_json::from_slice::<TopicAnswer>(&answer.body) {
                leaders.note(world.recorder.now_ns(), &topic);
            }
        }
        turn += TOPICS_MAX;
    }
}

/// Starts again what died by itself, until `stop`.
pub async fn deaths(world: Arc<World>, cluster: Arc<Cluster>, stop: CancellationToken) {
    let Some(mut deaths) = cluster.deaths() else { return };
    let mut restarts = 0;
    while let Some(Some(death)) = stop.run_until_cancelled(deaths.recv()).await {
        let node = cluster.node(death.node);
        if node.is_excused() {
            continue;
        }
        world.incident("node-died", format!("n{} {}: {}", death.node, death.how, death.last_words));
        restarts += 1;
        if restarts > RESTARTS_MAX {
            continue;
        }
        tokio::time::sleep(RESTART_PAUSE).await;
        // A fault that has the node starts it when it ends.
        if let Some(_held) = node.try_hold()
            && let Err(error) = node.start()
        {
            world.incident("node-died", format!("n{} cannot be started again: {error:#}", death.node));
        }
    }
}

/// Panics that a node's log has: one of a task does not end the process.
pub fn panics(world: &World, cluster: &Cluster) {
    for node in &cluster.nodes {
        for line in node.panics() {
            world.incident("panic", format!("{}: {line}", node.name()));
        }
    }
}
