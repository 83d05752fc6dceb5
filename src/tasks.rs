//! The one owner of all spawned tasks. Nothing else may call `tokio::spawn` (held by `tests/tidy.rs`).
//!
//! Each task declares what its death means, so that a panic is never silent.

use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What the end of a task by panic means for the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnPanic {
    /// An invariant did not hold: the node stops, since going on would spread the damage.
    StopNode,
    /// Only the work of one request or connection is lost.
    Log,
}

/// Spawns, counts and ends tasks. Cheap to clone.
#[derive(Clone, Default)]
pub struct Tasks {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    tracker: TaskTracker,
    stop: CancellationToken,
    failed: CancellationToken,
    /// For a simulation: how long blocking work takes, which is then done in the caller's own thread.
    in_place: Option<Box<dyn Fn() -> Duration + Send + Sync>>,
}

impl Tasks {
    /// An owner without tasks.
    pub fn new() -> Tasks {
        Tasks::default()
    }

    /// An owner whose blocking work is done in the thread that asks for it, after so long a time on tokio's clock as
    /// `takes` says. One thread and a simulated clock give the same order each time; a pool of threads does not.
    pub fn in_one_thread(takes: impl Fn() -> Duration + Send + Sync + 'static) -> Tasks {
        Tasks { inner: Arc::new(Inner { in_place: Some(Box::new(takes)), ..Inner::default() }) }
    }

    /// Spawns a task by name on the current runtime.
    pub fn spawn<F>(&self, name: &'static str, on_panic: OnPanic, future: F) -> tokio::task::JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let inner = self.inner.clone();
        self.inner.tracker.spawn(async move {
            let guard = PanicGuard { name, on_panic, inner, done: false };
            future.await;
            let mut guard = guard;
            guard.done = true;
        })
    }

    /// Takes the first step of `future` here and now, and spawns the rest, if there is one: what several of these do
    /// first keeps the order of the calls.
    pub fn begin<F>(&self, name: &'static str, on_panic: OnPanic, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut work = Box::pin(future);
        // Unconstrained: a used-up budget of the calling task must not postpone the first step.
        let mut first = std::pin::pin!(tokio::task::unconstrained(work.as_mut()));
        if first.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            self.spawn(name, on_panic, work);
        }
    }

    /// Runs blocking work (file reads) on the blocking pool, and waits for it.
    ///
    /// # Panics
    /// When the work panics: the panic goes on in the caller.
    pub async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        if let Some(takes) = &self.inner.in_place {
            tokio::time::sleep(takes()).await;
            return work();
        }
        match tokio::task::spawn_blocking(work).await {
            Ok(value) => value,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is going away, and this task with it.
                Err(_) => std::future::pending().await,
            },
        }
    }

    /// Becomes cancelled when the node begins to stop; long-lived tasks end then.
    pub fn stopping(&self) -> CancellationToken {
        self.inner.stop.clone()
    }

    /// Waits, unless the node begins to stop before. Whether to go on.
    pub async fn pause(&self, time: Duration) -> bool {
        tokio::time::timeout(time, self.inner.stop.cancelled()).await.is_err()
    }

    /// Becomes cancelled when a task with `OnPanic::StopNode` panicked, or `fail` was called.
    pub fn failed(&self) -> CancellationToken {
        self.inner.failed.clone()
    }

    /// Declares that the node cannot go on.
    pub fn fail(&self, reason: &str) {
        tracing::error!(reason, "the node cannot go on");
        self.inner.failed.cancel();
    }

    /// Asks all tasks to end and waits until they have.
    pub async fn stop(&self) {
        self.inner.stop.cancel();
        self.inner.tracker.close();
        self.inner.tracker.wait().await;
    }
}

struct PanicGuard {
    name: &'static str,
    on_panic: OnPanic,
    inner: Arc<Inner>,
    done: bool,
}

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if self.done || !std::thread::panicking() {
            return;
        }
        tracing::error!(task = self.name, "a task panicked");
        if self.on_panic == OnPanic::StopNode {
            self.inner.failed.cancel();
        }
    }
}
