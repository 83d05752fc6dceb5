//! Names and settings of topics, checked at the door.
//!
//! A setting is either obeyed or refused by name: one that was silently ignored would be found out by lost data.

use super::Invalid;
use std::collections::BTreeMap;

/// Longest topic name, in characters.
pub const NAME_LEN_MAX: usize = 249;
/// `max.message.bytes`: the largest record, in bytes.
pub const MAX_MESSAGE_BYTES: &str = "max.message.bytes";
/// Default of `max.message.bytes`: 1 MiB.
pub const MAX_MESSAGE_BYTES_DEFAULT: u32 = 1024 * 1024;
/// Most that `max.message.bytes` may be: a batch of 8 MiB.
pub const MAX_MESSAGE_BYTES_MAX: u32 = 8 * 1024 * 1024;

/// The settings that this version obeys.
const OBEYED: &[&str] = &[MAX_MESSAGE_BYTES];

/// Settings that Kafka's users know, and that this version does not obey.
const NOT_BUILT: &[&str] = &[
    "cleanup.policy",
    "compression.type",
    "delete.retention.ms",
    "file.delete.delay.ms",
    "flush.messages",
    "flush.ms",
    "follower.replication.throttled.replicas",
    "index.interval.bytes",
    "leader.replication.throttled.replicas",
    "local.retention.bytes",
    "local.retention.ms",
    "max.compaction.lag.ms",
    "message.timestamp.after.max.ms",
    "message.timestamp.before.max.ms",
    "message.timestamp.type",
    "min.cleanable.dirty.ratio",
    "min.compaction.lag.ms",
    "min.insync.replicas",
    "preallocate",
    "remote.storage.enable",
    "retention.bytes",
    "retention.ms",
    "segment.bytes",
    "segment.index.bytes",
    "segment.jitter.ms",
    "segment.ms",
    "unclean.leader.election.enable",
];

/// A topic's settings in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicSettings {
    /// Largest record, in bytes.
    pub max_message_bytes: u32,
}

impl Default for TopicSettings {
    fn default() -> TopicSettings {
        TopicSettings { max_message_bytes: MAX_MESSAGE_BYTES_DEFAULT }
    }
}

/// What the settings that were set come to, with defaults for the others.
///
/// # Errors
/// The first setting that is unknown, not built yet, or has a bad value.
pub fn parse(config: &BTreeMap<String, String>) -> Result<TopicSettings, Invalid> {
    let mut settings = TopicSettings::default();
    for (key, value) in config {
        check_key(key)?;
        if key == MAX_MESSAGE_BYTES {
            settings.max_message_bytes = parse_max_message_bytes(value)?;
        }
    }
    Ok(settings)
}

/// The settings in force of a topic of the catalog. It was checked when it came in; what this version would refuse (a
/// later one set it) counts as not set.
pub fn in_force(config: &BTreeMap<String, String>) -> TopicSettings {
    let defaults = TopicSettings::default();
    let max_message_bytes = config.get(MAX_MESSAGE_BYTES).and_then(|value| parse_max_message_bytes(value).ok());
    TopicSettings { max_message_bytes: max_message_bytes.unwrap_or(defaults.max_message_bytes) }
}

/// Checks changes of settings; a value of `None` resets one to its default.
///
/// # Errors
/// As [`parse`].
pub fn check_changes(changes: &BTreeMap<String, Option<String>>) -> Result<(), Invalid> {
    for (key, value) in changes {
        check_key(key)?;
        if let Some(value) = value.as_ref().filter(|_| key == MAX_MESSAGE_BYTES) {
            parse_max_message_bytes(value)?;
        }
    }
    Ok(())
}

/// Checks a topic's name.
///
/// # Errors
/// Empty, too long, `.` or `..`, or other characters than `[A-Za-z0-9._-]`.
pub fn check_name(name: &str) -> Result<(), Invalid> {
    const RULE: &str = "a topic's name has 1 to 249 of the characters A-Z, a-z, 0-9, '.', '_' and '-'";
    let detail = if name.is_empty() {
        format!("the name is empty; {RULE}")
    } else if let Some(bad) = name.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))) {
        format!("the name has the character {bad:?}; {RULE}")
    } else if name.len() > NAME_LEN_MAX {
        format!("the name has {} characters; {RULE}", name.len())
    } else if name == "." || name == ".." {
        format!("the name {name:?} cannot be told from a directory; choose another, {RULE}")
    } else {
        return Ok(());
    };
    Err(Invalid::new("/name", detail))
}

fn check_key(key: &str) -> Result<(), Invalid> {
    if OBEYED.contains(&key) {
        return Ok(());
    }
    let field = format!("/config/{}", escape_pointer(key));
    if NOT_BUILT.contains(&key) {
        let detail = format!(
            "{key} is not built yet: this version would not obey it, so it is refused; leave it out (settings that work: {})",
            OBEYED.join(", ")
        );
        return Err(Invalid::new(field, detail));
    }
    let guess = nearest(key).map_or(String::new(), |near| format!(", did you mean {near}?"));
    let shown: String = key.chars().take(NAME_LEN_MAX).collect();
    let detail = format!(
        "there is no setting {shown:?}{}{} settings that work: {}",
        guess,
        if guess.is_empty() { ";" } else { "" },
        OBEYED.join(", ")
    );
    Err(Invalid::new(field, detail))
}

fn parse_max_message_bytes(text: &str) -> Result<u32, Invalid> {
    let field = format!("/config/{MAX_MESSAGE_BYTES}");
    let range = format!("it takes a whole number of bytes from 1 to {MAX_MESSAGE_BYTES_MAX} (8 MiB)");
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse::<u32>() {
        Ok(bytes) if digits && (1..=MAX_MESSAGE_BYTES_MAX).contains(&bytes) => Ok(bytes),
        _ => {
            let shown: String = text.chars().take(40).collect();
            Err(Invalid::new(field, format!("{MAX_MESSAGE_BYTES} is {shown:?}; {range}")))
        }
    }
}

/// A key within a JSON pointer (RFC 6901, section 3).
fn escape_pointer(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// The setting that `key` was probably meant to be.
fn nearest(key: &str) -> Option<&'static str> {
    let spelled: String = key.to_ascii_lowercase().replace(['_', '-'], ".");
    // A far longer key is no misspelling, and is not worth the comparison.
    let worth = |known: &&str| spelled.len().abs_diff(known.len()) <= 3;
    let distances =
        OBEYED.iter().chain(NOT_BUILT).copied().filter(worth).map(|known| (edit_distance(&spelled, known), known));
    distances.min().filter(|(distance, _)| *distance <= 3).map(|(_, known)| known)
}

/// Letters to insert, remove or replace to make `b` of `a` (Levenshtein).
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn config(key: &str, value: &str) -> BTreeMap<String, String> {
        BTreeMap::from([(key.to_owned(), value.to_owned())])
    }

    #[test]
    fn the_settings_that_work() {
        assert_eq!(parse(&BTreeMap::new()).unwrap().max_message_bytes, 1_048_576);
        assert_eq!(parse(&config(MAX_MESSAGE_BYTES, "1")).unwrap().max_message_bytes, 1);
        assert_eq!(parse(&config(MAX_MESSAGE_BYTES, "8388608")).unwrap().max_message_bytes, 8_388_608);
        for bad in ["", "0", "-1", "+5", " 5", "8388609", "1e6", "1.0", "99999999999999999999", "1MiB"] {
            let error = parse(&config(MAX_MESSAGE_BYTES, bad)).unwrap_err();
            assert_eq!(error.field, "/config/max.message.bytes");
            assert!(error.detail.contains(&format!("{bad:?}")) && error.detail.contains("8388608"), "{error}");
            assert_eq!(in_force(&config(MAX_MESSAGE_BYTES, bad)), TopicSettings::default());
        }
    }

    #[test]
    fn the_settings_that_do_not() {
        for (key, texts) in [
            ("retention.ms", ["not built yet", "max.message.bytes"]),
            ("cleanup.policy", ["not built yet", "retention.ms"]),
            ("max_message_bytes", ["did you mean max.message.bytes?", "settings that work"]),
            ("retention.mss", ["did you mean retention.ms?", "settings that work"]),
            ("colour", ["no setting \"colour\"; settings", "max.message.bytes"]),
        ] {
            let error = parse(&config(key, "1")).unwrap_err();
            assert_eq!(error.field, format!("/config/{key}"));
            assert!(error.detail.contains(texts[0]), "{error}");
            assert!(key == "cleanup.policy" || error.detail.contains(texts[1]), "{error}");
            assert!(check_changes(&BTreeMap::from([(key.to_owned(), None)])).is_err());
        }
        assert_eq!(parse(&config("a/b~c", "1")).unwrap_err().field, "/config/a~1b~0c");
    }

    #[test]
    fn changes_may_reset() {
        assert_eq!(check_changes(&BTreeMap::from([(MAX_MESSAGE_BYTES.to_owned(), None)])), Ok(()));
        assert_eq!(check_changes(&BTreeMap::from([(MAX_MESSAGE_BYTES.to_owned(), Some("2".to_owned()))])), Ok(()));
        assert!(check_changes(&BTreeMap::from([(MAX_MESSAGE_BYTES.to_owned(), Some("x".to_owned()))])).is_err());
    }

    #[test]
    fn names() {
        let longest = "a".repeat(249);
        for good in ["a", "A-Z_0.9", "...", "..a", longest.as_str()] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        let too_long = "a".repeat(250);
        for bad in ["", ".", "..", "a b", "a/b", "é", "a\0", "a\n", too_long.as_str()] {
            let error = check_name(bad).unwrap_err();
            assert_eq!(error.field, "/name");
            assert!(error.detail.contains("1 to 249"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_gets_an_answer(name in "\\PC{0,300}", key in "\\PC{0,300}", value in "\\PC{0,60}") {
            let _ = check_name(&name);
            prop_assert!(key == MAX_MESSAGE_BYTES || parse(&config(&key, &value)).is_err());
            let number = value.parse::<u32>().is_ok_and(|n| (1..=MAX_MESSAGE_BYTES_MAX).contains(&n));
            prop_assert!(parse(&config(MAX_MESSAGE_BYTES, &value)).is_err() || number);
        }
    }
}
