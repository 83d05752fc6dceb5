//! HTTP/1.1 with as little work as possible: requests are bytes made beforehand, answers are looked at only for status,
//! length and where to read on. The load generator shares its machine with the servers, so what it saves, they get.

use bytes::{Buf, Bytes, BytesMut};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

const READ_BYTES: usize = 256 * 1024;
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// For one answer to be complete; longer than any server tries.
pub const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);

/// The head of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub status: u16,
    pub next_offset: Option<u64>,
    length: Length,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    Known(u64),
    Chunked,
    UntilClose,
}

/// How far a body was read.
pub struct BodyState {
    length: Length,
    /// Of the body, or of the chunk.
    left: u64,
    /// Whether the line end behind a chunk is still to come.
    chunk_open: bool,
    done: bool,
}

/// The answers of a connection.
pub struct Answers {
    read: OwnedReadHalf,
    buffer: BytesMut,
}

/// A connection to one server.
pub struct Wire {
    pub answers: Answers,
    pub write: OwnedWriteHalf,
}

/// An answer that was read whole.
pub struct Answer {
    pub head: Head,
    pub body_bytes: u64,
    /// Only where it was asked for, or where the status is not 2xx.
    pub body: Vec<u8>,
}

impl Wire {
    pub async fn connect(authority: &str) -> io::Result<Wire> {
        let connecting = TcpStream::connect(authority);
        let stream = tokio::time::timeout(CONNECT_TIME_MAX, connecting).await.map_err(|_| late("no connection"))??;
        stream.set_nodelay(true)?;
        let (read, write) = stream.into_split();
        Ok(Wire { answers: Answers { read, buffer: BytesMut::with_capacity(READ_BYTES) }, write })
    }

    /// Sends a request and reads its answer.
    pub async fn exchange(&mut self, request: &[u8], keep_body: bool) -> io::Result<Answer> {
        let whole = async {
            self.write.write_all(request).await?;
            self.answers.answer(keep_body).await
        };
        tokio::time::timeout(ANSWER_TIME_MAX, whole).await.map_err(|_| late("no answer"))?
    }
}

fn late(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("{what} in time"))
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the answer is not HTTP: {what}"))
}

impl Answers {
    async fn answer(&mut self, keep_body: bool) -> io::Result<Answer> {
        let head = self.head().await?;
        let keep_body = keep_body || !(200..300).contains(&head.status);
        let mut answer = Answer { head, body_bytes: 0, body: Vec::new() };
        let mut state = head.body();
        while let Some(piece) = self.piece(&mut state).await? {
            answer.body_bytes += piece.len() as u64;
            if keep_body {
                answer.body.extend_from_slice(&piece);
            }
        }
        Ok(answer)
    }

    /// Reads the next answer's head; informational ones are passed over.
    pub async fn head(&mut self) -> io::Result<Head> {
        let mut searched = 0;
        loop {
            if let Some(at) = self.buffer[searched..].windows(4).position(|window| window == b"\r\n\r\n") {
                let head = parse_head(&self.buffer[..searched + at + 2])?;
                self.buffer.advance(searched + at + 4);
                searched = 0;
                if head.status >= 200 {
                    return Ok(head);
                }
                continue;
            }
            if self.buffer.len() > HEAD_BYTES_MAX {
                return Err(wrong("the head has no end"));
            }
            searched = self.buffer.len().saturating_sub(3);
            self.fill().await?;
        }
    }

    /// The next bytes of the body, as they come; `None` at its end.
    pub async fn piece(&mut self, state: &mut BodyState) -> io::Result<Option<Bytes>> {
        loop {
            if state.done {
                return Ok(None);
            }
            if state.left > 0 || state.length == Length::UntilClose {
                if self.buffer.is_empty() {
                    match self.fill().await {
                        Err(error) if state.length == Length::UntilClose && is_end(&error) => {
                            state.done = true;
                            continue;
                        }
                        filled => filled?,
                    }
                }
                let mut take = self.buffer.len();
                if state.length != Length::UntilClose {
                    take = take.min(usize::try_from(state.left).unwrap_or(usize::MAX));
                    state.left -= take as u64;
                    state.done = state.left == 0 && matches!(state.length, Length::Known(_));
                }
                return Ok(Some(self.buffer.split_to(take).freeze()));
            }
            self.next_chunk(state).await?;
        }
    }

    /// Reads the line that begins a chunk, and the end of the one before.
    async fn next_chunk(&mut self, state: &mut BodyState) -> io::Result<()> {
        if state.chunk_open {
            self.line().await?;
            state.chunk_open = false;
        }
        let line = self.line().await?;
        let digits = line.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        let text = std::str::from_utf8(digits).map_err(|_| wrong("a chunk's length"))?;
        state.left = u64::from_str_radix(text, 16).map_err(|_| wrong("a chunk's length"))?;
        state.chunk_open = true;
        if state.left == 0 {
            while !self.line().await?.is_empty() {}
            state.done = true;
        }
        Ok(())
    }

    async fn line(&mut self) -> io::Result<Bytes> {
        loop {
            if let Some(at) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(at + 1).freeze();
                return Ok(line.slice(..line.trim_ascii_end().len()));
            }
            if self.buffer.len() > HEAD_BYTES_MAX {
                return Err(wrong("a line has no end"));
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> io::Result<()> {
        self.buffer.reserve(READ_BYTES);
        if self.read.read_buf(&mut self.buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }
}

fn is_end(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::UnexpectedEof
}

impl Head {
    pub fn is_ok(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body's beginning.
    pub fn body(&self) -> BodyState {
        let left = if let Length::Known(left) = self.length { left } else { 0 };
        BodyState { length: self.length, left, chunk_open: false, done: self.length == Length::Known(0) }
    }
}

fn parse_head(bytes: &[u8]) -> io::Result<Head> {
    let mut lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let first = lines.next().unwrap_or_default();
    let status = first.get(9..12).and_then(number).ok_or_else(|| wrong("the status line"))?;
    let mut head = Head { status: status as u16, next_offset: None, length: Length::UntilClose };
    for line in lines {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            head.length = Length::Known(number(value).ok_or_else(|| wrong("the content length"))?);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            head.length = Length::Chunked;
        } else if name.eq_ignore_ascii_case(b"balsa-next-offset") {
            head.next_offset = number(value);
        }
    }
    Ok(head)
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// A request, whole.
pub fn request(method: &str, authority: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Bytes {
    let mut out = head_of(method, authority, target, headers);
    out.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
    out.extend_from_slice(body);
    out.into()
}

/// The head of a request whose body follows in chunks.
pub fn chunked_request(method: &str, authority: &str, target: &str, headers: &[(&str, &str)]) -> Bytes {
    let mut out = head_of(method, authority, target, headers);
    out.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
    out.into()
}

fn head_of(method: &str, authority: &str, target: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let mut out = format!("{method} {target} HTTP/1.1\r\nHost: {authority}\r\n");
    for (name, value) in headers {
        out += &format!("{name}: {value}\r\n");
    }
    out.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read_all(bytes: &'static [u8]) -> io::Result<(Head, Vec<u8>)> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let authority = listener.local_addr()?.to_string();
        let serve = async {
            let (mut stream, _) = listener.accept().await?;
            // Cut small, so that every state is met with an empty buffer.
            for piece in bytes.chunks(3) {
                stream.write_all(piece).await?;
                tokio::task::yield_now().await;
            }
            stream.shutdown().await
        };
        let read = async {
            let mut wire = Wire::connect(&authority).await?;
            let answer = wire.answers.answer(true).await?;
            Ok::<_, io::Error>((answer.head, answer.body))
        };
        let (_, answer) = tokio::join!(serve, read);
        answer
    }

    #[tokio::test]
    async fn answers_of_all_framings_are_read() {
        let known =
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\nBalsa-Next-Offset: 7\r\n\r\nhello";
        let (head, body) = read_all(known).await.unwrap();
        assert_eq!((head.status, head.next_offset, body.as_slice()), (200, Some(7), b"hello".as_slice()));
        let chunked =
            b"HTTP/1.1 207 X\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n1\r\n!\r\n0\r\nTrailer: x\r\n\r\n";
        let (head, body) = read_all(chunked).await.unwrap();
        assert_eq!((head.status, body.as_slice()), (207, b"hello!".as_slice()));
        let (head, body) = read_all(b"HTTP/1.1 503 X\r\n\r\nbye").await.unwrap();
        assert_eq!((head.is_ok(), body.as_slice()), (false, b"bye".as_slice()));
        let (_, body) = read_all(b"HTTP/1.1 204 X\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        assert!(body.is_empty());
    }

    #[tokio::test]
    async fn a_cut_answer_is_an_error() {
        for cut in ["HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", "HTTP/1.1 200", "nonsense\r\n\r\n"] {
            assert!(read_all(cut.as_bytes()).await.is_err(), "{cut}");
        }
        assert!(read_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n").await.is_err());
    }
}
