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
    // A plain level is about this program: openraft tells every step of every group at `info`.
    let level = &config.level;
    let plain = level.parse::<tracing::Level>().is_ok();
    let directives = if plain { format!("{level},openraft=warn") } else { level.clone() };
    let filter = EnvFilter::try_new(directives).map_err(|error| {
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
