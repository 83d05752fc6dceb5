//! Faults: what goes wrong, for how long, and how it is ended. Which of them, and how often, is the swarm's choice.
//!
//! At most a minority of the hosts is damaged in a history, and a power cut of all hosts loses nothing that was synced,
//! so what is acknowledged must survive any of it. A host whose disk fails is started anew when the disk is well again,
//! as its operator would do it.

use crate::swarm::Swarm;
use crate::world::host::Host;
use crate::world::network::{Delay, Network};
use balsa::random::Random;
use balsa::vfs::Vfs;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    KillOne,
    KillMinority,
    KillAll,
    PowerCutOne,
    PowerCutMinority,
    PowerCutAll,
    /// The process or the machine dies between a write and its sync.
    DieAtSync,
    Halves,
    Isolate,
    OneWay,
    Ring,
    SlowLinks,
    Reset,
    ClockJump,
    ClockDrift,
    SlowDisk,
    DiskFull,
    WriteError,
    SyncError,
    Damage,
    Hold,
    /// The voters that a group is changing to and the others, from each other. Drawn where voters change.
    VotersApart,
    /// The leader that changes them, for a short time. Drawn there, too.
    KillChanger,
}

impl Kind {
    pub const ALL: [Kind; 21] = [
        Kind::KillOne,
        Kind::KillMinority,
        Kind::KillAll,
        Kind::PowerCutOne,
        Kind::PowerCutMinority,
        Kind::PowerCutAll,
        Kind::DieAtSync,
        Kind::Halves,
        Kind::Isolate,
        Kind::OneWay,
        Kind::Ring,
        Kind::SlowLinks,
        Kind::Reset,
        Kind::ClockJump,
        Kind::ClockDrift,
        Kind::SlowDisk,
        Kind::DiskFull,
        Kind::WriteError,
        Kind::SyncError,
        Kind::Damage,
        Kind::Hold,
    ];
}

/// What changes links, of which only one is active at a time.
const LINKS: [Kind; 6] = [Kind::Halves, Kind::Isolate, Kind::OneWay, Kind::Ring, Kind::SlowLinks, Kind::VotersApart];

/// What was done, for the report.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    pub by_kind: BTreeMap<Kind, u64>,
    /// Each host whose power was cut.
    pub power_cuts: u64,
}

/// Something that goes wrong now, and ends at a time.
struct Active {
    until_ms: u64,
    kind: Kind,
    host: u64,
}

/// See the module.
pub struct Faults {
    random: Random,
    next_ms: u64,
    active: Vec<Active>,
    /// Hosts that are down, and when they are started again.
    pub down: BTreeMap<u64, u64>,
    pub damaged: BTreeSet<u64>,
    /// Hosts whose disk failed while they ran, so that they may stop or refuse.
    pub sick: BTreeSet<u64>,
    /// Hosts that die at a planned sync: by a power cut, or as a process.
    dying: BTreeMap<u64, bool>,
    pub counts: Counts,
}

/// What a fault may touch.
pub struct World<'a> {
    pub hosts: &'a mut Vec<Host>,
    pub network: &'a Network,
    pub now_ms: u64,
    pub swarm: &'a Swarm,
}

impl World<'_> {
    pub fn host(&mut self, id: u64) -> &mut Host {
        &mut self.hosts[id as usize - 1]
    }

    fn ids(&self) -> Vec<u64> {
        self.hosts.iter().map(|host| host.id).collect()
    }
}

impl Faults {
    pub fn new(seed: u64, first_ms: u64) -> Faults {
        Faults {
            random: Random::from_seed(seed),
            next_ms: first_ms,
            active: Vec::new(),
            down: BTreeMap::new(),
            damaged: BTreeSet::new(),
            sick: BTreeSet::new(),
            dying: BTreeMap::new(),
            counts: Counts::default(),
        }
    }

    /// Whether nothing is wrong now, and nothing is planned.
    pub fn is_calm(&self) -> bool {
        self.active.is_empty() && self.dying.is_empty()
    }

    /// Whether `step` would touch a process now.
    pub fn is_due(&self, hosts: &[Host], now_ms: u64) -> bool {
        let over = self.active.iter().any(|active| active.until_ms <= now_ms);
        over || now_ms >= self.next_ms || hosts.iter().any(|host| host.fs.is_dead())
    }

    /// Ends what is over, starts what is down long enough, and lets something new go wrong when it is time. Says what
    /// was done, for the trace.
    pub fn step(&mut self, world: &mut World<'_>, may_begin: bool) -> Vec<String> {
        let mut done = Vec::new();
        self.reap(world, &mut done);
        self.end_what_is_over(world, &mut done);
        self.start_what_is_down(world, &mut done);
        if may_begin && world.now_ms >= self.next_ms {
            let every = world.swarm.fault_every_ms;
            let kind = world.swarm.faults[self.random.below(world.swarm.faults.len() as u64) as usize];
            // What takes all down leaves the cluster some time to do something again.
            let rest = if matches!(kind, Kind::KillAll | Kind::PowerCutAll) { 3_000 } else { 0 };
            self.next_ms = world.now_ms + rest + every / 2 + self.random.below(every + 1);
            if let Some(text) = self.begin(kind, world) {
                *self.counts.by_kind.entry(kind).or_default() += 1;
                done.push(text);
            }
        }
        done
    }

    /// Processes that have died, or gave up.
    fn reap(&mut self, world: &mut World<'_>, done: &mut Vec<String>) {
        for id in world.ids() {
            let host = world.host(id);
            let gave_up = host.node().is_some_and(|node| node.failed().is_cancelled());
            if host.fs.is_dead() {
                let by_power = self.dying.remove(&id).unwrap_or(false);
                done.push(format!(
                    "host {id} dies at a sync, {}",
                    if by_power { "without power" } else { "as a process" }
                ));
                self.take_down(world, id, by_power);
            } else if gave_up {
                done.push(format!("host {id} gave up"));
                self.take_down(world, id, false);
            }
        }
    }

    fn end_what_is_over(&mut self, world: &mut World<'_>, done: &mut Vec<String>) {
        let now_ms = world.now_ms;
        let over: Vec<Active> = self.active.extract_if(.., |active| active.until_ms <= now_ms).collect();
        for active in over {
            done.push(format!("{:?} of host {} ends", active.kind, active.host));
            self.end(&active, world);
        }
    }

    fn end(&mut self, active: &Active, world: &mut World<'_>) {
        let id = active.host;
        match active.kind {
            Kind::Halves | Kind::Isolate | Kind::OneWay | Kind::Ring | Kind::SlowLinks | Kind::VotersApart => {
                world.network.heal();
            }
            Kind::ClockJump | Kind::ClockDrift => world.host(id).clock.heal(),
            Kind::SlowDisk => {
                let (min, max) = world.swarm.disk_micros;
                world.host(id).disk.set(min, max);
            }
            Kind::DiskFull => world.host(id).fs.set_capacity(None),
            Kind::WriteError | Kind::SyncError => {
                world.host(id).fs.heal();
                // What it refused is refused until it starts again. After a failed sync the machine starts anew, too:
                // what its memory holds of the disk is not what the disk has.
                self.take_down(world, id, active.kind == Kind::SyncError);
            }
            Kind::Hold => world.host(id).held = false,
            _ => {}
        }
    }

    fn start_what_is_down(&mut self, world: &mut World<'_>, done: &mut Vec<String>) {
        let due: Vec<u64> = self.down.iter().filter(|(_, at)| **at <= world.now_ms).map(|(id, _)| *id).collect();
        for id in due {
            self.down.remove(&id);
            done.push(format!("host {id} starts"));
            world.host(id).start();
        }
    }

    fn take_down(&mut self, world: &mut World<'_>, id: u64, by_power: bool) {
        self.dying.remove(&id);
        let host = world.host(id);
        if !host.is_running() {
            return;
        }
        if by_power {
            host.cut_power();
            self.counts.power_cuts += 1;
        } else {
            host.kill();
        }
        self.active.retain(|active| active.host != id || !matches!(active.kind, Kind::Hold));
        let pause = 50 + self.random.below(2_000);
        self.down.insert(id, world.now_ms + pause);
    }

    fn pick(&self, ids: &[u64]) -> Option<u64> {
        if ids.is_empty() { None } else { Some(ids[self.random.below(ids.len() as u64) as usize]) }
    }

    fn some(&self, mut ids: Vec<u64>, count: usize) -> Vec<u64> {
        while ids.len() > count {
            ids.remove(self.random.below(ids.len() as u64) as usize);
        }
        ids
    }

    fn lasting(&mut self, world: &World<'_>, kind: Kind, host: u64) {
        let until_ms = world.now_ms + 100 + self.random.below(3_000);
        self.active.push(Active { until_ms, kind, host });
    }

    fn is_active(&self, kinds: &[Kind], host: Option<u64>) -> bool {
        self.active.iter().any(|active| kinds.contains(&active.kind) && host.is_none_or(|host| host == active.host))
    }

    /// Lets something go wrong. `None` where it can't now.
    fn begin(&mut self, kind: Kind, world: &mut World<'_>) -> Option<String> {
        let running: Vec<u64> = world.hosts.iter().filter(|host| host.is_running()).map(|host| host.id).collect();
        let minority = (world.hosts.len() - 1) / 2;
        let text = match kind {
            Kind::KillOne | Kind::PowerCutOne => {
                self.strike(world, self.some(running, 1), kind == Kind::PowerCutOne)?
            }
            Kind::KillMinority | Kind::PowerCutMinority => {
                self.strike(world, self.some(running, minority), kind == Kind::PowerCutMinority)?
            }
            Kind::KillAll | Kind::PowerCutAll => self.strike(world, running, kind == Kind::PowerCutAll)?,
            Kind::DieAtSync => self.plan_death(world, &running)?,
            Kind::Halves | Kind::Isolate | Kind::OneWay | Kind::Ring | Kind::SlowLinks => self.links(world, kind)?,
            Kind::Reset => {
                let two = self.some(world.ids(), 2);
                world.network.reset(two[0], two[1]);
                format!("connections of {two:?}")
            }
            Kind::Damage => self.damage(world, minority)?,
            _ => self.one_host(world, kind, &running)?,
        };
        Some(format!("{kind:?}: {text}"))
    }

    fn strike(&mut self, world: &mut World<'_>, hosts: Vec<u64>, by_power: bool) -> Option<String> {
        hosts.iter().for_each(|id| self.take_down(world, *id, by_power));
        (!hosts.is_empty()).then(|| format!("hosts {hosts:?}"))
    }

    fn plan_death(&mut self, world: &mut World<'_>, running: &[u64]) -> Option<String> {
        let id = self.pick(running).filter(|id| !self.dying.contains_key(id))?;
        let (syncs, by_power) = (1 + self.random.below(20), self.random.below(2) == 0);
        world.host(id).fs.die_at_sync(syncs);
        self.dying.insert(id, by_power);
        Some(format!("host {id} at sync {syncs}"))
    }

    fn one_host(&mut self, world: &mut World<'_>, kind: Kind, running: &[u64]) -> Option<String> {
        let id = self.pick(running).filter(|id| !self.is_active(&[kind], Some(*id)))?;
        let amount = self.random.below(20_000);
        let host = world.host(id);
        match kind {
            Kind::ClockJump => host.clock.jump(amount as i64 * 10 - 100_000),
            Kind::ClockDrift => host.clock.set_drift(amount as i64 / 10 - 1000),
            Kind::SlowDisk => host.disk.set(amount, amount * 10),
            Kind::DiskFull => host.fs.set_capacity(Some(host.fs.used_bytes() + amount * 4)),
            Kind::WriteError => host.fs.fail_write(1 + amount % 50),
            Kind::SyncError => {
                // One plan at a time: a death at a sync and a failure of one are the same counter.
                if self.dying.contains_key(&id) {
                    return None;
                }
                host.fs.fail_sync(1 + amount % 30);
            }
            Kind::Hold => host.held = true,
            _ => return None,
        }
        if matches!(kind, Kind::DiskFull | Kind::WriteError | Kind::SyncError) {
            self.sick.insert(id);
        }
        self.lasting(world, kind, id);
        Some(format!("host {id}, {amount}"))
    }

    fn links(&mut self, world: &mut World<'_>, kind: Kind) -> Option<String> {
        // One shape at a time, so that each ends whole.
        if self.is_active(&LINKS, None) {
            return None;
        }
        let ids = world.ids();
        let count = ids.len() as u64;
        let one = self.pick(&ids)?;
        let half = self.some(ids.clone(), ids.len() / 2);
        let slow = Delay { min: 1_000, max: 2_000 + self.random.below(400_000) };
        for from in &ids {
            for to in ids.iter().filter(|to| *to != from) {
                let apart = (from + count - to) % count;
                let cut = match kind {
                    Kind::Halves => half.contains(from) != half.contains(to),
                    Kind::Isolate => *from == one || *to == one,
                    Kind::OneWay => *from == one,
                    // Each hears its neighbours only: of five, each a majority of its own.
                    Kind::Ring => apart != 1 && apart != count - 1,
                    _ => false,
                };
                if kind == Kind::SlowLinks {
                    world.network.set_slow(*from, *to, Some(slow));
                } else {
                    world.network.set_cut(*from, *to, cut);
                }
            }
        }
        self.lasting(world, kind, 0);
        Some(format!("{half:?}, {one}"))
    }

    /// Cuts `side` off from all others for some time. False where links are changed already.
    pub fn set_apart(&mut self, world: &World<'_>, side: &BTreeSet<u64>) -> bool {
        if self.is_active(&LINKS, None) {
            return false;
        }
        for from in world.ids() {
            for to in world.ids() {
                world.network.set_cut(from, to, side.contains(&from) != side.contains(&to));
            }
        }
        let until_ms = world.now_ms + 2_000 + self.random.below(4_000);
        self.active.push(Active { until_ms, kind: Kind::VotersApart, host: 0 });
        *self.counts.by_kind.entry(Kind::VotersApart).or_default() += 1;
        true
    }

    /// Kills a process that is started again soon.
    pub fn kill_for_a_moment(&mut self, world: &mut World<'_>, id: u64) {
        if world.host(id).is_running() {
            self.take_down(world, id, false);
            self.down.insert(id, world.now_ms + 20 + self.random.below(200));
            *self.counts.by_kind.entry(Kind::KillChanger).or_default() += 1;
        }
    }

    /// Changes files behind the back of a host, which is taken down for it.
    fn damage(&mut self, world: &mut World<'_>, minority: usize) -> Option<String> {
        let ids = world.ids();
        let candidates = if self.damaged.len() < minority { ids } else { self.damaged.iter().copied().collect() };
        let id = self.pick(&candidates)?;
        let by_power = self.random.below(2) == 0;
        self.take_down(world, id, by_power);
        self.damaged.insert(id);
        let fs = world.host(id).fs.clone();
        let mut files = Vec::new();
        collect(&fs, Path::new("/simulated-disk"), &mut files);
        let file = files.get(self.random.below(files.len() as u64) as usize)?;
        let open = fs.open(file).ok()?;
        let len = open.file_len().ok()?;
        if self.random.below(4) == 0 {
            let cut = self.random.below(len);
            open.set_len(cut).and_then(|()| open.sync_all()).ok()?;
            return Some(format!("{} of host {id} is cut from {len} to {cut} bytes", file.display()));
        }
        let byte = self.random.below(len);
        fs.flip_bit(file, byte, self.random.below(8) as u32).ok()?;
        Some(format!("a bit of {} of host {id} is flipped at {byte} of {len} bytes", file.display()))
    }

    /// Ends all faults and starts all hosts.
    pub fn heal(&mut self, world: &mut World<'_>) {
        for active in std::mem::take(&mut self.active) {
            self.end(&active, world);
        }
        self.dying.clear();
        world.network.heal();
        for id in world.ids() {
            let sick = self.sick.contains(&id);
            let host = world.host(id);
            host.fs.heal();
            host.fs.set_capacity(None);
            host.clock.heal();
            host.held = false;
            if host.fs.is_dead() || sick {
                self.take_down(world, id, true);
            }
        }
        self.down.values_mut().for_each(|at| *at = world.now_ms);
    }
}

/// All files below a directory, in order.
fn collect(fs: &dyn Vfs, dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs.list(dir).unwrap_or_default() {
        let path = dir.join(&entry.name);
        if entry.is_dir {
            collect(fs, &path, files);
        } else if fs.open(&path).and_then(|file| file.file_len()).is_ok_and(|len| len > 0) {
            files.push(path);
        }
    }
}
