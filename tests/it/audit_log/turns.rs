//! What the database takes from a sequencer, and what becomes of intents meanwhile.

use aegis_tests::database::execute;
use aegis_tests::eventually::until;
use aegis_tests::stack::StackOptions;
use anyhow::Result;
use serde_json::json;
use sqlx::{Connection, PgConnection, raw_sql};

use super::WITHIN;
use super::stored::{StoredLog, log_keys};
use crate::actions::scene::{Scene, WITHDRAWN, expect};

/// An order needs its intent in the log within two seconds.
const HELD: std::time::Duration = std::time::Duration::from_secs(3);

#[tokio::test]
async fn only_the_present_turn_adds_and_only_at_the_end_and_only_what_was_hashed() -> Result<()> {
    let scene = Scene::open(StackOptions::default()).await?;
    let keys = log_keys(&scene.stack).await?;
    scene.stack.control_plane(0).process().terminate(WITHIN).await?;
    let url = &scene.stack.control_plane_database().url;
    let pending = |body: &str| {
        format!(
            "insert into audit.pending (id, kind, at, principal, body) \
                 values (gen_random_uuid(), 'user.created', now(), 'x', '{body}');"
        )
    };
    execute(url, pending("{}")).await?;
    let integrate = |epoch: &str, first: &str, leaf: &str| {
        format!(
            "select audit.integrate({epoch}, {first}, (select array_agg(id order by id) from audit.waiting), \
                 (select array_agg({leaf} order by id) from audit.waiting), \
                 '{{0}}', '{{99}}', '{{0}}', array[sha256('')], 'a note')"
        )
    };
    // Reading the turn is nobody's right but the owner's.
    let superuser = &scene.stack.control_plane_database().superuser_url;
    let (epoch, size) = ("(select epoch from audit.sequencer)", "(select size from audit.sequencer)");
    for (wrong, why) in [
        (integrate(&format!("{epoch} - 1"), size, "leaf"), "an earlier turn"),
        (integrate(&format!("{epoch} + 1"), size, "leaf"), "a turn that nobody has"),
        (integrate(epoch, &format!("{size} - 1"), "leaf"), "a place that is taken"),
        (integrate(epoch, &format!("{size} + 1"), "leaf"), "a place after a gap"),
        (integrate(epoch, size, "sha256(leaf)"), "other bytes than were hashed"),
    ] {
        assert!(execute(superuser, wrong).await.is_err(), "{why}");
    }
    assert!(execute(superuser, "delete from audit.pending".to_owned()).await.is_err(), "a loss");
    let log = StoredLog::of(&scene.stack).await?;
    log.verify(&keys)?;
    assert!(log.pending > 0, "it is still waiting");
    execute(superuser, integrate(epoch, size, "leaf")).await?;
    assert_eq!(StoredLog::of(&scene.stack).await?.pending, 0, "the right one is taken");
    Ok(())
}

#[tokio::test]
async fn an_intent_that_is_not_in_the_log_within_two_seconds_is_never_ordered() -> Result<()> {
    let scene = Scene::open(StackOptions::default()).await?;
    scene.deploy_small(&["web"]).await?;
    let mut holder = PgConnection::connect(&scene.stack.control_plane_database().superuser_url).await?;
    raw_sql("begin; select from audit.sequencer for update").execute(&mut holder).await?;
    let id = scene.ask(&scene.restart_anyway("web")).await?;
    tokio::time::sleep(HELD).await;
    holder.close().await?;
    let action = scene.ended(&id).await?;
    expect(&action, "expired", "intent-not-in-log");
    scene.expect_story(&id, &WITHDRAWN).await?;
    assert!(scene.writes(&id)?.is_empty());
    // What is asked for afterwards is done.
    until("a restart in time", WITHIN, async || {
        Ok(scene.carry_out(&scene.restart_anyway("web")).await?["state"] == "succeeded")
    })
    .await
}

#[tokio::test]
async fn an_intent_that_was_exchanged_in_the_log_is_never_ordered() -> Result<()> {
    let scene = Scene::open(StackOptions::default()).await?;
    scene.deploy_small(&["api"]).await?;
    let occupied = scene.occupy("web").await?;
    let mut request = scene.scale("web", 3);
    request["deadlineSeconds"] = json!(20);
    let id = scene.ask(&request).await?;
    until("the intent being in the log", WITHIN, async || {
        let log = StoredLog::of(&scene.stack).await?;
        let bodies = log.entries.iter().map(|(_, _, body)| String::from_utf8_lossy(body));
        Ok(bodies.filter(|body| body.contains("action.intent") && body.contains(&id)).count() == 1)
    })
    .await?;
    let forge = format!(
        "set session_replication_role = replica; \
         update audit.entries set body = convert_to(replace(convert_from(body, 'UTF8'), \
             '\"replicas\":3', '\"replicas\":0'), 'UTF8') \
         where kind = 'action.intent' and action_id = '{id}'; \
         update actions set params = '{{\"replicas\": 0}}' where id = '{id}'"
    );
    execute(&scene.stack.control_plane_database().superuser_url, forge).await?;
    scene.mend("web").await?;
    scene.ended(&occupied).await?;
    let action = scene.ended(&id).await?;
    expect(&action, "expired", "deadline-passed");
    assert!(scene.writes(&id)?.is_empty());
    let log = scene.stack.control_plane(0).process().log_tail(2000);
    assert!(log.contains("an intent is not in the audit log as it was written"), "{log}");
    Ok(())
}
