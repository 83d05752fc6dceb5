//! Lays flags over variables over the file over the defaults, checking each value where it comes from.

use super::keys::{self, KEYS, Key};
use super::{Config, ConfigError};
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// Variables that begin like settings, but are not: they speak to the command line.
const OTHER_VARIABLES: &[&str] = if cfg!(feature = "mutants") {
    &["BALSA_CONFIG", "BALSA_SERVER", "BALSA_MUTANT"]
} else {
    &["BALSA_CONFIG", "BALSA_SERVER"]
};

/// Where a configuration comes from.
#[derive(Default)]
pub struct Sources {
    /// A file that must exist. Without one, `BALSA_CONFIG` names it; without that there is none.
    pub file: Option<PathBuf>,
    /// The process's environment (only `BALSA_*` is looked at).
    pub environment: Vec<(String, String)>,
    pub flags: Vec<FlagValue>,
}

/// A key that was set on the command line.
pub struct FlagValue {
    /// As the user typed it: `--http`.
    pub flag: &'static str,
    /// The key that it stands for: `http.listen`.
    pub key: &'static str,
    pub value: String,
}

impl Config {
    /// Reads the file, if one is named, and lays the sources over each other.
    ///
    /// # Errors
    /// The first thing that is wrong, in one line.
    pub fn load(sources: &Sources) -> Result<Config, ConfigError> {
        let mut merged = Table::new();
        if let Some(path) = sources.file.clone().or_else(|| file_of_environment(&sources.environment)) {
            add_file(&mut merged, &path)?;
        }
        add_environment(&mut merged, &sources.environment)?;
        for FlagValue { flag, key, value } in &sources.flags {
            let key = keys::find(key).expect("a flag stands for a key that exists");
            add(&mut merged, key, &key.kind.value_of_text(value), &|| (*flag).to_owned())?;
        }
        let config: Config = Value::Table(merged).try_into().expect("values of the right kinds make a configuration");
        config.validate()?;
        Ok(config)
    }
}

fn file_of_environment(environment: &[(String, String)]) -> Option<PathBuf> {
    environment.iter().find(|(name, _)| name == "BALSA_CONFIG").map(|(_, path)| PathBuf::from(path))
}

fn add_file(merged: &mut Table, path: &Path) -> Result<(), ConfigError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    let table: Table = text.parse().map_err(|error: toml::de::Error| {
        let before = error.span().map_or(0, |span| span.start).min(text.len());
        let line = text.as_bytes()[..before].iter().filter(|byte| **byte == b'\n').count() + 1;
        ConfigError::Syntax { path: path.to_owned(), line, detail: error.message().replace('\n', " ") }
    })?;
    add_table(merged, &table, "", path)
}

/// Adds each value of `table`, whose keys stand below `prefix`.
fn add_table(merged: &mut Table, table: &Table, prefix: &str, path: &Path) -> Result<(), ConfigError> {
    for (name, value) in table {
        let name = format!("{prefix}{name}");
        let origin = || path.display().to_string();
        match (keys::find(&name), value) {
            (Some(key), _) => add(merged, key, value, &origin)?,
            (None, Value::Table(inner)) if is_section(&name) => add_table(merged, inner, &format!("{name}."), path)?,
            (None, _) => {
                let suggestion = nearest(&name, KEYS.iter().map(|key| key.name.to_owned()));
                return Err(ConfigError::UnknownKey { origin: origin(), key: name, suggestion });
            }
        }
    }
    Ok(())
}

fn is_section(name: &str) -> bool {
    KEYS.iter().any(|key| key.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
}

fn add_environment(merged: &mut Table, environment: &[(String, String)]) -> Result<(), ConfigError> {
    for (name, text) in environment.iter().filter(|(name, _)| name.starts_with("BALSA_")) {
        if OTHER_VARIABLES.contains(&name.as_str()) || is_kubernetes_service(name) {
            continue;
        }
        let Some(key) = KEYS.iter().find(|key| key.variable() == *name) else {
            let known = KEYS.iter().map(Key::variable).chain(OTHER_VARIABLES.iter().map(|name| (*name).to_owned()));
            let suggestion = nearest(name, known);
            return Err(ConfigError::UnknownVariable { variable: name.clone(), suggestion });
        };
        add(merged, key, &key.kind.value_of_text(text), &|| name.clone())?;
    }
    Ok(())
}

/// Kubernetes gives every container such variables for a service named `balsa` or `balsa-…`; they are no settings.
fn is_kubernetes_service(name: &str) -> bool {
    let links = ["_TCP", "_TCP_ADDR", "_TCP_PORT", "_TCP_PROTO"];
    name == "BALSA_PORT"
        || name.contains("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || (name.contains("_PORT_") && links.iter().any(|end| name.ends_with(end)))
        || (name.ends_with("_PORT") && !KEYS.iter().any(|key| key.variable() == name))
}

/// Puts one checked value at its place in `merged`.
fn add(merged: &mut Table, key: &Key, value: &Value, origin: &dyn Fn() -> String) -> Result<(), ConfigError> {
    let Some(accepted) = key.kind.accept(value) else {
        return Err(ConfigError::BadValue {
            origin: origin(),
            key: key.name.to_owned(),
            value: shown(value),
            expected: key.kind.expected(),
        });
    };
    match key.name.split_once('.') {
        None => {
            merged.insert(key.name.to_owned(), accepted);
        }
        Some((section, name)) => {
            let section = merged.entry(section).or_insert_with(|| Value::Table(Table::new()));
            let section = section.as_table_mut().expect("a section of the configuration is a table");
            section.insert(name.to_owned(), accepted);
        }
    }
    Ok(())
}

/// A value for a one-line error: not longer than a line.
fn shown(value: &Value) -> String {
    let text = match value {
        Value::String(text) => format!("{text:?}"),
        Value::Table(table) => {
            let pairs: Vec<String> = table.iter().map(|(name, value)| format!("{name}={}", shown(value))).collect();
            format!("{{{}}}", pairs.join(", "))
        }
        other => other.to_string().replace('\n', " "),
    };
    if text.chars().count() <= 80 { text } else { text.chars().take(79).chain(['…']).collect() }
}

/// The known name that a typo most likely meant: at most a third of it mistyped, or its last part alone.
fn nearest(name: &str, known: impl Iterator<Item = String>) -> Option<String> {
    let lower = name.to_lowercase();
    known
        .map(|candidate| {
            let whole = distance(&lower, &candidate.to_lowercase());
            let last = candidate.rsplit('.').next().unwrap_or(&candidate);
            let given = lower.rsplit('.').next().unwrap_or(&lower);
            (whole.min(distance(given, &last.to_lowercase()) + 1), candidate)
        })
        .filter(|(edits, candidate)| *edits <= candidate.len().min(name.len()) / 3)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance: single-character insertions, deletions, substitutions.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, r) in right.iter().enumerate() {
            let substituted = diagonal + usize::from(l != *r);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[right.len()]
}
