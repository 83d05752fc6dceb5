//! Real processes that are killed and paused under load: what was acknowledged is there afterwards, once, in order.

mod support;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};
use support::http::Http;
use support::records::{
    Read, agreed_leader, append, append_with, assert_dense, assert_unique, create_topic, read_all, read_with,
};
use support::{Cluster, LONG};

const TOPIC: &str = "t";

/// One writer: numbers its records, and never sends one twice, except under the protection of an idempotency key.
struct Writer {
    name: String,
    partition: u32,
    nodes: Vec<String>,
    random: StdRng,
    /// Sends with an idempotency key, again and again until it is acknowledged.
    insists: bool,
    stop: Arc<AtomicBool>,
    outcome: Outcome,
}

/// What a writer knows in the end.
#[derive(Default)]
struct Outcome {
    partition: u32,
    name: String,
    /// Value and offset, in the order in which they were sent.
    acknowledged: Vec<(String, u64)>,
    /// May have been written.
    unknown: Vec<String>,
    /// Surely not written.
    refused: Vec<String>,
    /// Errors that were not a broken connection: what a client of a living node should not see.
    errors: Vec<String>,
}

impl Writer {
    fn start(cluster: &Cluster, number: u32, partition: u32, seed: u64, stop: &Arc<AtomicBool>) -> JoinHandle<Outcome> {
        let name = format!("w{number}");
        let writer = Writer {
            partition,
            nodes: cluster.ids().iter().map(|id| cluster.address(*id)).collect(),
            random: StdRng::seed_from_u64(seed * 1000 + u64::from(number)),
            insists: number % 2 == 1,
            stop: stop.clone(),
            outcome: Outcome { partition, name: name.clone(), ..Outcome::default() },
            name,
        };
        spawn(move || writer.run())
    }

    fn client(&mut self) -> Http {
        let node = self.random.random_range(0..self.nodes.len());
        Http::new(&self.nodes[node])
    }

    fn run(mut self) -> Outcome {
        let mut http = self.client();
        let mut number = 0;
        while !self.stop.load(SeqCst) {
            number += 1;
            let value = format!("{}-{number:06}", self.name);
            if self.insists {
                self.insist(&mut http, value)
            } else {
                self.send_once(&mut http, value)
            }
            if number % 50 == 0 {
                http = self.client();
            }
        }
        self.outcome
    }

    fn send_once(&mut self, http: &mut Http, value: String) {
        match append(http, TOPIC, self.partition, &value) {
            Ok(Ok(offset)) => self.outcome.acknowledged.push((value, offset)),
            Ok(Err((504, _))) => self.outcome.unknown.push(value),
            Ok(Err((status, text))) => {
                self.outcome.errors.push(format!("{status}: {text}"));
                self.outcome.refused.push(value);
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                self.outcome.refused.push(value);
                self.elsewhere(http);
            }
            Err(_) => {
                self.outcome.unknown.push(value);
                self.elsewhere(http);
            }
        }
    }

    fn insist(&mut self, http: &mut Http, value: String) {
        let begin = Instant::now();
        loop {
            let headers = [("idempotency-key", value.as_str())];
            match append_with(http, TOPIC, self.partition, &value, &headers) {
                Ok(Ok(offset)) => return self.outcome.acknowledged.push((value, offset)),
                Ok(Err((status, text))) => {
                    self.outcome.errors.push(format!("{status}: {text}"));
                    assert!(matches!(status, 503 | 504), "{status}: {text}");
                }
                Err(_) => {}
            }
            assert!(begin.elapsed() < LONG, "{value} is not acknowledged after {LONG:?}: {:?}", self.outcome.errors);
            self.elsewhere(http);
        }
    }

    fn elsewhere(&mut self, http: &mut Http) {
        sleep(Duration::from_millis(10));
        *http = self.client();
    }
}

/// Compares what the writers know with what is there.
fn check(outcomes: &[Outcome], partition: u32, records: &[Read]) {
    assert_dense(records);
    let offsets = assert_unique(records);
    let mut sent = 0;
    for outcome in outcomes.iter().filter(|outcome| outcome.partition == partition) {
        for (value, offset) in &outcome.acknowledged {
            assert_eq!(offsets.get(value.as_str()), Some(offset), "{value} was acknowledged at {offset}");
        }
        let in_order = outcome.acknowledged.windows(2).all(|pair| pair[0].1 < pair[1].1);
        assert!(in_order, "the records of {} are in the order in which they were sent", outcome.name);
        for value in &outcome.refused {
            assert_eq!(offsets.get(value.as_str()), None, "{value} was refused, and is there");
        }
        let unknown = outcome.unknown.iter().filter(|value| offsets.contains_key(value.as_str()));
        sent += outcome.acknowledged.len() + unknown.count();
    }
    assert_eq!(sent, records.len(), "nothing is there that nobody sent");
}

fn check_everywhere(cluster: &Cluster, outcomes: &[Outcome], partitions: u32) {
    for partition in 0..partitions {
        let mut seen = BTreeMap::new();
        for id in cluster.ids() {
            let parameters = "&consistency=linearizable";
            seen.insert(id, read_with(&mut cluster.http(id), TOPIC, partition, parameters));
        }
        let first = &seen[&1];
        check(outcomes, partition, first);
        assert!(seen.values().all(|records| records == first), "all nodes show the same records");
    }
}

/// Rounds of `victims` nodes killed at the same time, at a random moment.
fn rounds_of_kills(seed: u64, rounds: usize, victims: usize) -> Vec<Outcome> {
    // Other moments than those of every run: CRASH_SEED=N.
    let more = std::env::var("CRASH_SEED").ok().and_then(|text| text.parse::<u64>().ok()).unwrap_or_default();
    let seed = seed + 10 * more;
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut cluster = Cluster::start(3);
    create_topic(&mut cluster.http(1), TOPIC, 3);
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..6).map(|number| Writer::start(&cluster, number, number % 3, seed, &stop)).collect();
    for _ in 0..rounds {
        sleep(Duration::from_millis(random.random_range(50..800)));
        let mut ids = cluster.ids();
        while ids.len() > victims {
            ids.remove(random.random_range(0..ids.len()));
        }
        ids.iter().for_each(|id| cluster.kill(*id));
        sleep(Duration::from_millis(random.random_range(0..1200)));
        ids.iter().for_each(|id| cluster.spawn(*id));
        ids.iter().for_each(|id| cluster.wait_ready(*id));
    }
    sleep(Duration::from_millis(300));
    stop.store(true, SeqCst);
    let outcomes: Vec<Outcome> = writers.into_iter().map(|writer| writer.join().expect("a writer ends")).collect();
    let total: usize = outcomes.iter().map(|outcome| outcome.acknowledged.len()).sum();
    let unknown: usize = outcomes.iter().map(|outcome| outcome.unknown.len()).sum();
    let errors: Vec<&String> = outcomes.iter().flat_map(|outcome| &outcome.errors).collect();
    println!("{total} acknowledged, {unknown} unknown, errors: {errors:?}");
    assert!(total > 100, "the writers got something done");
    check_everywhere(&cluster, &outcomes, 3);
    outcomes
}

#[test]
fn one_node_killed_at_random_moments_loses_nothing() {
    let outcomes = rounds_of_kills(1, 8, 1);
    // As long as the node lives that a client talks to, the client sees a pause, not an error.
    for outcome in outcomes {
        assert!(outcome.errors.is_empty(), "{}: {:?}", outcome.name, outcome.errors);
    }
}

#[test]
fn two_nodes_killed_at_random_moments_lose_nothing() {
    rounds_of_kills(2, 6, 2);
}

#[test]
fn all_nodes_killed_at_random_moments_lose_nothing() {
    rounds_of_kills(3, 6, 3);
}

#[test]
fn a_paused_leader_is_deposed_and_serves_nothing_that_it_held_back() {
    let cluster = Cluster::start(3);
    create_topic(&mut cluster.http(1), TOPIC, 1);
    append(&mut cluster.http(1), TOPIC, 0, "before").unwrap().unwrap();
    let leader = agreed_leader(&cluster, TOPIC, 0);
    let others: Vec<u64> = cluster.ids().into_iter().filter(|id| *id != leader).collect();

    // Writers that talk to the leader alone keep it busy up to the moment of the pause and beyond.
    let stop = Arc::new(AtomicBool::new(false));
    let results = Arc::new(Mutex::new(Vec::new()));
    let writers: Vec<_> = (0..8)
        .map(|number| {
            let (address, stop, results) = (cluster.address(leader), stop.clone(), results.clone());
            spawn(move || {
                let mut http = Http::new(&address);
                for count in 0.. {
                    if stop.load(SeqCst) {
                        return;
                    }
                    let value = format!("held-{number}-{count:05}");
                    let outcome = append(&mut http, TOPIC, 0, &value).ok().and_then(Result::ok);
                    results.lock().push((value, outcome));
                }
            })
        })
        .collect();
    sleep(Duration::from_millis(300));
    cluster.pause(leader);
    stop.store(true, SeqCst);
    let during: Vec<(String, u64)> = (0..20)
        .map(|count| {
            let value = format!("during-{count:05}");
            let offset = append(&mut cluster.http(others[count % 2]), TOPIC, 0, &value).unwrap();
            (value, offset.expect("the others take writes without the leader"))
        })
        .collect();
    assert!(others.contains(&agreed(&cluster, &others)), "somebody else leads");
    cluster.resume(leader);
    // At once, and from the old leader: it must know what was written behind its back, or not answer yet.
    let mut http = cluster.http(leader);
    let seen = read_with(&mut http, TOPIC, 0, "&consistency=linearizable");
    let offsets = assert_unique(&seen);
    for (value, offset) in &during {
        assert_eq!(offsets.get(value.as_str()), Some(offset), "the old leader shows {value}");
    }
    writers.into_iter().for_each(|writer| writer.join().unwrap());

    let everywhere: Vec<Vec<Read>> =
        cluster.ids().iter().map(|id| read_all(&mut cluster.http(*id), TOPIC, 0)).collect();
    assert!(everywhere.iter().all(|records| *records == everywhere[0]), "all nodes show the same records");
    assert_dense(&everywhere[0]);
    let offsets = assert_unique(&everywhere[0]);
    for (value, offset) in results.lock().iter() {
        if let Some(offset) = offset {
            assert_eq!(offsets.get(value.as_str()), Some(offset), "{value} was acknowledged");
        }
    }
    assert!(
        seen.iter().all(|record| offsets.get(record.value.as_str()) == Some(&record.offset)),
        "nothing was taken back"
    );
}

fn agreed(cluster: &Cluster, nodes: &[u64]) -> u64 {
    let begin = Instant::now();
    loop {
        let seen: Vec<Option<u64>> =
            nodes.iter().map(|id| support::records::leader(&mut cluster.http(*id), TOPIC, 0)).collect();
        if let [Some(one), Some(other)] = seen[..]
            && one == other
        {
            return one;
        }
        assert!(begin.elapsed() < LONG, "no agreed leader: {seen:?}");
        sleep(Duration::from_millis(50));
    }
}

#[test]
fn every_node_takes_and_shows_everything() {
    let cluster = Cluster::start(3);
    create_topic(&mut cluster.http(2), TOPIC, 6);
    let mut expected: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for round in 0..3 {
        for partition in 0..6 {
            for id in cluster.ids() {
                let value = format!("{round}-{partition}-{id}");
                let offset = append(&mut cluster.http(id), TOPIC, partition, &value).unwrap().unwrap();
                let values = expected.entry(partition).or_default();
                assert_eq!(offset, values.len() as u64);
                values.push(value);
            }
        }
    }
    for id in cluster.ids() {
        let mut http = cluster.http(id);
        for (partition, values) in &expected {
            let records = read_all(&mut http, TOPIC, *partition);
            assert_dense(&records);
            assert_eq!(&records.into_iter().map(|record| record.value).collect::<Vec<_>>(), values);
        }
    }
    let leaders = (0..6).map(|partition| agreed_leader(&cluster, TOPIC, partition));
    let leaders: std::collections::BTreeSet<u64> = leaders.collect();
    assert_eq!(leaders.len(), 3, "leaders are spread over the nodes");
}

#[test]
fn a_slow_reader_holds_up_nobody() {
    let cluster = Cluster::start(3);
    create_topic(&mut cluster.http(1), TOPIC, 1);
    let value = "x".repeat(100_000);
    let mut http = cluster.http(1);
    for _ in 0..200 {
        append(&mut http, TOPIC, 0, &value).unwrap().unwrap();
    }
    let leader = agreed_leader(&cluster, TOPIC, 0);
    let reader = cluster.ids().into_iter().find(|id| *id != leader).expect("three nodes have a follower");
    let before: Vec<u64> = cluster.ids().iter().map(|id| cluster.resident_bytes(*id)).collect();
    let target = format!("/v1/topics/{TOPIC}/partitions/0/records?limit=1000000&max_bytes=1000000000");
    let mut slow: Vec<_> = (0..20)
        .map(|number| {
            let (id, accept) =
                if number % 2 == 0 { (leader, "text/event-stream") } else { (reader, "application/x-ndjson") };
            let mut reading = cluster.http(id).open(&target, accept).unwrap();
            assert_eq!(reading.status, 200);
            reading.next(LONG).unwrap().expect("the first piece comes");
            reading
        })
        .collect();
    // They now stand still; others don't.
    let begin = Instant::now();
    for count in 0..50 {
        append(&mut http, TOPIC, 0, &format!("{count}")).unwrap().unwrap();
    }
    assert_eq!(read_all(&mut cluster.http(reader), TOPIC, 0).len(), 250);
    assert!(begin.elapsed() < LONG);
    for (id, before) in cluster.ids().into_iter().zip(before) {
        let grown = cluster.resident_bytes(id).saturating_sub(before);
        assert!(grown < 200 << 20, "node {id} holds {} MB for readers that stand still", grown >> 20);
    }
    // Those that follow get the rest when they go on.
    let mut got = 0;
    while got < 200 * 100_000 {
        got += slow[0].next(LONG).unwrap().expect("events have no end").len();
    }
}

#[test]
fn sixty_four_writers_share_a_partition() {
    let cluster = Cluster::start(3);
    create_topic(&mut cluster.http(1), TOPIC, 1);
    let writers: Vec<_> = (0..64u64)
        .map(|number| {
            let address = cluster.address(1 + number % 3);
            spawn(move || {
                let mut http = Http::new(&address);
                let send = |count| {
                    let value = format!("{number}-{count:03}");
                    let offset = append(&mut http, TOPIC, 0, &value).unwrap().unwrap();
                    (value, offset)
                };
                (0..40).map(send).collect::<Vec<_>>()
            })
        })
        .collect();
    let acknowledged: Vec<Vec<(String, u64)>> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
    let records = read_all(&mut cluster.http(2), TOPIC, 0);
    assert_eq!(records.len(), 64 * 40);
    assert_dense(&records);
    let offsets = assert_unique(&records);
    for writer in acknowledged {
        assert!(writer.windows(2).all(|pair| pair[0].1 < pair[1].1));
        for (value, offset) in writer {
            assert_eq!(offsets[value.as_str()], offset);
        }
    }
}

#[test]
fn a_partition_that_fell_asleep_wakes_for_a_write_through_any_node() {
    let mut cluster = Cluster::start_with(3, &["--set", "raft.quiesce_after_ms=300"]);
    create_topic(&mut cluster.http(1), TOPIC, 6);
    let mut expected = 0;
    let everywhere = |cluster: &Cluster, expected: &mut u64| {
        for id in cluster.ids() {
            let mut http = cluster.http(id);
            http.time_max = Duration::from_secs(10);
            for partition in 0..6 {
                let offset = append(&mut http, TOPIC, partition, &format!("{expected}")).unwrap().unwrap();
                assert_eq!(offset, *expected);
            }
            *expected += 1;
            sleep(Duration::from_millis(1500));
        }
    };
    everywhere(&cluster, &mut expected);
    cluster.kill(3);
    for partition in 0..6 {
        append(&mut cluster.http(1), TOPIC, partition, "without").unwrap().unwrap();
    }
    expected += 1;
    sleep(Duration::from_millis(1500));
    cluster.restart(3);
    sleep(Duration::from_millis(5000));
    everywhere(&cluster, &mut expected);
}

#[test]
fn a_leader_that_hears_nobody_for_a_while_loses_no_order() {
    let cluster = Cluster::start(3);
    create_topic(&mut cluster.http(1), TOPIC, 1);
    append(&mut cluster.http(1), TOPIC, 0, "first").unwrap().unwrap();
    let leader = agreed_leader(&cluster, TOPIC, 0);
    let others: Vec<u64> = cluster.ids().into_iter().filter(|id| *id != leader).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..16)
        .map(|number| {
            let (address, stop) = (cluster.address(leader), stop.clone());
            spawn(move || {
                let mut http = Http::new(&address);
                let mut acknowledged = Vec::new();
                while !stop.load(SeqCst) {
                    let value = format!("{number}-{:05}", acknowledged.len());
                    let offset = append(&mut http, TOPIC, 0, &value).unwrap().expect("a pause, not an error");
                    acknowledged.push((value, offset));
                }
                acknowledged
            })
        })
        .collect();
    // Longer than its lease, and mostly shorter than what deposes it.
    for pause_ms in [1100, 1300, 900] {
        sleep(Duration::from_millis(400));
        others.iter().for_each(|id| cluster.pause(*id));
        sleep(Duration::from_millis(pause_ms));
        others.iter().for_each(|id| cluster.resume(*id));
    }
    sleep(Duration::from_millis(500));
    stop.store(true, SeqCst);
    let acknowledged: Vec<Vec<(String, u64)>> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
    let records = read_all(&mut cluster.http(others[0]), TOPIC, 0);
    assert_dense(&records);
    let offsets = assert_unique(&records);
    assert_eq!(records.len(), 1 + acknowledged.iter().map(Vec::len).sum::<usize>());
    for writer in acknowledged {
        assert!(writer.windows(2).all(|pair| pair[0].1 < pair[1].1));
        for (value, offset) in writer {
            assert_eq!(offsets[value.as_str()], offset);
        }
    }
}
