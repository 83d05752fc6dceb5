//! The suite must bite: with each of Balsa's known bugs switched in, some history must turn red.
//!
//! Histories are tried from the first seed on, so that the test tells which one it takes.

use crate::faults::Kind;
use crate::runner;
use crate::swarm::Swarm;
use balsa::mutant::MUTANTS;

/// Histories within which each must be found.
const HISTORIES_MAX: usize = 120;

#[test]
fn mutants_are_found() {
    let wanted = std::env::var("BALSA_MUTANT").ok();
    let mut survivors = Vec::new();
    for (name, _) in MUTANTS.iter().filter(|(name, _)| wanted.as_deref().is_none_or(|wanted| wanted == *name)) {
        // Histories that have nothing in which a mutant could show are left out.
        let suits = |seed: &u64| match *name {
            "checksum-ignored" => Swarm::of(*seed).faults.contains(&Kind::Damage),
            "membership-without-joint" => Swarm::of(*seed).voters_change_ms.is_some(),
            _ => true,
        };
        let red = (1..).filter(suits).take(HISTORIES_MAX).find_map(|seed| runner::run_with(seed, Some(name)).0.err());
        match red {
            Some(text) => println!("{name}: {}", text.lines().next().unwrap_or_default()),
            None => survivors.push(*name),
        }
    }
    assert!(survivors.is_empty(), "{HISTORIES_MAX} histories did not find {survivors:?}");
}
