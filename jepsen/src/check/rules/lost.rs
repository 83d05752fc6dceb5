//! What was acknowledged must be read: `lost-write` and `unseen`.
//!
//! `lost-write` needs a place: the message is at or below an offset that was read, so nobody can still be on the way
//! to it. `unseen` needs the end of the run: nobody was ever given it. A message can be both.

use crate::check::facts::{Facts, MessageFacts};
use crate::check::finding::Findings;
use crate::check::rule::Rule;

pub fn check(facts: &Facts, findings: &mut Findings) {
    for id in facts.message_ids() {
        let message = facts.message(id);
        let Some(writer) = message.writer else { continue };
        let acknowledged = facts.acknowledged(message);
        if is_lost(facts, message) {
            findings.add(Rule::LostWrite, || {
                let offset = message.told.or(message.offset).unwrap_or(crate::history::Offset(0));
                let read_to = facts.key(message.key).read_to.unwrap_or(offset);
                let how = if acknowledged { "acknowledged" } else { "proved by another message of its operation" };
                let text = format!("{} at offset {offset} ({how}) was never read, but {read_to} was", message.value);
                let log = &facts.key(message.key).log;
                let above = log[log.partition_point(|(at, _)| *at <= offset)..].iter();
                let passed = above.filter_map(|(at, next)| Some((*at, facts.message(*next).ok_reader?))).next();
                let ops: Vec<_> = std::iter::once(writer).chain(passed.map(|(_, reader)| reader)).collect();
                let offsets: Vec<_> = std::iter::once(offset).chain(passed.map(|(at, _)| at)).collect();
                facts.finding(message.key, &offsets, &ops, text)
            });
        }
        if acknowledged && message.any_reader.is_none() {
            findings.add(Rule::Unseen, || {
                let place = message.told.map(|offset| format!(" at offset {offset}")).unwrap_or_default();
                let read_to = facts.key(message.key).read_to;
                let end = read_to.map_or("nothing of this key was read".to_owned(), |to| format!("{to} was read last"));
                let text = format!("{}{place} was acknowledged and never delivered; {end}", message.value);
                facts.finding(message.key, message.told.as_slice(), &[writer], text)
            });
        }
    }
}

/// Acknowledged or proved, at or below the highest offset that was read, and read by no `:ok` poll.
fn is_lost(facts: &Facts, message: &MessageFacts) -> bool {
    let Some(writer) = message.writer else { return false };
    let writer = facts.op(writer);
    let counts = writer.took_place || facts.acknowledged(message);
    // Where losses are allowed the log holds no such message, but what its writer was told says where it was.
    let place = message.offset.or(message.told);
    let read_to = facts.key(message.key).read_to;
    counts && message.ok_reader.is_none() && place.is_some_and(|place| read_to.is_some_and(|to| place <= to))
}
