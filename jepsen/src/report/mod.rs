//! A person's view of a run: `text` for the terminal, `page` for the browser.
//!
//! Both show one [`crate::check::Verdict`] and what `run.json` adds; neither decides anything. The page is one file
//! that needs no other and no network.

pub mod input;
pub mod run_file;
pub mod text;
