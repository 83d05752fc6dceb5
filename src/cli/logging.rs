//! The process's log: lines on standard error, as text or JSON.

use super::exit::Failure;
use crate::config::{LogConfig, LogFormat};
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Installs the subscriber for the whole process.
///
/// # Errors
/// When `level` is not a level and not directives.
pub fn install(config: &LogConfig) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(directives(&config.level)).map_err(|error| {
        let expected = "expected error, warn, info, debug, trace, or directives such as \"info,balsa::raft=debug\"";
        Failure::usage(format_args!("log.level = {:?}: {expected} ({error})", config.level))
    })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second subscriber within one process happens in tests only; the first one stays.
    let _ = match config.format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    Ok(())
}

/// A level alone means this program's own events. The consensus library warns of what is usual (a vote that came too
/// late, a peer that is down, a group that was closed), and what is not usual the node reports itself; so it is heard
/// below `info` only, or where directives ask for it.
fn directives(level: &str) -> String {
    match level.trim().to_ascii_lowercase().as_str() {
        plain @ ("error" | "warn" | "info") => {
            format!("{plain},openraft=error,openraft::raft=off,openraft::core::heartbeat=off")
        }
        _ => level.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_a_level_and_directives_stay() {
        for level in ["error", "warn", "Info", "debug", "trace", "info,balsa::raft=debug", "off"] {
            EnvFilter::try_new(directives(level)).unwrap();
        }
        assert!(EnvFilter::try_new(directives("balsa=loud")).is_err());
        assert_eq!(directives("balsa=debug"), "balsa=debug");
    }
}
