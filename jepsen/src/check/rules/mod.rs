//! The rules: a file for each family, a walk over the facts for each rule.
//!
//! A rule finds; whether what it finds is forbidden in this run is decided by `crate::check::verdict`.

pub mod cycles;
pub mod fresh;
pub mod groups;
pub mod lost;
pub mod offsets;
pub mod order;
pub mod polls;
pub mod reads;
pub mod sends;
pub mod torn;
pub mod vanished;
