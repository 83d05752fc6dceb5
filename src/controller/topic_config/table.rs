//! The table of settings: each with what it takes, its default, and what it does.
//!
//! A setting with one value that is taken stands here because that value is what this version does anyway: whoever asks
//! for it gets it, and whoever asks for another one hears that it is not to be had.

use super::{TimestampType, TopicSettings};
use crate::record::Compression;

/// The type of a setting's value, as Kafka's tools show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingKind {
    Boolean,
    Text,
    Int,
    Long,
    List,
}

/// A setting that is obeyed.
pub struct Setting {
    pub name: &'static str,
    pub kind: SettingKind,
    pub default: &'static str,
    /// What values are taken, for the error that refuses another.
    pub takes: &'static str,
    pub doc: &'static str,
    /// Puts a value in force; false for one that is not taken.
    pub(super) set: fn(&mut TopicSettings, &str) -> bool,
}

/// `max.message.bytes`: the largest record, or batch of several, in bytes.
pub const MAX_MESSAGE_BYTES: &str = "max.message.bytes";
/// Most that `max.message.bytes` may be: a batch of 8 MiB.
pub const MAX_MESSAGE_BYTES_MAX: u32 = 8 * 1024 * 1024;

/// A whole number, digits only but for a sign.
fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| text.parse().ok()).flatten()
}

fn put<T>(place: &mut T, value: Option<T>) -> bool {
    let is_taken = value.is_some();
    if let Some(value) = value {
        *place = value;
    }
    is_taken
}

/// The settings that this version obeys, by name.
pub const SETTINGS: &[Setting] = &[
    Setting {
        name: "cleanup.policy",
        kind: SettingKind::List,
        default: "delete",
        takes: "it takes \"delete\"; compaction is not built yet",
        doc: "What happens to old records: \"delete\" keeps them until retention ends them.",
        set: |_, value| value == "delete",
    },
    Setting {
        name: "compression.type",
        kind: SettingKind::Text,
        default: "producer",
        takes: "it takes producer, uncompressed, gzip, snappy, lz4 or zstd",
        doc: "How batches are stored: as the producer sent them, or compressed anew by this codec.",
        set: |settings, value| put(&mut settings.compression, Compression::of_setting(value)),
    },
    Setting {
        name: "flush.messages",
        kind: SettingKind::Long,
        default: "1",
        takes: "it takes 1: every acknowledged record is on disk",
        doc: "Records between two flushes; each acknowledged record is on the disks of a quorum.",
        set: |_, value| value == "1",
    },
    Setting {
        name: MAX_MESSAGE_BYTES,
        kind: SettingKind::Int,
        default: "1048576",
        takes: "it takes a whole number of bytes from 1 to 8388608 (8 MiB)",
        doc: "Largest record (key, value and headers), and largest batch of several records as it is sent, in bytes.",
        set: |settings, value| {
            let bytes = number(value).filter(|bytes| (1..=MAX_MESSAGE_BYTES_MAX).contains(bytes));
            put(&mut settings.max_message_bytes, bytes)
        },
    },
    Setting {
        name: "message.timestamp.after.max.ms",
        kind: SettingKind::Long,
        default: "9223372036854775807",
        takes: "it takes a number of milliseconds from 0 to 9223372036854775807",
        doc: "How far a record's timestamp may be in the future, with CreateTime.",
        set: |settings, value| put(&mut settings.timestamp_after_ms_max, number(value).filter(|ms| *ms >= 0)),
    },
    Setting {
        name: "message.timestamp.before.max.ms",
        kind: SettingKind::Long,
        default: "9223372036854775807",
        takes: "it takes a number of milliseconds from 0 to 9223372036854775807",
        doc: "How far a record's timestamp may be in the past, with CreateTime.",
        set: |settings, value| put(&mut settings.timestamp_before_ms_max, number(value).filter(|ms| *ms >= 0)),
    },
    Setting {
        name: "message.timestamp.type",
        kind: SettingKind::Text,
        default: "CreateTime",
        takes: "it takes CreateTime or LogAppendTime",
        doc: "Whether a record has the timestamp that its producer gave it, or the time of its append.",
        set: |settings, value| {
            let kind = match value {
                "CreateTime" => Some(TimestampType::CreateTime),
                "LogAppendTime" => Some(TimestampType::LogAppendTime),
                _ => None,
            };
            put(&mut settings.timestamp_type, kind)
        },
    },
    Setting {
        name: "min.insync.replicas",
        kind: SettingKind::Int,
        default: "1",
        takes: "it takes a whole number from 1 on",
        doc: "Replicas that must be in sync for a write with acks=all. A quorum has every such write in any case.",
        set: |settings, value| put(&mut settings.min_insync_replicas, number(value).filter(|count| *count >= 1)),
    },
    Setting {
        name: "preallocate",
        kind: SettingKind::Boolean,
        default: "false",
        takes: "it takes \"false\"",
        doc: "Whether segments get their space before they are written.",
        set: |_, value| value.eq_ignore_ascii_case("false"),
    },
    Setting {
        name: "remote.storage.enable",
        kind: SettingKind::Boolean,
        default: "false",
        takes: "it takes \"false\"; there is no tiered storage",
        doc: "Whether segments are moved to another store.",
        set: |_, value| value.eq_ignore_ascii_case("false"),
    },
    Setting {
        name: "retention.bytes",
        kind: SettingKind::Long,
        default: "-1",
        takes: "it takes -1 (no limit); retention is not built yet",
        doc: "Bytes that a partition keeps; -1 for no limit.",
        set: |_, value| value == "-1",
    },
    Setting {
        name: "retention.ms",
        kind: SettingKind::Long,
        default: "-1",
        takes: "it takes -1 (no limit); retention is not built yet",
        doc: "How long records are kept, in milliseconds; -1 for ever.",
        set: |_, value| value == "-1",
    },
    Setting {
        name: "unclean.leader.election.enable",
        kind: SettingKind::Boolean,
        default: "false",
        takes: "it takes \"false\": a replica that lacks acknowledged records never leads",
        doc: "Whether a replica that lacks acknowledged records may lead.",
        set: |_, value| value.eq_ignore_ascii_case("false"),
    },
];

/// Settings that Kafka's users know, and that this version does not obey.
pub(super) const NOT_BUILT: &[&str] = &[
    "compression.gzip.level",
    "compression.lz4.level",
    "compression.zstd.level",
    "delete.retention.ms",
    "file.delete.delay.ms",
    "flush.ms",
    "follower.replication.throttled.replicas",
    "index.interval.bytes",
    "leader.replication.throttled.replicas",
    "local.retention.bytes",
    "local.retention.ms",
    "max.compaction.lag.ms",
    "min.cleanable.dirty.ratio",
    "min.compaction.lag.ms",
    "remote.log.copy.disable",
    "remote.log.delete.on.disable",
    "segment.bytes",
    "segment.index.bytes",
    "segment.jitter.ms",
    "segment.ms",
];
