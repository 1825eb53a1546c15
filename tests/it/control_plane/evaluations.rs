//! Bare questions that many ask at once: policies change as a whole, commits are shared, and what fails
//! fails alone.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use aegis_tests::callers::{Answer, Caller};
use aegis_tests::eventually::eventually;
use aegis_tests::stack::{Stack, StackOptions};
use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection, Row, raw_sql};
use tokio::task::JoinSet;

use super::log::entries;

const PATH: &str = "/api/v1/policies/heal";
const EVALUATE: &str = "/api/v1/policy/evaluate";
const TOGETHER: usize = 32;
/// Versions of the policy that changes while it is asked.
const VERSIONS: u32 = 12;
const WITHIN: Duration = Duration::from_secs(120);

fn question() -> Value {
    json!({ "action": "restart", "resource": "k8s/local/shop/Deployment/web" })
}

/// Two rules that always apply together, and say of which version they are.
fn policy(version: u32) -> Value {
    let rule = |id: &str| json!({ "id": id, "effect": "ALLOW", "reason": format!("version {version}"), "match": { "actions": ["restart"] } });
    json!({ "schema": "aegis.policy/v1", "name": "heal", "rules": [rule("left"), rule("right")] })
}

/// Asks until the answer is not "come again": a busy machine may not get to it in time.
async fn ask(caller: &Caller) -> Result<Value> {
    let until = Instant::now() + WITHIN;
    loop {
        let answer = caller.post(EVALUATE, &question()).await?;
        if answer.status != 503 || Instant::now() > until {
            return Ok(answer.expect(200)?.body);
        }
    }
}

async fn ask_together(caller: &Caller) -> Result<Vec<Value>> {
    let mut asking = JoinSet::new();
    for _ in 0..TOGETHER {
        let caller = caller.clone();
        asking.spawn(async move { ask(&caller).await });
    }
    asking.join_all().await.into_iter().collect()
}

fn version_of(answer: &Value) -> Result<u64> {
    let versions: BTreeSet<_> =
        answer["rules"].as_array().into_iter().flatten().map(|rule| rule["version"].as_u64()).collect();
    ensure!(
        versions.len() == 1 && answer["rules"].as_array().is_some_and(|rules| rules.len() == 2),
        "mixed: {answer}"
    );
    let version = versions.first().copied().flatten().context("a rule has a version")?;
    ensure!(answer["reason"] == format!("version {version}"), "{answer}");
    Ok(version)
}

#[tokio::test]
async fn an_answer_never_mixes_two_versions_and_the_next_question_sees_what_was_activated() -> Result<()> {
    let stack = Stack::start(StackOptions { control_planes: 2, ..StackOptions::default() }).await?;
    let (admin, client) = (stack.admin()?, stack.client()?);
    let callers = [client.clone(), client.at(stack.control_plane(1).url())];
    admin.activate_policy(&policy(1)).await?;

    let mut asking = JoinSet::new();
    for caller in callers.iter().cycle().take(8) {
        let caller = caller.clone();
        asking.spawn(async move {
            let mut seen = 0;
            while seen < u64::from(VERSIONS) {
                let version = version_of(&ask(&caller).await?)?;
                ensure!(version >= seen, "version {version} after {seen}");
                seen = version;
            }
            anyhow::Ok(())
        });
    }
    for version in 2..=VERSIONS {
        admin.activate_policy(&policy(version)).await?;
        for caller in &callers {
            assert_eq!(version_of(&ask(caller).await?)?, u64::from(version), "activated before it was asked");
        }
    }
    asking.join_all().await.into_iter().collect::<Result<Vec<()>>>()?;

    // The other way too: what stood there before is not what is kept.
    admin.post(&format!("{PATH}/activate"), &json!({ "version": 1 })).await?.expect(200)?;
    for caller in &callers {
        let answer = ask(caller).await?;
        assert_eq!(version_of(&answer)?, 1);
        let id = answer["decisionId"].as_str().context("a decision has an id")?;
        let stored = client.get(&format!("/api/v1/decisions/{id}")).await?.expect(200)?.body;
        assert_eq!(stored["policySet"][0]["version"], 1, "{stored}");
    }
    Ok(())
}

/// One row with one number, as the database's owner sees it.
async fn count(stack: &Stack, sql: &'static str) -> Result<i64> {
    let mut connection = PgConnection::connect(&stack.control_plane_database().superuser_url).await?;
    let row = raw_sql(sql).fetch_one(&mut connection).await?;
    connection.close().await?;
    Ok(row.try_get(0)?)
}

#[tokio::test]
async fn questions_that_come_together_share_commits_and_each_has_its_entry() -> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    stack.allow_everything().await?;
    let (admin, client) = (stack.admin()?, stack.client()?);
    let mut asked = BTreeSet::new();
    eventually("two questions share a commit", WITHIN, async || {
        for answer in ask_together(&client).await? {
            let id = answer["decisionId"].as_str().context("a decision has an id")?;
            ensure!(asked.insert(id.to_owned()), "two questions have one decision");
        }
        let transactions = count(&stack, "select count(distinct xmin::text) from decisions").await?;
        let decisions = count(&stack, "select count(*) from decisions").await?;
        Ok((transactions < decisions).then_some(()))
    })
    .await?;
    let entries = entries(&admin, "kind=decision.made").await?;
    let recorded = entries.iter().filter_map(|entry| entry["data"]["decisionId"].as_str().map(str::to_owned));
    let recorded: BTreeSet<String> = recorded.collect();
    assert!(asked.is_subset(&recorded), "an answer was given without its entry");
    let unproven = "select count(*) from decisions d where not exists (select from audit.recorded e \
        where e.id = d.entry_id and position(encode(sha256(d.body), 'hex') in convert_from(e.body, 'UTF8')) > 0)";
    assert_eq!(count(&stack, unproven).await?, 0, "an entry that does not hold its decision's digest");
    Ok(())
}

#[tokio::test]
async fn what_is_asked_together_with_a_replayed_or_a_held_nonce_is_answered() -> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    stack.allow_everything().await?;
    let client = stack.client()?;
    let with_nonce =
        |nonce: &str| client.request(Method::POST, EVALUATE).json(&question()).nonce(nonce).finish();
    let first = with_nonce("replayed-replayed-replayed-0")?;
    first.send().await?.expect(200)?;
    // Somebody else is about to use this one up, and takes their time.
    let held = with_nonce("held-held-held-held-held-held-0")?;
    let mut holder = PgConnection::connect(&stack.control_plane_database().superuser_url).await?;
    let key_id = "(select key_id from nonces where nonce = 'replayed-replayed-replayed-0')";
    let hold =
        format!("begin; insert into nonces values ({key_id}, 'held-held-held-held-held-held-0', now())");
    raw_sql(sqlx::AssertSqlSafe(hold)).execute(&mut holder).await?;

    let replayed = tokio::spawn(async move { first.send().await });
    let waiting = tokio::spawn(async move { held.send().await });
    let answers = ask_together(&client).await?;
    assert_eq!(answers.len(), TOGETHER);
    assert_eq!(replayed.await??.code(), "nonce-replayed");
    let answer: Answer = waiting.await??;
    assert!(answer.status >= 400, "a nonce was used twice: {}", answer.text);

    raw_sql("rollback").execute(&mut holder).await?;
    holder.close().await?;
    with_nonce("held-held-held-held-held-held-0")?.send().await?.expect(200)?;
    Ok(())
}
