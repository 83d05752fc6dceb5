//! Connections that other nodes make to this one: the listener, the check at the door, requests in, answers out.
//!
//! A connection whose requests outrun their answers is not read from until some have been sent: memory stays bounded
//! whatever the other side does.

use super::frame::{Frame, FrameReader, FrameType, message_bytes};
use super::handshake::{HandshakeError, Hello, Identity, Welcome};
use super::lane::{BATCH_BYTES_MAX, BATCH_FRAMES_MAX, Source};
use super::net::{Connection, Listener, ReadHalf};
use super::shared::Shared;
use super::stats::Counters;
use super::writer::write_frames;
use super::{Incoming, Lane, Message, ReplySender};
use crate::tasks::OnPanic;
use bytes::Bytes;
use futures::future::{Either, select};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Connections that may be open at once; a cluster of five needs sixteen.
const CONNECTIONS_MAX: usize = 512;

/// Takes connections until the transport closes.
pub(super) async fn run_listener(shared: Arc<Shared>, mut listener: Box<dyn Listener>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let stop = shared.stop.clone();
    let mut number = 0;
    loop {
        let connection = match stop.run_until_cancelled(listener.accept()).await {
            None => return,
            Some(Ok(connection)) => connection,
            Some(Err(error)) => {
                tracing::warn!(%error, "cannot take a connection");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(permit) = room.clone().try_acquire_owned() else {
            tracing::warn!(from = %connection.peer, "too many connections between nodes");
            continue;
        };
        number += 1;
        let task = accept(shared.clone(), connection, number);
        shared.tasks.spawn("transport connection", OnPanic::Log, async move {
            task.await;
            drop(permit);
        });
    }
}

async fn accept(shared: Arc<Shared>, mut connection: Connection, number: u64) {
    let from = connection.peer;
    let handshake = timeout(shared.config.handshake_deadline, shake_hands(&shared, &mut connection));
    let hello = match shared.stop.run_until_cancelled(handshake).await {
        None => return,
        Some(Ok(Ok(hello))) => hello,
        Some(Ok(Err(error))) => return shared.log_refusal(format!("{from}: {error}")),
        Some(Err(_)) => return shared.log_refusal(format!("{from}: no handshake in time")),
    };
    let guard = Registered::new(shared.clone(), number, hello.identity);
    let replies = Arc::new(Replies::new(&shared, hello.lane));
    let reader = FrameReader::new(connection.read, shared.config.frame_bytes_max);
    let reading = pin!(read_requests(&shared, &hello, &replies, reader));
    let writing = pin!(write_frames(&*replies, connection.write));
    if let Some(Either::Left((error, _)) | Either::Right((error, _))) =
        guard.stop.run_until_cancelled(select(reading, writing)).await
    {
        tracing::debug!(peer = hello.identity.node.0, lane = ?hello.lane, %error, "a connection ended");
    }
    replies.close();
}

/// Hears who wants to talk. An error, and a last word to the other side, where it may not.
async fn shake_hands(shared: &Shared, connection: &mut Connection) -> Result<Hello, HandshakeError> {
    let hello = Hello::read(&mut connection.read).await;
    let refused = match &hello {
        Ok(hello) => shared.check_hello(hello).err(),
        Err(error @ HandshakeError::Version { .. }) => Some(error.to_string()),
        Err(_) => return hello,
    };
    let welcome = Welcome { identity: shared.identity(), refused };
    welcome.write(&mut connection.write).await?;
    match (hello, welcome.refused) {
        (Ok(hello), Some(reason)) => {
            Err(io::Error::other(format!("node {} refused: {reason}", hello.identity.node)).into())
        }
        (hello, _) => hello,
    }
}

/// An accepted connection, as long as it lives.
struct Registered {
    shared: Arc<Shared>,
    number: u64,
    identity: Identity,
    stop: CancellationToken,
}

impl Registered {
    fn new(shared: Arc<Shared>, number: u64, identity: Identity) -> Registered {
        let stop = shared.stop.child_token();
        shared.accepted.lock().insert(number, (identity, stop.clone()));
        shared.liveness.opened(identity.node, number, identity.incarnation);
        shared.peer_is_back(identity.node);
        Registered { shared, number, identity, stop }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.shared.accepted.lock().remove(&self.number);
        self.shared.liveness.closed(self.identity.node);
    }
}

async fn read_requests(
    shared: &Shared,
    hello: &Hello,
    replies: &Arc<Replies>,
    mut reader: FrameReader<ReadHalf>,
) -> io::Error {
    let from = hello.identity.node;
    loop {
        let frame = match reader.next().await {
            Ok(Some(frame)) => frame,
            Ok(None) => return io::ErrorKind::ConnectionReset.into(),
            Err(error) => return error,
        };
        replies.counters.received(frame.wire_bytes());
        let request = match frame.frame_type {
            FrameType::Heartbeat => {
                // A copy: the status is kept for long, and must not keep the whole read buffer with it.
                let status = Bytes::copy_from_slice(&frame.message.header);
                shared.liveness.heard(from, hello.identity.incarnation, status);
                continue;
            }
            FrameType::Request => Some(frame.request),
            FrameType::Notify => None,
            FrameType::Answer | FrameType::Dropped | FrameType::NotServed => {
                return io::Error::new(io::ErrorKind::InvalidData, "an answer where only requests may come");
            }
        };
        let owed = request.map(|request| replies.clone().expect_reply(request));
        match (shared.handler(), owed) {
            (Some(handler), owed) => {
                let reply = ReplySender::new(move |answer| {
                    if let Some(owed) = owed {
                        owed.answer(answer);
                    }
                });
                handler.handle(Incoming { from, lane: hello.lane, message: frame.message, reply });
            }
            (None, Some(owed)) => owed.not_served(),
            (None, None) => {}
        }
        replies.has_room().await;
    }
}

/// Answers that wait to be written on one accepted connection.
struct Replies {
    state: Mutex<ReplyState>,
    ready: Notify,
    room: Notify,
    counters: Arc<Counters>,
    unanswered_max: usize,
    queue_bytes_max: usize,
    frame_bytes_max: usize,
}

#[derive(Default)]
struct ReplyState {
    queue: VecDeque<Frame>,
    queue_bytes: usize,
    /// Requests that were read and whose answer is not yet queued.
    unanswered: usize,
    closed: bool,
}

impl Replies {
    fn new(shared: &Shared, lane: Lane) -> Replies {
        Replies {
            state: Mutex::default(),
            ready: Notify::new(),
            room: Notify::new(),
            counters: shared.counters[lane as usize].clone(),
            unanswered_max: shared.config.queue_messages_max,
            queue_bytes_max: shared.config.queue_bytes_max,
            frame_bytes_max: shared.config.frame_bytes_max,
        }
    }

    fn expect_reply(self: Arc<Self>, request: u64) -> Owed {
        self.state.lock().unanswered += 1;
        Owed { replies: self, request, answered: false }
    }

    /// Queues the one answer to a request. All that is queued is bounded by the requests and bytes that `has_room` lets in.
    fn push(&self, request: u64, frame_type: FrameType, message: Message) {
        let mut frame = Frame { request, frame_type, message };
        let mut bytes = frame.wire_bytes();
        if bytes > self.frame_bytes_max {
            tracing::error!(bytes, limit = self.frame_bytes_max, "an answer is larger than a frame may be");
            frame = Frame { request, frame_type: FrameType::Dropped, message: Message::default() };
            bytes = message_bytes(&frame.message);
        }
        let mut state = self.state.lock();
        state.unanswered = state.unanswered.saturating_sub(1);
        if state.closed {
            return;
        }
        let first = state.queue.is_empty();
        state.queue.push_back(frame);
        state.queue_bytes += bytes;
        drop(state);
        if first {
            self.ready.notify_one();
        }
    }

    async fn has_room(&self) {
        loop {
            let room = {
                let state = self.state.lock();
                state.queue_bytes <= self.queue_bytes_max && state.unanswered + state.queue.len() <= self.unanswered_max
            };
            if room {
                return;
            }
            self.room.notified().await;
        }
    }

    fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.queue.clear();
    }
}

impl Source for Replies {
    fn take(&self, batch: &mut Vec<Frame>) {
        let mut state = self.state.lock();
        let mut bytes = 0;
        while bytes < BATCH_BYTES_MAX && batch.len() < BATCH_FRAMES_MAX {
            let Some(frame) = state.queue.pop_front() else { break };
            bytes += frame.wire_bytes();
            batch.push(frame);
        }
        state.queue_bytes -= bytes;
        drop(state);
        self.room.notify_one();
    }

    fn ready(&self) -> &Notify {
        &self.ready
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }
}

/// A request that must be answered one way or the other.
struct Owed {
    replies: Arc<Replies>,
    request: u64,
    answered: bool,
}

impl Owed {
    fn answer(mut self, answer: Message) {
        self.answered = true;
        self.replies.push(self.request, FrameType::Answer, answer);
    }

    fn not_served(mut self) {
        self.answered = true;
        self.replies.push(self.request, FrameType::NotServed, Message::default());
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        if !self.answered {
            self.replies.push(self.request, FrameType::Dropped, Message::default());
        }
    }
}
