//! The checker: what a history must not hold.
//!
//! | module | what it does |
//! |---|---|
//! | `ops` | pairs invocations with completions |
//! | `facts` | turns the history round: what is known of each message and offset |
//! | `rules` | a walk over the facts for each rule |
//! | `log_end` | linearizability of a log's end and of appends at a given end |
//! | `counts` | how many operations of each kind, and whether the run is worth checking |
//! | `verdict` | which findings are forbidden in this run, and what comes of it |
//!
//! All of it is linear in the history (rules sort at most what one key holds). It is pure: lines in, a [`Verdict`]
//! out; no clock, no randomness, so that a history has one verdict. It knows nothing of Balsa beyond its promises.

mod counts;
mod facts;
mod finding;
mod graph;
mod log_end;
mod ops;
mod rule;
mod rules;
mod table;
mod verdict;

pub use counts::{Count, Counts};
pub use finding::{Finding, Found};
pub use rule::Rule;
pub use verdict::{Judged, Options, Ruled, Verdict, check};

/// The parts that tests try one by one.
pub mod testing {
    pub use crate::check::log_end::{Event, Linearizable, Observation, chain_verdict, search_verdict};
}
