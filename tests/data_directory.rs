//! Whose directory is it, and who may come with which one: real processes, refused in words.

mod support;

use std::time::Duration;
use support::records::{append, create_topic, read_all};
use support::{Cluster, LONG, NodeSpec};

/// Starts a node that must end by itself with an error that names all of `words`, in few lines.
#[track_caller]
fn assert_refused(spec: &NodeSpec, words: &[&str]) {
    let (status, text) = spec.run_to_end(LONG);
    assert!(!status.success(), "it ended well:\n{text}");
    let last = text.lines().last().unwrap_or_default();
    for word in words {
        assert!(last.contains(word), "the last line must name {word:?}:\n{text}");
    }
    assert!(!text.contains("panicked"), "{text}");
}

#[test]
fn a_second_process_on_a_directory_is_refused() {
    let cluster = Cluster::start(1);
    let mut second = cluster.spec(1).clone();
    second.http = format!("127.0.0.1:{}", support::free_port());
    second.kafka = format!("127.0.0.1:{}", support::free_port());
    second.peer = format!("127.0.0.1:{}", support::free_port());
    second.peers = format!("1={}", second.peer);
    assert_refused(&second, &["in use by another process", &second.data_dir.display().to_string()]);
    cluster.http(1).get("/readyz").unwrap().expect(200);
}

#[test]
fn a_port_in_use_is_named_in_one_line() {
    let cluster = Cluster::start(1);
    let mut other = cluster.spec(1).clone();
    other.data_dir = cluster.directory().join("other");
    assert_refused(&other, &[&other.http]);
    other.http = format!("127.0.0.1:{}", support::free_port());
    assert_refused(&other, &[&other.kafka, "Kafka"]);
    other.kafka = format!("127.0.0.1:{}", support::free_port());
    assert_refused(&other, &[&other.peer]);
}

#[test]
fn a_directory_of_another_node_is_refused() {
    let mut cluster = Cluster::start(3);
    cluster.terminate(2);
    let mut wrong = cluster.spec(2).clone();
    cluster.terminate(3);
    wrong.data_dir = cluster.spec(3).data_dir.clone();
    assert_refused(&wrong, &["belongs to node 3", "not to node 2"]);
    cluster.restart(2);
    cluster.restart(3);
}

#[test]
fn a_node_of_another_cluster_is_refused() {
    let mut own = Cluster::start(3);
    let own_id = own.http(1).get("/v1/cluster").unwrap().expect(200).json();
    create_topic(&mut own.http(1), "t", 1);
    append(&mut own.http(1), "t", 0, "ours").unwrap().unwrap();
    own.terminate(3);
    // Another cluster of the same shape, somewhere else, that then lends its third node.
    let elsewhere = own.directory().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let ports: Vec<u16> = (0..3).map(|_| support::free_port()).collect();
    let peers: Vec<String> = (1..).zip(&ports).map(|(id, port)| format!("{id}=127.0.0.1:{port}")).collect();
    let mut others = Vec::new();
    for (id, port) in (1..).zip(&ports) {
        let mut spec = own.spec(id).clone();
        spec.data_dir = elsewhere.join(format!("node-{id}"));
        spec.log = elsewhere.join(format!("node-{id}.log"));
        spec.http = format!("127.0.0.1:{}", support::free_port());
        spec.kafka = format!("127.0.0.1:{}", support::free_port());
        spec.peer = format!("127.0.0.1:{port}");
        spec.peers = peers.join(",");
        others.push(spec);
    }
    let foreign = others[2].clone();
    let mut other = own.beside(others);
    other.ids().into_iter().for_each(|id| other.spawn(id));
    other.ids().into_iter().for_each(|id| other.wait_ready(id));
    let other_id = other.http(1).get("/v1/cluster").unwrap().expect(200).json();
    assert!(own_id["id"].is_string() && own_id["id"] != other_id["id"], "{own_id} and {other_id}");
    drop(other);
    let mut stranger = own.spec(3).clone();
    stranger.data_dir = foreign.data_dir;
    assert_refused(&stranger, &["belongs to cluster"]);
    own.restart(3);
    let records = read_all(&mut own.http(3), "t", 0);
    assert_eq!(records.iter().map(|record| record.value.as_str()).collect::<Vec<_>>(), ["ours"]);
}

#[test]
fn a_node_that_comes_back_empty_is_refused_with_the_reason() {
    let mut cluster = Cluster::start(3);
    create_topic(&mut cluster.http(1), "t", 3);
    for partition in 0..3 {
        append(&mut cluster.http(1), "t", partition, "kept").unwrap().unwrap();
    }
    cluster.kill(3);
    let spec = cluster.spec(3).clone();
    let aside = cluster.directory().join("aside");
    std::fs::rename(&spec.data_dir, &aside).unwrap();
    assert_refused(&spec, &["node 3", "data directory was lost", "votes and acknowledged records", "new node id"]);
    // And again, since its second start finds a directory that the first one made.
    assert_refused(&spec, &["data directory was lost"]);
    append(&mut cluster.http(2), "t", 0, "meanwhile").unwrap().unwrap();
    std::fs::remove_dir_all(&spec.data_dir).unwrap();
    std::fs::rename(&aside, &spec.data_dir).unwrap();
    cluster.restart(3);
    assert_eq!(read_all(&mut cluster.http(3), "t", 0).len(), 2);
}

#[test]
fn sigterm_ends_a_node_well_within_five_seconds() {
    let mut cluster = Cluster::start(3);
    create_topic(&mut cluster.http(1), "t", 6);
    for partition in 0..6 {
        append(&mut cluster.http(1), "t", partition, "before").unwrap().unwrap();
    }
    for id in [2, 3, 1] {
        let (status, time) = cluster.terminate(id);
        assert!(status.success(), "{status}\n{}", cluster.log(id));
        assert!(time < Duration::from_secs(5), "{time:?}");
        // The others go on at once: leaderships were handed over.
        let other = if id == 1 { 2 } else { 1 };
        let mut http = cluster.http(other);
        for partition in 0..6 {
            append(&mut http, "t", partition, &format!("without {id}")).unwrap().unwrap();
        }
        cluster.restart(id);
    }
    for id in cluster.ids() {
        for partition in 0..6 {
            assert_eq!(read_all(&mut cluster.http(id), "t", partition).len(), 4);
        }
    }
    // All at the same time, and back: nothing is left to wait for.
    for id in cluster.ids() {
        assert!(cluster.terminate(id).0.success());
    }
    for id in cluster.ids() {
        cluster.spawn(id);
    }
    for id in cluster.ids() {
        cluster.wait_ready(id);
    }
    assert_eq!(read_all(&mut cluster.http(2), "t", 5).len(), 4);
}
