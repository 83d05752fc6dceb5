//! Serves what other nodes ask of this one: Raft messages, the controller's, and forwarded requests.
//!
//! Invariant: requests of one connection reach their partition in the order in which they came. A forwarded request is
//! answered here or refused with a hint; it is never forwarded again.
//!
//! Does not know topics by name: whoever forwards has resolved them.

use crate::broker::groups::{GroupAnswer, GroupHeader};
use crate::broker::{
    append_here, command_here, forward, offset_here, quorum_here, read_here, summaries_here, transfer_here,
};
use crate::controller::{self, Controller};
use crate::coordinator::Coordinator;
use crate::partition::{AppendDone, LocalRead, Partitions};
use crate::raft::{self, Groups};
use crate::tasks::{OnPanic, Tasks};
use crate::transport::{Handler, Incoming, Message, ReplySender, Transport};
use crate::types::{GroupId, NodeId};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// A peer may not make this node wait longer than this for one read.
const READ_WAIT_MAX: Duration = Duration::from_secs(60);
const READ_DEADLINE_MAX: Duration = Duration::from_secs(90);

/// The transport's handler on this node.
pub struct PeerServer {
    groups: Groups,
    partitions: Partitions,
    controller: Controller,
    coordinator: Coordinator,
    transport: Transport,
    tasks: Tasks,
    /// Until this node may take part, it only says hello.
    open: AtomicBool,
}

impl PeerServer {
    pub fn new(
        groups: Groups,
        partitions: Partitions,
        controller: Controller,
        coordinator: Coordinator,
        transport: Transport,
        tasks: Tasks,
    ) -> Arc<PeerServer> {
        Arc::new(PeerServer {
            groups,
            partitions,
            controller,
            coordinator,
            transport,
            tasks,
            open: AtomicBool::new(false),
        })
    }

    /// From now on this node votes, replicates and serves.
    pub fn open(&self) {
        self.open.store(true, Ordering::Release);
    }

    /// Runs the first step here, so that requests keep their order, and the rest as a task of its own.
    fn run(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.begin("peer-request", OnPanic::Log, work);
    }

    fn append(&self, mut message: Message, reply: ReplySender) {
        let Ok(header) = forward::header::<forward::AppendHeader>(&message) else { return };
        let append = forward::append_of(&header, &mut message);
        let partitions = self.partitions.clone();
        let done: AppendDone = Box::new(move |result| {
            let answer: forward::AppendAnswer = result;
            reply.send(forward::message(forward::ANSWER, &answer));
        });
        self.run(async move { append_here(&partitions, header.group, append, done).await });
    }

    fn command(&self, message: &Message, reply: ReplySender) {
        let Ok(header) = forward::header::<forward::CommandHeader>(message) else { return };
        let partitions = self.partitions.clone();
        self.run(async move {
            let answer: forward::CommandAnswer = command_here(&partitions, header.group, &header.command).await;
            reply.send(forward::message(forward::ANSWER, &answer));
        });
    }

    fn read(&self, message: &Message, reply: ReplySender) {
        let Ok(header) = forward::header::<forward::ReadHeader>(message) else { return };
        let partitions = self.partitions.clone();
        self.run(async move {
            let now = Instant::now();
            let wait = Duration::from_millis(header.wait_ms).min(READ_WAIT_MAX);
            let read = LocalRead {
                from: header.from,
                max_bytes: header.max_bytes as usize,
                wait_until: (header.wait_ms > 0).then(|| now + wait),
                linearizable: header.linearizable,
                deadline: now + Duration::from_millis(header.deadline_ms).min(READ_DEADLINE_MAX),
            };
            let result = read_here(&partitions, header.group, read).await;
            reply.send(forward::read_answer(result));
        });
    }

    fn summaries(&self, message: &Message, reply: ReplySender) {
        let Ok(header) = forward::header::<forward::SummariesHeader>(message) else { return };
        let (partitions, transport) = (self.partitions.clone(), self.transport.clone());
        self.run(async move {
            let answer = summaries_here(&partitions, &transport, header.groups).await;
            reply.send(forward::message(forward::ANSWER, &answer));
        });
    }

    fn group(&self, message: &Message, reply: ReplySender) {
        let Ok(header) = forward::header::<GroupHeader>(message) else { return };
        let coordinator = self.coordinator.clone();
        self.run(async move {
            let answer: GroupAnswer = coordinator.serve(header.at, header.request).await;
            reply.send(forward::message(forward::ANSWER, &answer));
        });
    }

    fn offset(&self, message: &Message, reply: ReplySender) {
        let Ok(header) = forward::header::<forward::OffsetHeader>(message) else { return };
        let partitions = self.partitions.clone();
        self.run(async move {
            let answer = offset_here(&partitions, header.group, header.at).await;
            reply.send(forward::message(forward::ANSWER, &answer));
        });
    }

    fn transfer(&self, message: &Message, reply: ReplySender) {
        let Ok((group, to)) = forward::header::<(GroupId, NodeId)>(message) else { return };
        let partitions = self.partitions.clone();
        self.run(async move {
            let answer = transfer_here(&partitions, group, to).await;
            reply.send(forward::message(forward::ANSWER, &answer));
        });
    }
}

impl Handler for PeerServer {
    /// Bytes that can't be read drop the reply: their sender sees a broken call.
    fn handle(&self, incoming: Incoming) {
        let kind = incoming.message.kind;
        if kind == controller::KIND_HELLO {
            return self.controller.handle(incoming);
        }
        if !self.open.load(Ordering::Acquire) {
            tracing::debug!(kind, from = %incoming.from, "not taking part yet");
            return;
        }
        if kind < raft::KIND_END {
            return self.groups.handle(incoming);
        }
        if kind < controller::KIND_END {
            return self.controller.handle(incoming);
        }
        let Incoming { message, reply, from, .. } = incoming;
        match kind {
            forward::KIND_APPEND => self.append(message, reply),
            forward::KIND_COMMAND => self.command(&message, reply),
            forward::KIND_READ => self.read(&message, reply),
            forward::KIND_SUMMARIES => self.summaries(&message, reply),
            forward::KIND_OFFSET => self.offset(&message, reply),
            forward::KIND_GROUP => self.group(&message, reply),
            forward::KIND_TRANSFER => self.transfer(&message, reply),
            forward::KIND_QUORUM => reply.send(forward::message(forward::ANSWER, &quorum_here(&self.groups))),
            other => tracing::warn!(kind = other, %from, "a peer sent a kind of message that is not known here"),
        }
    }
}
