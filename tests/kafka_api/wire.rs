//! A Kafka client of the plainest kind: one request, one answer, any version.

use balsa::record::{RecordSet, build_batch};
use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{ProduceRequest, RequestHeader, ResponseHeader, TopicName};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A connection to one node.
pub struct Client {
    stream: TcpStream,
    correlation_id: i32,
}

impl Client {
    pub fn connect(address: &str) -> Client {
        let stream = TcpStream::connect(address).expect("the node listens for Kafka clients");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout can be set");
        Client { stream, correlation_id: 0 }
    }

    /// Sends a request and gives its answer, of which nothing may be left over.
    pub fn call<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        let sent = self.send(version, request);
        self.receive::<R>(version, sent)
    }

    /// Sends a request; gives the number of its answer. Answers come in the order of requests.
    pub fn send<R: Request>(&mut self, version: i16, request: &R) -> i32 {
        self.correlation_id += 1;
        let mut frame = BytesMut::new();
        RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation_id)
            .with_client_id(Some(StrBytes::from_static_str("test")))
            .encode(&mut frame, R::header_version(version))
            .expect("the header can be said");
        request.encode(&mut frame, version).expect("the request can be said in this version");
        self.stream.write_all(&(frame.len() as u32).to_be_bytes()).expect("the node reads");
        self.stream.write_all(&frame).expect("the node reads");
        self.correlation_id
    }

    /// The answer to the request of this number, which must be the next one.
    pub fn receive<R: Request>(&mut self, version: i16, sent: i32) -> R::Response {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).expect("the node answers");
        let mut answer = vec![0; u32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut answer).expect("the node answers in full");
        let mut answer = Bytes::from(answer);
        let header_version = <R::Response as HeaderVersion>::header_version(version);
        let header = ResponseHeader::decode(&mut answer, header_version).expect("an answer has a header");
        assert_eq!(header.correlation_id, sent);
        let response = R::Response::decode(&mut answer, version).expect("the answer has its version's form");
        assert!(!answer.has_remaining(), "{} bytes are left behind the answer", answer.remaining());
        response
    }

    /// Writes one batch with acks=all.
    pub fn produce(&mut self, topic: &str, partition: i32, batch: Bytes) -> PartitionProduceResponse {
        let mut response = self.call(9, &write(topic, partition, batch));
        response.responses.remove(0).partition_responses.remove(0)
    }
}

/// One batch with acks=all.
pub fn write(topic: &str, partition: i32, batch: Bytes) -> ProduceRequest {
    let data = PartitionProduceData::default().with_index(partition).with_records(Some(batch));
    let topics = vec![TopicProduceData::default().with_name(name(topic)).with_partition_data(vec![data])];
    ProduceRequest::default().with_transactional_id(None).with_acks(-1).with_timeout_ms(10_000).with_topic_data(topics)
}

pub fn name(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_owned()))
}

pub fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// A batch of records with these timestamps.
pub fn batch(timestamps: &[i64]) -> Bytes {
    let mut set = RecordSet::new();
    for at in timestamps {
        set.push(*at, None, Some(b"value"), &[]);
    }
    build_batch(&[set]).bytes
}

/// The batch as an idempotent producer sends it.
pub fn of_producer(batch: &Bytes, producer_id: i64, epoch: i16, sequence: i32) -> Bytes {
    let mut bytes = batch.to_vec();
    bytes[43..51].copy_from_slice(&producer_id.to_be_bytes());
    bytes[51..53].copy_from_slice(&epoch.to_be_bytes());
    bytes[53..57].copy_from_slice(&sequence.to_be_bytes());
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes.into()
}
