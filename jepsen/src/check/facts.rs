//! A history turned round: from "who did what when" to "what is known of each message and each offset".
//!
//! Built once, in time linear in the history, and then only read: each rule is a walk over it. Keys and messages are
//! numbered here, so that a rule indexes arrays.
//!
//! What counts, after the format's text: an `:ok` operation took place; an `:info` took place once an `:ok` poll read
//! any of its sends, and then all of them did; a `:fail` never did. The *log* of a key holds what sends that took place
//! were told and what all polls delivered. Where losses are allowed (`acks=1`), a send took place only if it was read.

use crate::check::ops::{Op, Part, What};
use crate::check::table::{OffsetTable, Quick};
use crate::history::{Key, Kind, Line, Message, Micro, Offset, Place, Value};
use std::collections::HashMap;

/// A key's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(pub u32);

/// A message's number; of all keys together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId(pub u32);

/// An operation's number: its place in [`Facts::ops`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OpId(pub u32);

/// A send of one message.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    pub op: OpId,
    pub message: MessageId,
    pub place: Place,
}

/// A message that a poll delivered.
#[derive(Clone, Copy, Debug)]
pub struct Read {
    pub message: MessageId,
    pub offset: Offset,
}

/// All that is known of a message.
#[derive(Clone, Debug)]
pub struct MessageFacts {
    pub key: KeyId,
    pub value: Message,
    /// Who sent it.
    pub writer: Option<OpId>,
    /// Where its send was told that it is.
    pub told: Option<Offset>,
    /// The first place where it is known to be, told or polled.
    pub offset: Option<Offset>,
    /// The first `:ok` operation that polled it.
    pub ok_reader: Option<OpId>,
    /// The first operation of any kind that polled it.
    pub any_reader: Option<OpId>,
    /// Whether processes other than the first one polled it too.
    pub many_readers: bool,
}

/// All that is known of a key.
#[derive(Debug, Default)]
pub struct KeyFacts {
    pub key: Option<Key>,
    /// What is known to be in the log, by offset, one message for each.
    pub log: Vec<(Offset, MessageId)>,
    /// Further messages at an offset of the log, each with where it was seen.
    pub conflicts: Vec<(Offset, MessageId, OpId)>,
    /// Further offsets of a message, each with where it was seen.
    pub moved: Vec<(Offset, MessageId, OpId)>,
    /// The highest offset that an `:ok` poll read.
    pub read_to: Option<Offset>,
}

impl KeyFacts {
    /// The place of an offset among those that are known; positions have no holes.
    pub fn position(&self, offset: Offset) -> Option<usize> {
        let direct = usize::try_from(offset.0).ok().filter(|at| self.log.get(*at).is_some_and(|one| one.0 == offset));
        direct.or_else(|| self.log.binary_search_by_key(&offset, |one| one.0).ok())
    }

    /// How many known offsets are below this one.
    pub fn below(&self, offset: Offset) -> usize {
        self.position(offset).unwrap_or_else(|| self.log.partition_point(|one| one.0 < offset))
    }
}

/// A history turned round.
pub struct Facts<'a> {
    pub lines: &'a [Line],
    /// In the order of their invocations.
    pub ops: Vec<Op>,
    pub parts: Vec<Part>,
    pub sent: Vec<Sent>,
    pub reads: Vec<Read>,
    pub keys: Vec<KeyFacts>,
    pub messages: Vec<MessageFacts>,
    /// Sends of a message that another operation sent before: a mistake of the run.
    pub sent_twice: Vec<(MessageId, OpId)>,
    key_ids: HashMap<Key, KeyId>,
}

impl<'a> Facts<'a> {
    pub fn new(lines: &'a [Line], ops: Vec<Op>, loss_allowed: bool) -> Facts<'a> {
        let mut facts = Facts {
            lines,
            ops,
            parts: vec![],
            sent: vec![],
            reads: vec![],
            keys: vec![],
            messages: vec![],
            sent_twice: vec![],
            key_ids: HashMap::new(),
        };
        Interner { ids: HashMap::default(), facts: &mut facts }.take_all();
        facts.note_readers();
        facts.decide_what_took_place(loss_allowed);
        facts.build_logs(loss_allowed);
        facts
    }

    pub fn op(&self, id: OpId) -> &Op {
        &self.ops[id.0 as usize]
    }

    pub fn key(&self, id: KeyId) -> &KeyFacts {
        &self.keys[id.0 as usize]
    }

    pub fn message(&self, id: MessageId) -> &MessageFacts {
        &self.messages[id.0 as usize]
    }

    pub fn key_id(&self, key: Key) -> Option<KeyId> {
        self.key_ids.get(&key).copied()
    }

    pub fn key_name(&self, id: KeyId) -> Key {
        self.key(id).key.expect("a numbered key has a name")
    }

    pub fn op_ids(&self) -> impl DoubleEndedIterator<Item = OpId> + use<> {
        (0..self.ops.len() as u32).map(OpId)
    }

    pub fn key_ids(&self) -> impl Iterator<Item = KeyId> + use<> {
        (0..self.keys.len() as u32).map(KeyId)
    }

    pub fn message_ids(&self) -> impl Iterator<Item = MessageId> + use<> {
        (0..self.messages.len() as u32).map(MessageId)
    }

    /// The parts of an operation, in their order.
    pub fn parts_of(&self, op: &Op) -> &[Part] {
        &self.parts[op.parts.start as usize..op.parts.end as usize]
    }

    /// The sends of an operation.
    pub fn sends_of(&self, op: &Op) -> impl Iterator<Item = &Sent> {
        self.parts_of(op).iter().filter_map(|part| match part {
            Part::Send(at) => Some(&self.sent[*at as usize]),
            Part::Poll(_) => None,
        })
    }

    /// What an operation's polls delivered, in order.
    pub fn reads_of(&self, op: &Op) -> impl Iterator<Item = &Read> {
        self.parts_of(op).iter().flat_map(|part| match part {
            Part::Send(_) => &[],
            Part::Poll(range) => &self.reads[range.start as usize..range.end as usize],
        })
    }

    /// The same in runs of one key: each step of a walk that looks a key up is one for many messages.
    pub fn runs_of<'f>(&'f self, op: &'f Op) -> impl Iterator<Item = (KeyId, &'f [Read])> {
        let polls = self.parts_of(op).iter().filter_map(|part| match part {
            Part::Send(_) => None,
            Part::Poll(range) => Some(&self.reads[range.start as usize..range.end as usize]),
        });
        let key = |read: &Read| self.message(read.message).key;
        polls.flat_map(move |reads| {
            reads.chunk_by(move |one, next| key(one) == key(next)).map(move |run| (key(&run[0]), run))
        })
    }

    /// The kind of the operation that sent it.
    pub fn writer_kind(&self, message: &MessageFacts) -> Option<Kind> {
        message.writer.map(|writer| self.op(writer).kind)
    }

    /// Whether the message was acknowledged: its send was `:ok`.
    pub fn acknowledged(&self, message: &MessageFacts) -> bool {
        self.writer_kind(message) == Some(Kind::Ok)
    }

    fn note_readers(&mut self) {
        for (at, op) in self.ops.iter().enumerate() {
            let id = OpId(at as u32);
            for part in &self.parts[op.parts.start as usize..op.parts.end as usize] {
                let Part::Poll(range) = part else { continue };
                for read in &self.reads[range.start as usize..range.end as usize] {
                    let message = &mut self.messages[read.message.0 as usize];
                    let first = *message.any_reader.get_or_insert(id);
                    message.many_readers |= self.ops[first.0 as usize].process != op.process;
                    if op.kind == Kind::Ok {
                        message.ok_reader.get_or_insert(id);
                        let key = &mut self.keys[message.key.0 as usize];
                        key.read_to = key.read_to.max(Some(read.offset));
                    }
                }
            }
        }
    }

    fn decide_what_took_place(&mut self, loss_allowed: bool) {
        for at in 0..self.ops.len() {
            let op = &self.ops[at];
            let proved = |facts: &Facts| facts.sends_of(op).any(|sent| facts.message(sent.message).ok_reader.is_some());
            let took_place = match op.kind {
                Kind::Ok if !loss_allowed => true,
                Kind::Ok | Kind::Info => proved(self),
                Kind::Invoke | Kind::Fail => false,
            };
            self.ops[at].took_place = took_place;
        }
    }

    fn build_logs(&mut self, loss_allowed: bool) {
        let tables = self.keys.iter().map(|_| OffsetTable::default()).collect();
        let mut logs = Logs { tables, keys: &mut self.keys, messages: &mut self.messages };
        for (at, op) in self.ops.iter().enumerate() {
            let id = OpId(at as u32);
            for part in &self.parts[op.parts.start as usize..op.parts.end as usize] {
                match part {
                    Part::Send(at) => {
                        let sent = &self.sent[*at as usize];
                        // Where losses are allowed, what was told of a message that is lost is not in the log.
                        let stands = !loss_allowed || logs.messages[sent.message.0 as usize].any_reader.is_some();
                        if let Some(offset) = sent.place.offset().filter(|_| op.took_place && stands) {
                            logs.put(Read { message: sent.message, offset }, id);
                        }
                    }
                    Part::Poll(range) => {
                        for read in &self.reads[range.start as usize..range.end as usize] {
                            logs.put(*read, id);
                        }
                    }
                }
            }
        }
        let tables = logs.tables;
        for (key, table) in self.keys.iter_mut().zip(tables) {
            key.log = table.into_sorted().map(|(offset, message)| (Offset(offset), MessageId(message))).collect();
        }
    }
}

/// The logs of all keys while they are built.
struct Logs<'f> {
    tables: Vec<OffsetTable>,
    keys: &'f mut [KeyFacts],
    messages: &'f mut [MessageFacts],
}

impl Logs<'_> {
    fn put(&mut self, Read { message, offset }: Read, by: OpId) {
        let facts = &mut self.messages[message.0 as usize];
        let key = facts.key.0 as usize;
        match facts.offset {
            None => facts.offset = Some(offset),
            Some(before) if before != offset => self.keys[key].moved.push((offset, message, by)),
            Some(_) => {}
        }
        if self.tables[key].put(offset.0, message.0) != message.0 {
            self.keys[key].conflicts.push((offset, message, by));
        }
    }
}

/// Numbers keys and messages while it takes the operations' values.
struct Interner<'f, 'a> {
    ids: HashMap<(KeyId, Message), MessageId, Quick>,
    facts: &'f mut Facts<'a>,
}

impl Interner<'_, '_> {
    fn take_all(&mut self) {
        for at in 0..self.facts.ops.len() {
            let op = &self.facts.ops[at];
            if !matches!(op.what, What::Send | What::Poll | What::Txn) {
                continue;
            }
            let line = &self.facts.lines[op.told() as usize];
            let from = self.facts.parts.len() as u32;
            if let Value::Micros(micros) = &line.value {
                for micro in micros {
                    self.take(OpId(at as u32), micro);
                }
            }
            self.facts.ops[at].parts = from..self.facts.parts.len() as u32;
        }
    }

    fn take(&mut self, op: OpId, micro: &Micro) {
        match micro {
            Micro::Send { key, message, place } => {
                let key = self.key(*key);
                let id = self.message(key, *message);
                let facts = &mut self.facts.messages[id.0 as usize];
                if facts.writer.is_some() {
                    self.facts.sent_twice.push((id, op));
                } else {
                    facts.writer = Some(op);
                    facts.told = place.offset();
                }
                self.facts.parts.push(Part::Send(self.facts.sent.len() as u32));
                self.facts.sent.push(Sent { op, message: id, place: *place });
            }
            Micro::Poll(keys) => {
                let from = self.facts.reads.len() as u32;
                for polled in keys.iter().flatten() {
                    let key = self.key(polled.key);
                    for (offset, message) in &polled.messages {
                        let read = Read { message: self.message(key, *message), offset: *offset };
                        self.facts.reads.push(read);
                    }
                }
                self.facts.parts.push(Part::Poll(from..self.facts.reads.len() as u32));
            }
        }
    }

    fn key(&mut self, key: Key) -> KeyId {
        let next_key = KeyId(self.facts.keys.len() as u32);
        let key_id = *self.facts.key_ids.entry(key).or_insert(next_key);
        if key_id == next_key {
            self.facts.keys.push(KeyFacts { key: Some(key), ..KeyFacts::default() });
        }
        key_id
    }

    fn message(&mut self, key_id: KeyId, value: Message) -> MessageId {
        let next = MessageId(self.facts.messages.len() as u32);
        let id = *self.ids.entry((key_id, value)).or_insert(next);
        if id == next {
            self.facts.messages.push(MessageFacts {
                key: key_id,
                value,
                writer: None,
                told: None,
                offset: None,
                ok_reader: None,
                any_reader: None,
                many_readers: false,
            });
        }
        id
    }
}
