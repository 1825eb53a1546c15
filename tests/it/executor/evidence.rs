//! Evidence before effect: what is not shown to be in the one log that the executor follows is not begun.

use aegis_contract::action::{Change, RestartParams};
use aegis_contract::order::{Act, Follow, Instruction};
use aegis_contract::receipt::Stage;
use aegis_contract::strict::base64_decode;
use aegis_evidence::Evidence;
use anyhow::Result;
use serde_json::Value;
use sqlx::Row;

use super::bench::{Answer, Bench, act_order, order};
use super::log::TestLog;

async fn an_act(bench: &Bench, name: &str) -> Result<Act> {
    let target = bench.deploy(name).await?;
    bench.act(Change::Restart(RestartParams::default()), target).await
}

fn entry(act: &Act) -> Result<Vec<u8>> {
    Ok(base64_decode(&act.intent)?)
}

fn needs(answer: &Answer) -> Result<u64> {
    assert_eq!((answer.status, answer.code().as_str()), (409, "head-unknown"));
    let body: Value = serde_json::from_slice(&answer.body)?;
    Ok(body["needs"].as_u64().expect("it says which proof it needs"))
}

/// Sends an act with this evidence and expects a refusal that wrote nothing and began nothing.
async fn refused(bench: &Bench, act: &Act, evidence: Option<Evidence>) -> Result<Answer> {
    let answer = bench.send(0, &bench.sign_beside(&act_order(act, 30), evidence)?, 0).await?;
    bench.expect_rows(act.action_id, &[]).await?;
    assert!(bench.writes(act.action_id)?.is_empty());
    Ok(answer)
}

#[tokio::test]
async fn an_order_is_begun_once_its_intent_is_shown_to_be_in_the_log_and_nothing_is_spent_before()
-> Result<()> {
    let bench = Bench::start(1).await?;
    let act = an_act(&bench, "web").await?;
    let sound = bench.log.add(&entry(&act)?)?;

    assert_eq!(needs(&refused(&bench, &act, None).await?)?, 0, "no evidence at all");
    let other = TestLog::new(&[7; 32])?;
    let unsigned = other.add(&entry(&act)?)?;
    assert_eq!(refused(&bench, &act, Some(unsigned)).await?.code(), "checkpoint-invalid");
    let mut elsewhere = sound.clone();
    elsewhere.index = 1;
    assert_eq!(refused(&bench, &act, Some(elsewhere)).await?.code(), "entry-not-in-log");
    let absent = bench.log.fork();
    absent.add(b"another entry")?;
    let mut of_other_entry = sound.clone();
    of_other_entry.inclusion = absent.evidence(0, 2)?.inclusion;
    assert_eq!(refused(&bench, &act, Some(of_other_entry)).await?.code(), "entry-not-in-log");

    // The very order that was refused with bad proofs is good with a sound one.
    let order = act_order(&act, 30);
    let answer = bench.send(0, &bench.sign_beside(&order, None)?, 0).await?;
    assert_eq!(needs(&answer)?, 0);
    let answer = bench.send(0, &bench.sign_beside(&order, Some(sound))?, 30).await?;
    let receipt = bench.receipt(&answer)?;
    assert!(matches!(receipt.stage, Stage::Finished { .. } | Stage::Running { .. }), "{receipt:?}");
    assert_eq!(receipt.head, bench.log.head(1)?, "the receipt signs the head that is held");
    Ok(())
}

#[tokio::test]
async fn orders_that_overtake_each_other_pass_on_any_replica_and_a_missing_proof_is_asked_for() -> Result<()>
{
    let bench = Bench::start(2).await?;
    let (first, second, third) =
        (an_act(&bench, "one").await?, an_act(&bench, "two").await?, an_act(&bench, "three").await?);
    let early = bench.log.add(&entry(&first)?)?;
    bench.log.add(&entry(&second)?)?;
    let late = bench.log.add(&entry(&third)?)?;

    let accepted = async |replica: usize, act: &Act, evidence: Evidence| {
        let body = bench.sign_beside(&act_order(act, 30), Some(evidence))?;
        bench.stage(replica, &body, 0).await
    };
    assert!(matches!(accepted(0, &third, late).await?, Stage::Running { .. } | Stage::Finished { .. }));
    // Replica 1 has seen nothing of it, and still asks for a proof to the head that replica 0 has kept.
    let body = bench.sign_beside(&act_order(&first, 30), Some(early.clone()))?;
    assert_eq!(needs(&bench.send(1, &body, 0).await?)?, 3);
    let mut older = early;
    older.consistency.push(bench.log.growth(1, 3)?);
    assert!(matches!(accepted(1, &first, older).await?, Stage::Running { .. } | Stage::Finished { .. }));
    // One more entry, proven from the newest head only.
    bench.log.add(b"an entry of somebody else")?;
    let mut newer = bench.log.evidence(1, 4)?;
    newer.consistency.retain(|proof| proof.from == 3);
    assert!(matches!(accepted(0, &second, newer).await?, Stage::Running { .. } | Stage::Finished { .. }));
    let kept = bench.query("select size from ledger.heads order by size").await?;
    let kept: Vec<i64> = kept.iter().map(|row| row.get(0)).collect();
    assert_eq!(kept, [0, 3, 4], "a head that others have grown from is not kept twice");
    Ok(())
}

#[tokio::test]
async fn of_two_histories_only_one_is_believed_and_then_nothing_is_begun_before_a_person_has_acted()
-> Result<()> {
    let bench = Bench::start(2).await?;
    let (first, second) = (an_act(&bench, "one").await?, an_act(&bench, "two").await?);
    let other_history = bench.log.fork();
    let sound = bench.log.add(&entry(&first)?)?;
    let forged = other_history.add(&entry(&second)?)?;

    let body = bench.sign_beside(&act_order(&first, 30), Some(sound))?;
    bench.finished(0, &body).await?;
    // Signed by the log's own key, and of another history: whichever replica it is shown to.
    let answer = bench.send(1, &bench.sign_beside(&act_order(&second, 30), Some(forged.clone()))?, 0).await?;
    assert_eq!((answer.status, answer.code().as_str()), (409, "log-forked"));
    bench.expect_rows(second.action_id, &[]).await?;

    // From here on also what belongs to the history that was believed first is not begun, on no replica, and
    // not after a restart; what has ended is still told, and targets are still looked at.
    let third = an_act(&bench, "three").await?;
    for replica in [0, 1] {
        bench.restart(replica).await?;
        let answer = bench.send(replica, &bench.sign(&act_order(&third, 30))?, 0).await?;
        assert_eq!(answer.code(), "log-forked");
        assert!(bench.page(replica, "/metrics").await?.contains("log_forked 1"));
    }
    assert!(matches!(bench.stage(0, &body, 0).await?, Stage::Finished { .. }));
    assert!(bench.writes(second.action_id)?.is_empty() && bench.writes(third.action_id)?.is_empty());
    let forks = bench.query("select kept_note, presented_note from ledger.forks").await?;
    assert_eq!(forks[0].get::<String, _>(0), bench.log.checkpoint(1)?, "both notes are kept");
    assert_eq!(forks[0].get::<String, _>(1), forged.checkpoint);
    Ok(())
}

#[tokio::test]
async fn an_executor_follows_the_log_without_orders_and_believes_no_checkpoint_that_is_not_proven()
-> Result<()> {
    let bench = Bench::start(1).await?;
    for number in 0..5 {
        bench.log.add(format!("entry {number}").as_bytes())?;
    }
    let follow = async |checkpoint: String, consistency| {
        let follow = Instruction::Follow(Follow { checkpoint, consistency });
        bench.send(0, &bench.sign(&order(follow, 30))?, 0).await
    };
    let receipt = bench.receipt(&follow(bench.log.checkpoint(3)?, Vec::new()).await?)?;
    assert_eq!((receipt.stage, receipt.head), (Stage::Followed, bench.log.head(3)?));
    assert_eq!(needs(&follow(bench.log.checkpoint(5)?, Vec::new()).await?)?, 3);
    let receipt = bench.receipt(&follow(bench.log.checkpoint(5)?, vec![bench.log.growth(3, 5)?]).await?)?;
    assert_eq!(receipt.head, bench.log.head(5)?);
    assert!(bench.page(0, "/metrics").await?.contains("log_head_entries 5"));

    // A proof that is wrong says that there are two histories.
    let forged = bench.log.fork();
    forged.add(b"one")?;
    bench.log.add(b"two")?;
    let answer = follow(forged.checkpoint(6)?, vec![bench.log.growth(5, 6)?]).await?;
    assert_eq!(answer.code(), "log-forked");
    Ok(())
}
