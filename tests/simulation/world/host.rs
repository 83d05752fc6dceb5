//! One machine: its disk, its wall clock, and the process that runs on it, which is a whole node.
//!
//! A process is a tokio runtime of its own with a paused clock, moved on tick by tick: ending the process drops the
//! runtime, and with it every task, wherever it waits. A process that is held (SIGSTOP) gets no ticks; when it goes on,
//! its monotonic clock has jumped, as a real one does.

use super::clock::{NodeClock, Now};
use super::network::Network;
use balsa::config::Config;
use balsa::node::{Node, World};
use balsa::random::Random;
use balsa::tasks::Tasks;
use balsa::vfs::SimulatedFs;
use parking_lot::Mutex;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::runtime::Runtime;

/// How long the disk takes for one request, in microseconds.
#[derive(Clone)]
pub struct DiskSpeed(Arc<(AtomicU64, AtomicU64, Random)>);

impl DiskSpeed {
    pub fn new(min: u64, max: u64, random: Random) -> DiskSpeed {
        DiskSpeed(Arc::new((AtomicU64::new(min), AtomicU64::new(max), random)))
    }

    pub fn set(&self, min: u64, max: u64) {
        self.0.0.store(min, Ordering::Relaxed);
        self.0.1.store(max, Ordering::Relaxed);
    }

    fn draw(&self) -> Duration {
        let (min, max) = (self.0.0.load(Ordering::Relaxed), self.0.1.load(Ordering::Relaxed));
        Duration::from_micros(min + self.0.2.below(max.saturating_sub(min) + 1))
    }
}

/// How the start of a node went.
#[derive(Clone)]
pub enum Start {
    Starting,
    /// Takes part; the node is there, too, while it joins the cluster.
    Ready,
    /// Refused to start, in words.
    Failed(String),
}

struct Process {
    runtime: Runtime,
    node: Arc<Mutex<Option<Arc<Node>>>>,
    start: Arc<Mutex<Start>>,
}

/// See the module.
pub struct Host {
    pub id: u64,
    pub fs: SimulatedFs,
    pub clock: NodeClock,
    pub disk: DiskSpeed,
    /// Counts starts of the process.
    pub lives: u64,
    /// Microseconds that the process has missed while it was held.
    missed: u64,
    pub held: bool,
    process: Option<Process>,
    network: Network,
    random: Random,
    config: Config,
}

impl Host {
    pub fn new(id: u64, seed: u64, now: Now, network: Network, config: Config, disk: DiskSpeed) -> Host {
        Host {
            id,
            fs: SimulatedFs::new(seed),
            clock: NodeClock::new(now),
            disk,
            lives: 0,
            missed: 0,
            held: false,
            process: None,
            network,
            random: Random::from_seed(seed.wrapping_add(1)),
            config,
        }
    }

    pub fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// The node, once its parts are put together.
    pub fn node(&self) -> Option<Arc<Node>> {
        self.process.as_ref().and_then(|process| process.node.lock().clone())
    }

    pub fn start_state(&self) -> Option<Start> {
        self.process.as_ref().map(|process| process.start.lock().clone())
    }

    pub fn is_ready(&self) -> bool {
        matches!(self.start_state(), Some(Start::Ready))
    }

    /// Starts the process.
    pub fn start(&mut self) {
        assert!(self.process.is_none(), "a host runs one process");
        self.network.switch_on(self.id);
        self.lives += 1;
        (self.held, self.missed) = (false, 0);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime without I/O can be made");
        let (node, start) = (Arc::new(Mutex::new(None)), Arc::new(Mutex::new(Start::Starting)));
        let disk = self.disk.clone();
        let world = World {
            fs: Arc::new(self.fs.clone()),
            net: Arc::new(self.network.of(self.id)),
            clock: Arc::new(self.clock.clone()),
            random: Random::from_seed(self.random.next_u64()),
            tasks: Tasks::in_one_thread(move || disk.draw()),
            flush_on_demand: true,
        };
        runtime.spawn(live(self.config.clone(), world, self.disk.clone(), node.clone(), start.clone()));
        self.process = Some(Process { runtime, node, start });
    }

    /// Does what the process does within `micros`.
    pub fn tick(&mut self, micros: u64) {
        let Some(process) = &self.process else { return };
        if self.held {
            self.missed += micros;
            return;
        }
        let missed = Duration::from_micros(std::mem::take(&mut self.missed));
        process.runtime.block_on(async move {
            if !missed.is_zero() {
                tokio::time::advance(missed).await;
            }
            tokio::time::sleep(Duration::from_micros(micros)).await;
        });
    }

    /// Runs a client's call within the process, as a front would.
    pub fn call<T: Send + 'static>(&self, call: impl Future<Output = T> + Send + 'static) -> Option<Call<T>> {
        let process = self.process.as_ref()?;
        let answer = Arc::new(Mutex::new(None));
        let slot = answer.clone();
        process.runtime.spawn(async move {
            let value = call.await;
            *slot.lock() = Some(value);
        });
        Some(Call { life: self.lives, answer })
    }

    /// Ends the process at once (SIGKILL): what it wrote stays.
    pub fn kill(&mut self) {
        self.fs.kill();
        self.network.process_ended(self.id);
        self.end_process();
    }

    /// Takes the power away: what was not synced is lost, or torn.
    pub fn cut_power(&mut self) {
        self.network.switch_off(self.id);
        self.fs.power_cut();
        self.end_process();
    }

    fn end_process(&mut self) {
        // Its files are dead already: nothing that is dropped here can write.
        drop(self.process.take());
        self.held = false;
    }
}

/// A call on its way.
pub struct Call<T> {
    /// The life of the process that it went to.
    pub life: u64,
    answer: Arc<Mutex<Option<T>>>,
}

impl<T> Call<T> {
    /// The answer, once it is there.
    pub fn take(&self) -> Option<T> {
        self.answer.lock().take()
    }
}

/// The life of a node's process.
async fn live(
    config: Config,
    world: World,
    disk: DiskSpeed,
    slot: Arc<Mutex<Option<Arc<Node>>>>,
    start: Arc<Mutex<Start>>,
) {
    let node = match Node::build(config, world).await {
        Ok(node) => Arc::new(node),
        Err(error) => {
            *start.lock() = Start::Failed(format!("{error:#}"));
            return;
        }
    };
    *slot.lock() = Some(node.clone());
    let store = node.store().clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(disk.draw()).await;
            store.flush_next();
        }
    });
    match node.join_cluster().await {
        Ok(()) => {
            node.start_background();
            *start.lock() = Start::Ready;
        }
        Err(refused) => *start.lock() = Start::Failed(refused.to_string()),
    }
}
