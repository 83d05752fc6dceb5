//! The operations of `/openapi.json` about groups.

use super::accept::JSON;
use super::group_poll::{
    ACK_FIELDS, LEASE_MS_DEFAULT, LEASE_MS_MAX, LEAVE_FIELDS, MAX_BYTES_DEFAULT, MAX_BYTES_MAX, MAX_RECORDS_DEFAULT,
    MAX_RECORDS_MAX, MEMBER_LEN_MAX, POLL_FIELDS, RENEW_FIELDS, WAIT_MS_MAX,
};
use super::groups::RESET_FIELDS;
use super::openapi_paths::{Operation, operation};
use super::openapi_schemas::reference;
use super::problem::{self, Kind};
use super::render::Format;
use crate::broker::groups::LINGER_MS;
use serde_json::{Map, Value, json};

const READS: &[&Kind] = &[&problem::BAD_PATH, &problem::UNAVAILABLE];

/// Of what a body brings, beside the kinds that are given.
fn with_body(kinds: &[&'static Kind]) -> Vec<&'static Kind> {
    let common = [
        &problem::BAD_PATH,
        &problem::BAD_JSON,
        &problem::BAD_FIELD,
        &problem::UNKNOWN_FIELD,
        &problem::BODY_TOO_LARGE,
        &problem::UNSUPPORTED_MEDIA_TYPE,
        &problem::OVERLOADED,
        &problem::UNAVAILABLE,
        &problem::STORAGE_FAILED,
        &problem::OUTCOME_UNKNOWN,
    ];
    common.into_iter().chain(kinds.iter().copied()).collect()
}

/// All of them.
pub fn operations() -> Vec<Operation> {
    let (group, tag) = ("/v1/groups/{group}", "groups");
    let json_of = |name: &str| vec![(JSON, reference(name))];
    vec![
        operation("get", "/v1/groups", "listGroups", tag, "All groups")
            .answer(200, "The groups, by name", &json_of("GroupList"), &[])
            .problems(&[&problem::UNAVAILABLE]),
        operation("get", group, "describeGroup", tag, "A group: its members, its offsets, and how far behind it is")
            .answer(200, "The group", &json_of("GroupDescription"), &[])
            .problems(&[READS, &[&problem::UNKNOWN_GROUP]].concat()),
        operation("delete", group, "deleteGroup", tag, "Deletes a group with its offsets; only without members")
            .answer(204, "It is gone", &[], &[])
            .problems(
                &[READS, &[&problem::UNKNOWN_GROUP, &problem::GROUP_HAS_MEMBERS, &problem::OUTCOME_UNKNOWN]].concat(),
            ),
        operation("post", "/v1/groups/{group}/offsets", "setGroupOffsets", tag, "Sets offsets; only without members")
            .body(&json_of("GroupReset"))
            .answer(200, "The offsets that hold now (with dry_run: that would)", &json_of("GroupOffsets"), &[])
            .problems(&with_body(&[
                &problem::UNKNOWN_GROUP,
                &problem::UNKNOWN_TOPIC,
                &problem::UNKNOWN_PARTITION,
                &problem::GROUP_HAS_MEMBERS,
                &problem::OFFSET_OUT_OF_RANGE,
            ])),
        operation("post", "/v1/groups/{group}/poll", "pollGroup", tag, "Takes records, under a lease")
            .query(
                "format",
                json!({"type": "string", "enum": Format::NAMES, "default": "auto"}),
                "How values are shown",
            )
            .body(&json_of("GroupPoll"))
            .answer(200, "The records, and the lease; without records the lease is null", &json_of("GroupPolled"), &[])
            .problems(&with_body(&[
                &problem::BAD_PARAMETER,
                &problem::UNKNOWN_TOPIC,
                &problem::OTHER_KIND_OF_MEMBERS,
                &problem::OFFSET_OUT_OF_RANGE,
            ])),
        operation(
            "post",
            "/v1/groups/{group}/ack",
            "ackGroup",
            tag,
            "Is done with what a lease holds, or gives it back",
        )
        .body(&json_of("GroupAck"))
        .answer(200, "Done, and durable", &json_of("AckAnswer"), &[])
        .problems(&with_body(&[&problem::LEASE_ENDED])),
        operation("post", "/v1/groups/{group}/renew", "renewGroup", tag, "Lets a lease go on")
            .body(&json_of("GroupRenew"))
            .answer(200, "It goes on", &json_of("LeaseAnswer"), &[])
            .problems(&with_body(&[&problem::LEASE_ENDED])),
        operation(
            "post",
            "/v1/groups/{group}/leave",
            "leaveGroup",
            tag,
            "A member goes; what it holds is free at once",
        )
        .body(&json_of("GroupLeave"))
        .answer(200, "It is gone", &json_of("LeaveAnswer"), &[])
        .problems(&with_body(&[&problem::UNKNOWN_GROUP, &problem::UNKNOWN_MEMBER])),
    ]
}

/// A request body of these members; a test holds them equal to those that are read.
fn body(known: &[&str], required: &[&str], description: &str, members: &[(&str, Value)]) -> Value {
    assert!(known.len() == members.len() && members.iter().all(|(name, _)| known.contains(name)));
    let properties: Map<String, Value> =
        members.iter().map(|(name, schema)| ((*name).to_owned(), schema.clone())).collect();
    json!({
        "type": "object", "additionalProperties": false, "required": required,
        "description": description, "properties": properties,
    })
}

fn number(range: (u64, u64), default: u64, description: &str) -> Value {
    json!({
        "type": "integer", "format": "int64", "minimum": range.0, "maximum": range.1, "default": default,
        "description": description,
    })
}

fn text(description: &str) -> Value {
    json!({"type": "string", "description": description})
}

fn offsets(description: &str) -> Value {
    json!({"type": "array", "items": reference("GroupOffsetAt"), "description": description})
}

fn topics(description: &str) -> Value {
    json!({"type": "array", "minItems": 1, "items": {"type": "string"}, "description": description})
}

fn lease() -> Value {
    text("What a poll gave as lease")
}

fn poll() -> Value {
    let member = format!(
        "A name of its own, of 1 to {MEMBER_LEN_MAX} bytes; one that is left out is made up and told in the answer, to be \
         given in the polls that follow. The partitions of the topics are shared out over the members that polled within \
         the last {} s or hold a lease.",
        LINGER_MS / 1000
    );
    let members = [
        ("topics", topics("The topics to read; the same for all members")),
        ("member", text(&member)),
        (
            "from",
            json!({
                "type": "string", "enum": ["earliest", "latest"], "default": "earliest",
                "description": "Where the group begins in partitions of which it has no offset yet",
            }),
        ),
        ("max_records", number((1, MAX_RECORDS_MAX), MAX_RECORDS_DEFAULT, "At most so many records")),
        ("max_bytes", number((1, MAX_BYTES_MAX), MAX_BYTES_DEFAULT, "About so many bytes, and one record in any case")),
        ("wait_ms", number((0, WAIT_MS_MAX), 0, "How long to wait for a record, if there is none")),
        (
            "lease_ms",
            number(
                (1, LEASE_MS_MAX),
                LEASE_MS_DEFAULT,
                "For how long what is polled is the member's own. Its partitions give nothing more, to nobody (not to the \
                 same member either), until it is acknowledged, given back, or the time is up; then what was not \
                 acknowledged comes again.",
            ),
        ),
    ];
    body(POLL_FIELDS, &["topics"], "Which records, for whom", &members)
}

fn polled() -> Value {
    let record = json!({
        "allOf": [
            {"type": "object", "required": ["topic"], "properties": {"topic": {"type": "string"}}},
            reference("Record"),
        ],
    });
    json!({
        "type": "object", "required": ["member", "lease", "records"],
        "properties": {
            "member": text("The name that was given, or made up"),
            "lease": {"type": ["string", "null"], "description": "To be acknowledged; null where there are no records"},
            "records": {
                "type": "array", "items": record,
                "description": "Those of one partition are in order and together",
            },
        },
    })
}

fn reset() -> Value {
    let to = json!({
        "oneOf": [{"type": "string", "enum": ["earliest", "latest"]}, {"type": "integer", "format": "int64", "minimum": 0}],
        "description": "The ends of the log, or the first record at or after a time in ms since 1970 (its end if there is none)",
    });
    let members = [
        ("offsets", offsets("The next record to be read, by partition; within the log. Not with `to`.")),
        ("to", to),
        ("topics", topics("With `to`: these topics. Default: all that the group has offsets of.")),
        (
            "dry_run",
            json!({"type": "boolean", "default": false, "description": "Change nothing, only tell the offsets"}),
        ),
    ];
    body(RESET_FIELDS, &[], "Either `offsets` or `to`", &members)
}

/// The schemas of the bodies, by name.
pub fn schemas() -> Vec<(&'static str, Value)> {
    let ack = [
        ("lease", lease()),
        (
            "offsets",
            offsets("Done up to and with these; the rest stays leased. Default: all that the lease holds is done."),
        ),
        (
            "release",
            json!({"type": "boolean", "default": false, "description": "Not done: what is left may go to others at once. Not with `offsets`."}),
        ),
    ];
    let renew =
        [("lease", lease()), ("lease_ms", number((1, LEASE_MS_MAX), LEASE_MS_DEFAULT, "For how long from now"))];
    let leave = [("member", text("The name that its polls went by"))];
    vec![
        ("GroupPoll", poll()),
        ("GroupPolled", polled()),
        ("GroupReset", reset()),
        ("GroupAck", body(ACK_FIELDS, &["lease"], "What is done", &ack)),
        ("GroupRenew", body(RENEW_FIELDS, &["lease"], "Which lease, and how long", &renew)),
        ("GroupLeave", body(LEAVE_FIELDS, &["member"], "Who leaves", &leave)),
    ]
}
