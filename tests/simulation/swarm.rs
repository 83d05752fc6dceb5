//! Swarm configuration (Groce et al., "Swarm testing", 2012): each seed draws its own sizes, rates, and the subset of
//! faults that its history has. A history with all faults at once hides what few of them do.

use crate::faults::Kind;
use crate::world::network::Delay;
use balsa::config::{Config, GroupsConfig, LimitsConfig, LivenessSettings, PeerConfig, RaftConfig, StorageConfig};
use balsa::random::Random;
use balsa::types::NodeId;
use std::path::PathBuf;

/// What one history is like.
#[derive(Clone, Debug)]
pub struct Swarm {
    pub nodes: u64,
    pub replication: u32,
    /// Partitions of the topics that stay.
    pub partitions: Vec<u32>,
    /// Partitions of the topic that comes and goes, if there is one.
    pub coming_and_going: Option<u32>,
    pub clients: u64,
    pub think_ms_max: u64,
    pub patience_ms: u64,
    pub batch_records_max: u64,
    pub value_bytes_max: u64,
    pub produce_percent: u64,
    pub compare_percent: u64,
    pub keyed_percent: u64,
    pub acks_leader_percent: u64,
    pub tick_micros: u64,
    /// The spectator looks every so many ticks.
    pub look_ticks: u64,
    pub delay: Delay,
    pub disk_micros: (u64, u64),
    pub segment_bytes: u64,
    pub cache_bytes: u64,
    /// In ms: heartbeat, election timeout from and to, and until an idle group sleeps.
    pub timing: (u64, u64, u64, u64),
    pub faults: Vec<Kind>,
    /// Mean time between two faults.
    pub fault_every_ms: u64,
    pub chaos_ms: u64,
    /// Mean time between two changes of a group's voters, if there are any.
    pub voters_change_ms: Option<u64>,
    /// Clients that are idempotent producers of Kafka.
    pub kafka_clients: u64,
    /// Requests that are about the client's own group.
    pub group_percent: u64,
}

fn one_of<T: Clone>(random: &Random, values: &[T]) -> T {
    values[random.below(values.len() as u64) as usize].clone()
}

impl Swarm {
    /// The configuration of a seed.
    pub fn of(seed: u64) -> Swarm {
        let random = &Random::from_seed(seed);
        let nodes = one_of(random, &[3, 3, 3, 4, 5]);
        let replication = if nodes == 5 { one_of(random, &[3, 5]) } else { 3 };
        let topics = 1 + random.below(2);
        let mut faults: Vec<Kind> = Kind::ALL.into_iter().filter(|_| random.below(3) == 0).collect();
        if faults.is_empty() {
            faults.push(one_of(random, &Kind::ALL));
        }
        let delay_max = one_of(random, &[300, 1_000, 5_000]);
        let disk_max = one_of(random, &[500, 2_000, 8_000]);
        let election = one_of(random, &[300, 500, 1000]);
        let mut swarm = Swarm {
            nodes,
            replication,
            partitions: (0..topics).map(|_| 1 + random.below(3) as u32).collect(),
            coming_and_going: (random.below(3) == 0).then(|| 1 + random.below(2) as u32),
            clients: 2 + random.below(5),
            think_ms_max: one_of(random, &[5, 40, 200]),
            patience_ms: one_of(random, &[1_500, 4_000]),
            batch_records_max: one_of(random, &[1, 5, 30]),
            value_bytes_max: one_of(random, &[16, 200, 3_000]),
            produce_percent: one_of(random, &[40, 60, 80]),
            compare_percent: one_of(random, &[0, 20, 60]),
            keyed_percent: one_of(random, &[0, 30, 100]),
            acks_leader_percent: one_of(random, &[0, 0, 20]),
            tick_micros: one_of(random, &[1_000, 2_000]),
            look_ticks: one_of(random, &[5, 15]),
            delay: Delay { min: 50, max: delay_max },
            disk_micros: (100, disk_max),
            segment_bytes: one_of(random, &[8 << 10, 64 << 10, 1 << 20]),
            cache_bytes: one_of(random, &[0, 16 << 10, 1 << 20]),
            timing: (election / 4, election, election * 2, one_of(random, &[600, 1_500])),
            faults,
            fault_every_ms: one_of(random, &[300, 800, 2_000]),
            chaos_ms: 4_000 + random.below(8_000),
            voters_change_ms: None,
            kafka_clients: 0,
            group_percent: 0,
        };
        // Drawn last, so that it changes nothing else of a seed. Few voters bear no damage, not even of one of them.
        if random.below(2) == 0 && !swarm.faults.contains(&Kind::Damage) {
            swarm.voters_change_ms = Some(one_of(random, &[500, 1_000, 2_000]));
            swarm.replication = if nodes == 4 { 4 } else { replication };
        }
        swarm.kafka_clients = random.below(swarm.clients + 1);
        swarm.group_percent = one_of(random, &[0, 10, 40]);
        swarm
    }

    /// The configuration of a node.
    pub fn config(&self, id: u64) -> Config {
        let (heartbeat, election_min, election_max, quiesce) = self.timing;
        let address = crate::world::network::listen_address;
        Config {
            node_id: NodeId(id),
            data_dir: PathBuf::from("/simulated-disk"),
            peer: PeerConfig { listen: address(id) },
            peers: (1..=self.nodes).map(|id| (NodeId(id), address(id).to_string())).collect(),
            liveness: LivenessSettings { heartbeat_interval_ms: 100, silent_after_ms: 3 * election_min },
            raft: RaftConfig {
                election_timeout_min_ms: election_min,
                election_timeout_max_ms: election_max,
                heartbeat_interval_ms: heartbeat,
                quiesce_after_ms: quiesce,
            },
            storage: StorageConfig {
                segment_bytes: self.segment_bytes,
                tail_cache_bytes: self.cache_bytes,
                disk_reserve_bytes: 64 << 10,
                index_interval_bytes: 1 << 10,
                ..StorageConfig::default()
            },
            groups: GroupsConfig { partitions: 2, ..GroupsConfig::default() },
            // Not by the memory of the machine that simulates.
            limits: LimitsConfig { in_flight_bytes: 64 << 20, ..LimitsConfig::default() },
            ..Config::default()
        }
    }
}
