//! What a coordinator of consumer groups needs of a replica: the groups as they are applied, and writes of one term.
//!
//! What a coordinator decides rests on what it knows in its term, so it must not be written in a later one.

use super::{Append, AppendDone, AppendError, Replica};
use crate::state::group::{GroupCommand, GroupTable};
use crate::state::partition::{Applied, PartitionCommand};
use crate::types::Term;
use std::sync::Arc;
use tokio::sync::oneshot;

impl Replica {
    /// Looks at the consumer groups of this partition; `None` where it is not one that holds some. Short: apply waits
    /// meanwhile.
    pub fn with_groups<T>(&self, look: impl FnOnce(&GroupTable) -> T) -> Option<T> {
        self.look(|state| state.groups().map(look))
    }

    /// As `append`, in this term only.
    pub async fn append_in(self: &Arc<Self>, term: Term, append: Append, done: AppendDone) {
        self.append_within(Some(term), append, done).await;
    }

    /// Proposes a change of leases in this term. Back once it has its place in the log's order.
    ///
    /// # Errors
    /// As for appends.
    pub async fn group_command_in(
        &self,
        term: Term,
        command: GroupCommand,
    ) -> Result<oneshot::Receiver<Result<Applied, AppendError>>, AppendError> {
        self.command_within(Some(term), &PartitionCommand::Group(command)).await
    }
}
