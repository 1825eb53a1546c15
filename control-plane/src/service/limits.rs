//! Counting what limits count. Nothing is stored for a limit: an action counts from the moment it is
//! let go ahead, by what stands in its own row, so what ends without anything done gives room by itself.

use aegis_contract::digest::Digest;
use aegis_contract::facts::Facts;
use aegis_policy::{
    Cause, Counted, Decision, JudgedLimit, Limit, Per, PolicySet, Question, count_replicas, count_unavailable,
};
use jiff::{SignedDuration, Timestamp};
use sqlx::PgConnection;

use crate::error::Error;
use crate::store::limits::{self, CountedFor, KeyLock, Shared};

/// Tells these locks from any others in the database.
const LOCK_PURPOSE: &str = "aegis.limit/v1\n";

/// Holds off every other decision that would let an action go ahead and count what this one counts, or
/// be counted by it, until the end of the transaction. The clock must be read after this.
///
/// Activations wait for such decisions too, so all of them see the same set, and so the same keys.
///
/// # Errors
/// Those of the database; a lock that is not had in time is `AuditUnavailable`.
pub async fn lock(conn: &mut PgConnection, set: &PolicySet, question: &Question) -> Result<(), Error> {
    let keys = set.limit_keys(question).into_iter();
    let mut locks: Vec<KeyLock> =
        keys.map(|key| KeyLock { id: lock_id(&key.key), exclusive: key.binds }).collect();
    // INVARIANT: one order for everybody, so that no two wait for each other. Of two keys with one hash
    // the stronger lock comes first.
    locks.sort_by_key(|lock| (lock.id, !lock.exclusive));
    if locks.is_empty() { Ok(()) } else { limits::lock(conn, &locks).await }
}

fn lock_id(key: &str) -> i64 {
    let digest = Digest::of(format!("{LOCK_PURPOSE}{key}").as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&digest.as_bytes()[..8]);
    i64::from_be_bytes(first)
}

/// Counts and judges every limit of a decision.
///
/// # Errors
/// Those of the database.
pub async fn judge(
    conn: &mut PgConnection,
    decision: &Decision,
    question: &Question,
    facts: Option<&Facts>,
    own: CountedFor,
    now: Timestamp,
) -> Result<Vec<JudgedLimit>, Error> {
    let mut judged = Vec::with_capacity(decision.obligations.limits.len());
    for demanded in &decision.obligations.limits {
        let counted = count(conn, &demanded.what, question, facts, own, now).await?;
        judged.push(JudgedLimit::new(demanded.clone(), demanded.what.key(question), counted, now));
    }
    Ok(judged)
}

async fn count(
    conn: &mut PgConnection,
    limit: &Limit,
    question: &Question,
    facts: Option<&Facts>,
    own: CountedFor,
    now: Timestamp,
) -> Result<Counted, Error> {
    let Some(shared) = shared(limit.per().unwrap_or_default(), question) else {
        return Ok(Counted::Unknown { cause: Cause::Missing });
    };
    Ok(match limit {
        Limit::Cooldown { seconds, .. } => {
            let since = before(now, *seconds);
            let (_, last_at) = limits::count_since(conn, shared, since, 1, own).await?;
            Counted::Cooldown { last_at }
        }
        Limit::Rate { seconds, max, .. } => {
            let since = before(now, *seconds);
            let (actions, oldest_at) = limits::count_since(conn, shared, since, *max, own).await?;
            Counted::Rate { actions, oldest_at }
        }
        Limit::Concurrency { max, .. } => {
            Counted::Concurrency { actions: limits::count_under_way(conn, shared, *max, own).await? }
        }
        Limit::Unavailable { .. } => count_unavailable(question, facts, now),
        Limit::Replicas { .. } => count_replicas(question, facts, now),
        Limit::Breaker { seconds, failures, open_seconds, .. } => {
            let since = before(now, *open_seconds);
            let opened_at = limits::last_opening(conn, shared, *failures, *seconds, since).await?;
            Counted::Breaker { opened_at }
        }
    })
}

fn before(now: Timestamp, seconds: u32) -> Timestamp {
    now.saturating_sub(SignedDuration::from_secs(seconds.into())).unwrap_or(Timestamp::MIN)
}

/// What counted actions share; nothing when the question does not have it.
fn shared<'a>(per: &[Per], question: &'a Question) -> Option<Shared<'a>> {
    let target = question.resource().target();
    let mut shared = Shared::default();
    for per in per {
        match per {
            Per::Action => shared.action_type = Some(question.action()),
            Per::Principal => shared.requested_by = Some(question.principal().as_str()),
            Per::Cluster => shared.cluster = Some(&target?.cluster),
            Per::Namespace => {
                shared.cluster = Some(&target?.cluster);
                shared.namespace = Some(&target?.namespace);
            }
            Per::Target => {
                shared.cluster = Some(&target?.cluster);
                shared.namespace = Some(&target?.namespace);
                shared.object = Some((target?.kind.as_str(), &target?.name));
            }
        }
    }
    Some(shared)
}
