//! The log's start and its terms, as Kafka's clients ask for them.

use super::super::Broker;
use super::{Direct, DirectError};
use crate::types::{Offset, Term};
use tokio::time::Instant;

impl Broker {
    /// The largest term up to `wanted` that has records, and the offset behind its last one (KIP-101); `None` where
    /// there is none.
    ///
    /// # Errors
    /// As for reads.
    pub async fn end_of_term(
        &self,
        _at: &Direct,
        _wanted: Term,
        _current_term: Option<Term>,
    ) -> Result<Option<(Term, Offset)>, DirectError> {
        Err(DirectError::Internal("the offsets of leader epochs are not built yet".to_owned()))
    }

    /// Makes `to` (or the high watermark) the start of a partition's log, for all its readers; back with the start.
    ///
    /// # Errors
    /// This node does not lead, or the offset is above the high watermark.
    pub async fn trim(&self, _at: &Direct, _to: Option<Offset>, _deadline: Instant) -> Result<Offset, DirectError> {
        Err(DirectError::Internal("deleting records is not built yet".to_owned()))
    }

    /// A producer id that nobody had before.
    ///
    /// # Errors
    /// The meta group has no leader until the deadline.
    pub async fn allocate_producer_id(&self, _deadline: Instant) -> Result<i64, DirectError> {
        Err(DirectError::Internal("producer ids are not built yet".to_owned()))
    }
}
