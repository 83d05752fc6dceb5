//! The trace of a history: every event in order, as a checksum, and on demand as text.
//!
//! Two runs of a seed must give the same checksum: that is what "deterministic" means here.

use std::fmt::Arguments;
use std::io::Write;

pub struct Trace {
    checksum: u64,
    lines: u64,
    file: Option<std::io::BufWriter<std::fs::File>>,
}

impl Trace {
    /// `path`: where each line goes, too.
    pub fn new(path: Option<&std::ffi::OsStr>) -> Trace {
        let file = path.map(|path| std::fs::File::create(path).expect("the file of the trace can be made"));
        Trace { checksum: 0xcbf2_9ce4_8422_2325, lines: 0, file: file.map(std::io::BufWriter::new) }
    }

    /// Adds a line.
    pub fn add(&mut self, now_ms: u64, what: Arguments<'_>) {
        let line = format!("{now_ms} {what}");
        // FNV-1a, 64 bits.
        for byte in line.bytes().chain([b'\n']) {
            self.checksum = (self.checksum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.lines += 1;
        tracing::info!(target: "simulation", "{line}");
        if let Some(file) = &mut self.file {
            writeln!(file, "{line}").expect("the trace can be written");
        }
    }

    /// Checksum of all lines.
    pub fn checksum(&self) -> u64 {
        self.checksum
    }

    pub fn lines(&self) -> u64 {
        self.lines
    }
}
