//! DescribeLogDirs (35): what this node holds of which partition, and how much room its disk has.

use crate::kafka::context::RequestContext;
use kafka_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use kafka_protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse};
use kafka_protocol::protocol::StrBytes;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

pub const VERSIONS: RangeInclusive<i16> = 1..=4;

/// "Not known."
const UNKNOWN: i64 = -1;

pub async fn handle(ctx: &RequestContext, request: DescribeLogDirsRequest) -> DescribeLogDirsResponse {
    let dir = ctx.broker.data_dir().await;
    let asked = |topic: &str, partition: i32| {
        let topics = request.topics.as_ref();
        let is_named = |topics: &Vec<kafka_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic>| {
            topics.iter().any(|named| named.topic.as_str() == topic && named.partitions.contains(&partition))
        };
        topics.is_none_or(is_named)
    };
    let mut topics: BTreeMap<String, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
    for replica in dir.replicas {
        let partition = replica.partition.0 as i32;
        if !asked(&replica.topic, partition) {
            continue;
        }
        // A replica takes what it is sent in order, and has no other log that is being filled beside.
        let described = DescribeLogDirsPartition::default()
            .with_partition_index(partition)
            .with_partition_size(replica.size_bytes as i64)
            .with_offset_lag(0);
        topics.entry(replica.topic).or_default().push(described);
    }
    let topics = topics.into_iter().map(|(name, partitions)| {
        DescribeLogDirsTopic::default().with_name(super::asked::topic_name(&name)).with_partitions(partitions)
    });
    let result =
        DescribeLogDirsResult::default().with_log_dir(StrBytes::from_string(dir.path)).with_topics(topics.collect());
    let bytes = |bytes: Option<u64>| bytes.map_or(UNKNOWN, |bytes| bytes as i64);
    let result = if ctx.version >= 4 {
        result.with_total_bytes(bytes(dir.total_bytes)).with_usable_bytes(bytes(dir.free_bytes))
    } else {
        result
    };
    DescribeLogDirsResponse::default().with_results(vec![result])
}
