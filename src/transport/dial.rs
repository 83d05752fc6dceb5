//! Connections that this node makes: one per lane and peer, on demand, kept open, made again after a pause that grows.
//!
//! The control lane is always wanted: its attempts find out whether a peer whose connections broke still lives.

use super::frame::{FrameReader, FrameType};
use super::handshake::{HandshakeError, Hello, Identity, Welcome};
use super::lane::LaneQueue;
use super::net::Connection;
use super::shared::{Peer, Shared};
use super::writer::write_frames;
use super::{CallError, Lane};
use futures::future::{Either, select};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};

/// Keeps one lane going until the peer is removed or the transport closes.
pub(super) async fn run_lane(shared: Arc<Shared>, peer: Arc<Peer>, lane: Lane) {
    let queue = peer.lane(lane).clone();
    let mut dialler = Dialler { delay: shared.config.reconnect_delay_min, last_error: None, shared, peer, queue };
    let stop = dialler.peer.stop.clone();
    stop.run_until_cancelled(dialler.run()).await;
    dialler.queue.close();
}

struct Dialler {
    shared: Arc<Shared>,
    peer: Arc<Peer>,
    queue: Arc<LaneQueue>,
    delay: Duration,
    /// The last failure that was logged, so that each is logged once and not with every attempt.
    last_error: Option<CallError>,
}

impl Dialler {
    async fn run(&mut self) {
        let mut retry_at = Instant::now();
        loop {
            if self.queue.lane == Lane::Control {
                let kicked = pin!(self.peer.back.notified());
                if let Either::Right(_) = select(pin!(sleep_until(retry_at)), kicked).await {
                    self.delay = self.shared.config.reconnect_delay_min;
                }
            } else {
                self.queue.demanded().await;
            }
            let error = match self.connect().await {
                Ok(connection) => {
                    let since = Instant::now();
                    let error = self.use_connection(connection).await;
                    tracing::debug!(peer = self.peer.node.0, lane = ?self.queue.lane, %error, "a connection broke");
                    if since.elapsed() > self.shared.config.reconnect_delay_max {
                        self.delay = self.shared.config.reconnect_delay_min;
                        retry_at = Instant::now();
                        self.queue.disconnected(CallError::Unreachable(self.peer.node), retry_at);
                        continue;
                    }
                    CallError::Unreachable(self.peer.node)
                }
                Err(error) => {
                    self.log_once(&error);
                    error
                }
            };
            retry_at = Instant::now() + self.next_delay();
            self.queue.disconnected(error, retry_at);
        }
    }

    /// Doubled each time, and shortened at random so that nodes don't come in step.
    fn next_delay(&mut self) -> Duration {
        let delay = self.delay;
        self.delay = (delay * 2).min(self.shared.config.reconnect_delay_max);
        delay - Duration::from_micros(self.shared.random.below(delay.as_micros() as u64 / 4))
    }

    fn log_once(&mut self, error: &CallError) {
        if self.last_error.as_ref() != Some(error) {
            tracing::info!(peer = self.peer.node.0, lane = ?self.queue.lane, %error, "cannot connect");
            self.last_error = Some(error.clone());
        }
    }

    async fn connect(&mut self) -> Result<Connection, CallError> {
        let node = self.peer.node;
        let limit = self.shared.config.handshake_deadline;
        let connecting = self.shared.net.connect(&self.peer.address);
        let mut connection = match timeout(limit, connecting).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => {
                tracing::trace!(peer = node.0, address = self.peer.address, %error, "connect failed");
                if error.kind() == io::ErrorKind::ConnectionRefused {
                    self.shared.liveness.refused(node);
                }
                return Err(CallError::Unreachable(node));
            }
            Err(_) => return Err(CallError::Unreachable(node)),
        };
        match timeout(limit, self.handshake(&mut connection)).await {
            Ok(Ok(None)) => {}
            Ok(Ok(Some(reason))) => {
                self.shared.refused_by(node, Some(reason.clone()));
                return Err(CallError::Refused(node, reason));
            }
            Ok(Err(HandshakeError::Io(_))) | Err(_) => return Err(CallError::Unreachable(node)),
            Ok(Err(error)) => return Err(CallError::Refused(node, format!("{}: {error}", self.peer.address))),
        }
        self.shared.refused_by(node, None);
        self.last_error = None;
        Ok(connection)
    }

    /// Says who this node is, and hears who the other is. Some reason, if one of the two refuses.
    async fn handshake(&self, connection: &mut Connection) -> Result<Option<String>, HandshakeError> {
        let shared = &self.shared;
        let hello = Hello { identity: shared.identity(), lane: self.queue.lane, dialled: self.peer.node };
        hello.write(&mut connection.write).await?;
        let welcome = Welcome::read(&mut connection.read).await?;
        if let Some(reason) = welcome.refused {
            return Ok(Some(reason));
        }
        Ok(self.check(&welcome.identity).err())
    }

    fn check(&self, identity: &Identity) -> Result<(), String> {
        if identity.node != self.peer.node {
            return Err(format!("the node at {} is node {}", self.peer.address, identity.node));
        }
        self.shared.check(identity)?;
        *self.peer.identity.lock() = Some(*identity);
        Ok(())
    }

    /// Until the connection breaks, or the peer falls silent.
    async fn use_connection(&self, connection: Connection) -> io::Error {
        let control = self.queue.lane == Lane::Control;
        self.shared.liveness.connected(self.peer.node);
        self.queue.connected(control.then(|| self.shared.status()));
        let writing = pin!(write_frames(&*self.queue, connection.write));
        let reader = FrameReader::new(connection.read, self.shared.config.frame_bytes_max);
        let reading = pin!(self.read_answers(reader));
        let given_up = pin!(self.peer.give_up.notified());
        match select(select(reading, writing), given_up).await {
            Either::Left((Either::Left((error, _)) | Either::Right((error, _)), _)) => error,
            Either::Right(_) => io::ErrorKind::TimedOut.into(),
        }
    }

    async fn read_answers(&self, mut reader: FrameReader<super::net::ReadHalf>) -> io::Error {
        let node = self.peer.node;
        loop {
            let frame = match reader.next().await {
                Ok(Some(frame)) => frame,
                Ok(None) => return io::ErrorKind::ConnectionReset.into(),
                Err(error) => return error,
            };
            self.shared.counters[self.queue.lane as usize].received(frame.wire_bytes());
            match frame.frame_type {
                FrameType::Answer => self.queue.answered(frame.request, Ok(frame.message)),
                FrameType::Dropped => self.queue.answered(frame.request, Err(CallError::Broken(node))),
                FrameType::NotServed => self.queue.answered(frame.request, Err(CallError::Unreachable(node))),
                FrameType::Request | FrameType::Notify | FrameType::Heartbeat => {
                    return io::Error::new(io::ErrorKind::InvalidData, "a request where only answers may come");
                }
            }
        }
    }
}
