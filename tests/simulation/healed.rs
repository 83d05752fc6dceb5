//! After all faults have ended: every sound host takes part, every partition takes writes through every host and is
//! read to its end from every host, and the replicas of each group agree.

use crate::simulation::{Simulation, Violation};
use crate::workload::{Call, Outcome};

/// Values that this phase writes begin here.
const FIRST_VALUE: u64 = u64::MAX << 32;

fn not_healed(what: String) -> Violation {
    Violation { invariant: "the cluster heals".to_string(), what }
}

/// See the module.
///
/// # Errors
/// What is not well when the time is over.
pub fn everything_is_well(simulation: &mut Simulation) -> Result<(), Violation> {
    let deadline = simulation.deadline_ms();
    let sound = simulation.sound_hosts();
    while !sound.iter().all(|host| simulation.ready_hosts().contains(host)) {
        if simulation.is_past(deadline) {
            let ready = simulation.ready_hosts();
            let host = *sound.iter().find(|host| !ready.contains(host)).expect("one is not ready");
            return Err(not_healed(format!("host {host} does not take part: {}", simulation.why_not_ready(host))));
        }
        simulation.calm_tick()?;
    }
    if simulation.swarm.voters_change_ms.is_some() {
        crate::voters::restore(simulation)?;
    }
    let deadline = simulation.deadline_ms();
    let mut value = FIRST_VALUE;
    for (topic, partitions) in simulation.topics() {
        for partition in 0..partitions {
            for host in simulation.ready_hosts() {
                let (topic, values) = (topic.clone(), vec![value]);
                value += 1;
                let call = Call::Produce {
                    topic,
                    partition,
                    values,
                    value_bytes: 16,
                    acks_all: true,
                    expected: None,
                    key: Some(value),
                    producer: None,
                };
                simulation.until_done(host, call, deadline)?;
            }
            for host in simulation.ready_hosts() {
                read_all(simulation, host, &topic, partition, deadline)?;
            }
        }
    }
    if let Some((topic, partitions)) = simulation.coming_and_going() {
        let host = sound[0];
        let call = Call::Create { topic: topic.clone(), partitions, replication: simulation.swarm.replication };
        create_if_gone(simulation, host, call)?;
        for partition in 0..partitions {
            read_all(simulation, host, &topic, partition, deadline)?;
        }
    }
    replicas_agree(simulation, deadline)
}

/// The topic may be there, or not: both are fine, but one of them must be said.
fn create_if_gone(simulation: &mut Simulation, host: u64, call: Call) -> Result<(), Violation> {
    let short = simulation.deadline_ms() - crate::simulation::HEALED_WITHIN_MS + 5_000;
    let read = Call::Read { topic: call.topic().to_string(), partition: 0, from: 0, linearizable: true };
    match simulation.until_done(host, read, short) {
        Ok(_) => Ok(()),
        Err(_) => simulation.until_done(host, call, simulation.deadline_ms()).map(|_| ()),
    }
}

fn read_all(
    simulation: &mut Simulation,
    host: u64,
    topic: &str,
    partition: u32,
    deadline: u64,
) -> Result<(), Violation> {
    let mut from = 0;
    loop {
        let call = Call::Read { topic: topic.to_string(), partition, from, linearizable: true };
        let Outcome::Read { records, high_watermark, .. } = simulation.until_done(host, call, deadline)? else {
            return Err(not_healed(format!("a read of {topic} was not answered as one")));
        };
        from = records.last().map_or(from, |(offset, _)| offset + 1);
        if from >= high_watermark {
            return Ok(());
        }
        if records.is_empty() {
            return Err(not_healed(format!("a read of {topic} at {from} below {high_watermark} gave nothing")));
        }
    }
}

/// All replicas of sound hosts come to have the same log, all of it flushed and applied.
fn replicas_agree(simulation: &mut Simulation, deadline: u64) -> Result<(), Violation> {
    loop {
        let Some(trouble) = disagreement(simulation) else { return Ok(()) };
        if simulation.is_past(deadline) {
            return Err(not_healed(trouble));
        }
        simulation.calm_tick()?;
    }
}

fn disagreement(simulation: &Simulation) -> Option<String> {
    let view = simulation.view();
    let sound = simulation.sound_hosts();
    for (host, _, group, replica) in view.live().filter(|(host, _, _, _)| sound.contains(host)) {
        let last = replica.log.last().map(|last| (last.term, last.index));
        if replica.log.flushed != last || replica.applied != last {
            return Some(format!(
                "group {group} on host {host} ends at {last:?} and has applied {:?}",
                replica.applied
            ));
        }
        for (other, _, _, twin) in view.live().filter(|(_, _, id, _)| *id == group) {
            let twin_last = twin.log.last().map(|last| (last.term, last.index));
            if sound.contains(&other) && twin_last != last {
                return Some(format!("group {group}: host {host} ends at {last:?}, host {other} at {twin_last:?}"));
            }
        }
    }
    None
}
