//! Path segments: decoding, topic names, partition numbers.

use super::problem::{self, Problem};
use super::query::{number, shown};
use crate::types::PartitionId;
use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;

/// `{topic}` of the path, decoded. A name that no topic can have is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicPath(pub String);

/// `{topic}` and `{partition}` of the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionPath(pub String, pub PartitionId);

impl<S: Send + Sync> FromRequestParts<S> for TopicPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<TopicPath, Problem> {
        let params = params(parts, state).await?;
        Ok(TopicPath(topic(&params)?))
    }
}

/// `{group}` of the path, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupPath(pub String);

/// Longest name of a group in a path, in bytes.
pub const GROUP_LEN_MAX: usize = 255;

impl<S: Send + Sync> FromRequestParts<S> for GroupPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<GroupPath, Problem> {
        let params = params(parts, state).await?;
        let name = segment(&params, "group");
        let sound = (1..=GROUP_LEN_MAX).contains(&name.len()) && !name.chars().any(char::is_control);
        if sound {
            return Ok(GroupPath(name.to_owned()));
        }
        let text = format!(
            "{} is no group name: names have 1 to {GROUP_LEN_MAX} bytes, none a control character",
            shown(name)
        );
        Err(Problem::new(&problem::BAD_PATH, text).with("group", name))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for PartitionPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<PartitionPath, Problem> {
        let params = params(parts, state).await?;
        Ok(PartitionPath(topic(&params)?, partition(segment(&params, "partition"))?))
    }
}

async fn params<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<RawPathParams, Problem> {
    RawPathParams::from_request_parts(parts, state).await.map_err(|rejection| {
        Problem::new(&problem::BAD_PATH, format!("the path is not percent-encoded UTF-8: {rejection}"))
    })
}

/// A segment by the name that the route gives it; routes that use these extractors have it.
fn segment<'a>(params: &'a RawPathParams, name: &str) -> &'a str {
    params.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value)
}

fn topic(params: &RawPathParams) -> Result<String, Problem> {
    let name = segment(params, "topic");
    topic_name(name)?;
    Ok(name.to_owned())
}

/// Refuses names that no topic can have.
pub fn topic_name(name: &str) -> Result<(), Problem> {
    let sound = (1..=249).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
        && name != "."
        && name != "..";
    if sound {
        return Ok(());
    }
    Err(Problem::new(
        &problem::BAD_PATH,
        format!(
            "{} is no topic name: names have 1 to 249 characters of A-Z a-z 0-9 . _ -, and are not . or ..",
            shown(name)
        ),
    )
    .with("topic", name))
}

/// A partition number from its segment.
pub fn partition(text: &str) -> Result<PartitionId, Problem> {
    match number(text).map(u32::try_from) {
        Some(Ok(partition)) => Ok(PartitionId(partition)),
        _ => Err(Problem::new(
            &problem::BAD_PATH,
            format!("{} is no partition: partitions are whole numbers from 0", shown(text)),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_partitions() {
        for good in ["a", "A.b_c-9", &"x".repeat(249), "..."] {
            assert!(topic_name(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a b", "ä", "a/b", &"x".repeat(250), "a\u{0}"] {
            assert!(topic_name(bad).is_err(), "{bad:?}");
        }
        assert_eq!(partition("7").unwrap(), PartitionId(7));
        for bad in ["", "-1", "x", "4294967296", "1.5", "99999999999999999999999"] {
            assert!(partition(bad).is_err(), "{bad:?}");
        }
    }
}
