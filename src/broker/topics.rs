//! The catalog as clients see and change it. The controller decides; this finds, checks at the door, and waits until
//! a change shows everywhere.

use super::Broker;
use super::api::{AlterTopic, CreateTopic, TopicError, TopicView};
use super::groups::is_internal;
use crate::controller::placement::{PlacementNode, check_explicit, place};
use crate::controller::{ChangeError, Invalid, topic_config};
use crate::state::meta::{
    AddPartitions, Assignments, MetaChange, MetaError, MetaImage, MetaOutcome, MetaResponse, Topic,
};
use crate::types::{LogIndex, NodeId, TopicId};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long a change of the catalog waits for all living nodes to show it; it holds in any case.
const SHOWN_PATIENCE: Duration = Duration::from_secs(5);
/// How long a topic that this node does not know is waited for: another node may have just made it.
const UNKNOWN_PATIENCE: Duration = Duration::from_secs(2);

impl From<Invalid> for TopicError {
    fn from(invalid: Invalid) -> TopicError {
        TopicError::Invalid { field: invalid.field, detail: invalid.detail }
    }
}

impl From<ChangeError> for TopicError {
    fn from(error: ChangeError) -> TopicError {
        let reason = error.to_string();
        match error {
            ChangeError::Unavailable(_) => TopicError::Unavailable { reason, retry_after_ms: 1000 },
            ChangeError::Unknown => TopicError::OutcomeUnknown { reason },
        }
    }
}

fn view_of(topic: &Topic) -> TopicView {
    TopicView {
        name: topic.name.to_string(),
        id: topic.id,
        replication_factor: topic.assignments.replication_factor(),
        partitions_at_create: topic.partitions_at_create,
        assignments: topic.assignments.to_lists(),
        config: topic.config.clone(),
        effective: topic_config::in_force(&topic.config),
    }
}

/// The cluster's own topics are for the cluster to make and change.
fn check_not_internal(name: &str) -> Result<(), TopicError> {
    if !is_internal(name) {
        return Ok(());
    }
    let detail = format!("{name} belongs to the cluster, which alone makes, changes and deletes it");
    Err(TopicError::Invalid { field: "/name".to_string(), detail })
}

fn unknown(name: &str) -> TopicError {
    TopicError::UnknownTopic(name.to_string())
}

impl Broker {
    pub(super) fn view(&self, topic: &Arc<Topic>) -> Arc<TopicView> {
        let mut views = self.inner.views.lock();
        if let Some((known, view)) = views.get(&topic.id)
            && Arc::ptr_eq(known, topic)
        {
            return view.clone();
        }
        let view = Arc::new(view_of(topic));
        views.insert(topic.id, (topic.clone(), view.clone()));
        view
    }

    fn image(&self) -> Arc<MetaImage> {
        self.inner.parts.controller.image()
    }

    /// All topics that clients see, by name.
    pub fn topics(&self) -> Vec<Arc<TopicView>> {
        let image = self.image();
        self.inner.views.lock().retain(|id, _| image.topic_by_id(*id).is_some());
        let mut topics: Vec<_> = image.topics().map(|topic| self.view(topic)).collect();
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        topics
    }

    /// One topic, from this node's image of the catalog (which may lag by a moment).
    pub fn topic(&self, name: &str) -> Option<Arc<TopicView>> {
        self.image().topic(name).map(|topic| self.view(topic))
    }

    /// One topic for a write or read: looks again with the controller where the image has none (it may lag), and
    /// makes it where `auto_create` is asked for and the configuration allows it.
    pub async fn resolve_topic(
        &self,
        name: &str,
        auto_create: bool,
        deadline: Instant,
    ) -> Result<Arc<TopicView>, TopicError> {
        if let Some(topic) = self.topic(name) {
            return Ok(topic);
        }
        topic_config::check_name(name)?;
        if !self.inner.parts.controller.await_caught_up(deadline).await {
            let reason = "this node has just started and does not know all topics yet".to_string();
            return Err(TopicError::Unavailable { reason, retry_after_ms: 500 });
        }
        if auto_create && self.inner.config.auto_create_topics {
            let request = CreateTopic { name: name.to_string(), ..CreateTopic::default() };
            return match self.create_topic(request, deadline).await {
                Err(TopicError::Exists(_)) => self.await_topic(name, deadline).await.ok_or_else(|| unknown(name)),
                created => created,
            };
        }
        if let Some(topic) = self.topic(name) {
            return Ok(topic);
        }
        self.catch_up(deadline.min(Instant::now() + UNKNOWN_PATIENCE)).await;
        self.topic(name).ok_or_else(|| unknown(name))
    }

    /// Waits until this node's image shows what the freshest living node's heartbeat told of.
    async fn catch_up(&self, deadline: Instant) {
        let parts = &self.inner.parts;
        let status = |node| parts.transport.peer_status(node);
        let decode = |bytes: bytes::Bytes| crate::controller::NodeStatus::decode(&bytes);
        let told = parts.groups.alive().into_iter().filter_map(status).filter_map(decode);
        let newest: Option<LogIndex> = told.filter_map(|status| status.meta_applied).max();
        if let Some(newest) = newest.filter(|newest| self.image().applied() < Some(*newest)) {
            parts.controller.await_applied(newest, deadline).await;
        }
    }

    async fn await_topic(&self, name: &str, deadline: Instant) -> Option<Arc<TopicView>> {
        let mut image = self.inner.parts.controller.watch();
        let shown = image.wait_for(|image| image.topic(name).is_some());
        let _ = tokio::time::timeout_at(deadline, shown).await;
        self.topic(name)
    }

    fn placement_nodes(&self) -> Vec<PlacementNode> {
        let image = self.image();
        let alive = self.inner.parts.groups.alive();
        let node = |node: &Arc<crate::state::meta::Node>| {
            let counts = image.counts(node.id);
            PlacementNode {
                id: node.id,
                rack: node.rack.clone(),
                alive: alive.contains(&node.id),
                replicas: counts.replicas,
                leaders: counts.preferred_leaders,
            }
        };
        image.nodes().map(node).collect()
    }

    pub(super) fn assignments_for(&self, request: &CreateTopic) -> Result<Assignments, TopicError> {
        let config = &self.inner.config;
        let nodes = self.placement_nodes();
        let assignments = match &request.assignments {
            Some(lists) => check_explicit(&nodes, lists, request.partitions, request.replication_factor)?,
            None => {
                let partitions = request.partitions.unwrap_or(config.default_partitions);
                let possible = config.default_replication_factor.min(nodes.len() as u32).max(1);
                place(&nodes, partitions, request.replication_factor.unwrap_or(possible))?
            }
        };
        if assignments.partitions() > config.partitions_per_topic_max {
            let max = config.partitions_per_topic_max;
            let detail = format!("a topic has at most {max} partitions here, not {}", assignments.partitions());
            return Err(TopicError::Invalid { field: "/partitions".to_string(), detail });
        }
        Ok(assignments)
    }

    /// Makes a topic; back once any node takes writes to every partition.
    pub async fn create_topic(&self, request: CreateTopic, deadline: Instant) -> Result<Arc<TopicView>, TopicError> {
        check_not_internal(&request.name)?;
        self.make_topic(request, deadline).await
    }

    /// As `create_topic`, for topics of the cluster itself too.
    pub(super) async fn make_topic(
        &self,
        request: CreateTopic,
        deadline: Instant,
    ) -> Result<Arc<TopicView>, TopicError> {
        topic_config::check_name(&request.name)?;
        topic_config::parse(&request.config)?;
        if self.image().topic(&request.name).is_some() {
            return Err(TopicError::Exists(request.name));
        }
        let assignments = self.assignments_for(&request)?;
        let topic_id = TopicId(self.inner.parts.random.uuid());
        let name = request.name.clone();
        let change = MetaChange::CreateTopic { topic_id, name: name.clone(), assignments, config: request.config };
        let response = self.inner.parts.controller.change(change, deadline).await?;
        let MetaOutcome::TopicCreated { topic_id, .. } = self.shown(response, &name, deadline).await? else {
            return Err(TopicError::OutcomeUnknown { reason: format!("topic {name} may have been made") });
        };
        match self.image().topic_by_id(topic_id) {
            Some(topic) => Ok(self.view(topic)),
            None => Err(TopicError::OutcomeUnknown {
                reason: format!("topic {name} was made, but was deleted again or does not show on this node yet"),
            }),
        }
    }

    /// The outcome of a change, once all living nodes show it.
    async fn shown(&self, response: MetaResponse, name: &str, deadline: Instant) -> Result<MetaOutcome, TopicError> {
        let outcome = response.result.map_err(|error| match error {
            MetaError::TopicExists(name) => TopicError::Exists(name),
            MetaError::UnknownTopic(_) => unknown(name),
            MetaError::Invalid(detail) => TopicError::Invalid { field: String::new(), detail },
            other => TopicError::Unavailable { reason: other.to_string(), retry_after_ms: 500 },
        })?;
        let patience = deadline.min(Instant::now() + SHOWN_PATIENCE);
        self.inner.parts.controller.await_applied_everywhere(response.index, patience).await;
        Ok(outcome)
    }

    pub async fn alter_topic(
        &self,
        name: &str,
        request: AlterTopic,
        deadline: Instant,
    ) -> Result<Arc<TopicView>, TopicError> {
        check_not_internal(name)?;
        topic_config::check_changes(&request.config)?;
        let topic = self.resolve_topic(name, false, deadline).await?;
        let image = self.image();
        let known = image.topic_by_id(topic.id).ok_or_else(|| unknown(name))?;
        let add = match request.partitions {
            Some(wanted) => self.partitions_to_add(known, wanted, request.assignments.as_deref())?,
            None => None,
        };
        if add.is_none() && request.config.is_empty() {
            return Ok(topic);
        }
        let change = MetaChange::AlterTopic { topic_id: topic.id, add, config: request.config };
        let response = self.inner.parts.controller.change(change, deadline).await?;
        self.shown(response, name, deadline).await?;
        self.image().topic_by_id(topic.id).map(|topic| self.view(topic)).ok_or_else(|| unknown(name))
    }

    /// Checks an addition of partitions without making it.
    ///
    /// # Errors
    /// As for making it.
    pub fn check_new_partitions(
        &self,
        topic: &TopicView,
        wanted: u32,
        explicit: Option<&[Vec<NodeId>]>,
    ) -> Result<(), TopicError> {
        let image = self.image();
        let known = image.topic_by_id(topic.id).ok_or_else(|| unknown(&topic.name))?;
        self.partitions_to_add(known, wanted, explicit).map(drop)
    }

    fn partitions_to_add(
        &self,
        topic: &Topic,
        wanted: u32,
        explicit: Option<&[Vec<NodeId>]>,
    ) -> Result<Option<AddPartitions>, TopicError> {
        let field = "/partitions".to_string();
        let has = topic.partitions();
        if wanted < has {
            let detail = format!(
                "topic {} has {has} partitions, and partitions can't be taken away; give a number from {has} on, or \
                 make a new topic",
                topic.name
            );
            return Err(TopicError::Invalid { field, detail });
        }
        let max = self.inner.config.partitions_per_topic_max;
        if wanted > max {
            let detail = format!("a topic has at most {max} partitions, not {wanted}");
            return Err(TopicError::Invalid { field, detail });
        }
        if wanted == has {
            return Ok(None);
        }
        let (nodes, added, factor) = (self.placement_nodes(), wanted - has, topic.assignments.replication_factor());
        let assignments = match explicit {
            Some(lists) => check_explicit(&nodes, lists, Some(added), Some(factor))?,
            None => place(&nodes, added, factor)?,
        };
        Ok(Some(AddPartitions { expected_partitions: has, assignments }))
    }

    pub async fn delete_topic(&self, name: &str, deadline: Instant) -> Result<(), TopicError> {
        check_not_internal(name)?;
        let topic = self.resolve_topic(name, false, deadline).await?;
        let change = MetaChange::DeleteTopic { topic_id: topic.id };
        let response = self.inner.parts.controller.change(change, deadline).await?;
        self.shown(response, name, deadline).await?;
        self.inner.views.lock().remove(&topic.id);
        Ok(())
    }
}
