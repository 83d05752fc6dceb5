//! What a topic's settings ask of the records that are written to it, whichever way they come.

use super::api::{ProduceError, ProduceRecords, SettingView, TopicConfig, TopicView};
use super::route::Target;
use super::{Broker, Direct};
use crate::controller::topic_config::{SETTINGS, SettingKind, TimestampType};
use crate::record::{self, ClientRules, Limits, TimestampRule, build_batch, parse_header, recode};
use crate::types::Acks;
use bytes::Bytes;
use std::collections::BTreeMap;

/// What one batch may inflate to; readers open no more.
const INFLATED_BYTES_MAX: usize = 64 << 20;

fn timestamp_rule(settings: &TopicConfig, now_ms: i64) -> TimestampRule {
    match settings.timestamp_type {
        TimestampType::LogAppendTime => TimestampRule::Append { now_ms },
        TimestampType::CreateTime => TimestampRule::Create {
            oldest_ms: now_ms.saturating_sub(settings.timestamp_before_ms_max),
            newest_ms: now_ms.saturating_add(settings.timestamp_after_ms_max),
        },
    }
}

/// What a Kafka client's batch must be, and becomes.
pub(super) fn client_rules(settings: &TopicConfig, now_ms: i64) -> ClientRules {
    let largest = settings.max_message_bytes as usize;
    ClientRules {
        limits: Limits {
            record_bytes_max: largest,
            batch_bytes_max: largest,
            inflated_bytes_max: INFLATED_BYTES_MAX.max(largest),
        },
        timestamps: timestamp_rule(settings, now_ms),
        compression: settings.compression,
    }
}

/// Whether batches are stored as they were built or came.
fn are_kept(settings: &TopicConfig) -> bool {
    let plain = TopicConfig::default();
    let (max_message_bytes, min_insync_replicas) = (settings.max_message_bytes, settings.min_insync_replicas);
    *settings == TopicConfig { max_message_bytes, min_insync_replicas, ..plain }
}

/// Records of this node's other clients as their topic wants them; most topics want them as they are.
///
/// # Errors
/// A timestamp is outside of what the topic allows.
pub(super) fn shaped(
    settings: &TopicConfig,
    records: ProduceRecords,
    now_ms: i64,
) -> Result<ProduceRecords, ProduceError> {
    if are_kept(settings) || matches!(&records, ProduceRecords::Set(set) if set.is_empty()) {
        return Ok(records);
    }
    let (bytes, record_count, newest) = match records {
        ProduceRecords::Set(set) => {
            let built = build_batch(&[set]);
            (built.bytes, built.record_count, built.timestamp_ms_max)
        }
        ProduceRecords::Batches { bytes, record_count, timestamp_ms_max } => (bytes, record_count, timestamp_ms_max),
    };
    let bad = |error: record::BatchError| ProduceError::BadBatch(error.to_string());
    let append_time_ms = match timestamp_rule(settings, now_ms) {
        TimestampRule::Append { now_ms } => Some(now_ms),
        TimestampRule::Create { oldest_ms, newest_ms } => {
            check_timestamps(&bytes, oldest_ms, newest_ms)?;
            None
        }
    };
    let mut parts = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let batch = rest.split_to(parse_header(&rest).map_err(bad)?.total_len.min(rest.len()));
        parts.push(recode(batch, settings.compression, append_time_ms).map_err(bad)?);
    }
    let bytes = if parts.len() == 1 { parts.swap_remove(0) } else { Bytes::from(parts.concat()) };
    Ok(ProduceRecords::Batches { bytes, record_count, timestamp_ms_max: append_time_ms.unwrap_or(newest) })
}

fn check_timestamps(bytes: &Bytes, oldest_ms: i64, newest_ms: i64) -> Result<(), ProduceError> {
    if oldest_ms <= 0 && newest_ms == i64::MAX {
        return Ok(());
    }
    let limits = client_rules(&TopicConfig::default(), 0).limits;
    let limits = Limits { batch_bytes_max: usize::MAX, ..limits };
    for record in record::records(bytes.clone(), &limits) {
        let at = record.map_err(|error| ProduceError::BadBatch(error.to_string()))?.timestamp_ms;
        if at > newest_ms || (at >= 0 && at < oldest_ms) {
            return Err(ProduceError::BadBatch(format!(
                "a record's timestamp is {at}; the topic's message.timestamp.before.max.ms and after.max.ms allow \
                 {oldest_ms} to {newest_ms} now"
            )));
        }
    }
    Ok(())
}

impl Broker {
    /// Whether enough replicas are there for a write with acks=all: what a quorum does not cover by itself. In sync is
    /// who lives and, where this node leads, has what is committed.
    ///
    /// # Errors
    /// What is missing, in words.
    pub(super) fn check_in_sync(&self, settings: &TopicConfig, target: &Target, acks: Acks) -> Result<(), String> {
        let replicas = target.replicas.len();
        let wanted = settings.min_insync_replicas as usize;
        if acks != Acks::All || wanted <= replicas / 2 + 1 {
            return Ok(());
        }
        if wanted > replicas {
            return Err(format!("min.insync.replicas is {wanted}, but the partition has {replicas} replicas"));
        }
        let router = &self.inner.parts.router;
        let alive = || target.replicas.iter().filter(|node| router.is_reachable(**node)).count();
        let in_sync = self.in_sync_here(target).map_or_else(alive, |in_sync| in_sync.len());
        if in_sync >= wanted {
            return Ok(());
        }
        Err(format!("{in_sync} replicas are in sync, and min.insync.replicas is {wanted}; nothing was written"))
    }

    /// All settings of a topic that this version obeys, with the values in force.
    pub fn topic_settings(&self, topic: &TopicView) -> Vec<SettingView> {
        self.settings_of(&topic.config)
    }

    /// The settings of a topic for which these were set.
    pub fn settings_of(&self, config: &BTreeMap<String, String>) -> Vec<SettingView> {
        let view = |setting: &crate::controller::topic_config::Setting| {
            let set = config.get(setting.name).cloned();
            SettingView {
                name: setting.name,
                is_default: set.is_none(),
                value: set.unwrap_or_else(|| setting.default.to_owned()),
                default: Some(setting.default.to_owned()),
                kind: setting.kind,
                doc: setting.doc,
            }
        };
        SETTINGS.iter().map(view).collect()
    }

    /// Settings of a node by Kafka's names, as far as they are true here. None can be changed while it runs.
    pub fn node_settings(&self) -> Vec<SettingView> {
        use SettingKind::{Boolean, Int, List, Long, Text};
        let config = &self.inner.config;
        let own = [
            ("auto.create.topics.enable", Boolean, config.auto_create_topics.to_string(), "Makes topics at first use."),
            (
                "default.replication.factor",
                Int,
                config.default_replication_factor.to_string(),
                "Replicas of a new topic, or as many as there are nodes.",
            ),
            ("delete.topic.enable", Boolean, "true".to_owned(), "Topics can be deleted."),
            ("log.dirs", Text, config.data_dir.display().to_string(), "Where the data is."),
            ("node.id", Int, config.node_id.to_string(), "The number of this node."),
            ("broker.id", Int, config.node_id.to_string(), "The number of this node."),
            ("num.partitions", Int, config.default_partitions.to_string(), "Partitions of a new topic."),
            (
                "producer.id.expiration.ms",
                Int,
                crate::state::partition::PRODUCER_AGE_MS_MAX.to_string(),
                "How long an idle idempotent producer is known.",
            ),
        ];
        let of_topics = [
            ("compression.type", "compression.type", Text),
            ("log.cleanup.policy", "cleanup.policy", List),
            ("log.flush.interval.messages", "flush.messages", Long),
            ("log.message.timestamp.type", "message.timestamp.type", Text),
            ("log.retention.bytes", "retention.bytes", Long),
            ("log.retention.ms", "retention.ms", Long),
            ("message.max.bytes", "max.message.bytes", Int),
            ("min.insync.replicas", "min.insync.replicas", Int),
            ("unclean.leader.election.enable", "unclean.leader.election.enable", Boolean),
        ];
        let own = own.into_iter().map(|(name, kind, value, doc)| SettingView {
            name,
            is_default: false,
            value,
            default: None,
            kind,
            doc,
        });
        let of_topics = of_topics.into_iter().filter_map(|(name, of_topic, kind)| {
            let setting = SETTINGS.iter().find(|setting| setting.name == of_topic)?;
            let default = Some(setting.default.to_owned());
            Some(SettingView { name, is_default: true, value: default.clone()?, default, kind, doc: setting.doc })
        });
        let mut all: Vec<SettingView> = own.chain(of_topics).collect();
        all.sort_by_key(|setting| setting.name);
        all
    }

    /// What a client's batch must be for its topic.
    pub(super) fn rules_of(&self, at: &Direct) -> ClientRules {
        client_rules(&at.topic.effective, self.now_ms())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Compression, RecordSet};

    fn set(timestamps: &[i64]) -> ProduceRecords {
        let mut set = RecordSet::new();
        for at in timestamps {
            set.push(*at, None, Some(b"value"), &[]);
        }
        ProduceRecords::Set(set)
    }

    fn read(records: ProduceRecords) -> (Vec<i64>, i64, Option<i16>) {
        let ProduceRecords::Batches { bytes, timestamp_ms_max, .. } = records else { panic!("not shaped") };
        let attributes = parse_header(&bytes).ok().map(|header| header.attributes);
        let limits = client_rules(&TopicConfig::default(), 0).limits;
        (
            record::records(bytes, &limits).map(|record| record.unwrap().timestamp_ms).collect(),
            timestamp_ms_max,
            attributes,
        )
    }

    #[test]
    fn most_topics_take_records_as_they_are() {
        let settings = TopicConfig { max_message_bytes: 5, min_insync_replicas: 3, ..TopicConfig::default() };
        assert!(matches!(shaped(&settings, set(&[1]), 50), Ok(ProduceRecords::Set(_))));
    }

    #[test]
    fn records_get_their_topics_time_and_codec() {
        let timestamp_type = TimestampType::LogAppendTime;
        let settings = TopicConfig { timestamp_type, compression: Some(Compression::Zstd), ..TopicConfig::default() };
        assert_eq!(read(shaped(&settings, set(&[1, 2]), 50).unwrap()), (vec![50, 50], 50, Some(4 | 8)));
        let two = [build_batch(&[RecordSet::new(), one(1)]).bytes, build_batch(&[one(2)]).bytes].concat();
        let two = ProduceRecords::Batches { bytes: two.into(), record_count: 2, timestamp_ms_max: 2 };
        assert_eq!(read(shaped(&settings, two, 60).unwrap()), (vec![60, 60], 60, Some(4 | 8)));
    }

    fn one(at: i64) -> RecordSet {
        let mut set = RecordSet::new();
        set.push(at, None, None, &[]);
        set
    }

    #[test]
    fn timestamps_out_of_bounds_are_refused() {
        let settings = TopicConfig { timestamp_before_ms_max: 10, timestamp_after_ms_max: 5, ..TopicConfig::default() };
        assert_eq!(read(shaped(&settings, set(&[40, 55]), 50).unwrap()).0, [40, 55]);
        for bad in [39, 56] {
            assert!(matches!(shaped(&settings, set(&[50, bad]), 50), Err(ProduceError::BadBatch(_))));
        }
    }
}
