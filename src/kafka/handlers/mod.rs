//! One file for each API: the versions that are served, and how. Each calls the broker and knows nothing else.

pub mod api_versions;
pub mod metadata;
