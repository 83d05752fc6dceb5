//! One history: hosts, network, clients, faults and the spectator, moved on tick by tick in one thread.
//!
//! Phases: the cluster forms and its topics are made; faults and load; then all is healed, and within a bounded
//! simulated time ([`HEALED_WITHIN_MS`]) every host takes part, takes writes to every partition, and reads everything.

use crate::faults::{Faults, World};
use crate::invariants::{self, Invariant};
use crate::observe;
use crate::report::Report;
use crate::swarm::Swarm;
use crate::trace::Trace;
use crate::view::View;
use crate::voters::Changes;
use crate::workload::calls::carry_out;
use crate::workload::client::{COMES_AND_GOES, Client, Topics};
use crate::workload::{Call, Event, Outcome, READ_FROM_ALL};
use crate::world::clock::Now;
use crate::world::host::{self, DiskSpeed, Host, Start};
use crate::world::network::Network;
use balsa::raft::MachineState;
use balsa::random::Random;
use balsa::types::{META_GROUP, NodeId};
use std::collections::BTreeMap;
use std::time::Duration;

/// The cluster forms within this time.
const FORMED_WITHIN_MS: u64 = 60_000;
/// After faults have ended, all is well within this time.
pub const HEALED_WITHIN_MS: u64 = 60_000;
/// What the names of topics that stay begin with.
const STAYS: &str = "stays-";
/// How much longer than the node's own deadline a client waits.
const CLIENT_PATIENCE_MS: u64 = 1_500;
/// How often a node that refused to start is started again.
const START_AGAIN_MS: u64 = 700;

/// What is wrong, and with which property.
#[derive(Clone, Debug)]
pub struct Violation {
    pub invariant: String,
    pub what: String,
}

fn violation(invariant: &str, what: impl ToString) -> Violation {
    Violation { invariant: invariant.to_string(), what: what.to_string() }
}

/// Life, term, leader, what is applied, and the last index of a replica.
type Told = (u64, u64, Option<u64>, Option<(u64, u64)>, Option<u64>);

struct OnWay {
    op: u64,
    call: Call,
    host: u64,
    since_ms: u64,
    answer: host::Call<Outcome>,
}

struct Seat {
    client: Client,
    next_ms: u64,
    on_way: Option<OnWay>,
}

/// See the module.
pub struct Simulation {
    pub swarm: Swarm,
    now: Now,
    network: Network,
    hosts: Vec<Host>,
    faults: Faults,
    changes: Option<Changes>,
    seats: Vec<Seat>,
    invariants: Vec<Box<dyn Invariant>>,
    view: View,
    pub trace: Trace,
    pub report: Report,
    ticks: u64,
    /// What the trace said of a replica last.
    told: BTreeMap<(u64, u64), Told>,
    next_op: u64,
    /// What hosts refused to start for, by host.
    refusals: Vec<(u64, String)>,
    coming_and_going: Option<(String, u32)>,
}

impl Simulation {
    pub fn new(seed: u64, trace: Trace) -> Simulation {
        let swarm = Swarm::of(seed);
        let random = Random::from_seed(seed ^ 0x5eed);
        let now = Now::default();
        let network = Network::new(now.clone(), random.next_u64(), swarm.delay);
        let host = |id| {
            let (min, max) = swarm.disk_micros;
            let disk = DiskSpeed::new(min, max, Random::from_seed(random.next_u64()));
            Host::new(id, random.next_u64(), now.clone(), network.clone(), swarm.config(id), disk)
        };
        let hosts = (1..=swarm.nodes).map(host).collect();
        let mut topics: Vec<(String, u32)> =
            swarm.partitions.iter().enumerate().map(|(number, count)| (format!("stays-{number}"), *count)).collect();
        let coming_and_going = swarm.coming_and_going.map(|count| (COMES_AND_GOES.to_string(), count));
        topics.extend(coming_and_going.clone());
        let seat = |id| {
            let admin_of = coming_and_going.clone().filter(|_| id == 1);
            let mut client = Client::new(id, random.next_u64(), Topics(topics.clone()), admin_of);
            if id <= swarm.kafka_clients {
                client.speak_kafka();
            }
            Seat { client, next_ms: 0, on_way: None }
        };
        let seats = (1..=swarm.clients).map(seat).collect();
        let faults = Faults::new(random.next_u64(), 0);
        let changes = swarm.voters_change_ms.map(|every_ms| Changes::new(random.next_u64(), every_ms));
        Simulation {
            swarm,
            now,
            network,
            hosts,
            faults,
            changes,
            seats,
            invariants: invariants::all(),
            view: View::default(),
            trace,
            report: Report::default(),
            ticks: 0,
            told: BTreeMap::new(),
            next_op: 1,
            refusals: Vec::new(),
            coming_and_going,
        }
    }

    pub fn now_ms(&self) -> u64 {
        self.now.ms()
    }

    /// Runs the whole history.
    ///
    /// # Errors
    /// The first violation.
    pub fn run(&mut self) -> Result<(), Violation> {
        let swarm = format!("{:?}", self.swarm);
        self.note(format_args!("{swarm}"));
        self.hosts.iter_mut().for_each(Host::start);
        self.form()?;
        let until = self.now_ms() + self.swarm.chaos_ms;
        while self.now_ms() < until {
            self.faults_step(true)?;
            self.clients_step()?;
            self.tick()?;
        }
        self.heal()?;
        crate::healed::everything_is_well(self)?;
        for invariant in &mut self.invariants {
            invariant.finish().map_err(|what| violation(invariant.name(), what))?;
        }
        self.finish_report();
        Ok(())
    }

    pub fn note(&mut self, what: std::fmt::Arguments<'_>) {
        self.trace.add(self.now.ms(), what);
    }

    fn form(&mut self) -> Result<(), Violation> {
        let deadline = self.now_ms() + FORMED_WITHIN_MS;
        while !self.hosts.iter().all(Host::is_ready) {
            if self.now_ms() > deadline {
                return Err(violation("the cluster forms", format!("not within {FORMED_WITHIN_MS} ms")));
            }
            self.tick()?;
        }
        self.note(format_args!("the cluster is formed"));
        for (number, partitions) in self.swarm.partitions.clone().into_iter().enumerate() {
            let topic = format!("stays-{number}");
            let call = Call::Create { topic, partitions, replication: self.swarm.replication };
            self.until_done(1, call, deadline)?;
        }
        Ok(())
    }

    /// Everything within one tick.
    pub fn tick(&mut self) -> Result<(), Violation> {
        self.ticks += 1;
        self.now.advance(self.swarm.tick_micros);
        let delivered = self.network.deliver();
        for host in &mut self.hosts {
            host.tick(self.swarm.tick_micros);
        }
        if let Some(panic) = crate::panics::take() {
            return Err(violation("no panic", panic));
        }
        if self.ticks.is_multiple_of(self.swarm.look_ticks) {
            self.note(format_args!("{} bytes, {:08x}", delivered.bytes, delivered.checksum));
            self.look()?;
        }
        Ok(())
    }

    fn look(&mut self) -> Result<(), Violation> {
        self.view.now_ms = self.now.ms();
        let calm = self.faults.is_calm() && self.faults.down.is_empty();
        self.view.calm_since_ms = calm.then(|| self.view.calm_since_ms.unwrap_or(self.view.now_ms));
        for host in &self.hosts {
            observe::look_at(&mut self.view, host, self.faults.damaged.contains(&host.id));
            let meta = host.node().and_then(|node| node.groups().get(META_GROUP));
            let Some(meta) = meta else { continue };
            let image = meta.with_state(|state| match state {
                MachineState::Meta(meta) => Some(meta.image()),
                MachineState::Partition(_) => None,
            });
            for topic in image.iter().flat_map(|image| image.topics()) {
                let groups = topic.groups().map(|(partition, group, _)| ((topic.id.0, partition.0), group.0));
                self.view.groups.extend(groups);
                if topic.name.starts_with(STAYS) {
                    let ids = |nodes: &[NodeId]| nodes.iter().map(|node| node.0).collect();
                    let replicas = topic.groups().map(|(_, group, nodes)| (group.0, ids(nodes)));
                    self.view.stays.extend(replicas);
                }
            }
        }
        for (host, seen, group, replica) in self.view.live() {
            let (term, leader, applied, end) =
                (replica.term, replica.leader, replica.applied, replica.log.last().map(|last| last.index));
            let told = (seen.life, term, leader, applied, end);
            if self.told.insert((host, group), told) != Some(told) {
                let now_ms = self.view.now_ms;
                self.trace.add(now_ms, format_args!("host {host} group {group}: {told:?}"));
            }
            if replica.leads_in.is_some() {
                self.report.leaders.insert((group, term));
            }
        }
        for invariant in &mut self.invariants {
            invariant.look(&self.view).map_err(|what| violation(invariant.name(), what))?;
        }
        Ok(())
    }

    fn faults_step(&mut self, may_begin: bool) -> Result<(), Violation> {
        self.start_those_that_refused();
        let now_ms = self.now_ms();
        let change_is_due = may_begin && self.changes.as_ref().is_some_and(|changes| changes.is_due(now_ms));
        if change_is_due || self.faults.is_due(&self.hosts, now_ms) {
            // What a process promised in its last moment counts, too.
            self.look()?;
        }
        let mut world = World { hosts: &mut self.hosts, network: &self.network, now_ms, swarm: &self.swarm };
        let mut done = self.faults.step(&mut world, may_begin);
        if let Some(changes) = self.changes.as_mut().filter(|_| may_begin) {
            done.extend(changes.step(&mut world, &mut self.faults, &self.view));
        }
        for text in done {
            self.trace.add(now_ms, format_args!("{text}"));
        }
        Ok(())
    }

    /// A supervisor starts what stopped by itself again.
    fn start_those_that_refused(&mut self) {
        for host in &mut self.hosts {
            let Some(Start::Failed(reason)) = host.start_state() else { continue };
            self.trace.add(self.now.ms(), format_args!("host {} refused to start: {reason}", host.id));
            self.refusals.push((host.id, reason));
            host.kill();
            self.faults.down.insert(host.id, self.now.ms() + START_AGAIN_MS);
        }
    }

    fn hear(&mut self, event: &Event) -> Result<(), Violation> {
        if let Some(Outcome::Wrong { place, what }) = &event.outcome {
            return Err(violation("no phantom", format!("{place}: {what}")));
        }
        for invariant in &mut self.invariants {
            invariant.hear(event).map_err(|what| violation(invariant.name(), what))?;
        }
        self.report.hear(event);
        Ok(())
    }

    fn clients_step(&mut self) -> Result<(), Violation> {
        let mut seats = std::mem::take(&mut self.seats);
        let result = seats.iter_mut().try_for_each(|seat| self.seat_step(seat));
        self.seats = seats;
        result
    }

    fn seat_step(&mut self, seat: &mut Seat) -> Result<(), Violation> {
        let now_ms = self.now_ms();
        if let Some(on_way) = seat.on_way.take() {
            let Some(outcome) = self.outcome(&on_way) else {
                seat.on_way = Some(on_way);
                return Ok(());
            };
            let outcome = match outcome {
                Outcome::Refused { reason, .. } => {
                    Outcome::Refused { reason, earlier_in_doubt: seat.client.earlier_in_doubt() }
                }
                other => other,
            };
            let event = Event { op: on_way.op, client: seat.client.id, call: on_way.call, outcome: Some(outcome) };
            self.note(format_args!("op {} ends: {:?}", event.op, event.outcome));
            seat.client.hear(&event);
            seat.next_ms = now_ms + seat.client.think_ms(&self.swarm);
            return self.hear(&event);
        }
        let up: Vec<u64> = self.hosts.iter().filter(|host| host.is_ready() && !host.held).map(|host| host.id).collect();
        if now_ms < seat.next_ms || up.is_empty() {
            return Ok(());
        }
        let call = seat.client.next(&self.swarm);
        let host = up[seat.client.choose(up.len())];
        seat.on_way = self.begin(seat.client.id, host, call)?;
        Ok(())
    }

    fn begin(&mut self, client: u64, host: u64, call: Call) -> Result<Option<OnWay>, Violation> {
        let running = &self.hosts[host as usize - 1];
        let Some(node) = running.node() else { return Ok(None) };
        let op = self.next_op;
        self.next_op += 1;
        let patience = Duration::from_millis(self.swarm.patience_ms);
        let Some(answer) = running.call(carry_out(node.broker().clone(), call.clone(), patience)) else {
            return Ok(None);
        };
        let event = Event { op, client, call: call.clone(), outcome: None };
        self.note(format_args!("op {op} of client {client} on host {host}: {call:?}"));
        self.hear(&event)?;
        Ok(Some(OnWay { op, call, host, since_ms: self.now.ms(), answer }))
    }

    /// How a call ended, if it has: by its answer, by the end of its process, or by the client's patience.
    fn outcome(&self, on_way: &OnWay) -> Option<Outcome> {
        let unknown = |reason: &str| Some(Outcome::Unknown { reason: reason.to_string() });
        let host = &self.hosts[on_way.host as usize - 1];
        if let Some(outcome) = on_way.answer.take() {
            return Some(outcome);
        }
        if !host.is_running() || host.lives != on_way.answer.life {
            return unknown("the connection was lost");
        }
        if self.now_ms() > on_way.since_ms + self.swarm.patience_ms + CLIENT_PATIENCE_MS {
            return unknown("no answer in time");
        }
        None
    }

    /// Ends all faults, and lets what is on its way come to its end.
    fn heal(&mut self) -> Result<(), Violation> {
        self.note(format_args!("healing"));
        self.look()?;
        let now_ms = self.now_ms();
        self.report.faults = self.faults.counts.clone();
        let mut world = World { hosts: &mut self.hosts, network: &self.network, now_ms, swarm: &self.swarm };
        self.faults.heal(&mut world);
        self.report.power_cuts = self.faults.counts.power_cuts;
        let mut seats = std::mem::take(&mut self.seats);
        let mut result = Ok(());
        while result.is_ok() && seats.iter().any(|seat| seat.on_way.is_some()) {
            result = result.and_then(|()| self.faults_step(false));
            for seat in seats.iter_mut().filter(|seat| seat.on_way.is_some()) {
                result = result.and_then(|()| self.seat_step(seat));
            }
            result = result.and_then(|()| self.tick());
        }
        self.seats = seats;
        result
    }

    /// Asks until it is done, or the deadline (in ms).
    pub fn until_done(&mut self, host: u64, call: Call, deadline_ms: u64) -> Result<Outcome, Violation> {
        let mut last = String::new();
        while self.now_ms() < deadline_ms {
            let is_ready = self.hosts[host as usize - 1].is_ready();
            let begun = if is_ready { self.begin(READ_FROM_ALL, host, call.clone())? } else { None };
            let outcome = loop {
                self.faults_step(false)?;
                self.tick()?;
                let Some(on_way) = &begun else { break None };
                if let Some(outcome) = self.outcome(on_way) {
                    let event = Event {
                        op: on_way.op,
                        client: READ_FROM_ALL,
                        call: call.clone(),
                        outcome: Some(outcome.clone()),
                    };
                    self.note(format_args!("op {} ends: {outcome:?}", on_way.op));
                    self.hear(&event)?;
                    break Some(outcome);
                }
            };
            match outcome {
                Some(Outcome::Refused { reason, .. } | Outcome::Unknown { reason }) => last = reason,
                Some(done) => return Ok(done),
                None => last = format!("host {host} does not take part"),
            }
        }
        Err(violation("the cluster heals", format!("{call:?} on host {host} was not done in time: {last}")))
    }

    /// Hosts that must be well in the end: all but those whose disks were damaged.
    pub fn sound_hosts(&self) -> Vec<u64> {
        self.hosts.iter().map(|host| host.id).filter(|id| !self.faults.damaged.contains(id)).collect()
    }

    /// Hosts that take part now.
    pub fn ready_hosts(&self) -> Vec<u64> {
        self.hosts.iter().filter(|host| host.is_ready()).map(|host| host.id).collect()
    }

    pub fn deadline_ms(&self) -> u64 {
        self.now_ms() + HEALED_WITHIN_MS
    }

    pub fn is_past(&self, deadline_ms: u64) -> bool {
        self.now_ms() > deadline_ms
    }

    /// One step without new faults.
    pub fn calm_tick(&mut self) -> Result<(), Violation> {
        self.faults_step(false)?;
        self.tick()
    }

    /// As many steps without new faults as come before a time.
    pub fn calm_until(&mut self, at_ms: u64) -> Result<(), Violation> {
        while self.now_ms() < at_ms {
            self.calm_tick()?;
        }
        Ok(())
    }

    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    pub fn view(&self) -> &View {
        &self.view
    }

    pub fn why_not_ready(&self, host: u64) -> String {
        let reason = self.refusals.iter().rev().find(|(id, _)| *id == host).map(|(_, reason)| reason.clone());
        reason.unwrap_or_else(|| "it does not say why".to_string())
    }

    /// All topics that the cluster should have now, with their partitions.
    pub fn topics(&self) -> Vec<(String, u32)> {
        let stays = self.swarm.partitions.iter().enumerate().map(|(number, count)| (format!("stays-{number}"), *count));
        stays.collect()
    }

    /// The topic that comes and goes.
    pub fn coming_and_going(&self) -> Option<(String, u32)> {
        self.coming_and_going.clone()
    }

    fn finish_report(&mut self) {
        self.report.simulated_ms = self.now.ms();
        self.report.histories = 1;
        self.report.checksum = self.trace.checksum();
        self.report.trace_lines = self.trace.lines();
    }
}
