//! Transports on loopback, against each other and against strangers.

use super::net::TcpNet;
use super::*;
use crate::random::Random;
use crate::tasks::Tasks;
use parking_lot::Mutex;
use std::time::Instant;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use uuid::Uuid;

const LONG: Duration = Duration::from_secs(10);

struct Node {
    transport: Transport,
    tasks: Tasks,
}

impl Node {
    fn address(&self) -> String {
        self.transport.local_addr().to_string()
    }
}

fn config(node: u64) -> TransportConfig {
    let uuid = Uuid::from_u128(u128::from(node));
    let mut config = TransportConfig::new(NodeId(node), uuid, "127.0.0.1:0".into(), BTreeMap::new());
    config.liveness =
        LivenessConfig { heartbeat_interval: Duration::from_millis(20), silent_after: Duration::from_millis(400) };
    config
}

async fn start(config: TransportConfig, handler: impl Fn(Incoming) + Send + Sync + 'static) -> Node {
    struct Closure<F>(F);
    impl<F: Fn(Incoming) + Send + Sync + 'static> Handler for Closure<F> {
        fn handle(&self, incoming: Incoming) {
            (self.0)(incoming);
        }
    }
    let tasks = Tasks::new();
    let random = Random::from_seed(config.node_id.0);
    let handler = Arc::new(Closure(handler));
    let transport =
        Transport::start(config, Arc::new(TcpNet), tasks.clone(), random, Some(handler)).await.expect("listens");
    Node { transport, tasks }
}

/// Sends back what came.
fn echo(incoming: Incoming) {
    incoming.reply.send(incoming.message);
}

async fn pair(handler: impl Fn(Incoming) + Send + Sync + 'static) -> (Node, Node) {
    let server = start(config(2), handler).await;
    let client = start(config(1), echo).await;
    client.transport.set_peer(NodeId(2), server.address());
    server.transport.set_peer(NodeId(1), client.address());
    (client, server)
}

fn message(kind: u16, header: &[u8], payload: &[&[u8]]) -> Message {
    let payload = payload.iter().map(|piece| Bytes::copy_from_slice(piece)).collect();
    Message { kind, header: Bytes::copy_from_slice(header), payload }
}

async fn until(node: &Node, peer: u64, wanted: Liveness) {
    let mut watch = node.transport.liveness();
    let seen = watch.wait_for(|map| map.get(&NodeId(peer)) == Some(&wanted));
    tokio::time::timeout(LONG, seen).await.unwrap_or_else(|_| panic!("node {peer} never became {wanted:?}")).unwrap();
}

#[tokio::test]
async fn a_call_brings_back_kind_header_and_payload() {
    let (client, _server) = pair(echo).await;
    for lane in [Lane::Control, Lane::Replicate, Lane::Forward, Lane::Read] {
        let sent = message(7, b"head", &[b"one", b"", &[9; 5000], b"two"]);
        let answer = client.transport.call(NodeId(2), lane, sent.clone(), LONG).await.unwrap();
        assert_eq!((answer.kind, &answer.header), (7, &sent.header));
        assert_eq!(answer.payload.concat(), sent.payload.concat());
        assert_eq!(answer.payload.len(), 1, "a payload arrives as one piece");
    }
    let empty = client.transport.call(NodeId(2), Lane::Read, Message::default(), LONG).await.unwrap();
    assert!(empty.header.is_empty() && empty.payload.is_empty());
    let stats = client.transport.stats(Lane::Read);
    assert_eq!((stats.messages_sent, stats.messages_received), (2, 2));
    assert_eq!(stats.bytes_sent, stats.bytes_received);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pipelined_calls_arrive_in_order() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let seen_there = seen.clone();
    let (client, _server) = pair(move |incoming: Incoming| {
        let number = u32::from_le_bytes(incoming.message.header[..].try_into().unwrap());
        seen_there.lock().push(number);
        echo(incoming);
    })
    .await;
    let answers: Vec<Answer> = (0..5000u32)
        .map(|number| {
            let payload = vec![number as u8; (number as usize * 37) % 4000];
            let message = message(1, &number.to_le_bytes(), &[&payload]);
            client.transport.start_call(NodeId(2), Lane::Replicate, message, LONG)
        })
        .collect();
    for (number, answer) in answers.into_iter().enumerate() {
        let answer = answer.await.unwrap().unwrap();
        assert_eq!(answer.header[..], (number as u32).to_le_bytes());
        assert_eq!(answer.payload.concat(), vec![number as u8; (number * 37) % 4000]);
    }
    assert_eq!(*seen.lock(), (0..5000).collect::<Vec<u32>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_payloads_pass_and_too_large_ones_are_refused() {
    let (client, _server) = pair(echo).await;
    let piece = vec![5; 3 << 20];
    let sent = message(1, b"x", &[&piece, &piece, &piece, &piece, &piece]);
    let answer = client.transport.call(NodeId(2), Lane::Read, sent.clone(), LONG).await.unwrap();
    assert!(answer.payload.concat() == sent.payload.concat());
    let sent = message(1, b"x", &[&piece, &piece, &piece, &piece, &piece, &piece]);
    let error = client.transport.call(NodeId(2), Lane::Read, sent, LONG).await.unwrap_err();
    assert!(matches!(&error, CallError::Refused(_, reason) if reason.contains("larger than the limit")), "{error}");
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_reported_as_broken() {
    let piece = Bytes::from(vec![5; 9 << 20]);
    let (client, _server) = pair(move |incoming: Incoming| {
        incoming.reply.send(Message { payload: vec![piece.clone(), piece.clone()], ..Message::default() });
    })
    .await;
    let error = client.transport.call(NodeId(2), Lane::Read, Message::default(), LONG).await.unwrap_err();
    assert_eq!(error, CallError::Broken(NodeId(2)));
}

#[tokio::test]
async fn a_dropped_reply_is_broken_and_a_kept_one_times_out() {
    let kept = Arc::new(Mutex::new(Vec::new()));
    let keep = kept.clone();
    let (client, _server) = pair(move |incoming: Incoming| {
        if incoming.message.kind == 1 {
            keep.lock().push(incoming.reply);
        }
    })
    .await;
    let call = |kind, deadline| client.transport.call(NodeId(2), Lane::Forward, message(kind, b"", &[]), deadline);
    assert_eq!(call(0, LONG).await.unwrap_err(), CallError::Broken(NodeId(2)));
    let begin = Instant::now();
    let slow = client.transport.start_call(NodeId(2), Lane::Forward, message(1, b"", &[]), LONG);
    assert_eq!(call(1, Duration::from_millis(50)).await.unwrap_err(), CallError::Timeout(NodeId(2)));
    assert!(begin.elapsed() >= Duration::from_millis(50) && begin.elapsed() < LONG);
    // An answer that comes too late finds nobody; the one that is waited for arrives.
    for reply in kept.lock().drain(..) {
        reply.send(message(3, b"", &[]));
    }
    assert_eq!(slow.await.unwrap().unwrap().kind, 3);
}

#[tokio::test]
async fn without_a_handler_nothing_was_carried_out() {
    let tasks = Tasks::new();
    let random = Random::from_seed(2);
    let server = Transport::start(config(2), Arc::new(TcpNet), tasks.clone(), random, None).await.unwrap();
    let client = start(config(1), echo).await;
    client.transport.set_peer(NodeId(2), server.local_addr().to_string());
    let error = client.transport.call(NodeId(2), Lane::Read, Message::default(), LONG).await.unwrap_err();
    assert_eq!(error, CallError::Unreachable(NodeId(2)));
    struct Echo;
    impl Handler for Echo {
        fn handle(&self, incoming: Incoming) {
            echo(incoming);
        }
    }
    server.set_handler(Arc::new(Echo));
    client.transport.call(NodeId(2), Lane::Read, Message::default(), LONG).await.unwrap();
}

#[tokio::test]
async fn notifications_need_no_answer() {
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let (client, _server) = pair(move |incoming: Incoming| {
        let _ = sender.send((incoming.from, incoming.lane, incoming.message.kind));
    })
    .await;
    client.transport.notify(NodeId(2), Lane::Control, message(9, b"", &[]));
    assert_eq!(receiver.recv().await.unwrap(), (NodeId(1), Lane::Control, 9));
}

#[tokio::test]
async fn a_broken_connection_says_what_was_written() {
    let (arrived, mut arrivals) = tokio::sync::mpsc::unbounded_channel();
    let (client, server) = pair(move |incoming: Incoming| {
        // Kept unanswered until the end.
        let _ = arrived.send(incoming.reply);
    })
    .await;
    let written = client.transport.start_call(NodeId(2), Lane::Forward, Message::default(), LONG);
    let _reply = arrivals.recv().await.unwrap();
    server.transport.close();
    assert_eq!(written.await.unwrap().unwrap_err(), CallError::Broken(NodeId(2)));
    server.tasks.stop().await;
    let error = client.transport.call(NodeId(2), Lane::Forward, Message::default(), LONG).await.unwrap_err();
    assert_eq!(error, CallError::Unreachable(NodeId(2)));
    let error = client.transport.call(NodeId(7), Lane::Forward, Message::default(), LONG).await.unwrap_err();
    assert_eq!(error, CallError::Unreachable(NodeId(7)));
}

#[tokio::test]
async fn a_full_lane_is_busy_and_what_never_left_was_not_sent() {
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut limited = config(1);
    limited.queue_messages_max = 3;
    limited.queue_bytes_max = 1000;
    let client = start(limited, echo).await;
    client.transport.set_peer(NodeId(2), mute.local_addr().unwrap().to_string());
    let soon = Duration::from_millis(100);
    let start = |bytes| client.transport.start_call(NodeId(2), Lane::Read, message(1, b"", &[&vec![0; bytes]]), soon);
    let (first, second) = (start(600), start(600));
    assert_eq!(second.await.unwrap().unwrap_err(), CallError::Busy(NodeId(2)), "bytes");
    let rest = [start(1), start(1)];
    assert_eq!(start(1).await.unwrap().unwrap_err(), CallError::Busy(NodeId(2)), "messages");
    for call in [first].into_iter().chain(rest) {
        assert_eq!(call.await.unwrap().unwrap_err(), CallError::Unreachable(NodeId(2)));
    }
}

#[tokio::test]
async fn strangers_and_mistaken_nodes_are_refused_with_words() {
    struct NoOne;
    impl Admission for NoOne {
        fn check(&self, from: NodeId, _: Uuid, _: Option<Uuid>) -> Result<(), String> {
            Err(format!("node {from} came back empty"))
        }
    }
    let refusal = async |client: &Node, to: u64| {
        let call = client.transport.call(NodeId(to), Lane::Read, Message::default(), LONG).await;
        match call.unwrap_err() {
            CallError::Refused(_, reason) => reason,
            other => panic!("{other}"),
        }
    };
    let (client, server) = pair(echo).await;
    client.transport.set_peer(NodeId(3), server.address());
    assert!(refusal(&client, 3).await.contains("this is node 2, not node 3"));

    let twin = start(config(2), echo).await;
    twin.transport.set_peer(NodeId(1), client.address());
    client.transport.set_peer(NodeId(2), client.address());
    assert!(refusal(&client, 2).await.contains("this is node 1, not node 2"));
    client.transport.set_peer(NodeId(2), server.address());

    client.transport.call(NodeId(2), Lane::Read, Message::default(), LONG).await.unwrap();
    server.transport.set_admission(Arc::new(NoOne));
    let mut refusals = client.transport.refusals();
    refusals.wait_for(|all| all.get(&NodeId(2)).is_some_and(|why| why.contains("came back empty"))).await.unwrap();

    let (client, server) = pair(echo).await;
    client.transport.call(NodeId(2), Lane::Read, Message::default(), LONG).await.unwrap();
    client.transport.set_cluster_id(Uuid::from_u128(1));
    client.transport.call(NodeId(2), Lane::Read, Message::default(), LONG).await.unwrap();
    let old = client.transport.start_call(NodeId(2), Lane::Read, Message::default(), LONG);
    old.await.unwrap().unwrap();
    server.transport.set_cluster_id(Uuid::from_u128(2));
    // The open connection was made before the server knew its cluster; the next one is refused.
    client.transport.set_peer(NodeId(2), server.address().replace("127.0.0.1", "localhost"));
    assert!(refusal(&client, 2).await.contains("belongs to cluster"));
}

#[tokio::test]
async fn a_newer_protocol_is_refused_by_name() {
    let node = start(config(1), echo).await;
    let mut stream = TcpStream::connect(node.transport.local_addr()).await.unwrap();
    stream.write_all(b"balsapee\x09\x00\x04\x00abcd").await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(String::from_utf8_lossy(&answer).contains("version 9"), "{}", String::from_utf8_lossy(&answer));

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    node.transport.set_peer(NodeId(2), listener.local_addr().unwrap().to_string());
    let call = node.transport.start_call(NodeId(2), Lane::Read, Message::default(), LONG);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"balsapee\x02\x00\x04\x00abcd").await.unwrap();
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    });
    let error = call.await.unwrap().unwrap_err();
    assert!(matches!(&error, CallError::Refused(_, why) if why.contains("version 2")), "{error}");
}

#[tokio::test]
async fn garbage_on_the_port_ends_only_its_own_connection() {
    let (client, server) = pair(echo).await;
    let address = server.transport.local_addr();
    client.transport.call(NodeId(2), Lane::Read, Message::default(), LONG).await.unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert_eq!(stream.read(&mut [0; 16]).await.unwrap_or(0), 0, "a stranger gets no answer");

    // A good handshake, then a frame that declares two gigabytes, then one with a wrong checksum.
    for garbage in [&[0xff, 0xff, 0xff, 0x7f, 0, 0][..], &[20, 0, 0, 0][..], &[0; 64][..]] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let identity = handshake::Identity { node: NodeId(1), uuid: Uuid::from_u128(1), incarnation: 1, cluster: None };
        let hello = handshake::Hello { identity, lane: Lane::Read, dialled: NodeId(2) };
        hello.write(&mut stream).await.unwrap();
        assert_eq!(handshake::Welcome::read(&mut stream).await.unwrap().refused, None);
        stream.write_all(garbage).await.unwrap();
        stream.write_all(&[0; 24]).await.unwrap();
        assert_eq!(stream.read(&mut [0; 16]).await.unwrap_or(0), 0);
    }
    client.transport.call(NodeId(2), Lane::Read, Message::default(), LONG).await.unwrap();
}

#[tokio::test]
async fn a_closed_process_is_gone_at_once_and_alive_again_when_restarted() {
    let mut slow = config(1);
    // Silence cannot be what finds the loss here.
    slow.liveness.silent_after = Duration::from_secs(60);
    let client = start(slow, echo).await;
    let server = start(config(2), echo).await;
    client.transport.set_peer(NodeId(2), server.address());
    assert_eq!(client.transport.liveness().borrow()[&NodeId(2)], Liveness::Unknown);
    server.transport.set_peer(NodeId(1), client.address());
    server.transport.set_status(Bytes::from_static(b"hello"));
    until(&client, 2, Liveness::Alive).await;
    until(&server, 1, Liveness::Alive).await;
    while client.transport.peer_status(NodeId(2)).as_deref() != Some(&b"hello"[..]) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let first = client.transport.incarnations().borrow()[&NodeId(2)];
    let begin = Instant::now();
    server.transport.close();
    server.tasks.stop().await;
    until(&client, 2, Liveness::Gone).await;
    assert!(begin.elapsed() < Duration::from_secs(5), "silence is not what tells");
    assert_eq!(client.transport.peer_status(NodeId(2)), None);

    let mut again = config(2);
    again.listen = server.address();
    again.peers.insert(NodeId(1), client.address());
    let tasks = Tasks::new();
    let random = Random::from_seed(77);
    let server = Transport::start(again, Arc::new(TcpNet), tasks.clone(), random, None).await.unwrap();
    until(&client, 2, Liveness::Alive).await;
    assert_ne!(client.transport.incarnations().borrow()[&NodeId(2)], first);
    server.close();
    tasks.stop().await;
    client.tasks.stop().await;
}

/// The other process of `a_killed_process_is_gone_within_milliseconds`: lives until it is killed.
#[tokio::test]
#[ignore = "the child of another test"]
async fn child_process() {
    let Ok(parent) = std::env::var("TRANSPORT_TEST_PARENT") else { return };
    let mut child = config(2);
    child.peers.insert(NodeId(1), parent);
    let node = start(child, echo).await;
    println!("\nlistening {}", node.address());
    std::future::pending().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_is_gone_within_milliseconds() {
    let mut patient = config(1);
    patient.liveness.silent_after = Duration::from_secs(60);
    let node = start(patient, echo).await;
    let mut child = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "transport::tests::child_process", "--ignored", "--nocapture"])
        .env("TRANSPORT_TEST_PARENT", node.address())
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = tokio::io::BufReader::new(child.stdout.take().unwrap()).lines();
    let address = loop {
        let line = lines.next_line().await.unwrap().expect("the child says where it listens");
        if let Some(address) = line.strip_prefix("listening ") {
            break address.to_owned();
        }
    };
    node.transport.set_peer(NodeId(2), address);
    until(&node, 2, Liveness::Alive).await;
    node.transport.call(NodeId(2), Lane::Replicate, Message::default(), LONG).await.unwrap();
    let begin = Instant::now();
    child.kill().await.unwrap();
    until(&node, 2, Liveness::Gone).await;
    // Milliseconds, mostly; the limit only tells it from a timeout on a machine that is busy.
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    println!("gone after {:?}", begin.elapsed());
}

#[tokio::test]
async fn a_peer_that_says_nothing_is_silent_and_comes_back() {
    let node = start(config(1), echo).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    node.transport.set_peer(NodeId(2), listener.local_addr().unwrap().to_string());
    let connect = async || {
        let mut stream = TcpStream::connect(node.transport.local_addr()).await.unwrap();
        let identity = handshake::Identity { node: NodeId(2), uuid: Uuid::from_u128(2), incarnation: 5, cluster: None };
        let hello = handshake::Hello { identity, lane: Lane::Control, dialled: NodeId(1) };
        hello.write(&mut stream).await.unwrap();
        assert_eq!(handshake::Welcome::read(&mut stream).await.unwrap().refused, None);
        let mut out = frame::Outgoing::default();
        let frame_type = frame::FrameType::Heartbeat;
        frame::Frame { request: 0, frame_type, message: message(0, b"up", &[]) }.encode(&mut out);
        out.write_all(&mut stream).await.unwrap();
        stream
    };
    let mut stream = connect().await;
    until(&node, 2, Liveness::Alive).await;
    assert_eq!(node.transport.peer_status(NodeId(2)).as_deref(), Some(&b"up"[..]));
    until(&node, 2, Liveness::Silent).await;
    assert_eq!(stream.read(&mut [0; 16]).await.unwrap_or(0), 0, "the connection of a silent peer is given up");
    let _stream = connect().await;
    until(&node, 2, Liveness::Alive).await;
}

#[tokio::test]
async fn stopping_ends_all_tasks_and_all_calls() {
    let (client, server) = pair(|incoming: Incoming| std::mem::forget(incoming.reply)).await;
    let call = client.transport.start_call(NodeId(2), Lane::Read, Message::default(), LONG);
    until(&client, 2, Liveness::Alive).await;
    tokio::time::timeout(LONG, client.tasks.stop()).await.expect("all tasks end");
    tokio::time::timeout(LONG, server.tasks.stop()).await.expect("all tasks end");
    assert!(call.await.unwrap().is_err());
    assert!(client.transport.call(NodeId(2), Lane::Read, Message::default(), LONG).await.is_err());
}

/// Not a test: prints what loopback gives. `cargo test --release transport::tests::measure -- --ignored --nocapture`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn measure_calls_and_throughput() {
    let (client, _server) = pair(|incoming: Incoming| incoming.reply.send(Message::default())).await;
    let to = NodeId(2);
    client.transport.call(to, Lane::Replicate, Message::default(), LONG).await.unwrap();
    let small = message(1, b"header", &[&[7; 100]]);
    let begin = Instant::now();
    for _ in 0..20_000 {
        client.transport.call(to, Lane::Replicate, small.clone(), LONG).await.unwrap();
    }
    println!("one at a time: {:.1} us a call", begin.elapsed().as_secs_f64() / 20_000.0 * 1e6);
    for (name, bytes, window, count) in
        [("128 B", 100, 1000, 500_000u64), ("1 KiB", 1024, 1000, 300_000), ("256 KiB", 256 << 10, 32, 10_000)]
    {
        let message = message(1, b"header", &[&vec![7; bytes]]);
        let begin = Instant::now();
        let mut answers = std::collections::VecDeque::new();
        for _ in 0..count {
            answers.push_back(client.transport.start_call(to, Lane::Replicate, message.clone(), LONG));
            if answers.len() >= window {
                answers.pop_front().unwrap().await.unwrap().unwrap();
            }
        }
        for answer in answers {
            answer.await.unwrap().unwrap();
        }
        let seconds = begin.elapsed().as_secs_f64();
        let megabytes = count as f64 * bytes as f64 / seconds / 1e6;
        println!("{name}, {window} outstanding: {:.0} calls/s, {megabytes:.0} MB/s", count as f64 / seconds);
    }
}
