//! Groups over HTTP from real processes: leases, shares, failovers, offsets from outside, and the command line.

mod support;

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};
use support::http::{Http, Reply};
use support::{Cluster, LONG};

/// A cluster with a topic of `partitions`, and a client of each node.
fn begin(partitions: u32) -> (Cluster, Vec<Http>) {
    let cluster = Cluster::start(3);
    let mut clients: Vec<Http> = cluster.ids().into_iter().map(|id| cluster.http(id)).collect();
    let body = json!({"name": "t", "partitions": partitions, "replication_factor": 3});
    clients[0].post_json("/v1/topics", &body).expect("an answer").expect(201);
    (cluster, clients)
}

fn write(client: &mut Http, partition: u32, count: usize) {
    let records: Vec<Value> = (0..count).map(|number| json!({"value": format!("p{partition}-{number}")})).collect();
    let target = format!("/v1/topics/t/partitions/{partition}/records");
    client.post_json(&target, &json!({"records": records})).expect("an answer").expect(200);
}

fn post(client: &mut Http, target: &str, body: &Value) -> Reply {
    client.post_json(target, body).expect("an answer")
}

fn poll(client: &mut Http, body: &Value) -> Value {
    post(client, "/v1/groups/g/poll", body).expect(200).json()
}

fn of(member: &str, lease_ms: u64, wait_ms: u64) -> Value {
    json!({"topics": ["t"], "member": member, "lease_ms": lease_ms, "wait_ms": wait_ms})
}

fn places(polled: &Value) -> Vec<(u64, u64)> {
    let records = polled["records"].as_array().expect("records");
    records.iter().map(|record| (record["partition"].as_u64().unwrap(), record["offset"].as_u64().unwrap())).collect()
}

fn problem(reply: Reply, status: u16, name: &str) {
    let document = reply.expect(status).json();
    assert_eq!(document["type"], format!("/problems/{name}"), "{document}");
}

#[test]
fn a_lease_holds_back_its_partition_until_it_is_acknowledged_or_runs_out() {
    let (_cluster, mut clients) = begin(1);
    write(&mut clients[0], 0, 10);
    let first = poll(&mut clients[0], &json!({"topics": ["t"], "member": "a", "max_records": 4, "lease_ms": 60_000}));
    assert_eq!(places(&first), [(0, 0), (0, 1), (0, 2), (0, 3)]);
    assert_eq!((&first["member"], &first["records"][0]["topic"]), (&json!("a"), &json!("t")));
    for client in &mut clients {
        let nothing = poll(client, &of("a", 1000, 0));
        assert_eq!((places(&nothing).len(), &nothing["lease"]), (0, &Value::Null), "not while it is leased");
    }
    let lease = &first["lease"];
    let part = json!({"lease": lease, "offsets": [{"topic": "t", "partition": 0, "offset": 1}]});
    post(&mut clients[1], "/v1/groups/g/ack", &part).expect(200);
    post(&mut clients[2], "/v1/groups/g/ack", &json!({"lease": lease, "release": true})).expect(200);
    problem(post(&mut clients[0], "/v1/groups/g/ack", &json!({"lease": lease})), 409, "lease-ended");

    let second = poll(&mut clients[2], &of("a", 300, 0));
    assert_eq!(places(&second)[0], (0, 2), "behind what was acknowledged");
    let began = Instant::now();
    let again = poll(&mut clients[1], &of("a", 60_000, 20_000));
    assert_eq!(places(&again), places(&second), "what was not acknowledged comes again");
    assert!(began.elapsed() < Duration::from_secs(10));
    problem(post(&mut clients[0], "/v1/groups/g/ack", &json!({"lease": second["lease"]})), 409, "lease-ended");
    let renewed = json!({"lease": again["lease"], "lease_ms": 60_000});
    post(&mut clients[0], "/v1/groups/g/renew", &renewed).expect(200);
    post(&mut clients[0], "/v1/groups/g/ack", &json!({"lease": again["lease"]})).expect(200);

    let group = clients[1].get("/v1/groups/g").expect("an answer").expect(200).json();
    assert_eq!(
        (&group["offsets"][0]["offset"], &group["lag"], &group["kind"]),
        (&json!(10), &json!(0), &json!("http"))
    );
    write(&mut clients[0], 0, 3);
    let group = clients[2].get("/v1/groups/g").expect("an answer").expect(200).json();
    assert_eq!((&group["offsets"][0]["lag"], &group["offsets"][0]["high_watermark"]), (&json!(3), &json!(13)));
    assert!(group["lag_seconds"].as_f64().expect("a number") < 60.0);
}

#[test]
fn members_share_partitions_and_a_poll_waits_for_records() {
    let (_cluster, mut clients) = begin(4);
    for member in ["a", "b"] {
        poll(&mut clients[0], &of(member, 1000, 0));
    }
    (0..4).for_each(|partition| write(&mut clients[0], partition, 2));
    let (a, b) = (poll(&mut clients[1], &of("a", 60_000, 5000)), poll(&mut clients[2], &of("b", 60_000, 5000)));
    let partitions =
        |polled: &Value| places(polled).into_iter().map(|(partition, _)| partition).collect::<BTreeSet<_>>();
    assert_eq!((partitions(&a).len(), partitions(&b).len()), (2, 2), "{a} {b}");
    assert!(partitions(&a).is_disjoint(&partitions(&b)));
    post(&mut clients[0], "/v1/groups/g/leave", &json!({"member": "a"})).expect(200);
    problem(post(&mut clients[0], "/v1/groups/g/leave", &json!({"member": "a"})), 404, "unknown-member");
    let rest = poll(&mut clients[0], &of("c", 60_000, 5000));
    assert!(partitions(&rest).is_disjoint(&partitions(&b)), "b holds its own");
    for (polled, node) in [(&b, 0), (&rest, 1)] {
        post(&mut clients[node], "/v1/groups/g/ack", &json!({"lease": polled["lease"]})).expect(200);
    }

    let waiting = std::thread::scope(|scope| {
        let mut other = clients.pop().expect("three clients");
        let waiting = scope.spawn(move || {
            let began = Instant::now();
            let polled = post(
                &mut other,
                "/v1/groups/late/poll",
                &json!({"topics": ["t"], "from": "latest", "wait_ms": 20_000}),
            );
            (polled.expect(200).json(), began.elapsed())
        });
        std::thread::sleep(Duration::from_millis(1500));
        write(&mut clients[0], 3, 1);
        waiting.join().expect("no panic")
    });
    assert_eq!(places(&waiting.0), [(3, 2)], "only what came after the group began");
    assert!(waiting.1 < Duration::from_secs(15) && waiting.0["member"].as_str().is_some_and(|name| !name.is_empty()));
}

#[test]
fn leases_and_offsets_outlive_the_node_that_coordinates() {
    let (mut cluster, mut clients) = begin(1);
    write(&mut clients[0], 0, 10);
    let first = poll(&mut clients[0], &json!({"topics": ["t"], "member": "a", "max_records": 5, "lease_ms": 20_000}));
    assert_eq!(places(&first).len(), 5);
    let topic = clients[0].get("/v1/topics/__consumer_offsets").expect("an answer").expect(200).json();
    let partitions = topic["partitions"].as_array().expect("partitions");
    let written = partitions.iter().find(|partition| partition["high_watermark"].as_u64() > Some(0));
    // A lease is no record, so the group's partition shows by its term.
    let led = written.or_else(|| partitions.iter().find(|partition| partition["term"].as_u64() > Some(0)));
    let leader = led.expect("the partition of the group")["leader"].as_u64().expect("a leader");
    cluster.kill(leader);
    let ids = cluster.ids();
    let mut living: Vec<&mut Http> =
        clients.iter_mut().zip(ids).filter(|(_, id)| *id != leader).map(|(client, _)| client).collect();
    let nothing = poll(living[0], &of("b", 1000, 0));
    assert_eq!(places(&nothing).len(), 0, "the lease goes on");
    let began = Instant::now();
    post(living[1], "/v1/groups/g/ack", &json!({"lease": first["lease"]})).expect(200);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let rest = poll(living[0], &of("b", 60_000, 10_000));
    assert_eq!(places(&rest)[0], (0, 5));
    cluster.restart(leader);
    let group = cluster.http(leader).get("/v1/groups/g").expect("an answer").expect(200).json();
    assert_eq!(group["offsets"][0]["offset"], 5);
}

#[test]
fn offsets_are_set_from_outside_while_nobody_reads() {
    let (_cluster, mut clients) = begin(2);
    (0..2).for_each(|partition| write(&mut clients[0], partition, 5));
    let reset = "/v1/groups/g/offsets";
    let set = post(&mut clients[1], reset, &json!({"topics": ["t"], "to": "latest"})).expect(200).json();
    let expected = json!([{"topic": "t", "partition": 0, "offset": 5}, {"topic": "t", "partition": 1, "offset": 5}]);
    assert_eq!(set["offsets"], expected);
    let exactly = json!({"offsets": [{"topic": "t", "partition": 1, "offset": 2}]});
    post(&mut clients[2], reset, &exactly).expect(200);
    let beyond = json!({"offsets": [{"topic": "t", "partition": 1, "offset": 6}]});
    problem(post(&mut clients[2], reset, &beyond), 416, "offset-out-of-range");
    problem(post(&mut clients[2], reset, &json!({"topics": ["nix"], "to": 0})), 404, "unknown-topic");
    problem(post(&mut clients[2], reset, &json!({"to": "middle"})), 400, "bad-field");
    let polled = poll(&mut clients[0], &of("a", 60_000, 0));
    assert_eq!(places(&polled), [(1, 2), (1, 3), (1, 4)]);
    problem(post(&mut clients[1], reset, &exactly), 409, "group-has-members");
    problem(clients[1].delete("/v1/groups/g").expect("an answer"), 409, "group-has-members");
    post(&mut clients[0], "/v1/groups/g/leave", &json!({"member": "a"})).expect(200);
    clients[1].delete("/v1/groups/g").expect("an answer").expect(204);
    problem(clients[2].get("/v1/groups/g").expect("an answer"), 404, "unknown-group");
    let groups = clients[0].get("/v1/groups").expect("an answer").expect(200).json();
    assert_eq!(groups, json!({"groups": []}));

    let topics = clients[0].get("/v1/topics").expect("an answer").expect(200).json();
    assert_eq!(topics["topics"].as_array().expect("topics").len(), 1, "the groups' own topic is not shown");
    let all = clients[0].get("/v1/topics?internal=true").expect("an answer").expect(200).json();
    assert_eq!(all["topics"].as_array().expect("topics").len(), 2);
    let records = json!({"records": [{"value": "x"}]});
    problem(post(&mut clients[0], "/v1/topics/__consumer_offsets/records", &records), 403, "internal-topic");
    problem(clients[0].delete("/v1/topics/__consumer_offsets").expect("an answer"), 403, "internal-topic");
}

#[test]
fn the_command_line_shows_and_sets() {
    let (cluster, mut clients) = begin(2);
    (0..2).for_each(|partition| write(&mut clients[0], partition, 5));
    let server = format!("http://{}", cluster.address(2));
    let group = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_balsa"));
        let output = command.arg("group").args(arguments).args(["--server", &server]).output().expect("it runs");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert_eq!(group(&["list"]), (Some(0), "no groups\n".to_string()));
    let (code, plan) = group(&["reset-offsets", "g", "--topic", "t", "--to-latest"]);
    assert!(code == Some(0) && plan.contains("new offset"), "{plan}");
    assert_eq!(group(&["describe", "g"]).0, Some(3), "a plan changes nothing");
    assert_eq!(group(&["reset-offsets", "g", "--topic", "t", "--to-latest", "--execute"]).0, Some(0));
    assert_eq!(group(&["reset-offsets", "g", "--topic", "t:1", "--shift-by", "-3", "--yes"]).0, Some(0));
    assert_eq!(group(&["reset-offsets", "g", "--all-topics"]).0, Some(2), "where to?");
    let (_, described) = group(&["describe", "g", "--output", "json"]);
    let described: Value = serde_json::from_str(&described).expect("JSON");
    let offsets: Vec<_> =
        described["offsets"].as_array().expect("offsets").iter().map(|of| of["offset"].as_u64()).collect();
    assert_eq!(offsets, [Some(5), Some(2)]);
    let (code, described) = group(&["describe", "g"]);
    assert!(code == Some(0) && described.contains("lag: 3 records"), "{described}");
    assert!(group(&["list"]).1.contains("Empty"));
    assert_eq!(group(&["delete", "g", "--yes"]).0, Some(0));
    assert_eq!(group(&["delete", "g", "--yes"]).0, Some(3));
    assert!(Instant::now().elapsed() < LONG);
}
