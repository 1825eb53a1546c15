//! A database that is away or silent: the caller is told in time, and told the truth.

use std::time::{Duration, Instant};

use aegis_tests::callers::Answer;
use aegis_tests::cluster::Cluster;
use aegis_tests::database::{Database, Server, execute};
use aegis_tests::eventually::eventually;
use aegis_tests::stack::{Stack, StackOptions};
use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::json;

use super::log::{actions, entries};

/// Longest any request may take while the database does not answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// A stack whose database server nobody shares, so that it can be broken.
async fn stack() -> Result<Stack> {
    let stack =
        Stack::start_on(Cluster::shared().await?, Server::start().await?, StackOptions::default()).await?;
    stack.allow_everything().await?;
    Ok(stack)
}

async fn is_told_in_time(stack: &Stack) -> Result<()> {
    let (client, admin) = (stack.client()?, stack.admin()?);
    let action = stack.action("restart", "Deployment", "absent", &json!({}));
    let question = json!({ "action": "restart", "resource": "k8s/local/shop/Deployment/web" });
    let requests = [
        client
            .request(Method::POST, "/api/v1/actions")
            .header("idempotency-key", "away")
            .json(&action)
            .finish()?,
        admin
            .request(Method::POST, "/api/v1/actions")
            .header("idempotency-key", "away")
            .json(&action)
            .finish()?,
        client.request(Method::POST, "/api/v1/policy/evaluate").json(&question).finish()?,
        admin.request(Method::POST, "/api/v1/policies/allow-everything/deactivate").finish()?,
        admin.request(Method::GET, "/api/v1/actions").finish()?,
    ];
    for request in requests {
        let started = Instant::now();
        let answer: Answer = request.send().await?;
        let url = &request.url;
        assert_eq!((answer.status, answer.code()), (503, "audit-unavailable"), "{url}: {}", answer.text);
        assert!(started.elapsed() < ANSWER_WITHIN, "{url} took {:?}", started.elapsed());
    }
    let anonymous = stack.anonymous()?;
    anonymous.get("/health/ping").await?.expect(200)?;
    anonymous.get("/health/ready").await?.expect(503)?;
    let health = anonymous.get("/api/v1/health").await?.expect(503)?.body;
    assert_eq!(health["postgres"]["status"], "down");
    Ok(())
}

async fn works_again(stack: &Stack) -> Result<()> {
    eventually("the control plane is ready again", Duration::from_secs(60), || async {
        let answer = stack.anonymous()?.get("/health/ready").await?;
        ensure!(answer.status == 200, "{}", answer.text);
        Ok(Some(()))
    })
    .await?;
    assert_eq!(actions(stack).await?, 0, "nothing was recorded while it was away");
    assert_eq!(entries(&stack.admin()?, "kind=action.requested").await?.len(), 0);
    let action = stack.action("restart", "Deployment", "absent", &json!({}));
    let refused = stack.client()?.ask_with_key("away", &action, 10).await?.expect(202)?.body;
    assert_eq!(refused["outcome"]["code"], "target-absent");
    Ok(())
}

#[tokio::test]
async fn a_silent_database_is_told_in_time_and_nothing_is_done() -> Result<()> {
    let stack = stack().await?;
    stack.server().process().stop()?;
    is_told_in_time(&stack).await?;
    stack.server().process().cont()?;
    works_again(&stack).await
}

#[tokio::test]
async fn a_killed_database_is_told_in_time_and_nothing_is_done() -> Result<()> {
    let stack = stack().await?;
    stack.server().process().kill()?;
    is_told_in_time(&stack).await?;
    stack.server().restart().await?;
    works_again(&stack).await
}

/// Ways in which a running server lets the control plane in no more, each with its way back. `DATABASE` stands for
/// the database's name.
const SHUT: [(&str, &str); 5] = [
    ("alter database DATABASE connection limit 0", "alter database DATABASE connection limit -1"),
    ("alter database DATABASE allow_connections false", "alter database DATABASE allow_connections true"),
    (
        "revoke connect on database DATABASE from aegis_control_plane",
        "grant connect on database DATABASE to aegis_control_plane",
    ),
    ("alter role aegis_control_plane nologin", "alter role aegis_control_plane login"),
    ("alter database DATABASE rename to elsewhere", "alter database elsewhere rename to DATABASE"),
];
/// Ends every session in the database, and fails while there is one.
const END_SESSIONS: &str = "
    do $$ begin
        perform pg_terminate_backend(pid) from pg_stat_activity where usename = 'aegis_control_plane';
        assert not exists (select from pg_stat_activity where usename = 'aegis_control_plane');
    end $$";

#[tokio::test]
async fn a_database_that_lets_nobody_in_is_told_in_time_and_nothing_is_done() -> Result<()> {
    let stack = stack().await?;
    let Database { name, superuser_url, .. } = stack.control_plane_database();
    let elsewhere = superuser_url.replacen(&format!("/{name}"), "/postgres", 1);
    let run = async |sql: &str| execute(&elsewhere, sql.replace("DATABASE", name)).await;
    for (shut, open) in SHUT {
        // A database is renamed only while nobody is in it.
        eventually("the database being shut", Duration::from_secs(30), async || {
            run(END_SESSIONS).await?;
            run(shut).await.map(Some)
        })
        .await?;
        eventually("nobody being in the database", Duration::from_secs(30), async || {
            run(END_SESSIONS).await.map(Some)
        })
        .await?;
        is_told_in_time(&stack).await.context(shut)?;
        run(open).await?;
    }
    works_again(&stack).await
}

/// Makes every commit that adds an action take a second.
const SLOW_COMMIT: &str = "
    create function slow_commit() returns trigger language plpgsql as $$ begin perform pg_sleep(3); return null; end $$;
    create constraint trigger slow_commit after insert on actions
        deferrable initially deferred for each row execute function slow_commit()";
/// Fails unless the slow commit is under way; others may be on a slow disk.
const IS_COMMITTING: &str = "
    do $$ begin
        if not exists (select from pg_stat_activity where usename = 'aegis_control_plane'
                       and datname = current_database() and wait_event = 'PgSleep' and upper(query) = 'COMMIT')
        then raise exception 'no commit is under way'; end if;
    end $$";

#[tokio::test]
async fn a_commit_that_is_not_answered_is_called_in_doubt_and_the_same_key_tells_the_truth() -> Result<()> {
    commit_in_doubt(false).await
}

#[tokio::test]
async fn a_commit_whose_connection_is_cut_is_called_in_doubt_and_the_same_key_tells_the_truth() -> Result<()>
{
    commit_in_doubt(true).await
}

async fn commit_in_doubt(is_cut: bool) -> Result<()> {
    let stack = stack().await?;
    let database = &stack.control_plane_database().superuser_url;
    execute(database, SLOW_COMMIT.to_owned()).await?;
    let action = stack.action("restart", "Deployment", "absent", &json!({}));
    let client = stack.client()?;
    let request = client.request(Method::POST, "/api/v1/actions").header("idempotency-key", "doubt");
    let request = request.json(&action).finish()?;
    let asking = tokio::spawn(async move { request.send().await });
    eventually("a commit is under way", Duration::from_secs(10), async || {
        execute(database, IS_COMMITTING.to_owned()).await.map(Some)
    })
    .await?;
    let server = stack.server();
    if is_cut {
        server.process().kill()?;
    } else {
        server.process().stop()?;
    }
    let in_doubt = asking.await??;
    if is_cut {
        server.restart().await?;
    } else {
        server.process().cont()?;
    }
    assert_eq!((in_doubt.status, in_doubt.code()), (503, "outcome-unknown"), "{}", in_doubt.text);
    let id = in_doubt.body["actionId"].as_str().context("the action is named")?;

    execute(database, "drop trigger slow_commit on actions".to_owned()).await?;
    let told = eventually("the key being answered", Duration::from_secs(60), async || {
        Ok(Some(client.ask_with_key("doubt", &action, 10).await?.expect(202)?.body))
    })
    .await?;
    let recorded = client.get(&format!("/api/v1/actions/{id}")).await?.status == 200;
    assert_eq!(recorded, told["id"] == id, "the key names the action that was recorded, if it was");
    assert_eq!(actions(&stack).await?, 1, "whatever happened, there is one action");
    Ok(())
}
