//! A person's view of a run.

pub mod run_file;
