//! Commands, lookups and bytes of the meta state, as a whole.

use super::apply::REQUESTS_MAX;
use super::*;
use crate::types::{GroupId, NodeId, PartitionId, TopicId};
use proptest::prelude::*;
use std::collections::BTreeMap;
use uuid::Uuid;

/// A state machine that numbers entries and requests by itself.
#[derive(Default)]
struct Driver {
    state: MetaState,
    index: u64,
}

impl Driver {
    fn send(&mut self, request_id: u128, change: MetaChange) -> MetaResponse {
        self.index += 1;
        let command = MetaCommand { request_id, change };
        let decoded = MetaCommand::decode(&command.encode()).unwrap();
        assert_eq!(decoded, command);
        let response = self.state.apply(LogIndex(self.index), decoded);
        assert_eq!(MetaResponse::decode(&response.encode()).unwrap(), response);
        response
    }

    fn run(&mut self, change: MetaChange) -> Result<MetaOutcome, MetaError> {
        let request_id = u128::from(self.index) + 1;
        self.send(request_id, change).result
    }

    fn image(&self) -> Arc<MetaImage> {
        self.state.image()
    }
}

fn node(id: u64) -> Node {
    Node {
        id: NodeId(id),
        uuid: None,
        http_address: String::new(),
        kafka_address: None,
        peer_address: format!("127.0.0.1:{}", 9191 + id),
        rack: None,
        version: String::new(),
    }
}

fn registered(id: u64, uuid: u128) -> Node {
    Node {
        uuid: Some(Uuid::from_u128(uuid)),
        http_address: format!("127.0.0.1:{}", 8081 + id),
        rack: Some(format!("r{id}")),
        version: "0.1.0".to_owned(),
        ..node(id)
    }
}

fn topic_id(id: u128) -> TopicId {
    TopicId(Uuid::from_u128(id))
}

fn lists(lists: &[&[u64]]) -> Assignments {
    let lists: Vec<Vec<NodeId>> = lists.iter().map(|list| list.iter().copied().map(NodeId).collect()).collect();
    Assignments::from_lists(&lists).unwrap()
}

fn create(name: &str, id: u128, assignments: Assignments) -> MetaChange {
    MetaChange::CreateTopic { topic_id: topic_id(id), name: name.to_owned(), assignments, config: BTreeMap::new() }
}

fn add(id: u128, expected_partitions: u32, assignments: Assignments) -> MetaChange {
    let add = Some(AddPartitions { expected_partitions, assignments });
    MetaChange::AlterTopic { topic_id: topic_id(id), add, config: BTreeMap::new() }
}

fn formed() -> Driver {
    let mut driver = Driver::default();
    let nodes = vec![node(1), node(2), node(3)];
    driver.run(MetaChange::InitCluster { cluster_id: Uuid::from_u128(7), nodes }).unwrap();
    driver
}

/// Every way to look a group up agrees with the list of all, and the counts are what one would count.
fn check_lookups(image: &MetaImage) {
    let mut counts: BTreeMap<NodeId, NodeCounts> = BTreeMap::new();
    let mut live = 0;
    for place in image.groups() {
        live += 1;
        let found = image.group(place.group).unwrap();
        assert_eq!((found.topic.id, found.partition), (place.topic.id, place.partition));
        assert_eq!(found.replicas, place.replicas);
        assert_eq!(place.topic.group(place.partition), Some(place.group));
        assert!(place.group < image.next_group_id());
        for (at, replica) in place.replicas.iter().enumerate() {
            let entry = counts.entry(*replica).or_default();
            entry.replicas += 1;
            entry.preferred_leaders += u64::from(at == 0);
        }
    }
    assert_eq!(image.partition_count(), live);
    assert_eq!(image.topics().count() as u64, image.topic_count());
    for topic in image.topics() {
        assert!(Arc::ptr_eq(topic, image.topic(&topic.name).unwrap()));
        assert!(Arc::ptr_eq(topic, image.topic_by_id(topic.id).unwrap()));
        assert_eq!(topic.group(PartitionId(topic.partitions())), None);
    }
    for node in image.nodes() {
        assert_eq!(image.counts(node.id), counts.get(&node.id).copied().unwrap_or_default());
        assert_eq!(image.groups_of(node.id).count() as u64, image.counts(node.id).replicas);
    }
    let status =
        (1..image.next_group_id().0).filter(|id| matches!(image.group_status(GroupId(*id)), GroupStatus::Live(_)));
    assert_eq!(status.count() as u64, live);
}

#[test]
fn a_cluster_is_formed_once() {
    let mut driver = Driver::default();
    assert_eq!(driver.run(create("t", 1, lists(&[&[1]]))), Err(MetaError::NotInitialized));
    assert_eq!(driver.run(MetaChange::RegisterNode { node: registered(1, 1) }), Err(MetaError::NotInitialized));
    let init = |id, nodes| MetaChange::InitCluster { cluster_id: Uuid::from_u128(id), nodes };
    assert!(matches!(driver.run(init(5, vec![node(1), node(1)])), Err(MetaError::Invalid(_))));
    assert!(matches!(driver.run(init(5, vec![node(0)])), Err(MetaError::Invalid(_))));
    assert_eq!(driver.image().cluster_id(), None);
    let heard = |id| Node { uuid: Some(Uuid::from_u128(9)), ..node(id) };
    let taken = MetaError::NodeUuidTaken { uuid: Uuid::from_u128(9), known: NodeId(1), given: NodeId(2) };
    assert_eq!(driver.run(init(5, vec![heard(1), heard(2)])), Err(taken));
    assert_eq!(driver.run(init(5, vec![heard(1), node(2)])), Ok(MetaOutcome::ClusterInitialized));
    assert!(!driver.image().node(NodeId(1)).unwrap().is_registered(), "it has not said where it listens");
    let (known, given) = (Uuid::from_u128(9), Uuid::from_u128(8));
    let empty_handed = driver.run(MetaChange::RegisterNode { node: registered(1, 8) });
    assert_eq!(empty_handed, Err(MetaError::NodeIdentity { node: NodeId(1), known, given }));
    driver.run(MetaChange::RegisterNode { node: registered(1, 9) }).unwrap();
    assert!(driver.image().node(NodeId(1)).unwrap().is_registered());
    let cluster_id = Uuid::from_u128(5);
    assert_eq!(driver.run(init(6, vec![])), Err(MetaError::AlreadyInitialized { cluster_id }));
    assert_eq!(driver.image().cluster_id(), Some(cluster_id));
}

#[test]
fn a_node_keeps_its_identity_and_may_change_its_addresses() {
    let mut driver = formed();
    let register = |node| MetaChange::RegisterNode { node };
    assert_eq!(driver.run(register(registered(1, 11))), Ok(MetaOutcome::NodeRegistered));
    let moved = Node { http_address: "10.0.0.1:80".to_owned(), ..registered(1, 11) };
    assert_eq!(driver.run(register(moved.clone())), Ok(MetaOutcome::NodeRegistered));
    assert_eq!(**driver.image().node(NodeId(1)).unwrap(), moved);
    let (known, given) = (Uuid::from_u128(11), Uuid::from_u128(12));
    assert_eq!(driver.run(register(registered(1, 12))), Err(MetaError::NodeIdentity { node: NodeId(1), known, given }));
    let taken = MetaError::NodeUuidTaken { uuid: known, known: NodeId(1), given: NodeId(2) };
    assert_eq!(driver.run(register(registered(2, 11))), Err(taken));
    assert!(matches!(driver.run(register(node(2))), Err(MetaError::Invalid(_))));
    assert_eq!(driver.run(register(registered(4, 14))), Ok(MetaOutcome::NodeRegistered));
    assert_eq!(driver.image().nodes().map(|node| node.id.0).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(**driver.image().node(NodeId(1)).unwrap(), moved);
}

#[test]
fn topics_come_grow_and_go_and_group_ids_are_never_used_again() {
    let mut driver = formed();
    let created = driver.run(create("a", 1, lists(&[&[1, 2], &[2, 3]])));
    assert_eq!(created, Ok(MetaOutcome::TopicCreated { topic_id: topic_id(1), first_group: GroupId(1) }));
    driver.run(create("b", 2, lists(&[&[3, 1]]))).unwrap();
    driver.run(add(1, 2, lists(&[&[3, 1], &[1, 2]]))).unwrap();
    let image = driver.image();
    check_lookups(&image);
    let topic = image.topic("a").unwrap();
    assert_eq!((topic.partitions(), topic.partitions_at_create), (4, 2));
    let groups: Vec<u64> = topic.groups().map(|(_, group, _)| group.0).collect();
    assert_eq!(groups, [1, 2, 4, 5]);
    assert_eq!(image.group(GroupId(4)).unwrap().partition, PartitionId(2));

    driver.run(MetaChange::DeleteTopic { topic_id: topic_id(1) }).unwrap();
    driver.run(create("a", 3, lists(&[&[2, 1]]))).unwrap();
    let later = driver.image();
    check_lookups(&later);
    assert!(matches!(later.group_status(GroupId(1)), GroupStatus::Deleted));
    assert!(matches!(later.group_status(GroupId(5)), GroupStatus::Deleted));
    assert!(matches!(later.group_status(GroupId(6)), GroupStatus::Live(place) if place.topic.id == topic_id(3)));
    assert!(matches!(later.group_status(GroupId(7)), GroupStatus::NotGivenOut));
    assert!(matches!(later.group_status(crate::types::META_GROUP), GroupStatus::NotGivenOut));
    assert!(matches!(MetaState::new().image().group_status(GroupId(1)), GroupStatus::NotGivenOut));
    check_lookups(&image);
    assert_eq!(image.topic("a").unwrap().id, topic_id(1), "an image never changes");
}

#[test]
fn what_is_refused_changes_nothing() {
    let mut driver = formed();
    driver.run(create("a", 1, lists(&[&[1, 2]]))).unwrap();
    let before = driver.image();
    let unknown = MetaError::UnknownTopic(topic_id(9));
    let changed = MetaError::PartitionsChanged { name: "a".to_owned(), partitions: 1, expected: 2 };
    assert_eq!(driver.run(create("a", 2, lists(&[&[1]]))), Err(MetaError::TopicExists("a".to_owned())));
    assert!(matches!(driver.run(create("b", 1, lists(&[&[1]]))), Err(MetaError::Invalid(_))));
    assert!(matches!(driver.run(create("", 2, lists(&[&[1]]))), Err(MetaError::Invalid(_))));
    assert!(matches!(driver.run(create(&"x".repeat(250), 2, lists(&[&[1]]))), Err(MetaError::Invalid(_))));
    assert_eq!(driver.run(create("b", 2, lists(&[&[1], &[4]]))), Err(MetaError::UnknownNode(NodeId(4))));
    assert_eq!(driver.run(add(9, 1, lists(&[&[1, 2]]))), Err(unknown.clone()));
    assert_eq!(driver.run(add(1, 2, lists(&[&[1, 2]]))), Err(changed));
    assert_eq!(driver.run(add(1, 1, lists(&[&[1, 4]]))), Err(MetaError::UnknownNode(NodeId(4))));
    assert!(matches!(driver.run(add(1, 1, lists(&[&[1]]))), Err(MetaError::Invalid(_))), "another replication factor");
    let too_many = lists(&vec![[1u64, 2].as_slice(); 10_000]);
    assert!(matches!(driver.run(add(1, 1, too_many)), Err(MetaError::Invalid(_))));
    assert_eq!(driver.run(MetaChange::DeleteTopic { topic_id: topic_id(9) }), Err(unknown));
    let after = driver.image();
    assert_eq!(after.next_group_id(), before.next_group_id());
    assert!(after.topics().eq(before.topics()));
    check_lookups(&after);
}

#[test]
fn settings_are_set_and_reset_and_partitions_added_in_one() {
    let mut driver = formed();
    driver.run(create("a", 1, lists(&[&[1, 2]]))).unwrap();
    let set = |config: &[(&str, Option<&str>)], add| MetaChange::AlterTopic {
        topic_id: topic_id(1),
        add,
        config: config.iter().map(|(key, value)| (key.to_string(), value.map(str::to_owned))).collect(),
    };
    driver.run(set(&[("x", Some("1")), ("y", Some("2"))], None)).unwrap();
    let stale = AddPartitions { expected_partitions: 9, assignments: lists(&[&[1, 2]]) };
    driver.run(set(&[("x", None)], Some(stale))).unwrap_err();
    assert_eq!(driver.image().topic("a").unwrap().config.len(), 2, "both parts or none");
    let more = AddPartitions { expected_partitions: 1, assignments: lists(&[&[2, 3]]) };
    driver.run(set(&[("x", None), ("z", None)], Some(more))).unwrap();
    let image = driver.image();
    let topic = image.topic("a").unwrap();
    assert_eq!(topic.config, BTreeMap::from([("y".to_owned(), "2".to_owned())]));
    assert_eq!((topic.partitions(), topic.created_at), (2, LogIndex(2)));
}

#[test]
fn a_retry_gets_the_first_answer_and_no_second_effect() {
    let mut driver = formed();
    let first = driver.send(500, create("a", 1, lists(&[&[1]])));
    let refused = driver.send(501, create("a", 2, lists(&[&[1]])));
    driver.run(MetaChange::DeleteTopic { topic_id: topic_id(1) }).unwrap();
    assert_eq!(driver.send(500, create("a", 1, lists(&[&[1]]))), first);
    assert_eq!(driver.send(501, create("a", 2, lists(&[&[1]]))), refused);
    assert_eq!(driver.image().topic_count(), 0);
    assert_eq!(driver.image().applied(), Some(LogIndex(driver.index)));

    let mut restored = MetaState::from_snapshot(&driver.state.to_snapshot()).unwrap();
    let command = MetaCommand { request_id: 500, change: create("a", 1, lists(&[&[1]])) };
    assert_eq!(restored.apply(LogIndex(driver.index + 1), command), first);
    // What is older than the newest 1,024 answers is forgotten, and would take effect again.
    for request_id in 0..REQUESTS_MAX as u128 {
        driver.send(1_000 + request_id, MetaChange::DeleteTopic { topic_id: topic_id(1) });
    }
    assert_eq!(driver.state.requests.iter().count(), REQUESTS_MAX);
    let again = driver.send(500, create("a", 1, lists(&[&[1]])));
    assert_eq!(again.index, LogIndex(driver.index));
    assert!(driver.state.requests.answer(1_001).is_some() && driver.state.requests.answer(1_000).is_none());
    MetaState::from_snapshot(&driver.state.to_snapshot()).unwrap();
}

#[test]
#[should_panic(expected = "was applied before")]
fn an_entry_is_applied_once() {
    let mut driver = formed();
    driver.index -= 1;
    let _ = driver.run(create("a", 1, lists(&[&[1]])));
}

#[test]
fn ten_thousand_partitions_take_little_room() {
    let mut driver = formed();
    let large = lists(&vec![[1u64, 2, 3].as_slice(); 10_000]);
    let bytes = MetaCommand { request_id: 1, change: create("large", 1, large.clone()) }.encode();
    assert!(bytes.len() < 31_000, "{}", bytes.len());
    driver.run(create("large", 1, large)).unwrap();
    assert_eq!(driver.image().partition_count(), 10_000);
    check_lookups(&driver.image());
    assert!(driver.state.to_snapshot().len() < 31_000);
}

#[test]
fn ten_thousand_topics_one_by_one_share_their_images() {
    let mut driver = formed();
    let mut kept = Vec::new();
    for id in 0..10_000u64 {
        driver.state.apply(
            LogIndex(100 + id),
            MetaCommand {
                request_id: 10_000 + u128::from(id),
                change: create(&format!("t{id}"), id.into(), lists(&[&[1, 2, 3]])),
            },
        );
        // A reader holds every image for a while, as the reconcilers do.
        kept.push(driver.image());
        if kept.len() > 8 {
            kept.remove(0);
        }
    }
    let image = driver.image();
    assert_eq!((image.topic_count(), image.next_group_id()), (10_000, GroupId(10_001)));
    assert_eq!(kept[0].topic_count(), 9_993);
    check_lookups(&image);
}

#[test]
fn bytes_of_another_version_are_refused_by_name() {
    let command = MetaCommand { request_id: 1, change: MetaChange::DeleteTopic { topic_id: topic_id(1) } };
    let response = MetaResponse { index: LogIndex(1), result: Ok(MetaOutcome::TopicDeleted) };
    let refused = |bytes: &[u8], read: fn(&[u8]) -> Option<DecodeError>| {
        let with_version = |version| [&[version], &bytes[1..]].concat();
        assert!(read(bytes).is_none());
        assert!(matches!(read(&with_version(3)), Some(DecodeError::NewerVersion { found: 3, newest: 2, .. })));
        assert!(matches!(read(&with_version(0)), Some(DecodeError::Malformed { .. })));
        assert!(matches!(read(&[bytes, &[0]].concat()), Some(DecodeError::Malformed { .. })));
        assert!(matches!(read(&bytes[..bytes.len() - 1]), Some(DecodeError::Malformed { .. })));
        assert!(matches!(read(&[]), Some(DecodeError::Malformed { .. })));
    };
    refused(&command.encode(), |bytes| MetaCommand::decode(bytes).err());
    refused(&response.encode(), |bytes| MetaResponse::decode(bytes).err());
    refused(&formed().state.to_snapshot(), |bytes| MetaState::from_snapshot(bytes).err());
}

#[test]
fn producer_ids_are_given_out_once() {
    let mut driver = formed();
    let take = |count| MetaChange::TakeProducerIds { count };
    assert_eq!(driver.run(take(1000)), Ok(MetaOutcome::ProducerIds { first: 1 }));
    let command = MetaCommand { request_id: 77, change: take(1000) };
    assert_eq!(command.encode()[0], 2, "the first version refuses it by name");
    assert_eq!(MetaCommand::decode(&command.encode()), Ok(command.clone()));
    let first = driver.send(77, command.change.clone());
    assert_eq!(first.result, Ok(MetaOutcome::ProducerIds { first: 1001 }));
    assert_eq!(driver.send(77, command.change), first, "a retry takes no second block");
    assert_eq!(MetaResponse::decode(&first.encode()), Ok(first));
    let snapshot = driver.state.to_snapshot();
    assert_eq!(snapshot[0], 2);
    driver.state = MetaState::from_snapshot(&snapshot).unwrap();
    assert_eq!(driver.run(take(5)), Ok(MetaOutcome::ProducerIds { first: 2001 }));
}

/// What version 1 writes, in bytes: a change of any type that is encoded shows here, and needs a new version.
#[test]
fn version_one_stays_as_it_is() {
    let hex = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut driver = formed();
    let create = MetaChange::CreateTopic {
        topic_id: topic_id(0x0102),
        name: "a".to_owned(),
        assignments: lists(&[&[1, 2], &[2, 3]]),
        config: BTreeMap::from([("k".to_owned(), "v".to_owned())]),
    };
    assert_eq!(
        hex(MetaCommand { request_id: 9, change: create.clone() }.encode()),
        "0109021000000000000000000000000000000102016102040102020301016b0176"
    );
    let response = driver.send(9, create);
    assert_eq!(hex(response.encode()), "01020002100000000000000000000000000000010201");
    driver.run(MetaChange::RegisterNode { node: registered(1, 11) }).unwrap();
    driver.run(add(0x0102, 2, lists(&[&[3, 1]]))).unwrap();
    assert_eq!(
        hex(driver.state.to_snapshot()),
        "010101040110000000000000000000000000000000070401030101100000000000000000000000000000000b0e313237\
         2e302e302e313a38303832000e3132372e302e302e313a393139320102723105302e312e30020000000e3132372e302e\
         302e313a393139330000030000000e3132372e302e302e313a3931393400000110000000000000000000000000000001\
         02016102060102020303010201016b017602020001020203010401010000090200021000000000000000000000000000\
         000102010303000104040003"
    );
}

fn change() -> impl Strategy<Value = MetaChange> {
    let assignments = || {
        (1usize..4).prop_flat_map(|width| {
            let replicas = prop::sample::subsequence(vec![1u64, 2, 3, 4], width).prop_shuffle();
            prop::collection::vec(replicas, 1..6)
                .prop_map(|lists| {
                    lists.iter().map(|list| list.iter().copied().map(NodeId).collect::<Vec<_>>()).collect::<Vec<_>>()
                })
                .prop_map(|lists| Assignments::from_lists(&lists).unwrap())
        })
    };
    let config = || prop::collection::btree_map("[a-c]", "[0-9]{1,3}", 0..3);
    prop_oneof![
        1 => Just(MetaChange::InitCluster { cluster_id: Uuid::from_u128(7), nodes: vec![node(1), node(2), node(3)] }),
        2 => (1u64..6, 1u128..6).prop_map(|(id, uuid)| MetaChange::RegisterNode { node: registered(id, uuid) }),
        6 => (0u128..12, "[a-h]", assignments(), config()).prop_map(|(id, name, assignments, config)| {
            MetaChange::CreateTopic { topic_id: topic_id(id), name, assignments, config }
        }),
        6 => (0u128..12, prop::option::of((1u32..12, assignments())), config()).prop_map(|(id, add, config)| {
            let add = add.map(|(expected_partitions, assignments)| AddPartitions { expected_partitions, assignments });
            let config = config.into_iter().map(|(key, value)| (key, Some(value).filter(|value| value.len() > 1))).collect();
            MetaChange::AlterTopic { topic_id: topic_id(id), add, config }
        }),
        1 => (1u32..2000).prop_map(|count| MetaChange::TakeProducerIds { count }),
        3 => (0u128..12).prop_map(|id| MetaChange::DeleteTopic { topic_id: topic_id(id) }),
    ]
}

proptest! {
    /// Any commands: lookups agree, group ids never come again, a snapshot brings the same state back, and a replica
    /// that goes on from it stays equal.
    #[test]
    fn replicas_agree_over_any_commands(
        changes in prop::collection::vec((0u128..200, change()), 1..120),
        cut in 0usize..120,
    ) {
        let mut one = formed();
        let mut other = None;
        let mut next_group_id = GroupId(1);
        for (at, (request_id, change)) in changes.into_iter().enumerate() {
            if at == cut {
                other = Some(Driver { state: MetaState::from_snapshot(&one.state.to_snapshot()).unwrap(), index: one.index });
            }
            let answer = one.send(request_id + 1_000, change.clone());
            if let Some(other) = &mut other {
                prop_assert_eq!(other.send(request_id + 1_000, change), answer);
            }
            prop_assert!(one.image().next_group_id() >= next_group_id);
            next_group_id = one.image().next_group_id();
        }
        check_lookups(&one.image());
        let bytes = one.state.to_snapshot();
        let restored = MetaState::from_snapshot(&bytes).unwrap();
        check_lookups(&restored.image());
        prop_assert_eq!(&restored.to_snapshot(), &bytes);
        if let Some(other) = other {
            prop_assert_eq!(&other.state.to_snapshot(), &bytes);
        }
    }

    /// Bytes from outside are read or refused, never a panic; what is read holds the invariants.
    #[test]
    fn any_bytes_are_read_or_refused(
        noise in prop::collection::vec(any::<u8>(), 0..200),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut driver = formed();
        driver.run(MetaChange::RegisterNode { node: registered(1, 11) }).unwrap();
        driver.run(create("a", 1, lists(&[&[1, 2], &[2, 3]]))).unwrap();
        driver.run(create("b", 2, lists(&[&[3], &[1]]))).unwrap();
        driver.run(add(1, 2, lists(&[&[1, 2]]))).unwrap();
        let mut damaged = driver.state.to_snapshot();
        for (at, byte) in &flips {
            let at = at.index(damaged.len());
            damaged[at] = *byte;
        }
        let mut versioned = noise.clone();
        versioned.insert(0, 1);
        for bytes in [&noise, &versioned, &damaged] {
            let _ = MetaCommand::decode(bytes);
            let _ = MetaResponse::decode(bytes);
            if let Ok(mut state) = MetaState::from_snapshot(bytes) {
                prop_assert!(state.image().next_group_id() >= GroupId(1));
                let next = state.image().applied().map_or(Some(0), |applied| applied.0.checked_add(1));
                if let Some(next) = next.filter(|next| *next < u64::MAX) {
                    state.apply(LogIndex(next), MetaCommand { request_id: 77, change: create("new", 77, lists(&[&[1]])) });
                    state.apply(LogIndex(u64::MAX), MetaCommand { request_id: 78, change: add(1, 3, lists(&[&[1, 2]])) });
                }
            }
        }
    }
}
