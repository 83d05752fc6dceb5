//! Histories: what each client did, what it was told, and what was broken meanwhile.
//!
//! A run writes two files, one EDN map a line, in the form that `jepsen.tests.kafka` reads: `history.edn` (sends and
//! polls) and, where the workload has them, `log-end.edn` (linearizable reads of a log's end, and appends at a given
//! end). Each file has one [`Recorder`], shared by all that happens in the run: **the order of its lines is real
//! time**. An invocation is written before its first byte goes out, a completion after its answer is in; whoever
//! records otherwise makes false cycles, or hides true ones.
//!
//! | module | what it does |
//! |---|---|
//! | `line` | a line's types |
//! | `recorder` | writes lines while a run goes on |
//! | `file` | reads a file again, that of a killed run too |
//! | `quick` | the shortcut for most lines |
//! | `typed` | a line from EDN and back |
//! | `edn` | EDN itself |
//!
//! Invariants of a file: indices and times rise; a process has at most one operation open; a client's `:info` ends its
//! process. What a history *means* is no matter of this module: see `crate::check`.

pub mod edn;
mod edn_read;
mod file;
mod line;
mod quick;
mod recorder;
mod typed;

pub use edn::Edn;
pub use file::{History, Unusable};
pub use line::{
    Append, ErrorText, F, GroupValue, Key, Kind, Line, LogKey, Message, Micro, Offset, Place, Polled, Process, Value,
};
pub use recorder::{Operation, Recorder};

/// The name of the history of sends and polls, in a run's directory.
pub const HISTORY_FILE: &str = "history.edn";
/// The name of the history of a log's end.
pub const LOG_END_FILE: &str = "log-end.edn";
