//! What all clients of a run share.

use crate::history::{Key, Message, Recorder};
use crate::report::run_file::Incident;
use crate::workload::arrivals::Arrivals;
use crate::workload::kafka::Producers;
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How much is done, and how.
#[derive(Clone, Debug)]
pub struct Load {
    /// Operations a second over all writers; closed load (back to back) where missing.
    pub rate: Option<u32>,
    /// Clients that write.
    pub clients: usize,
    /// Clients that read.
    pub readers: usize,
    /// Partitions in sum.
    pub keys: usize,
    /// Records of one send.
    pub records: usize,
    pub record_bytes: usize,
    /// How long an operation is tried again, with its Idempotency-Key.
    pub op_time_max: Duration,
    /// How long one try waits for its answer.
    pub try_time_max: Duration,
}

impl Default for Load {
    fn default() -> Load {
        Load {
            rate: Some(200),
            clients: 24,
            readers: 3,
            keys: 8,
            records: 25,
            record_bytes: 100,
            op_time_max: Duration::from_secs(10),
            try_time_max: Duration::from_millis(2500),
        }
    }
}

/// A partition of a topic.
#[derive(Debug)]
pub struct Place {
    pub topic: String,
    pub partition: u32,
    /// Behind the highest offset that anyone was acknowledged or delivered.
    known_end: AtomicU64,
    /// Its topic was deleted.
    gone: std::sync::atomic::AtomicBool,
}

impl Place {
    pub fn known_end(&self) -> u64 {
        self.known_end.load(Ordering::SeqCst)
    }

    /// Somebody was told of this offset.
    pub fn saw(&self, offset: u64) {
        self.known_end.fetch_max(offset + 1, Ordering::SeqCst);
    }

    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::SeqCst)
    }

    pub fn path(&self) -> String {
        format!("/v1/topics/{}/partitions/{}/records", self.topic, self.partition)
    }
}

/// Counts of operations by how they ended.
#[derive(Debug, Default)]
pub struct Tally {
    pub records_acknowledged: AtomicU64,
    pub records_polled: AtomicU64,
    pub sends_ok: AtomicU64,
    pub sends_fail: AtomicU64,
    pub sends_info: AtomicU64,
    pub polls_ok: AtomicU64,
    pub polls_fail: AtomicU64,
    /// Late retries of what was acknowledged, and what they were answered.
    pub retries: AtomicU64,
}

pub struct World {
    pub recorder: Recorder,
    pub log_end: Option<Recorder>,
    pub nodes: Vec<SocketAddr>,
    /// Where the nodes speak Kafka's protocol.
    pub kafka: Vec<SocketAddr>,
    /// Runs clients that are Python programs.
    pub python: PathBuf,
    /// The run's directory.
    pub dir: PathBuf,
    pub producers: Producers,
    pub load: Load,
    pub replication_factor: u16,
    pub seed: u64,
    /// The load ends.
    pub stop: CancellationToken,
    pub arrivals: Option<Arrivals>,
    pub tally: Tally,
    /// Acknowledgements by key, for the time without one: nanoseconds since the run began.
    pub acknowledged: Mutex<BTreeMap<Key, Vec<u64>>>,
    incidents: Mutex<Vec<Incident>>,
    places: RwLock<BTreeMap<Key, Arc<Place>>>,
    next_message: AtomicU64,
    next_key: AtomicU64,
}

/// What a world is made of.
pub struct Making {
    pub recorder: Recorder,
    pub log_end: Option<Recorder>,
    pub nodes: Vec<SocketAddr>,
    pub kafka: Vec<SocketAddr>,
    pub python: PathBuf,
    pub dir: PathBuf,
    pub load: Load,
    pub replication_factor: u16,
    pub seed: u64,
}

/// Incidents that are kept; a node that answers 500 does so to everybody.
const INCIDENTS_MAX: usize = 1000;

impl World {
    pub fn new(making: Making) -> World {
        let arrivals = making.load.rate.map(Arrivals::new);
        World {
            recorder: making.recorder,
            log_end: making.log_end,
            nodes: making.nodes,
            kafka: making.kafka,
            python: making.python,
            dir: making.dir,
            producers: Producers::default(),
            load: making.load,
            replication_factor: making.replication_factor,
            seed: making.seed,
            stop: CancellationToken::new(),
            arrivals,
            tally: Tally::default(),
            acknowledged: Mutex::default(),
            incidents: Mutex::default(),
            places: RwLock::default(),
            // 0 stands for what nobody sent.
            next_message: AtomicU64::new(1),
            next_key: AtomicU64::new(0),
        }
    }

    /// A new key for a partition of a new topic.
    pub fn add_place(&self, topic: &str, partition: u32) -> Key {
        let key = Key(self.next_key.fetch_add(1, Ordering::SeqCst));
        let (known_end, gone) = (AtomicU64::new(0), std::sync::atomic::AtomicBool::new(false));
        let place = Place { topic: topic.to_owned(), partition, known_end, gone };
        self.places.write().insert(key, Arc::new(place));
        key
    }

    pub fn place(&self, key: Key) -> Arc<Place> {
        self.places.read().get(&key).expect("a key is made with its place").clone()
    }

    /// From now on nothing more is expected of a key: its topic is about to be deleted.
    pub fn retire(&self, key: Key) {
        self.place(key).gone.store(true, Ordering::SeqCst);
    }

    /// All keys whose topics are there.
    pub fn keys(&self) -> Vec<Key> {
        let places = self.places.read();
        places.iter().filter(|(_, place)| !place.is_gone()).map(|(key, _)| *key).collect()
    }

    /// The keys of a topic's partitions that are there.
    pub fn key_of(&self, topic: &str, partition: u32) -> Option<Key> {
        let places = self.places.read();
        let is = |place: &Place| place.topic == topic && place.partition == partition && !place.is_gone();
        places.iter().find(|(_, place)| is(place)).map(|(key, _)| *key)
    }

    pub fn topics(&self) -> Vec<String> {
        let places = self.places.read();
        let there = places.values().filter(|place| !place.is_gone());
        let topics: std::collections::BTreeSet<String> = there.map(|place| place.topic.clone()).collect();
        topics.into_iter().collect()
    }

    /// New messages, unique over the whole run.
    pub fn messages(&self, count: usize) -> Vec<Message> {
        let first = self.next_message.fetch_add(count as u64, Ordering::SeqCst);
        (first..first + count as u64).map(Message).collect()
    }

    /// Records were acknowledged for a key.
    pub fn acknowledge(&self, key: Key, records: usize) {
        self.tally.records_acknowledged.fetch_add(records as u64, Ordering::Relaxed);
        self.acknowledged.lock().entry(key).or_default().push(self.recorder.now_ns());
    }

    pub fn incident(&self, kind: &'static str, detail: String) {
        let mut incidents = self.incidents.lock();
        if incidents.len() < INCIDENTS_MAX {
            let time_ns = self.recorder.now_ns();
            incidents.push(Incident { time_ns, kind: kind.to_owned(), detail });
        }
    }

    pub fn incidents(&self) -> Vec<Incident> {
        self.incidents.lock().clone()
    }

    /// Waits, unless the load ends before. Whether it goes on.
    pub async fn pause(&self, time: Duration) -> bool {
        tokio::time::timeout(time, self.stop.cancelled()).await.is_err()
    }

    /// Waits until the next operation is due. Whether there is one.
    pub async fn next_operation(&self) -> bool {
        match &self.arrivals {
            None => !self.stop.is_cancelled(),
            Some(arrivals) => arrivals.next(&self.stop).await,
        }
    }
}
