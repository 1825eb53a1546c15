//! What happens to open actions when the ledger turns out to be another one.

use aegis_contract::receipt::{ExecutionResult, LedgerPosition, Stage};

use super::Executor;
use super::orders::steps_of;
use super::worker::read_act;
use super::writing::in_doubt;
use crate::ledger::LedgerError;
use crate::ledger::stories::Story;

impl Executor {
    /// Sees to it that the ledger has an id where it stands. With a new one every open action ends in
    /// doubt: what was done about it may be among the rows that a restored ledger has lost.
    pub(crate) async fn name_ledger(&self) -> Result<(), LedgerError> {
        let Some(named) = self.ledger.name(|story, ledger| self.end_in_doubt(story, ledger)).await? else {
            return Ok(());
        };
        match named.before {
            None => tracing::info!(ledger = %named.id, "the ledger is new and has a name now"),
            Some(before) => tracing::warn!(
                ledger = %named.id,
                %before,
                "the ledger was restored or moved and may have forgotten attempts; it has a new name"
            ),
        }
        for story in named.ended {
            if let Ok((act, _)) = read_act(&story.order_bytes) {
                self.metrics.count_ended(act.change.action_type(), in_doubt(FORGOTTEN).code);
            }
            tracing::warn!(actionId = %story.name.action_id, "an open action ended in doubt");
        }
        Ok(())
    }

    fn end_in_doubt(&self, story: &Story, ledger: LedgerPosition) -> Vec<u8> {
        let ending = in_doubt(FORGOTTEN);
        let result = ExecutionResult {
            status: ending.status,
            code: ending.code,
            message: ending.message,
            steps: steps_of(story),
            before: story.writes.first().map(|acting| acting.before.clone()),
            after: story.writes.first().map(|acting| acting.after.clone()),
        };
        self.receipts.sign(story.order_digest, Some(story.name), ledger, Stage::Finished { result })
    }
}

const FORGOTTEN: &str = "the executor's ledger was restored or moved";
