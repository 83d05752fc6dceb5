//! The meta state in bytes, for checkpoints and for nodes that join.
//!
//! What can be computed is not stored: lookups and counts are built again, and everything that they rest on is checked
//! while reading, so that bytes that decode never make a later command fail.

use super::apply::RequestMemory;
use super::codec::{self, DecodeError, malformed};
use super::image::{FEATURE_VERSION, MetaImage, Node, Topic};
use super::{MetaOutcome, MetaResponse, MetaState};
use crate::types::{GroupId, LogIndex, NodeId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

/// Version 2 may have answers about producer ids.
const SNAPSHOT_VERSION: u8 = 2;
const WHAT: &str = "a snapshot of the meta group";

/// As it is encoded. Lists are sorted: equal states have equal bytes.
#[derive(Serialize, Deserialize)]
struct Snapshot {
    feature_version: u32,
    applied: Option<LogIndex>,
    cluster_id: Option<Uuid>,
    next_group_id: GroupId,
    next_producer_id: u64,
    nodes: Vec<Arc<Node>>,
    topics: Vec<Arc<Topic>>,
    /// Oldest first.
    answered: Vec<(u128, MetaResponse)>,
}

pub(super) fn encode(state: &MetaState) -> Vec<u8> {
    let image = &state.image;
    let snapshot = Snapshot {
        feature_version: image.feature_version,
        applied: image.applied,
        cluster_id: image.cluster_id,
        next_group_id: image.next_group_id,
        next_producer_id: image.next_producer_id,
        nodes: image.nodes().cloned().collect(),
        topics: image.topics().cloned().collect(),
        answered: state.requests.iter().cloned().collect(),
    };
    let tells_producer_ids =
        |(_, answer): &(u128, MetaResponse)| answer.result.as_ref().is_ok_and(MetaOutcome::is_of_version_2);
    let version = if snapshot.answered.iter().any(tells_producer_ids) { SNAPSHOT_VERSION } else { 1 };
    codec::encode(version, &snapshot)
}

pub(super) fn decode(bytes: &[u8]) -> Result<MetaState, DecodeError> {
    let snapshot: Snapshot = codec::decode(WHAT, SNAPSHOT_VERSION, bytes)?;
    if snapshot.feature_version == 0 || snapshot.feature_version > FEATURE_VERSION {
        let (found, newest) = (snapshot.feature_version, FEATURE_VERSION);
        return Err(malformed(
            WHAT,
            format!("it needs feature version {found}, and this program has {newest}: upgrade this node"),
        ));
    }
    if snapshot.next_group_id < GroupId(1) {
        return Err(malformed(WHAT, "the next group id is 0, which is the meta group's"));
    }
    let mut nodes = BTreeMap::new();
    for node in snapshot.nodes {
        if let Some(twice) = nodes.insert(node.id, node) {
            return Err(malformed(WHAT, format!("node {} is there twice", twice.id)));
        }
    }
    let mut image = MetaImage::default();
    image.applied = snapshot.applied;
    image.cluster_id = snapshot.cluster_id;
    image.feature_version = snapshot.feature_version;
    image.next_group_id = snapshot.next_group_id;
    image.next_producer_id = snapshot.next_producer_id;
    image.nodes = Arc::new(nodes);
    for topic in snapshot.topics {
        check_topic(&image, &topic)?;
        image.put_topic(Arc::unwrap_or_clone(topic));
    }
    check_runs(&image)?;
    let requests = RequestMemory::restored(snapshot.answered).map_err(|reason| malformed(WHAT, reason))?;
    Ok(MetaState { image: Arc::new(image), requests })
}

/// Whether `topic` fits into an image that has the topics before it.
fn check_topic(image: &MetaImage, topic: &Topic) -> Result<(), DecodeError> {
    let wrong = |reason: &str| Err(malformed(WHAT, format!("topic {}: {reason}", topic.name)));
    if image.topic(&topic.name).is_some() || image.topic_by_id(topic.id).is_some() {
        return wrong("its name or its id is there twice");
    }
    if topic.partitions_at_create == 0 || topic.partitions_at_create > topic.partitions() {
        return wrong("it has fewer partitions than it was made with");
    }
    let mut next_partition = 0;
    for extent in &topic.extents {
        let end = extent.first_group.0.checked_add(u64::from(extent.count));
        if extent.count == 0 || extent.first_partition != next_partition || extent.first_group.0 == 0 {
            return wrong("its partitions are not numbered one after the other");
        }
        if end.is_none_or(|end| end > image.next_group_id.0) {
            return wrong("it has a group that was not given out");
        }
        next_partition = match extent.first_partition.checked_add(extent.count) {
            Some(next) => next,
            None => return wrong("it has too many partitions"),
        };
    }
    if next_partition != topic.partitions() {
        return wrong("its partitions and its groups differ in number");
    }
    let known: Vec<NodeId> = image.nodes().map(|node| node.id).collect();
    if topic.assignments.iter().flatten().any(|node| known.binary_search(node).is_err()) {
        return wrong("it has a replica on a node that is not there");
    }
    Ok(())
}

/// No group belongs to two partitions.
fn check_runs(image: &MetaImage) -> Result<(), DecodeError> {
    let mut runs: Vec<(GroupId, u32)> = image
        .topics()
        .flat_map(|topic| topic.extents.iter().map(|extent| (extent.first_group, extent.count)))
        .collect();
    runs.sort_unstable();
    match runs.windows(2).find(|pair| pair[0].0.0 + u64::from(pair[0].1) > pair[1].0.0) {
        Some(pair) => Err(malformed(WHAT, format!("group {} belongs to two partitions", pair[1].0))),
        None => Ok(()),
    }
}
