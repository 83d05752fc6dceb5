//! Each transition of a living group, and what holds however requests, time and failed writes mix.

use super::*;
use proptest::prelude::*;

const SESSION_MS: i32 = 10_000;
const REBALANCE_MS: i32 = 30_000;
const DELAY_MS: i64 = 500;

/// A group with a clock and a counter of tickets.
struct World {
    group: LiveGroup,
    now_ms: i64,
    last_ticket: u64,
}

impl World {
    fn new() -> World {
        World { group: LiveGroup::restore(LiveConfig::default(), None, 0), now_ms: 0, last_ticket: 0 }
    }

    fn ticket(&mut self) -> Ticket {
        self.last_ticket += 1;
        Ticket(self.last_ticket)
    }

    fn join_with(&mut self, join: &Join) -> (Ticket, Vec<Output>) {
        let ticket = self.ticket();
        self.group.join(join, ticket, self.now_ms);
        (ticket, self.group.take_outputs())
    }

    fn join(&mut self, id: &str) -> (Ticket, Vec<Output>) {
        self.join_with(&join_of(id))
    }

    fn sync(&mut self, id: &str, generation: i32, assignments: &[(&str, &[u8])]) -> (Ticket, Vec<Output>) {
        let ticket = self.ticket();
        let assignments = assignments.iter().map(|(id, bytes)| (id.to_string(), bytes.to_vec())).collect();
        let sync = Sync { speaker: speaker(id, generation), assignments, ..Sync::default() };
        self.group.sync(&sync, ticket, self.now_ms);
        (ticket, self.group.take_outputs())
    }

    fn pass(&mut self, ms: i64) -> Vec<Output> {
        self.now_ms += ms;
        self.group.on_time(self.now_ms);
        self.group.take_outputs()
    }

    fn written(&mut self, token: PersistToken, result: Result<(), GroupError>) -> Vec<Output> {
        self.group.persisted(token, result, self.now_ms);
        self.group.take_outputs()
    }

    fn heartbeat(&mut self, id: &str, generation: i32) -> Result<(), GroupError> {
        self.group.heartbeat(&speaker(id, generation), self.now_ms)
    }

    /// Members `a` and `b`, `a` leading, stable in generation 1.
    fn stable() -> World {
        let mut world = World::new();
        world.join("a");
        world.join("b");
        world.pass(DELAY_MS);
        world.sync("b", 1, &[]);
        let (_, outputs) = world.sync("a", 1, &[("a", b"1"), ("b", b"2")]);
        let token = persist_in(&outputs).0;
        world.written(token, Ok(()));
        assert_eq!(world.group.phase(), Phase::Stable);
        world
    }
}

fn join_of(id: &str) -> Join {
    Join {
        client_id: "client".into(),
        client_host: "/127.0.0.1".into(),
        session_timeout_ms: SESSION_MS,
        rebalance_timeout_ms: REBALANCE_MS,
        protocol_type: "consumer".into(),
        protocols: vec![("range".into(), b"r".to_vec()), ("roundrobin".into(), b"rr".to_vec())],
        id_for_new: id.into(),
        ..Join::default()
    }
}

fn again(id: &str) -> Join {
    Join { member_id: id.into(), id_for_new: String::new(), ..join_of(id) }
}

fn fixed(instance: &str, id: &str) -> Join {
    Join { instance_id: Some(instance.into()), ..join_of(id) }
}

fn speaker(id: &str, generation: i32) -> Speaker {
    Speaker { member_id: id.into(), instance_id: None, generation }
}

fn persist_in(outputs: &[Output]) -> (PersistToken, GroupMetadata) {
    let found = outputs.iter().find_map(|output| match output {
        Output::Persist(token, metadata) => Some((*token, metadata.clone())),
        _ => None,
    });
    found.expect("something is to be written")
}

fn joined_in(outputs: &[Output], ticket: Ticket) -> Result<Joined, GroupError> {
    let found = outputs.iter().find_map(|output| match output {
        Output::Joined(to, result) if *to == ticket => Some(result.clone()),
        _ => None,
    });
    found.expect("the join is answered")
}

fn synced_in(outputs: &[Output], ticket: Ticket) -> Result<Vec<u8>, GroupError> {
    let found = outputs.iter().find_map(|output| match output {
        Output::Synced(to, result) if *to == ticket => Some(result.clone()),
        _ => None,
    });
    found.expect("the sync is answered").map(|synced| synced.assignment)
}

#[test]
fn an_empty_group_waits_a_moment_for_more_members() {
    let mut world = World::new();
    let (first, outputs) = world.join("a");
    assert!(outputs.is_empty());
    assert_eq!(world.group.phase(), Phase::PreparingRebalance);
    assert!(world.pass(DELAY_MS - 1).is_empty());
    let (second, outputs) = world.join("b");
    assert!(outputs.is_empty(), "the wait begins anew");
    assert!(world.pass(DELAY_MS - 1).is_empty());
    let outputs = world.pass(1);
    let leader = joined_in(&outputs, first).unwrap();
    assert_eq!((leader.generation, leader.leader.as_str(), leader.protocol.as_str()), (1, "a", "range"));
    assert_eq!(leader.members.len(), 2);
    let follower = joined_in(&outputs, second).unwrap();
    assert_eq!((follower.leader.as_str(), follower.members.len()), ("a", 0));
    assert_eq!(world.group.phase(), Phase::CompletingRebalance);
}

#[test]
fn the_first_wait_ends_however_many_come() {
    let mut world = World::new();
    for number in 0..200 {
        world.join(&format!("m{number}"));
        if !world.pass(DELAY_MS / 2).is_empty() {
            assert_eq!(world.now_ms, i64::from(REBALANCE_MS));
            return;
        }
    }
    panic!("it never ended");
}

#[test]
fn nobody_hears_of_an_assignment_before_it_is_written() {
    let mut world = World::new();
    world.join("a");
    world.join("b");
    world.pass(DELAY_MS);
    let (of_b, outputs) = world.sync("b", 1, &[]);
    assert!(outputs.is_empty());
    let (of_a, outputs) = world.sync("a", 1, &[("a", b"1"), ("b", b"2"), ("stranger", b"3")]);
    let (token, metadata) = persist_in(&outputs);
    assert_eq!(outputs.len(), 1);
    assert_eq!(metadata.members.iter().map(|m| m.assignment.clone()).collect::<Vec<_>>(), [b"1", b"2"]);
    assert_eq!((metadata.generation, metadata.leader.as_deref()), (1, Some("a")));
    let outputs = world.written(token, Ok(()));
    assert_eq!(synced_in(&outputs, of_a).unwrap(), b"1");
    assert_eq!(synced_in(&outputs, of_b).unwrap(), b"2");
    let (late, outputs) = world.sync("b", 1, &[]);
    assert_eq!(synced_in(&outputs, late).unwrap(), b"2");
}

#[test]
fn assignments_that_could_not_be_written_are_made_again() {
    let mut world = World::new();
    world.join("a");
    world.pass(DELAY_MS);
    let (ticket, outputs) = world.sync("a", 1, &[("a", b"1")]);
    let token = persist_in(&outputs).0;
    let outputs = world.written(token, Err(GroupError::NotCoordinator));
    assert_eq!(synced_in(&outputs, ticket), Err(GroupError::NotCoordinator));
    assert_eq!(world.group.phase(), Phase::PreparingRebalance);
    let (ticket, outputs) = world.join_with(&again("a"));
    assert_eq!(joined_in(&outputs, ticket).unwrap().generation, 2);
}

#[test]
fn a_client_that_knows_kip_394_gets_an_id_first() {
    let mut world = World::new();
    let (ticket, outputs) = world.join_with(&Join { requires_known_id: true, ..join_of("a") });
    assert_eq!(joined_in(&outputs, ticket), Err(GroupError::MemberIdRequired("a".into())));
    assert!(world.group.has_members(), "it is expected");
    world.join_with(&Join { requires_known_id: true, ..again("a") });
    assert_eq!(world.group.phase(), Phase::PreparingRebalance);
    world.join_with(&Join { requires_known_id: true, ..join_of("late") });
    world.pass(DELAY_MS);
    world.pass(i64::from(SESSION_MS));
    let (ticket, outputs) = world.join_with(&again("late"));
    assert_eq!(joined_in(&outputs, ticket), Err(GroupError::UnknownMember("late".into())), "its time is up");
}

#[test]
fn a_rebalance_waits_for_all_and_then_for_nobody() {
    let mut world = World::stable();
    let (of_c, outputs) = world.join("c");
    assert!(outputs.is_empty());
    assert_eq!(world.heartbeat("a", 1), Err(GroupError::RebalanceInProgress));
    assert_eq!(world.group.check_commit(&speaker("a", 1), 0), Ok(()), "what was read may be committed");
    world.join_with(&again("a"));
    let outputs = world.pass(i64::from(SESSION_MS));
    let answer = joined_in(&outputs, of_c).unwrap();
    assert_eq!((answer.generation, answer.leader.as_str()), (2, "a"), "b was not heard of and is gone");
    assert_eq!(world.heartbeat("b", 1), Err(GroupError::UnknownMember("b".into())));
    assert_eq!(world.group.check_commit(&speaker("a", 2), 0), Err(GroupError::RebalanceInProgress));
    assert_eq!(
        world.group.check_commit(&speaker("a", 1), 0),
        Err(GroupError::IllegalGeneration { given: 1, current: 2 })
    );
}

#[test]
fn who_heartbeats_and_never_joins_again_goes_when_the_rebalance_ends() {
    let mut world = World::stable();
    let (of_a, _) = world.join_with(&Join { protocols: vec![("range".into(), b"new".to_vec())], ..again("a") });
    for _ in 0..3 {
        world.pass(9_000);
        assert_eq!(world.heartbeat("b", 1), Err(GroupError::RebalanceInProgress));
    }
    let outputs = world.pass(3_000);
    assert_eq!(joined_in(&outputs, of_a).unwrap().members.len(), 1);
}

#[test]
fn a_member_that_leaves_makes_a_rebalance_and_the_last_one_an_empty_group() {
    let mut world = World::stable();
    world.group.leave("b", None, 0).unwrap();
    assert_eq!(world.group.phase(), Phase::PreparingRebalance);
    let (ticket, outputs) = world.join_with(&again("a"));
    assert_eq!(joined_in(&outputs, ticket).unwrap().generation, 2);
    world.group.leave("a", None, 0).unwrap();
    let (_, metadata) = persist_in(&world.group.take_outputs());
    assert_eq!((metadata.generation, metadata.members.len(), metadata.protocol), (3, 0, None));
    assert_eq!(world.group.phase(), Phase::Empty);
    assert_eq!(world.group.next_deadline_ms(), None, "an empty group costs nothing");
    assert_eq!(world.group.check_commit(&speaker("", -1), 0), Ok(()));
    assert!(world.group.delete().is_ok());
    assert_eq!(world.heartbeat("a", 3), Err(GroupError::UnknownMember("a".into())));
}

#[test]
fn without_a_generation_nobody_commits_beside_members() {
    let mut world = World::stable();
    assert_eq!(world.group.check_commit(&speaker("", -1), 0), Err(GroupError::UnknownMember(String::new())));
    assert_eq!(world.group.delete(), Err(GroupError::NonEmptyGroup));
}

#[test]
fn a_member_that_is_not_heard_of_is_gone() {
    let mut world = World::stable();
    world.pass(6_000);
    world.heartbeat("a", 1).unwrap();
    world.pass(6_000);
    assert_eq!(world.group.members().len(), 1);
    assert_eq!(world.group.phase(), Phase::PreparingRebalance);
}

#[test]
fn a_member_that_joins_and_does_not_sync_is_gone() {
    let mut world = World::new();
    world.join("a");
    world.join("b");
    world.pass(DELAY_MS);
    let (_, outputs) = world.sync("a", 1, &[("a", b"1"), ("b", b"2")]);
    world.written(persist_in(&outputs).0, Ok(()));
    for _ in 0..4 {
        world.pass(8_000);
        let _ = (world.heartbeat("a", 1), world.heartbeat("b", 1));
    }
    assert_eq!(world.heartbeat("b", 1), Err(GroupError::UnknownMember("b".into())));
    assert_eq!(world.heartbeat("a", 1), Err(GroupError::RebalanceInProgress));
}

#[test]
fn a_static_member_comes_back_without_a_rebalance_and_fences_who_was_there() {
    let mut world = World::new();
    world.join_with(&fixed("one", "a"));
    world.join_with(&fixed("two", "b"));
    world.pass(DELAY_MS);
    let (_, outputs) = world.sync("a", 1, &[("a", b"1"), ("b", b"2")]);
    world.written(persist_in(&outputs).0, Ok(()));
    let (ticket, outputs) = world.join_with(&fixed("one", "a2"));
    let (token, metadata) = persist_in(&outputs);
    assert!(metadata.members.iter().any(|member| member.member_id == "a2" && member.assignment == b"1"));
    let answer = joined_in(&world.written(token, Ok(())), ticket).unwrap();
    assert_eq!((answer.generation, answer.member_id.as_str()), (1, "a2"));
    assert_ne!(answer.leader, "a2", "it must not assign, for nobody waits for that");
    assert_eq!(world.group.phase(), Phase::Stable);
    let (ticket, outputs) = world.sync("a2", 1, &[]);
    assert_eq!(synced_in(&outputs, ticket).unwrap(), b"1");
    let old = Speaker { member_id: "a".into(), instance_id: Some("one".into()), generation: 1 };
    assert_eq!(world.group.heartbeat(&old, 0), Err(GroupError::FencedInstance("one".into())));
    assert_eq!(world.group.check_commit(&old, 0), Err(GroupError::FencedInstance("one".into())));
    assert_eq!(world.group.leave("", Some("two"), 0), Ok(()), "by its instance alone");
}

#[test]
fn a_static_member_keeps_its_place_while_it_is_away() {
    let mut world = World::new();
    world.join_with(&fixed("one", "a"));
    world.join_with(&fixed("two", "b"));
    world.pass(DELAY_MS);
    let (_, outputs) = world.sync("a", 1, &[]);
    world.written(persist_in(&outputs).0, Ok(()));
    world.sync("b", 1, &[]);
    let patient = |mut join: Join| {
        join.session_timeout_ms = 600_000;
        join
    };
    world.join_with(&patient(Join { member_id: "b".into(), protocols: join_of("").protocols, ..fixed("two", "") }));
    let (of_c, _) = world.join("c");
    world.pass(6_000);
    let _ = world.group.heartbeat(&Speaker { instance_id: Some("one".into()), ..speaker("a", 1) }, world.now_ms);
    let (of_b, outputs) = world.join_with(&patient(Join { member_id: "b".into(), ..fixed("two", "") }));
    assert!(outputs.iter().all(|output| !matches!(output, Output::Joined(to, _) if *to == of_b || *to == of_c)));
}

#[test]
fn protocols_are_what_all_have_and_most_want() {
    let mut world = World::new();
    let with = |id: &str, names: &[&str]| Join {
        protocols: names.iter().map(|name| (name.to_string(), vec![])).collect(),
        ..join_of(id)
    };
    let (ticket, _) = world.join_with(&with("a", &["x", "y", "z"]));
    world.join_with(&with("b", &["z", "y"]));
    world.join_with(&with("c", &["y", "z", "w"]));
    let (refused, outputs) = world.join_with(&with("d", &["x", "w"]));
    assert_eq!(joined_in(&outputs, refused), Err(GroupError::InconsistentProtocol));
    let other = Join { protocol_type: "connect".into(), ..with("e", &["y"]) };
    let (refused, outputs) = world.join_with(&other);
    assert_eq!(joined_in(&outputs, refused), Err(GroupError::InconsistentProtocol));
    let outputs = world.pass(DELAY_MS);
    assert_eq!(joined_in(&outputs, ticket).unwrap().protocol, "y");
}

#[test]
fn bounds_are_kept() {
    let mut world = World::new();
    world.group.config.members_max = 1;
    world.join("a");
    let (ticket, outputs) = world.join("b");
    assert_eq!(joined_in(&outputs, ticket), Err(GroupError::GroupFull(1)));
    let (ticket, outputs) = world.join_with(&Join { session_timeout_ms: 1, ..join_of("c") });
    assert!(matches!(joined_in(&outputs, ticket), Err(GroupError::InvalidSessionTimeout { given: 1, .. })));
}

#[test]
fn a_group_restored_goes_on_where_it_was() {
    let mut world = World::new();
    world.join("a");
    world.pass(DELAY_MS);
    let (_, outputs) = world.sync("a", 1, &[("a", b"1")]);
    let (_, metadata) = persist_in(&outputs);
    let mut group = LiveGroup::restore(LiveConfig::default(), Some(&metadata), 100);
    assert_eq!((group.phase(), group.generation()), (Phase::Stable, 1));
    assert_eq!(group.heartbeat(&speaker("a", 1), 200), Ok(()));
    assert_eq!(group.next_deadline_ms(), Some(200 + i64::from(SESSION_MS)));
    group.on_time(200 + i64::from(SESSION_MS));
    assert_eq!(group.phase(), Phase::Empty);
    assert_eq!(persist_in(&group.take_outputs()).1.generation, 2);
}

#[test]
fn topics_are_read_from_a_subscription() {
    let bytes = [0, 1, 0, 0, 0, 2, 0, 1, b't', 0, 2, b'u', b'v', 255, 255, 255, 255];
    assert_eq!(subscribed_topics(&bytes).unwrap(), ["t", "uv"]);
    assert_eq!(subscribed_topics(&bytes[..9]), None);
}

#[test]
fn partitions_are_read_from_an_assignment() {
    let bytes = [0, 0, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 9, 255, 255, 255, 255];
    assert_eq!(assigned_partitions(&bytes).unwrap(), [("t".to_string(), 3), ("t".to_string(), 9)]);
    assert_eq!(assigned_partitions(&bytes[..20]), None);
}

/// One step of a random run: what, who, and a number.
type Step = (u8, u8, u16);

/// Counts what came of each ticket, and who owns what in each generation.
#[derive(Default)]
struct Seen {
    asked: BTreeSet<u64>,
    answered: BTreeSet<u64>,
    owners: BTreeMap<(i32, Vec<u8>), Ticket>,
    syncs: BTreeMap<u64, (String, i32)>,
    owned_by: BTreeMap<(i32, Vec<u8>), String>,
    to_write: Vec<PersistToken>,
    generation: i32,
}

impl Seen {
    fn take(&mut self, world: &mut World) {
        assert!(world.group.generation() >= self.generation, "the generation only grows");
        self.generation = world.group.generation();
        for output in world.group.take_outputs() {
            match output {
                Output::Persist(token, _) => self.to_write.push(token),
                Output::Joined(ticket, _) => assert!(self.answered.insert(ticket.0), "answered twice"),
                Output::Synced(ticket, result) => {
                    assert!(self.answered.insert(ticket.0), "answered twice");
                    let Ok(synced) = result else { continue };
                    let (member, generation) = &self.syncs[&ticket.0];
                    if synced.assignment.is_empty() {
                        continue;
                    }
                    self.owners.insert((*generation, synced.assignment.clone()), ticket);
                    let owner = self.owned_by.entry((*generation, synced.assignment)).or_insert(member.clone());
                    assert_eq!(owner, member, "two members of one generation own the same");
                }
            }
        }
        match world.group.phase() {
            Phase::Empty | Phase::Dead => assert!(world.group.members.is_empty()),
            Phase::Stable => assert!(world.group.members.values().all(|m| m.joining.is_none() && m.syncing.is_none())),
            Phase::PreparingRebalance | Phase::CompletingRebalance => {}
        }
    }

    fn step(&mut self, world: &mut World, (what, who, number): Step) {
        let id = format!("m{who}");
        let ticket = Ticket(self.asked.len() as u64 + 1);
        let generation = world.group.generation() - i32::from(number % 7 == 0);
        match what {
            0 | 1 => {
                self.asked.insert(ticket.0);
                let known = world.group.members.contains_key(&id);
                let join = if known { again(&id) } else { join_of(&id) };
                world.group.join(&join, ticket, world.now_ms);
            }
            2 => {
                self.asked.insert(ticket.0);
                let new_id = format!("m{who}s{number}");
                world.group.join(&fixed(&format!("i{who}"), &new_id), ticket, world.now_ms);
            }
            3..=5 => {
                self.asked.insert(ticket.0);
                let ids: Vec<String> = world.group.members.keys().cloned().collect();
                let id = ids.get(usize::from(who) % ids.len().max(1)).cloned().unwrap_or(id);
                let assignments = ids.iter().enumerate().map(|(at, id)| (id.clone(), vec![at as u8 + 1])).collect();
                let instance_id = world.group.members.get(&id).and_then(|member| member.instance_id.clone());
                // A static member that came back is the same one, under another id.
                self.syncs.insert(ticket.0, (instance_id.clone().unwrap_or_else(|| id.clone()), generation));
                let speaker = Speaker { instance_id, ..speaker(&id, generation) };
                world.group.sync(&Sync { speaker, assignments, ..Sync::default() }, ticket, world.now_ms);
            }
            6 => {
                let _ = world.heartbeat(&id, generation);
            }
            7 => {
                let _ = world.group.leave(&id, None, world.now_ms);
            }
            8 => {
                world.now_ms += i64::from(number);
                world.group.on_time(world.now_ms);
            }
            _ => {
                if let Some(token) = self.to_write.pop() {
                    let result = if number % 4 == 0 { Err(GroupError::NotCoordinator) } else { Ok(()) };
                    world.group.persisted(token, result, world.now_ms);
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn whatever_comes_the_invariants_hold(
        steps in proptest::collection::vec((0_u8..12, 0_u8..4, 0_u16..20_000), 0..150)
    ) {
        let mut world = World::new();
        let mut seen = Seen::default();
        for step in steps {
            seen.step(&mut world, step);
            seen.take(&mut world);
        }
        // Time alone answers whoever still waits, and in the end nobody is left.
        for _ in 0..2_000 {
            if let Some(token) = seen.to_write.pop() {
                world.group.persisted(token, Ok(()), world.now_ms);
                seen.take(&mut world);
            }
            let Some(deadline) = world.group.next_deadline_ms() else { break };
            world.now_ms = world.now_ms.max(deadline);
            world.group.on_time(world.now_ms);
            seen.take(&mut world);
        }
        prop_assert_eq!(&seen.answered, &seen.asked);
        prop_assert!(matches!(world.group.phase(), Phase::Empty), "{:?}", world.group);
    }
}
