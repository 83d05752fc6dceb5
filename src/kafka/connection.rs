//! One client's connection: reads requests, begins them in order, answers them in order.
//!
//! One task does all of it. Requests are begun one after the other: a produce request has its place in the log's order
//! before the next request of the connection is looked at, and several may wait for their flush together; any other
//! request begins once all before it are answered, and nothing behind it begins before it is answered. That is the
//! order that Kafka's clients know, where a connection does one thing at a time.
//!
//! Invariants: the requests that wait have a bound in number and bytes, and beyond it nothing is read; a client that
//! reads nothing, or stops in the middle of a request, loses its connection; whatever ends a connection from this side
//! is logged with its reason.

use super::codec::{Answer, Malformed};
use super::dispatch::{self, Answering, Begun};
use super::inbox::Inbox;
use super::outgoing::Outgoing;
use super::{Front, kib};
use bytes::Buf;
use futures::FutureExt;
use futures::future::BoxFuture;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

/// Requests of one connection that wait for their answer, at most.
const QUEUE_MAX: usize = 256;
/// While so many bytes of answers wait to be written, no further answer is made.
const OUTGOING_BYTES_MAX: usize = 256 << 10;
/// Slices handed to the socket at once.
const SLICES_MAX: usize = 64;

/// Who is at the other end.
pub struct Client {
    pub address: SocketAddr,
    /// The address without its port.
    pub host: Arc<str>,
    /// The address of this node that the client came in by.
    pub local: SocketAddr,
}

/// Why a connection ends.
enum Ended {
    /// The client left, or the node stops.
    Quietly,
    /// This side gives it up.
    Because(String),
}

impl From<Malformed> for Ended {
    fn from(malformed: Malformed) -> Ended {
        Ended::Because(malformed.0)
    }
}

impl From<io::Error> for Ended {
    fn from(_: io::Error) -> Ended {
        Ended::Quietly
    }
}

/// A request that was begun.
struct Waiting {
    answering: Answering,
    in_turn: bool,
    bytes: usize,
    _permit: Option<OwnedSemaphorePermit>,
}

/// A produce request on its way to its place in the log.
struct Placing {
    placed: BoxFuture<'static, Answering>,
    bytes: usize,
    permit: Option<OwnedSemaphorePermit>,
}

/// Serves one client until it leaves or is given up.
pub async fn serve(front: Arc<Front>, stream: TcpStream, address: SocketAddr) {
    let Ok(local) = stream.local_addr() else { return };
    let host = address.ip().to_canonical().to_string().into();
    let inbox = Inbox::new(front.config.frame_bytes_max);
    let connection = Connection {
        client: Client { address, host, local },
        stream,
        inbox,
        growing: None,
        placing: None,
        waiting: VecDeque::new(),
        waiting_bytes: 0,
        outgoing: Outgoing::default(),
        at_end: false,
        active: Instant::now(),
        front,
    };
    let (client, front) = (connection.client.address, connection.front.clone());
    if let Ended::Because(reason) = connection.run().await {
        front.metrics.refused.inc();
        tracing::warn!(%client, reason, "a Kafka connection was closed");
    }
}

struct Connection {
    front: Arc<Front>,
    client: Client,
    stream: TcpStream,
    inbox: Inbox,
    /// Memory for more of a request, while the node has none to give.
    growing: Option<(usize, BoxFuture<'static, OwnedSemaphorePermit>)>,
    placing: Option<Placing>,
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    outgoing: Outgoing,
    /// The client has sent its last byte.
    at_end: bool,
    /// When bytes came or went last.
    active: Instant,
}

/// What happened next on a connection.
enum Event {
    Writable(io::Result<()>),
    Answered(Result<Answer, String>),
    Placed(Answering),
    Grown(OwnedSemaphorePermit),
    Readable(io::Result<()>),
    Tick,
    Stopping,
}

impl Connection {
    async fn run(mut self) -> Ended {
        let stopping = self.front.tasks.stopping();
        // Fires at this rate and looks at what the clock says then, so that requests don't touch it.
        let mut tick = std::pin::pin!(tokio::time::sleep(self.front.config.pause_max));
        loop {
            if let Err(ended) = self.begin_requests() {
                return ended;
            }
            if self.at_end && self.placing.is_none() && !self.inbox.has_frame() {
                return Ended::Quietly;
            }
            let event = tokio::select! {
                biased;
                event = self.next() => event,
                () = tick.as_mut() => Event::Tick,
                () = stopping.cancelled() => Event::Stopping,
            };
            let done = match event {
                Event::Tick => {
                    tick.as_mut().reset(Instant::now() + self.front.config.pause_max);
                    self.check_activity()
                }
                Event::Stopping => {
                    let grace = self.front.config.shutdown_grace;
                    let _ = tokio::time::timeout(grace, self.finish()).await;
                    return Ended::Quietly;
                }
                event => self.handle(event),
            };
            if let Err(ended) = done {
                return ended;
            }
        }
    }

    /// Waits for whatever comes first. Cancelling it loses nothing.
    async fn next(&mut self) -> Event {
        let Connection { stream, inbox, growing, placing, waiting, outgoing, .. } = self;
        let reads = !self.at_end && growing.is_none() && !inbox.has_frame();
        let answers = outgoing.remaining() < OUTGOING_BYTES_MAX;
        tokio::select! {
            biased;
            writable = stream.writable(), if outgoing.has_remaining() => Event::Writable(writable),
            answer = first(waiting), if answers && !waiting.is_empty() => Event::Answered(answer),
            answering = placed(placing), if placing.is_some() => Event::Placed(answering),
            permit = grown(growing), if growing.is_some() => Event::Grown(permit),
            readable = stream.readable(), if reads => Event::Readable(readable),
            else => std::future::pending().await,
        }
    }

    fn handle(&mut self, event: Event) -> Result<(), Ended> {
        match event {
            Event::Writable(writable) => {
                writable?;
                self.write()
            }
            Event::Answered(answer) => {
                self.answered(answer)?;
                // Others may be ready too: one write for all of them.
                while self.outgoing.remaining() < OUTGOING_BYTES_MAX
                    && let Some(answer) = self.waiting.front_mut().and_then(|next| (&mut next.answering).now_or_never())
                {
                    self.answered(answer)?;
                }
                self.write()
            }
            Event::Placed(answering) => {
                let placed = self.placing.take().expect("only what is being placed is placed");
                let (bytes, permit) = (placed.bytes, placed.permit);
                self.waiting.push_back(Waiting { answering, in_turn: false, bytes, _permit: permit });
                Ok(())
            }
            Event::Grown(permit) => {
                let (bytes, _) = self.growing.take().expect("only what waits to grow grows");
                self.inbox.grow(bytes, permit);
                self.read()
            }
            Event::Readable(readable) => {
                readable?;
                self.read()
            }
            Event::Tick | Event::Stopping => Ok(()),
        }
    }

    /// Begins requests that are there, as far as order and bounds allow.
    fn begin_requests(&mut self) -> Result<(), Ended> {
        while self.placing.is_none()
            && self.waiting.len() < QUEUE_MAX
            && self.waiting_bytes < self.front.config.connection_bytes_max
            && !self.waiting.back().is_some_and(|last| last.in_turn)
        {
            let Some(framed) = self.inbox.take()? else { return Ok(()) };
            let wire_bytes = framed.bytes.len();
            let (begun, decoded_bytes) = dispatch::begin(&self.front, &self.client, framed.bytes)?;
            let bytes = wire_bytes + decoded_bytes;
            self.waiting_bytes += bytes;
            match begun {
                Begun::InTurn(answering) => {
                    self.waiting.push_back(Waiting { answering, in_turn: true, bytes, _permit: framed.permit });
                }
                Begun::Placing(mut placed) => match (&mut placed).now_or_never() {
                    Some(answering) => {
                        let waiting = Waiting { answering, in_turn: false, bytes, _permit: framed.permit };
                        self.waiting.push_back(waiting);
                    }
                    None => self.placing = Some(Placing { placed, bytes, permit: framed.permit }),
                },
            }
        }
        Ok(())
    }

    fn answered(&mut self, answer: Result<Answer, String>) -> Result<(), Ended> {
        let done = self.waiting.pop_front().expect("the first that waits was answered");
        self.waiting_bytes -= done.bytes;
        let answer = answer.map_err(Ended::Because)?;
        self.outgoing.push(answer);
        self.active = Instant::now();
        Ok(())
    }

    /// Writes what the socket takes.
    fn write(&mut self) -> Result<(), Ended> {
        while self.outgoing.has_remaining() {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let count = self.outgoing.chunks_vectored(&mut slices);
            match self.stream.try_write_vectored(&slices[..count]) {
                Ok(0) => return Err(Ended::Quietly),
                Ok(written) => {
                    self.outgoing.advance(written);
                    self.front.metrics.sent_bytes.inc_by(written as u64);
                    self.active = Instant::now();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Reads what is there, up to the room of the inbox; asks for room where there is none.
    fn read(&mut self) -> Result<(), Ended> {
        let growth = self.inbox.growth()?;
        if growth > 0 {
            let budget = self.front.requests.clone();
            match budget.clone().try_acquire_many_owned(kib(growth)) {
                Ok(permit) => self.inbox.grow(growth, permit),
                Err(_) => {
                    let permit = budget.acquire_many_owned(kib(growth));
                    let permit = permit.map(|permit| permit.expect("the budget is never closed"));
                    self.growing = Some((growth, permit.boxed()));
                    return Ok(());
                }
            }
        }
        match self.stream.try_read_buf(self.inbox.buffer()) {
            Ok(0) => self.at_end = true,
            Ok(len) => {
                self.front.metrics.received_bytes.inc_by(len as u64);
                self.active = Instant::now();
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.inbox.release(),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Gives up a connection on which nothing moves.
    fn check_activity(&self) -> Result<(), Ended> {
        let config = &self.front.config;
        let quiet = self.active.elapsed();
        if self.growing.is_some() && quiet >= config.pause_max {
            return Err(Ended::Because("this node had no memory to take a request in time".to_string()));
        }
        if self.outgoing.has_remaining() {
            let reason = || format!("the client has taken no byte of its answers for {} s", quiet.as_secs());
            return if quiet >= config.idle_timeout { Err(Ended::Because(reason())) } else { Ok(()) };
        }
        if !self.waiting.is_empty() || self.placing.is_some() {
            return Ok(());
        }
        if self.inbox.is_within_frame() && quiet >= config.pause_max {
            return Err(Ended::Because(format!("a request was not complete after {} s of silence", quiet.as_secs())));
        }
        if quiet >= config.idle_timeout { Err(Ended::Quietly) } else { Ok(()) }
    }

    /// Answers what was begun, and reads no more.
    async fn finish(&mut self) {
        self.at_end = true;
        while self.outgoing.has_remaining() || !self.waiting.is_empty() || self.placing.is_some() {
            let event = self.next().await;
            if self.handle(event).is_err() {
                return;
            }
        }
    }
}

async fn first(waiting: &mut VecDeque<Waiting>) -> Result<Answer, String> {
    match waiting.front_mut() {
        Some(first) => Pin::new(&mut first.answering).await,
        None => std::future::pending().await,
    }
}

async fn placed(placing: &mut Option<Placing>) -> Answering {
    match placing {
        Some(placing) => (&mut placing.placed).await,
        None => std::future::pending().await,
    }
}

async fn grown(growing: &mut Option<(usize, BoxFuture<'static, OwnedSemaphorePermit>)>) -> OwnedSemaphorePermit {
    match growing {
        Some((_, permit)) => permit.await,
        None => std::future::pending().await,
    }
}
