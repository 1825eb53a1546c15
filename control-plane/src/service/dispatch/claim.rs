//! The claim: `queued → running`, the moment an order exists.

use aegis_contract::action::ActionState;
use aegis_contract::ids::ActionId;
use aegis_contract::intent::Entry;
use aegis_contract::order::{Act, Instruction};
use aegis_contract::strict;
use aegis_runtime::clock;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use sqlx::PgConnection;

use super::{DISPATCHER, expire, expire_unlogged};
use crate::audit::{self, Kind, Record};
use crate::client::executor::{Link, SignedOrder};
use crate::error::Error;
use crate::seal::Keyring;
use crate::service::holds;
use crate::service::log::{self, Standing};
use crate::service::safeguards::{ClockReading, Safeguards};
use crate::store::attempts::Attempt;
use crate::store::clusters::SeenLedger;
use crate::store::dispatch::{self, OpenAction};
use crate::store::intents::{self, Intent, Newest};
use crate::store::{Store, commit, policies};

/// Oldest decision an order may stand on.
const DECISION_AGE_MAX: SignedDuration = SignedDuration::from_secs(60);

/// What every order of this installation says.
#[derive(Clone, Copy, Debug)]
pub struct OrderTerms {
    /// How long it may be begun.
    pub lifetime: SignedDuration,
    /// How long its target must stay as wanted before it counts as good, in seconds.
    pub soak_seconds: u32,
}

/// What came of trying to claim an action.
#[derive(Clone, Debug)]
pub enum Claim {
    /// An order was signed and stored as this attempt; the action runs.
    Ordered(Box<OpenAction>, Box<Attempt>),
    /// It must be decided again first.
    Stale,
    /// Its intent has no place in the log yet.
    NotInLog,
    /// Another action is at work on the target.
    TargetBusy,
    /// This machine's clock is wrong: another replica has to claim it.
    ClockSkewed,
    /// The audit log has two histories: nothing is ordered before a person has acted.
    LogForked,
    /// It is not queued any more.
    NotQueued,
}

/// Signs the order of the next attempt, for the ledger last seen in the cluster, if the newest intent
/// still stands on the active policy set and on a fresh decision, came into the log in time and as it was
/// written, no other action has changed the target since, and none is at work on it.
///
/// # Errors
/// `StateNotInLog` when the log has another intent than was written; those of the database.
pub async fn claim(
    store: &Store,
    keyring: &Keyring,
    safeguards: &Safeguards,
    link: &Link,
    terms: OrderTerms,
    id: ActionId,
) -> Result<Claim, Error> {
    log::await_intent(store, id).await?;
    let mut tx = store.begin().await?;
    let Some(action) = dispatch::lock(&mut tx, id).await? else { return Ok(Claim::NotQueued) };
    if action.state != ActionState::Queued {
        return Ok(Claim::NotQueued);
    }
    // Before the policy set is held: activations do not wait for whoever holds up this.
    let newest = intents::newest(&mut tx, id).await?;
    let before = clock::now();
    let (policy_digest, now) = policies::active_digest_for_share(&mut tx).await?;
    safeguards.note_clock(ClockReading { before, database: now, after: clock::now() });
    if !safeguards.is_clock_true() {
        return Ok(Claim::ClockSkewed);
    }
    if now >= action.deadline_at {
        expire(&mut tx, &action).await?;
        commit(tx, Some(id)).await?;
        return Ok(Claim::NotQueued);
    }
    if safeguards.is_log_forked() {
        return Ok(Claim::LogForked);
    }
    let newest = newest.filter(|newest| is_valid(newest, &policy_digest, now));
    let Some(newest) = newest else { return Ok(Claim::Stale) };
    match log::standing(&mut tx, keyring, &newest, now).await? {
        Standing::InLog => {}
        Standing::Pending => return Ok(Claim::NotInLog),
        Standing::Late => {
            expire_unlogged(&mut tx, &action).await?;
            commit(tx, Some(id)).await?;
            return Ok(Claim::NotQueued);
        }
    }
    let Newest { intent, entry, .. } = newest;
    let Some(ledger) = link.ledger else { return Ok(Claim::Stale) };
    let signed = SignedAttempt::new(link, ledger, &action, &intent, &entry, now, terms)?;
    let attempt = signed.attempt(&intent);
    if !dispatch::start(&mut tx, id, &attempt).await? {
        return Ok(Claim::TargetBusy);
    }
    // From here on nobody else is at work on the target; whoever was has changed what was decided on.
    if dispatch::was_acted_on_since(&mut tx, &action, intent.decided_at).await? {
        return Ok(Claim::Stale);
    }
    // What was put back meanwhile keeps automation off; deciding again says so.
    if holds::denial(&mut tx, &action.target, &action.requested_by, action.dry_run).await?.is_some() {
        return Ok(Claim::Stale);
    }
    append_order_signed(&mut tx, &action, &intent, &signed).await?;
    commit(tx, Some(id)).await?;
    let running = OpenAction { state: ActionState::Running, ..action };
    Ok(Claim::Ordered(Box::new(running), Box::new(attempt)))
}

/// Whether an intent is for the next attempt, of the active policy set, and decided not too long ago, by a
/// release that seals what it writes.
fn is_valid(newest: &Newest, policy_digest: &str, now: Timestamp) -> bool {
    let Newest { intent, attempts_before, .. } = newest;
    intent.attempt == attempts_before + 1
        && intent.policy_digest == policy_digest
        && now.duration_since(intent.decided_at) <= DECISION_AGE_MAX
        && intent.sealed_leaf.is_some()
}

struct SignedAttempt {
    order: SignedOrder,
    ledger: SeenLedger,
    issued_at: Timestamp,
    not_after: Timestamp,
}

impl SignedAttempt {
    fn new(
        link: &Link,
        ledger: SeenLedger,
        action: &OpenAction,
        intent: &Intent,
        intent_bytes: &[u8],
        now: Timestamp,
        terms: OrderTerms,
    ) -> Result<Self, Error> {
        let not_after = (now + terms.lifetime).min(action.deadline_at);
        let written: Entry<aegis_contract::intent::Intent> =
            serde_json::from_slice(intent_bytes).map_err(Error::internal)?;
        let act = Act {
            action_id: action.id,
            attempt: intent.attempt,
            ledger: ledger.id,
            target: action.target.clone(),
            change: action.change.clone(),
            preconditions: intent.preconditions.clone(),
            watch_seconds: action.deadline_seconds,
            soak_seconds: terms.soak_seconds,
            automatic_return: written.data.automatic_return,
            bounds: written.data.bounds,
            dry_run: action.dry_run,
            decision_id: intent.decision_id,
            policy_digest: intent.policy_digest.parse().map_err(Error::internal)?,
            approvals: written.data.approvals,
            intent: strict::base64_encode(intent_bytes),
        };
        let order = link.sign(Instruction::Act(Box::new(act)), now, not_after)?;
        Ok(Self { order, ledger, issued_at: now, not_after })
    }

    fn attempt(&self, intent: &Intent) -> Attempt {
        Attempt {
            number: intent.attempt,
            intent_entry_id: intent.entry_id,
            order_digest: self.order.digest,
            envelope: self.order.envelope.clone(),
            issued_at: self.issued_at,
            not_after: self.not_after,
            ledger_id: Some(self.ledger.id),
            ledger_row: self.ledger.row_seen,
            accepted: false,
            closed: false,
        }
    }
}

async fn append_order_signed(
    conn: &mut PgConnection,
    action: &OpenAction,
    intent: &Intent,
    signed: &SignedAttempt,
) -> Result<(), Error> {
    audit::append(
        conn,
        Record {
            kind: Kind::OrderSigned,
            principal: DISPATCHER,
            action_id: Some(action.id),
            request_id: None,
            data: json!({
                "attempt": intent.attempt,
                "intentEntryId": intent.entry_id,
                "orderDigest": signed.order.digest,
                "ledger": signed.ledger.id,
                "notAfter": signed.not_after,
                "onBehalfOf": action.requested_by,
                "type": action.change.action_type(),
                "target": action.target,
            }),
        },
    )
    .await?;
    Ok(())
}
