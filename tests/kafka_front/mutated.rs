//! Requests of every API with some of their bytes changed: the node goes on, and its memory stays what it was. More of
//! them: `BALSA_MUTATED_FRAMES=100000`.

use crate::client::{Client, batch, produce, produced};
use crate::{connect, one_node, with_topic};
use balsa::random::Random;
use std::io::Read;
use std::net::Shutdown;
use std::path::Path;
use std::time::{Duration, Instant};

const FRAMES: u64 = 5_000;
/// Frames of one connection, most of which does not live to see the last.
const FRAMES_EACH: u64 = 10;
/// What a node may keep: it made topics and groups of some of these.
const MEMORY_SLACK: u64 = 64 << 20;

#[test]
fn changed_requests_do_no_harm() {
    let cluster = one_node();
    with_topic(&cluster, 1);
    let mut client = connect(&cluster, 1);
    assert_eq!(produced(&client.call(9, &produce("t", 0, -1, Some(batch(&[10]))))), (0, 0));
    let frames = std::env::var("BALSA_MUTATED_FRAMES").ok().and_then(|text| text.parse().ok()).unwrap_or(FRAMES);
    let corpus = corpus();
    let random = Random::from_seed(7);
    let mut settled = 0;
    for round in 0..frames / FRAMES_EACH {
        let mut bytes = Vec::new();
        for _ in 0..FRAMES_EACH {
            bytes.extend(changed(&corpus, &random));
        }
        let mut bad = Client::new(&cluster.spec(1).kafka);
        bad.send_raw(&bytes);
        let _ = bad.stream.shutdown(Shutdown::Write);
        // Until the node closes; what it says does not matter here.
        let _ = bad.stream.set_read_timeout(Some(Duration::from_secs(20)));
        let mut answers = Vec::new();
        if let Err(error) = bad.stream.read_to_end(&mut answers) {
            let waited = matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut);
            assert!(!waited, "round {round}: a connection hangs");
        }
        if round == frames / FRAMES_EACH / 5 {
            settled = cluster.resident_bytes(1);
        }
    }
    assert!(produced(&client.call(9, &produce("t", 0, -1, Some(batch(&[10]))))).1 > 0, "the node serves");
    let begun = Instant::now();
    while cluster.resident_bytes(1) > settled + MEMORY_SLACK {
        assert!(begun.elapsed() < Duration::from_secs(30), "{settled} → {} bytes", cluster.resident_bytes(1));
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(!cluster.log(1).contains("panicked"), "{}", cluster.log(1));
    println!("{frames} frames, {settled} → {} bytes", cluster.resident_bytes(1));
}

/// Sound requests, without their length: the seeds of the fuzz target.
fn corpus() -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/kafka_requests");
    let mut files: Vec<_> =
        std::fs::read_dir(dir).expect("there is a corpus").map(|file| file.expect("it can be listed").path()).collect();
    files.sort();
    files.iter().map(|file| std::fs::read(file).expect("a seed can be read")).collect()
}

fn changed(corpus: &[Vec<u8>], random: &Random) -> Vec<u8> {
    let mut frame = corpus[random.below(corpus.len() as u64) as usize].clone();
    for _ in 0..random.below(4) {
        let at = random.below(frame.len() as u64) as usize;
        frame[at] = random.below(256) as u8;
    }
    if random.below(8) == 0 {
        frame.truncate(random.below(frame.len() as u64) as usize);
    }
    let mut length = (frame.len() as u32).to_be_bytes();
    if random.below(32) == 0 {
        length[random.below(4) as usize] = random.below(256) as u8;
    }
    [&length[..], &frame].concat()
}
