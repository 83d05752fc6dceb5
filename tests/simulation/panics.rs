//! Panics of a history: a node that panics has broken an invariant of its own.

use parking_lot::Mutex;

static FIRST: Mutex<Option<String>> = Mutex::new(None);

/// From now on panics of the calling thread are kept and not printed.
pub fn catch() {
    let (own, before) = (std::thread::current().id(), std::panic::take_hook());
    std::panic::set_hook(Box::new(move |info| {
        if std::thread::current().id() != own {
            return before(info);
        }
        let backtrace = std::env::var_os("RUST_BACKTRACE").map(|_| std::backtrace::Backtrace::force_capture());
        let text = match backtrace {
            Some(backtrace) => format!("{info}\n{backtrace}"),
            None => info.to_string(),
        };
        FIRST.lock().get_or_insert(text);
    }));
}

/// The first panic since the last call.
pub fn take() -> Option<String> {
    FIRST.lock().take()
}
