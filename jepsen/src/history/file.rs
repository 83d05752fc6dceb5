//! Reads a history from a file: EDN or JSON a line, gzip or not, whole or of a run that was killed.
//!
//! A last line that is torn is left out with a note, for such is the history of a run that was killed. Anything else
//! that cannot be read makes the whole unusable: to skip a line would hide what it proves.

use crate::history::edn::Edn;
use crate::history::edn_read::{self, Malformed};
use crate::history::line::Line;
use crate::history::{quick, typed};
use flate2::read::MultiGzDecoder;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

/// A history, and what a person should know of how it was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    pub lines: Vec<Line>,
    pub notes: Vec<String>,
}

/// Why a file is no history.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("line {line}: {what}")]
    Line { line: u64, what: String },
}

/// Longer than any line that a client could have caused (a poll of 8 MiB of small messages).
const LINE_BYTES_MAX: u64 = 256 << 20;

impl History {
    /// Reads the file, compressed if it begins as gzip does.
    pub fn read(path: &Path) -> Result<History, Unusable> {
        let mut file = BufReader::with_capacity(1 << 20, File::open(path)?);
        let compressed = file.fill_buf()?.starts_with(&[0x1f, 0x8b]);
        if compressed {
            History::from_reader(BufReader::with_capacity(1 << 20, MultiGzDecoder::new(file)))
        } else {
            History::from_reader(file)
        }
    }

    pub fn from_reader(mut reader: impl BufRead) -> Result<History, Unusable> {
        let mut history = History::default();
        let mut bytes = Vec::new();
        let mut number = 0;
        loop {
            number += 1;
            bytes.clear();
            match reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes) {
                Ok(0) => break,
                Ok(_) => {}
                // A compressed file that was cut: what came before it is good.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    history.notes.push(format!("the compressed file ends early, within line {number}"));
                    break;
                }
                Err(error) => return Err(error.into()),
            }
            let whole = bytes.last() == Some(&b'\n');
            match parse(&bytes, history.lines.len() as u64) {
                Ok(line) => history.lines.extend(line),
                Err(_) if !whole => {
                    history
                        .notes
                        .push(format!("line {number}, the last one, is torn and left out: the run was killed"));
                }
                Err(what) => return Err(Unusable::Line { line: number, what }),
            }
        }
        history.check_order()?;
        Ok(history)
    }

    /// Indices rise. (Times may not: only lag comes from them.)
    fn check_order(&self) -> Result<(), Unusable> {
        for pair in self.lines.windows(2) {
            if pair[1].index <= pair[0].index {
                let what =
                    format!("index {} behind index {}: the order of lines is lost", pair[1].index, pair[0].index);
                return Err(Unusable::Line { line: pair[1].index, what });
            }
        }
        Ok(())
    }
}

/// A line's text, or nothing where it is blank or a comment.
fn parse(bytes: &[u8], counted: u64) -> Result<Option<Line>, String> {
    if let Some(line) = quick::poll(bytes) {
        return Ok(Some(line));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| format!("not UTF-8: {error}"))?;
    let json = text.trim_start().starts_with("{\"");
    let edn = if json {
        serde_json::from_str(text).map(|json| Some(Edn::from_json(json))).map_err(|error| error.to_string())
    } else {
        edn_read::read_line(text).map_err(|Malformed { what, at, .. }| format!("{what} at byte {at}"))
    };
    edn?.map(|edn| typed::line(edn, counted)).transpose()
}
