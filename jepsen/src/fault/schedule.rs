//! When which fault comes: drawn from the seed alone, so that a seed makes the same schedule again.
//!
//! Faults come about every interval and overlap as long as the nodes that cannot be counted on are a minority; one that
//! would make them more waits until others have ended. After each the cluster has a moment to settle, so that the next
//! does not hit the one node that was needed.

use crate::fault::{Fault, Footprint, What, minority};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeSet;
use std::time::Duration;

/// From the end of a fault until its nodes count again.
const SETTLING: Duration = Duration::from_millis(700);
/// The same after a fault of everything: elections everywhere.
const SETTLING_ALL: Duration = Duration::from_millis(1500);

/// A fault to be.
#[derive(Clone)]
pub struct Planned {
    /// Counts from 0.
    pub number: u64,
    /// Since the faults began.
    pub at: Duration,
    pub fault: &'static dyn Fault,
    pub what: What,
}

/// Plans faults for `time`. Needs at least one fault.
pub fn plan(
    faults: &[&'static dyn Fault],
    seed: u64,
    nodes: u16,
    time: Duration,
    interval: Duration,
    pace: f64,
) -> Vec<Planned> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut planned: Vec<Planned> = Vec::new();
    let (come_and_go, stay): (Vec<_>, Vec<_>) = faults.iter().copied().partition(|fault| !fault.stays());
    // Of those that stay there is one, late: it makes all others rarer.
    let late = (!stay.is_empty()).then(|| (stay[random.random_range(0..stay.len())], time.mul_f64(0.7)));
    let mut at = jittered(&mut random, interval);
    while at < time {
        let mut fault = match come_and_go.len() {
            0 => None,
            count => Some(come_and_go[random.random_range(0..count)]),
        };
        if let Some((late, from)) = late
            && at >= from
            && !planned.iter().any(|planned| planned.fault.stays())
        {
            fault = Some(late);
        }
        if let Some(fault) = fault {
            let mut what = fault.plan(&mut random, nodes);
            what.lasts = what.lasts.mul_f64(pace);
            if fault.stays() {
                what.lasts = time.saturating_sub(at);
            }
            at = free(&planned, &what, at, nodes, pace);
            if at + what.lasts <= time {
                planned.push(Planned { number: planned.len() as u64, at, fault, what });
            }
        }
        at += jittered(&mut random, interval);
    }
    planned
}

/// Half to one and a half times the interval.
fn jittered(random: &mut StdRng, interval: Duration) -> Duration {
    interval.mul_f64(random.random_range(0.5..1.5)).max(Duration::from_millis(10))
}

impl Planned {
    /// When its nodes count again.
    fn settled(&self, pace: f64) -> Duration {
        let settling = if self.what.footprint == Footprint::Everything { SETTLING_ALL } else { SETTLING };
        self.at + self.what.lasts + settling.mul_f64(pace)
    }
}

/// The first moment, from `at` on, at which a fault leaves a majority.
fn free(planned: &[Planned], what: &What, at: Duration, nodes: u16, pace: f64) -> Duration {
    let mut ends: Vec<Duration> = planned.iter().map(|one| one.settled(pace)).filter(|end| *end > at).collect();
    ends.sort_unstable();
    let moments = std::iter::once(at).chain(ends);
    let fits = |moment: &Duration| {
        let end = *moment + what.lasts;
        let beside: Vec<&Footprint> = planned
            .iter()
            .filter(|other| other.at < end && other.settled(pace) > *moment)
            .map(|other| &other.what.footprint)
            .chain(std::iter::once(&what.footprint))
            .collect();
        leaves_majority(&beside, nodes)
    };
    moments.into_iter().find(fits).expect("after the last one has ended, everything fits")
}

/// Whether these can be there at one time.
fn leaves_majority(footprints: &[&Footprint], nodes: u16) -> bool {
    let mut gone: BTreeSet<u16> = BTreeSet::new();
    let mut unknown = 0;
    for footprint in footprints {
        match footprint {
            Footprint::Nodes(nodes) => gone.extend(nodes.iter()),
            Footprint::Leader => unknown += 1,
            Footprint::Everything if footprints.len() > 1 => return false,
            Footprint::Everything => return true,
        }
    }
    gone.len() + unknown <= usize::from(minority(nodes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::{ALL, Membership};

    fn all() -> Vec<&'static dyn Fault> {
        ALL.into_iter().filter(|fault| fault.name() != Membership.name()).collect()
    }

    fn minute(seed: u64, nodes: u16) -> Vec<Planned> {
        plan(&all(), seed, nodes, Duration::from_secs(60), Duration::from_secs(1), 1.0)
    }

    #[test]
    fn a_seed_makes_its_schedule_again_and_another_makes_another() {
        let shown = |seed| -> Vec<String> {
            minute(seed, 5).iter().map(|planned| format!("{:?} {:?}", planned.at, planned.what)).collect()
        };
        assert_eq!(shown(7), shown(7));
        assert_ne!(shown(7), shown(8));
        assert!(shown(7).len() > 20, "{}", shown(7).len());
    }

    #[test]
    fn a_majority_is_left_at_every_moment() {
        for seed in 0..50 {
            for nodes in [3, 4, 5] {
                let planned = minute(seed, nodes);
                for one in &planned {
                    let beside = |other: &&Planned| other.at <= one.at && other.settled(1.0) > one.at;
                    let footprints: Vec<&Footprint> =
                        planned.iter().filter(beside).map(|planned| &planned.what.footprint).collect();
                    assert!(leaves_majority(&footprints, nodes), "seed {seed}: {footprints:?}");
                    assert!(one.at + one.what.lasts <= Duration::from_secs(60));
                }
                assert!(planned.iter().filter(|planned| planned.fault.stays()).count() <= 1);
            }
        }
    }
}
