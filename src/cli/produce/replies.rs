//! What the server says while lines are sent: runs that were appended, lines that were refused, the end.

use super::refused;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::servers::{Output, grouped};
use crate::client::{ClientError, Problem};
use bytes::BytesMut;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Deserialize;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// How often progress is shown.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

#[derive(Default, Deserialize)]
#[serde(default)]
struct Reply {
    count: u64,
    done: Option<bool>,
    records: Option<u64>,
    line: Option<u64>,
    error: Option<Problem>,
}

/// The answer, as far as it was read.
pub struct Replies {
    pub records: u64,
    pub refused: u64,
    /// The problem that ended the stream.
    last: Option<Failure>,
    done: bool,
    progress: bool,
    shown: Option<Instant>,
}

impl Replies {
    pub fn new(output: Output) -> Replies {
        let progress = output == Output::Text && io::stderr().is_terminal();
        Replies { records: 0, refused: 0, last: None, done: false, progress, shown: None }
    }

    /// Reads to the end.
    ///
    /// # Errors
    /// Where the stream ends before the server said so.
    pub async fn read(&mut self, mut body: Incoming) -> Result<(), String> {
        let mut waiting = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| format!("the connection broke ({error})"))?;
            let Ok(data) = frame.into_data() else { continue };
            waiting.extend_from_slice(&data);
            while let Some(end) = waiting.iter().position(|byte| *byte == b'\n') {
                let line = waiting.split_to(end + 1);
                self.take(&line)?;
            }
        }
        if !waiting.is_empty() {
            self.take(&waiting)?;
        }
        if self.done { Ok(()) } else { Err("the answer ended early".to_owned()) }
    }

    fn take(&mut self, line: &[u8]) -> Result<(), String> {
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        let reply: Reply =
            serde_json::from_slice(line).map_err(|error| format!("the answer is not understood ({error})"))?;
        self.records += reply.count;
        if let Some(problem) = reply.error {
            let at = reply.line.map_or_else(String::new, |line| format!("line {line}: "));
            let text = format!("{at}{}", problem.text());
            if reply.done.is_none() {
                self.refused += 1;
                self.say(&text);
            } else {
                let failure = Failure::from(ClientError::Problem(Box::new(problem)));
                self.last = Some(failure.reworded(format!("{text} (the lines before it were written)")));
            }
        }
        if let Some(done) = reply.done {
            self.done = true;
            self.records = if done { reply.records.unwrap_or(self.records) } else { self.records };
        }
        self.show_progress();
        Ok(())
    }

    /// How it went, once read to the end.
    pub fn outcome(self) -> Outcome {
        match self.last {
            Some(failure) => Err(failure),
            None if self.refused > 0 => Err(refused(self.refused)),
            None => Ok(()),
        }
    }

    /// Writes a line to standard error, over the progress if that is shown.
    pub fn say(&self, text: &str) {
        let over = if self.progress { "\r\x1b[K" } else { "" };
        // Where nobody reads it, nobody misses it.
        let _ = writeln!(io::stderr(), "{over}{text}");
    }

    fn show_progress(&mut self) {
        if self.progress && self.shown.is_none_or(|shown| shown.elapsed() >= PROGRESS_INTERVAL) {
            self.shown = Some(Instant::now());
            let _ = write!(io::stderr(), "\r\x1b[K{} records acknowledged", grouped(self.records));
        }
    }
}
