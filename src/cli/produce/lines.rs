//! Lines of input as lines of ndjson, made on a thread of their own and handed over in large chunks.

use crate::cli::exit::Failure;
use base64::Engine;
use bytes::Bytes;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;

/// How much is read at a time.
const READ_BYTES: usize = 256 * 1024;
/// A line that is longer than this is no line: the server takes records up to 1 MiB unless told otherwise.
const LINE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Where lines come from.
pub enum Source {
    Standard,
    File(File),
}

impl Source {
    pub fn open(file: Option<&Path>) -> Result<Source, Failure> {
        let Some(path) = file.filter(|path| *path != Path::new("-")) else { return Ok(Source::Standard) };
        let opened = File::open(path);
        opened.map(Source::File).map_err(|error| Failure::failed(format_args!("{}: {error}", path.display())))
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Source::Standard => io::stdin().lock().read(buffer),
            Source::File(file) => file.read(buffer),
        }
    }
}

/// What a line becomes.
pub enum LineFormat {
    /// It is a record as the API takes it.
    Records,
    /// It is a value, or key and value.
    Values {
        /// What stands before the key (or the value) in each record.
        before: Vec<u8>,
        separator: Option<Vec<u8>>,
        /// What stands behind the value.
        after: Vec<u8>,
    },
}

impl LineFormat {
    pub fn values(key: Option<&str>, separator: Option<&str>, headers: &[(String, String)]) -> LineFormat {
        let mut before = b"{".to_vec();
        if let Some(key) = key {
            before.extend_from_slice(b"\"key\":");
            push_string(&mut before, key.as_bytes());
            before.push(b',');
        }
        let mut after = Vec::new();
        if !headers.is_empty() {
            after.extend_from_slice(b",\"headers\":");
            after.extend_from_slice(serde_json::json!(headers).to_string().as_bytes());
        }
        after.extend_from_slice(b"}\n");
        LineFormat::Values { before, separator: separator.map(|text| text.as_bytes().to_vec()), after }
    }

    /// Appends the record that `line` stands for.
    fn push(&self, out: &mut Vec<u8>, line: &[u8]) -> Result<(), String> {
        match self {
            LineFormat::Records => {
                out.extend_from_slice(line);
                out.push(b'\n');
            }
            LineFormat::Values { before, separator, after } => {
                out.extend_from_slice(before);
                let mut value = line;
                if let Some(separator) = separator {
                    let (key, rest) = split_at(line, separator).ok_or("the line has no key separator")?;
                    out.extend_from_slice(b"\"key\":");
                    push_string(out, key);
                    out.push(b',');
                    value = rest;
                }
                out.extend_from_slice(b"\"value\":");
                push_string(out, value);
                out.extend_from_slice(after);
            }
        }
        Ok(())
    }
}

fn split_at<'a>(line: &'a [u8], separator: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = line.windows(separator.len()).position(|window| window == separator)?;
    Some((&line[..at], &line[at + separator.len()..]))
}

/// Appends bytes as a JSON string, or as base64 where they are not UTF-8: what is stored is these bytes either way.
fn push_string(out: &mut Vec<u8>, bytes: &[u8]) {
    if std::str::from_utf8(bytes).is_err() {
        out.extend_from_slice(b"{\"base64\":\"");
        out.extend_from_slice(base64::engine::general_purpose::STANDARD.encode(bytes).as_bytes());
        out.extend_from_slice(b"\"}");
        return;
    }
    out.push(b'"');
    let mut plain_from = 0;
    for (at, byte) in bytes.iter().enumerate() {
        if *byte >= 0x20 && *byte != b'"' && *byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[plain_from..at]);
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
        }
        plain_from = at + 1;
    }
    out.extend_from_slice(&bytes[plain_from..]);
    out.push(b'"');
}

/// The reading of lines, under way.
pub struct Reading {
    failure: Arc<Mutex<Option<Failure>>>,
}

impl Reading {
    /// Why it ended early, if it did. Whole only once the server has seen the end of the stream.
    pub fn failure(&self) -> Option<Failure> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Begins to read. The chunks end with the input, at a line that cannot be sent, or when nobody takes them any more.
pub fn read_on_a_thread(source: Source, format: LineFormat, chunks: mpsc::Sender<Bytes>) -> Result<Reading, Failure> {
    let failure = Arc::new(Mutex::new(None));
    let told = failure.clone();
    let work = move || {
        if let Err(failure) = read(source, &format, &chunks) {
            *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
        }
    };
    std::thread::Builder::new()
        .name("lines".to_owned())
        .spawn(work)
        .map_err(|error| Failure::failed(format_args!("a thread cannot be started: {error}")))?;
    Ok(Reading { failure })
}

fn read(mut source: Source, format: &LineFormat, chunks: &mpsc::Sender<Bytes>) -> Result<(), Failure> {
    let mut buffer = vec![0; READ_BYTES];
    // The beginning of a line whose end was not read yet.
    let mut begun: Vec<u8> = Vec::new();
    let mut number = 0u64;
    loop {
        let count = source.read(&mut buffer).map_err(|error| Failure::failed(format_args!("the input: {error}")))?;
        let mut out = Vec::with_capacity(count + count / 4 + 64);
        let mut rest = &buffer[..count];
        let mut wrong = None;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, behind) = (&rest[..end], &rest[end + 1..]);
            number += 1;
            let pushed = if begun.is_empty() {
                format.push(&mut out, without_carriage_return(line))
            } else {
                begun.extend_from_slice(line);
                format.push(&mut out, without_carriage_return(&begun))
            };
            begun.clear();
            rest = behind;
            if let Err(reason) = pushed {
                wrong = Some(reason);
                break;
            }
        }
        begun.extend_from_slice(if wrong.is_some() { b"" } else { rest });
        if count == 0 && !begun.is_empty() {
            number += 1;
            wrong = format.push(&mut out, &begun).err();
        }
        if begun.len() > LINE_BYTES_MAX {
            (number, wrong) = (number + 1, Some(format!("the line is longer than {LINE_BYTES_MAX} bytes")));
        }
        if !out.is_empty() && chunks.blocking_send(out.into()).is_err() {
            return Ok(());
        }
        if let Some(reason) = wrong {
            return Err(Failure::usage(format_args!("line {number}: {reason}; the lines before it were sent")));
        }
        if count == 0 {
            return Ok(());
        }
    }
}

fn without_carriage_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converted(format: &LineFormat, input: &[u8]) -> (String, Option<String>) {
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, input).unwrap();
        io::Seek::rewind(&mut file).unwrap();
        let (sender, mut chunks) = mpsc::channel(1000);
        let failure = read(Source::File(file), format, &sender).err().map(|failure| failure.to_string());
        let mut out = Vec::new();
        while let Ok(chunk) = chunks.try_recv() {
            out.extend_from_slice(&chunk);
        }
        (String::from_utf8(out).unwrap(), failure)
    }

    #[test]
    fn each_line_is_a_value() {
        let format = LineFormat::values(None, None, &[]);
        let (out, failure) = converted(&format, b"a\n\n\"q\\\"\t\x01\r\n\xff\nlast");
        assert_eq!(failure, None);
        let expected = [r#""a""#, r#""""#, r#""\"q\\\"\t\u0001""#, r#"{"base64":"/w=="}"#, r#""last""#];
        let expected: String = expected.iter().map(|value| format!("{{\"value\":{value}}}\n")).collect();
        assert_eq!(out, expected);
    }

    #[test]
    fn keys_and_headers_are_added() {
        let headers = [("h".to_owned(), "1".to_owned())];
        let (out, _) = converted(&LineFormat::values(Some("k"), None, &headers), b"v\n");
        assert_eq!(out, "{\"key\":\"k\",\"value\":\"v\",\"headers\":[[\"h\",\"1\"]]}\n");
        let (out, failure) = converted(&LineFormat::values(None, Some("::"), &[]), b"a::b::c\nnone\nx::y\n");
        assert_eq!(out, "{\"key\":\"a\",\"value\":\"b::c\"}\n{");
        assert_eq!(failure.unwrap(), "line 2: the line has no key separator; the lines before it were sent");
    }

    #[test]
    fn lines_across_reads_stay_whole() {
        let long = "x".repeat(READ_BYTES + 10);
        let (out, _) = converted(&LineFormat::Records, format!("{long}\nshort\n{long}").as_bytes());
        assert_eq!(out, format!("{long}\nshort\n{long}\n"));
    }
}
