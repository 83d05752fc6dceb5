//! Linearizability of a log's end by its structure.
//!
//! The end takes rising values, from 0. Each acknowledged append is one step of that chain, from where it landed; a
//! value that somebody saw is a value that the chain must have; a gap is filled by appends of unknown outcome. Going up
//! the chain, each value gets the *earliest* time at which it can be reached: not before the append that leads there was
//! invoked, nor before everybody who saw the value before it had asked. An earliest time never hurts what comes later,
//! so a value that is reached too late for whoever saw it, or for the append's own answer, proves a violation.
//!
//! Choices are left in gaps only. Of appends of unknown outcome with the same size, those that were invoked first are
//! used first (any other choice can be exchanged for it); what is left is which sizes, and that is searched, value by
//! value, keeping the earliest time for each set of used ones. Last, refusals that only say what the end was *not* push
//! some values later. If that fails, other choices in the gaps might do, and it is undecided.
//!
//! Times are places in the history: a value reached at `t` is reached just after line `t`.

use crate::check::log_end::{Event, Linearizable, Observation};
use std::collections::{BTreeMap, BTreeSet};

/// Before the first line.
const START: i64 = -1;
/// How many situations within gaps are looked at, beyond one for each event.
const EXTRA_MAX: usize = 200_000;

/// What is known of one key.
#[derive(Default)]
struct Known {
    /// By where they landed: the event, and how many.
    appended: BTreeMap<u64, (usize, u64)>,
    saw: BTreeMap<u64, Vec<usize>>,
    other: Vec<usize>,
    /// Appends of unknown outcome at a given end: end, size, and the first event of those.
    maybe_at: BTreeMap<u64, BTreeMap<u64, usize>>,
    /// Those at any end, by size, first invoked first.
    maybe: Vec<(u64, Vec<usize>)>,
    /// Values that the chain must have.
    values: BTreeSet<u64>,
}

/// A value of the chain as it was reached.
#[derive(Clone, Copy)]
struct Reached {
    value: u64,
    /// The earliest time.
    at: i64,
    /// The event that led here, and the place before it in the list of all that was reached.
    by: Option<(usize, u32)>,
}

/// Whether there is an order of these events.
pub fn verdict(events: &[Event]) -> Linearizable {
    match Known::new(events).and_then(|known| Climb::new(events, &known).run()) {
        Ok(path) => path,
        Err((why, proof)) => Linearizable::No { why, events: proof },
    }
}

/// Why there is no order, and the events that show it.
type Violation = (String, Vec<usize>);

impl Known {
    fn new(events: &[Event]) -> Result<Known, Violation> {
        let mut known = Known { values: BTreeSet::from([0]), ..Known::default() };
        let mut maybe: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        for (id, event) in events.iter().enumerate() {
            match event.observation {
                Observation::Appended { offset, n } => {
                    known.values.extend([offset, offset + n]);
                    if let Some((other, _)) = known.appended.insert(offset, (id, n)) {
                        return Err((format!("two appends landed at {offset}"), vec![other, id]));
                    }
                }
                Observation::Saw(value) => {
                    known.values.insert(value);
                    known.saw.entry(value).or_default().push(id);
                }
                Observation::SawOther(_) => known.other.push(id),
                Observation::MayAppend { n, at: None } => maybe.entry(n).or_default().push(id),
                Observation::MayAppend { n, at: Some(at) } => {
                    let first = known.maybe_at.entry(at).or_default().entry(n).or_insert(id);
                    if events[id].invoked < events[*first].invoked {
                        *first = id;
                    }
                }
            }
        }
        for (size, mut ids) in maybe {
            ids.sort_unstable_by_key(|id| events[*id].invoked);
            known.maybe.push((size, ids));
        }
        known.nothing_within()?;
        Ok(known)
    }

    /// An append is one step: no value lies within.
    fn nothing_within(&self) -> Result<(), Violation> {
        for (offset, (id, n)) in &self.appended {
            let Some(within) = self.values.range(offset + 1..offset + n).next() else { continue };
            let mut proof = vec![*id];
            proof.extend(self.saw.get(within).into_iter().flatten().take(1));
            proof.extend(self.appended.get(within).map(|(other, _)| *other));
            let before = self.appended.range(..within).rev().find(|(from, (_, n))| *from + n == *within);
            proof.extend(before.map(|(_, (other, _))| *other));
            return Err((format!("an append from {offset} to {} has {within} within it", offset + n), proof));
        }
        Ok(())
    }
}

/// The way up the chain.
struct Climb<'a> {
    events: &'a [Event],
    known: &'a Known,
    reached: Vec<Reached>,
    /// Values to go on from: how many of each size of `maybe` are used, and the place in `reached`.
    open: BTreeMap<u64, BTreeMap<Vec<u32>, u32>>,
    /// What to say if it goes no further.
    stuck: Option<Violation>,
}

impl<'a> Climb<'a> {
    fn new(events: &'a [Event], known: &'a Known) -> Climb<'a> {
        let start = BTreeMap::from([(vec![0; known.maybe.len()], 0)]);
        let first = Reached { value: 0, at: START, by: None };
        Climb { events, known, reached: vec![first], open: BTreeMap::from([(0, start)]), stuck: None }
    }

    fn run(mut self) -> Result<Linearizable, Violation> {
        let last = self.known.values.last().copied().unwrap_or(0);
        let limit = self.events.len() * 2 + EXTRA_MAX;
        let mut highest = 0;
        while let Some((value, situations)) = self.open.pop_first() {
            highest = value;
            for (used, place) in situations {
                let Some(leave) = self.leave(value, place) else { continue };
                if value == last {
                    return Ok(self.other_ends(place));
                }
                self.go_on(value, last, leave, &used, place);
            }
            if self.reached.len() > limit {
                return Ok(Linearizable::Undecided);
            }
        }
        let next = self.known.values.range(highest + 1..).next().copied().unwrap_or(last);
        let gap = (format!("nothing explains how the end came from {highest} to {next}"), self.around(next));
        Err(self.stuck.unwrap_or(gap))
    }

    /// The earliest time to leave a value: all who saw it have asked. Nothing, where it was reached too late for one.
    fn leave(&mut self, value: u64, place: u32) -> Option<i64> {
        let Reached { at, by, .. } = self.reached[place as usize];
        let mut leave = at;
        for id in self.known.saw.get(&value).into_iter().flatten() {
            let event = &self.events[*id];
            if i64::from(event.completed) <= at {
                let why = format!("the end was seen at {value} before it can have been there");
                let mut proof = vec![*id];
                proof.extend(by.map(|(by, _)| by));
                proof.extend(self.latest_before(place));
                self.stuck = Some((why, proof));
                return None;
            }
            leave = leave.max(i64::from(event.invoked));
        }
        Some(leave)
    }

    /// The event whose invocation made a value be reached as late as it was.
    fn latest_before(&self, place: u32) -> Option<usize> {
        let at = self.reached[place as usize].at;
        let position = self.events.iter().position(|event| i64::from(event.invoked) == at);
        position.filter(|_| at != START)
    }

    fn go_on(&mut self, value: u64, last: u64, leave: i64, used: &[u32], place: u32) {
        if let Some((id, n)) = self.known.appended.get(&value) {
            let event = &self.events[*id];
            let at = leave.max(i64::from(event.invoked));
            if at < i64::from(event.completed) {
                self.reach(value + n, at, *id, used.to_vec(), place);
            } else {
                let why =
                    format!("an append landed at {value} after the end had to be beyond it, or before it was there");
                let mut proof = vec![*id];
                proof.extend(self.events.iter().position(|event| i64::from(event.invoked) == at));
                self.stuck = Some((why, proof));
            }
            return;
        }
        let ceiling = self.known.values.range(value + 1..).next().copied().unwrap_or(last);
        for (n, id) in self.known.maybe_at.get(&value).into_iter().flatten() {
            if value.checked_add(*n).is_some_and(|to| to <= ceiling) {
                self.reach(value + n, leave.max(i64::from(self.events[*id].invoked)), *id, used.to_vec(), place);
            }
        }
        for (class, (n, ids)) in self.known.maybe.iter().enumerate() {
            let Some(id) = ids.get(used[class] as usize) else { continue };
            if value.checked_add(*n).is_some_and(|to| to <= ceiling) {
                let mut used = used.to_vec();
                used[class] += 1;
                self.reach(value + n, leave.max(i64::from(self.events[*id].invoked)), *id, used, place);
            }
        }
    }

    fn reach(&mut self, value: u64, at: i64, by: usize, used: Vec<u32>, from: u32) {
        let next = self.reached.len() as u32;
        let situations = self.open.entry(value).or_default();
        let before = situations.get(&used).map(|place| self.reached[*place as usize].at);
        if before.is_none_or(|before| at < before) {
            situations.insert(used, next);
            self.reached.push(Reached { value, at, by: Some((by, from)) });
        }
    }

    fn around(&self, value: u64) -> Vec<usize> {
        let from = self.known.appended.get(&value).map(|(id, _)| *id);
        let below = self.known.appended.range(..value).next_back().map(|(_, (id, _))| *id);
        let seen = self.known.saw.get(&value).and_then(|ids| ids.first().copied());
        [below, from, seen].into_iter().flatten().collect()
    }

    /// The chain up to `place`, if refusals that only know what the end was not leave room for it.
    fn other_ends(&self, place: u32) -> Linearizable {
        if self.known.other.is_empty() {
            return Linearizable::Yes;
        }
        let mut path = vec![self.reached[place as usize]];
        while let Some((_, before)) = path[path.len() - 1].by {
            path.push(self.reached[before as usize]);
        }
        path.reverse();
        let places: BTreeMap<u64, usize> = path.iter().enumerate().map(|(at, one)| (one.value, at)).collect();
        let mut floors: Vec<i64> = path.iter().map(|one| one.at).collect();
        loop {
            let Some(times) = self.times(&path, &floors) else { return Linearizable::Undecided };
            let mut changed = false;
            for id in &self.known.other {
                let event = &self.events[*id];
                let Observation::SawOther(other) = event.observation else { continue };
                let Some(place) = places.get(&other).copied() else { continue };
                // Either the end had gone on before the answer, or it came here after the question.
                let left_late = times.get(place + 1).is_none_or(|left| *left >= i64::from(event.completed));
                let floor = i64::from(event.invoked);
                if left_late && times[place] < floor {
                    if place == 0 {
                        return Linearizable::Undecided;
                    }
                    floors[place] = floor;
                    changed = true;
                }
            }
            if !changed {
                return Linearizable::Yes;
            }
        }
    }

    /// The earliest times that are not below the floors; nothing where one is too late.
    fn times(&self, path: &[Reached], floors: &[i64]) -> Option<Vec<i64>> {
        let mut times = Vec::with_capacity(path.len());
        let mut now = START;
        for (reached, floor) in path.iter().zip(floors) {
            now = now.max(*floor);
            if reached.by.is_some_and(|(by, _)| now >= i64::from(self.events[by].completed)) {
                return None;
            }
            times.push(now);
            for id in self.known.saw.get(&reached.value).into_iter().flatten() {
                if i64::from(self.events[*id].completed) <= now {
                    return None;
                }
                now = now.max(i64::from(self.events[*id].invoked));
            }
        }
        Some(times)
    }
}
