//! Whether an acting order is the one that the audit log says will be given, and whether that log is the one
//! that was verified before.

use aegis_contract::code::RefusalCode;
use aegis_contract::intent::{ENTRY_SCHEMA, Entry, INTENT_KIND, Intent};
use aegis_contract::order::{Act, Follow};
use aegis_contract::strict::{self, Limits};
use aegis_evidence::{Evidence, EvidenceError, HeadError, Kept, LogKeys, Verified};

use super::Refusal;

/// Refuses an order that differs in any field from the intent it carries. Returns the bytes of its entry.
pub(crate) fn check_intent(act: &Act) -> Result<Vec<u8>, Refusal> {
    let unreadable = |message: String| mismatch(format!("the intent cannot be read: {message}"));
    let bytes = strict::base64_decode(&act.intent).map_err(|error| unreadable(error.to_string()))?;
    let entry = strict::from_slice(&bytes, Limits::WIRE).map_err(|error| unreadable(error.to_string()))?;
    check_fields(act, &entry)?;
    Ok(bytes)
}

/// Verifies that an entry of exactly these bytes is in the log that `kept` belongs to.
pub(crate) fn verify_evidence(
    entry: &[u8],
    evidence: Option<&Evidence>,
    keys: &LogKeys,
    kept: &Kept,
) -> Result<Verified, EvidenceError> {
    let missing = HeadError::Unknown { needs: kept.newest().size };
    evidence.ok_or(missing)?.verify(entry, keys, kept)
}

/// Verifies that a checkpoint belongs to the log that `kept` belongs to.
pub(crate) fn verify_follow(follow: &Follow, keys: &LogKeys, kept: &Kept) -> Result<Verified, EvidenceError> {
    let checkpoint = keys.open(follow.checkpoint.as_bytes())?;
    let relation = kept.judge(&checkpoint.head, &follow.consistency)?;
    Ok(Verified { checkpoint, relation })
}

fn check_fields(act: &Act, entry: &Entry<Intent>) -> Result<(), Refusal> {
    let Entry { schema, id: _, kind, at: _, principal: _, action_id, request_id: _, data } = entry;
    let Intent {
        attempt,
        target,
        change,
        dry_run,
        automatic_return,
        bounds,
        decision_id,
        policy_digest,
        plan_digest,
        approvals,
    } = data;
    let fields = [
        ("schema", schema == ENTRY_SCHEMA),
        ("kind", kind == INTENT_KIND),
        ("actionId", *action_id == Some(act.action_id)),
        ("attempt", *attempt == act.attempt),
        ("target", *target == act.target),
        ("change", *change == act.change),
        ("dryRun", *dry_run == act.dry_run),
        ("automaticReturn", *automatic_return == act.automatic_return),
        ("bounds", *bounds == act.bounds),
        ("decisionId", *decision_id == act.decision_id),
        ("policyDigest", *policy_digest == act.policy_digest),
        ("planDigest", *plan_digest == act.preconditions.plan_digest(&act.change)),
        ("approvals", *approvals == act.approvals),
    ];
    match fields.iter().find(|(_, is_equal)| !is_equal) {
        Some((name, _)) => Err(mismatch(format!("the intent has another {name} than the order"))),
        None => Ok(()),
    }
}

fn mismatch(message: String) -> Refusal {
    Refusal::new(RefusalCode::EvidenceMismatch, message)
}

#[cfg(test)]
mod tests {
    use aegis_contract::action::{self, ScaleParams};
    use aegis_contract::digest::Digest;
    use uuid::Uuid;

    use super::super::tests::{entry_of, intent_text, sound_act};
    use super::*;

    #[test]
    fn an_intent_that_differs_in_any_field_is_refused() {
        type Change = fn(&mut Entry<Intent>);
        let changes: [(&str, Change); 15] = [
            ("schema", |entry| entry.schema = "aegis.entry/v2".to_owned()),
            ("kind", |entry| entry.kind = "action.ended".to_owned()),
            ("actionId", |entry| entry.action_id = Some(Uuid::from_u128(99).into())),
            ("actionId", |entry| entry.action_id = None),
            ("attempt", |entry| entry.data.attempt = 2),
            ("target", |entry| entry.data.target.name = "api".to_owned()),
            ("change", |entry| entry.data.change = action::Change::Scale(ScaleParams { replicas: 6 })),
            ("dryRun", |entry| entry.data.dry_run = true),
            ("automaticReturn", |entry| entry.data.automatic_return = None),
            ("bounds", |entry| entry.data.bounds = None),
            ("bounds", |entry| {
                entry.data.bounds.get_or_insert_default().replicas.get_or_insert_default().min = Some(0);
            }),
            ("decisionId", |entry| entry.data.decision_id = Uuid::from_u128(99).into()),
            ("policyDigest", |entry| entry.data.policy_digest = Digest::of(b"others")),
            ("planDigest", |entry| entry.data.plan_digest = Some(Digest::of(b"others"))),
            ("approvals", |entry| entry.data.approvals.clear()),
        ];
        for (name, change) in changes {
            let mut act = sound_act();
            let mut entry = entry_of(&act);
            change(&mut entry);
            act.intent = intent_text(&entry);
            let refusal = check_intent(&act).unwrap_err();
            assert_eq!(refusal.code, RefusalCode::EvidenceMismatch);
            assert!(refusal.message.contains(name), "{name}: {}", refusal.message);
        }
    }

    #[test]
    fn an_intent_that_cannot_be_read_is_refused() {
        for text in ["", "e30=", "e30", "?", &strict::base64_encode(b"{\"schema\":1}")] {
            let mut act = sound_act();
            act.intent = text.to_owned();
            assert_eq!(check_intent(&act).unwrap_err().code, RefusalCode::EvidenceMismatch, "{text}");
        }
    }

    #[test]
    fn the_intent_that_belongs_to_the_order_passes() {
        check_intent(&sound_act()).unwrap();
    }
}
