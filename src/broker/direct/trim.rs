//! The log's start and its terms, and the ids of producers, as Kafka's clients ask for them.

use super::super::Broker;
use super::{Direct, DirectError, Place, check_term};
use crate::controller::ChangeError;
use crate::state::meta::{MetaChange, MetaOutcome};
use crate::state::partition::{Applied, PartitionCommand};
use crate::types::{Offset, Term};
use tokio::time::Instant;

/// Producer ids that a node takes from the meta group at a time; those that it does not use are lost with it.
const PRODUCER_IDS_PER_BLOCK: u32 = 1_000;

impl Broker {
    /// The largest term up to `wanted` that has records, and the offset behind its last one (KIP-101); `None` where
    /// there is none.
    ///
    /// # Errors
    /// As for reads.
    pub async fn end_of_term(
        &self,
        at: &Direct,
        wanted: Term,
        current_term: Option<Term>,
    ) -> Result<Option<(Term, Offset)>, DirectError> {
        let target = self.direct_target(at)?;
        let Place::Replica(replica) = self.direct_place(&target).await? else {
            self.check_unborn(&target, true).await?;
            return Ok(None);
        };
        let term = replica.leading_term()?;
        check_term(current_term, term)?;
        Ok(replica.end_of_term(wanted, term))
    }

    /// Makes `to` (or the high watermark) the start of a partition's log, for all its readers; back with the start. The
    /// space is freed later.
    ///
    /// # Errors
    /// This node does not lead, or the offset is above the high watermark.
    pub async fn trim(&self, at: &Direct, to: Option<Offset>, deadline: Instant) -> Result<Offset, DirectError> {
        let target = self.direct_target(at)?;
        let Place::Replica(replica) = self.direct_place(&target).await? else {
            self.check_unborn(&target, true).await?;
            let (log_start_offset, high_watermark) = (Offset(0), Offset(0));
            return match to.filter(|to| *to > high_watermark) {
                Some(offset) => Err(DirectError::OutOfRange { offset, log_start_offset, high_watermark }),
                None => Ok(log_start_offset),
            };
        };
        replica.leading_term()?;
        let high_watermark = replica.group.applied_now().high_watermark;
        let log_start_offset = to.unwrap_or(high_watermark);
        if log_start_offset > high_watermark {
            let (offset, log_start_offset) = (log_start_offset, replica.log_start_offset());
            return Err(DirectError::OutOfRange { offset, log_start_offset, high_watermark });
        }
        let command = PartitionCommand::Trim { log_start_offset };
        match tokio::time::timeout_at(deadline, replica.command(&command)).await {
            Ok(Ok(Applied::Trimmed { .. })) => Ok(replica.log_start_offset()),
            Ok(Ok(other)) => Err(DirectError::Internal(format!("a trim was answered with {other:?}"))),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(DirectError::OutcomeUnknown("a quorum did not confirm the new log start in time".to_owned())),
        }
    }

    /// A producer id that nobody had before.
    ///
    /// # Errors
    /// The meta group does not answer until the deadline.
    pub async fn allocate_producer_id(&self, deadline: Instant) -> Result<i64, DirectError> {
        let in_vain = |reason: String| DirectError::NotReady(format!("no producer ids can be had now: {reason}"));
        let block = tokio::time::timeout_at(deadline, self.inner.producer_ids.lock()).await;
        let mut block = block.map_err(|_| in_vain("too many ask for them".to_owned()))?;
        if block.is_empty() {
            let change = MetaChange::TakeProducerIds { count: PRODUCER_IDS_PER_BLOCK };
            let response = self.inner.parts.controller.change(change, deadline).await;
            let response = response.map_err(|error: ChangeError| in_vain(error.to_string()))?;
            match response.result {
                Ok(MetaOutcome::ProducerIds { first }) => *block = first..first + u64::from(PRODUCER_IDS_PER_BLOCK),
                Ok(other) => return Err(DirectError::Internal(format!("the answer was {other:?}"))),
                Err(error) => return Err(in_vain(error.to_string())),
            }
        }
        let id = block.next().ok_or_else(|| in_vain("the block is empty".to_owned()))?;
        i64::try_from(id).map_err(|_| DirectError::Internal("the producer ids are used up".to_owned()))
    }
}
