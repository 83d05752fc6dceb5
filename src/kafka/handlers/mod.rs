//! One file for each API: the versions that are served, and how. Each calls the broker and knows nothing else.

pub mod api_versions;
pub mod metadata;

/// Whether a topic belongs to the cluster itself: clients see it, and can't produce to, delete or alter it.
pub fn is_internal(topic: &str) -> bool {
    topic == crate::state::group::GROUP_TOPIC
}
