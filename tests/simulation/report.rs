//! What histories did: counted by each, summed up over all, passed on from the process of a history as one line.

use crate::faults::Counts;
use crate::workload::{Event, Outcome};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Counts of one history.
#[derive(Default)]
pub struct Report {
    pub histories: u64,
    pub simulated_ms: u64,
    pub operations: u64,
    pub acknowledged: u64,
    pub read: u64,
    /// Groups and terms in which somebody led.
    pub leaders: BTreeSet<(u64, u64)>,
    pub faults: Counts,
    pub power_cuts: u64,
    pub checksum: u64,
    pub trace_lines: u64,
}

impl Report {
    pub fn hear(&mut self, event: &Event) {
        let Some(outcome) = &event.outcome else { return };
        self.operations += 1;
        match outcome {
            Outcome::Produced { .. } => self.acknowledged += event.call.values().len() as u64,
            Outcome::Read { records, .. } => self.read += records.len() as u64,
            _ => {}
        }
    }

    /// As it is passed on.
    pub fn total(&self) -> Total {
        Total {
            histories: self.histories,
            simulated_ms: self.simulated_ms,
            operations: self.operations,
            acknowledged: self.acknowledged,
            read: self.read,
            elections: self.leaders.len() as u64,
            faults: self.faults.by_kind.iter().map(|(kind, count)| (format!("{kind:?}"), *count)).collect(),
            power_cuts: self.power_cuts,
            checksum: self.checksum,
            trace_lines: self.trace_lines,
        }
    }
}

/// Sums over histories.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Total {
    pub histories: u64,
    pub simulated_ms: u64,
    pub operations: u64,
    pub acknowledged: u64,
    pub read: u64,
    pub elections: u64,
    pub faults: BTreeMap<String, u64>,
    pub power_cuts: u64,
    pub checksum: u64,
    pub trace_lines: u64,
}

impl Total {
    pub fn add(&mut self, other: &Total) {
        self.histories += other.histories;
        self.simulated_ms += other.simulated_ms;
        self.operations += other.operations;
        self.acknowledged += other.acknowledged;
        self.read += other.read;
        self.elections += other.elections;
        self.power_cuts += other.power_cuts;
        self.trace_lines += other.trace_lines;
        // Of all, whatever their order.
        self.checksum ^= other.checksum;
        for (kind, count) in &other.faults {
            *self.faults.entry(kind.clone()).or_default() += count;
        }
    }
}

impl fmt::Display for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults: u64 = self.faults.values().sum();
        writeln!(
            f,
            "{} histories, {} simulated seconds, {} operations, {} records acknowledged, {} read, {} elections",
            self.histories,
            self.simulated_ms / 1000,
            self.operations,
            self.acknowledged,
            self.read,
            self.elections
        )?;
        writeln!(f, "{faults} faults, {} of them power cuts of a host:", self.power_cuts)?;
        for (kind, count) in &self.faults {
            writeln!(f, "  {kind:<18}{count:>6}")?;
        }
        Ok(())
    }
}
