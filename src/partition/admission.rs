//! Admission: which appends the leader proposes, in which order, and what their senders hear.

use super::{IN_FLIGHT_BYTES_MAX, Replica};
use crate::mutant::{self, Mutant};
use crate::raft::{Fence, MachineState, Proposal, ProposeError, Reply};
use crate::state::partition::{
    Applied, EntryAttributes, Identity, KeyHash, PartitionCommand, PartitionState, ProducerBatch, ProducerCheck,
    ProducersInFlight, SequenceCheck, WriterId,
};
use crate::storage::DataEntry;
use crate::tasks::OnPanic;
use crate::types::{Acks, NodeId, Offset, Term};
use bytes::Bytes;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// How long a new leader's first entry is waited for within one request.
const READY_PATIENCE: Duration = Duration::from_millis(200);
/// How long an answer is parked until what it rests on is committed.
const PARKED_MAX: Duration = Duration::from_secs(10);

/// One append: record batches that stand and fall together.
#[derive(Clone, Debug)]
pub struct Append {
    pub batches: Bytes,
    pub record_count: u32,
    pub timestamp_ms_max: i64,
    pub identity: Identity,
    pub expected_offset: Option<Offset>,
    /// `Leader` answers after the local flush, `All` after the commit; `None` counts as `Leader`.
    pub acks: Acks,
}

impl Append {
    /// The batch of a Kafka producer, as the state knows it.
    fn producer_batch(&self) -> Option<ProducerBatch> {
        let Identity::Producer { producer_id, epoch, first_sequence } = self.identity else { return None };
        Some(ProducerBatch { producer_id, epoch, first_sequence, record_count: self.record_count })
    }
}

/// An append that took place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Appended {
    pub base_offset: Offset,
    /// The answer to an earlier request with the same key, and the default timestamp that it had.
    pub replayed: Option<i64>,
}

/// Why an append did not take place. All but `Unknown`: surely not written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AppendError {
    NotLeader {
        leader: Option<NodeId>,
        term: Term,
    },
    /// Elected, but the first entry of the term is not committed yet.
    NotReady,
    /// The writer's next sequence number is another one.
    OutOfOrder {
        expected: u64,
    },
    OffsetMismatch {
        log_end_offset: Offset,
    },
    KeyConflict,
    Overloaded,
    DiskFull(String),
    StorageFailed(String),
    /// This node does not hold the group (yet).
    NotHere(String),
    /// Appended and lost sight of. Sending it again under the same identity is safe.
    Unknown,
    /// The producer's next sequence number is another one.
    ProducerOutOfOrder {
        expected: i32,
    },
    /// The producer has begun a newer epoch.
    ProducerFenced {
        epoch: i16,
    },
}

/// Hears an append's outcome, at most once; dropped uncalled where it is unknown.
pub type AppendDone = Box<dyn FnOnce(Result<Appended, AppendError>) + Send>;

/// What the leader knows beyond the applied state: appends on their way.
#[derive(Default)]
pub(super) struct Admission {
    ordered: tokio::sync::Mutex<Ordered>,
    /// Keys of appends on their way, with the hash of their body.
    keys: Mutex<HashMap<(bool, KeyHash), KeyHash>>,
    /// Kafka's producers with appends on their way, and the term in which those were admitted.
    producers: Mutex<(Term, ProducersInFlight)>,
    in_flight_bytes: AtomicUsize,
    /// Proposals whose end was not yet heard of.
    in_flight: AtomicUsize,
}

#[derive(Default)]
struct Ordered {
    /// The term that the rest is about; appends of an earlier one are not on their way any more.
    term: Term,
    /// Closed once a proposal was refused within the term: then the rest is wrong, since it counts on that one.
    fence: Fence,
    /// Offset of the next append: the applied end and everything on its way.
    next_offset: Offset,
    /// Next sequence number of each writer with appends in this term.
    next_sequences: HashMap<WriterId, u64>,
}

/// What is to be done with an append.
enum Verdict {
    Propose,
    Answer(Result<Appended, AppendError>),
    /// It is on its way already: answer once it is applied.
    AwaitSame,
    /// Refused, but the reason is on its way: answer once everything up to this offset is committed.
    AwaitOffset(Offset, AppendError),
}

fn partition_state<T>(state: &MachineState, look: impl FnOnce(&PartitionState) -> T) -> T {
    match state {
        MachineState::Partition(partition) => look(partition),
        MachineState::Meta(_) => unreachable!("a partition's group has a partition's state"),
    }
}

impl Replica {
    pub(super) fn look<T>(&self, look: impl FnOnce(&PartitionState) -> T) -> T {
        self.group.with_state(|state| partition_state(state, look))
    }

    /// Admits and proposes, or refuses. Back once the append has its place in the log's order; `done` hears the rest.
    pub async fn append(self: &Arc<Self>, append: Append, done: AppendDone) {
        self.append_within(None, append, done).await;
    }

    /// As `append`; with a term, only in that one.
    pub(super) async fn append_within(self: &Arc<Self>, only: Option<Term>, append: Append, done: AppendDone) {
        let mut ordered = self.admission.ordered.lock().await;
        let verdict = match self.ready_term(&mut ordered).await {
            Ok(term) if only.is_some_and(|only| only != term) => Verdict::Answer(Err(self.not_leader())),
            Ok(_) => self.judge(&ordered, &append),
            Err(error) => Verdict::Answer(Err(error)),
        };
        match verdict {
            Verdict::Propose => self.propose(&mut ordered, append, done).await,
            Verdict::Answer(answer) => done(answer),
            Verdict::AwaitSame => {
                self.answer_when_applied(ordered.term, ordered.fence.clone(), &append, done);
            }
            Verdict::AwaitOffset(offset, error) => self.answer_when_committed(ordered.term, offset, error, done),
        }
    }

    /// The term in which this replica leads and is ready, with `ordered` made for it.
    async fn ready_term(&self, ordered: &mut Ordered) -> Result<Term, AppendError> {
        let Some(term) = self.group.leading() else { return Err(self.not_leader()) };
        let same_term = ordered.term == term;
        if same_term && !ordered.fence.is_closed() {
            return Ok(term);
        }
        let deadline = Instant::now() + READY_PATIENCE;
        let mut applied = self.group.applied();
        loop {
            let now = *applied.borrow_and_update();
            // Within a term the applied state is all there is only once nothing is on its way any more.
            let settled = !same_term || self.admission.in_flight.load(Ordering::SeqCst) == 0;
            if settled && now.last.is_some_and(|last| last.term >= term) {
                let next_offset = self.group.applied_now().high_watermark;
                *ordered = Ordered { term, next_offset, ..Ordered::default() };
                self.admission.keys.lock().clear();
                *self.admission.producers.lock() = (term, ProducersInFlight::default());
                return Ok(term);
            }
            if Instant::now() >= deadline {
                return Err(AppendError::NotReady);
            }
            // What is settled by a refusal shows in no applied entry, so look again now and then.
            let step = (Instant::now() + Duration::from_millis(5)).min(deadline);
            let _ = tokio::time::timeout_at(step, applied.changed()).await;
            if self.group.leading() != Some(term) {
                return Err(self.not_leader());
            }
        }
    }

    fn not_leader(&self) -> AppendError {
        if let Some(reason) = self.group.failure().or_else(|| self.group.log.latched()) {
            return AppendError::StorageFailed(reason);
        }
        let known = self.group.leadership();
        AppendError::NotLeader { leader: known.leader.filter(|leader| *leader != self.group.node_id), term: known.term }
    }

    fn judge(&self, ordered: &Ordered, append: &Append) -> Verdict {
        if let Some(verdict) = self.judge_identity(ordered, append) {
            return verdict;
        }
        if append.expected_offset.is_some_and(|expected| expected != ordered.next_offset) {
            let error = AppendError::OffsetMismatch { log_end_offset: ordered.next_offset };
            return Verdict::AwaitOffset(ordered.next_offset, error);
        }
        if let Some(reason) = self.group.log.latched() {
            return Verdict::Answer(Err(AppendError::StorageFailed(reason)));
        }
        if let Err(error) = self.group.log.check_space() {
            return Verdict::Answer(Err(AppendError::DiskFull(error.to_string())));
        }
        if self.admission.in_flight_bytes.load(Ordering::Relaxed) > IN_FLIGHT_BYTES_MAX {
            return Verdict::Answer(Err(AppendError::Overloaded));
        }
        Verdict::Propose
    }

    /// `None` for an append that is new.
    fn judge_identity(&self, ordered: &Ordered, append: &Append) -> Option<Verdict> {
        match append.identity {
            Identity::Anonymous => None,
            Identity::Producer { .. } => self.judge_producer(ordered, &append.producer_batch()?),
            Identity::Writer { writer, sequence } => {
                let in_flight_next = ordered.next_sequences.get(&writer).copied();
                let applied = self.look(|state| state.check_sequence(writer, sequence));
                match (applied, in_flight_next) {
                    (SequenceCheck::Duplicate(base_offset), _) => {
                        Some(Verdict::Answer(Ok(Appended { base_offset, replayed: None })))
                    }
                    (_, Some(next)) if sequence == next => None,
                    (_, Some(next)) if sequence < next => Some(Verdict::AwaitSame),
                    (_, Some(next)) => Some(Verdict::Answer(Err(AppendError::OutOfOrder { expected: next }))),
                    (SequenceCheck::New, None) => None,
                    (SequenceCheck::OutOfOrder { expected }, None) => {
                        Some(Verdict::Answer(Err(AppendError::OutOfOrder { expected })))
                    }
                }
            }
            Identity::Key { client, key, body, .. } => {
                let known = self.look(|state| state.key(client, &key).copied());
                if let Some(known) = known {
                    if known.body != body {
                        return Some(Verdict::Answer(Err(AppendError::KeyConflict)));
                    }
                    if let Some(records) = known.records {
                        let replayed = Some(records.default_timestamp_ms);
                        return Some(Verdict::Answer(Ok(Appended { base_offset: records.base_offset, replayed })));
                    }
                }
                match self.admission.keys.lock().get(&(client, key)) {
                    Some(same) if *same == body => Some(Verdict::AwaitSame),
                    Some(_) => Some(Verdict::AwaitOffset(ordered.next_offset, AppendError::KeyConflict)),
                    None => None,
                }
            }
        }
    }

    /// A refusal is only told once a quorum has said that this replica leads: a client takes it for final.
    fn judge_producer(&self, ordered: &Ordered, batch: &ProducerBatch) -> Option<Verdict> {
        let in_flight = self.admission.producers.lock().1.check(batch);
        let applied = || self.look(|state| state.producers().check(batch));
        let refused = |error| Some(Verdict::AwaitOffset(ordered.next_offset, error));
        match in_flight.unwrap_or_else(applied) {
            ProducerCheck::New => None,
            ProducerCheck::Duplicate(base_offset) => Some(match applied() {
                ProducerCheck::Duplicate(_) => Verdict::Answer(Ok(Appended { base_offset, replayed: None })),
                _ => Verdict::AwaitSame,
            }),
            ProducerCheck::OutOfOrder { expected } => refused(AppendError::ProducerOutOfOrder { expected }),
            ProducerCheck::Fenced { epoch } => refused(AppendError::ProducerFenced { epoch }),
        }
    }

    async fn propose(self: &Arc<Self>, ordered: &mut Ordered, append: Append, done: AppendDone) {
        let term = ordered.term;
        let base_offset = ordered.next_offset;
        let end = base_offset.plus(u64::from(append.record_count));
        let bytes = append.batches.len();
        match append.identity {
            Identity::Anonymous => {}
            Identity::Producer { .. } => {
                if let Some(batch) = append.producer_batch() {
                    let mut producers = self.admission.producers.lock();
                    self.look(|state| producers.1.admit(state.producers(), &batch, base_offset));
                }
            }
            Identity::Writer { writer, sequence } => {
                ordered.next_sequences.insert(writer, sequence + 1);
            }
            Identity::Key { client, key, body, .. } => {
                self.admission.keys.lock().insert((client, key), body);
            }
        }
        ordered.next_offset = end;
        self.admission.in_flight_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.admission.in_flight.fetch_add(1, Ordering::SeqCst);
        let attributes = EntryAttributes { appended_at_ms: self.clock.now_ms(), identity: append.identity };
        let entry = DataEntry {
            base_offset: None,
            record_count: append.record_count,
            timestamp_ms_max: append.timestamp_ms_max,
            attributes: attributes.encode().into(),
            batches: append.batches,
        };
        let wait_for_quorum = append.acks == Acks::All && !mutant::on(Mutant::LeaderOnlyAck);
        let done = if wait_for_quorum { done } else { self.answer_when_flushed(term, base_offset, end, done) };
        let replica = self.clone();
        let fence = ordered.fence.clone();
        let proposal = Proposal::Fenced(entry, fence.clone());
        let settled = Box::new(move |result: Result<(crate::types::LogId, Reply), ProposeError>| {
            if matches!(result, Err(ProposeError::NotLeader(_))) {
                fence.close();
            }
            replica.settle(term, bytes, &append.identity);
            done(match result {
                Ok((_, Reply::Partition(Applied::Records { base_offset: stamped }))) => {
                    assert_eq!(stamped, base_offset, "an append gets the offset that admission foresaw");
                    Ok(Appended { base_offset, replayed: None })
                }
                // An append before it was refused, so it became a blank entry.
                Ok((_, Reply::Nothing | Reply::Partition(Applied::Nothing))) => Err(AppendError::NotReady),
                Ok((_, other)) => unreachable!("a data entry is answered with its records, not with {other:?}"),
                Err(ProposeError::NotLeader(leader)) => Err(AppendError::NotLeader { leader, term }),
                Err(ProposeError::Unknown) => Err(AppendError::Unknown),
            });
        });
        self.group.propose(term, proposal, settled).await;
    }

    fn settle(&self, term: Term, bytes: usize, identity: &Identity) {
        self.admission.in_flight.fetch_sub(1, Ordering::SeqCst);
        self.admission.in_flight_bytes.fetch_sub(bytes, Ordering::Relaxed);
        match identity {
            Identity::Key { client, key, .. } => {
                self.admission.keys.lock().remove(&(*client, *key));
            }
            Identity::Producer { producer_id, .. } => {
                let mut producers = self.admission.producers.lock();
                // Those of an earlier term were forgotten when this replica was elected again.
                if producers.0 == term {
                    producers.1.settle(*producer_id);
                }
            }
            Identity::Writer { .. } | Identity::Anonymous => {}
        }
    }

    /// For acks=1: whichever comes first, the local flush or the proposal's end, answers.
    fn answer_when_flushed(
        self: &Arc<Self>,
        term: Term,
        base_offset: Offset,
        end: Offset,
        done: AppendDone,
    ) -> AppendDone {
        let shared = Arc::new(Mutex::new(Some(done)));
        let waiting = shared.clone();
        let mut flushed = self.group.flushed();
        self.tasks.spawn("acks-leader", OnPanic::Log, async move {
            let reached = flushed.wait_for(|(at, offset)| *at > term || (*at == term && *offset >= end));
            let same_term = match tokio::time::timeout(PARKED_MAX, reached).await {
                Ok(Ok(at)) => at.0 == term,
                _ => false,
            };
            if same_term && let Some(done) = waiting.lock().take() {
                done(Ok(Appended { base_offset, replayed: None }));
            }
        });
        Box::new(move |result| {
            if let Some(done) = shared.lock().take() {
                done(result);
            }
        })
    }

    /// Answers a repeated append once the first one is applied.
    fn answer_when_applied(self: &Arc<Self>, term: Term, fence: Fence, append: &Append, done: AppendDone) {
        let replica = self.clone();
        let (identity, batch) = (append.identity, append.producer_batch());
        self.tasks.spawn("append-repeated", OnPanic::Log, async move {
            let deadline = Instant::now() + PARKED_MAX;
            let mut applied = replica.group.applied();
            loop {
                applied.borrow_and_update();
                if let Some(answer) = replica.applied_answer(&identity, batch.as_ref()) {
                    return done(answer);
                }
                if replica.group.leading() != Some(term) || fence.is_closed() {
                    return done(Err(AppendError::Unknown));
                }
                // A change of leadership shows in no applied entry, so look again now and then.
                let step = (Instant::now() + Duration::from_millis(100)).min(deadline);
                let _ = tokio::time::timeout_at(step, applied.changed()).await;
                if Instant::now() >= deadline {
                    return done(Err(AppendError::Unknown));
                }
            }
        });
    }

    fn applied_answer(
        &self,
        identity: &Identity,
        batch: Option<&ProducerBatch>,
    ) -> Option<Result<Appended, AppendError>> {
        match *identity {
            Identity::Anonymous => None,
            Identity::Producer { .. } => match batch.map(|batch| self.look(|state| state.producers().check(batch))) {
                Some(ProducerCheck::Duplicate(base_offset)) => Some(Ok(Appended { base_offset, replayed: None })),
                _ => None,
            },
            Identity::Writer { writer, sequence } => match self.look(|state| state.check_sequence(writer, sequence)) {
                SequenceCheck::Duplicate(base_offset) => Some(Ok(Appended { base_offset, replayed: None })),
                _ => None,
            },
            Identity::Key { client, key, .. } => {
                let records = self.look(|state| state.key(client, &key).and_then(|known| known.records))?;
                let replayed = Some(records.default_timestamp_ms);
                Some(Ok(Appended { base_offset: records.base_offset, replayed }))
            }
        }
    }

    /// Answers a refusal once what it rests on is committed, since until then it may still vanish, and a quorum has
    /// said that this replica leads, since otherwise others may have been answered differently.
    fn answer_when_committed(self: &Arc<Self>, term: Term, offset: Offset, error: AppendError, done: AppendDone) {
        let mut applied = self.group.applied();
        let replica = self.clone();
        self.tasks.spawn("append-refused", OnPanic::Log, async move {
            let deadline = Instant::now() + PARKED_MAX;
            let committed = applied.wait_for(|applied| applied.high_watermark >= offset);
            let reached = matches!(tokio::time::timeout_at(deadline, committed).await, Ok(Ok(_)));
            // A leader that was replaced without knowing it would tell an end that was overtaken long ago.
            let leads = reached && replica.group.read_index(deadline).await.is_ok();
            if leads && replica.group.leading() == Some(term) {
                done(Err(error));
            } else {
                done(Err(replica.not_leader()));
            }
        });
    }

    /// Claims or releases a client's idempotency key.
    ///
    /// # Errors
    /// As for appends; repeating is safe.
    pub async fn command(&self, command: &PartitionCommand) -> Result<Applied, AppendError> {
        self.command_within(None, command).await?.await.unwrap_or(Err(AppendError::Unknown))
    }

    /// As `command`; with a term, only in that one. Back once the command has its place in the log's order.
    pub(super) async fn command_within(
        &self,
        only: Option<Term>,
        command: &PartitionCommand,
    ) -> Result<oneshot::Receiver<Result<Applied, AppendError>>, AppendError> {
        let term = {
            let mut ordered = self.admission.ordered.lock().await;
            self.ready_term(&mut ordered).await?
        };
        if only.is_some_and(|only| only != term) {
            return Err(self.not_leader());
        }
        if let Err(error) = self.group.log.check_space() {
            return Err(AppendError::DiskFull(error.to_string()));
        }
        let (sender, receiver) = oneshot::channel();
        let done = Box::new(move |result| {
            let _ = sender.send(match result {
                Ok((_, Reply::Partition(applied))) => Ok(applied),
                Err(ProposeError::NotLeader(leader)) => Err(AppendError::NotLeader { leader, term }),
                Ok(_) | Err(ProposeError::Unknown) => Err(AppendError::Unknown),
            });
        });
        self.group.propose(term, Proposal::Command(command.encode().into()), done).await;
        Ok(receiver)
    }

    /// This node's wall clock, which ages idempotency keys.
    pub fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }
}
