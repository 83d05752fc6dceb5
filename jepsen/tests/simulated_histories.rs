//! The checker against a simulated store: one that makes no mistake is never blamed, and each kind of mistake is named,
//! whatever the seed.
//!
//! More seeds: `JEPSEN_SEEDS=2000 cargo test -p jepsen --test simulated_histories`.

mod simulated;

use jepsen::check::testing::{Event, Observation, chain_verdict, search_verdict};
use jepsen::check::{Options, Verdict, check};
use jepsen::history::{F, History, Key, Kind, Line, Message, Micro, Offset, Place, Polled, Value};
use simulated::{Dice, Plan};
use std::collections::BTreeMap;

fn seeds() -> std::ops::Range<u64> {
    let count = std::env::var("JEPSEN_SEEDS").ok().and_then(|count| count.parse().ok()).unwrap_or(60);
    0..count
}

fn lines(seed: u64) -> Vec<Line> {
    let plan = Plan { clients: 2 + seed % 7, keys: 1 + seed % 3, operations: 150 + 37 * (seed % 9), crashes: 30 };
    simulated::history(seed, plan)
}

fn verdict(lines: Vec<Line>) -> Verdict {
    let history = History { lines, notes: vec![] };
    check(&[&history], Options::default()).expect("it is a history")
}

fn names(verdict: &Verdict) -> Vec<&'static str> {
    verdict.anomalies().map(|ruled| ruled.rule).collect()
}

#[test]
fn a_store_that_makes_no_mistake_is_not_blamed() {
    for seed in seeds() {
        let verdict = verdict(lines(seed));
        assert!(verdict.clean, "seed {seed}: {}", jepsen::report::text::verdict(&verdict));
        assert!(verdict.counts.last_readings > 0 && verdict.counts.messages_delivered > 0, "seed {seed}");
    }
}

/// Breaks the history by one mistake and gives what must be named; nothing, where the history has no place for it.
type Mistake = fn(&mut [Line], &mut Dice) -> Option<&'static [&'static str]>;

const MISTAKES: [(&str, Mistake); 11] = [
    ("drop an acknowledged message", drop_message),
    ("drop it from one last reading", drop_once),
    ("cut the end of all last readings", cut_end),
    ("deliver a message at another offset too", duplicate),
    ("turn two messages of a poll round", reorder),
    ("deliver what nobody sent", phantom),
    ("deliver the last poll again", stale),
    ("acknowledge another offset", wrong_offset),
    ("deliver what failed", failed_read),
    ("order the log against real time", against_time),
    ("deliver to a last reader another's message", swap_values),
];

#[test]
fn every_mistake_is_named() {
    let mut done: BTreeMap<&str, u32> = BTreeMap::new();
    for seed in seeds() {
        for (name, mistake) in MISTAKES {
            let mut lines = lines(seed);
            let Some(expected) = mistake(&mut lines, &mut Dice::new(seed)) else { continue };
            let verdict = verdict(lines);
            let found = names(&verdict);
            let named = expected.iter().any(|rule| found.contains(rule));
            assert!(named, "seed {seed}, {name}: found {found:?}, expected one of {expected:?}");
            *done.entry(name).or_default() += 1;
        }
    }
    for (name, _) in MISTAKES {
        assert!(done.get(name).is_some_and(|count| *count >= 10), "{name} was tried {:?} times", done.get(name));
    }
}

fn polled(lines: &mut [Line]) -> impl Iterator<Item = (u64, &mut Polled)> {
    let ok = lines.iter_mut().filter(|line| line.f == F::Poll && line.kind == Kind::Ok);
    ok.flat_map(|line| {
        let index = line.index;
        let micros = match &mut line.value {
            Value::Micros(micros) => micros.as_mut_slice(),
            _ => &mut [],
        };
        micros
            .iter_mut()
            .filter_map(|micro| match micro {
                Micro::Poll(Some(keys)) => Some(keys),
                _ => None,
            })
            .flatten()
            .map(move |polled| (index, polled))
    })
}

/// Where the last readings begin: at the first look at the ends.
fn last_phase(lines: &[Line]) -> u64 {
    lines.iter().find(|line| line.f == F::DebugTopicPartitions).expect("each run has last readings").index
}

/// Acknowledged messages: line, key, offset, message.
fn acknowledged(lines: &[Line]) -> Vec<(usize, Key, Offset, Message)> {
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate().filter(|(_, line)| line.f == F::Send && line.kind == Kind::Ok) {
        let Value::Micros(micros) = &line.value else { continue };
        for micro in micros {
            if let Micro::Send { key, message, place: Place::At(offset) } = micro {
                found.push((at, *key, *offset, *message));
            }
        }
    }
    found
}

fn any<T: Clone>(items: &[T], dice: &mut Dice) -> Option<T> {
    (!items.is_empty()).then(|| items[dice.below(items.len() as u64) as usize].clone())
}

fn drop_message(lines: &mut [Line], dice: &mut Dice) -> Option<&'static [&'static str]> {
    let (_, key, _, message) = any(&acknowledged(lines), dice)?;
    for (_, polled) in polled(lines).filter(|(_, polled)| polled.key == key) {
        polled.messages.retain(|(_, one)| *one != message);
    }
    Some(&["unseen"])
}

fn drop_once(lines: &mut [Line], dice: &mut Dice) -> Option<&'static [&'static str]> {
    let from = last_phase(lines);
    let (_, key, _, message) = any(&acknowledged(lines), dice)?;
    let mut last = polled(lines).filter(|(index, polled)| *index > from && polled.key == key);
    let polled = last.find_map(|(_, polled)| polled.messages.iter().any(|one| one.1 == message).then_some(polled))?;
    drop(polled.messages.extract_if(.., |(_, one)| *one == message).collect::<Vec<_>>());
    Some(&["vanished", "poll-skip", "int-poll-skip", "unseen"])
}

fn cut_end(lines: &mut [Line], _: &mut Dice) -> Option<&'static [&'static str]> {
    let from = last_phase(lines);
    let (_, key, offset) = polled(lines)
        .filter(|(index, _)| *index < from)
        .filter_map(|(index, polled)| polled.messages.last().map(|(offset, _)| (index, polled.key, *offset)))
        .max_by_key(|(_, _, offset)| *offset)?;
    for (_, polled) in polled(lines).filter(|(index, polled)| *index > from && polled.key == key) {
        polled.messages.retain(|(one, _)| *one < offset);
    }
    Some(&["vanished"])
}

fn duplicate(lines: &mut [Line], dice: &mut Dice) -> Option<&'static [&'static str]> {
    let mut places: Vec<_> = polled(lines).filter(|(_, polled)| polled.messages.len() >= 2).collect();
    let which = dice.below(places.len().max(1) as u64) as usize;
    let (_, polled) = places.get_mut(which)?;
    polled.messages[1].1 = polled.messages[0].1;
    Some(&["duplicate"])
}

fn reorder(lines: &mut [Line], dice: &mut Dice) -> Option<&'static [&'static str]> {
    let mut places: Vec<_> = polled(lines).filter(|(_, polled)| polled.messages.len() >= 2).collect();
    let which = dice.below(places.len().max(1) as u64) as usize;
    let (_, polled) = places.get_mut(which)?;
    polled.messages.swap(0, 1);
    Some(&["int-nonmonotonic-poll"])
}

fn phantom(lines: &mut [Line], dice: &mut Dice) -> Option<&'static [&'static str]> {
    let mut places: Vec<_> = polled(lines).collect();
    let which = dice.below(places.len().max(1) as u64) as usize;
    let (_, polled) = places.get_mut(which)?;
    polled.messages[0].1 = Message(1 << 40);
    Some(&["phantom"])
}

/// A process's poll of a key gives what its poll before gave.
fn stale(lines: &mut [Line], _: &mut Dice) -> Option<&'static [&'static str]> {
    let process: Vec<_> = lines.iter().map(|line| line.process).collect();
    let mut places: Vec<_> = polled(lines).collect();
    for later in (1..places.len()).rev() {
        for earlier in (0..later).rev() {
            let same = process[places[earlier].0 as usize] == process[places[later].0 as usize];
            if same && places[earlier].1.key == places[later].1.key {
                places[later].1.messages = places[earlier].1.messages.clone();
                return Some(&["nonmonotonic-poll"]);
            }
        }
    }
    None
}

fn wrong_offset(lines: &mut [Line], dice: &mut Dice) -> Option<&'static [&'static str]> {
    let (at, _, offset, message) = any(&acknowledged(lines), dice)?;
    let Value::Micros(micros) = &mut lines[at].value else { return None };
    for micro in micros {
        if let Micro::Send { message: one, place, .. } = micro
            && *one == message
        {
            *place = Place::At(Offset(offset.0 + 1));
        }
    }
    Some(&["duplicate"])
}

fn failed_read(lines: &mut [Line], dice: &mut Dice) -> Option<&'static [&'static str]> {
    let (at, ..) = any(&acknowledged(lines), dice)?;
    lines[at].kind = Kind::Fail;
    Some(&["G1a"])
}

/// Two messages change places everywhere, in what was acknowledged and in what was delivered.
fn against_time(lines: &mut [Line], _: &mut Dice) -> Option<&'static [&'static str]> {
    let all = acknowledged(lines);
    let invoked = |at: usize| lines[..at].iter().rposition(|line| line.process == lines[at].process).unwrap_or(0);
    let apart = |one: &&(usize, Key, Offset, Message), other: &(usize, Key, Offset, Message)| {
        one.1 == other.1 && one.0 < invoked(other.0)
    };
    let (one, other) = all.iter().find_map(|one| {
        let other = all.iter().find(|other| apart(&one, other))?;
        Some((*one, *other))
    })?;
    let turned = |key: Key, message: Message| match key == one.1 {
        true if message == one.3 => other.3,
        true if message == other.3 => one.3,
        _ => message,
    };
    for (_, polled) in polled(lines) {
        for (_, message) in &mut polled.messages {
            *message = turned(polled.key, *message);
        }
    }
    for line in lines.iter_mut() {
        let Value::Micros(micros) = &mut line.value else { continue };
        for micro in micros {
            if let Micro::Send { message, place: Place::At(offset), .. } = micro {
                match *message {
                    message if message == one.3 => *offset = other.2,
                    message if message == other.3 => *offset = one.2,
                    _ => {}
                }
            }
        }
    }
    Some(&["G0-realtime"])
}

/// One poll has two messages at each other's offsets.
fn swap_values(lines: &mut [Line], dice: &mut Dice) -> Option<&'static [&'static str]> {
    let mut places: Vec<_> = polled(lines).filter(|(_, polled)| polled.messages.len() >= 2).collect();
    let which = dice.below(places.len().max(1) as u64) as usize;
    let (_, polled) = places.get_mut(which)?;
    let first = polled.messages[0].1;
    polled.messages[0].1 = polled.messages[1].1;
    polled.messages[1].1 = first;
    Some(&["inconsistent-offsets"])
}

#[test]
fn the_end_of_a_correct_log_is_linearizable() {
    for seed in seeds() {
        let verdict = verdict(simulated::log_end(seed, 2 + seed % 9, 1 + seed % 4, 400));
        assert!(verdict.clean, "seed {seed}: {}", jepsen::report::text::verdict(&verdict));
        assert_eq!(verdict.warnings, Vec::<String>::new(), "seed {seed}");
    }
}

/// A handful of events with small numbers: some explicable, some not.
fn few_events(dice: &mut Dice) -> Vec<Event> {
    let count = 2 + dice.below(7);
    let mut times: Vec<u32> = (0..2 * count as u32).collect();
    let mut take = |dice: &mut Dice| times.swap_remove(dice.below(times.len() as u64) as usize);
    let event = |op| {
        let (one, other) = (take(dice), take(dice));
        let n = 1 + dice.below(2);
        let observation = match dice.below(8) {
            0..=2 => Observation::Appended { offset: dice.below(4), n },
            3 | 4 => Observation::Saw(dice.below(4)),
            5 => Observation::SawOther(dice.below(4)),
            6 => Observation::MayAppend { n, at: None },
            _ => Observation::MayAppend { n, at: Some(dice.below(4)) },
        };
        let may = matches!(observation, Observation::MayAppend { .. });
        let completed = if may { u32::MAX } else { one.max(other) };
        Event { invoked: one.min(other), completed, observation, op }
    };
    (0..count as usize).map(event).collect()
}

/// The other way round: what is possible, from an order that was made first, with one time moved now and then.
fn possible_events(dice: &mut Dice) -> Vec<Event> {
    let mut end = 0;
    let mut events = Vec::new();
    for op in 0..2 + dice.below(7) as usize {
        let at = 10 * (op as u32 + 1);
        let n = 1 + dice.below(2);
        let observation = match dice.below(6) {
            0 | 1 => Observation::Appended { offset: end, n },
            2 => Observation::Saw(end),
            3 => Observation::SawOther(end + 1 + dice.below(2)),
            4 => Observation::MayAppend { n, at: None },
            _ => Observation::MayAppend { n, at: Some(end) },
        };
        let may = matches!(observation, Observation::MayAppend { .. });
        if matches!(observation, Observation::Appended { .. }) || may && dice.percent(50) {
            end += n;
        }
        let spread = 25;
        let invoked = at.saturating_sub(1 + dice.below(spread) as u32);
        let completed = if may { u32::MAX } else { at + 1 + dice.below(spread) as u32 };
        events.push(Event { invoked, completed, observation, op });
    }
    if dice.percent(50) {
        let which = dice.below(events.len() as u64) as usize;
        let event = &mut events[which];
        event.invoked += 30;
        event.completed = event.completed.saturating_add(30);
    }
    // All places in a history are different.
    let mut places: Vec<(u32, usize, bool)> = Vec::new();
    for (at, event) in events.iter().enumerate() {
        places.push((event.invoked, at, false));
        places.push((event.completed, at, true));
    }
    places.sort_unstable();
    for (place, (_, at, completes)) in (0..).zip(places) {
        match completes {
            false => events[at].invoked = place,
            true if events[at].completed != u32::MAX => events[at].completed = place,
            true => {}
        }
    }
    events
}

#[test]
fn the_chain_agrees_with_the_search_of_all_orders() {
    use jepsen::check::testing::Linearizable;
    let mut dice = Dice::new(4);
    let (mut yes, mut no, mut undecided) = (0, 0, 0);
    for round in 0..seeds().end * 500 {
        let events = if round % 2 == 0 { few_events(&mut dice) } else { possible_events(&mut dice) };
        let searched = search_verdict(&events);
        match (chain_verdict(&events), searched) {
            (Linearizable::Undecided, _) => undecided += 1,
            (Linearizable::Yes, Linearizable::Yes) => yes += 1,
            (Linearizable::No { events: proof, why }, Linearizable::No { .. }) => {
                assert!(!proof.is_empty() && !why.is_empty(), "{events:?}");
                no += 1;
            }
            (chain, search) => panic!("round {round}: chain {chain:?}, search {search:?}: {events:?}"),
        }
    }
    assert!(yes > 1000 && no > 1000, "both happen: {yes} {no}");
    assert!(undecided * 20 < yes + no, "the chain decides nearly all: {undecided} of {}", yes + no);
}
