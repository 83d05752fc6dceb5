//! From a frame to the handler of its API and back.
//!
//! The table [`APIS`] is all that this front knows, and what ApiVersions tells: an API that is not in it does not exist
//! here. A row names the handler's module and its request; the versions stand beside the handler.
//!
//! A request of an API or version that is not served gets the protocol's own error where an answer can be formed: for
//! ApiVersions always (KIP-511), for others where the answer has an error code of its own. Else its connection is closed
//! with a reason, as there is no telling what the client would take an answer for.

use super::codec::{self, Answer, Malformed, Preamble};
use super::connection::Client;
use super::context::{PATIENCE, RequestContext};
use super::handlers;
use super::{Front, prescan, schema};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Encodable, HeaderVersion, Request};
use std::sync::Arc;
use tokio::time::Instant;

/// An answer to come. `Err` is a mistake of this house, which ends the connection.
pub type Answering = BoxFuture<'static, Result<Answer, String>>;

/// Makes an answer without reading the request's body.
type Refuse = fn(&RequestContext) -> Result<Answer, String>;

/// A request that was read.
pub enum Begun {
    /// To be begun once all before it are answered.
    InTurn(Answering),
    /// Takes its place among the writes first, and is answered later.
    Placing(BoxFuture<'static, Answering>),
}

/// One API that is served.
pub struct Api {
    pub key: i16,
    pub name: &'static str,
    pub min: i16,
    pub max: i16,
    /// Version of the request's header, by version.
    header: fn(i16) -> i16,
    begin: fn(RequestContext, Bytes) -> Result<Begun, Malformed>,
    /// Reads a request and forgets it.
    #[cfg(any(test, fuzzing))]
    read: fn(i16, Bytes) -> Result<(), Malformed>,
    /// The answer to a version that is not served, if it has one.
    unsupported: Option<Refuse>,
}

/// What becomes an answer's bytes.
pub trait IntoAnswer {
    /// # Errors
    /// It has a value that this version cannot say.
    fn into_answer(self, ctx: &RequestContext) -> Result<Answer, String>;
}

impl<R: Encodable + HeaderVersion> IntoAnswer for R {
    fn into_answer(self, ctx: &RequestContext) -> Result<Answer, String> {
        codec::encode(&self, ctx.version, ctx.correlation_id, R::header_version(ctx.version))
    }
}

fn decode<Q: Request>(version: i16, mut body: Bytes) -> Result<Q, Malformed> {
    Q::decode(&mut body, version).map_err(|error| Malformed(error.to_string()))
}

macro_rules! api {
    ($module:ident, $request:ident, $begin:expr, $unsupported:expr) => {
        Api {
            key: <$request as Request>::KEY,
            name: stringify!($module),
            min: *handlers::$module::VERSIONS.start(),
            max: *handlers::$module::VERSIONS.end(),
            header: <$request as HeaderVersion>::header_version,
            begin: $begin,
            #[cfg(any(test, fuzzing))]
            read: |version, body| decode::<$request>(version, body).map(drop),
            unsupported: $unsupported,
        }
    };
    ($module:ident, $request:ident, $unsupported:expr) => {
        api!(
            $module,
            $request,
            |ctx, body| {
                let request = decode::<$request>(ctx.version, body)?;
                Ok(Begun::InTurn(
                    async move { handlers::$module::handle(&ctx, request).await.into_answer(&ctx) }.boxed(),
                ))
            },
            $unsupported
        )
    };
    // Whose answers have no error code of their own.
    ($module:ident, $request:ident) => {
        api!($module, $request, None)
    };
    // Whose answers have one.
    ($module:ident, $request:ident, with error_code) => {
        api!(
            $module,
            $request,
            Some(|ctx| {
                type Response = <$request as Request>::Response;
                let known = <Response as kafka_protocol::protocol::Message>::VERSIONS;
                if ctx.version < known.min || ctx.version > known.max {
                    return Err("the form of its answers is not known".to_string());
                }
                let code = super::errors::ResponseError::UnsupportedVersion.code();
                Response::default().with_error_code(code).into_answer(ctx)
            })
        )
    };
}

/// All APIs, by key.
pub static APIS: &[Api] = &[
    api!(produce, ProduceRequest, handlers::produce::begin, None),
    api!(fetch, FetchRequest),
    api!(list_offsets, ListOffsetsRequest),
    api!(metadata, MetadataRequest),
    api!(offset_commit, OffsetCommitRequest),
    api!(offset_fetch, OffsetFetchRequest),
    api!(find_coordinator, FindCoordinatorRequest, with error_code),
    api!(join_group, JoinGroupRequest, with error_code),
    api!(heartbeat, HeartbeatRequest, with error_code),
    api!(leave_group, LeaveGroupRequest, with error_code),
    api!(sync_group, SyncGroupRequest, with error_code),
    api!(describe_groups, DescribeGroupsRequest),
    api!(list_groups, ListGroupsRequest, with error_code),
    api!(api_versions, ApiVersionsRequest, Some(handlers::api_versions::unsupported)),
    api!(create_topics, CreateTopicsRequest),
    api!(delete_topics, DeleteTopicsRequest),
    api!(delete_records, DeleteRecordsRequest),
    api!(init_producer_id, InitProducerIdRequest, with error_code),
    api!(offset_for_leader_epoch, OffsetForLeaderEpochRequest),
    api!(describe_configs, DescribeConfigsRequest),
    api!(alter_configs, AlterConfigsRequest),
    api!(describe_log_dirs, DescribeLogDirsRequest),
    api!(create_partitions, CreatePartitionsRequest),
    api!(delete_groups, DeleteGroupsRequest),
    api!(elect_leaders, ElectLeadersRequest),
    api!(incremental_alter_configs, IncrementalAlterConfigsRequest),
    api!(alter_partition_reassignments, AlterPartitionReassignmentsRequest, with error_code),
    api!(list_partition_reassignments, ListPartitionReassignmentsRequest, with error_code),
    api!(offset_delete, OffsetDeleteRequest, with error_code),
    api!(describe_quorum, DescribeQuorumRequest, with error_code),
    api!(describe_cluster, DescribeClusterRequest, with error_code),
    api!(describe_producers, DescribeProducersRequest),
    api!(describe_topic_partitions, DescribeTopicPartitionsRequest),
];

/// Reads a request and finds who answers it; gives also about how much memory it takes beside its own bytes.
///
/// # Errors
/// The bytes are no request of an API and version that is served, and no answer can say so.
pub fn begin(front: &Arc<Front>, client: &Client, mut frame: Bytes) -> Result<(Begun, usize), Malformed> {
    let Preamble { api_key, version, correlation_id } = Preamble::read(&mut frame)?;
    let Some((place, api)) = APIS.iter().enumerate().find(|(_, api)| api.key == api_key) else {
        return Err(Malformed(format!("the client asks for API {api_key} (version {version}), which is not served")));
    };
    front.requests_of[place].inc();
    let mut ctx = RequestContext {
        front: front.clone(),
        broker: front.broker.clone(),
        api_key,
        version,
        correlation_id,
        client_id: None,
        client_host: client.host.clone(),
        local: client.local,
        deadline: Instant::now() + PATIENCE,
    };
    let named = |Malformed(reason)| Malformed(format!("{} request, version {version}: {reason}", api.name));
    if version < api.min || version > api.max {
        let refused = api.unsupported.ok_or_else(|| "its answers cannot say so".to_string());
        let answer = refused.and_then(|unsupported| unsupported(&ctx)).map_err(|reason| {
            named(Malformed(format!("versions {} to {} are served, and {reason}", api.min, api.max)))
        })?;
        return Ok((Begun::InTurn(std::future::ready(Ok(answer)).boxed()), 0));
    }
    let flexible = (api.header)(version) >= 2;
    ctx.client_id = codec::client_id(&mut frame, flexible).map_err(named)?;
    let fields = schema::of(api_key).expect("every API that is served has a layout");
    let measured = prescan::measure(fields, version, flexible, &frame).map_err(named)?;
    let begun = (api.begin)(ctx, frame).map_err(named)?;
    Ok((begun, measured.decoded_bytes))
}

/// Reads a frame as [`begin`] does, and does nothing with it.
///
/// # Errors
/// As [`begin`].
#[cfg(any(test, fuzzing))]
pub fn read(mut frame: Bytes) -> Result<(), Malformed> {
    let Preamble { api_key, version, correlation_id } = Preamble::read(&mut frame)?;
    let api = APIS.iter().find(|api| api.key == api_key && (api.min..=api.max).contains(&version));
    let api = api.ok_or_else(|| Malformed("not served".to_string()))?;
    let flexible = (api.header)(version) >= 2;
    codec::client_id(&mut frame, flexible)?;
    let fields = schema::of(api_key).expect("every API that is served has a layout");
    prescan::measure(fields, version, flexible, &frame)?;
    if api_key == ProduceRequest::KEY && version < 3 {
        return handlers::produce_old::refuse(version, correlation_id, frame).map(drop);
    }
    (api.read)(version, frame)
}
