//! The operations of `/openapi.json`: each path and method with its parameters, bodies, answers and problems.

use super::accept::{BATCHES, EVENTS, JSON, NDJSON, OCTETS};
use super::fetch::PARTITION_FORMS;
use super::fetch_query::{LIMIT_DEFAULT, MAX_BYTES_DEFAULT, WAIT_MS_MAX};
use super::fetch_topic::TOPIC_FORMS;
use super::openapi_schemas::reference;
use super::problem::{self, Kind};
use super::render::Format;
use serde_json::{Map, Value, json};

/// One path and method.
pub struct Operation {
    pub path: String,
    pub method: &'static str,
    pub description: Value,
}

const TOPIC: &str = "/v1/topics/{topic}";
const TOPIC_RECORDS: &str = "/v1/topics/{topic}/records";
const PARTITION_RECORDS: &str = "/v1/topics/{topic}/partitions/{partition}/records";

/// All operations.
pub fn operations() -> Vec<Operation> {
    let mut operations = Vec::new();
    operations.extend(records());
    operations.extend(topics());
    operations.extend(super::openapi_groups::operations());
    operations.extend(cluster());
    operations.extend(help());
    operations
}

/// An operation that is being described.
pub struct Builder {
    path: &'static str,
    method: &'static str,
    id: &'static str,
    tag: &'static str,
    summary: &'static str,
    parameters: Vec<Value>,
    body: Option<Value>,
    responses: Map<String, Value>,
}

pub fn operation(
    method: &'static str,
    path: &'static str,
    id: &'static str,
    tag: &'static str,
    summary: &'static str,
) -> Builder {
    let mut parameters = Vec::new();
    if path.contains("{topic}") {
        parameters.push(json!({
            "name": "topic", "in": "path", "required": true, "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,249}$"},
        }));
    }
    for (name, what) in [
        ("partition", "From 0"),
        ("node", "Its id"),
        ("name", "The last segment of a problem's type"),
        ("group", "Its name, percent-encoded"),
    ] {
        if path.contains(&format!("{{{name}}}")) {
            let kind = if matches!(name, "name" | "group") { "string" } else { "integer" };
            parameters.push(json!({
                "name": name, "in": "path", "required": true, "schema": {"type": kind}, "description": what,
            }));
        }
    }
    Builder { path, method, id, tag, summary, parameters, body: None, responses: Map::new() }
}

impl Builder {
    pub fn query(mut self, name: &str, schema: Value, description: &str) -> Builder {
        self.parameters.push(json!({"name": name, "in": "query", "schema": schema, "description": description}));
        self
    }

    fn header(mut self, name: &str, schema: Value, description: &str) -> Builder {
        self.parameters.push(json!({"name": name, "in": "header", "schema": schema, "description": description}));
        self
    }

    pub fn body(mut self, forms: &[(&str, Value)]) -> Builder {
        self.body = Some(json!({"required": true, "content": content(forms)}));
        self
    }

    pub fn answer(
        mut self,
        status: u16,
        description: &str,
        forms: &[(&str, Value)],
        headers: &[(&str, &str)],
    ) -> Builder {
        let mut response = json!({"description": description});
        if !forms.is_empty() {
            response["content"] = content(forms);
        }
        if !headers.is_empty() {
            let headers = headers
                .iter()
                .map(|(name, what)| ((*name).to_owned(), json!({"schema": {"type": "string"}, "description": what})));
            response["headers"] = Value::Object(headers.collect());
        }
        self.responses.insert(status.to_string(), response);
        self
    }

    /// Adds the problems, grouped by status; those that every path may answer with come by themselves.
    pub fn problems(mut self, kinds: &[&'static Kind]) -> Operation {
        let common = [&problem::UNKNOWN_PARAMETER, &problem::HEADERS_TOO_LARGE, &problem::TOO_MANY_CONNECTIONS];
        for kind in common.iter().chain(kinds) {
            let text = format!("[{}](/problems/{}): {}", kind.name, kind.name, kind.title);
            let status = kind.status.to_string();
            match self.responses.get_mut(&status).and_then(|response| response.get_mut("description")) {
                Some(Value::String(description)) => {
                    description.push_str("; ");
                    description.push_str(&text);
                }
                _ => {
                    let problem = content(&[("application/problem+json", reference("Problem"))]);
                    self.responses.insert(status, json!({"description": text, "content": problem}));
                }
            }
        }
        let mut description = json!({
            "operationId": self.id, "tags": [self.tag], "summary": self.summary,
            "parameters": self.parameters, "responses": self.responses,
        });
        if let Some(body) = self.body {
            description["requestBody"] = body;
        }
        Operation { path: self.path.to_owned(), method: self.method, description }
    }
}

fn content(forms: &[(&str, Value)]) -> Value {
    Value::Object(
        forms.iter().map(|(media_type, schema)| ((*media_type).to_owned(), json!({"schema": schema}))).collect(),
    )
}

fn text() -> Value {
    json!({"type": "string"})
}

fn binary() -> Value {
    json!({"type": "string", "contentMediaType": "application/octet-stream"})
}

fn whole(minimum: u64) -> Value {
    json!({"type": "integer", "format": "int64", "minimum": minimum})
}

fn one_of(words: &[&str]) -> Value {
    json!({"type": "string", "enum": words, "default": words[0]})
}

fn records() -> Vec<Operation> {
    vec![
        write(
            "writeToTopic",
            TOPIC_RECORDS,
            "Write records; the partition is chosen by record, by key, or spread",
            false,
        ),
        write("writeToPartition", PARTITION_RECORDS, "Write records to one partition", true),
        read_topic(),
        read_partition(),
    ]
}

const READ_PROBLEMS: &[&Kind] = &[
    &problem::BAD_PARAMETER,
    &problem::BAD_PATH,
    &problem::BAD_HEADER,
    &problem::UNKNOWN_TOPIC,
    &problem::UNKNOWN_PARTITION,
    &problem::NOT_ACCEPTABLE,
    &problem::OFFSET_OUT_OF_RANGE,
    &problem::OVERLOADED,
    &problem::UNAVAILABLE,
    &problem::STORAGE_FAILED,
    &problem::STOPPING,
];

fn read(id: &'static str, path: &'static str, summary: &'static str, offset: &str) -> Builder {
    operation("get", path, id, "records", summary)
        .query("offset", json!({"type": "string", "default": "earliest"}), offset)
        .query("limit", json!({"type": "integer", "format": "int64", "minimum": 1, "default": LIMIT_DEFAULT}), "Records at most; with events: ends after so many (default: never)")
        .query("max_bytes", json!({"type": "integer", "format": "int64", "minimum": 0, "default": MAX_BYTES_DEFAULT}), "Bytes of keys, values and headers at most (of batches, for batches), but at least one record. Below 2^40 an answer ends after 2^30 bytes; from there on it has no bound")
        .query("wait_ms", json!({"type": "integer", "minimum": 0, "maximum": WAIT_MS_MAX, "default": 0}), "How long to hold the answer until a record is there")
        .query("format", one_of(&Format::NAMES), "How values are shown. auto: JSON objects and arrays as JSON, other UTF-8 as a string, the rest as base64")
        .query("isolation", one_of(&["read_committed", "read_uncommitted"]), "Whether records of open transactions are shown")
        .query("consistency", one_of(&["committed", "linearizable"]), "linearizable asks the quorum first")
        .header("Last-Event-ID", text(), "With text/event-stream: goes on behind this event, and wins over offset and cursor")
}

fn read_partition() -> Operation {
    let headers = [
        ("Balsa-High-Watermark", "Behind the last committed record"),
        ("Balsa-Log-Start-Offset", "The first record that is kept"),
        ("Balsa-Next-Offset", "Where the next read goes on"),
        ("Balsa-Leader", "The node that leads the partition"),
        ("Balsa-Offset", "With application/octet-stream: the record's offset; missing where there is no record"),
        ("Balsa-Timestamp-Ms", "With application/octet-stream: the record's timestamp"),
        (
            "Balsa-Key",
            "With application/octet-stream: the record's key; Balsa-Key-Base64 where a header cannot hold it",
        ),
        (
            "Balsa-Header-NAME",
            "With application/octet-stream: the record's headers; Balsa-Headers has them as JSON where a header cannot hold one",
        ),
        ("Balsa-Tombstone", "With application/octet-stream: true where the value is null"),
    ];
    let forms: Vec<(&str, Value)> =
        PARTITION_FORMS.iter().map(|form| (*form, form_schema(form, "PartitionPage"))).collect();
    read("readPartition", PARTITION_RECORDS, "Read one partition", "A number, earliest, latest, tail:N, or time:MS")
        .answer(200, "Records from the offset on. application/octet-stream needs limit=1 and gives the value alone. text/event-stream follows for ever.", &forms, &headers)
        .problems(READ_PROBLEMS)
}

fn read_topic() -> Operation {
    let forms: Vec<(&str, Value)> = TOPIC_FORMS.iter().map(|form| (*form, form_schema(form, "TopicPage"))).collect();
    read("readTopic", TOPIC_RECORDS, "Read all partitions", "earliest, latest, tail:N (of each partition), or time:MS")
        .query("cursor", text(), "The next_cursor of the answer before; wins over offset")
        .answer(
            200,
            "Records of all partitions; in order within each.",
            &forms,
            &[("Balsa-Next-Cursor", "Where the next read goes on")],
        )
        .problems(READ_PROBLEMS)
}

fn form_schema(form: &str, page: &str) -> Value {
    match form {
        JSON => reference(page),
        NDJSON => reference("Record"),
        EVENTS => {
            json!({"type": "string", "description": "id: the offset (all partitions: the cursor), data: the record; an event named problem ends what cannot go on"})
        }
        _ => binary(),
    }
}

fn write(id: &'static str, path: &'static str, summary: &'static str, partition: bool) -> Operation {
    let mut forms = vec![(JSON, reference("WriteRequest")), (NDJSON, reference("RecordToWrite")), (OCTETS, binary())];
    let mut answers = vec![(JSON, reference("WriteAnswer")), (NDJSON, reference("StreamAnswer"))];
    if partition {
        forms.push((BATCHES, binary()));
        answers[0].1 = json!({"oneOf": [reference("WriteAnswer"), reference("BatchesAnswer")]});
    }
    let mut builder = operation("post", path, id, "records", summary)
        .query("acks", one_of(&["all", "1", "0"]), "all: a quorum has flushed; 1: the leader has; 0: answered at once")
        .query(
            "timeout_ms",
            json!({"type": "integer", "minimum": 1, "default": 30000}),
            "How long the node carries the request through elections",
        )
        .query("on_error", one_of(&["stop", "skip"]), "With application/x-ndjson: what a bad line does");
    if partition {
        builder =
            builder.query("expected_offset", whole(0), "Writes only where the first record would get this offset");
    }
    builder
        .header(
            "Idempotency-Key",
            json!({"type": "string", "minLength": 1, "maxLength": 128}),
            "Makes a retry safe; not with application/x-ndjson",
        )
        .header("Content-Encoding", json!({"type": "string", "enum": ["gzip", "zstd"]}), "The body's compression")
        .header("Balsa-Key", text(), "With a value as body: the record's key")
        .header("Balsa-Header-NAME", text(), "With a value as body: a header of the record, by its name")
        .header("Balsa-Timestamp-Ms", whole(0), "With a value as body: the record's timestamp")
        .body(&forms)
        .answer(
            200,
            "Written. For application/x-ndjson: answered at once, a line per appended run.",
            &answers,
            &[("Idempotent-Replayed", "true on the answer to a retry")],
        )
        .answer(202, "Taken (acks=0).", &[(JSON, reference("AcceptedAnswer"))], &[])
        .answer(207, "Some partitions took their records, others did not.", &[(JSON, reference("WriteAnswer"))], &[])
        .problems(&[
            &problem::BAD_REQUEST,
            &problem::BAD_PARAMETER,
            &problem::BAD_PATH,
            &problem::BAD_HEADER,
            &problem::BAD_JSON,
            &problem::BAD_FIELD,
            &problem::UNKNOWN_FIELD,
            &problem::BAD_BATCH,
            &problem::BAD_COMPRESSION,
            &problem::INCOMPLETE_BODY,
            &problem::INTERNAL_TOPIC,
            &problem::UNKNOWN_TOPIC,
            &problem::UNKNOWN_PARTITION,
            &problem::REQUEST_TIMEOUT,
            &problem::OFFSET_MISMATCH,
            &problem::BODY_TOO_LARGE,
            &problem::RECORD_TOO_LARGE,
            &problem::LINE_TOO_LONG,
            &problem::UNSUPPORTED_MEDIA_TYPE,
            &problem::UNSUPPORTED_ENCODING,
            &problem::IDEMPOTENCY_CONFLICT,
            &problem::OVERLOADED,
            &problem::UNAVAILABLE,
            &problem::DISK_FULL,
            &problem::STORAGE_FAILED,
            &problem::STOPPING,
            &problem::OUTCOME_UNKNOWN,
        ])
}

const BODY_PROBLEMS: &[&Kind] = &[
    &problem::BAD_JSON,
    &problem::BAD_FIELD,
    &problem::UNKNOWN_FIELD,
    &problem::BAD_COMPRESSION,
    &problem::INCOMPLETE_BODY,
    &problem::BODY_TOO_LARGE,
    &problem::UNSUPPORTED_MEDIA_TYPE,
    &problem::UNSUPPORTED_ENCODING,
    &problem::REQUEST_TIMEOUT,
    &problem::UNAVAILABLE,
    &problem::OUTCOME_UNKNOWN,
];

fn with_body(others: &[&'static Kind]) -> Vec<&'static Kind> {
    BODY_PROBLEMS.iter().chain(others).copied().collect()
}

fn topics() -> Vec<Operation> {
    let description = [(JSON, reference("TopicDescription"))];
    let unknown: &[&Kind] = &[&problem::BAD_PATH, &problem::UNKNOWN_TOPIC, &problem::UNAVAILABLE];
    let changed = [unknown, &[&problem::OUTCOME_UNKNOWN]].concat();
    vec![
        operation("get", "/v1/topics", "listTopics", "topics", "List topics")
            .query("internal", json!({"type": "boolean", "default": false}), "Those of the cluster itself too")
            .answer(200, "All topics, by name.", &[(JSON, reference("TopicList"))], &[])
            .problems(&[&problem::BAD_PARAMETER]),
        operation("post", "/v1/topics", "createTopic", "topics", "Create a topic")
            .body(&[(JSON, reference("TopicToCreate"))])
            .answer(201, "Any node takes writes to every partition.", &description, &[("Location", "The topic's path")])
            .problems(&with_body(&[&problem::TOPIC_EXISTS])),
        operation("get", TOPIC, "describeTopic", "topics", "Describe a topic and its partitions")
            .answer(200, "The topic.", &description, &[])
            .problems(unknown),
        operation("patch", TOPIC, "changeTopic", "topics", "Add partitions, change settings")
            .body(&[(JSON, reference("TopicChange"))])
            .answer(200, "The topic as it is now.", &description, &[])
            .problems(&with_body(&[&problem::BAD_PATH, &problem::UNKNOWN_TOPIC])),
        operation("delete", TOPIC, "deleteTopic", "topics", "Delete a topic with its records")
            .answer(204, "It is gone.", &[], &[])
            .problems(&changed),
        operation("get", "/v1/topics/{topic}/offsets", "topicOffsets", "topics", "Offsets of all partitions at a time")
            .query(
                "time",
                json!({"type": "string", "default": "latest"}),
                "earliest, latest, or a time in ms since 1970",
            )
            .answer(200, "An offset per partition.", &[(JSON, reference("OffsetList"))], &[])
            .problems(&[&problem::BAD_PARAMETER, &problem::BAD_PATH, &problem::UNKNOWN_TOPIC, &problem::UNAVAILABLE]),
    ]
}

fn cluster() -> Vec<Operation> {
    let plain = [("text/plain", text())];
    let verbose = json!({"type": "boolean", "default": false});
    vec![
        operation("get", "/v1/cluster", "describeCluster", "cluster", "The cluster with its nodes")
            .answer(200, "The cluster.", &[(JSON, reference("ClusterDescription"))], &[])
            .problems(&[]),
        operation("get", "/v1/nodes", "listNodes", "cluster", "All nodes")
            .answer(200, "The nodes.", &[(JSON, reference("NodeList"))], &[])
            .problems(&[]),
        operation("get", "/v1/nodes/{node}", "describeNode", "cluster", "One node")
            .answer(200, "The node.", &[(JSON, reference("NodeDescription"))], &[])
            .problems(&[&problem::BAD_PATH, &problem::UNKNOWN_NODE]),
        operation("get", "/livez", "live", "cluster", "Whether the process answers")
            .query("verbose", verbose.clone(), "Takes no effect")
            .answer(200, "It does.", &plain, &[])
            .problems(&[&problem::BAD_PARAMETER]),
        operation("get", "/readyz", "ready", "cluster", "Whether requests should come to this node")
            .query("verbose", verbose, "Lists every condition, one a line, also with 503")
            .answer(200, "They should.", &plain, &[])
            .problems(&[&problem::BAD_PARAMETER, &problem::NOT_READY]),
        operation("get", "/metrics", "metrics", "cluster", "Metrics of the node, for Prometheus")
            .answer(200, "The metrics.", &[("application/openmetrics-text", text())], &[])
            .problems(&[]),
    ]
}

fn help() -> Vec<Operation> {
    let pages = [("text/plain", text()), ("text/html", text())];
    vec![
        operation("get", "/openapi.json", "openapi", "help", "This description")
            .answer(200, "OpenAPI 3.1.", &[(JSON, json!({"type": "object"}))], &[])
            .problems(&[]),
        operation("get", "/problems", "listProblems", "help", "All kinds of problems")
            .answer(200, "A list for people.", &pages, &[])
            .problems(&[&problem::NOT_ACCEPTABLE]),
        operation("get", "/problems/{name}", "describeProblem", "help", "Why a problem happens, and what to do")
            .answer(200, "A page for people.", &pages, &[])
            .problems(&[&problem::NOT_FOUND, &problem::NOT_ACCEPTABLE]),
    ]
}
