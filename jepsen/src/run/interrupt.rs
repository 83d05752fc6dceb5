//! Ctrl-C and SIGTERM: the run ends early, and cleans up. Asking again changes nothing, since cleaning up has deadlines of
//! its own.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Cancelled by the first signal. To be called once.
pub fn listen() -> anyhow::Result<CancellationToken> {
    let interrupt = CancellationToken::new();
    let told = interrupt.clone();
    let runtime = super::small_runtime()?;
    let (mut int, mut term) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = int.recv() => {}
                    _ = term.recv() => {}
                }
                eprintln!("jepsen: ending, and cleaning up");
                told.cancel();
            }
        });
    })?;
    Ok(interrupt)
}
