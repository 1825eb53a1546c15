//! Orders that are refused: each with its code, none with an effect.

use aegis_contract::action::{Change, RestartParams, ScaleParams};
use aegis_contract::canonical;
use aegis_contract::code::RefusalCode;
use aegis_contract::dsse::OrderKey;
use aegis_contract::facts::Observation;
use aegis_contract::key::SharedSecret;
use aegis_contract::order::{Act, CONTRACT_VERSION, Instruction, Observe, Order, Resolve};
use aegis_contract::receipt::Stage;
use aegis_contract::target::Kind;
use aegis_tests::paths::random;
use anyhow::Result;
use jiff::SignedDuration;
use serde_json::json;

use super::bench::{Bench, act_order, new_action_id, order, sign_with, write_intent};

async fn scaling(bench: &Bench) -> Result<Act> {
    let target = bench.deploy("web").await?;
    bench.act(Change::Scale(ScaleParams { replicas: 5 }), target).await
}

fn foreign_key(id: &str) -> Result<OrderKey> {
    Ok(OrderKey::new(id, SharedSecret::from_bytes(&random::<32>())?)?)
}

#[tokio::test]
async fn bytes_that_are_no_order_for_this_executor_leave_nothing_in_the_ledger() -> Result<()> {
    let bench = Bench::start(1).await?;
    let act = scaling(&bench).await?;
    let sound = act_order(&act, 30);
    let payload = canonical::to_bytes(&sound)?;
    let body = bench.sign(&sound)?;
    let mut flipped: serde_json::Value = serde_json::from_slice(&body)?;
    let text = flipped["order"]["payload"].as_str().unwrap_or_default().to_owned();
    flipped["order"]["payload"] = json!(text.replacen('a', "b", 1));
    let newer = canonical::to_bytes(&json!({ "contract": CONTRACT_VERSION + 1, "halt": true }))?;
    let older = canonical::to_bytes(&Order { contract: CONTRACT_VERSION - 1, ..sound.clone() })?;
    let headless = canonical::to_bytes(&json!({ "contract": CONTRACT_VERSION }))?;
    let elsewhere = Order { audience: "other".to_owned(), ..sound.clone() };

    for (body, status, code) in [
        (vec![b' '; 70_000], 413, RefusalCode::TooLarge),
        (b"{}".to_vec(), 400, RefusalCode::EnvelopeMalformed),
        (sign_with(&foreign_key("unknown-1")?, &payload)?, 401, RefusalCode::KeyUnknown),
        (sign_with(&foreign_key("test-1")?, &payload)?, 401, RefusalCode::SignatureInvalid),
        (serde_json::to_vec(&flipped)?, 401, RefusalCode::SignatureInvalid),
        (sign_with(&bench.order_key, &newer)?, 400, RefusalCode::ContractUnsupported),
        (sign_with(&bench.order_key, &older)?, 400, RefusalCode::ContractUnsupported),
        (sign_with(&bench.order_key, &headless)?, 400, RefusalCode::OrderMalformed),
        (bench.sign(&elsewhere)?, 403, RefusalCode::AudienceMismatch),
    ] {
        let answer = bench.send(0, &body, 0).await?;
        assert_eq!((answer.status, answer.code()), (status, code.to_string()));
        let counted = format!("aegis_orders_refused_total{{code=\"{code}\"}}");
        let metrics = bench.page(0, "/metrics").await?;
        let line = metrics.lines().find(|line| line.starts_with(&counted)).unwrap_or_default();
        assert!(!line.is_empty() && !line.ends_with(" 0"), "{code} is not counted: {line}");
    }

    bench.expect_rows(act.action_id, &[]).await?;
    assert!(bench.writes(act.action_id)?.is_empty());
    // The very same order, untouched, is good.
    assert!(matches!(bench.stage(0, &body, 0).await?, Stage::Running { .. } | Stage::Finished { .. }));
    Ok(())
}

#[tokio::test]
async fn a_final_refusal_closes_the_attempt_and_is_answered_with_the_same_bytes_ever_after() -> Result<()> {
    let bench = Bench::start(1).await?;
    let act = scaling(&bench).await?;
    let used_nonce = act_order(&another(&act)?, 30);
    bench.finished(0, &bench.sign(&used_nonce)?).await?;
    let before = bench.facts(&act.target).await?;

    type Spoil = fn(&mut Order, &mut Act);
    let spoils: [(RefusalCode, Spoil); 9] = [
        (RefusalCode::OrderExpired, |order, _| {
            order.issued_at -= SignedDuration::from_secs(40);
            order.not_after -= SignedDuration::from_secs(40);
        }),
        (RefusalCode::OrderFromFuture, |order, _| {
            order.issued_at += SignedDuration::from_secs(20);
            order.not_after += SignedDuration::from_secs(20);
        }),
        (RefusalCode::LifetimeTooLong, |order, _| order.not_after += SignedDuration::from_secs(31)),
        (RefusalCode::NonceReplayed, |order, _| order.nonce.clear()),
        (RefusalCode::NamespaceNotAllowed, |_, act| act.target.namespace = "default".to_owned()),
        (RefusalCode::NamespaceNotAllowed, |_, act| act.target.namespace = "kube-system".to_owned()),
        (RefusalCode::ActionNotAllowed, |_, act| act.target.kind = Kind::DaemonSet),
        (RefusalCode::EvidenceMismatch, |_, act| act.intent = "e30=".to_owned()),
        (RefusalCode::EvidenceMismatch, |_, act| {
            act.change = Change::Scale(ScaleParams { replicas: 6 });
        }),
    ];
    for (code, spoil) in spoils {
        let mut act = another(&act)?;
        let mut order = act_order(&act, 30);
        spoil(&mut order, &mut act);
        if !matches!(code, RefusalCode::EvidenceMismatch) {
            write_intent(&mut act)?;
        }
        order.instruction = Instruction::Act(Box::new(act.clone()));
        expect_refused(&bench, &order, &act, code).await?;
    }

    let mut replay = act_order(&another(&act)?, 30);
    replay.nonce = used_nonce.nonce.clone();
    let Instruction::Act(replayed) = replay.instruction.clone() else { unreachable!("an acting order") };
    expect_refused(&bench, &replay, &replayed, RefusalCode::NonceReplayed).await?;
    assert_eq!(bench.facts(&act.target).await?.generation, before.generation);
    Ok(())
}

fn another(act: &Act) -> Result<Act> {
    let mut act = Act { action_id: new_action_id(), ..act.clone() };
    write_intent(&mut act)?;
    Ok(act)
}

async fn expect_refused(bench: &Bench, order: &Order, act: &Act, code: RefusalCode) -> Result<()> {
    let body = bench.sign(order)?;
    let first = bench.send(0, &body, 0).await?;
    let receipt = bench.receipt(&first)?;
    match receipt.stage {
        Stage::Refused { code: refused, .. } => assert_eq!(refused, code),
        stage => panic!("{code}: {stage:?}"),
    }
    let again = bench.send(0, &body, 0).await?;
    assert_eq!(again.body, first.body, "{code}");
    let other = Order { nonce: "another-nonce-of-this-test".to_owned(), ..order.clone() };
    let mismatch = bench.send(0, &bench.sign(&other)?, 0).await?;
    assert_eq!((mismatch.status, mismatch.code()), (409, "attempt-mismatch".to_owned()));
    let resolved = bench.send(0, &bench.resolve(act.action_id, act.attempt)?, 0).await?;
    assert_eq!(resolved.body, first.body, "{code}");
    bench.expect_rows(act.action_id, &["closed"]).await?;
    assert!(bench.writes(act.action_id)?.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_second_attempt_of_an_accepted_action_is_refused() -> Result<()> {
    let bench = Bench::start(1).await?;
    let first = scaling(&bench).await?;
    bench.carry_out(&first).await?;

    let mut second = Act { attempt: 2, ..first.clone() };
    write_intent(&mut second)?;
    let stage = bench.stage(0, &bench.sign(&act_order(&second, 30))?, 0).await?;

    assert!(matches!(stage, Stage::Refused { code: RefusalCode::ActionAccepted, .. }), "{stage:?}");
    assert_eq!(bench.writes(first.action_id)?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn other_bytes_for_an_accepted_attempt_change_nothing() -> Result<()> {
    let bench = Bench::start(1).await?;
    let act = scaling(&bench).await?;
    let order = act_order(&act, 30);
    let result = bench.finished(0, &bench.sign(&order)?).await?;

    let other = act_order(&act, 30);
    let answer = bench.send(0, &bench.sign(&other)?, 0).await?;

    assert_eq!((answer.status, answer.code()), (409, "attempt-mismatch".to_owned()));
    assert_eq!(bench.finished(0, &bench.sign(&order)?).await?, result);
    bench.expect_rows(act.action_id, &["accepted", "acting", "finished"]).await
}

#[tokio::test]
async fn observing_is_signed_timed_and_limited_to_allowed_namespaces() -> Result<()> {
    let bench = Bench::start(1).await?;
    let target = bench.deploy("web").await?;
    let observe = |change: &dyn Fn(&mut Order, &mut Observe)| {
        let mut observe = Observe { target: target.clone(), change: None };
        let mut order = order(Instruction::Observe(observe.clone()), 30);
        change(&mut order, &mut observe);
        order.instruction = Instruction::Observe(observe);
        bench.sign(&order)
    };
    let expired = observe(&|order, _| {
        order.issued_at -= SignedDuration::from_secs(40);
        order.not_after -= SignedDuration::from_secs(40);
    })?;
    let foreign = observe(&|_, observe| observe.target.namespace = "default".to_owned())?;
    let system = observe(&|_, observe| observe.target.namespace = "kube-system".to_owned())?;
    for (body, expected) in [
        (expired, RefusalCode::OrderExpired),
        (foreign, RefusalCode::NamespaceNotAllowed),
        (system, RefusalCode::NamespaceNotAllowed),
    ] {
        match bench.stage(0, &body, 0).await? {
            Stage::ObservationRefused { code, allowed_namespaces, .. } => {
                assert_eq!((code, allowed_namespaces), (expected, vec![bench.namespace.clone()]));
            }
            stage => panic!("{stage:?}"),
        }
    }
    let absent = observe(&|_, observe| observe.target.name = "nothing".to_owned())?;
    let stage = bench.stage(0, &absent, 0).await?;
    // The system's namespace is listed, but not allowed.
    let allowed_namespaces = vec![bench.namespace.clone()];
    assert_eq!(stage, Stage::Observed { observation: Observation::Absent, allowed_namespaces });
    Ok(())
}

#[tokio::test]
async fn an_expired_resolving_order_closes_nothing() -> Result<()> {
    let bench = Bench::start(1).await?;
    let action_id = new_action_id();
    let mut stale = order(Instruction::Resolve(Resolve { action_id, attempt: 1 }), 30);
    stale.issued_at -= SignedDuration::from_secs(40);
    stale.not_after -= SignedDuration::from_secs(40);

    let answer = bench.send(0, &bench.sign(&stale)?, 0).await?;

    assert_eq!((answer.status, answer.code()), (403, "order-expired".to_owned()));
    bench.expect_rows(action_id, &[]).await
}

#[tokio::test]
async fn a_parameter_that_is_not_known_or_too_long_a_wait_is_refused() -> Result<()> {
    let bench = Bench::start(1).await?;
    let target = bench.deploy("web").await?;
    let act = bench.act(Change::Restart(RestartParams::default()), target).await?;
    let answer = bench.send(0, &bench.sign(&act_order(&act, 30))?, 31).await?;
    assert_eq!((answer.status, answer.code()), (400, "query-invalid".to_owned()));
    bench.expect_rows(act.action_id, &[]).await
}
