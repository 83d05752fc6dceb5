//! What waits on one lane to one peer: messages to be sent, and calls whose answer is still to come.
//!
//! Invariants:
//! - A call is *written* from the moment the writer takes its frame. Only such a call may have been carried out, so only
//!   such a call fails with `Broken` or `Timeout`; all others fail with an error that says that nothing was sent.
//! - A frame whose call has already failed is never written.
//! - When a connection breaks, all that was started before fails: nothing that was queued behind a lost call overtakes
//!   it on the next connection.
//!
//! It does not connect (`dial` does) and knows no frame formats.

use super::frame::{Frame, FrameType, message_bytes};
use super::stats::Counters;
use super::{Answer, CallError, Lane, Message};
use crate::types::NodeId;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

/// Frames and bytes that one write takes at most (one frame at least).
pub(super) const BATCH_FRAMES_MAX: usize = 1024;
pub(super) const BATCH_BYTES_MAX: usize = 1 << 20;

/// Where a writer gets its frames from.
pub(super) trait Source {
    /// Moves what is next to be written into `batch`, up to the limits of a batch.
    fn take(&self, batch: &mut Vec<Frame>);
    /// Told when there may be something to take.
    fn ready(&self) -> &Notify;
    fn counters(&self) -> &Counters;
}

/// Bounds of a lane; see `TransportConfig`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub frame_bytes_max: usize,
    pub queue_messages_max: usize,
    pub queue_bytes_max: usize,
}

/// One lane to one peer.
pub(super) struct LaneQueue {
    pub node: NodeId,
    pub lane: Lane,
    limits: Limits,
    state: Mutex<State>,
    ready: Notify,
    /// Told when the first message comes while there is no connection.
    demand: Notify,
    counters: Arc<Counters>,
}

struct Pending {
    answer: oneshot::Sender<Result<Message, CallError>>,
    deadline: Instant,
    written: bool,
}

enum Link {
    /// No connection. Until `retry_at` calls fail at once, with the error of the last attempt.
    Down {
        retry_at: Option<Instant>,
        error: CallError,
    },
    Up,
    Closed,
}

struct State {
    queue: VecDeque<Frame>,
    queue_bytes: usize,
    pending: BTreeMap<u64, Pending>,
    heartbeat: Option<Bytes>,
    last_request: u64,
    link: Link,
}

impl LaneQueue {
    pub fn new(node: NodeId, lane: Lane, limits: Limits, counters: Arc<Counters>) -> LaneQueue {
        let link = Link::Down { retry_at: None, error: CallError::Unreachable(node) };
        let state = State {
            queue: VecDeque::new(),
            queue_bytes: 0,
            pending: BTreeMap::new(),
            heartbeat: None,
            last_request: 0,
            link,
        };
        LaneQueue {
            node,
            lane,
            limits,
            state: Mutex::new(state),
            ready: Notify::new(),
            demand: Notify::new(),
            counters,
        }
    }

    /// Queues a call behind all others. The receiver gets the reason at once where it cannot be sent.
    pub fn start(&self, message: Message, deadline: Instant) -> Answer {
        let (answer, receiver) = oneshot::channel();
        let bytes = message_bytes(&message);
        let mut state = self.state.lock();
        if let Err(error) = self.admit(&state, bytes, state.pending.len()) {
            drop(state);
            let _ = answer.send(Err(error));
            return receiver;
        }
        state.last_request += 1;
        let request = state.last_request;
        state.pending.insert(request, Pending { answer, deadline, written: false });
        self.push(state, Frame { request, frame_type: FrameType::Request, message }, bytes);
        receiver
    }

    /// Queues a message without an answer, where there is room and a way.
    pub fn notify(&self, message: Message) {
        let bytes = message_bytes(&message);
        let state = self.state.lock();
        if self.admit(&state, bytes, state.queue.len()).is_ok() {
            self.push(state, Frame { request: 0, frame_type: FrameType::Notify, message }, bytes);
        }
    }

    fn admit(&self, state: &State, bytes: usize, waiting: usize) -> Result<(), CallError> {
        match &state.link {
            Link::Closed => return Err(CallError::Unreachable(self.node)),
            Link::Down { retry_at: Some(at), error } if Instant::now() < *at => return Err(error.clone()),
            Link::Down { .. } | Link::Up => {}
        }
        if bytes > self.limits.frame_bytes_max {
            let limit = self.limits.frame_bytes_max;
            let reason = format!("a message of {bytes} bytes is larger than the limit of {limit}");
            return Err(CallError::Refused(self.node, reason));
        }
        let no_room = state.queue_bytes + bytes > self.limits.queue_bytes_max && !state.queue.is_empty();
        if no_room || waiting >= self.limits.queue_messages_max {
            return Err(CallError::Busy(self.node));
        }
        Ok(())
    }

    fn push(&self, mut state: parking_lot::MutexGuard<'_, State>, frame: Frame, bytes: usize) {
        let first = state.queue.is_empty();
        let up = matches!(state.link, Link::Up);
        state.queue.push_back(frame);
        state.queue_bytes += bytes;
        drop(state);
        if first {
            if up { &self.ready } else { &self.demand }.notify_one();
        }
    }

    /// The heartbeat to be sent next, before all else; one that still waits is replaced.
    pub fn heartbeat(&self, status: Bytes) {
        let mut state = self.state.lock();
        if matches!(state.link, Link::Up) {
            state.heartbeat = Some(status);
            drop(state);
            self.ready.notify_one();
        }
    }

    /// Returns when something wants to be sent.
    pub async fn demanded(&self) {
        while self.state.lock().queue.is_empty() {
            self.demand.notified().await;
        }
    }

    /// A connection is there: frames may be taken. The first one is a heartbeat where a status is given.
    pub fn connected(&self, status: Option<Bytes>) {
        let mut state = self.state.lock();
        state.link = Link::Up;
        state.heartbeat = status;
    }

    /// The connection broke, or an attempt to connect failed: all that waits fails. Until `retry_at` so does what comes.
    pub fn disconnected(&self, error: CallError, retry_at: Instant) {
        let down = Link::Down { retry_at: Some(retry_at), error: error.clone() };
        self.fail_all(down, &error);
    }

    /// The peer is back: the next message may try at once.
    pub fn retry_now(&self) {
        if let Link::Down { retry_at, .. } = &mut self.state.lock().link {
            *retry_at = None;
        }
    }

    /// Nothing is sent any more.
    pub fn close(&self) {
        self.fail_all(Link::Closed, &CallError::Unreachable(self.node));
    }

    fn fail_all(&self, link: Link, unsent: &CallError) {
        let pending = {
            let mut state = self.state.lock();
            state.link = link;
            state.queue.clear();
            state.queue_bytes = 0;
            state.heartbeat = None;
            std::mem::take(&mut state.pending)
        };
        for call in pending.into_values() {
            let error = if call.written { CallError::Broken(self.node) } else { unsent.clone() };
            let _ = call.answer.send(Err(error));
        }
    }

    /// Hands an answer to its call; too late is too late.
    pub fn answered(&self, request: u64, answer: Result<Message, CallError>) {
        let call = self.state.lock().pending.remove(&request);
        if let Some(call) = call {
            let _ = call.answer.send(answer);
        }
    }

    /// Fails the calls whose deadline has passed; gives the earliest deadline of those that remain.
    pub fn expire(&self, now: Instant) -> Option<Instant> {
        let mut expired = Vec::new();
        let earliest = {
            let mut state = self.state.lock();
            let late: Vec<u64> =
                state.pending.iter().filter(|(_, call)| call.deadline <= now).map(|(request, _)| *request).collect();
            for request in late {
                expired.extend(state.pending.remove(&request));
            }
            state.pending.values().map(|call| call.deadline).min()
        };
        for call in expired {
            let timeout = CallError::Timeout(self.node);
            let error = if call.written { timeout } else { CallError::Unreachable(self.node) };
            let _ = call.answer.send(Err(error));
        }
        earliest
    }
}

impl Source for LaneQueue {
    fn take(&self, batch: &mut Vec<Frame>) {
        let mut state = self.state.lock();
        let state = &mut *state;
        if let Some(status) = state.heartbeat.take() {
            let message = Message { kind: 0, header: status, payload: Vec::new() };
            batch.push(Frame { request: 0, frame_type: FrameType::Heartbeat, message });
        }
        let mut bytes = 0;
        while bytes < BATCH_BYTES_MAX && batch.len() < BATCH_FRAMES_MAX {
            let Some(frame) = state.queue.pop_front() else { break };
            let frame_bytes = frame.wire_bytes();
            state.queue_bytes -= frame_bytes;
            if frame.frame_type == FrameType::Request {
                // A call that is no longer waited for has failed with "not sent", and must keep its word.
                let Some(call) = state.pending.get_mut(&frame.request) else { continue };
                call.written = true;
            }
            bytes += frame_bytes;
            batch.push(frame);
        }
    }

    fn ready(&self) -> &Notify {
        &self.ready
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }
}
