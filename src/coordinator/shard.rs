//! One led partition of groups in one term: what lives, who waits, and the one timer for all of it.

use super::leases::HttpGroup;
use super::{Coordinator, CoordinatorConfig, WRITE_PATIENCE, refused};
use crate::partition::{Append, Replica};
use crate::record::{RecordSet, build_batch};
use crate::state::group::live::{Joined, LiveConfig, LiveGroup, Output, PersistToken, Synced, Ticket};
use crate::state::group::{GroupCommand, GroupError, GroupMetadata, GroupRecord};
use crate::state::partition::{Applied, Identity};
use crate::tasks::OnPanic;
use crate::types::{Acks, GroupId, Term};
use futures::FutureExt;
use futures::future::BoxFuture;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{Mutex, Notify, oneshot};
use tokio::time::Instant;

/// While somebody waits, the end of leadership is looked for this often.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// Records that go into one batch at most, so that one write of a huge group stays small.
const RECORDS_PER_BATCH: usize = 2_000;

/// A partition of groups, led or not.
pub(super) struct Shard {
    pub at: GroupId,
    pub core: Mutex<Option<Led>>,
    /// Something comes due earlier than the timer knows.
    wake: Notify,
    /// The timer runs. Changed under the lock only.
    driven: AtomicBool,
}

/// Hears of a write's end.
pub(super) type Written = oneshot::Receiver<Result<(), GroupError>>;

/// What is known while this node leads.
pub(super) struct Led {
    pub term: Term,
    pub replica: Arc<Replica>,
    live: BTreeMap<String, LiveGroup>,
    pub http: BTreeMap<String, HttpGroup>,
    joins: BTreeMap<Ticket, oneshot::Sender<Result<Joined, GroupError>>>,
    syncs: BTreeMap<Ticket, oneshot::Sender<Result<Synced, GroupError>>>,
    last_ticket: u64,
    config: LiveConfig,
    groups_max: usize,
    /// Where the clock of this term begins; it never goes back.
    began: Instant,
}

impl Shard {
    pub fn new(at: GroupId) -> Shard {
        Shard { at, core: Mutex::new(None), wake: Notify::new(), driven: AtomicBool::new(false) }
    }
}

impl Led {
    /// Begins a term with what is applied: groups with members live on, leases begin their time anew.
    pub fn begin(term: Term, replica: Arc<Replica>, config: &CoordinatorConfig) -> Led {
        let mut led = Led {
            term,
            live: BTreeMap::new(),
            http: BTreeMap::new(),
            joins: BTreeMap::new(),
            syncs: BTreeMap::new(),
            last_ticket: 0,
            config: config.live.clone(),
            groups_max: config.groups_max,
            began: Instant::now(),
            replica,
        };
        let replica = led.replica.clone();
        replica.with_groups(|table| {
            for (name, entry) in table.iter() {
                let metadata = entry.metadata.as_ref().filter(|metadata| !metadata.members.is_empty());
                if metadata.is_some() {
                    led.live.insert(name.to_string(), LiveGroup::restore(led.config.clone(), metadata, 0));
                }
                if !entry.leases.is_empty() {
                    led.http.insert(name.to_string(), HttpGroup::restore(entry));
                }
            }
        });
        led
    }

    /// Milliseconds since this term began here.
    pub fn now_ms(&self) -> i64 {
        self.began.elapsed().as_millis() as i64
    }

    /// The group, as it lives or begins to.
    pub fn group(&mut self, name: &str) -> &mut LiveGroup {
        let (config, now_ms, replica) = (&self.config, self.began.elapsed().as_millis() as i64, &self.replica);
        self.live.entry(name.to_string()).or_insert_with(|| {
            let restore = |metadata: Option<&GroupMetadata>| LiveGroup::restore(config.clone(), metadata, now_ms);
            let restored =
                replica.with_groups(|table| restore(table.get(name).and_then(|kept| kept.metadata.as_ref())));
            restored.unwrap_or_else(|| restore(None))
        })
    }

    /// The group, if it lives.
    pub fn living(&self, name: &str) -> Option<&LiveGroup> {
        self.live.get(name)
    }

    /// All groups that live.
    pub fn all_living(&self) -> impl Iterator<Item = (&String, &LiveGroup)> {
        self.live.iter()
    }

    /// Whether a new group may begin.
    ///
    /// # Errors
    /// There are too many.
    pub fn check_room(&self, name: &str) -> Result<(), GroupError> {
        let (count, known) =
            self.replica.with_groups(|table| (table.len(), table.get(name).is_some())).unwrap_or_default();
        let is_new = !known && !self.live.contains_key(name) && !self.http.contains_key(name);
        if is_new && count.max(self.live.len()) >= self.groups_max {
            return Err(GroupError::Overloaded(format!("there are {count} groups in this partition already")));
        }
        Ok(())
    }

    /// Somebody waits for the end of a join.
    pub fn await_join(&mut self) -> (Ticket, oneshot::Receiver<Result<Joined, GroupError>>) {
        let (sender, receiver) = oneshot::channel();
        self.last_ticket += 1;
        self.joins.insert(Ticket(self.last_ticket), sender);
        (Ticket(self.last_ticket), receiver)
    }

    /// Somebody waits for an assignment.
    pub fn await_sync(&mut self) -> (Ticket, oneshot::Receiver<Result<Synced, GroupError>>) {
        let (sender, receiver) = oneshot::channel();
        self.last_ticket += 1;
        self.syncs.insert(Ticket(self.last_ticket), sender);
        (Ticket(self.last_ticket), receiver)
    }

    fn next_deadline_ms(&self) -> Option<i64> {
        let groups = self.live.values().filter_map(LiveGroup::next_deadline_ms);
        groups.chain(self.http.values().filter_map(HttpGroup::next_deadline_ms)).min()
    }

    fn is_awaited(&self) -> bool {
        !self.joins.is_empty() || !self.syncs.is_empty()
    }
}

impl Coordinator {
    /// Gives the records their place in the log, as one batch or a few. Back then; the receiver hears the rest.
    pub(super) async fn write(&self, led: &Led, records: &[GroupRecord]) -> Written {
        let parts = &self.inner.parts;
        let (done, written) = oneshot::channel();
        let mut waits = Vec::new();
        for part in records.chunks(RECORDS_PER_BATCH) {
            let mut set = RecordSet::new();
            let now_ms = parts.clock.now_ms();
            for record in part {
                let (key, value) = record.encode();
                set.push(now_ms, Some(&key), value.as_deref(), &[]);
            }
            let built = build_batch(&[set]);
            let append = Append {
                batches: built.bytes,
                record_count: built.record_count,
                timestamp_ms_max: built.timestamp_ms_max,
                // Sent once: whoever asked hears of a failure, and decides.
                identity: Identity::Anonymous,
                expected_offset: None,
                acks: Acks::All,
            };
            let (sender, receiver) = oneshot::channel();
            let heard = Box::new(move |result: Result<_, _>| {
                let _ = sender.send(result);
            });
            led.replica.append_in(led.term, append, heard).await;
            waits.push(receiver);
        }
        parts.tasks.spawn("group-write", OnPanic::Log, async move {
            let lost = || GroupError::Unknown("a quorum did not answer in time".to_string());
            let mut outcome = Ok(());
            for wait in waits {
                outcome = match tokio::time::timeout(WRITE_PATIENCE, wait).await {
                    Ok(Ok(Ok(_))) => outcome,
                    Ok(Ok(Err(error))) => Err(refused(error)),
                    Ok(Err(_)) | Err(_) => Err(lost()),
                };
            }
            let _ = done.send(outcome);
        });
        written
    }

    /// Gives a change of leases its place in the log. The receiver hears whether it holds.
    pub(super) async fn command(
        &self,
        led: &Led,
        command: GroupCommand,
    ) -> Result<impl Future<Output = Result<bool, GroupError>> + Send + use<>, GroupError> {
        let waits = led.replica.group_command_in(led.term, command).await.map_err(refused)?;
        Ok(async move {
            match tokio::time::timeout(WRITE_PATIENCE, waits).await {
                Ok(Ok(Ok(Applied::Lease { holds }))) => Ok(holds),
                Ok(Ok(Err(error))) => Err(refused(error)),
                _ => Err(GroupError::Unknown("a quorum did not answer in time".to_string())),
            }
        })
    }

    /// Carries out what a living group decided, in order, and lets go of it once all is in the table.
    pub(super) fn carry_out<'a>(&'a self, shard: &'a Arc<Shard>, led: &'a mut Led, name: &'a str) -> BoxFuture<'a, ()> {
        async move {
            let Some(group) = led.live.get_mut(name) else { return };
            for output in group.take_outputs() {
                match output {
                    Output::Joined(ticket, result) => {
                        if let Some(waiting) = led.joins.remove(&ticket) {
                            let _ = waiting.send(result);
                        }
                    }
                    Output::Synced(ticket, result) => {
                        if let Some(waiting) = led.syncs.remove(&ticket) {
                            let _ = waiting.send(result);
                        }
                    }
                    Output::Persist(token, metadata) => self.persist(shard, led, name, token, metadata).await,
                }
            }
            if led.live.get(name).is_some_and(LiveGroup::is_idle) {
                led.live.remove(name);
            }
        }
        .boxed()
    }

    async fn persist(
        &self,
        shard: &Arc<Shard>,
        led: &Led,
        name: &str,
        token: PersistToken,
        mut metadata: GroupMetadata,
    ) {
        metadata.state_since_ms = self.inner.parts.clock.now_ms();
        let written = self.write(led, &[GroupRecord::group(name, Some(metadata))]).await;
        let (coordinator, shard, term, name) = (self.clone(), shard.clone(), led.term, name.to_string());
        self.inner.parts.tasks.spawn("group-written", OnPanic::StopNode, async move {
            let result = written.await.unwrap_or(Err(GroupError::NotCoordinator));
            let mut core = shard.core.lock().await;
            let Some(led) = core.as_mut().filter(|led| led.term == term) else { return };
            let now_ms = led.now_ms();
            if let Some(group) = led.live.get_mut(&name) {
                group.persisted(token, result, now_ms);
                coordinator.carry_out(&shard, led, &name).await;
            }
            coordinator.drive(&shard, &core);
        });
    }

    /// Sees to it that time passes for this shard, if anything waits for it. To be called under the lock.
    pub(super) fn drive(&self, shard: &Arc<Shard>, core: &Option<Led>) {
        let Some(led) = core else { return };
        if led.next_deadline_ms().is_none() && !led.is_awaited() {
            return;
        }
        if shard.driven.swap(true, Ordering::AcqRel) {
            return shard.wake.notify_one();
        }
        let (coordinator, shard) = (self.clone(), shard.clone());
        let stopping = self.inner.parts.tasks.stopping();
        self.inner.parts.tasks.spawn("group-timer", OnPanic::StopNode, async move {
            while let Some(pause) = coordinator.tick(&shard).await {
                tokio::select! {
                    () = stopping.cancelled() => return,
                    () = tokio::time::sleep(pause) => {}
                    () = shard.wake.notified() => {}
                }
            }
        });
    }

    /// Does what is due. How long until the next look; `None` when nothing waits any more.
    async fn tick(&self, shard: &Arc<Shard>) -> Option<Duration> {
        let mut core = shard.core.lock().await;
        // Who waited for a term that is over hears so by the end of its channel.
        if core.as_ref().is_some_and(|led| led.replica.group.leading() != Some(led.term)) {
            *core = None;
        }
        let pause = match core.as_mut() {
            Some(led) => self.do_what_is_due(shard, led).await,
            None => None,
        };
        if pause.is_none() {
            shard.driven.store(false, Ordering::Release);
        }
        pause
    }

    async fn do_what_is_due(&self, shard: &Arc<Shard>, led: &mut Led) -> Option<Duration> {
        let now_ms = led.now_ms();
        let is_due = |group: &LiveGroup| group.next_deadline_ms().is_some_and(|at| at <= now_ms);
        let due: Vec<String> =
            led.live.iter().filter(|(_, group)| is_due(group)).map(|(name, _)| name.clone()).collect();
        for name in due {
            if let Some(group) = led.live.get_mut(&name) {
                group.on_time(now_ms);
            }
            self.carry_out(shard, led, &name).await;
        }
        self.end_leases(led, now_ms).await;
        let next = led.next_deadline_ms().map(|at| Duration::from_millis((at - led.now_ms()).max(1) as u64));
        if led.is_awaited() { Some(next.map_or(LOOK_INTERVAL, |next| next.min(LOOK_INTERVAL))) } else { next }
    }
}
