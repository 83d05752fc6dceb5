//! The catalog as of one entry of the meta log: immutable for its readers, cheap to publish after each command.
//!
//! # Group ids and clean-up
//!
//! Group ids are given out from 1 upwards and never again. So there is no list of deleted groups: a group below
//! [`MetaImage::next_group_id`] that no topic has is deleted, and a node removes the directories of such groups. A
//! group at or above it is one that this image has *not heard of yet*: its directory stays. An empty image has given
//! out nothing, so losing the catalog never deletes data.

use super::assignments::Assignments;
use super::shared_map::SharedMap;
use crate::types::{GroupId, LogIndex, NodeId, PartitionId, TopicId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

/// The feature version that this program speaks, and gives to a new cluster.
pub const FEATURE_VERSION: u32 = 1;

/// A node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    pub id: NodeId,
    /// `None` until it is known, when the cluster is formed or the node registers; then fixed for ever.
    pub uuid: Option<Uuid>,
    /// Empty until it has registered.
    pub http_address: String,
    pub kafka_address: Option<String>,
    pub peer_address: String,
    pub rack: Option<String>,
    /// Of the program that it runs; empty until it has registered.
    pub version: String,
}

impl Node {
    /// Whether it has ever said who it is and where it listens.
    pub fn is_registered(&self) -> bool {
        self.uuid.is_some() && !self.http_address.is_empty()
    }
}

/// Partitions of one topic whose groups are numbered one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Extent {
    pub(super) first_partition: u32,
    pub(super) first_group: GroupId,
    pub(super) count: u32,
}

/// A topic, immutable: a change makes a new one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topic {
    pub id: TopicId,
    pub name: Arc<str>,
    /// Replicas by partition.
    pub assignments: Assignments,
    /// How many partitions it was made with.
    pub partitions_at_create: u32,
    /// Only what was set.
    pub config: BTreeMap<String, String>,
    /// Where in the meta log it was made.
    pub created_at: LogIndex,
    /// By first partition, without gaps, covering all partitions.
    pub(super) extents: Vec<Extent>,
}

impl Topic {
    /// How many partitions it has.
    pub fn partitions(&self) -> u32 {
        self.assignments.partitions()
    }

    /// The Raft group of a partition.
    pub fn group(&self, partition: PartitionId) -> Option<GroupId> {
        if partition.0 >= self.partitions() {
            return None;
        }
        let behind = self.extents.partition_point(|extent| extent.first_partition <= partition.0);
        let extent = &self.extents[behind.checked_sub(1)?];
        Some(GroupId(extent.first_group.0 + u64::from(partition.0 - extent.first_partition)))
    }

    /// All partitions with their groups and replicas, in order.
    pub fn groups(&self) -> impl Iterator<Item = (PartitionId, GroupId, &[NodeId])> {
        let groups = self.extents.iter().flat_map(|extent| (extent.first_group.0..).take(extent.count as usize));
        (0..).map(PartitionId).zip(groups.map(GroupId)).zip(self.assignments.iter()).map(|((p, g), r)| (p, g, r))
    }
}

/// Where a group belongs.
#[derive(Clone, Copy, Debug)]
pub struct GroupPlace<'a> {
    pub group: GroupId,
    pub topic: &'a Arc<Topic>,
    pub partition: PartitionId,
    /// The preferred leader first.
    pub replicas: &'a [NodeId],
}

/// What an image knows of a group id.
#[derive(Clone, Copy, Debug)]
pub enum GroupStatus<'a> {
    Live(GroupPlace<'a>),
    /// Its topic is gone: its directory may go too.
    Deleted,
    /// Not given out as of this image, which may lag: its directory must stay. The meta group itself is here too.
    NotGivenOut,
}

/// How much the catalog puts on a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeCounts {
    /// Partitions of which it holds a replica.
    pub replicas: u64,
    /// Partitions of which it is the preferred leader.
    pub preferred_leaders: u64,
}

/// Where a run of groups belongs: the value in the map from first group id.
#[derive(Clone, Copy, Debug)]
struct GroupRun {
    count: u32,
    topic_id: TopicId,
    first_partition: u32,
}

/// See the module's documentation. Clones share all that is large.
#[derive(Clone, Debug)]
pub struct MetaImage {
    pub(super) applied: Option<LogIndex>,
    pub(super) cluster_id: Option<Uuid>,
    pub(super) feature_version: u32,
    pub(super) next_group_id: GroupId,
    pub(super) next_producer_id: u64,
    pub(super) nodes: Arc<BTreeMap<NodeId, Arc<Node>>>,
    topics_by_name: SharedMap<Arc<str>, Arc<Topic>>,
    topics_by_id: SharedMap<TopicId, Arc<Topic>>,
    runs: SharedMap<GroupId, GroupRun>,
    counts: Arc<BTreeMap<NodeId, NodeCounts>>,
    partition_count: u64,
}

impl Default for MetaImage {
    fn default() -> MetaImage {
        MetaImage {
            applied: None,
            cluster_id: None,
            feature_version: FEATURE_VERSION,
            next_group_id: GroupId(1),
            next_producer_id: 1,
            nodes: Arc::default(),
            topics_by_name: SharedMap::default(),
            topics_by_id: SharedMap::default(),
            runs: SharedMap::default(),
            counts: Arc::default(),
            partition_count: 0,
        }
    }
}

impl MetaImage {
    /// The entry of the last command that is in this image.
    pub fn applied(&self) -> Option<LogIndex> {
        self.applied
    }

    /// `None` until the cluster is formed.
    pub fn cluster_id(&self) -> Option<Uuid> {
        self.cluster_id
    }

    /// What all nodes of the cluster may use.
    pub fn feature_version(&self) -> u32 {
        self.feature_version
    }

    /// The next group will have this id; see the module's documentation.
    pub fn next_group_id(&self) -> GroupId {
        self.next_group_id
    }

    /// All nodes, by id.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = &Arc<Node>> {
        self.nodes.values()
    }

    pub fn node(&self, id: NodeId) -> Option<&Arc<Node>> {
        self.nodes.get(&id)
    }

    /// All topics, by name.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.topics_by_name.iter().map(|(_, topic)| topic)
    }

    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.topics_by_name.get(name)
    }

    pub fn topic_by_id(&self, id: TopicId) -> Option<&Arc<Topic>> {
        self.topics_by_id.get(&id)
    }

    pub fn topic_count(&self) -> u64 {
        self.topics_by_id.len() as u64
    }

    /// Partitions of all topics together.
    pub fn partition_count(&self) -> u64 {
        self.partition_count
    }

    /// Where a live group belongs.
    pub fn group(&self, group: GroupId) -> Option<GroupPlace<'_>> {
        let (first, run) = self.runs.floor(&group)?;
        let within = u32::try_from(group.0 - first.0).ok().filter(|within| *within < run.count)?;
        let partition = PartitionId(run.first_partition + within);
        let topic = self.topics_by_id.get(&run.topic_id)?;
        Some(GroupPlace { group, topic, partition, replicas: topic.assignments.replicas(partition)? })
    }

    /// Whether a group is live, deleted, or not known yet.
    pub fn group_status(&self, group: GroupId) -> GroupStatus<'_> {
        match self.group(group) {
            Some(place) => GroupStatus::Live(place),
            None if group.0 > 0 && group < self.next_group_id => GroupStatus::Deleted,
            None => GroupStatus::NotGivenOut,
        }
    }

    /// All live groups, by topic name and partition.
    pub fn groups(&self) -> impl Iterator<Item = GroupPlace<'_>> {
        self.topics().flat_map(|topic| {
            topic.groups().map(move |(partition, group, replicas)| GroupPlace { group, topic, partition, replicas })
        })
    }

    /// The groups of which `node` holds a replica. Looks at every partition.
    pub fn groups_of(&self, node: NodeId) -> impl Iterator<Item = GroupPlace<'_>> {
        self.groups().filter(move |place| place.replicas.contains(&node))
    }

    /// How much the catalog puts on `node`; kept, not counted.
    pub fn counts(&self, node: NodeId) -> NodeCounts {
        self.counts.get(&node).copied().unwrap_or_default()
    }

    /// Adds a topic that is not there, or puts a changed one in the place of its former self.
    pub(super) fn put_topic(&mut self, topic: Topic) {
        self.remove_topic(topic.id);
        for extent in &topic.extents {
            let run = GroupRun { count: extent.count, topic_id: topic.id, first_partition: extent.first_partition };
            self.runs.insert(extent.first_group, run);
        }
        self.count(&topic, 1);
        let topic = Arc::new(topic);
        self.topics_by_name.insert(topic.name.clone(), topic.clone());
        self.topics_by_id.insert(topic.id, topic);
    }

    /// Removes a topic if it is there.
    pub(super) fn remove_topic(&mut self, id: TopicId) -> Option<Arc<Topic>> {
        let topic = self.topics_by_id.remove(&id)?;
        self.topics_by_name.remove(&topic.name);
        for extent in &topic.extents {
            self.runs.remove(&extent.first_group);
        }
        self.count(&topic, -1);
        Some(topic)
    }

    /// Adds a topic's partitions to the counts, or takes them off.
    fn count(&mut self, topic: &Topic, sign: i64) {
        let counts = Arc::make_mut(&mut self.counts);
        for replicas in topic.assignments.iter() {
            for (at, node) in replicas.iter().enumerate() {
                let entry = counts.entry(*node).or_default();
                entry.replicas = entry.replicas.wrapping_add_signed(sign);
                if at == 0 {
                    entry.preferred_leaders = entry.preferred_leaders.wrapping_add_signed(sign);
                }
            }
        }
        self.partition_count = self.partition_count.wrapping_add_signed(sign * i64::from(topic.partitions()));
    }
}
