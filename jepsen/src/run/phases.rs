//! The phases of a run: start, load with faults, healing, the last reading.

use crate::cluster::capabilities::Capabilities;
use crate::cluster::created::Created;
use crate::cluster::leaders::Leaders;
use crate::cluster::network::Network;
use crate::cluster::{Cluster, Plan};
use crate::fault::driver::{self, Done};
use crate::fault::{Field, schedule};
use crate::history::{HISTORY_FILE, LOG_END_FILE, Recorder};
use crate::report::run_file::{Exit, FaultNotDone, Phase, RunFile};
use crate::run::gaps::{self, Acknowledged};
use crate::run::options::Options;
use crate::run::{possible, watch};
use crate::workload::lane::Lane;
use crate::workload::last;
use crate::workload::world::{Making, World};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Load without faults, before and after them.
const CALM: Duration = Duration::from_secs(2);
/// Until all partitions take writes again.
const HEALING_TIME_MAX: Duration = Duration::from_secs(40);
const READING_TIME_MAX: Duration = Duration::from_secs(180);
/// Clients that read everything in the end.
const LAST_READERS: usize = 2;
/// `run.json` is written again this often.
const NOTE: Duration = Duration::from_secs(1);

/// All that the phases share.
struct Run<'a> {
    options: &'a Options,
    cluster: Arc<Cluster>,
    world: Arc<World>,
    leaders: Arc<Leaders>,
    done: Arc<Mutex<Done>>,
    file: Mutex<RunFile>,
    interrupt: &'a CancellationToken,
}

/// Carries a run out. To be called from within the hub of the network, where there is one.
pub async fn run(
    options: &Options,
    created: Arc<Created>,
    capabilities: Capabilities,
    network: Option<Network>,
    interrupt: &CancellationToken,
) -> anyhow::Result<()> {
    let (faults, not_done) = possible(&options.faults, &capabilities);
    let plan = Plan {
        nodes: options.nodes,
        binary: options.binary.clone(),
        dir: options.dir.clone(),
        images: options.images.clone().unwrap_or_else(|| options.dir.clone()),
        fake_time: faults.iter().any(|fault| fault.name() == "clock"),
        environment: options.environment.clone(),
        settings: options.settings.clone(),
    };
    let cluster = Arc::new(Cluster::create(&plan, created, capabilities, network).await?);
    let mut file = first_file(options);
    file.faults_not_done =
        not_done.into_iter().map(|(kind, reason)| FaultNotDone { kind: kind.to_owned(), reason }).collect();
    let world = Arc::new(world(options, &cluster)?);
    let run = Run {
        options,
        cluster: cluster.clone(),
        world: world.clone(),
        leaders: Arc::default(),
        done: Arc::default(),
        file: Mutex::new(file),
        interrupt,
    };
    let outcome = run.all(&faults).await;
    let closed = run.close(&outcome);
    let sound = outcome.is_ok() && world.incidents().is_empty();
    let removed = cluster.remove(sound && !options.keep_data).await;
    outcome.and(closed).and(removed)
}

fn first_file(options: &Options) -> RunFile {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let mut file = RunFile {
        command_line: options.command_line.clone(),
        seed: options.seed,
        nodes: (1..=options.nodes).map(|node| format!("n{node}")).collect(),
        workload: options.workload.name().to_owned(),
        began_unix_ms: u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX),
        loss_is_allowed: options.workload.loss_is_allowed(),
        ..RunFile::default()
    };
    let mut fact = |name: &str, value: String| file.environment.insert(name.to_owned(), value);
    fact("binary", options.binary_version.clone());
    fact("kernel", std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned());
    fact("cores", std::thread::available_parallelism().map_or(0, usize::from).to_string());
    file
}

fn world(options: &Options, cluster: &Cluster) -> anyhow::Result<World> {
    let start = Instant::now();
    let recorder = Recorder::create(&options.dir.join(HISTORY_FILE), start)?;
    let log_end = options.workload.has_log_end().then(|| Recorder::create(&options.dir.join(LOG_END_FILE), start));
    Ok(World::new(Making {
        recorder,
        log_end: log_end.transpose()?,
        nodes: cluster.nodes.iter().map(|node| node.http).collect(),
        kafka: cluster.nodes.iter().map(|node| node.kafka).collect(),
        python: options.python.clone(),
        dir: options.dir.clone(),
        load: options.load.clone(),
        replication_factor: options.replication_factor,
        seed: options.seed,
    }))
}

impl Run<'_> {
    async fn all(&self, faults: &[&'static dyn crate::fault::Fault]) -> anyhow::Result<()> {
        self.write()?;
        let beside_stop = CancellationToken::new();
        let mut beside = JoinSet::new();
        beside.spawn(watch::deaths(self.world.clone(), self.cluster.clone(), beside_stop.clone()));
        let phases = async {
            self.phase("start", self.start()).await?;
            beside.spawn(watch::leaders(self.world.clone(), self.leaders.clone(), beside_stop.clone()));
            let lanes = self.phase("load and faults", self.load(faults)).await?;
            self.phase("healing", self.heal()).await?;
            self.phase("last reading", self.last_reading(lanes)).await?;
            anyhow::Ok(())
        };
        // Interrupted, it is dropped wherever it waits: what is open gets its `:info`, and what was made is removed.
        let outcome = self.interrupt.run_until_cancelled(phases).await.unwrap_or(Ok(()));
        beside_stop.cancel();
        while beside.join_next().await.is_some() {}
        watch::panics(&self.world, &self.cluster);
        outcome
    }

    async fn phase<T>(&self, name: &str, doing: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        let from_ns = self.world.recorder.now_ns();
        eprintln!("jepsen: {name}");
        let outcome = doing.await;
        let to_ns = self.world.recorder.now_ns();
        self.file.lock().phases.push(Phase { name: name.to_owned(), from_ns, to_ns });
        self.write()?;
        outcome
    }

    async fn start(&self) -> anyhow::Result<()> {
        self.cluster.start_all()?;
        self.options.workload.prepare(&self.world).await
    }

    /// Clients and faults together. Gives lanes for the last reading, whose numbers nobody has.
    async fn load(&self, faults: &[&'static dyn crate::fault::Fault]) -> anyhow::Result<Vec<Lane>> {
        let workload = self.options.workload;
        let clients = workload.clients(&self.world);
        let all = clients + LAST_READERS;
        let lane = |number| Lane::new(number, all, self.world.nodes.clone(), self.options.seed);
        let mut tasks = JoinSet::new();
        for number in 0..clients {
            tasks.spawn(workload.client(self.world.clone(), number, lane(number)));
        }
        let world = self.world.clone();
        tasks.spawn(async move {
            if let Some(arrivals) = &world.arrivals {
                arrivals.run(&world.stop).await;
            }
        });
        let broken = async {
            self.calm().await;
            self.faults(faults).await;
            self.calm().await;
        };
        broken.await;
        self.world.stop.cancel();
        // An operation that is under way comes to its end.
        let time_max = self.options.load.op_time_max + Duration::from_secs(30);
        let ended = tokio::time::timeout(time_max, async {
            while tasks.join_next().await.transpose()?.is_some() {}
            anyhow::Ok(())
        });
        match ended.await {
            Ok(outcome) => outcome?,
            Err(_) => self.world.incident("client-stuck", format!("{} clients do not end", tasks.len())),
        }
        self.world.producers.end();
        Ok((clients..all).map(lane).collect())
    }

    async fn calm(&self) {
        let _ = tokio::time::timeout(CALM, self.interrupt.cancelled()).await;
    }

    async fn faults(&self, faults: &[&'static dyn crate::fault::Fault]) {
        let (time, nodes) = (self.options.time, self.options.nodes);
        let planned = if faults.is_empty() {
            vec![]
        } else {
            schedule::plan(faults, self.options.seed, nodes, time, self.options.interval, self.options.pace)
        };
        let field = Arc::new(Field { cluster: self.cluster.clone(), leaders: self.leaders.clone() });
        let recorder = self.world.recorder.clone();
        let began = tokio::time::Instant::now();
        let mut driving = tokio::task::JoinSet::new();
        driving.spawn(driver::run(field, planned, recorder, self.done.clone(), self.interrupt.clone()));
        let mut notes = tokio::time::interval(NOTE);
        loop {
            tokio::select! {
                _ = driving.join_next() => break,
                _ = notes.tick() => {
                    if let Err(error) = self.write() {
                        eprintln!("jepsen: run.json: {error}");
                    }
                }
            }
        }
        // Without faults, or with the last one ended early, there is load for the whole time all the same.
        let left = tokio::time::sleep_until(began + time);
        let _ = self.interrupt.run_until_cancelled(left).await;
    }

    /// All nodes are killed and started once more, so that what is read then comes from disk.
    async fn heal(&self) -> anyhow::Result<()> {
        for node in &self.cluster.nodes {
            let _held = node.hold().await;
            node.kill().await?;
            node.start()?;
        }
        Ok(())
    }

    async fn last_reading(&self, mut lanes: Vec<Lane>) -> anyhow::Result<()> {
        let left = last::writes_succeed(&self.world, &mut lanes, HEALING_TIME_MAX).await;
        for key in left {
            let place = self.world.place(key);
            let seconds = HEALING_TIME_MAX.as_secs();
            let text = format!("{}/{} takes no write {seconds} s after all was healed", place.topic, place.partition);
            self.world.incident("not-healed", text);
        }
        let reading = lanes.into_iter().map(|lane| last::read_everything(&self.world, lane, READING_TIME_MAX));
        let unread = futures::future::join_all(reading).await.concat();
        self.file.lock().notes.extend(unread);
        Ok(())
    }

    /// Writes what is known so far.
    fn write(&self) -> anyhow::Result<()> {
        let mut file = self.file.lock();
        let done = self.done.lock();
        file.faults_done = done.counts.clone();
        file.faults = done.windows.clone();
        file.records_acknowledged = self.world.tally.records_acknowledged.load(Ordering::Relaxed);
        file.incidents = self.world.incidents();
        file.elections = self.leaders.elections();
        Ok(file.write(&self.options.dir)?)
    }

    /// The histories end, and `run.json` says how.
    fn close(&self, outcome: &anyhow::Result<()>) -> anyhow::Result<()> {
        let closed = self.world.recorder.close();
        let closed_too = self.world.log_end.as_ref().map_or(Ok(()), Recorder::close);
        {
            let failures = self.done.lock().failures.clone();
            let mut file = self.file.lock();
            file.notes.extend(failures);
            file.figures = self.figures();
            let (verdict, reason) = match outcome {
                Err(error) => ("failed", format!("{error:#}")),
                Ok(()) if self.interrupt.is_cancelled() => ("interrupted", String::new()),
                Ok(()) if !self.world.incidents().is_empty() => ("anomaly", "incidents".to_owned()),
                Ok(()) => ("clean", String::new()),
            };
            file.exit = Some(Exit { verdict: verdict.to_owned(), reason });
        }
        self.write()?;
        Ok(closed.and(closed_too)?)
    }

    fn figures(&self) -> Vec<(String, String)> {
        let tally = &self.world.tally;
        let mut figures = Vec::new();
        let mut figure = |name: &str, value: String| figures.push((name.to_owned(), value));
        let counters = [
            ("records acknowledged", &tally.records_acknowledged),
            ("records polled", &tally.records_polled),
            ("sends ok", &tally.sends_ok),
            ("sends fail", &tally.sends_fail),
            ("sends info", &tally.sends_info),
            ("polls ok", &tally.polls_ok),
            ("polls fail", &tally.polls_fail),
            ("late retries answered", &tally.retries),
        ];
        for (name, counter) in counters {
            figure(name, counter.load(Ordering::Relaxed).to_string());
        }
        if let Some(arrivals) = &self.world.arrivals {
            figure("operations turned away by a full queue", arrivals.turned_away().to_string());
        }
        figure("faults", self.done.lock().counts.values().sum::<u64>().to_string());
        let mut pauses = gaps::pauses(&self.done.lock().windows, &self.acknowledged());
        pauses.sort_unstable();
        for (name, percent) in [("p50", 50), ("p99", 99), ("longest", 100)] {
            if let Some(pause) = gaps::percentile(&pauses, percent) {
                let name = format!("no acknowledged write after kill -9 of a leader, {name} of {}", pauses.len());
                figure(&name, format!("{} ms", pause.as_millis()));
            }
        }
        figures
    }

    fn acknowledged(&self) -> Acknowledged {
        let acknowledged = self.world.acknowledged.lock();
        let named = acknowledged.iter().map(|(key, times)| {
            let place = self.world.place(*key);
            let mut times = times.clone();
            times.sort_unstable();
            (format!("{}/{}", place.topic, place.partition), times)
        });
        named.collect()
    }
}
