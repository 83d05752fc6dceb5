//! The schemas of `/openapi.json`: of the types that are serialized, and of what is read and written by hand.

use super::cluster::{ClusterDescription, NodeDescription, NodeList};
use super::group_poll::{AckAnswer, LeaseAnswer, LeaveAnswer};
use super::groups::{GroupDescription, GroupList, GroupOffsets};
use super::problem::CATALOGUE;
use super::topics::{OffsetList, PARTITIONS_MAX, REPLICATION_FACTOR_MAX, TopicDescription, TopicList};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

/// A reference to a schema by its name.
pub fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// All schemas, by name.
pub fn schemas() -> Value {
    let mut schemas = Map::new();
    serialized::<TopicList>(&mut schemas);
    serialized::<TopicDescription>(&mut schemas);
    serialized::<OffsetList>(&mut schemas);
    serialized::<GroupList>(&mut schemas);
    serialized::<GroupDescription>(&mut schemas);
    serialized::<GroupOffsets>(&mut schemas);
    serialized::<AckAnswer>(&mut schemas);
    serialized::<LeaseAnswer>(&mut schemas);
    serialized::<LeaveAnswer>(&mut schemas);
    schemas.extend(super::openapi_groups::schemas().into_iter().map(|(name, schema)| (name.to_owned(), schema)));
    serialized::<ClusterDescription>(&mut schemas);
    serialized::<NodeList>(&mut schemas);
    serialized::<NodeDescription>(&mut schemas);
    for (name, schema) in [
        ("Bytes", bytes()),
        ("Base64", base64()),
        ("Value", value()),
        ("Headers", headers()),
        ("Record", record()),
        ("RecordToWrite", record_to_write()),
        (
            "WriteRequest",
            json!({
                "type": "object", "additionalProperties": false, "required": ["records"],
                "properties": {"records": {"type": "array", "items": reference("RecordToWrite")}},
            }),
        ),
        ("WriteAnswer", write_answer()),
        ("BatchesAnswer", batches_answer()),
        ("AcceptedAnswer", object(&[("accepted", count("Records that were taken; nothing is known of their fate"))])),
        ("StreamAnswer", stream_answer()),
        ("PartitionPage", partition_page()),
        ("TopicPage", topic_page()),
        ("TopicToCreate", topic_to_create()),
        ("TopicChange", topic_change()),
        ("Problem", problem()),
    ] {
        schemas.insert(name.to_owned(), schema);
    }
    Value::Object(schemas)
}

/// Adds the schema of a type, and of those within it.
fn serialized<T: ToSchema>(schemas: &mut Map<String, Value>) {
    let mut found = vec![(T::name().into_owned(), T::schema())];
    T::schemas(&mut found);
    for (name, schema) in found {
        schemas.insert(name, serde_json::to_value(schema).expect("schemas are JSON"));
    }
}

fn count(description: &str) -> Value {
    json!({"type": "integer", "format": "int64", "minimum": 0, "description": description})
}

/// An object of these members, all required.
fn object(members: &[(&str, Value)]) -> Value {
    let required: Vec<&str> = members.iter().map(|(name, _)| *name).collect();
    let properties: Map<String, Value> =
        members.iter().map(|(name, schema)| ((*name).to_owned(), schema.clone())).collect();
    json!({"type": "object", "required": required, "properties": properties})
}

fn base64() -> Value {
    json!({
        "type": "object", "additionalProperties": false, "required": ["base64"],
        "description": "Bytes that are not shown as text. An object whose only member is base64 always means this.",
        "properties": {"base64": {"type": "string", "contentEncoding": "base64"}},
    })
}

fn bytes() -> Value {
    json!({
        "description": "A string stands for its UTF-8 bytes, without quotes.",
        "oneOf": [{"type": "string"}, reference("Base64")],
    })
}

fn value() -> Value {
    json!({
        "description": "Any JSON. When written, a string stands for its UTF-8 bytes, {\"base64\"} for bytes, null is a \
            tombstone, and the text of anything else is stored exactly as sent. When read, `format` decides.",
    })
}

fn headers() -> Value {
    json!({
        "type": "array",
        "description": "Pairs of a name and a value, in order; names may repeat.",
        "items": {
            "type": "array", "minItems": 2, "maxItems": 2,
            "prefixItems": [reference("Bytes"), {"oneOf": [reference("Bytes"), {"type": "null"}]}],
        },
    })
}

fn nullable_bytes() -> Value {
    json!({"oneOf": [reference("Bytes"), {"type": "null"}], "description": "Null is no key."})
}

fn record() -> Value {
    object(&[
        ("partition", count("From 0")),
        ("offset", count("Within the partition, from 0, without holes")),
        ("timestamp_ms", json!({"type": "integer", "format": "int64", "description": "Milliseconds since 1970"})),
        ("key", nullable_bytes()),
        ("value", reference("Value")),
        ("headers", reference("Headers")),
    ])
}

fn record_to_write() -> Value {
    json!({
        "type": "object", "additionalProperties": false, "required": ["value"],
        "properties": {
            "partition": count("Default: by key, else spread. Not where the path names one."),
            "timestamp_ms": count("Milliseconds since 1970; default: the node's clock"),
            "key": nullable_bytes(),
            "value": reference("Value"),
            "headers": reference("Headers"),
        },
        "example": {"key": "BTC", "value": {"price": 101.5}, "headers": [["trace", "ab12"]]},
    })
}

fn write_answer() -> Value {
    json!({
        "type": "object", "required": ["records"],
        "properties": {
            "records": {
                "type": "array", "description": "In the order sent.",
                "items": {
                    "type": "object", "required": ["partition"],
                    "properties": {
                        "partition": count("Where it went"), "offset": count("Where it is"),
                        "timestamp_ms": count("Its timestamp"), "error": reference("Problem"),
                    },
                },
            },
            "errors": count("Records that were not written (207 only)"),
        },
    })
}

fn batches_answer() -> Value {
    let batch = object(&[
        ("partition", count("Where it went")),
        ("base_offset", count("Of its first record")),
        ("count", count("Its records")),
    ]);
    object(&[("batches", json!({"type": "array", "items": batch}))])
}

fn stream_answer() -> Value {
    json!({
        "description": "A line per appended run, a line per refused one with on_error=skip, and the last line with `done`.",
        "anyOf": [
            object(&[
                ("partition", count("Where the run went")), ("base_offset", count("Of its first record")),
                ("count", count("Its records")), ("through_line", count("Everything up to this line is acknowledged")),
            ]),
            object(&[("line", count("The refused line, from 1")), ("error", reference("Problem"))]),
            {
                "type": "object", "required": ["done"],
                "properties": {
                    "done": {"type": "boolean", "description": "False: the stream ended at `line` because of `error`"},
                    "records": count("Records that were written"), "line": count("The line that ended the stream"),
                    "error": reference("Problem"),
                },
            },
        ],
    })
}

fn partition_page() -> Value {
    object(&[
        ("topic", json!({"type": "string"})),
        ("partition", count("From 0")),
        ("log_start_offset", count("The first record that is kept")),
        ("high_watermark", count("Behind the last committed record")),
        ("next_offset", count("Where the next read goes on")),
        ("records", json!({"type": "array", "items": reference("Record")})),
    ])
}

fn topic_page() -> Value {
    object(&[
        ("topic", json!({"type": "string"})),
        ("next_cursor", json!({"type": "string", "description": "Opaque: where the next read goes on"})),
        ("records", json!({"type": "array", "items": reference("Record")})),
    ])
}

fn settings(value: &Value) -> Value {
    json!({
        "type": "object", "additionalProperties": value,
        "description": "Settings by name, like max.message.bytes; unknown ones are refused.",
    })
}

fn topic_to_create() -> Value {
    json!({
        "type": "object", "additionalProperties": false, "required": ["name"],
        "properties": {
            "name": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,249}$", "description": "Not . or .."},
            "partitions": {"type": "integer", "minimum": 1, "maximum": PARTITIONS_MAX},
            "replication_factor": {
                "type": "integer", "minimum": 1, "maximum": REPLICATION_FACTOR_MAX,
                "description": "Default: 3, or as many as there are nodes",
            },
            "assignments": {
                "type": "array", "description": "The replicas of each partition, the preferred leader first.",
                "items": {"type": "array", "minItems": 1, "maxItems": REPLICATION_FACTOR_MAX, "items": {"type": "integer"}},
            },
            "config": settings(&json!({"type": ["string", "number", "boolean"]})),
        },
        "example": {"name": "trades", "partitions": 10, "replication_factor": 3},
    })
}

fn topic_change() -> Value {
    json!({
        "type": "object", "additionalProperties": false, "minProperties": 1,
        "properties": {
            "partitions": {"type": "integer", "minimum": 1, "maximum": PARTITIONS_MAX, "description": "More than there are"},
            "config": settings(&json!({"type": ["string", "number", "boolean", "null"], "description": "Null resets it"})),
        },
    })
}

fn problem() -> Value {
    let types: Vec<String> = CATALOGUE.iter().map(|kind| format!("/problems/{}", kind.name)).collect();
    json!({
        "type": "object", "required": ["type", "title", "status", "detail"],
        "description": "RFC 9457. Further members help programs: topic, partition, log_start_offset, high_watermark, \
            log_end_offset, retry_after_ms, field (a JSON pointer), line, parameter, known, supported, limit.",
        "properties": {
            "type": {"type": "string", "enum": types, "description": "A path that the node serves as a page"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string", "description": "What happened, and what to do"},
        },
    })
}
