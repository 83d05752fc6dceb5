//! What was there stays there: `vanished`, the blind spot of a checker that asks only whether a message was *ever* seen.
//!
//! A consumer that began at the beginning of a key (`:seek-to-beginning? true`) is given all of it, up to where it
//! came. And after the last send, such consumers together are given everything that was ever delivered. Messages that
//! nobody ever read are `lost-write` and `unseen`, not this. (No workload here lets records expire.)

use crate::check::facts::{Facts, KeyId, MessageFacts, OpId, Read};
use crate::check::finding::Findings;
use crate::check::ops::What;
use crate::check::rule::Rule;
use crate::history::{Kind, Offset, Value};
use std::collections::{BTreeMap, HashMap};

/// What one consumer was given of a key, from the beginning on.
struct Reading {
    process: u64,
    /// When it was to begin.
    began: u32,
    /// Offsets from and to, without a hole, and by which poll.
    reads: Vec<(Offset, Offset, OpId)>,
    /// Its process ended with an unknown outcome, so that it may not have come to its end.
    cut: bool,
}

impl Reading {
    /// How far it came, and by which poll.
    fn end(&self) -> Option<(Offset, OpId)> {
        self.reads.iter().map(|(_, to, by)| (*to, *by)).max()
    }
}

pub fn check(facts: &Facts, findings: &mut Findings) {
    let readings = readings(facts);
    let last_send = last_send(facts);
    for (key, readings) in &readings {
        let mut last_reading = LastReading::default();
        for reading in readings {
            passed_over(facts, findings, *key, reading);
            if reading.began > last_send {
                last_reading.take(reading);
            }
        }
        last_reading.compare(facts, findings, *key);
        for reading in readings.iter().filter(|reading| reading.began > last_send && !reading.cut) {
            last_reading.compare_one(facts, findings, *key, reading);
        }
    }
}

/// Where the last send that was acknowledged was completed.
pub fn last_send(facts: &Facts) -> u32 {
    let sends = facts.ops.iter().filter(|op| op.what != What::Poll && op.kind == Kind::Ok);
    let sends = sends.filter(|op| facts.sends_of(op).next().is_some());
    sends.filter_map(|op| op.completed).max().unwrap_or(0)
}

/// Each reading from a beginning, by key.
fn readings(facts: &Facts) -> BTreeMap<KeyId, Vec<Reading>> {
    let mut done: BTreeMap<KeyId, Vec<Reading>> = BTreeMap::new();
    let mut open: HashMap<(u64, KeyId), Reading> = HashMap::new();
    let mut assigned: HashMap<u64, Vec<KeyId>> = HashMap::new();
    for (at, op) in facts.ops.iter().enumerate() {
        if op.kind == Kind::Info {
            for key in assigned.get(&op.process).into_iter().flatten() {
                if let Some(reading) = open.get_mut(&(op.process, *key)) {
                    reading.cut = true;
                }
            }
        }
        match op.what {
            What::Assign | What::Subscribe => {
                for key in assigned.remove(&op.process).unwrap_or_default() {
                    let reading = open.remove(&(op.process, key));
                    done.entry(key).or_default().extend(reading);
                }
                let line = &facts.lines[op.told() as usize];
                let (Value::Keys(keys), Kind::Ok, true) = (&line.value, op.kind, line.seek_to_beginning) else {
                    continue;
                };
                let keys: Vec<KeyId> = keys.iter().filter_map(|key| facts.key_id(*key)).collect();
                for key in &keys {
                    let reading = Reading { process: op.process, began: op.invoked, reads: vec![], cut: false };
                    open.insert((op.process, *key), reading);
                }
                assigned.insert(op.process, keys);
            }
            What::Poll | What::Txn if op.kind == Kind::Ok => {
                for (key, reads) in facts.runs_of(op) {
                    if let Some(reading) = open.get_mut(&(op.process, key)) {
                        let pieces = reads.chunk_by(|one, next| next.offset.0 == one.offset.0 + 1);
                        let piece = |piece: &[Read]| (piece[0].offset, piece[piece.len() - 1].offset, OpId(at as u32));
                        reading.reads.extend(pieces.map(piece));
                    }
                }
            }
            _ => {}
        }
    }
    for ((_, key), reading) in open {
        done.entry(key).or_default().push(reading);
    }
    done
}

/// What a reading passed over, of all that was known below the place that it came to.
fn passed_over(facts: &Facts, findings: &mut Findings, key: KeyId, reading: &Reading) {
    let mut pieces = reading.reads.clone();
    pieces.sort_unstable();
    let mut given = pieces.iter().peekable();
    let Some((end, _)) = reading.end() else { return };
    for (offset, message) in facts.key(key).log.iter().take_while(|(offset, _)| *offset <= end) {
        while given.next_if(|(_, to, _)| to < offset).is_some() {}
        if given.peek().is_some_and(|(from, _, _)| from <= offset) {
            continue;
        }
        let message = facts.message(*message);
        let Some(reader) = delivered_at(message, *offset) else { continue };
        findings.add(Rule::Vanished, || {
            let passed_by = given.peek().map_or(reader, |(_, _, op)| *op);
            let text = format!(
                "{} at offset {offset} was delivered before; process {} read from the beginning to {end} without it",
                message.value, reading.process
            );
            facts.finding(key, &[*offset], &[reader, passed_by], text)
        });
    }
}

/// Who was given the message first. That it stands elsewhere too, as somebody was told, is another rule's.
fn delivered_at(message: &MessageFacts, offset: Offset) -> Option<OpId> {
    message.any_reader.filter(|_| message.offset == Some(offset))
}

/// All readings of a key that began after the last send.
#[derive(Default)]
struct LastReading {
    count: usize,
    farthest: Option<(Offset, OpId)>,
}

impl LastReading {
    fn take(&mut self, reading: &Reading) {
        let last = reading.end();
        self.count += 1;
        self.farthest = self.farthest.max(last);
    }

    /// Whatever was ever delivered is below the place that the last readings came to.
    fn compare(&self, facts: &Facts, findings: &mut Findings, key: KeyId) {
        if self.count == 0 {
            return;
        }
        let farthest = self.farthest.map(|(offset, _)| offset);
        let log = &facts.key(key).log;
        let from = farthest.map_or(0, |farthest| facts.key(key).below(farthest) + 1);
        for (offset, message) in log.get(from..).unwrap_or_default() {
            let message = facts.message(*message);
            let Some(reader) = delivered_at(message, *offset) else { continue };
            findings.add(Rule::Vanished, || {
                let end = farthest.map_or("nothing".to_owned(), |farthest| format!("up to {farthest}"));
                let text = format!(
                    "{} at offset {offset} was delivered before; the last readings ({} of them) were given {end}",
                    message.value, self.count
                );
                let ops: Vec<OpId> = std::iter::once(reader).chain(self.farthest.map(|(_, op)| op)).collect();
                facts.finding(key, &[*offset], &ops, text)
            });
        }
    }
    /// Nobody's last reading ends before another's.
    fn compare_one(&self, facts: &Facts, findings: &mut Findings, key: KeyId, reading: &Reading) {
        let Some((farthest, by)) = self.farthest else { return };
        let last = reading.end();
        if last.is_some_and(|(end, _)| end >= farthest) {
            return;
        }
        findings.add(Rule::Vanished, || {
            let end = last.map_or("was given nothing".to_owned(), |(end, _)| format!("ended at {end}"));
            let text = format!("process {}'s last reading {end}; {farthest} was delivered to another", reading.process);
            let ops: Vec<OpId> = last.map(|(_, op)| op).into_iter().chain([by]).collect();
            facts.finding(key, &[farthest], &ops, text)
        });
    }
}
