//! A run over time: how much was acknowledged, how long it took, and how long nothing was.
//!
//! Reads the histories only; every number here is what clients saw, by their own clock.

use crate::history::{F, History, Key, Kind, Line, LogKey, Micro, Process, Value};
use std::collections::{BTreeMap, HashMap};

/// About how many points a picture has.
const BUCKETS: u64 = 240;
const BUCKET_NS_MIN: u64 = 100_000_000;

/// What happened within a stretch of time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bucket {
    /// Records that were acknowledged.
    pub acknowledged: u64,
    /// Writes that failed for sure, and those of unknown outcome.
    pub failed: u64,
    pub unknown: u64,
    /// Records that were delivered.
    pub delivered: u64,
    /// Of acknowledged writes, in nanoseconds; nothing where there was none.
    pub latency: Option<Latency>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Latency {
    pub p50: u64,
    pub p99: u64,
    pub max: u64,
}

/// A partition, whichever history it is from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Partition {
    Of(Key),
    Ends(LogKey),
}

/// A run over time.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    pub end_ns: u64,
    pub bucket_ns: u64,
    pub buckets: Vec<Bucket>,
    /// Of all acknowledged writes.
    pub latency: Option<Latency>,
    pub acknowledged: u64,
    /// When writes were acknowledged, rising; of all and of each partition.
    acks: Vec<u64>,
    acks_of: BTreeMap<Partition, Vec<u64>>,
    /// When the last write was asked for: until then, silence is a failure.
    last_ask: u64,
}

/// The longest time without an acknowledged write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Silence {
    /// In all of the cluster.
    pub all_ns: u64,
    /// In some partition.
    pub partition_ns: u64,
}

impl Timeline {
    pub fn new(histories: &[&History]) -> Timeline {
        let ends = histories.iter().filter_map(|history| history.lines.last()).map(|line| line.time);
        let end_ns = ends.max().unwrap_or(0).max(1);
        let bucket_ns = (end_ns / BUCKETS).max(BUCKET_NS_MIN);
        let mut timeline = Timeline { end_ns, bucket_ns, ..Timeline::default() };
        timeline.buckets = vec![Bucket::default(); (end_ns / bucket_ns + 1) as usize];
        let mut latencies: Vec<Vec<u64>> = vec![vec![]; timeline.buckets.len()];
        let sends = histories.iter().any(|history| history.lines.iter().any(|line| matches!(line.f, F::Send | F::Txn)));
        for history in histories {
            timeline.take(&history.lines, sends, &mut latencies);
        }
        for (bucket, latencies) in timeline.buckets.iter_mut().zip(&mut latencies) {
            bucket.latency = latency(latencies);
        }
        timeline.latency = latency(&mut latencies.concat());
        timeline.acks.sort_unstable();
        for acks in timeline.acks_of.values_mut() {
            acks.sort_unstable();
        }
        timeline
    }

    /// A workload that writes both histories has each append in both; it is counted once, as a send.
    fn take(&mut self, lines: &[Line], sends: bool, latencies: &mut [Vec<u64>]) {
        let mut asked: HashMap<Process, u64> = HashMap::new();
        for line in lines.iter().filter(|line| line.process != Process::Nemesis) {
            let write = matches!(line.f, F::Send | F::Txn) || line.f == F::Append && !sends;
            if line.kind == Kind::Invoke {
                asked.insert(line.process, line.time);
                if write {
                    self.last_ask = self.last_ask.max(line.time);
                }
                continue;
            }
            let at = (line.time / self.bucket_ns) as usize;
            let bucket = &mut self.buckets[at];
            match line.kind {
                Kind::Fail if write => bucket.failed += 1,
                Kind::Info if write => bucket.unknown += 1,
                Kind::Ok => {
                    bucket.delivered += delivered(line);
                    let records = records(line);
                    if write && records > 0 {
                        bucket.acknowledged += records;
                        self.acknowledged += records;
                        self.acks.push(line.time);
                        for partition in partitions(line) {
                            self.acks_of.entry(partition).or_default().push(line.time);
                        }
                        let took = asked.get(&line.process).map_or(0, |asked| line.time.saturating_sub(*asked));
                        latencies[at].push(took);
                    }
                }
                _ => {}
            }
        }
    }

    /// The longest silence that has a part within a stretch of time.
    pub fn silence(&self, from: u64, to: u64) -> Silence {
        let of = |acks: &[u64]| longest(acks, self.last_ask, from, to);
        let partition_ns = self.acks_of.values().map(|acks| of(acks)).max().unwrap_or(0);
        Silence { all_ns: of(&self.acks), partition_ns }
    }
}

/// The longest time between two acknowledgements (or the last one and the last question), if it overlaps `from..=to`.
fn longest(acks: &[u64], last_ask: u64, from: u64, to: u64) -> u64 {
    let mut longest = 0;
    let first = acks.partition_point(|ack| *ack <= from).saturating_sub(1);
    for at in first..acks.len() {
        let next = acks.get(at + 1).copied().unwrap_or(last_ask.max(acks[at]));
        if acks[at] > to {
            break;
        }
        if next >= from {
            longest = longest.max(next - acks[at]);
        }
    }
    longest
}

fn latency(latencies: &mut [u64]) -> Option<Latency> {
    latencies.sort_unstable();
    let at = |share: usize| latencies.get((latencies.len().saturating_sub(1)) * share / 100).copied();
    Some(Latency { p50: at(50)?, p99: at(99)?, max: at(100)? })
}

fn delivered(line: &Line) -> u64 {
    let Value::Micros(micros) = &line.value else { return 0 };
    let of = |micro: &Micro| match micro {
        Micro::Poll(Some(keys)) => keys.iter().map(|polled| polled.messages.len() as u64).sum(),
        _ => 0,
    };
    micros.iter().map(of).sum()
}

/// How many records a write has.
fn records(line: &Line) -> u64 {
    match &line.value {
        Value::Micros(micros) => micros.iter().filter(|micro| matches!(micro, Micro::Send { .. })).count() as u64,
        Value::Append(_, append) => append.n,
        _ => 0,
    }
}

fn partitions(line: &Line) -> Vec<Partition> {
    match &line.value {
        Value::Append(key, _) => vec![Partition::Ends(key.clone())],
        Value::Micros(micros) => {
            let mut keys: Vec<Partition> = Vec::new();
            for micro in micros {
                if let Micro::Send { key, .. } = micro
                    && keys.last() != Some(&Partition::Of(*key))
                {
                    keys.push(Partition::Of(*key));
                }
            }
            keys
        }
        _ => vec![],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_what_overlaps_the_window() {
        let acks = [10, 20, 100, 110];
        assert_eq!(longest(&acks, 110, 30, 40), 80, "a window within the silence");
        assert_eq!(longest(&acks, 110, 15, 18), 10);
        assert_eq!(longest(&acks, 110, 0, 200), 80);
        assert_eq!(longest(&acks, 500, 120, 130), 390, "silence until the last question");
        assert_eq!(longest(&[], 500, 120, 130), 0);
    }

    #[test]
    fn a_write_that_both_histories_have_is_counted_once() {
        let send = "{:time 0 :process 0 :type :invoke :f :send :value [[:send 1 4]]}\n\
                    {:time 9 :process 0 :type :ok :f :send :value [[:send 1 [0 4]]]}\n";
        let append = "{:time 0 :process 0 :type :invoke :f :append :value [1 {}]}\n\
                      {:time 9 :process 0 :type :ok :f :append :value [1 {:offset 0}]}\n";
        let [send, append] = [send, append].map(|text| History::from_reader(text.as_bytes()).unwrap());
        assert_eq!(Timeline::new(&[&send, &append]).acknowledged, 1);
        assert_eq!(Timeline::new(&[&append]).acknowledged, 1);
    }

    #[test]
    fn a_timeline_counts_what_clients_saw() {
        let text = "{:index 0 :time 0 :process 0 :type :invoke :f :send :value [[:send 1 4] [:send 1 5]]}\n\
                    {:index 1 :time 50 :process 0 :type :ok :f :send :value [[:send 1 [0 4]] [:send 1 [1 5]]]}\n\
                    {:index 2 :time 60 :process 0 :type :invoke :f :send :value [[:send 1 6]]}\n\
                    {:index 3 :time 200000000 :process 0 :type :info :f :send :value [[:send 1 6]]}\n";
        let history = History::from_reader(text.as_bytes()).unwrap();
        let timeline = Timeline::new(&[&history]);
        assert_eq!((timeline.acknowledged, timeline.end_ns), (2, 200_000_000));
        assert_eq!(timeline.latency, Some(Latency { p50: 50, p99: 50, max: 50 }));
        assert_eq!(timeline.buckets.iter().map(|bucket| bucket.unknown).sum::<u64>(), 1);
    }
}
