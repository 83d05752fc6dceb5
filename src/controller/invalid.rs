//! A request for a topic that cannot be met as it stands.

/// What is wrong with a request, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Invalid {
    /// A JSON pointer (RFC 6901) into the request body: "/partitions", "/assignments/3".
    pub field: String,
    pub detail: String,
}

impl Invalid {
    pub(super) fn new(field: impl Into<String>, detail: impl Into<String>) -> Invalid {
        Invalid { field: field.into(), detail: detail.into() }
    }
}
