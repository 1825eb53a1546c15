//! What the executor knows of the audit log: it acts only on what is in it, and follows one history.

use std::sync::{Arc, Mutex, PoisonError};

use aegis_contract::code::RefusalCode;
use aegis_contract::order::Follow;
use aegis_evidence::{Evidence, EvidenceError, Head, HeadError, Kept, LogKeys, Relation, Verified};

use super::{AnswerError, ExecutorMetrics};
use crate::ledger::{Ledger, LedgerError};
use crate::verify::Refusal;
use crate::verify::evidence::{verify_evidence, verify_follow};

/// How often another replica may have kept a head meanwhile before the caller is asked to come again.
const RACES_MAX: u32 = 3;

/// The newest head that this process has verified. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Held(Arc<Mutex<Head>>);

impl Held {
    /// Nothing verified yet.
    pub(crate) fn nothing() -> Self {
        Self(Arc::new(Mutex::new(Head::EMPTY)))
    }

    /// The head.
    pub(crate) fn head(&self) -> Head {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn raise(&self, head: Head) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.size < head.size {
            *held = head;
        }
    }
}

/// Verifies what is said of the audit log, and keeps what was verified.
pub(crate) struct History {
    ledger: Ledger,
    keys: LogKeys,
    held: Held,
    metrics: ExecutorMetrics,
}

impl History {
    /// Goes on with the log of `keys` where the ledger stands, or begins with it at `first`.
    ///
    /// # Errors
    /// When there is neither; those of the ledger.
    pub(crate) async fn begin(
        ledger: Ledger,
        keys: LogKeys,
        first: Option<Head>,
        held: Held,
        metrics: ExecutorMetrics,
    ) -> anyhow::Result<Self> {
        if let Some(first) = first {
            ledger.begin_log(keys.origin(), first).await?;
        }
        let history = Self { ledger, keys, held, metrics };
        let Some(known) = history.ledger.known_log(history.keys.origin()).await? else {
            anyhow::bail!(
                "the ledger holds no head of the log {}: set LOG_FIRST_HEAD to a checkpoint that you have checked, \
                 or to `empty` for a log that is followed from its beginning",
                history.keys.origin()
            );
        };
        history.held.raise(*known.kept.newest());
        history.metrics.set_log_forked(known.is_forked);
        Ok(history)
    }

    /// Checks that the entry of an acting order is in the log.
    pub(super) async fn require_entry(
        &self,
        entry: &[u8],
        evidence: Option<&Evidence>,
    ) -> Result<(), AnswerError> {
        let note = evidence.map_or("", |evidence| evidence.checkpoint.as_str());
        self.require(note, |kept| verify_evidence(entry, evidence, &self.keys, kept)).await
    }

    /// Keeps the head of a checkpoint.
    pub(super) async fn follow(&self, follow: &Follow) -> Result<(), AnswerError> {
        self.require(&follow.checkpoint, |kept| verify_follow(follow, &self.keys, kept)).await
    }

    async fn require(
        &self,
        note: &str,
        verify: impl Fn(&Kept) -> Result<Verified, EvidenceError>,
    ) -> Result<(), AnswerError> {
        let origin = self.keys.origin();
        let mut needs = 0;
        for _ in 0..RACES_MAX {
            let known = self.ledger.known_log(origin).await?;
            let known = known.ok_or_else(|| LedgerError::Unreadable(format!("no head of {origin}")))?;
            if known.is_forked {
                return Err(forked().into());
            }
            let newest = *known.kept.newest();
            needs = newest.size;
            match verify(&known.kept) {
                Ok(Verified { checkpoint, relation }) => {
                    let head = checkpoint.head;
                    if relation != Relation::Newer
                        || self.ledger.keep_head(origin, newest, head, note).await?
                    {
                        self.held.raise(if relation == Relation::Newer { head } else { newest });
                        self.metrics.note_log_head(self.held.head().size);
                        return Ok(());
                    }
                }
                Err(EvidenceError::Head(HeadError::Forked { kept, presented })) => {
                    self.ledger.note_fork(origin, kept, note).await?;
                    self.metrics.set_log_forked(true);
                    tracing::error!(
                        origin,
                        keptSize = kept.size,
                        presentedSize = presented.size,
                        "THE AUDIT LOG IS FORKED: nothing is begun any more until a person has acted"
                    );
                    return Err(forked().into());
                }
                Err(error) => return Err(refusal_of(error).into()),
            }
        }
        Err(unknown(needs).into())
    }
}

fn refusal_of(error: EvidenceError) -> Refusal {
    match error {
        EvidenceError::Head(HeadError::Unknown { needs }) => unknown(needs),
        EvidenceError::Head(HeadError::Forked { .. }) => forked(),
        EvidenceError::Checkpoint(error) => Refusal::new(
            RefusalCode::CheckpointInvalid,
            format!("the checkpoint is not believed: {error}; compare LOG_KEYS with `aegisctl audit keys`"),
        ),
        EvidenceError::NotInLog(error) => Refusal::new(RefusalCode::EntryNotInLog, error.to_string()),
    }
}

fn unknown(needs: u64) -> Refusal {
    let message = format!("send the order again with a proof that the log has grown from {needs} entries");
    Refusal { needs: Some(needs), ..Refusal::new(RefusalCode::HeadUnknown, message) }
}

fn forked() -> Refusal {
    Refusal::new(
        RefusalCode::LogForked,
        "the audit log has two histories; the ledger keeps both notes (ledger.forks): see docs/operations.md",
    )
}
