//! DescribeCluster (60): the nodes, as this client reaches them, and which of them changes the catalog.

use super::broker_id;
use super::metadata::{CLUSTER_OPERATIONS, controller};
use crate::kafka::context::RequestContext;
use crate::kafka::errors::ResponseError;
use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::{DescribeClusterRequest, DescribeClusterResponse};
use kafka_protocol::protocol::StrBytes;
use std::ops::RangeInclusive;

pub const VERSIONS: RangeInclusive<i16> = 0..=1;

/// Endpoints of brokers; those of controllers (2) are no others.
const BROKERS: i8 = 1;

pub async fn handle(ctx: &RequestContext, request: DescribeClusterRequest) -> DescribeClusterResponse {
    if ctx.version >= 1 && request.endpoint_type != BROKERS {
        return DescribeClusterResponse::default()
            .with_error_code(ResponseError::MismatchedEndpointType.code())
            .with_error_message(Some(StrBytes::from_static_str("this is the address of a broker, not of a controller")))
            .with_endpoint_type(request.endpoint_type);
    }
    let nodes = ctx.endpoints();
    let brokers = nodes.iter().filter(|node| node.alive).map(|node| {
        DescribeClusterBroker::default()
            .with_broker_id(broker_id(node.id))
            .with_host(StrBytes::from_string(node.host.clone()))
            .with_port(i32::from(node.port))
            .with_rack(node.rack.clone().map(StrBytes::from_string))
    });
    let response = DescribeClusterResponse::default()
        .with_cluster_id(StrBytes::from_string(ctx.broker.cluster_id().unwrap_or_default()))
        .with_controller_id(controller(ctx, &nodes))
        .with_brokers(brokers.collect());
    if request.include_cluster_authorized_operations {
        return response.with_cluster_authorized_operations(CLUSTER_OPERATIONS);
    }
    response
}
