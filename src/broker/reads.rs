//! Reads on a partition's leader, wherever that is.

use super::api::{Fetch, FetchError, Fetched, OffsetAt, TopicView};
use super::forward::SummaryAnswer;
use super::route::Target;
use super::{Broker, Missing};
use crate::partition::{LocalRead, LocalReadError, ReadFrom, ReadResult};
use crate::types::{NodeId, Offset, PartitionId, Term};
use futures::stream::{StreamExt, TryStreamExt};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Partitions asked at the same time for one request.
const CONCURRENT_PARTITIONS: usize = 64;
/// One attempt of a read that does not wait for records.
const ATTEMPT_PATIENCE: Duration = Duration::from_secs(5);
const BACKOFF_MAX: Duration = Duration::from_millis(100);

impl From<Missing> for FetchError {
    fn from(missing: Missing) -> FetchError {
        match missing {
            Missing::Topic(topic) => FetchError::UnknownTopic(topic),
            Missing::Partition { topic, partition, partitions } => {
                FetchError::UnknownPartition { topic, partition, partitions }
            }
        }
    }
}

/// One try with one node.
enum Tried<T> {
    Done(T),
    Failed(FetchError),
    AskElsewhere { leader: Option<NodeId>, reason: String },
    NoLog,
}

fn judge<T>(answer: Result<Result<T, LocalReadError>, String>) -> Tried<T> {
    match answer {
        Ok(Ok(done)) => Tried::Done(done),
        Ok(Err(LocalReadError::OutOfRange { offset, log_start_offset, high_watermark })) => {
            Tried::Failed(FetchError::OutOfRange { offset, log_start_offset, high_watermark })
        }
        Ok(Err(LocalReadError::StorageFailed(reason))) => Tried::Failed(FetchError::StorageFailed(reason)),
        Ok(Err(LocalReadError::NotLeader { leader, .. })) => {
            Tried::AskElsewhere { leader, reason: "it has no leader".to_string() }
        }
        Ok(Err(LocalReadError::NeverWritten)) => Tried::NoLog,
        Ok(Err(LocalReadError::NotReady)) => {
            Tried::AskElsewhere { leader: None, reason: "its new leader is not ready".to_string() }
        }
        Ok(Err(LocalReadError::NotHere(reason))) | Err(reason) => Tried::AskElsewhere { leader: None, reason },
    }
}

impl Broker {
    /// Reads, on the partition's leader, wherever that is.
    pub async fn fetch(&self, request: Fetch) -> Result<Fetched, FetchError> {
        let target = self.target(&request.topic, request.partition)?;
        let name = format!("partition {} of topic {}", request.partition, request.topic.name);
        let wait_until = (request.wait_ms > 0).then(|| Instant::now() + Duration::from_millis(request.wait_ms));
        let asked = self
            .ask_leader(&target, &name, request.deadline, |node| {
                let patience = wait_until.unwrap_or_else(Instant::now) + ATTEMPT_PATIENCE;
                let read = LocalRead {
                    from: request.from,
                    max_bytes: request.max_bytes,
                    wait_until: wait_until.filter(|until| *until > Instant::now()),
                    linearizable: request.linearizable,
                    deadline: patience.min(request.deadline),
                };
                let (router, target) = (self.inner.parts.router.clone(), target.clone());
                async move { router.read(node, &target, read).await }
            })
            .await?;
        let Some((node, read)) = asked else { return nothing_written(&target, request.from, self.node_id()) };
        self.inner.metrics.fetched(&read);
        Ok(fetched(node, read))
    }

    /// Whether a majority of the replicas has no log. Nothing is acknowledged before a majority has one, so then
    /// nothing was ever written (quorums intersect).
    async fn is_never_written(&self, target: &Target) -> bool {
        let router = &self.inner.parts.router;
        let asked = target.replicas.iter().map(|node| async move {
            let groups = vec![target.group];
            match router.summaries(*node, groups, ATTEMPT_PATIENCE).await {
                Ok(answers) => matches!(answers.first(), Some((_, SummaryAnswer::NeverWritten))),
                Err(_) => false,
            }
        });
        let unwritten = futures::future::join_all(asked).await.into_iter().filter(|unwritten| *unwritten).count();
        unwritten > target.replicas.len() / 2
    }

    /// Asks leaders until one answers, or the deadline. `None` where nothing was ever written.
    async fn ask_leader<T, F>(
        &self,
        target: &Target,
        name: &str,
        deadline: Instant,
        ask: impl Fn(NodeId) -> F,
    ) -> Result<Option<(NodeId, T)>, FetchError>
    where
        F: Future<Output = Result<Result<T, LocalReadError>, String>>,
    {
        let router = &self.inner.parts.router;
        let mut backoff = Duration::from_millis(2);
        let mut hintless = 0;
        loop {
            let node = router.guess(target, hintless);
            let trouble = match judge(self.ask_while_reachable(node, deadline, ask(node)).await) {
                Tried::Done(done) => {
                    router.learn(target.group, Some(node));
                    return Ok(Some((node, done)));
                }
                Tried::Failed(error) => return Err(error),
                Tried::AskElsewhere { leader: Some(leader), .. }
                    if leader != node && router.is_reachable(leader) && router.learn(target.group, Some(leader)) =>
                {
                    continue;
                }
                Tried::NoLog if self.is_never_written(target).await => return Ok(None),
                Tried::NoLog => "its preferred replica has nothing yet".to_string(),
                Tried::AskElsewhere { reason, .. } => {
                    router.learn(target.group, None);
                    reason
                }
            };
            hintless += 1;
            if Instant::now() + backoff >= deadline {
                let reason = format!("{name} can't be read now: {trouble}; try again");
                return Err(FetchError::Unavailable { reason, retry_after_ms: 1000 });
            }
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    /// Waits for the answer as long as the node is heard of.
    async fn ask_while_reachable<T>(
        &self,
        node: NodeId,
        deadline: Instant,
        answer: impl Future<Output = Result<Result<T, LocalReadError>, String>>,
    ) -> Result<Result<T, LocalReadError>, String> {
        let mut liveness = self.inner.parts.transport.liveness();
        let mut answer = std::pin::pin!(answer);
        loop {
            tokio::select! {
                answer = tokio::time::timeout_at(deadline, answer.as_mut()) => {
                    return answer.unwrap_or_else(|_| Err("no answer in time".to_string()));
                }
                Ok(()) = liveness.changed() => {
                    if !self.inner.parts.router.is_reachable(node) {
                        return Err(format!("node {node} was lost"));
                    }
                }
            }
        }
    }

    /// Offsets of all partitions at `at` (`ReadFrom::Earliest`, `Latest`, `Time`).
    pub async fn offsets(
        &self,
        topic: &Arc<TopicView>,
        at: ReadFrom,
        deadline: Instant,
    ) -> Result<Vec<OffsetAt>, FetchError> {
        let partitions = (0..topic.assignments.len() as u32).map(PartitionId);
        let asked = partitions.map(|partition| async move {
            let target = self.target(topic, partition)?;
            let name = format!("partition {partition} of topic {}", topic.name);
            let found = self
                .ask_leader(&target, &name, deadline, |node| {
                    let (router, target) = (self.inner.parts.router.clone(), target.clone());
                    async move { router.offset(node, &target, at, ATTEMPT_PATIENCE).await }
                })
                .await?;
            let (offset, timestamp_ms) = found.map_or((Offset(0), None), |(_, found)| found);
            Ok(OffsetAt { partition, offset, timestamp_ms })
        });
        futures::stream::iter(asked).buffered(CONCURRENT_PARTITIONS).try_collect().await
    }
}

/// The answer where nothing was ever written.
fn nothing_written(target: &Target, from: ReadFrom, asked: NodeId) -> Result<Fetched, FetchError> {
    if let ReadFrom::Offset(offset) = from
        && offset > Offset(0)
    {
        return Err(FetchError::OutOfRange { offset, log_start_offset: Offset(0), high_watermark: Offset(0) });
    }
    Ok(Fetched {
        start_offset: Offset(0),
        log_start_offset: Offset(0),
        high_watermark: Offset(0),
        leader: target.replicas.first().copied().unwrap_or(asked),
        term: Term(0),
        batches: Vec::new(),
    })
}

fn fetched(leader: NodeId, read: ReadResult) -> Fetched {
    let ReadResult { start_offset, log_start_offset, high_watermark, term, batches } = read;
    Fetched { start_offset, log_start_offset, high_watermark, leader, term, batches }
}
