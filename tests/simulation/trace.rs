//! The trace of a history: every event in order, as a checksum, and on demand as text.
//!
//! Two runs of a seed must give the same checksum: that is what "deterministic" means here.

use std::fmt::Arguments;
use std::hash::{DefaultHasher, Hasher};
use std::io::Write;

pub struct Trace {
    /// Of fixed keys, as `new` makes it.
    checksum: DefaultHasher,
    lines: u64,
    file: Option<std::io::BufWriter<std::fs::File>>,
}

impl Trace {
    /// `path`: where each line goes, too.
    pub fn new(path: Option<&std::ffi::OsStr>) -> Trace {
        let file = path.map(|path| std::fs::File::create(path).expect("the file of the trace can be made"));
        Trace { checksum: DefaultHasher::new(), lines: 0, file: file.map(std::io::BufWriter::new) }
    }

    /// Adds a line.
    pub fn add(&mut self, now_ms: u64, what: Arguments<'_>) {
        let line = format!("{now_ms} {what}");
        self.checksum.write(line.as_bytes());
        self.checksum.write_u8(b'\n');
        self.lines += 1;
        tracing::info!(target: "simulation", "{line}");
        if let Some(file) = &mut self.file {
            writeln!(file, "{line}").expect("the trace can be written");
        }
    }

    /// Checksum of all lines.
    pub fn checksum(&self) -> u64 {
        self.checksum.finish()
    }

    pub fn lines(&self) -> u64 {
        self.lines
    }
}
