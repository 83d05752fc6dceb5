//! Carries a schedule out: begins and ends each fault in its time, and writes both into the history.
//!
//! A fault that was begun is ended, also where the run is interrupted. One that could not be begun or ended is noted;
//! the run goes on.

use crate::fault::schedule::Planned;
use crate::fault::{Begun, Field};
use crate::history::{Recorder, Value};
use crate::report::run_file::FaultWindow;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A fault that takes longer than this to begin or to end is given up.
const STEP_TIME_MAX: Duration = Duration::from_secs(40);

/// What was done.
#[derive(Clone, Debug, Default)]
pub struct Done {
    pub windows: Vec<FaultWindow>,
    pub counts: BTreeMap<String, u64>,
    /// What did not work, in words.
    pub failures: Vec<String>,
}

/// Carries out faults until all have ended, or `stop`, which ends those that have begun at once.
pub async fn run(
    field: Arc<Field>,
    planned: Vec<Planned>,
    recorder: Recorder,
    done: Arc<Mutex<Done>>,
    stop: CancellationToken,
) {
    let began = Instant::now();
    let mut running = JoinSet::new();
    for planned in planned {
        let one =
            One { field: field.clone(), planned, recorder: recorder.clone(), done: done.clone(), stop: stop.clone() };
        running.spawn(one.run(began));
    }
    while let Some(ended) = running.join_next().await {
        if let Err(error) = ended {
            done.lock().failures.push(format!("a fault's task: {error}"));
        }
    }
}

struct One {
    field: Arc<Field>,
    planned: Planned,
    recorder: Recorder,
    done: Arc<Mutex<Done>>,
    stop: CancellationToken,
}

impl One {
    async fn run(self, began: Instant) {
        let Planned { number, at, fault, what } = &self.planned;
        if self.stopped_before(began + *at).await {
            return;
        }
        let from_ns = self.recorder.now_ns();
        let begun = match self.step("begin", fault.begin(&self.field, what, *number)).await {
            Some(begun) => begun,
            None => {
                // Whatever of it was done is taken back.
                let nothing = Begun::of(what.nodes.clone(), "could not begin", vec![]);
                self.step("end", fault.end(&self.field, what, &nothing, *number)).await;
                return;
            }
        };
        let nodes: Vec<String> = begun.nodes.iter().map(|node| format!("n{node}")).collect();
        self.recorder.nemesis(fault.name(), Value::names(nodes.clone()));
        let window = FaultWindow {
            kind: fault.name().to_owned(),
            nodes: nodes.clone(),
            from_ns,
            to_ns: None,
            detail: begun.detail.clone(),
        };
        let place = {
            let mut done = self.done.lock();
            *done.counts.entry(fault.name().to_owned()).or_default() += 1;
            done.windows.push(window);
            done.windows.len() - 1
        };
        self.stopped_before(Instant::now() + what.lasts).await;
        self.step("end", fault.end(&self.field, what, &begun, *number)).await;
        self.recorder.nemesis(fault.name(), Value::names(nodes));
        self.done.lock().windows[place].to_ns = Some(self.recorder.now_ns());
    }

    async fn stopped_before(&self, time: Instant) -> bool {
        tokio::time::timeout_at(time, self.stop.cancelled()).await.is_ok()
    }

    async fn step<T>(&self, step: &str, doing: impl Future<Output = anyhow::Result<T>>) -> Option<T> {
        let failure = match tokio::time::timeout(STEP_TIME_MAX, doing).await {
            Ok(Ok(done)) => return Some(done),
            Ok(Err(error)) => format!("{error:#}"),
            Err(_) => format!("not done within {} s", STEP_TIME_MAX.as_secs()),
        };
        let Planned { fault, what, .. } = &self.planned;
        self.done.lock().failures.push(format!("{} ({}), {step}: {failure}", fault.name(), what.variant));
        None
    }
}
