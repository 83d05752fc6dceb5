//! Writes a history while the run goes on.
//!
//! One lock orders all lines: whoever holds it takes the next index and the time, and writes; so the order of the
//! lines is an order in which things can have happened. What was written reaches the file within [`FLUSH`], by a
//! thread of its own, so that the history of a run that is killed can be checked as well.
//!
//! A file that cannot be written to is remembered and told by [`Recorder::close`]; the run goes on meanwhile.
//! Two invocations of one process at a time are a mistake of the runner, and stop it.

use crate::history::line::{ErrorText, F, Key, Kind, Line, Micro, Process, Value};
use parking_lot::{Condvar, Mutex};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How old a line can be that is not in the file yet.
pub const FLUSH: Duration = Duration::from_millis(200);

const BUFFER_BYTES: usize = 256 << 10;

/// A history that is being written. Clones write to the same one.
#[derive(Clone)]
pub struct Recorder {
    shared: Arc<Shared>,
}

struct Shared {
    start: Instant,
    state: Mutex<State>,
    closing: Condvar,
    flusher: Mutex<Option<JoinHandle<()>>>,
}

struct State {
    out: BufWriter<File>,
    next_index: u64,
    /// Each process's operation that has no completion yet, with its value.
    open: BTreeMap<Process, (F, Value)>,
    failed: Option<io::Error>,
    closed: bool,
}

/// An invocation that waits for its completion. One that is dropped gets its `:info` at the end.
#[derive(Debug)]
#[must_use = "an operation that is never completed stays open until the end of the run"]
pub struct Operation {
    process: Process,
    f: F,
    marks: Marks,
}

/// What an operation's lines say beside the value.
#[derive(Clone, Copy, Debug, Default)]
struct Marks {
    seek_to_beginning: bool,
    linearizable: bool,
}

impl Marks {
    fn put(self, line: &mut Line) {
        line.seek_to_beginning = self.seek_to_beginning;
        line.linearizable = self.linearizable;
    }
}

impl Operation {
    pub fn process(&self) -> Process {
        self.process
    }

    pub fn f(&self) -> &F {
        &self.f
    }
}

impl Recorder {
    /// Makes the file anew. Times count from `start`, which all recorders of a run share.
    pub fn create(path: &Path, start: Instant) -> io::Result<Recorder> {
        let out = BufWriter::with_capacity(BUFFER_BYTES, File::create(path)?);
        let state = State { out, next_index: 0, open: BTreeMap::new(), failed: None, closed: false };
        let shared =
            Arc::new(Shared { start, state: Mutex::new(state), closing: Condvar::new(), flusher: Mutex::new(None) });
        let flushed = Arc::downgrade(&shared);
        let flush = move || while flushed.upgrade().is_some_and(|shared| shared.flush_once()) {};
        let thread = std::thread::Builder::new().name("history-flush".to_owned()).spawn(flush)?;
        *shared.flusher.lock() = Some(thread);
        Ok(Recorder { shared })
    }

    /// The run's clock: nanoseconds since its start.
    pub fn now_ns(&self) -> u64 {
        nanoseconds(self.shared.start)
    }

    /// Writes an invocation. It is in the history when this returns, so before the first byte goes out.
    ///
    /// # Panics
    /// If the process has an operation open: give an answer to one before you ask for the next.
    pub fn invoke(&self, process: Process, f: F, value: Value) -> Operation {
        self.begin(process, f, value, Marks::default())
    }

    /// A `:poll` that asks for `consistency=linearizable`, and says so.
    ///
    /// # Panics
    /// As [`Recorder::invoke`].
    pub fn invoke_linearizable_poll(&self, process: Process) -> Operation {
        let marks = Marks { linearizable: true, ..Marks::default() };
        self.begin(process, F::Poll, Value::Micros(vec![Micro::Poll(None)]), marks)
    }

    /// An `:assign`; it says so if it seeks to the beginning.
    ///
    /// # Panics
    /// As [`Recorder::invoke`].
    pub fn invoke_assign(&self, process: Process, keys: Vec<Key>, seek_to_beginning: bool) -> Operation {
        let marks = Marks { seek_to_beginning, ..Marks::default() };
        self.begin(process, F::Assign, Value::Keys(keys), marks)
    }

    fn begin(&self, process: Process, f: F, value: Value, marks: Marks) -> Operation {
        let mut state = self.shared.state.lock();
        let before = state.open.insert(process, (f.clone(), value.clone()));
        assert!(before.is_none(), "process {process} invokes {} while {before:?} is open", f.name());
        state.write(self.shared.start, process, Kind::Invoke, f.clone(), value, |line| marks.put(line));
        Operation { process, f, marks }
    }

    /// Writes a completion, whose value repeats the invocation's with the results put in.
    pub fn complete(&self, operation: Operation, kind: Kind, value: Value, error: Option<ErrorText>) {
        self.complete_rebalanced(operation, kind, value, error, vec![]);
    }

    /// The same, of a poll during which keys were taken or given.
    pub fn complete_rebalanced(
        &self,
        operation: Operation,
        kind: Kind,
        value: Value,
        error: Option<ErrorText>,
        rebalanced: Vec<Key>,
    ) {
        assert_ne!(kind, Kind::Invoke, "a completion is :ok, :fail or :info");
        let Operation { process, f, marks } = operation;
        let mut state = self.shared.state.lock();
        // After the end it has its :info already.
        if state.open.remove(&process).is_none() {
            return;
        }
        state.write(self.shared.start, process, kind, f, value, |line| {
            line.error = error;
            marks.put(line);
            line.rebalanced = rebalanced;
        });
    }

    /// An operation whose outcome is not known, with the value that was asked for.
    pub fn unknown(&self, operation: Operation, error: ErrorText) {
        let mut state = self.shared.state.lock();
        let Some((f, value)) = state.open.remove(&operation.process) else { return };
        state.write(self.shared.start, operation.process, Kind::Info, f, value, |line| {
            line.error = Some(error);
            operation.marks.put(line);
        });
    }

    /// A line of what makes the faults: one when a fault begins, one when it is done.
    pub fn nemesis(&self, fault: &str, value: Value) {
        let mut state = self.shared.state.lock();
        state.write(self.shared.start, Process::Nemesis, Kind::Info, F::named(fault), value, |_| {});
    }

    /// Ends the history: an operation still open gets its `:info`, and the file is on disk. What comes later is not
    /// written. Tells the first error that any write had.
    pub fn close(&self) -> io::Result<()> {
        let mut state = self.shared.state.lock();
        for (process, (f, value)) in std::mem::take(&mut state.open) {
            let error = ErrorText::keyword("end-of-run");
            state.write(self.shared.start, process, Kind::Info, f, value, |line| line.error = Some(error));
        }
        let closed_before = std::mem::replace(&mut state.closed, true);
        if !closed_before {
            let synced = state.out.flush().and_then(|()| state.out.get_ref().sync_all());
            state.note(synced);
        }
        let failed = state.failed.take();
        drop(state);
        self.shared.closing.notify_all();
        if let Some(thread) = self.shared.flusher.lock().take() {
            thread.join().map_err(|_| io::Error::other("the thread that flushes the history has panicked"))?;
        }
        failed.map_or(Ok(()), Err)
    }
}

impl Shared {
    /// Waits, flushes; whether to go on.
    fn flush_once(&self) -> bool {
        let mut state = self.state.lock();
        if !state.closed {
            // Half of what is promised: the flush takes time as well.
            self.closing.wait_for(&mut state, FLUSH / 2);
        }
        if state.closed {
            return false;
        }
        let flushed = state.out.flush();
        state.note(flushed);
        true
    }
}

impl State {
    fn write(
        &mut self,
        start: Instant,
        process: Process,
        kind: Kind,
        f: F,
        value: Value,
        more: impl FnOnce(&mut Line),
    ) {
        if self.closed {
            return;
        }
        let mut line = Line {
            index: self.next_index,
            time: nanoseconds(start),
            process,
            kind,
            f,
            value,
            error: None,
            seek_to_beginning: false,
            linearizable: false,
            rebalanced: vec![],
        };
        more(&mut line);
        self.next_index += 1;
        if self.failed.is_none() {
            let written = writeln!(self.out, "{line}");
            self.note(written);
        }
    }

    fn note(&mut self, result: io::Result<()>) {
        if let Err(error) = result {
            self.failed.get_or_insert(error);
        }
    }
}

fn nanoseconds(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_nanos()).expect("a run lasts less than five centuries")
}
