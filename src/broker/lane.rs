//! A lane carries one node's writes to one partition: coalesces requests into batches, keeps them in order, and sees
//! each batch through elections exactly once.
//!
//! A batch has the lane's writer id and the next sequence number; it is sent again, under the same number, until it is
//! answered. The replicated state takes numbers of one writer in order only, so that neither a lost answer nor a
//! change of leader writes twice or out of order (see `state::partition`).
//!
//! Invariants:
//! - Numbers of batches on their way are consecutive.
//! - After a refusal nothing is sent until all that was sent has been answered or given up; then all is sent again.
//! - A number whose batch may have been written is never used for another batch: the lane takes a new writer id.
//! - A batch that may have been written gets no other number while somebody waits for it.
//! - A request is told "not written" only if no attempt of its batch is in doubt.

use super::api::{ProduceError, ProduceRecords};
use super::route::{Attempt, Router, Target};
use crate::partition::{Append, AppendError, Appended};
use crate::random::Random;
use crate::record::{RecordSet, build_batch};
use crate::state::partition::{Identity, WriterId};
use crate::types::{Acks, NodeId, Offset};
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// Requests that wait for their batch; beyond it senders are told to slow down.
pub(super) const QUEUE_MAX: usize = 8192;
/// Batches on their way while little waits: more would only make batches smaller, and each costs a Raft entry.
const WINDOW_SMALL: usize = 2;
/// Batches on their way while much waits. Less than the answers that the replicated state keeps per writer.
const WINDOW_LARGE: usize = 8;
const _: () = assert!(WINDOW_LARGE < crate::state::partition::WRITER_ANSWERS_KEPT);
/// Waiting bytes that open the large window.
const MUCH_BYTES: usize = 64 << 10;
/// Requests are merged up to this size; a larger request makes a batch of its own.
const MERGED_BYTES_MAX: usize = 1 << 20;
/// How long one attempt may take before another is made.
const ATTEMPT_PATIENCE: Duration = Duration::from_secs(3);
const BACKOFF_MIN: Duration = Duration::from_millis(2);
const BACKOFF_MAX: Duration = Duration::from_millis(100);
/// A lane without work ends; the next request makes a new one.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// One request on its way into a batch.
pub(super) struct LaneRequest {
    pub records: ProduceRecords,
    pub acks: Acks,
    pub deadline: Instant,
    pub reply: oneshot::Sender<Result<Offset, ProduceError>>,
}

fn size_of(records: &ProduceRecords) -> usize {
    match records {
        ProduceRecords::Set(set) => set.batch_size_max(),
        ProduceRecords::Batches { bytes, .. } => bytes.len(),
    }
}

/// A request within a batch.
struct Member {
    /// Records of the batch before this request's.
    first_record: u64,
    deadline: Instant,
    reply: Option<oneshot::Sender<Result<Offset, ProduceError>>>,
}

struct Batch {
    append: Append,
    members: Vec<Member>,
    sent: bool,
    done: bool,
    /// An attempt has no answer: it may have been written.
    in_doubt: bool,
    refusal: Option<AppendError>,
}

impl Batch {
    fn may_be_written(&self) -> bool {
        self.in_doubt || self.sent
    }

    /// Nobody waits for it any more.
    fn is_late(&self, now: Instant) -> bool {
        !self.done && self.members.iter().all(|member| member.reply.is_none() || member.deadline <= now)
    }
}

type Outcome = (WriterId, u64, NodeId, Attempt<Appended>);

/// The lane's state; its loop only dispatches.
pub(super) struct Lane {
    router: Router,
    random: Random,
    target: Target,
    /// For texts: "partition 3 of topic trades".
    name: String,
    requests: mpsc::Receiver<LaneRequest>,
    waiting: VecDeque<LaneRequest>,
    waiting_bytes: usize,
    writer: WriterId,
    /// Number of the first batch of `batches`.
    first_sequence: u64,
    batches: VecDeque<Batch>,
    calls: FuturesUnordered<BoxFuture<'static, Outcome>>,
    /// The node that `calls` went to.
    asked: Option<NodeId>,
    /// Something was refused or lost: send again once `calls` are settled, not before this time.
    rewind_at: Option<Instant>,
    backoff: Duration,
    hintless_attempts: usize,
    trouble: String,
}

impl Lane {
    pub(super) fn new(
        router: Router,
        random: Random,
        target: Target,
        name: String,
        requests: mpsc::Receiver<LaneRequest>,
    ) -> Lane {
        let writer = WriterId(random.next_u64());
        Lane {
            router,
            random,
            target,
            name,
            requests,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            writer,
            first_sequence: 0,
            batches: VecDeque::new(),
            calls: FuturesUnordered::new(),
            asked: None,
            rewind_at: None,
            backoff: BACKOFF_MIN,
            hintless_attempts: 0,
            trouble: String::new(),
        }
    }

    /// Works until the lane is idle or its senders are gone.
    pub(super) async fn run(mut self) {
        let mut liveness = self.router.transport().liveness();
        let mut arrived = Vec::with_capacity(256);
        loop {
            self.send_what_may_go();
            let wake_at = self.next_wake();
            tokio::select! {
                biased;
                Some(outcome) = self.calls.next(), if !self.calls.is_empty() => self.settle(outcome),
                count = self.requests.recv_many(&mut arrived, 256) => {
                    if count == 0 && self.batches.is_empty() && self.waiting.is_empty() {
                        return;
                    }
                    if count == 0 {
                        // Senders are gone, batches are not: nothing more will arrive, so wait for those alone.
                        self.finish().await;
                        return;
                    }
                    for request in arrived.drain(..) {
                        self.waiting_bytes += size_of(&request.records);
                        self.waiting.push_back(request);
                    }
                }
                Ok(()) = liveness.changed(), if !self.calls.is_empty() => self.give_up_on_lost_node(),
                () = tokio::time::sleep_until(wake_at) => {
                    if self.batches.is_empty() && self.waiting.is_empty() {
                        self.requests.close();
                    }
                    self.expire();
                }
            }
            self.rewind_when_settled();
        }
    }

    async fn finish(&mut self) {
        while !(self.batches.is_empty() && self.waiting.is_empty()) {
            self.send_what_may_go();
            let wake_at = self.next_wake();
            tokio::select! {
                Some(outcome) = self.calls.next(), if !self.calls.is_empty() => self.settle(outcome),
                () = tokio::time::sleep_until(wake_at) => self.expire(),
            }
            self.rewind_when_settled();
        }
    }

    fn next_wake(&self) -> Instant {
        let mut at = Instant::now() + IDLE_MAX;
        let oldest = self.waiting.front().map(|request| request.deadline);
        let members = self.batches.iter().flat_map(|batch| batch.members.iter());
        let pending = members.filter(|member| member.reply.is_some()).map(|member| member.deadline);
        for deadline in pending.chain(oldest) {
            at = at.min(deadline);
        }
        if let Some(rewind_at) = self.rewind_at.filter(|_| self.calls.is_empty()) {
            at = at.min(rewind_at);
        }
        at
    }

    fn send_what_may_go(&mut self) {
        if self.rewind_at.is_some() {
            return;
        }
        loop {
            let window = if self.waiting_bytes >= MUCH_BYTES { WINDOW_LARGE } else { WINDOW_SMALL };
            if self.waiting.is_empty() || self.batches.len() >= window {
                return;
            }
            if let Some(batch) = self.next_batch() {
                self.batches.push_back(batch);
                self.send(self.batches.len() - 1);
            }
        }
    }

    /// Takes waiting requests as long as they fit into one batch. `None` where all were late.
    fn next_batch(&mut self) -> Option<Batch> {
        let now = Instant::now();
        let mut sets: Vec<RecordSet> = Vec::new();
        let mut members = Vec::new();
        let (mut bytes, mut records, mut acks) = (0, 0_u64, Acks::Leader);
        while let Some(next) = self.waiting.front() {
            let size = size_of(&next.records);
            let alone = matches!(next.records, ProduceRecords::Batches { .. });
            if !members.is_empty() && (alone || bytes + size > MERGED_BYTES_MAX) {
                break;
            }
            let Some(request) = self.waiting.pop_front() else { break };
            self.waiting_bytes -= size;
            if request.deadline <= now {
                let _ = request.reply.send(Err(self.unavailable()));
                continue;
            }
            if request.acks == Acks::All {
                acks = Acks::All;
            }
            members.push(Member { first_record: records, deadline: request.deadline, reply: Some(request.reply) });
            match request.records {
                ProduceRecords::Set(set) => {
                    bytes += size;
                    records += set.len() as u64;
                    sets.push(set);
                }
                ProduceRecords::Batches { bytes, record_count, timestamp_ms_max } => {
                    return Some(Self::batch(bytes, record_count, timestamp_ms_max, acks, members));
                }
            }
        }
        if sets.is_empty() {
            return None;
        }
        let built = build_batch(&sets);
        Some(Self::batch(built.bytes, built.record_count, built.timestamp_ms_max, acks, members))
    }

    fn batch(bytes: bytes::Bytes, record_count: u32, timestamp_ms_max: i64, acks: Acks, members: Vec<Member>) -> Batch {
        // The identity is filled in when the batch is sent: its number may change before that.
        let identity = Identity::Writer { writer: WriterId(0), sequence: 0 };
        let append = Append { batches: bytes, record_count, timestamp_ms_max, identity, expected_offset: None, acks };
        Batch { append, members, sent: false, done: false, in_doubt: false, refusal: None }
    }

    fn send(&mut self, place: usize) {
        let sequence = self.first_sequence + place as u64;
        let node = self.router.guess(&self.target, self.hintless_attempts);
        let writer = self.writer;
        let batch = &mut self.batches[place];
        batch.append.identity = Identity::Writer { writer, sequence };
        batch.sent = true;
        batch.refusal = None;
        let attempt = self.router.append(node, &self.target, &batch.append, ATTEMPT_PATIENCE);
        self.asked = Some(node);
        self.calls.push(Box::pin(async move { (writer, sequence, node, attempt.await) }));
    }

    fn settle(&mut self, (writer, sequence, node, attempt): Outcome) {
        if writer != self.writer || sequence < self.first_sequence {
            return;
        }
        let place = (sequence - self.first_sequence) as usize;
        let Some(batch) = self.batches.get_mut(place) else { return };
        batch.sent = false;
        match attempt {
            Attempt::Done(appended) => {
                batch.done = true;
                for member in &mut batch.members {
                    if let Some(reply) = member.reply.take() {
                        let _ = reply.send(Ok(appended.base_offset.plus(member.first_record)));
                    }
                }
                self.backoff = BACKOFF_MIN;
                self.hintless_attempts = 0;
                self.router.learn(self.target.group, Some(node));
                while self.batches.front().is_some_and(|batch| batch.done) {
                    self.batches.pop_front();
                    self.first_sequence += 1;
                }
            }
            Attempt::Refused(error) => {
                let leader = if let AppendError::NotLeader { leader, .. } = &error { Some(*leader) } else { None };
                batch.refusal = Some(error);
                self.plan_rewind(leader, node);
            }
            Attempt::Unknown(reason) => {
                batch.in_doubt = true;
                self.trouble = reason;
                self.plan_rewind(None, node);
            }
        }
    }

    /// `leader` is what the answer said: somebody, or nobody, or (outer `None`) nothing about it.
    fn plan_rewind(&mut self, leader: Option<Option<NodeId>>, asked: NodeId) {
        let pause = match leader {
            Some(Some(leader)) if leader != asked && self.router.is_reachable(leader) => {
                if self.router.learn(self.target.group, Some(leader)) { Duration::ZERO } else { self.backoff }
            }
            Some(_) => {
                self.router.learn(self.target.group, None);
                self.backoff
            }
            None => {
                if !self.router.is_reachable(asked) {
                    self.router.learn(self.target.group, None);
                }
                self.backoff
            }
        };
        if self.rewind_at.is_none() {
            self.rewind_at = Some(Instant::now() + pause);
            self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
            self.hintless_attempts = self.hintless_attempts.wrapping_add(1);
        }
    }

    /// The node that holds our calls is gone or silent: its answers are not waited for.
    fn give_up_on_lost_node(&mut self) {
        let lost = self.asked.is_some_and(|node| !self.router.is_reachable(node));
        if !lost {
            return;
        }
        self.calls.clear();
        for batch in self.batches.iter_mut().filter(|batch| batch.sent) {
            batch.sent = false;
            batch.in_doubt = true;
        }
        self.router.learn(self.target.group, None);
        self.trouble = "the leader's node was lost".to_string();
        self.rewind_at.get_or_insert(Instant::now());
    }

    /// Once nothing is on its way any more: judge the refusals, then send all again in order.
    fn rewind_when_settled(&mut self) {
        let Some(rewind_at) = self.rewind_at else { return };
        if !self.calls.is_empty() || Instant::now() < rewind_at {
            return;
        }
        self.rewind_at = None;
        while let Some(front) = self.batches.front_mut() {
            let Some(refusal) = front.refusal.take() else { break };
            if let AppendError::OutOfOrder { expected } = refusal {
                // Fewer than we wrote are known (what acks=1 answered was lost, or this writer was forgotten): what we
                // have was refused for good under these numbers, so it may go under new ones.
                if expected < self.first_sequence {
                    self.renumber();
                }
                break;
            }
            let Some(error) = self.final_error(&refusal) else {
                self.trouble = describe(&refusal);
                break;
            };
            if front_in_doubt(&self.batches) {
                break;
            }
            self.drop_front(&error);
        }
        self.expire();
        for place in 0..self.batches.len() {
            if !self.batches[place].done {
                self.send(place);
            }
        }
    }

    /// The error for a refusal that trying again won't mend.
    fn final_error(&self, refusal: &AppendError) -> Option<ProduceError> {
        match refusal {
            AppendError::DiskFull(reason) => Some(ProduceError::DiskFull(format!("{}: {reason}", self.name))),
            _ => None,
        }
    }

    /// Refuses the first batch for good. Its number was never taken, so the next batch gets it, unless an attempt of a
    /// later one is in doubt: that could still land under its old number, behind the same batch under its new one.
    fn drop_front(&mut self, error: &ProduceError) {
        let Some(mut batch) = self.batches.pop_front() else { return };
        for reply in batch.members.iter_mut().filter_map(|member| member.reply.take()) {
            let _ = reply.send(Err(error.clone()));
        }
        if self.batches.iter().any(|batch| batch.in_doubt) {
            self.renumber();
        }
    }

    /// Starts over under a new writer id, so that no earlier attempt can take a number of a later batch.
    fn renumber(&mut self) {
        self.writer = WriterId(self.random.next_u64());
        self.first_sequence = 0;
        self.batches.retain(|batch| !batch.done);
        for batch in &mut self.batches {
            batch.refusal = None;
        }
    }

    /// Answers requests whose time is over, and gives up batches that nobody waits for.
    fn expire(&mut self) {
        let now = Instant::now();
        while self.waiting.front().is_some_and(|request| request.deadline <= now) {
            let Some(request) = self.waiting.pop_front() else { break };
            self.waiting_bytes -= size_of(&request.records);
            let _ = request.reply.send(Err(self.unavailable()));
        }
        let may_give_up = self.may_give_up(now);
        let unavailable = self.unavailable();
        let unknown = self.unknown();
        for batch in &mut self.batches {
            // What stays for the sake of others may still be written.
            let goes = may_give_up && batch.is_late(now) && !batch.may_be_written();
            let error = if goes { &unavailable } else { &unknown };
            for member in batch.members.iter_mut().filter(|member| member.deadline <= now) {
                if let Some(reply) = member.reply.take() {
                    let _ = reply.send(Err(error.clone()));
                }
            }
        }
        if self.calls.is_empty() && may_give_up && self.batches.iter().any(|batch| batch.is_late(now)) {
            self.batches.retain(|batch| !batch.is_late(now));
            self.renumber();
        }
    }

    /// Whether batches that are late may go, and the others go on under new numbers. A batch that may have been written
    /// keeps its number as long as somebody waits for it: under another one it would be written twice. But behind a
    /// number that surely was not taken none was, and none ever will be if that one is not sent again.
    fn may_give_up(&self, now: Instant) -> bool {
        let in_doubt = self.batches.iter().take_while(|batch| batch.done || batch.may_be_written());
        in_doubt.into_iter().all(|batch| batch.done || batch.is_late(now))
    }

    fn unavailable(&self) -> ProduceError {
        let reason = format!(
            "{} could not be written in time{}; nothing was written, try again",
            self.name,
            if self.trouble.is_empty() { String::new() } else { format!(" ({})", self.trouble) }
        );
        ProduceError::Unavailable { reason, retry_after_ms: 1000 }
    }

    fn unknown(&self) -> ProduceError {
        let reason = format!(
            "{} did not confirm the write in time{}; it may have been written, or may still be",
            self.name,
            if self.trouble.is_empty() { String::new() } else { format!(" ({})", self.trouble) }
        );
        ProduceError::OutcomeUnknown { reason }
    }
}

fn front_in_doubt(batches: &VecDeque<Batch>) -> bool {
    batches.front().is_some_and(|batch| batch.in_doubt)
}

pub(super) fn describe(refusal: &AppendError) -> String {
    match refusal {
        AppendError::NotLeader { .. } => "it has no leader".to_string(),
        AppendError::NotReady => "its new leader is not ready".to_string(),
        AppendError::Overloaded => "its leader has too much to do".to_string(),
        AppendError::StorageFailed(reason) | AppendError::NotHere(reason) | AppendError::DiskFull(reason) => {
            reason.clone()
        }
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
#[path = "lane_tests.rs"]
mod tests;
