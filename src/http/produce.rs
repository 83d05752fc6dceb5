//! `POST /v1/topics/{topic}/records` and `POST /v1/topics/{topic}/partitions/{partition}/records`.
//!
//! Purpose: read a request into one `Produce` per partition, hand them to the broker side by side, and tell the client
//! what became of each. Invariants: whatever can be checked beforehand refuses the whole request, with nothing
//! written and no topic made; records of one request to one partition are one batch.
//!
//! Not here: streams of lines (`ndjson`), parsing (`json_record`), partitions and limits (`produce_plan`).

use super::json_record::{self, RecordView};
use super::path::{PartitionPath, TopicPath};
use super::problem::{self, Problem};
use super::produce_answer::{self, Outcome};
use super::produce_plan::{BATCH_BYTES_MAX, Plan, Spread};
use super::produce_request::{self as asking, Form, Options, ValueHeaders};
use super::{Answer, App, AppState, body, errors, ndjson};
use crate::broker::groups::is_internal;
use crate::broker::{IdempotencyKey, Produce, ProduceError, ProduceRecords, TopicView};
use crate::record::{self, BatchError, BatchInfo, Limits};
use crate::types::{Acks, PartitionId};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::header;
use axum::routing::post;
use bytes::Bytes;
use futures::future::join_all;
use std::sync::Arc;
use tokio::time::Instant;

/// The routes that write records.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/v1/topics/{topic}/records", post(to_topic))
        .route("/v1/topics/{topic}/partitions/{partition}/records", post(to_partition))
}

async fn to_topic(State(app): State<AppState>, TopicPath(topic): TopicPath, request: Request) -> Answer {
    produce(app, topic, None, request).await
}

async fn to_partition(
    State(app): State<AppState>,
    PartitionPath(topic, partition): PartitionPath,
    request: Request,
) -> Answer {
    produce(app, topic, Some(partition), request).await
}

/// A produce request as it was asked, checked but for its body.
pub struct Asked {
    pub topic: String,
    pub partition: Option<PartitionId>,
    pub options: Options,
    pub deadline: Instant,
    form: Form,
    key: Option<String>,
    value: ValueHeaders,
}

async fn produce(app: AppState, topic: String, partition: Option<PartitionId>, request: Request) -> Answer {
    if is_internal(&topic) {
        return Err(errors::internal_topic(&topic));
    }
    let (parts, body) = request.into_parts();
    let headers = &parts.headers;
    let form = asking::form(headers, partition, parts.uri.path())?;
    let options = asking::options(parts.uri.query(), form)?;
    let key = asking::idempotency_key(headers, form)?;
    let value = asking::value_headers(headers, form)?;
    let deadline = Instant::now() + options.timeout;
    let asked = Asked { topic, partition, options, deadline, form, key, value };
    if let (Some(expected), None, Form::Value) = (asked.options.expected_offset, partition, form) {
        return Err(asking::expected_offset_needs_partition(expected));
    }
    let known = app.broker.topic(&asked.topic);
    if let Some(topic) = &known {
        check_partition(topic, partition)?;
    }
    if form == Form::Ndjson {
        let encoding = body::encoding(headers)?;
        let topic = match known {
            Some(topic) => topic,
            None => resolve(&app, &asked).await?,
        };
        let expects = headers.contains_key(header::EXPECT);
        return ndjson::stream(app, asked, topic, (body, encoding), expects).await;
    }
    let body = body::collect(&app, headers, body).await?;
    if body.is_empty() && form == Form::Value && !headers.contains_key(header::CONTENT_TYPE) {
        return Err(Problem::new(
            &problem::BAD_REQUEST,
            "the request has neither a body nor a Content-Type; send {\"records\": […]} with -H 'Content-Type: application/json', or add -H 'Content-Type: application/octet-stream' if an empty value is meant",
        ));
    }
    let topic = match known {
        Some(topic) => topic,
        None => {
            check_without_topic(&asked, &body)?;
            resolve(&app, &asked).await?
        }
    };
    match form {
        Form::Batches => produce_batches(&app, asked, topic, body).await,
        _ => produce_records(&app, asked, topic, body).await,
    }
}

fn check_partition(topic: &TopicView, partition: Option<PartitionId>) -> Result<(), Problem> {
    let partitions = topic.assignments.len() as u32;
    match partition {
        Some(partition) if partition.0 >= partitions => {
            Err(errors::unknown_partition(&topic.name, partition, partitions))
        }
        _ => Ok(()),
    }
}

/// The topic that this node's image does not have: asked of the controller, or made where that is allowed.
async fn resolve(app: &App, asked: &Asked) -> Result<Arc<TopicView>, Problem> {
    let resolved = app.broker.resolve_topic(&asked.topic, true, asked.deadline).await;
    let topic = resolved.map_err(|error| errors::topic(error, &asked.topic))?;
    check_partition(&topic, asked.partition)?;
    Ok(topic)
}

/// Finds what is wrong with a body before its topic is made for it.
fn check_without_topic(asked: &Asked, body: &Bytes) -> Result<(), Problem> {
    match asked.form {
        Form::Json => json_record::parse_records(body, |_, _| Ok(())).map(drop),
        Form::Batches => {
            check_batches(body, BATCH_BYTES_MAX, asked.partition.unwrap_or_default(), &asked.topic).map(drop)
        }
        Form::Value | Form::Ndjson => Ok(()),
    }
}

async fn produce_records(app: &App, asked: Asked, topic: Arc<TopicView>, body: Bytes) -> Answer {
    let partitions = topic.assignments.len() as u32;
    let key =
        asked.key.as_ref().map(|key| asking::hashed(key.clone(), asked.partition, asked.form, &asked.value, &body));
    let home = key.as_ref().map(|key| app.broker.home_partition(&topic, &key.key));
    let mut spread = Spread {
        keyless: home.unwrap_or_else(|| app.sticky.request(topic.id, partitions, body.len())),
        topic,
        fixed: asked.partition,
        key_partitions: partitions,
        now_ms: app.broker.now_ms(),
        listed: asked.form == Form::Json,
    };
    let mut plan = planned(&asked, &spread, &body)?;
    if let Some(expected) = asked.options.expected_offset
        && (!plan.all_explicit || plan.parts.len() != 1)
    {
        return Err(asking::expected_offset_needs_partition(expected));
    }
    let mut claimed = false;
    if let Some(key) = &key
        // Only where partitions are chosen by keys may a retry choose others, once partitions were added.
        && (plan.by_key || plan.parts.iter().any(|part| Some(part.partition) != home))
    {
        let first = app.broker.claim_idempotency_key(&spread.topic, key, asked.deadline).await;
        let home = home.unwrap_or_default();
        let key_partitions = first.map_err(|error| errors::produce(error, &spread.topic.name, home))?;
        claimed = true;
        if plan.by_key && key_partitions != spread.key_partitions {
            spread.key_partitions = key_partitions;
            plan = planned(&asked, &spread, &body)?;
        }
    }
    drop(body);
    send(app, &asked, &spread, plan, key, claimed).await
}

fn planned(asked: &Asked, spread: &Spread, body: &[u8]) -> Result<Plan, Problem> {
    let mut plan = Plan::new();
    if asked.form == Form::Json {
        json_record::parse_records(body, |place, record| plan.add(spread, place, record))?;
    } else {
        let headers = asked.value.pairs();
        let record = RecordView {
            partition: None,
            timestamp_ms: asked.value.timestamp_ms,
            key: asked.value.key.as_deref(),
            value: Some(body),
            headers: &headers,
        };
        plan.add(spread, 0, record)?;
    }
    plan.check_batches(&spread.topic)?;
    Ok(plan)
}

/// Sends all parts side by side, and answers once each has its outcome.
async fn send(
    app: &App,
    asked: &Asked,
    spread: &Spread,
    plan: Plan,
    key: Option<IdempotencyKey>,
    claimed: bool,
) -> Answer {
    let topic = &spread.topic;
    let produces = plan.parts.into_iter().map(|part| {
        let request = Produce {
            topic: topic.clone(),
            partition: part.partition,
            records: ProduceRecords::Set(part.set),
            acks: asked.options.acks,
            deadline: asked.deadline,
            expected_offset: asked.options.expected_offset,
            idempotency: key.clone(),
        };
        async move { (part.partition, app.broker.produce(request).await) }
    });
    let results = join_all(produces).await;
    let failed = results.iter().filter(|(_, result)| result.is_err()).count();
    if failed == results.len() || results.iter().any(|(_, result)| result == &Err(ProduceError::IdempotencyConflict)) {
        let (partition, error, surely) = worst(results);
        if let Some(key) = key
            && claimed
            && surely
        {
            app.broker.release_idempotency_key(topic, &key, asked.deadline).await;
        }
        return Err(errors::produce(error, &topic.name, partition));
    }
    if asked.options.acks == Acks::None && failed == 0 {
        return Ok(produce_answer::accepted(plan.placed.len()));
    }
    let replayed = results.iter().all(|(_, result)| result.as_ref().is_ok_and(|produced| produced.replayed));
    let outcomes: Vec<_> =
        results.into_iter().map(|(partition, result)| (partition, outcome(result, topic, partition, spread))).collect();
    Ok(produce_answer::records(&plan.placed, &outcomes, replayed))
}

fn outcome(
    result: Result<crate::broker::Produced, ProduceError>,
    topic: &TopicView,
    partition: PartitionId,
    spread: &Spread,
) -> Outcome {
    match result {
        Ok(produced) => Outcome::Written {
            base_offset: produced.base_offset,
            default_timestamp_ms: if produced.replayed { produced.default_timestamp_ms } else { spread.now_ms },
        },
        Err(error) => Outcome::Refused(errors::produce(error, &topic.name, partition)),
    }
}

/// Of a request that failed everywhere: the error that says most, and whether surely nothing was written.
fn worst(
    results: Vec<(PartitionId, Result<crate::broker::Produced, ProduceError>)>,
) -> (PartitionId, ProduceError, bool) {
    let rank = |error: &ProduceError| match error {
        ProduceError::IdempotencyConflict => 0,
        ProduceError::OutcomeUnknown { .. } => 1,
        _ => 2,
    };
    let mut failures: Vec<_> =
        results.into_iter().filter_map(|(partition, result)| result.err().map(|error| (partition, error))).collect();
    failures.sort_by_key(|(_, error)| rank(error));
    let (partition, error) = failures.swap_remove(0);
    let surely = rank(&error) == 2;
    (partition, error, surely)
}

async fn produce_batches(app: &App, asked: Asked, topic: Arc<TopicView>, body: Bytes) -> Answer {
    // The path has it: `asking::form` lets batches through only with a partition.
    let partition = asked.partition.unwrap_or_default();
    let limit = topic.effective.max_message_bytes as usize;
    let infos = if body.len() > CHECK_INLINE_BYTES_MAX {
        let (body, name) = (body.clone(), topic.name.clone());
        app.tasks.blocking(move || check_batches(&body, limit, partition, &name)).await?
    } else {
        check_batches(&body, limit, partition, &topic.name)?
    };
    let record_count: u32 = infos.iter().map(|info| info.record_count).sum();
    let timestamp_ms_max = infos.iter().map(|info| info.timestamp_ms_max).max().unwrap_or_default();
    let key = asked.key.map(|key| asking::hashed(key, asked.partition, asked.form, &asked.value, &body));
    let claimed = match &key {
        Some(key) if app.broker.home_partition(&topic, &key.key) != partition => {
            let first = app.broker.claim_idempotency_key(&topic, key, asked.deadline).await;
            first.map_err(|error| errors::produce(error, &topic.name, partition))?;
            true
        }
        _ => false,
    };
    let request = Produce {
        topic: topic.clone(),
        partition,
        records: ProduceRecords::Batches { bytes: body, record_count, timestamp_ms_max },
        acks: asked.options.acks,
        deadline: asked.deadline,
        expected_offset: asked.options.expected_offset,
        idempotency: key.clone(),
    };
    match app.broker.produce(request).await {
        Ok(produced) => Ok(match produced.base_offset {
            None => produce_answer::accepted(record_count as usize),
            Some(base) => {
                let counts = infos.iter().map(|info| info.record_count);
                produce_answer::batches(partition, base, counts, produced.replayed)
            }
        }),
        Err(error) => {
            if let Some(key) = key
                && claimed
                && !matches!(error, ProduceError::OutcomeUnknown { .. } | ProduceError::IdempotencyConflict)
            {
                app.broker.release_idempotency_key(&topic, &key, asked.deadline).await;
            }
            Err(errors::produce(error, &topic.name, partition))
        }
    }
}

/// Larger requests are checked on a blocking thread, so that others go on.
const CHECK_INLINE_BYTES_MAX: usize = 1 << 20;

fn check_batches(
    body: &[u8],
    record_bytes_max: usize,
    partition: PartitionId,
    topic: &str,
) -> Result<Vec<BatchInfo>, Problem> {
    let limits = Limits { record_bytes_max, batch_bytes_max: BATCH_BYTES_MAX, inflated_bytes_max: 4 * BATCH_BYTES_MAX };
    let refused = |error| Err(errors::produce(error, topic, partition));
    if body.is_empty() {
        return refused(ProduceError::BadBatch("the body is empty; send at least one record batch".to_owned()));
    }
    match record::check_batches(body, &limits) {
        Ok(infos) => Ok(infos),
        Err(BatchError::TooLarge { what, size, limit }) => refused(ProduceError::TooLarge {
            what: what.to_owned(),
            size,
            limit,
            name: if limit == record_bytes_max as u64 {
                format!("max.message.bytes of topic {topic:?}")
            } else {
                "one batch".to_owned()
            },
        }),
        Err(BatchError::Corrupt(detail) | BatchError::Unsupported(detail)) => refused(ProduceError::BadBatch(detail)),
    }
}
