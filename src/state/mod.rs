//! State machines as pure functions: a command in, a new state and an answer out.
//!
//! Nothing here sees a clock, a disk, tokio or randomness: the same commands in the same order give the same state
//! and the same answers on every replica. Whatever must be chosen (an id, a time) is chosen by the proposer and stands
//! in the command.

pub mod group;
pub mod meta;
pub mod partition;
