//! One open Raft group on this node: propose, read, follow who leads, fall asleep and wake.
//!
//! Invariants: a proposal is fenced to the term in which it was admitted; an *asleep* group sends and ticks nothing, and
//! wakes by a proposal, by a message that carries entries or votes, or by the loss of its leader's node.
//!
//! Does not know what a proposal means, and admits everything: see `partition`.

use super::log_store::{FlushedEnd, LogStore};
use super::machine::{AppliedTo, GroupMachine, MachineState, SharedState};
use super::network::NetworkFactory;
use super::types::*;
use super::wire;
use crate::storage::RaftLog;
use crate::tasks::{OnPanic, Tasks};
use crate::transport::{Lane, Liveness, Transport};
use crate::types::{GroupId, LogId, LogIndex, NodeId, Term};
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ClientWriteError, RaftError};
use openraft::raft::TransferLeaderRequest;
use openraft::{Config, EntryPayload, ReadPolicy, SnapshotPolicy};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

pub(super) type Raft = openraft::Raft<TypeConfig, GroupMachine>;

/// Elections that a node begins because somebody waits for a leader are at least this far apart.
const NUDGE_INTERVAL: Duration = Duration::from_millis(1000);
/// Replicas that are nudged at the same time, again and again, would split the votes each time: each waits a little
/// longer than the one before it.
const NUDGE_STEP: Duration = Duration::from_millis(120);
const OUTBID_STEP: Duration = Duration::from_millis(20);

/// When a replica that refused a candidate for its shorter log stands itself.
const OUTBID_PAUSES: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(30), Duration::from_millis(100), Duration::from_millis(300)];
/// Turns that a replica takes at electing after its leader's node was lost; then the group's own timers go on.
const ELECTION_ROUNDS_MAX: u32 = 4;

/// How long a handed over leadership may take to arrive, and how often the old leader then stands again.
const TRANSFER_PATIENCE: Duration = Duration::from_millis(500);
const TRANSFER_ROUNDS_MAX: u32 = 10;

/// How patient groups are. Node loss is noticed by the transport first; these bounds are for what it can't see.
#[derive(Clone, Debug)]
pub struct RaftTiming {
    pub heartbeat_interval_ms: u64,
    pub election_timeout_ms_min: u64,
    pub election_timeout_ms_max: u64,
    /// A group without proposals for this long goes to sleep.
    pub quiesce_after: Duration,
}

/// Why a proposal has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProposeError {
    /// Surely not appended: this replica does not lead in that term any more.
    NotLeader(Option<NodeId>),
    /// Appended, then lost sight of: it may or may not be committed.
    Unknown,
}

/// Gets a proposal's result; dropped uncalled when the group ends, which means `Unknown`.
pub type ProposeDone = Box<dyn FnOnce(Result<(LogId, Reply), ProposeError>) + Send>;

/// Who leads, as this replica knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    pub term: Term,
    pub leader: Option<NodeId>,
}

/// A membership that is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedVoters {
    pub at: Option<LogId>,
    /// Of each a majority must agree; more than one while voters change.
    pub quorums: Vec<BTreeSet<NodeId>>,
}

struct Activity {
    awake: bool,
    last_used: Instant,
    /// Raised at each use: falling asleep compares it, so that a message in between is never slept through.
    uses: u64,
    /// When an election was last begun: by this node, or by one that got its vote.
    last_election: Option<Instant>,
    /// A task stands for election because a candidate had a shorter log.
    outbidding: bool,
}

/// An open group. Shared.
pub struct Group {
    pub id: GroupId,
    pub node_id: NodeId,
    pub(super) raft: Raft,
    pub log: Arc<dyn RaftLog>,
    shared: Arc<SharedState>,
    flushed: watch::Sender<FlushedEnd>,
    transport: Transport,
    tasks: Tasks,
    activity: Mutex<Activity>,
}

/// How long a write waits for a quorum to answer a leader that just woke.
const WAKE_PATIENCE: Duration = Duration::from_millis(200);

fn raft_config(group: GroupId, timing: &RaftTiming) -> Config {
    Config {
        cluster_name: format!("group-{group}"),
        heartbeat_interval: timing.heartbeat_interval_ms,
        heartbeat_min_interval: Some(timing.heartbeat_interval_ms / 2),
        election_timeout_min: timing.election_timeout_ms_min,
        election_timeout_max: timing.election_timeout_ms_max,
        max_payload_entries: 4096,
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        // What a leader that died in office had appended is only sure after an election: admission counts on it.
        enable_leader_restore: Some(false),
        enable_pre_vote: Some(true),
        // A follower whose disk lost the end of its log is sent it again. Without this the leader would end.
        allow_log_reversion: Some(true),
        backoff: "100ms".to_string(),
        ..Config::default()
    }
}

/// Writes a group's first entry, its membership, before anything else. Every replica writes the same one by itself, so
/// that any majority of them can elect: one that waited for it to come from another could not if that one is lost
/// between asking for votes and sending entries, and having voted it may not begin by itself any more.
async fn begin(log: &dyn RaftLog, members: &[NodeId]) -> Result<(), String> {
    let members: BTreeSet<u64> = members.iter().map(|node| node.0).collect();
    let membership = Membership::new_with_defaults(vec![members], []);
    let entry = Entry { log_id: raft_log_id(LogId::default()), payload: EntryPayload::Membership(membership) };
    let (done, flushed) = tokio::sync::oneshot::channel();
    let callback = Box::new(move |result| {
        let _ = done.send(result);
    });
    log.append(vec![to_log_entry(entry)], callback).map_err(|error| error.to_string())?;
    match flushed.await {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("the log was closed before its first entry was written".to_string()),
    }
}

impl Group {
    /// Opens a group over its log. Reads the disk on blocking threads. `first_members` are those of a group that was
    /// never written, where they are known.
    ///
    /// # Errors
    /// Damage in the log or the checkpoint, in words.
    #[expect(clippy::too_many_arguments, reason = "one caller, which has them all at hand")]
    pub(super) async fn open(
        id: GroupId,
        node_id: NodeId,
        log: Arc<dyn RaftLog>,
        empty: MachineState,
        first_members: Option<Vec<NodeId>>,
        transport: Transport,
        tasks: Tasks,
        timing: &RaftTiming,
    ) -> Result<Arc<Group>, String> {
        if let Some(members) = first_members.filter(|_| log.state().last.is_none()) {
            begin(&*log, &members).await?;
        }
        let (machine_log, machine_tasks) = (log.clone(), tasks.clone());
        let applies_records = empty.applies_records();
        let machine = tasks
            .blocking(move || GroupMachine::load(machine_log, empty, machine_tasks))
            .await
            .map_err(|error| error.to_string())?;
        let shared = machine.shared();
        let store = LogStore::new(log.clone(), tasks.clone(), applies_records);
        let flushed = store.flushed.clone();
        let config = raft_config(id, timing).validate().map_err(|error| error.to_string())?;
        let network = NetworkFactory { group: id, transport: transport.clone() };
        let raft =
            Raft::new(node_id.0, Arc::new(config), network, store, machine).await.map_err(|error| error.to_string())?;
        let activity = Mutex::new(Activity {
            awake: true,
            last_used: Instant::now(),
            uses: 0,
            last_election: None,
            outbidding: false,
        });
        Ok(Arc::new(Group { id, node_id, raft, log, shared, flushed, transport, tasks, activity }))
    }

    /// Starts the meta group's first membership, and with it an election, unless it has one: true if it did. Other
    /// groups have theirs from when they are opened.
    pub async fn ensure_born(&self, replicas: &[NodeId]) -> bool {
        if self.log.state().last.is_some() {
            return false;
        }
        let members: BTreeSet<u64> = replicas.iter().map(|node| node.0).collect();
        // Refused where a peer was first: then there is a membership, or a vote on its way, which is as good.
        self.activity.lock().last_election = Some(Instant::now());
        match self.raft.initialize(members).await {
            Ok(()) => true,
            Err(error) => {
                tracing::debug!(group = %self.id, %error, "not initialized here");
                false
            }
        }
    }

    /// Proposes, if this replica still leads in `term`. Back once the proposal stands in the group's queue, in the
    /// order of calls; `done` hears the rest.
    pub async fn propose(&self, term: Term, proposal: Proposal, done: ProposeDone) {
        if self.touch() {
            // Nobody heard of this leader while the group slept, and openraft refuses writes of a leader that has not
            // heard of a quorum lately.
            let asked = self.raft.ensure_linearizable(ReadPolicy::ReadIndex);
            let _ = tokio::time::timeout(WAKE_PATIENCE, asked).await;
        }
        let callback = Callback::new(move |result: openraft::raft::ClientWriteResult<TypeConfig>| {
            done(match result {
                Ok(response) => Ok((log_id(&response.log_id), response.data)),
                Err(ClientWriteError::ForwardToLeader(to)) => Err(ProposeError::NotLeader(to.leader_id.map(NodeId))),
                Err(_) => Err(ProposeError::Unknown),
            });
        });
        let write = self.raft.write(proposal).with_leader(CommittedLeaderId::new(term.0)).responder(callback);
        if let Err(error) = write.await {
            tracing::warn!(group = %self.id, %error, "the group takes no proposals any more");
        }
    }

    /// The term in which this replica leads, if it does (as far as it knows).
    pub fn leading(&self) -> Option<Term> {
        self.raft.as_leader().ok().map(|leader| Term(leader.term()))
    }

    /// Who leads, as far as this replica knows.
    pub fn leadership(&self) -> Leadership {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        Leadership { term: Term(metrics.vote.leader_id.term), leader: metrics.current_leader.map(NodeId) }
    }

    /// Waits until somebody leads, or the deadline.
    pub async fn await_leader(&self, deadline: Instant) -> Leadership {
        let mut metrics = self.raft.server_metrics();
        loop {
            let known = self.leadership();
            if known.leader.is_some() {
                return known;
            }
            if !matches!(tokio::time::timeout_at(deadline, metrics.changed()).await, Ok(Ok(()))) {
                return self.leadership();
            }
        }
    }

    /// Waits until this replica does not lead in `term`, as far as it knows.
    pub async fn until_not_leading(&self, term: Term) {
        let mut metrics = self.raft.server_metrics();
        while self.leading() == Some(term) {
            if metrics.changed().await.is_err() {
                return;
            }
        }
    }

    /// Whether the first entry of `term` was applied here: what came before is known in full then.
    pub fn has_applied_in(&self, term: Term) -> bool {
        self.shared.applied.borrow().last.is_some_and(|last| last.term >= term)
    }

    /// Asks a quorum whether this replica still leads, and waits until all that was committed before is applied
    /// (ReadIndex, Ongaro's dissertation, section 6.4).
    ///
    /// # Errors
    /// The leader to ask instead, if known; `None` too when no quorum answers in time.
    pub async fn read_index(&self, deadline: Instant) -> Result<(), Option<NodeId>> {
        self.touch();
        let asked = tokio::time::timeout_at(deadline, self.raft.ensure_linearizable(ReadPolicy::ReadIndex)).await;
        match asked {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(RaftError::APIError(openraft::errors::LinearizableReadError::ForwardToLeader(to)))) => {
                Err(to.leader_id.map(NodeId))
            }
            Ok(Err(_)) | Err(_) => Err(None),
        }
    }

    /// Follows what is applied.
    pub fn applied(&self) -> watch::Receiver<AppliedTo> {
        self.shared.applied.subscribe()
    }

    /// What is applied now.
    pub fn applied_now(&self) -> AppliedTo {
        *self.shared.applied.borrow()
    }

    /// Follows what the local log has flushed.
    pub fn flushed(&self) -> watch::Receiver<FlushedEnd> {
        self.flushed.subscribe()
    }

    /// Looks at the state machine. Short: apply waits meanwhile.
    pub fn with_state<T>(&self, look: impl FnOnce(&MachineState) -> T) -> T {
        look(&self.shared.machine.read())
    }

    /// Voters of the membership in force.
    pub fn voters(&self) -> Vec<NodeId> {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        metrics.membership_config.membership().voter_ids().map(NodeId).collect()
    }

    /// The last membership that this replica knows to be committed.
    pub fn committed_voters(&self) -> CommittedVoters {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let committed = &metrics.committed_membership_config;
        let nodes = |ids: &BTreeSet<u64>| ids.iter().copied().map(NodeId).collect();
        CommittedVoters {
            at: committed.log_id().as_ref().map(log_id),
            quorums: committed.membership().get_joint_config().iter().map(nodes).collect(),
        }
    }

    /// Makes `voters`, all of them replicas already, the group's voters by joint consensus (Ongaro's dissertation, section
    /// 4.3); replicas that vote no longer still get the log. To be called on the leader. A change that was cut short by
    /// a loss of leadership is finished by the next leader's call.
    ///
    /// # Errors
    /// This replica does not lead, or the outcome is unknown: the quorum did not answer by the deadline.
    pub async fn change_voters(&self, voters: &BTreeSet<NodeId>, deadline: Instant) -> Result<(), ProposeError> {
        self.touch();
        let ids: BTreeSet<u64> = voters.iter().map(|node| node.0).collect();
        let changed = tokio::time::timeout_at(deadline, self.raft.change_membership(ids, true)).await;
        match changed {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => match error.forward_to_leader() {
                Some(to) => Err(ProposeError::NotLeader(to.leader_id.map(NodeId))),
                None => Err(ProposeError::Unknown),
            },
            Err(_) => Err(ProposeError::Unknown),
        }
    }

    /// Log index up to which each replica has acknowledged, on the leader; empty elsewhere.
    pub fn replication(&self) -> Vec<(NodeId, Option<LogIndex>)> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let Some(replication) = &metrics.replication else { return Vec::new() };
        replication
            .iter()
            .map(|(node, matched)| (NodeId(*node), matched.as_ref().map(|id| LogIndex(id.index))))
            .collect()
    }

    /// Why the group has ended here, if it has (a failed disk, damage): it serves nothing any more.
    pub fn failure(&self) -> Option<String> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics.running_state.as_ref().err().map(ToString::to_string)
    }

    /// Hands leadership to `to`, if this replica leads and `to` is a voter. The write path pauses until it has, in openraft
    /// for good: so where `to` does not take over in time, this replica is elected anew, and writes go on.
    pub async fn transfer_leader(self: &Arc<Self>, to: NodeId) {
        let before = self.leadership();
        if before.leader != Some(self.node_id) || to == self.node_id || !self.voters().contains(&to) {
            return;
        }
        self.touch();
        if let Err(error) = self.raft.trigger().transfer_leader(to.0).await {
            tracing::debug!(group = %self.id, %error, "leadership was not handed over");
            return;
        }
        let group = self.clone();
        self.tasks.spawn("transfer-watch", OnPanic::Log, async move {
            for _ in 0..TRANSFER_ROUNDS_MAX {
                if !group.tasks.pause(TRANSFER_PATIENCE).await {
                    return;
                }
                let now = group.leadership();
                if now.leader != before.leader || now.term != before.term {
                    return;
                }
                tracing::info!(group = %group.id, %to, "leadership was not taken over: this node stands again");
                let vote: Vote = VoteBytes { term: now.term.0, node: group.node_id.0, committed: true }.into();
                let request = TransferLeaderRequest::new(vote, group.node_id.0, None);
                let _ = group.raft.handle_transfer_leader(request).await;
            }
        });
    }

    /// Gets an election going where nobody leads, and waits for it a moment.
    pub async fn ensure_leader(&self, patience: Duration) {
        if self.leadership().leader.is_some() {
            return;
        }
        self.nudge_election().await;
        self.await_leader(Instant::now() + patience).await;
    }

    /// Asks for an election if nobody leads; at most one in `NUDGE_INTERVAL`. A living leader is not disturbed.
    pub async fn nudge_election(&self) {
        self.touch();
        if self.leadership().leader.is_some() {
            return;
        }
        let interval = NUDGE_INTERVAL + NUDGE_STEP * self.rank(&self.voters());
        {
            let mut activity = self.activity.lock();
            // An election on a slow disk takes its time, and the next one would undo it.
            if activity.last_election.is_some_and(|at| at.elapsed() < interval) {
                return;
            }
            activity.last_election = Some(Instant::now());
        }
        // A group that never had a leader has none to disturb.
        let asks_first = self.log.state().last.is_some_and(|last| last != LogId::default());
        let _ = self.raft.trigger().elect(asks_first).await;
    }

    /// Another node stands for election: a nudge is not to begin a second one, which would take the leadership from
    /// the first just after it was won. Gives what was there before.
    pub(super) fn candidate_heard(&self, at: Option<Instant>) -> Option<Instant> {
        std::mem::replace(&mut self.activity.lock().last_election, at)
    }

    /// The leader's process has ended for sure: elect at once, without waiting for its lease. The replicas agree on
    /// who goes first by rank among those alive; the next one follows if that didn't work.
    pub(super) async fn leader_gone(self: &Arc<Self>, gone: NodeId, alive: &BTreeSet<NodeId>) {
        let before = self.leadership();
        if before.leader != Some(gone) {
            return;
        }
        self.touch();
        self.activity.lock().last_election = Some(Instant::now());
        let voters: Vec<NodeId> = self.voters().into_iter().filter(|node| alive.contains(node)).collect();
        if voters.is_empty() || !voters.contains(&self.node_id) {
            return;
        }
        let first = self.id.0 as usize % voters.len();
        let rank = self.rank(&voters);
        let vote: Vote = VoteBytes { term: before.term.0, node: gone.0, committed: true }.into();
        let request = TransferLeaderRequest::new(vote, voters[first].0, None);
        if let Err(error) = self.raft.handle_transfer_leader(request).await {
            tracing::debug!(group = %self.id, %error, "no election after the loss of the leader");
        }
        let group = self.clone();
        self.tasks.spawn("election-in-turn", OnPanic::Log, async move {
            // The first one's election began above. A turn fails where the others have not noticed the loss yet, or have
            // entries that this replica lacks; then it comes round again, later each time.
            let mut at = Duration::from_millis(150) * rank;
            for round in 0..ELECTION_ROUNDS_MAX {
                if round > 0 || rank > 0 {
                    if !group.tasks.pause(at).await {
                        return;
                    }
                    let now = group.leadership();
                    if now.leader.is_some_and(|leader| leader != gone || now.term > before.term) {
                        return;
                    }
                    let _ = group.raft.trigger().elect(false).await;
                }
                at = Duration::from_millis(300) * voters.len() as u32 * (round + 1);
            }
        });
    }

    /// A candidate with a shorter log than this replica's was refused: it cannot win here, and where nobody leads this
    /// replica may. The candidate has spent its vote of that term on itself, so the first try can fail by that alone.
    pub(super) fn outbid(self: &Arc<Self>) {
        if self.has_leader() || std::mem::replace(&mut self.activity.lock().outbidding, true) {
            return;
        }
        let (group, later) = (self.clone(), OUTBID_STEP * self.rank(&self.voters()));
        self.tasks.spawn("outbid", OnPanic::Log, async move {
            for pause in OUTBID_PAUSES {
                if !group.tasks.pause(pause + later).await || group.has_leader() {
                    break;
                }
                let _ = group.raft.trigger().elect(false).await;
            }
            group.activity.lock().outbidding = false;
        });
    }

    /// In which turn this replica stands for election; they begin at another one in each group.
    fn rank(&self, voters: &[NodeId]) -> u32 {
        let count = voters.len().max(1);
        let own = voters.iter().position(|node| *node == self.node_id).unwrap_or(0);
        ((own + count - self.id.0 as usize % count) % count) as u32
    }

    /// Whether somebody leads whose process has not ended, as far as this node knows.
    fn has_leader(&self) -> bool {
        let Some(leader) = self.leadership().leader else { return false };
        leader == self.node_id || self.transport.liveness().borrow().get(&leader) != Some(&Liveness::Gone)
    }

    /// Notes a use and wakes the group; true if it was asleep.
    pub fn touch(&self) -> bool {
        let mut activity = self.activity.lock();
        activity.uses += 1;
        activity.last_used = Instant::now();
        let was_asleep = !activity.awake;
        if was_asleep {
            activity.awake = true;
            self.set_running(true);
        }
        was_asleep
    }

    /// Whether it ticks.
    pub fn is_awake(&self) -> bool {
        self.activity.lock().awake
    }

    fn set_running(&self, running: bool) {
        let runtime = self.raft.runtime_config();
        runtime.elect(running);
        runtime.heartbeat(running);
        runtime.tick(running);
    }

    fn uses(&self) -> u64 {
        self.activity.lock().uses
    }

    /// Falls asleep if nothing was asked of the group since `uses` was read.
    fn sleep_since(&self, uses: u64) -> bool {
        let mut activity = self.activity.lock();
        if activity.uses != uses {
            return false;
        }
        activity.awake = false;
        self.set_running(false);
        true
    }

    /// As leader: puts the group to sleep on all its living replicas, if it is idle and they have everything.
    pub(super) async fn quiesce(&self, idle: Duration, alive: &BTreeSet<NodeId>) {
        let uses = {
            let activity = self.activity.lock();
            if !activity.awake || activity.last_used.elapsed() < idle {
                return;
            }
            activity.uses
        };
        let (Some(term), Some(last)) = (self.leading(), self.log.state().last) else { return };
        if last.term != term || self.applied_now().last != Some(last) {
            return;
        }
        let replication = self.replication();
        let followers: Vec<NodeId> =
            self.voters().into_iter().filter(|node| *node != self.node_id && alive.contains(node)).collect();
        let up_to_date = |node: &NodeId| replication.iter().any(|(n, at)| n == node && *at == Some(last.index));
        if !followers.iter().all(up_to_date) {
            return;
        }
        let header = wire::QuiesceHeader { group: self.id, term: term.0, last };
        let asked = followers.iter().map(|node| {
            let message = wire::message(wire::KIND_QUIESCE, &header);
            self.transport.call(*node, Lane::Control, message, Duration::from_secs(1))
        });
        let answers = futures::future::join_all(asked).await;
        if answers.iter().all(|answer| answer.as_ref().is_ok_and(|answer| answer.kind == wire::ANSWER_OK)) {
            self.sleep_since(uses);
        }
    }

    /// As follower: whether it may sleep with its leader's consent, and then does.
    pub(super) async fn agree_to_quiesce(&self, term: u64, last: LogId) -> bool {
        let uses = self.uses();
        let state = self.raft.with_raft_state(|state| {
            let vote: &Vote = state.vote_ref();
            (vote.leader_id().term, vote.is_committed())
        });
        let Ok((own_term, committed)) = state.await else { return false };
        let same = own_term == term && committed && self.log.state().last == Some(last);
        same && self.applied_now().last == Some(last) && self.sleep_since(uses)
    }

    /// Ends the group here; its log stays.
    pub async fn shutdown(&self) {
        let _ = self.raft.shutdown().await;
        let log = self.log.clone();
        if let Err(error) = self.tasks.blocking(move || log.close()).await {
            tracing::warn!(group = %self.id, %error, "the log was not closed cleanly");
        }
    }
}
