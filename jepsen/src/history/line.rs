//! What a line of a history holds.
//!
//! Keys, offsets and messages are types of their own, so that no two of them are mixed up. A key stands for a
//! partition of a topic; a message is a value that a client sent, unique within its key over the whole run.

use crate::history::edn::Edn;
use std::fmt;

/// A partition of a topic, in the history of sends and polls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(pub u64);

/// A place in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Offset(pub u64);

/// What was sent: an integer that is unique within its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Message(pub u64);

impl fmt::Display for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.0)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.0)
    }
}

impl fmt::Display for Message {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.0)
    }
}

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// 0, 1, 2 … down the file; counted by the reader where the file has none.
    pub index: u64,
    /// Nanoseconds since the run began, of one monotonic clock.
    pub time: u64,
    pub process: Process,
    pub kind: Kind,
    pub f: F,
    pub value: Value,
    pub error: Option<ErrorText>,
    /// `:seek-to-beginning?`, of an `assign`.
    pub seek_to_beginning: bool,
    /// `:consistency :linearizable`, of a `poll`: ours, others' checkers skip it.
    pub linearizable: bool,
    /// `:rebalance-log`: keys that were taken or given while a poll ran.
    pub rebalanced: Vec<Key>,
}

/// Who did it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Process {
    Client(u64),
    /// Whatever makes the faults.
    Nemesis,
}

impl fmt::Display for Process {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Process::Client(number) => write!(out, "{number}"),
            Process::Nemesis => out.write_str("nemesis"),
        }
    }
}

/// What kind of line it is, `:type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Invoke,
    /// It took place.
    Ok,
    /// It surely never took place, now or later.
    Fail,
    /// It may have taken place, or may yet.
    Info,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Invoke => "invoke",
            Kind::Ok => "ok",
            Kind::Fail => "fail",
            Kind::Info => "info",
        }
    }
}

/// What is done, `:f`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum F {
    Send,
    Poll,
    /// Sends and polls that are one transaction.
    Txn,
    Assign,
    Subscribe,
    Crash,
    DebugTopicPartitions,
    /// Of the history of a log's end.
    Append,
    End,
    /// A member of a consumer group was given keys. Ours: others' checkers skip it.
    Own,
    /// A consumer group's offsets were committed. Ours, too.
    Commit,
    /// A consumer group's committed offsets were read. Ours, too.
    Committed,
    /// The name of a fault; of a client, something that the checker counts and otherwise skips.
    Named(Box<str>),
}

impl F {
    pub fn named(name: &str) -> F {
        match name {
            "send" => F::Send,
            "poll" => F::Poll,
            "txn" => F::Txn,
            "assign" => F::Assign,
            "subscribe" => F::Subscribe,
            "crash" => F::Crash,
            "debug-topic-partitions" => F::DebugTopicPartitions,
            "append" => F::Append,
            "end" => F::End,
            "own" => F::Own,
            "commit" => F::Commit,
            "committed" => F::Committed,
            other => F::Named(other.into()),
        }
    }

    pub fn name(&self) -> &str {
        match self {
            F::Send => "send",
            F::Poll => "poll",
            F::Txn => "txn",
            F::Assign => "assign",
            F::Subscribe => "subscribe",
            F::Crash => "crash",
            F::DebugTopicPartitions => "debug-topic-partitions",
            F::Append => "append",
            F::End => "end",
            F::Own => "own",
            F::Commit => "commit",
            F::Committed => "committed",
            F::Named(name) => name,
        }
    }
}

/// What an operation was asked for and what it got, `:value`.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Nil,
    /// Of `send`, `poll` and `txn`.
    Micros(Vec<Micro>),
    /// Of `assign`, `subscribe` and `debug-topic-partitions`.
    Keys(Vec<Key>),
    /// Of `append`.
    Append(LogKey, Append),
    /// Of `end`: the offset that the next record will get.
    End(LogKey, Option<u64>),
    /// Of `own`, `commit` and `committed`.
    Group(GroupValue),
    /// Of faults, and of what nobody checks.
    Other(Edn),
}

impl Value {
    /// The names of what a fault hits: `["n1" "n2"]`.
    pub fn names<Name: Into<String>>(names: impl IntoIterator<Item = Name>) -> Value {
        Value::Other(Edn::Vector(names.into_iter().map(|name| Edn::Text(name.into())).collect()))
    }
}

/// A part of a `send`, `poll` or `txn`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Micro {
    Send {
        key: Key,
        message: Message,
        place: Place,
    },
    /// What was delivered, in order; nothing in an invocation, and where the answer is not known.
    Poll(Option<Vec<Polled>>),
}

/// What one poll delivered of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Polled {
    pub key: Key,
    pub messages: Vec<(Offset, Message)>,
}

/// Where a message landed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// `[:send k v]`: asked for; in a completion: nothing is known.
    Asked,
    /// `[:send k [nil v]]`: no offset was told, as with `acks=0`.
    Untold,
    /// `[:send k [offset v]]`.
    At(Offset),
}

impl Place {
    pub fn offset(self) -> Option<Offset> {
        match self {
            Place::At(offset) => Some(offset),
            Place::Asked | Place::Untold => None,
        }
    }
}

/// A partition, in the history of a log's end.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LogKey {
    Number(u64),
    Name(Box<str>),
}

impl fmt::Display for LogKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogKey::Number(number) => write!(out, "{number}"),
            LogKey::Name(name) => out.write_str(name),
        }
    }
}

/// What an `append` asked for and what it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Append {
    /// Records.
    pub n: u64,
    /// Only if the log's end is this; at any end where missing.
    pub at: Option<u64>,
    /// Where the first one landed, of an `:ok`.
    pub offset: Option<u64>,
    /// Where the end was, of a `:fail`.
    pub end: Option<u64>,
}

impl Append {
    /// What an invocation asks for.
    pub fn of(n: u64, at: Option<u64>) -> Append {
        Append { n, at, offset: None, end: None }
    }
}

/// What a consumer group did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupValue {
    pub group: String,
    pub member: String,
    pub generation: Option<u64>,
    /// What a member was given.
    pub keys: Vec<Key>,
    /// What was committed: the offset of the next message to be read.
    pub offsets: Vec<(Key, Offset)>,
}

/// Why an operation is `:fail` or `:info`: for people, and for `:wrong-offset`.
#[derive(Clone, Debug, PartialEq)]
pub struct ErrorText(pub Box<Edn>);

impl ErrorText {
    /// `:timeout`
    pub fn keyword(name: &str) -> ErrorText {
        ErrorText(Box::new(Edn::Keyword(name.to_owned())))
    }

    /// `[:http 503 "…"]`
    pub fn http(status: u16, text: &str) -> ErrorText {
        let parts = vec![Edn::Keyword("http".to_owned()), Edn::Int(status.into()), Edn::Text(text.to_owned())];
        ErrorText(Box::new(Edn::Vector(parts)))
    }

    /// `[:io "…"]`: a kind, and what the system said.
    pub fn detailed(kind: &str, text: &str) -> ErrorText {
        ErrorText(Box::new(Edn::Vector(vec![Edn::Keyword(kind.to_owned()), Edn::Text(text.to_owned())])))
    }

    /// Whether it is this keyword, or a vector that begins with it.
    pub fn is(&self, name: &str) -> bool {
        match &*self.0 {
            Edn::Vector(parts) => parts.first().and_then(Edn::name) == Some(name),
            one => one.name() == Some(name),
        }
    }
}

impl fmt::Display for ErrorText {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.0)
    }
}
