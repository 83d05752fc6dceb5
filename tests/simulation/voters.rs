//! Changes of voters: at random moments a group's leader is asked to shrink its voters, or to grow them back, and often
//! the network or the leader fails just then.
//!
//! What makes joint consensus needed is a majority of the new voters without one of the old ones: `{1, 2}` of
//! `{1, 2, 3, 4, 5}`. So new voters are few, and the cut goes between them, with the leader, and the others, which may
//! never have heard of the change. A leader that is started again knows of it from its log alone.
//!
//! Groups of topics that stay are changed, and in the end each gets all of its replicas back as voters.

use crate::faults::{Faults, World};
use crate::simulation::{Simulation, Violation};
use crate::view::{Group, HostId, View};
use crate::world::host::{Call, Host};
use balsa::raft::ProposeError;
use balsa::random::Random;
use balsa::types::{GroupId, NodeId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// How long a change may take.
const PATIENCE: Duration = Duration::from_millis(2_000);
/// In the end a leader that can't be asked is looked for again after this time.
const ASK_AGAIN_MS: u64 = 500;

type Answer = Call<Result<(), ProposeError>>;

/// Something that goes wrong while voters change, at a time.
struct Planned {
    at_ms: u64,
    /// Cut off from all others, if there are any.
    apart: BTreeSet<HostId>,
    /// Killed for a moment.
    kill: Option<HostId>,
}

/// See the module.
pub struct Changes {
    random: Random,
    every_ms: u64,
    next_ms: u64,
    on_way: BTreeMap<Group, (BTreeSet<HostId>, Answer)>,
    planned: Vec<Planned>,
}

impl Changes {
    pub fn new(seed: u64, every_ms: u64) -> Changes {
        Changes { random: Random::from_seed(seed), every_ms, next_ms: 0, on_way: BTreeMap::new(), planned: Vec::new() }
    }

    /// Whether `step` would touch a process now.
    pub fn is_due(&self, now_ms: u64) -> bool {
        self.planned.iter().any(|planned| planned.at_ms <= now_ms)
    }

    /// Does what is planned, and asks for a change when it is time. Says what was done, for the trace.
    pub fn step(&mut self, world: &mut World<'_>, faults: &mut Faults, view: &View) -> Vec<String> {
        let mut done = Vec::new();
        self.on_way.retain(|group, (voters, answer)| {
            let Some(result) = answer.take() else { return true };
            done.push(format!("group {group}: voters {voters:?}: {result:?}"));
            false
        });
        let now_ms = world.now_ms;
        for planned in self.planned.extract_if(.., |planned| planned.at_ms <= now_ms) {
            if !planned.apart.is_empty() && faults.set_apart(world, &planned.apart) {
                done.push(format!("hosts {:?} are cut off", planned.apart));
            }
            if let Some(host) = planned.kill {
                faults.kill_for_a_moment(world, host);
                done.push(format!("host {host} is killed while it changes voters"));
            }
        }
        if now_ms >= self.next_ms {
            self.next_ms = now_ms + self.every_ms / 2 + self.random.below(self.every_ms + 1);
            done.extend(self.change_one(world, view));
        }
        done
    }

    fn change_one(&mut self, world: &mut World<'_>, view: &View) -> Option<String> {
        let groups: Vec<_> = view.stays.iter().collect();
        let (group, replicas) = *groups.get(self.random.below(groups.len().max(1) as u64) as usize)?;
        let leader = leader_of(world.hosts, *group)?;
        let current = voters_of(world.host(leader), *group)?;
        let grows = current.len() < replicas.len() && self.random.below(4) != 0;
        let voters = if grows { replicas.clone() } else { self.few(replicas, leader) };
        let answer = ask(world.host(leader), *group, &voters)?;
        let text = format!("group {group}: leader {leader} is asked for voters {voters:?} in the place of {current:?}");
        self.on_way.insert(*group, (voters.clone(), answer));
        if self.random.below(3) != 0 {
            // The side of fewer voters, which is also the one to grow from.
            let few = if grows { current } else { voters };
            self.plan(world.now_ms, leader, few);
        }
        Some(text)
    }

    /// Few enough of the replicas that a majority of them can be without a majority of all; mostly with the leader.
    fn few(&self, replicas: &BTreeSet<HostId>, leader: HostId) -> BTreeSet<HostId> {
        let count = 1 + self.random.below(replicas.len() as u64 - 2) as usize;
        let mut left: Vec<HostId> = replicas.iter().copied().collect();
        let mut few = BTreeSet::new();
        if self.random.below(4) != 0 {
            left.retain(|host| *host != leader);
            few.insert(leader);
        }
        while few.len() < count {
            few.insert(left.remove(self.random.below(left.len() as u64) as usize));
        }
        few
    }

    fn plan(&mut self, now_ms: u64, leader: HostId, mut side: BTreeSet<HostId>) {
        side.insert(leader);
        let cut_ms = now_ms + [0, 0, 2, 10][self.random.below(4) as usize];
        self.planned.push(Planned { at_ms: cut_ms, apart: side, kill: None });
        if self.random.below(4) != 0 {
            let at_ms = cut_ms + 5 + self.random.below(100);
            self.planned.push(Planned { at_ms, apart: BTreeSet::new(), kill: Some(leader) });
        }
    }
}

/// The host that leads a group, and in the highest term if more than one believes so.
fn leader_of(hosts: &[Host], group: Group) -> Option<HostId> {
    let leads = |host: &Host| {
        let group = host.node().filter(|_| host.is_ready() && !host.held)?.groups().get(GroupId(group))?;
        group.leading().map(|term| (term, host.id))
    };
    hosts.iter().filter_map(leads).max().map(|(_, host)| host)
}

/// The voters that a host knows to be in force.
fn voters_of(host: &Host, group: Group) -> Option<BTreeSet<HostId>> {
    let group = host.node()?.groups().get(GroupId(group))?;
    Some(group.voters().into_iter().map(|node| node.0).collect())
}

fn ask(host: &Host, group: Group, voters: &BTreeSet<HostId>) -> Option<Answer> {
    let group = host.node()?.groups().get(GroupId(group))?;
    let voters: BTreeSet<NodeId> = voters.iter().copied().map(NodeId).collect();
    host.call(async move { group.change_voters(&voters, Instant::now() + PATIENCE).await })
}

/// Gets a leader elected, as a client's call would.
fn wake(host: &Host, group: Group) -> Option<Call<()>> {
    let node = host.node()?;
    host.call(async move {
        if let Ok(group) = node.groups().open(GroupId(group)).await {
            group.ensure_leader(PATIENCE).await;
        }
    })
}

/// Whether the leader knows that exactly these are its voters, and nothing else is on its way.
fn has_voters(host: &Host, group: Group, voters: &BTreeSet<HostId>) -> bool {
    let Some(open) = host.node().and_then(|node| node.groups().get(GroupId(group))) else { return false };
    let wanted: BTreeSet<NodeId> = voters.iter().copied().map(NodeId).collect();
    open.committed_voters().quorums == [wanted] && voters_of(host, group).as_ref() == Some(voters)
}

/// After all faults have ended: makes all replicas of all groups voters again.
///
/// # Errors
/// A group that could not be changed back in time.
pub fn restore(simulation: &mut Simulation) -> Result<(), Violation> {
    let deadline = simulation.deadline_ms();
    let stays: Vec<(Group, BTreeSet<HostId>)> =
        simulation.view().stays.iter().map(|(group, replicas)| (*group, replicas.clone())).collect();
    for (group, replicas) in stays {
        loop {
            let leader = leader_of(simulation.hosts(), group);
            let host = |id: HostId| &simulation.hosts()[id as usize - 1];
            if leader.is_some_and(|leader| has_voters(host(leader), group, &replicas)) {
                break;
            }
            if simulation.is_past(deadline) {
                let voters = leader.and_then(|leader| voters_of(host(leader), group));
                let what = format!("group {group}: leader {leader:?}, voters {voters:?} instead of {replicas:?}");
                return Err(Violation { invariant: "voters grow back".to_string(), what });
            }
            match leader {
                Some(leader) => drop(ask(host(leader), group, &replicas)),
                None => replicas.iter().for_each(|id| drop(wake(host(*id), group))),
            }
            simulation.calm_until(simulation.now_ms() + ASK_AGAIN_MS)?;
        }
        simulation.note(format_args!("group {group} has voters {replicas:?} again"));
    }
    Ok(())
}
