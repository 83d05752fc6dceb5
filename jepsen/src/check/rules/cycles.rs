//! Cycles among transactions: `G0`, `G1c`, and both with a process's order and with real time.
//!
//! A transaction is one node, whatever keys it touches. Edges: write-write (neighbours in a log), write-read (who sent
//! it, who polled it), a process's successive operations, and real time. Real time has as many edges as there are
//! pairs; it is kept linear by a chain of nodes, one for each completion: an operation leads into the chain where it
//! completes, and what begins later is led to from the chain.
//!
//! Write-write cycles are what transactional producers may make when they interleave, and are told without blame;
//! cycles of reads are not. Without transactions, `order` finds all there is.

use crate::check::facts::{Facts, OpId};
use crate::check::finding::{Finding, Findings};
use crate::check::graph::Graph;
use crate::check::ops::What;
use crate::check::rule::Rule;
use crate::history::Kind;
use std::collections::HashMap;

pub fn check(facts: &Facts, findings: &mut Findings) {
    if !facts.ops.iter().any(|op| op.what == What::Txn) {
        return;
    }
    let (writes, reads) = (write_edges(facts), read_edges(facts));
    let (process, time) = (process_edges(facts), time_edges(facts));
    let plans: [(&[&Edges], [Rule; 3]); 3] = [
        (&[&writes], [Rule::G0, Rule::G0Process, Rule::G0Realtime]),
        (&[&reads], [Rule::G1c, Rule::G1cProcess, Rule::G1cRealtime]),
        (&[&reads, &writes], [Rule::G1cWrites, Rule::G1cWrites, Rule::G1cWrites]),
    ];
    for (base, rules) in plans {
        let orders: [Option<&Edges>; 3] = [None, Some(&process), Some(&time)];
        for (order, rule) in orders.into_iter().zip(rules) {
            let edges = base.iter().copied().chain(order);
            let nodes = facts.ops.len() + time.chain;
            let cycles = Graph::new(nodes, edges.flat_map(|edges| edges.pairs.iter().copied())).cycles();
            for cycle in &cycles {
                findings.add(rule, || describe(facts, cycle));
            }
            // What is a cycle without an order is one with it, too: told once, at its worst.
            if !cycles.is_empty() {
                break;
            }
        }
    }
}

#[derive(Default)]
struct Edges {
    pairs: Vec<(u32, u32)>,
    /// How many nodes there are beside the operations.
    chain: usize,
}

fn counts(facts: &Facts, op: OpId) -> bool {
    let op = facts.op(op);
    op.took_place || op.kind == Kind::Ok
}

fn write_edges(facts: &Facts) -> Edges {
    let mut pairs = Vec::new();
    for key in &facts.keys {
        let writers = key.log.iter().filter_map(|(_, message)| facts.message(*message).writer);
        let writers: Vec<OpId> = writers.filter(|op| counts(facts, *op)).collect();
        pairs.extend(writers.windows(2).filter(|pair| pair[0] != pair[1]).map(|pair| (pair[0].0, pair[1].0)));
    }
    Edges { pairs, chain: 0 }
}

fn read_edges(facts: &Facts) -> Edges {
    let mut pairs = Vec::new();
    for (at, op) in facts.ops.iter().enumerate().filter(|(_, op)| op.kind == Kind::Ok) {
        let writers = facts.reads_of(op).filter_map(|read| facts.message(read.message).writer);
        let others = writers.filter(|writer| writer.0 != at as u32 && counts(facts, *writer));
        pairs.extend(others.map(|writer| (writer.0, at as u32)));
    }
    pairs.sort_unstable();
    pairs.dedup();
    Edges { pairs, chain: 0 }
}

fn process_edges(facts: &Facts) -> Edges {
    let mut last: HashMap<u64, OpId> = HashMap::new();
    let mut pairs = Vec::new();
    for op in facts.op_ids().filter(|op| counts(facts, *op)) {
        if let Some(before) = last.insert(facts.op(op).process, op) {
            pairs.push((before.0, op.0));
        }
    }
    Edges { pairs, chain: 0 }
}

fn time_edges(facts: &Facts) -> Edges {
    let mut done: Vec<(u32, OpId)> = facts.op_ids().map(|op| (facts.op(op).done(), op)).collect();
    done.retain(|(at, _)| *at != u32::MAX);
    done.sort_unstable();
    let first = facts.ops.len() as u32;
    let mut pairs = Vec::new();
    for (node, (_, op)) in (first..).zip(&done) {
        pairs.push((op.0, node));
        if node > first {
            pairs.push((node - 1, node));
        }
    }
    for op in facts.op_ids().filter(|op| counts(facts, *op)) {
        let before = done.partition_point(|(at, _)| *at < facts.op(op).invoked);
        if before > 0 {
            pairs.push((first + before as u32 - 1, op.0));
        }
    }
    Edges { pairs, chain: done.len() }
}

fn describe(facts: &Facts, cycle: &[u32]) -> Finding {
    let ops: Vec<OpId> =
        cycle.iter().filter(|node| (**node as usize) < facts.ops.len()).map(|node| OpId(*node)).collect();
    let names: Vec<String> =
        ops.iter().map(|op| facts.lines[facts.op(*op).invoked as usize].index.to_string()).collect();
    let text = format!(
        "the operations invoked at {} come each before the next, and the last before the first",
        names.join(", ")
    );
    facts.finding_of_ops(&ops, text)
}
