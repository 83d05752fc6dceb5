//! Why a configuration is refused, in one line each: source, key, value, what would be accepted.

use std::path::PathBuf;

/// A configuration that no node should start with.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{}: the configuration file cannot be read: {source}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{}: line {line}: not TOML: {detail}", path.display())]
    Syntax { path: PathBuf, line: usize, detail: String },
    /// `origin` is where the key was given: the file, a variable, a flag.
    #[error("{origin}: there is no key {key}{}", did_you_mean(suggestion))]
    UnknownKey { origin: String, key: String, suggestion: Option<String> },
    #[error("{variable}: no such setting{}", did_you_mean(suggestion))]
    UnknownVariable { variable: String, suggestion: Option<String> },
    #[error("{origin}: {key} = {value}: expected {expected}")]
    BadValue { origin: String, key: String, value: String, expected: String },
    /// Values that are fine alone, but not together.
    #[error("{key} = {value}: {reason}")]
    Inconsistent { key: &'static str, value: String, reason: String },
}

fn did_you_mean(suggestion: &Option<String>) -> String {
    suggestion.as_ref().map_or_else(String::new, |name| format!(" (did you mean {name}?)"))
}
