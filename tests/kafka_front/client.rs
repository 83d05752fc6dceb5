//! A client of the wire protocol that hides nothing: frames go out as they are given, and come back whole.

use balsa::record::{RecordSet, build_batch};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, HeaderVersion, Request, StrBytes};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Longer than any answer should take.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Client {
    pub stream: TcpStream,
    next_id: i32,
}

/// What came back.
#[derive(Debug)]
pub enum Came {
    Frame(Bytes),
    Closed,
}

impl Client {
    pub fn new(address: &str) -> Client {
        let stream = TcpStream::connect(address).expect("the node listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        stream.set_nodelay(true).expect("a socket takes its options");
        Client { stream, next_id: 1 }
    }

    pub fn send_raw(&mut self, bytes: &[u8]) {
        // The node may have closed already: what comes back tells.
        let _ = self.stream.write_all(bytes);
    }

    /// Sends a request; gives its correlation id.
    pub fn send<Q: Request>(&mut self, version: i16, request: &Q) -> i32 {
        let id = self.next_id;
        self.next_id += 1;
        self.send_raw(&frame(version, id, request));
        id
    }

    /// The next frame, without its length.
    pub fn next(&mut self) -> Came {
        let mut length = [0; 4];
        if let Err(error) = self.stream.read_exact(&mut length) {
            assert!(!matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "no answer in time");
            return Came::Closed;
        }
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut frame).expect("an answer is whole");
        Came::Frame(frame.into())
    }

    /// The next answer, which must be that of request `id`, to its last byte.
    pub fn receive<Q: Request>(&mut self, version: i16, id: i32) -> Q::Response {
        let Came::Frame(mut frame) = self.next() else { panic!("the node closed the connection") };
        assert_eq!(frame.get_i32(), id, "answers come in the order of their requests");
        if Q::Response::header_version(version) >= 1 {
            assert_eq!(frame.get_u8(), 0, "no tagged fields");
        }
        let response = Q::Response::decode(&mut frame, version).expect("an answer can be read");
        assert_eq!(frame.len(), 0, "nothing is left of API {} in version {version}", Q::KEY);
        response
    }

    pub fn call<Q: Request>(&mut self, version: i16, request: &Q) -> Q::Response {
        let id = self.send(version, request);
        self.receive::<Q>(version, id)
    }

    /// Sends bytes and gives the code that stands `at` bytes into the answer behind its correlation id.
    pub fn code_after(&mut self, bytes: &[u8], at: usize) -> Option<i16> {
        self.send_raw(bytes);
        match self.next() {
            Came::Frame(frame) => Some((&frame[4 + at..]).get_i16()),
            Came::Closed => None,
        }
    }
}

/// A request as it goes out.
pub fn frame<Q: Request>(version: i16, id: i32, request: &Q) -> Vec<u8> {
    let mut body = BytesMut::new();
    request.encode(&mut body, version).expect("a request can be written");
    raw_frame(Q::KEY, version, id, Q::header_version(version) >= 2, &body)
}

pub fn raw_frame(key: i16, version: i16, id: i32, flexible: bool, body: &[u8]) -> Vec<u8> {
    let mut frame = BytesMut::new();
    frame.put_i32((8 + 2 + 4 + usize::from(flexible) + body.len()) as i32);
    frame.put_i16(key);
    frame.put_i16(version);
    frame.put_i32(id);
    frame.put_i16(4);
    frame.put_slice(b"test");
    if flexible {
        frame.put_u8(0);
    }
    frame.put_slice(body);
    frame.to_vec()
}

pub fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

/// A batch of records whose values are `sizes` bytes long.
pub fn batch(sizes: &[usize]) -> Bytes {
    let mut set = RecordSet::new();
    for (place, size) in sizes.iter().enumerate() {
        let value: Vec<u8> = (0..*size).map(|at| (at * 31 + place) as u8).collect();
        set.push(1_700_000_000_000 + place as i64, Some(b"key"), Some(&value), &[]);
    }
    build_batch(&[set]).bytes
}

pub fn produce(topic: &str, partition: i32, acks: i16, records: Option<Bytes>) -> ProduceRequest {
    let data = PartitionProduceData::default().with_index(partition).with_records(records);
    let data = TopicProduceData::default().with_name(topic_name(topic)).with_partition_data(vec![data]);
    ProduceRequest::default().with_acks(acks).with_timeout_ms(10_000).with_topic_data(vec![data])
}

/// A request for partitions from offsets, of no session, that does not wait.
pub fn fetch(topic: &str, partitions: &[(i32, i64)]) -> FetchRequest {
    let asked = |(partition, offset): &(i32, i64)| {
        FetchPartition::default()
            .with_partition(*partition)
            .with_fetch_offset(*offset)
            .with_partition_max_bytes(1 << 20)
    };
    let asked =
        FetchTopic::default().with_topic(topic_name(topic)).with_partitions(partitions.iter().map(asked).collect());
    FetchRequest::default()
        .with_max_wait_ms(0)
        .with_min_bytes(1)
        .with_max_bytes(50 << 20)
        .with_session_epoch(-1)
        .with_topics(vec![asked])
}

/// The one partition of an answer to [`produce`]: its error and base offset.
pub fn produced(response: &ProduceResponse) -> (i16, i64) {
    let partition = &response.responses[0].partition_responses[0];
    (partition.error_code, partition.base_offset)
}
