//! ApiVersions (18): what this front serves, exactly as the dispatch table has it.

use crate::kafka::codec::{self, Answer};
use crate::kafka::context::RequestContext;
use crate::kafka::dispatch::APIS;
use crate::kafka::errors::{self, ResponseError};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use std::ops::RangeInclusive;

pub const VERSIONS: RangeInclusive<i16> = 0..=4;

/// Lists all APIs.
pub async fn handle(ctx: &RequestContext, request: ApiVersionsRequest) -> ApiVersionsResponse {
    let named = is_name(&request.client_software_name) && is_name(&request.client_software_version);
    // KIP-511: the names go into metrics of whoever runs this, so not everything may stand there.
    if ctx.version >= 3 && !named {
        return ApiVersionsResponse::default().with_error_code(ResponseError::InvalidRequest.code());
    }
    all(errors::NONE)
}

/// The answer to a version from the future: in the oldest form, so that any client can read it, with what a client needs
/// to ask again.
///
/// # Errors
/// Never: version 0 can say all of it.
pub fn unsupported(ctx: &RequestContext) -> Result<Answer, String> {
    codec::encode(&all(ResponseError::UnsupportedVersion.code()), 0, ctx.correlation_id, 0)
}

fn all(error_code: i16) -> ApiVersionsResponse {
    let api = |api: &crate::kafka::dispatch::Api| {
        ApiVersion::default().with_api_key(api.key).with_min_version(api.min).with_max_version(api.max)
    };
    ApiVersionsResponse::default().with_error_code(error_code).with_api_keys(APIS.iter().map(api).collect())
}

/// KIP-511: `[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?`
fn is_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let inner = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    edge(bytes.first()) && edge(bytes.last()) && bytes.iter().all(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_client_software_follow_the_rule() {
        for name in ["librdkafka", "apache-kafka-java", "2.11.1", "a", "confluent-kafka-python"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "-a", "a.", "a b", "a/b", "ä"] {
            assert!(!is_name(name), "{name}");
        }
    }
}
