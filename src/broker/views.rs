//! What clients see of partitions, nodes and the cluster.

use super::api::{ClusterView, NodeView, PartitionView, ReadyCheck, TopicView};
use super::forward::{SummariesAnswer, SummaryAnswer};
use super::{Broker, Target};
use crate::controller::NodeStatus;
use crate::partition::{LocalReadError, Partitions, Summary};
use crate::state::meta::Node;
use crate::transport::{Liveness, Transport};
use crate::types::{GroupId, NodeId, Offset, PartitionId, Term};
use futures::stream::StreamExt;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Groups asked for in one message.
const GROUPS_PER_MESSAGE: usize = 2_000;
/// Groups looked at side by side for one message.
const CONCURRENT_GROUPS: usize = 64;
/// Rounds of following hints to the leaders.
const ROUNDS_MAX: usize = 5;

fn alive(transport: &Transport) -> BTreeSet<NodeId> {
    let liveness = transport.liveness();
    let peers = liveness.borrow();
    let heard = peers.iter().filter(|(_, life)| **life == Liveness::Alive).map(|(node, _)| *node);
    heard.chain([transport.node_id()]).collect()
}

/// Summaries of those of `groups` that this node leads. Groups that were never written here stay unborn.
pub async fn summaries_here(partitions: &Partitions, transport: &Transport, groups: Vec<GroupId>) -> SummariesAnswer {
    let alive = alive(transport);
    let answers = groups.into_iter().map(|group| {
        let alive = &alive;
        async move {
            let answer = if partitions.is_unwritten(group) {
                SummaryAnswer::NeverWritten
            } else {
                written_summary(partitions, group, alive).await
            };
            (group, answer)
        }
    });
    // Side by side: after a start each log is to be opened, and each group may have to elect.
    futures::stream::iter(answers).buffered(CONCURRENT_GROUPS).collect().await
}

async fn written_summary(partitions: &Partitions, group: GroupId, alive: &BTreeSet<NodeId>) -> SummaryAnswer {
    let Ok(replica) = partitions.open(group).await else { return SummaryAnswer::Elsewhere(None, Term(0)) };
    replica.group.ensure_leader(Duration::from_millis(300)).await;
    match replica.summary(alive) {
        Ok(summary) => SummaryAnswer::Leads(summary),
        Err(LocalReadError::NotLeader { leader, term }) => SummaryAnswer::Elsewhere(leader, term),
        Err(_) => SummaryAnswer::Elsewhere(None, replica.group.leadership().term),
    }
}

/// What is known of a partition while its leader is being looked for.
pub(super) struct Search {
    target: Target,
    found: Option<Summary>,
    term: Term,
    never_written: BTreeSet<NodeId>,
}

impl Search {
    pub(super) fn new(target: Target) -> Search {
        Search { target, found: None, term: Term(0), never_written: BTreeSet::new() }
    }
}

impl Broker {
    /// Per partition: leader, term, replicas in sync, offsets, size; asked of the leaders.
    pub async fn describe_partitions(&self, topic: &Arc<TopicView>, deadline: Instant) -> Vec<PartitionView> {
        let count = topic.assignments.len() as u32;
        let mut searches: Vec<Option<Search>> = (0..count)
            .map(|partition| {
                let target = self.target(topic, PartitionId(partition)).ok()?;
                Some(Search::new(target))
            })
            .collect();
        for round in 0..ROUNDS_MAX {
            if !self.search_round(&mut searches, round, deadline).await || Instant::now() >= deadline {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20 * round as u64)).await;
        }
        let views = searches.into_iter().enumerate().map(|(partition, search)| {
            let replicas = topic.assignments[partition].clone();
            self.partition_view(PartitionId(partition as u32), replicas, search)
        });
        views.collect()
    }

    fn is_settled(search: &Search) -> bool {
        search.found.is_some() || search.never_written.len() > search.target.replicas.len() / 2
    }

    /// Asks the likely leaders of what is not found yet. True if another round may help.
    pub(super) async fn search_round(&self, searches: &mut [Option<Search>], round: usize, deadline: Instant) -> bool {
        let router = &self.inner.parts.router;
        let mut by_node: BTreeMap<NodeId, Vec<GroupId>> = BTreeMap::new();
        let mut place_of = BTreeMap::new();
        for (place, search) in searches.iter().enumerate() {
            let Some(search) = search.as_ref().filter(|search| !Self::is_settled(search)) else { continue };
            place_of.insert(search.target.group, place);
            // The first round asks every replica whose word is needed to call a partition unwritten.
            let majority = search.target.replicas.len() / 2 + 1;
            let mut nodes = BTreeSet::from([router.guess(&search.target, round)]);
            nodes.extend(
                search.target.replicas.iter().copied().filter(|node| router.is_reachable(*node)).take(majority),
            );
            for node in nodes {
                by_node.entry(node).or_default().push(search.target.group);
            }
        }
        if by_node.is_empty() {
            return false;
        }
        let patience = deadline.saturating_duration_since(Instant::now()).min(Duration::from_secs(5));
        let asked = by_node.into_iter().flat_map(|(node, groups)| {
            let parts: Vec<Vec<_>> = groups.chunks(GROUPS_PER_MESSAGE).map(<[_]>::to_vec).collect();
            parts.into_iter().map(move |part| async move { (node, router.summaries(node, part, patience).await) })
        });
        for (node, answers) in futures::future::join_all(asked).await {
            for (group, answer) in answers.unwrap_or_default() {
                let Some(search) = place_of.get(&group).and_then(|place| searches[*place].as_mut()) else { continue };
                self.note(search, node, answer);
            }
        }
        true
    }

    fn note(&self, search: &mut Search, node: NodeId, answer: SummaryAnswer) {
        let router = &self.inner.parts.router;
        match answer {
            SummaryAnswer::Leads(summary) => {
                if summary.term >= search.term {
                    search.term = summary.term;
                    router.learn(search.target.group, Some(summary.leader));
                    search.found = Some(summary);
                }
            }
            SummaryAnswer::Elsewhere(leader, term) => {
                search.term = search.term.max(term);
                if let Some(leader) = leader.filter(|leader| *leader != node) {
                    router.learn(search.target.group, Some(leader));
                }
            }
            SummaryAnswer::NeverWritten => {
                search.never_written.insert(node);
            }
        }
    }

    pub(super) fn partition_view(
        &self,
        partition: PartitionId,
        replicas: Vec<NodeId>,
        search: Option<Search>,
    ) -> PartitionView {
        let router = &self.inner.parts.router;
        let empty = PartitionView {
            partition,
            leader: None,
            term: Term(0),
            replicas: replicas.clone(),
            in_sync: Vec::new(),
            log_start_offset: Offset(0),
            high_watermark: Offset(0),
            size_bytes: 0,
        };
        let Some(search) = search else { return empty };
        let never_written = Self::is_settled(&search);
        match search.found {
            Some(summary) => PartitionView {
                leader: Some(summary.leader),
                term: summary.term,
                in_sync: summary.in_sync,
                log_start_offset: summary.log_start_offset,
                high_watermark: summary.high_watermark,
                size_bytes: summary.size_bytes,
                ..empty
            },
            // Unborn: the first living replica would lead, and all that live have all there is, which is nothing.
            None if never_written => {
                let alive = alive(&self.inner.parts.transport);
                let mut in_sync: Vec<NodeId> = replicas.iter().copied().filter(|node| alive.contains(node)).collect();
                in_sync.sort_unstable();
                let leader = replicas.iter().copied().find(|node| router.is_reachable(*node));
                PartitionView { leader, in_sync, ..empty }
            }
            None => PartitionView { term: search.term, ..empty },
        }
    }

    pub async fn cluster(&self) -> ClusterView {
        let parts = &self.inner.parts;
        let image = parts.controller.image();
        let controller = parts.controller.leader();
        let liveness = parts.transport.liveness().borrow().clone();
        let nodes = image.nodes().map(|node| self.node_view(node, controller, &liveness)).collect();
        ClusterView {
            cluster_id: image.cluster_id().map(|id| id.to_string()).unwrap_or_default(),
            version: env!("CARGO_PKG_VERSION").to_string(),
            controller,
            nodes,
            topics: image.topic_count(),
            partitions: image.partition_count(),
        }
    }

    /// What this node tells the others of itself with its heartbeats.
    pub fn own_status(&self) -> NodeStatus {
        let leaders = self.led_here();
        let (disk_total_bytes, disk_free_bytes) = disk_space(&self.inner.config.data_dir).unwrap_or((0, 0));
        let meta_applied = self.inner.parts.controller.image().applied();
        NodeStatus { meta_applied, leaders, disk_total_bytes, disk_free_bytes }
    }

    /// Partitions that this node leads: those that it really leads, and unborn ones that it would.
    fn led_here(&self) -> u64 {
        let parts = &self.inner.parts;
        let own = self.node_id();
        let image = parts.controller.image();
        let led = |place: &crate::state::meta::GroupPlace<'_>| match parts.groups.get(place.group) {
            Some(group) => group.leading().is_some(),
            None => {
                place.replicas.iter().copied().find(|node| parts.router.is_reachable(*node)) == Some(own)
                    && !parts.groups.has_log(place.group)
            }
        };
        image.groups_of(own).filter(led).count() as u64
    }

    fn node_view(&self, node: &Node, controller: Option<NodeId>, liveness: &BTreeMap<NodeId, Liveness>) -> NodeView {
        let parts = &self.inner.parts;
        let own = node.id == self.node_id();
        let status = if own {
            Some(self.own_status())
        } else {
            parts.transport.peer_status(node.id).and_then(|bytes| NodeStatus::decode(&bytes))
        };
        let state = match liveness.get(&node.id) {
            _ if own => "alive",
            Some(Liveness::Alive) => "alive",
            Some(Liveness::Gone) => "gone",
            Some(Liveness::Silent) => "silent",
            Some(Liveness::Unknown) | None => "unknown",
        };
        let counts = parts.controller.image().counts(node.id);
        let is_alive = state == "alive";
        let disk = |bytes: fn(&NodeStatus) -> u64| status.as_ref().map(bytes).filter(|bytes| *bytes > 0);
        NodeView {
            id: node.id,
            uuid: node.uuid.map(|uuid| uuid.to_string()).unwrap_or_default(),
            version: node.version.clone(),
            http_address: node.http_address.clone(),
            kafka_address: node.kafka_address.clone(),
            peer_address: node.peer_address.clone(),
            rack: node.rack.clone(),
            state: state.to_string(),
            controller: controller == Some(node.id),
            leaders: status.as_ref().filter(|_| is_alive).map_or(0, |status| status.leaders),
            replicas: counts.replicas,
            disk_total_bytes: disk(|status| status.disk_total_bytes),
            disk_free_bytes: disk(|status| status.disk_free_bytes),
        }
    }

    /// Conditions of `/readyz`.
    pub async fn readiness(&self) -> Vec<ReadyCheck> {
        let parts = &self.inner.parts;
        let image = parts.controller.image();
        let registered = image.node(self.node_id()).is_some_and(|node| node.is_registered());
        let leader = parts.controller.leader();
        let failed = parts.groups.failed_groups();
        let stopping = parts.tasks.stopping().is_cancelled();
        let latched = parts.groups.open_groups().into_iter().find_map(|group| group.log.latched());
        let check = |name, ok, good: &str, bad: String| ReadyCheck {
            name,
            ok,
            detail: if ok { good.to_string() } else { bad },
        };
        vec![
            check(
                "cluster",
                image.cluster_id().is_some(),
                "the cluster is formed",
                "the cluster is not formed yet".into(),
            ),
            check("registered", registered, "this node is registered", "this node is not registered yet".into()),
            check("controller", leader.is_some(), "the meta group has a leader", "the meta group has no leader".into()),
            check(
                "catalog",
                parts.controller.is_caught_up(),
                "the topics are known",
                "the topics are not all known yet".into(),
            ),
            check(
                "storage",
                latched.is_none() && failed.is_empty(),
                "storage takes writes",
                latched.unwrap_or_else(|| format!("{} groups can't be opened", failed.len())),
            ),
            check("running", !stopping, "the node is running", "the node is stopping".into()),
        ]
    }

    /// Metrics of the whole node in the Prometheus text format.
    pub fn metrics_text(&self) -> String {
        let parts = &self.inner.parts;
        let groups = parts.groups.open_groups();
        let image = parts.controller.image();
        self.inner.metrics.text(&super::metrics::Snapshot {
            groups_open: groups.len() as u64,
            groups_awake: groups.iter().filter(|group| group.is_awake()).count() as u64,
            groups_leading: groups.iter().filter(|group| group.leading().is_some()).count() as u64,
            groups_failed: parts.groups.failed_groups().len() as u64,
            topics: image.topic_count(),
            partitions: image.partition_count(),
            in_flight_bytes: self.inner.in_flight_bytes.load(std::sync::atomic::Ordering::Relaxed) as u64,
            disk: disk_space(&self.inner.config.data_dir),
            is_controller: parts.controller.leader() == Some(self.node_id()),
        })
    }
}

/// Size and free space of the disk below `dir`, in bytes.
fn disk_space(dir: &std::path::Path) -> Option<(u64, u64)> {
    let stat = rustix::fs::statvfs(dir).ok()?;
    Some((stat.f_blocks * stat.f_frsize, stat.f_bavail * stat.f_frsize))
}
