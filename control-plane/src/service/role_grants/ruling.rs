//! What policy says of giving somebody a role.

use aegis_contract::ids::{DecisionId, UserId};
use aegis_policy::{Approval, Effect};
use jiff::Timestamp;
use serde_json::json;
use sqlx::PgConnection;

use crate::error::{Denial, Error};
use crate::metrics::Tally;
use crate::principal::{Caller, Principal};
use crate::service::Services;
use crate::service::decide::{self, Asked, Decided, Denied, Occasion, Purpose};

/// What policies call it.
const ACTION: &str = "grant";

/// Who asks for what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asking<'a> {
    /// The admin who asks.
    pub(super) requester: UserId,
    /// The roles they hold.
    pub(super) requester_roles: &'a [String],
    /// The person who is to hold the role.
    pub(super) user: UserId,
    /// The role.
    pub(super) role: &'a str,
}

/// What follows from a decision.
#[derive(Clone, Debug)]
pub(super) enum Verdict {
    /// It may be done at once.
    Now,
    /// These people have to agree.
    Asks(Vec<Approval>),
    /// It may not be done.
    Never(Box<Denial>),
}

/// A decision that was taken and recorded.
#[derive(Clone, Debug)]
pub(super) struct Ruling {
    /// Its id.
    pub(super) decision_id: DecisionId,
    /// When it was taken.
    pub(super) decided_at: Timestamp,
    /// What follows.
    pub(super) verdict: Verdict,
}

/// Has policy decide, in the transaction of what follows from it; the caller's request causes it.
///
/// # Errors
/// `StateNotInLog` when the policies cannot be trusted.
pub(super) async fn rule(
    conn: &mut PgConnection,
    services: &Services,
    asking: Asking<'_>,
    caller: &Caller,
) -> Result<Ruling, Error> {
    let asked = Asked {
        principal: Principal::User(asking.requester).to_string(),
        roles: asking.requester_roles.to_vec(),
        action: ACTION.to_owned(),
        resource: format!("aegis/role/{}", asking.role),
        params: json!({}),
        metadata: json!({ "user": Principal::User(asking.user).to_string() }),
    };
    let occasion = Occasion {
        by: &caller.name,
        request_id: Some(&caller.request_id),
        observed: None,
        // Nothing in a cluster follows, and limits count what happens there.
        purpose: Purpose::Answer,
    };
    let decided = decide::decide(conn, &services.policies, &asked, occasion).await?;
    services.metrics.count_decision(&Tally::of(&decided));
    let (decision_id, decided_at) = (decided.decision_id, decided.decided_at);
    Ok(Ruling { decision_id, decided_at, verdict: verdict(decided) })
}

fn verdict(decided: Decided) -> Verdict {
    if decided.effect == Effect::Deny {
        let at = decided.decided_at;
        return Verdict::Never(Box::new(Denied::from(decided).told(Vec::new(), at)));
    }
    let obligations = decided.decision.obligations;
    // A role can neither be rehearsed nor looked at afterwards.
    let unmet = match (obligations.dry_run_only, obligations.break_glass.is_empty()) {
        (true, _) => Some("DRY_RUN_ONLY"),
        (_, false) => Some("BREAK_GLASS_ONLY"),
        (false, true) => None,
    };
    match unmet {
        Some(word) => {
            let reason = format!("{word}: {}", decided.reason);
            Verdict::Never(Box::new(Denial { reason, ..Denial::default() }))
        }
        None if obligations.approvals.is_empty() => Verdict::Now,
        None => Verdict::Asks(obligations.approvals.into_iter().map(|demanded| demanded.what).collect()),
    }
}
