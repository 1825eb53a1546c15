//! The checks of an order, in the order of the protocol, each one function with its own code.
//!
//! ```text
//!  body ─► size ─► envelope, key, signature ─► contract ─► order ─► audience      [opening]
//!       ─► (attempt already known?) ─► time ─► nonce ─► namespace ─► change ─► intent ─► evidence  [admission]
//! ```
//! Everything here is a pure function of bytes, settings and the time; the cluster is never asked.

pub(crate) mod allowlist;
pub(crate) mod change;
pub(crate) mod evidence;
pub(crate) mod opening;
pub(crate) mod time;

use aegis_contract::code::RefusalCode;
use aegis_contract::order::{Act, Order};
use jiff::Timestamp;

use self::allowlist::Allowlist;

/// Fewest and most characters of a nonce; as long as those of signed requests.
const NONCE_LENGTH: std::ops::RangeInclusive<usize> = 16..=128;

/// An order that was not begun, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub(crate) struct Refusal {
    /// The stable code.
    pub(crate) code: RefusalCode,
    /// For people; holds nothing secret.
    pub(crate) message: String,
    /// How many entries the head has that a proof is needed from.
    pub(crate) needs: Option<u64>,
}

impl Refusal {
    pub(crate) fn new(code: RefusalCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), needs: None }
    }
}

/// The checks before the nonce is looked up: time, and the form of the nonce.
pub(crate) fn check_freshness(order: &Order, now: Timestamp) -> Result<(), Refusal> {
    time::check_time(order, now)?;
    check_nonce(&order.nonce)
}

/// The checks of an acting order after the nonce was looked up: namespace, change, intent. Returns the
/// bytes of the intent's entry, of which the evidence has to show that they are in the log.
pub(crate) fn check_act(act: &Act, allowlist: &Allowlist) -> Result<Vec<u8>, Refusal> {
    allowlist.check_action(&act.target.namespace, act.change.action_type())?;
    change::check_change(act)?;
    evidence::check_intent(act)
}

fn check_nonce(nonce: &str) -> Result<(), Refusal> {
    if NONCE_LENGTH.contains(&nonce.len()) && nonce.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    Err(Refusal::new(
        RefusalCode::NonceReplayed,
        format!("a nonce is {} to {} visible ASCII characters", NONCE_LENGTH.start(), NONCE_LENGTH.end()),
    ))
}

#[cfg(test)]
pub(crate) mod tests {
    use aegis_contract::action::{Change, ScaleParams};
    use aegis_contract::bounds::Bounds;
    use aegis_contract::canonical;
    use aegis_contract::digest::Digest;
    use aegis_contract::ids::{ActionId, DecisionId, EntryId, LedgerId};
    use aegis_contract::intent::{Approval, ENTRY_SCHEMA, Entry, INTENT_KIND, Intent};
    use aegis_contract::order::{
        AutomaticReturn, CONTRACT_VERSION, Instruction, Preconditions, WrittenFields,
    };
    use aegis_contract::strict::base64_encode;
    use aegis_contract::target::Target;
    use jiff::SignedDuration;
    use uuid::Uuid;

    use super::allowlist::Rules;
    use super::*;

    /// The time of every test order.
    pub(crate) fn noon() -> Timestamp {
        "2026-11-20T12:00:00Z".parse().unwrap()
    }

    /// An act that passes every check, with the intent that belongs to it.
    pub(crate) fn sound_act() -> Act {
        let mut act = Act {
            action_id: ActionId(Uuid::from_u128(1)),
            attempt: 1,
            ledger: LedgerId(Uuid::from_u128(4)),
            target: Target::parse("shop/Deployment/web", "local").unwrap(),
            change: Change::Scale(ScaleParams { replicas: 5 }),
            preconditions: Preconditions {
                uid: "u1".to_owned(),
                fields: WrittenFields::Scale { replicas: 3 },
                planned: None,
            },
            watch_seconds: 300,
            soak_seconds: 5,
            automatic_return: Some(AutomaticReturn { within_seconds: 300 }),
            bounds: Some(Bounds { unavailable_max: Some(1), ..Bounds::default() }),
            dry_run: false,
            decision_id: DecisionId(Uuid::from_u128(2)),
            policy_digest: Digest::of(b"policies"),
            approvals: vec![approval()],
            intent: String::new(),
        };
        act.intent = intent_text(&entry_of(&act));
        act
    }

    fn approval() -> Approval {
        Approval {
            principal: "user:019a9f0e-1c4b-7c11-9d0a-2f1b6f7a8c90".to_owned(),
            digest: Digest::of(b"what was asked"),
            entry_id: EntryId(Uuid::from_u128(5)),
        }
    }

    /// The intent's entry that belongs to `act`.
    pub(crate) fn entry_of(act: &Act) -> Entry<Intent> {
        Entry {
            schema: ENTRY_SCHEMA.to_owned(),
            id: EntryId(Uuid::from_u128(3)),
            kind: INTENT_KIND.to_owned(),
            at: noon(),
            principal: "client:alert-bot".to_owned(),
            action_id: Some(act.action_id),
            request_id: None,
            data: Intent {
                plan_digest: act.preconditions.plan_digest(&act.change),
                attempt: act.attempt,
                target: act.target.clone(),
                change: act.change.clone(),
                dry_run: act.dry_run,
                automatic_return: act.automatic_return,
                bounds: act.bounds,
                decision_id: act.decision_id,
                policy_digest: act.policy_digest,
                approvals: act.approvals.clone(),
            },
        }
    }

    /// An entry as it stands in an order.
    pub(crate) fn intent_text(entry: &Entry<Intent>) -> String {
        base64_encode(&canonical::to_bytes(entry).unwrap())
    }

    /// An order of `instruction`, signed at noon for 30 s.
    pub(crate) fn order(instruction: Instruction) -> Order {
        Order {
            contract: CONTRACT_VERSION,
            audience: "local".to_owned(),
            nonce: "0123456789abcdef".to_owned(),
            issued_at: noon(),
            not_after: noon() + SignedDuration::from_secs(30),
            instruction,
        }
    }

    fn allowing(namespaces: &[&str]) -> Allowlist {
        let namespaces = namespaces.iter().map(|name| (*name).to_owned()).collect();
        Allowlist::new(Rules::everything_in(namespaces).unwrap(), true, false)
    }

    #[test]
    fn a_sound_order_passes_every_check() {
        let order = order(Instruction::Act(Box::new(sound_act())));
        check_freshness(&order, noon()).unwrap();
        check_act(&sound_act(), &allowing(&["shop"])).unwrap();
    }

    #[test]
    fn a_nonce_that_is_missing_short_long_or_invisible_is_refused() {
        for nonce in ["", "short", &"x".repeat(129), "0123456789 abcdef", "0123456789\nabcdef"] {
            assert_eq!(check_nonce(nonce).unwrap_err().code, RefusalCode::NonceReplayed, "{nonce:?}");
        }
    }

    #[test]
    fn the_namespace_is_judged_before_the_change_and_the_change_before_the_intent() {
        let mut act = sound_act();
        act.change = Change::Scale(ScaleParams { replicas: 5_000 });
        act.intent = "?".to_owned();
        let (shop, nothing) = (allowing(&["shop"]), allowing(&[]));
        assert_eq!(check_act(&act, &nothing).unwrap_err().code, RefusalCode::NamespaceNotAllowed);
        assert_eq!(check_act(&act, &shop).unwrap_err().code, RefusalCode::ActionNotAllowed);
        act.change = sound_act().change;
        assert_eq!(check_act(&act, &shop).unwrap_err().code, RefusalCode::EvidenceMismatch);
    }
}
