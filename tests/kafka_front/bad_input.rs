//! Bad input: each row is told what is wrong, or loses its connection with a reason in the log; the node goes on, keeps
//! what it has, and gives back its memory.

use crate::client::{Came, Client, batch, frame, produce, produced, raw_frame};
use crate::{connect, end_of, one_node, with_topic};
use bytes::Bytes;
use std::time::{Duration, Instant};

/// What a node may keep of its peak: allocators give memory back late and not all of it.
const MEMORY_SLACK: u64 = 48 << 20;

/// Bytes that end their connection, and what the log says then.
fn closing() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let metadata = |version, flexible, body: &[u8]| raw_frame(3, version, 1, flexible, body);
    let mut unended = (1_u32 << 20).to_be_bytes().to_vec();
    unended.extend([0xff; 8]);
    vec![
        ("a length below zero", vec![0xff, 0xff, 0xff, 0xfe, 0, 0], "a length of -2"),
        ("a length above the limit", (17_u32 << 20).to_be_bytes().to_vec(), "larger than"),
        ("HTTP", b"GET / HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(), "no Kafka client"),
        ("TLS", vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3], "no Kafka client"),
        ("no header", vec![0, 0, 0, 3, 0, 3, 0], "shorter than its header"),
        ("half a header", vec![0, 0, 0, 8, 0, 3, 0, 1, 0, 0, 0, 1], "cut off"),
        ("a client id beyond the end", vec![0, 0, 0, 10, 0, 3, 0, 1, 0, 0, 0, 1, 0x7f, 0xff], "cut off"),
        ("an API that nobody knows", raw_frame(999, 0, 1, false, b""), "API 999"),
        ("an API that is not served", raw_frame(24, 0, 1, false, b""), "API 24"),
        ("a version of the future", metadata(99, true, b""), "versions 0 to 12 are served"),
        ("a version below zero", metadata(-1, false, b""), "versions 0 to 12 are served"),
        ("no body", metadata(1, false, b""), "are left"),
        ("two thousand million topics", metadata(1, false, &i32::MAX.to_be_bytes()), "does not fit"),
        ("as many, compact", metadata(9, true, &[0xff, 0xff, 0xff, 0xff, 0x07]), "does not fit"),
        ("a list shorter than null", metadata(1, false, &(-7_i32).to_be_bytes()), "a length or count is -7"),
        ("a name beyond the end", metadata(1, false, &[0, 0, 0, 1, 0x7f, 0xff, b'x']), "are left"),
        ("a name that is no text", metadata(1, false, &[0, 0, 0, 1, 0, 2, 0xff, 0xfe]), "utf-8"),
        ("a number without end", metadata(9, true, &[0xff; 12]), "more than five bytes"),
        (
            "a null where none may be",
            raw_frame(0, 3, 1, false, &[0xff, 0xff, 0, 1, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]),
            "-1",
        ),
    ]
}

/// Writes that are refused by a code.
fn refused() -> Vec<(&'static str, Option<Bytes>, i16)> {
    let edited = |at: usize, byte: u8| {
        let mut bytes = batch(&[100, 100]).to_vec();
        bytes[at] = byte;
        Some(Bytes::from(bytes))
    };
    let sound = batch(&[100]);
    vec![
        ("a wrong CRC", edited(100, 0x55), 2),
        ("message format 0", edited(16, 0), 43),
        ("message format 1", edited(16, 1), 43),
        ("a format of the future", edited(16, 3), 43),
        ("no records", None, 87),
        ("no bytes", Some(Bytes::new()), 87),
        ("half a batch", Some(sound.slice(..sound.len() - 20)), 2),
        ("half a header", Some(sound.slice(..30)), 2),
        ("bytes behind the batch", Some([&sound[..], b"more"].concat().into()), 87),
        ("a record that is too large", Some(batch(&[2 << 20])), 10),
    ]
}

#[test]
fn bad_input_is_told_and_does_no_harm() {
    let cluster = one_node();
    with_topic(&cluster, 1);
    let mut client = connect(&cluster, 1);
    assert_eq!(produced(&client.call(9, &produce("t", 0, -1, Some(batch(&[10]))))), (0, 0));
    let mut failures = Vec::new();
    let mut settled = 0;
    for round in 0..3 {
        for (name, bytes, reason) in closing() {
            let before = cluster.log(1).len();
            let mut bad = connect(&cluster, 1);
            bad.send_raw(&bytes);
            if let Came::Frame(frame) = bad.next() {
                failures.push(format!("{name}: answered with {frame:?}"));
            }
            let logged = wait_for_log(&cluster, before);
            if !logged.contains("a Kafka connection was closed") || !logged.contains(reason) {
                failures.push(format!("{name}: the log has no {reason:?}: {logged:?}"));
            }
        }
        for (name, records, code) in refused() {
            let got = produced(&client.call(9, &produce("t", 0, -1, records))).0;
            if got != code {
                failures.push(format!("{name}: code {got} and not {code}"));
            }
        }
        for (name, request, code) in [
            ("acks that there are not", produce("t", 0, 5, Some(batch(&[1]))), 21),
            ("a topic that is not there", produce("absent", 0, -1, Some(batch(&[1]))), 3),
            ("a partition that is not there", produce("t", 7, -1, Some(batch(&[1]))), 3),
            ("a partition below zero", produce("t", -7, -1, Some(batch(&[1]))), 3),
            ("the groups' own topic", produce("__consumer_offsets", 0, -1, Some(batch(&[1]))), 17),
        ] {
            let got = produced(&client.call(9, &request)).0;
            if got != code {
                failures.push(format!("{name}: code {got} and not {code}"));
            }
        }
        unfinished(&cluster.spec(1).kafka);
        // Once through, so that what is made lazily is there before memory is compared.
        if round == 0 {
            settled = cluster.resident_bytes(1);
        }
    }
    assert!(failures.is_empty(), "{} rows failed:\n{}", failures.len(), failures.join("\n"));
    assert_eq!(end_of(&mut client, 0), 1, "nothing was added");
    let begun = Instant::now();
    while cluster.resident_bytes(1) > settled + MEMORY_SLACK {
        assert!(begun.elapsed() < Duration::from_secs(30), "{} bytes stay", cluster.resident_bytes(1));
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(!cluster.log(1).contains("panicked"), "{}", cluster.log(1));
}

/// What the node logs next, with a moment's patience.
fn wait_for_log(cluster: &crate::support::Cluster, before: usize) -> String {
    let begun = Instant::now();
    loop {
        let log = cluster.log(1);
        // Whole lines: one may be on its way into the file.
        if (log.len() > before && log.ends_with('\n')) || begun.elapsed() > Duration::from_secs(5) {
            return log[before..].to_owned();
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Clients that leave in the middle, or say that much is to come and send nothing.
fn unfinished(address: &str) {
    let whole = frame(9, 1, &produce("t", 0, -1, Some(batch(&[500_000]))));
    for cut in [1, 4, 20, 5_000, whole.len() - 1] {
        Client::new(address).send_raw(&whole[..cut]);
    }
    let silent: Vec<Client> = (0..200)
        .map(|_| {
            let mut client = Client::new(address);
            client.send_raw(&(16_u32 << 20).to_be_bytes());
            client
        })
        .collect();
    drop(silent);
}
