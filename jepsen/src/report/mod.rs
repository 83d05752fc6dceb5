//! A person's view of a run: `text` for the terminal, `page` for the browser.
//!
//! Both show one [`crate::check::Verdict`] and what `run.json` adds; neither decides anything. The page is one file
//! that needs no other and no network.

mod chart;
pub mod faults;
pub mod input;
mod page;
pub mod run_file;
pub mod text;
pub mod timeline;

use crate::check::Verdict;
use anyhow::Context;
use faults::Fault;
use input::Input;
use std::path::{Path, PathBuf};
use timeline::Timeline;

/// The page's name in a run's directory.
pub const PAGE_FILE: &str = "report.html";

/// All that is shown of a run.
pub struct Report {
    pub input: Input,
    pub verdict: Verdict,
    pub timeline: Timeline,
    pub faults: Vec<Fault>,
}

impl Report {
    pub fn new(input: Input, verdict: Verdict) -> Report {
        let histories = input.histories();
        let timeline = Timeline::new(&histories);
        let faults = faults::faults(input.run.as_ref(), &histories, &timeline);
        Report { verdict, timeline, faults, input }
    }

    /// Nothing is wrong: neither in a history, nor in what only the runner saw.
    pub fn clean(&self) -> bool {
        self.verdict.clean && self.input.run.as_ref().is_none_or(|run| run.incidents.is_empty())
    }

    pub fn text(&self) -> String {
        text::report(self)
    }

    pub fn page(&self) -> String {
        page::page(self)
    }
}

/// Checks the run in `dir` and writes its page; `dir/report.html`, and all there is to print.
pub fn write(dir: &Path, loss_allowed: bool) -> anyhow::Result<(PathBuf, Report)> {
    let input = Input::read(dir)?;
    let verdict = input.check(loss_allowed)?;
    let report = Report::new(input, verdict);
    let path = dir.join(PAGE_FILE);
    std::fs::write(&path, report.page()).with_context(|| path.display().to_string())?;
    Ok((path, report))
}
