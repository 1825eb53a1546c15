//! From received bytes to an order for this executor: size, envelope, key, signature, contract
//! version, form, audience.

use aegis_contract::action::Change;
use aegis_contract::code::RefusalCode;
use aegis_contract::digest::Digest;
use aegis_contract::dsse::{EnvelopeError, OrderKeys};
use aegis_contract::order::{Act, CONTRACT_VERSION, Instruction, Order, OrderRequest};
use aegis_contract::strict::{self, Limits};
use aegis_contract::target::Target;
use aegis_evidence::Evidence;

use super::Refusal;
use super::change::fits;

/// Most attempts of one action; a resolving order writes up to this many rows.
pub(crate) const ATTEMPTS_MAX: u32 = 10_000;

/// An authentic order for this executor. Whether it is fresh and allowed is not known yet.
#[derive(Clone, Debug)]
pub(crate) struct OpenedOrder {
    /// The order.
    pub(crate) order: Order,
    /// The signed bytes it was read from.
    pub(crate) payload: Vec<u8>,
    /// Digest of `payload`.
    pub(crate) digest: Digest,
    /// What came beside it; not verified yet.
    pub(crate) evidence: Option<Evidence>,
}

/// Opens the body of `POST /v1/orders`.
pub(crate) fn open(body: &[u8], keys: &OrderKeys, cluster: &str) -> Result<OpenedOrder, Refusal> {
    check_size(body)?;
    let request = read_envelope(body)?;
    let payload = check_signature(&request, keys)?;
    check_contract(&payload)?;
    let order = read_order(&payload)?;
    check_audience(&order, cluster)?;
    let digest = Digest::of(&payload);
    Ok(OpenedOrder { order, payload, digest, evidence: request.evidence })
}

fn check_size(body: &[u8]) -> Result<(), Refusal> {
    let max = Limits::WIRE.bytes_max;
    if body.len() > max {
        return Err(Refusal::new(RefusalCode::TooLarge, format!("the body is larger than {max} bytes")));
    }
    Ok(())
}

fn read_envelope(body: &[u8]) -> Result<OrderRequest, Refusal> {
    strict::from_slice(body, Limits::WIRE)
        .map_err(|error| Refusal::new(RefusalCode::EnvelopeMalformed, error.to_string()))
}

fn check_signature(request: &OrderRequest, keys: &OrderKeys) -> Result<Vec<u8>, Refusal> {
    keys.open_envelope(&request.order).map_err(|error| {
        let code = match error {
            EnvelopeError::Malformed => RefusalCode::EnvelopeMalformed,
            EnvelopeError::KeyUnknown => RefusalCode::KeyUnknown,
            EnvelopeError::SignatureInvalid => RefusalCode::SignatureInvalid,
        };
        Refusal::new(code, error.to_string())
    })
}

// Of another version nothing but its number is read.
fn check_contract(payload: &[u8]) -> Result<(), Refusal> {
    let order = strict::value(payload, Limits::WIRE)
        .map_err(|error| Refusal::new(RefusalCode::OrderMalformed, error.to_string()))?;
    match order["contract"].as_u64() {
        Some(version) if version == u64::from(CONTRACT_VERSION) => Ok(()),
        Some(version) => Err(Refusal::new(
            RefusalCode::ContractUnsupported,
            format!("the order is of contract version {version}; this executor knows {CONTRACT_VERSION}"),
        )),
        None => Err(Refusal::new(RefusalCode::OrderMalformed, "the order names no contract version")),
    }
}

fn read_order(payload: &[u8]) -> Result<Order, Refusal> {
    let malformed = |message: String| Refusal::new(RefusalCode::OrderMalformed, message);
    let order: Order =
        strict::from_slice(payload, Limits::WIRE).map_err(|error| malformed(error.to_string()))?;
    match &order.instruction {
        Instruction::Act(act) => {
            check_attempt(act.attempt)?;
            check_target(&act.target)?;
            check_preconditions(act)?;
        }
        Instruction::Observe(observe) => {
            check_target(&observe.target)?;
            if let Some(change) = &observe.change {
                Change::new(change.action_type(), change.params(), observe.target.kind)
                    .map_err(|error| malformed(error.to_string()))?;
            }
        }
        Instruction::Resolve(resolve) => check_attempt(resolve.attempt)?,
        Instruction::Follow(_) => {}
    }
    Ok(order)
}

fn check_attempt(attempt: u32) -> Result<(), Refusal> {
    if (1..=ATTEMPTS_MAX).contains(&attempt) {
        return Ok(());
    }
    Err(Refusal::new(RefusalCode::OrderMalformed, format!("attempt {attempt} is not 1 to {ATTEMPTS_MAX}")))
}

// INVARIANT: names that reach the Kubernetes API as part of a path have been checked here.
fn check_target(target: &Target) -> Result<(), Refusal> {
    target.validate().map_err(|error| Refusal::new(RefusalCode::OrderMalformed, error.to_string()))
}

fn check_preconditions(act: &Act) -> Result<(), Refusal> {
    if fits(&act.change, &act.preconditions.fields) && !act.preconditions.uid.is_empty() {
        return Ok(());
    }
    Err(Refusal::new(RefusalCode::OrderMalformed, "the preconditions are not those of the change"))
}

fn check_audience(order: &Order, cluster: &str) -> Result<(), Refusal> {
    let target_cluster = match &order.instruction {
        Instruction::Act(act) => Some(&act.target.cluster),
        Instruction::Observe(observe) => Some(&observe.target.cluster),
        Instruction::Resolve(_) | Instruction::Follow(_) => None,
    };
    if order.audience == cluster && target_cluster.is_none_or(|target| target == cluster) {
        return Ok(());
    }
    Err(Refusal::new(RefusalCode::AudienceMismatch, "the order is for another cluster's executor"))
}

#[cfg(test)]
mod tests {
    use aegis_contract::canonical;
    use aegis_contract::dsse::{Envelope, OrderKey};
    use aegis_contract::key::SharedSecret;
    use aegis_contract::order::{Observe, Resolve, WrittenFields};
    use serde_json::{Value, json};

    use super::super::tests::{order, sound_act};
    use super::*;

    fn key(id: &str, byte: u8) -> OrderKey {
        OrderKey::new(id, SharedSecret::from_bytes(&[byte; 32]).unwrap()).unwrap()
    }

    fn keys() -> OrderKeys {
        OrderKeys::new(key("k2", 2), Some(key("k1", 1))).unwrap()
    }

    fn body_of(payload: &[u8], key: &OrderKey) -> Vec<u8> {
        let order = Envelope::from_slice(&key.seal(payload)).unwrap();
        serde_json::to_vec(&OrderRequest { order, evidence: None }).unwrap()
    }

    fn act_order() -> Order {
        order(Instruction::Act(Box::new(sound_act())))
    }

    fn payload(order: &Order) -> Vec<u8> {
        canonical::to_bytes(order).unwrap()
    }

    fn code_of(body: &[u8]) -> RefusalCode {
        open(body, &keys(), "local").unwrap_err().code
    }

    fn code_of_changed(change: impl FnOnce(&mut Value)) -> RefusalCode {
        let mut value = serde_json::to_value(act_order()).unwrap();
        change(&mut value);
        code_of(&body_of(&canonical::to_bytes(&value).unwrap(), &key("k2", 2)))
    }

    #[test]
    fn an_order_under_either_live_key_is_opened_with_the_digest_of_its_bytes() {
        let payload = payload(&act_order());
        for live in [key("k1", 1), key("k2", 2)] {
            let opened = open(&body_of(&payload, &live), &keys(), "local").unwrap();
            assert_eq!((opened.order, opened.digest), (act_order(), Digest::of(&payload)));
        }
    }

    #[test]
    fn bytes_that_are_no_signed_order_are_refused_each_with_its_code() {
        let sealed = body_of(&payload(&act_order()), &key("k2", 2));
        let mut tampered: Value = serde_json::from_slice(&sealed).unwrap();
        let mut other = act_order();
        other.audience = "other".to_owned();
        let other = body_of(&payload(&other), &key("k2", 2));
        tampered["order"]["payload"] =
            serde_json::from_slice::<Value>(&other).unwrap()["order"]["payload"].clone();
        let doubled =
            String::from_utf8(sealed.clone()).unwrap().replacen("{\"order\"", "{\"order\":1,\"order\"", 1);
        for (body, code) in [
            (vec![b' '; Limits::WIRE.bytes_max + 1], RefusalCode::TooLarge),
            (b"{}".to_vec(), RefusalCode::EnvelopeMalformed),
            (b"null".to_vec(), RefusalCode::EnvelopeMalformed),
            (doubled.into_bytes(), RefusalCode::EnvelopeMalformed),
            (body_of(&payload(&act_order()), &key("k9", 2)), RefusalCode::KeyUnknown),
            (body_of(&payload(&act_order()), &key("k2", 9)), RefusalCode::SignatureInvalid),
            (tampered.to_string().into_bytes(), RefusalCode::SignatureInvalid),
            (other, RefusalCode::AudienceMismatch),
            (body_of(b"[]", &key("k2", 2)), RefusalCode::OrderMalformed),
        ] {
            assert_eq!(code_of(&body), code);
        }
    }

    #[test]
    fn another_contract_version_is_unsupported_whatever_else_stands_in_it() {
        for version in [1, CONTRACT_VERSION + 1] {
            let code = code_of_changed(|order| *order = json!({ "contract": version, "other": "things" }));
            assert_eq!(code, RefusalCode::ContractUnsupported);
            // Also when it could be read as one of this version.
            let code = code_of_changed(|order| order["contract"] = json!(version));
            assert_eq!(code, RefusalCode::ContractUnsupported);
        }
    }

    #[test]
    fn signed_bytes_that_make_no_sense_are_malformed() {
        for (pointer, value) in [
            ("/instruction/attempt", json!(0)),
            ("/instruction/attempt", json!(ATTEMPTS_MAX + 1)),
            ("/instruction/target/name", json!("../../secrets/x")),
            ("/instruction/target/namespace", json!("shop/pods")),
            ("/instruction/target/kind", json!("Gateway")),
            ("/instruction/preconditions/uid", json!("")),
            ("/instruction/preconditions/fields", json!({ "of": "restart", "restartedAt": null })),
            ("/instruction/kind", json!("halt")),
            ("/contract", json!("1")),
        ] {
            let code = code_of_changed(|order| *order.pointer_mut(pointer).unwrap() = value.clone());
            assert_eq!(code, RefusalCode::OrderMalformed, "{pointer} = {value}");
        }
        assert_eq!(code_of_changed(|order| order["more"] = json!(1)), RefusalCode::OrderMalformed);
    }

    #[test]
    fn a_target_in_another_cluster_is_another_audience() {
        let mut act = sound_act();
        act.target.cluster = "other".to_owned();
        let mut observe = sound_act().target;
        observe.cluster = "other".to_owned();
        for instruction in
            [Instruction::Act(Box::new(act)), Instruction::Observe(Observe { target: observe, change: None })]
        {
            let body = body_of(&payload(&order(instruction)), &key("k2", 2));
            assert_eq!(code_of(&body), RefusalCode::AudienceMismatch);
        }
    }

    #[test]
    fn a_resolving_order_is_opened() {
        let resolve = Resolve { action_id: sound_act().action_id, attempt: 2 };
        let body = body_of(&payload(&order(Instruction::Resolve(resolve))), &key("k2", 2));
        assert!(open(&body, &keys(), "local").is_ok());
    }

    #[test]
    fn preconditions_of_another_change_do_not_fit() {
        assert!(!fits(&sound_act().change, &WrittenFields::RestartPod { present: true }));
    }
}
