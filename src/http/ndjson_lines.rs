//! A stream's bytes, and its lines.
//!
//! Invariants: at most one incomplete line is kept, and never more of it than a line may have; lines are numbered
//! from 1, blank ones counted and passed over.

use super::body::{self, Encoding, ZSTD_WINDOW_LOG_MAX};
use super::problem::{self, Problem};
use async_compression::tokio::bufread::{GzipDecoder, ZstdDecoder};
use async_compression::zstd::DParameter;
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures::TryStreamExt;
use std::io;
use std::pin::Pin;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_util::io::StreamReader;

/// The body of a stream, inflated where it has to be.
pub enum Source {
    Plain(Body),
    Inflated { reader: Pin<Box<dyn AsyncRead + Send>>, buffer: BytesMut },
}

/// How much is inflated at a time.
const INFLATED_BYTES: usize = 128 << 10;

/// Marks errors of the connection, as opposed to those of the compression.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct BodyBroke(axum::Error);

impl Source {
    pub fn new(body: Body, encoding: Encoding) -> Source {
        if encoding == Encoding::Identity {
            return Source::Plain(body);
        }
        let reader = StreamReader::new(body.into_data_stream().map_err(|error| io::Error::other(BodyBroke(error))));
        let reader: Pin<Box<dyn AsyncRead + Send>> = if encoding == Encoding::Gzip {
            let mut decoder = GzipDecoder::new(reader);
            decoder.multiple_members(true);
            Box::pin(decoder)
        } else {
            let window = DParameter::window_log_max(ZSTD_WINDOW_LOG_MAX);
            let mut decoder = ZstdDecoder::with_params(reader, &[window]);
            decoder.multiple_members(true);
            Box::pin(decoder)
        };
        Source::Inflated { reader, buffer: BytesMut::new() }
    }

    /// The next bytes; `None` at the end. Nothing is lost when this is dropped while it waits.
    pub async fn next(&mut self, pause_max: Duration) -> Result<Option<Bytes>, Problem> {
        match self {
            Source::Plain(body) => body::next_data(body, pause_max).await,
            Source::Inflated { reader, buffer } => {
                buffer.reserve(INFLATED_BYTES);
                match tokio::time::timeout(pause_max, reader.read_buf(buffer)).await {
                    Err(_) => Err(body::paused(pause_max)),
                    Ok(Ok(0)) => Ok(None),
                    Ok(Ok(_)) => Ok(Some(buffer.split().freeze())),
                    Ok(Err(error)) if error.get_ref().is_some_and(|inner| inner.is::<BodyBroke>()) => {
                        Err(body::incomplete(&error))
                    }
                    Ok(Err(error)) => Err(body::bad_compression(&error)),
                }
            }
        }
    }
}

/// Cuts bytes into lines.
pub struct Lines {
    carry: BytesMut,
    /// Number of the line that is being read.
    line: u64,
    /// The line being read is too long: the rest of it is passed over.
    passing_over: bool,
    line_bytes_max: usize,
}

impl Lines {
    pub fn new(line_bytes_max: usize) -> Lines {
        Lines { carry: BytesMut::new(), line: 1, passing_over: false, line_bytes_max }
    }

    /// Number of the last complete line.
    pub fn complete(&self) -> u64 {
        self.line - 1
    }

    /// Gives each line that `data` completes to `take`, with its number; ends early where that fails.
    pub fn feed<E>(
        &mut self,
        data: &[u8],
        mut take: impl FnMut(u64, Result<&[u8], Problem>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut rest = data;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (head, tail) = (&rest[..end], &rest[end + 1..]);
            rest = tail;
            self.line += 1;
            if self.passing_over {
                self.passing_over = false;
                continue;
            }
            if self.carry.is_empty() {
                self.give(head, &mut take)?;
            } else {
                self.carry.extend_from_slice(head);
                let line = self.carry.split();
                self.give(&line, &mut take)?;
            }
        }
        if self.passing_over {
            return Ok(());
        }
        if self.carry.len() + rest.len() > self.line_bytes_max {
            self.carry = BytesMut::new();
            self.passing_over = true;
            return take(self.line, Err(self.too_long()));
        }
        self.carry.extend_from_slice(rest);
        Ok(())
    }

    /// Gives the last line, if it came without a line end.
    pub fn end<E>(&mut self, mut take: impl FnMut(u64, Result<&[u8], Problem>) -> Result<(), E>) -> Result<(), E> {
        if self.carry.is_empty() {
            return Ok(());
        }
        self.line += 1;
        let line = self.carry.split();
        self.give(&line, &mut take)
    }

    #[inline]
    fn give<E>(
        &self,
        line: &[u8],
        take: &mut impl FnMut(u64, Result<&[u8], Problem>) -> Result<(), E>,
    ) -> Result<(), E> {
        let number = self.line - 1;
        if line.len() > self.line_bytes_max {
            return take(number, Err(self.too_long()));
        }
        let line = line.trim_ascii();
        if line.is_empty() { Ok(()) } else { take(number, Ok(line)) }
    }

    fn too_long(&self) -> Problem {
        let limit = self.line_bytes_max;
        Problem::new(&problem::LINE_TOO_LONG, format!("the line is longer than {limit} bytes; send smaller records"))
            .with("limit", limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(pieces: &[&[u8]], max: usize) -> Vec<(u64, Option<Vec<u8>>)> {
        let mut lines = Lines::new(max);
        let mut found = Vec::new();
        let mut take = |number, line: Result<&[u8], Problem>| {
            found.push((number, line.ok().map(<[u8]>::to_vec)));
            Ok::<(), ()>(())
        };
        for piece in pieces {
            lines.feed(piece, &mut take).unwrap();
        }
        lines.end(&mut take).unwrap();
        found
    }

    #[test]
    fn lines_are_numbered_and_blank_ones_passed_over() {
        let found = cut(&[b"a\n\r\n", b"b", b"b\nc"], 10);
        assert_eq!(found, [(1, Some(b"a".to_vec())), (3, Some(b"bb".to_vec())), (4, Some(b"c".to_vec()))]);
    }

    #[test]
    fn long_lines_are_reported_once() {
        let found = cut(&[b"aaa", b"aaa", b"aaa\nb\ncccccccc\nd"], 5);
        assert_eq!(found, [(1, None), (2, Some(b"b".to_vec())), (3, None), (4, Some(b"d".to_vec()))]);
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(text in "[a\n ]{0,60}", cuts in prop::collection::vec(0usize..60, 0..6), max in 1usize..8) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut begin = 0;
            for end in cuts {
                pieces.push(&text.as_bytes()[begin..end]);
                begin = end;
            }
            pieces.push(&text.as_bytes()[begin..]);
            let whole: Vec<_> = text.split('\n').zip(1..)
                .filter(|(line, _)| line.len() > max || !line.trim().is_empty())
                .map(|(line, number)| (number, (line.len() <= max).then(|| line.trim().as_bytes().to_vec())))
                .collect();
            prop_assert_eq!(cut(&pieces, max), whole);
        }
    }
}
