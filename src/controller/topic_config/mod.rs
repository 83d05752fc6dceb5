//! Names and settings of topics, checked at the door.
//!
//! A setting is either obeyed or refused by name: one that was silently ignored would be found out by lost data.

mod table;

use table::NOT_BUILT;
pub use table::{MAX_MESSAGE_BYTES, MAX_MESSAGE_BYTES_MAX, SETTINGS, Setting, SettingKind};

use super::Invalid;
use crate::record::Compression;
use std::collections::BTreeMap;

/// Longest topic name, in characters.
pub const NAME_LEN_MAX: usize = 249;
/// Which time a record's timestamp is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimestampType {
    /// What its producer gave it.
    #[default]
    CreateTime,
    /// When its leader appended it.
    LogAppendTime,
}

/// A topic's settings in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicSettings {
    /// Largest record, and largest batch of several, in bytes.
    pub max_message_bytes: u32,
    pub timestamp_type: TimestampType,
    /// How far a timestamp may be in the past and in the future, with `CreateTime`.
    pub timestamp_before_ms_max: i64,
    pub timestamp_after_ms_max: i64,
    /// How batches are stored; `None` as they come.
    pub compression: Option<Compression>,
    pub min_insync_replicas: u32,
}

impl Default for TopicSettings {
    fn default() -> TopicSettings {
        TopicSettings {
            max_message_bytes: 1024 * 1024,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_ms_max: i64::MAX,
            timestamp_after_ms_max: i64::MAX,
            compression: None,
            min_insync_replicas: 1,
        }
    }
}

/// What the settings that were set come to, with defaults for the others.
///
/// # Errors
/// The first setting that is unknown, not built yet, or has a bad value.
pub fn parse(config: &BTreeMap<String, String>) -> Result<TopicSettings, Invalid> {
    let mut settings = TopicSettings::default();
    for (key, value) in config {
        set(&mut settings, key, value)?;
    }
    Ok(settings)
}

/// The settings in force of a topic of the catalog. It was checked when it came in; what this version would refuse (a
/// later one set it) counts as not set.
pub fn in_force(config: &BTreeMap<String, String>) -> TopicSettings {
    let mut settings = TopicSettings::default();
    for (key, value) in config {
        let _ = set(&mut settings, key, value);
    }
    settings
}

/// Checks changes of settings; a value of `None` resets one to its default.
///
/// # Errors
/// As [`parse`].
pub fn check_changes(changes: &BTreeMap<String, Option<String>>) -> Result<(), Invalid> {
    let mut settings = TopicSettings::default();
    for (key, value) in changes {
        match value {
            Some(value) => set(&mut settings, key, value)?,
            None => find(key).map(drop)?,
        }
    }
    Ok(())
}

fn set(settings: &mut TopicSettings, key: &str, value: &str) -> Result<(), Invalid> {
    let setting = find(key)?;
    if (setting.set)(settings, value) {
        return Ok(());
    }
    let shown: String = value.chars().take(40).collect();
    Err(Invalid::new(format!("/config/{key}"), format!("{key} is {shown:?}; {}", setting.takes)))
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

/// The setting of a name, if it is obeyed.
fn find(key: &str) -> Result<&'static Setting, Invalid> {
    if let Some(setting) = SETTINGS.iter().find(|setting| setting.name == key) {
        return Ok(setting);
    }
    let field = format!("/config/{}", escape_pointer(key));
    let that_work = SETTINGS.iter().map(|setting| setting.name).collect::<Vec<_>>().join(", ");
    if NOT_BUILT.contains(&key) {
        let detail = format!(
            "{key} is not built yet: this version would not obey it, so it is refused; leave it out (settings that work: {that_work})"
        );
        return Err(Invalid::new(field, detail));
    }
    let guess = nearest(key).map_or(String::new(), |near| format!(", did you mean {near}?"));
    let shown: String = key.chars().take(NAME_LEN_MAX).collect();
    let detail = format!(
        "there is no setting {shown:?}{}{} settings that work: {that_work}",
        guess,
        if guess.is_empty() { ";" } else { "" },
    );
    Err(Invalid::new(field, detail))
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
    let known = SETTINGS.iter().map(|setting| setting.name).chain(NOT_BUILT.iter().copied());
    let distances = known.filter(worth).map(|known| (edit_distance(&spelled, known), known));
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
            ("segment.bytes", ["not built yet", "max.message.bytes"]),
            ("delete.retention.ms", ["not built yet", "retention.ms"]),
            ("max_message_bytes", ["did you mean max.message.bytes?", "settings that work"]),
            ("retention.mss", ["did you mean retention.ms?", "settings that work"]),
            ("colour", ["no setting \"colour\"; settings", "max.message.bytes"]),
        ] {
            let error = parse(&config(key, "1")).unwrap_err();
            assert_eq!(error.field, format!("/config/{key}"));
            assert!(error.detail.contains(texts[0]), "{error}");
            assert!(error.detail.contains(texts[1]), "{error}");
            assert!(check_changes(&BTreeMap::from([(key.to_owned(), None)])).is_err());
        }
        assert_eq!(parse(&config("a/b~c", "1")).unwrap_err().field, "/config/a~1b~0c");
    }

    #[test]
    fn each_setting_takes_its_default_and_refuses_nonsense() {
        for setting in SETTINGS {
            assert_eq!(parse(&config(setting.name, setting.default)), Ok(TopicSettings::default()), "{}", setting.name);
            for bad in ["", "nonsense", "-7", "1.5", "0x1"] {
                let error = parse(&config(setting.name, bad)).unwrap_err();
                assert!(error.detail.contains(setting.takes) && error.detail.contains(setting.name), "{error}");
            }
            assert!(!NOT_BUILT.contains(&setting.name));
        }
        assert!(SETTINGS.is_sorted_by_key(|setting| setting.name));
    }

    #[test]
    fn what_is_set_is_in_force() {
        let set = [
            ("compression.type", "lz4"),
            ("message.timestamp.after.max.ms", "3600000"),
            ("message.timestamp.before.max.ms", "0"),
            ("message.timestamp.type", "LogAppendTime"),
            ("min.insync.replicas", "2"),
            ("retention.ms", "-1"),
        ];
        let set = set.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let settings = parse(&BTreeMap::from(set)).unwrap();
        assert_eq!(settings.compression, Some(Compression::Lz4));
        assert_eq!((settings.timestamp_before_ms_max, settings.timestamp_after_ms_max), (0, 3_600_000));
        assert_eq!(settings.timestamp_type, TimestampType::LogAppendTime);
        assert_eq!(settings.min_insync_replicas, 2);
        for refused in [("retention.ms", "604800000"), ("cleanup.policy", "compact"), ("min.insync.replicas", "0")] {
            assert!(parse(&config(refused.0, refused.1)).is_err(), "{refused:?}");
        }
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
            let is_known = SETTINGS.iter().any(|setting| setting.name == key);
            prop_assert!(is_known || parse(&config(&key, &value)).is_err());
            let number = value.parse::<u32>().is_ok_and(|n| (1..=MAX_MESSAGE_BYTES_MAX).contains(&n));
            prop_assert!(parse(&config(MAX_MESSAGE_BYTES, &value)).is_err() || number);
        }
    }
}
