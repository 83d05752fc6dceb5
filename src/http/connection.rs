//! One client connection: its bytes, its deadlines, and the last word on it.
//!
//! Purpose: what hyper leaves open. A request's head must arrive in time, a connection without requests ends after a
//! while, a client that reads nothing does not hold memory for ever, and refusals that hyper words as an empty answer
//! (broken or too large heads) leave as problems.
//!
//! Invariant: nothing here looks into requests or answers except that one refusal.

use super::problem::{self, Kind, Problem};
use bytes::{Buf, Bytes};
use parking_lot::Mutex;
use std::io::{Error, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// What is known of a connection while it is served. Times are milliseconds since it was accepted, plus one, so that
/// zero can stand for "not now".
pub struct Watch {
    accepted: Instant,
    /// Requests whose answer is not complete.
    open: AtomicU32,
    /// When the first bytes of a request that is not yet complete in its head arrived.
    head_since: AtomicU64,
    idle_since: AtomicU64,
    /// Since when the client has taken no byte of what is to be sent.
    blocked_since: AtomicU64,
    /// HTTP/2 frames are not heads: only the idle deadline holds there.
    heads_timed: bool,
}

/// Why a connection is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expired {
    Head,
    Idle,
    Blocked,
}

impl Watch {
    /// The watch of a connection that was accepted at `accepted`.
    pub fn new(accepted: Instant, heads_timed: bool) -> Watch {
        let head_since = AtomicU64::new(u64::from(heads_timed));
        let (idle_since, blocked_since) = (AtomicU64::new(1), AtomicU64::new(0));
        Watch { accepted, open: AtomicU32::new(0), head_since, idle_since, blocked_since, heads_timed }
    }

    fn now(&self) -> u64 {
        self.accepted.elapsed().as_millis() as u64 + 1
    }

    /// A request's head is complete.
    pub fn begin(self: &Arc<Self>) -> OpenRequest {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.head_since.store(0, Ordering::Relaxed);
        OpenRequest(self.clone())
    }

    fn bytes_came(&self) {
        if self.heads_timed && self.open.load(Ordering::Relaxed) == 0 && self.head_since.load(Ordering::Relaxed) == 0 {
            self.head_since.store(self.now(), Ordering::Relaxed);
        }
    }

    fn write_blocked(&self, blocked: bool) {
        let since = self.blocked_since.load(Ordering::Relaxed);
        if blocked && since == 0 {
            self.blocked_since.store(self.now(), Ordering::Relaxed);
        } else if !blocked && since != 0 {
            self.blocked_since.store(0, Ordering::Relaxed);
        }
    }

    /// When this connection is to be given up if nothing changes, and why.
    pub fn due(&self, head_timeout: Duration, idle_timeout: Duration) -> Option<(Instant, Expired)> {
        let at = |since: u64, timeout: Duration| self.accepted + Duration::from_millis(since - 1) + timeout;
        let blocked = self.blocked_since.load(Ordering::Relaxed);
        if blocked != 0 {
            return Some((at(blocked, idle_timeout), Expired::Blocked));
        }
        if self.open.load(Ordering::Relaxed) > 0 {
            return None;
        }
        match self.head_since.load(Ordering::Relaxed) {
            0 => Some((at(self.idle_since.load(Ordering::Relaxed), idle_timeout), Expired::Idle)),
            since => Some((at(since, head_timeout), Expired::Head)),
        }
    }
}

/// Held until a request's answer is complete.
pub struct OpenRequest(Arc<Watch>);

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.0.idle_since.store(self.0.now(), Ordering::Relaxed);
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Where a [`ClientStream`] leaves its socket when hyper lets go of it.
pub type Returned = Arc<Mutex<Option<TcpStream>>>;

/// A client's socket as hyper sees it.
pub struct ClientStream {
    /// Present until dropped.
    stream: Option<TcpStream>,
    /// Bytes that were read to tell the protocol.
    prefix: Bytes,
    watch: Arc<Watch>,
    returned: Returned,
    /// A refusal that replaces hyper's empty one, while it is being written.
    replacement: Option<Bytes>,
}

impl ClientStream {
    /// Wraps a socket from which `prefix` was already read.
    pub fn new(stream: TcpStream, prefix: Bytes, watch: Arc<Watch>) -> (ClientStream, Returned) {
        let returned = Returned::default();
        let wrapped =
            ClientStream { stream: Some(stream), prefix, watch, returned: returned.clone(), replacement: None };
        (wrapped, returned)
    }

    fn stream(&mut self) -> Pin<&mut TcpStream> {
        Pin::new(self.stream.as_mut().expect("the socket is given back only on drop"))
    }

    /// If `head` is hyper's empty refusal: what to say instead.
    fn replace(&self, head: &[u8]) -> Option<Bytes> {
        if !head.starts_with(b"HTTP/1.1 4") || self.watch.open.load(Ordering::Relaxed) > 0 {
            return None;
        }
        refusal_for(head)
    }

    /// Writes the replacement; reports `len` bytes, those of what it replaces, once it is out.
    fn poll_replacement(&mut self, cx: &mut Context<'_>, len: usize) -> Poll<Result<usize, Error>> {
        let mut rest = self.replacement.take().expect("asked for only while there is one");
        while !rest.is_empty() {
            match self.stream().poll_write(cx, &rest) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => rest.advance(written),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.replacement = Some(rest);
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(len))
    }
}

impl Drop for ClientStream {
    fn drop(&mut self) {
        *self.returned.lock() = self.stream.take();
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<(), Error>> {
        let this = self.get_mut();
        if !this.prefix.is_empty() {
            let len = this.prefix.len().min(buf.remaining());
            buf.put_slice(&this.prefix.split_to(len));
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let polled = this.stream().poll_read(cx, buf);
        if polled.is_ready() && buf.filled().len() > before {
            this.watch.bytes_came();
        }
        polled
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<Result<usize, Error>> {
        let this = self.get_mut();
        if this.replacement.is_none() {
            this.replacement = this.replace(buf);
        }
        let polled = match this.replacement {
            Some(_) => this.poll_replacement(cx, buf.len()),
            None => this.stream().poll_write(cx, buf),
        };
        this.watch.write_blocked(polled.is_pending());
        polled
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<Result<usize, Error>> {
        let this = self.get_mut();
        let first = bufs.first().map_or(&[][..], |first| first);
        if this.replacement.is_none() {
            this.replacement = this.replace(first);
        }
        let polled = match this.replacement {
            Some(_) => this.poll_replacement(cx, first.len()),
            None => this.stream().poll_write_vectored(cx, bufs),
        };
        this.watch.write_blocked(polled.is_pending());
        polled
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.get_mut().stream().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.get_mut().stream().poll_shutdown(cx)
    }
}

/// The problem in place of the empty answer that hyper gives where a request's head cannot be read. Handlers never
/// answer an error without a body, so no answer of theirs is meant.
fn refusal_for(head: &[u8]) -> Option<Bytes> {
    const HEAD_BYTES_MAX: usize = 256;
    if head.len() > HEAD_BYTES_MAX || !head.ends_with(b"\r\n\r\n") {
        return None;
    }
    let text = std::str::from_utf8(head).ok()?;
    if !text.contains("\r\ncontent-length: 0\r\n") {
        return None;
    }
    let (kind, detail): (&'static Kind, &str) = match text.get(9..12)? {
        "400" => (
            &problem::BAD_REQUEST,
            "the request line or a header breaks the rules of HTTP/1.1, or the body's length is given in a way that cannot be trusted; send METHOD PATH HTTP/1.1 and headers as NAME: VALUE",
        ),
        "414" => {
            (&problem::URI_TOO_LONG, "the request target is longer than this node reads; shorten the path or query")
        }
        "431" => (
            &problem::HEADERS_TOO_LARGE,
            "request line and headers are larger than 16 KiB, or there are more than 100 headers; send fewer or shorter ones",
        ),
        _ => return None,
    };
    Some(raw_answer(&Problem::new(kind, detail)))
}

/// A problem as a whole HTTP/1.1 answer, after which the connection closes.
pub fn raw_answer(problem: &Problem) -> Bytes {
    let status = problem.status();
    let body = format!("{}\n", problem.to_value());
    let retry = problem.member("retry_after_ms").map_or("", |_| "retry-after: 1\r\n");
    format!(
        "HTTP/1.1 {} {}\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\n{retry}connection: close\r\n\r\n{body}",
        status.as_u16(),
        status.canonical_reason().unwrap_or("Error"),
        body.len(),
    )
    .into()
}

/// Says a last word, if any, and closes such that the client gets to read it: a socket that is closed while bytes of
/// the client are unread would be reset, and the answer lost.
pub async fn close(mut stream: TcpStream, last_word: Option<Bytes>) {
    const LINGER_MAX: Duration = Duration::from_secs(1);
    const LINGER_BYTES_MAX: usize = 1 << 20;
    let lingering = async {
        if let Some(last_word) = last_word {
            stream.write_all(&last_word).await?;
        }
        stream.shutdown().await?;
        let mut scrap = [0; 4096];
        let mut taken = 0;
        while taken < LINGER_BYTES_MAX {
            match stream.read(&mut scrap).await? {
                0 => break,
                len => taken += len,
            }
        }
        Ok::<(), Error>(())
    };
    // Nothing is left to be done for a client that is gone or does not read.
    let _ = tokio::time::timeout(LINGER_MAX, lingering).await;
}
