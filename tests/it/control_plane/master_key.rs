//! Another master key: what is stored stays what it is, a killed change is none, and nobody waits for it.

use std::path::Path;
use std::time::Duration;

use aegis_tests::eventually::{eventually, until};
use aegis_tests::paths::{binary, write_private};
use aegis_tests::process::{Launch, Process};
use aegis_tests::stack::{Stack, StackOptions};
use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection, Row, raw_sql};

use super::log::entries;

/// Machines may be slow; what is waited for takes milliseconds.
const WITHIN: Duration = Duration::from_secs(60);

/// Settings that name the master key's file, and that of the one before.
fn keys(current: &Path, previous: Option<&Path>) -> Vec<(&'static str, String)> {
    let shown = |path: &Path| path.display().to_string();
    let mut settings = vec![("MASTER_KEY_FILE", shown(current))];
    settings.extend(previous.map(|path| ("MASTER_KEY_PREVIOUS_FILE", shown(path))));
    settings
}

/// The root key as it is stored.
async fn stored(stack: &Stack) -> Result<Option<Vec<u8>>> {
    let mut connection = PgConnection::connect(&stack.control_plane_database().superuser_url).await?;
    let row = raw_sql("select sealed_key from root_key").fetch_optional(&mut connection).await?;
    row.map(|row| Ok(row.try_get(0)?)).transpose()
}

/// Begins to change the master key, and kills that when its row is written and not yet committed.
async fn kill_half_done(stack: &Stack, settings: &[(&'static str, String)], folder: &Path) -> Result<()> {
    let mut holder = PgConnection::connect(&stack.control_plane_database().superuser_url).await?;
    raw_sql("begin; lock table audit.pending in share row exclusive mode").execute(&mut holder).await?;
    let mut launch = Launch::new(binary("aegis-control-plane")?)
        .arg("change-master-key")
        .env("DATABASE_URL", &stack.control_plane_database().url);
    for (name, value) in settings {
        launch = launch.env(name, value);
    }
    let half = Process::start("change-master-key", launch, &folder.join("killed.log"))?;
    let waits = "select exists (select from pg_locks join pg_class on pg_class.oid = relation \
                 where relname = 'root_key' and mode = 'RowExclusiveLock' and granted)";
    until("the row being written", WITHIN, async || {
        Ok(raw_sql(waits).fetch_one(&mut holder).await?.try_get::<bool, _>(0)?)
    })
    .await?;
    half.kill()?;
    raw_sql("rollback").execute(&mut holder).await?;
    Ok(())
}

/// Asks and is answered, and what was stored under the first key is told as it was.
async fn check(stack: &Stack, index: usize, action: &str) -> Result<()> {
    let url = stack.control_plane(index).url();
    stack.client()?.at(url).get("/api/v1/whoami").await?.expect(200)?;
    let story = stack.admin()?.at(url).get(&format!("/api/v1/actions/{action}/story")).await?.expect(200)?;
    assert!(story.text.contains("a test asks for it"), "its reason is not erased: {}", story.text);
    Ok(())
}

#[tokio::test]
async fn the_master_key_is_changed_as_a_whole_or_not_at_all_and_what_is_stored_stays_what_it_is() -> Result<()>
{
    let stack = Stack::start(StackOptions { control_planes: 2, ..StackOptions::default() }).await?;
    stack.allow_everything().await?;
    let asked = stack.client()?.ask(&stack.action("restart", "Deployment", "absent", &json!({})), 10).await?;
    let action = asked.expect(202)?.body["id"].as_str().context("an id")?.to_owned();
    let folder = tempfile::tempdir()?;
    let file = |name: &str, text: &str| -> Result<_> {
        let path = folder.path().join(name);
        write_private(&path, text)?;
        Ok(path)
    };
    let first = file("first", &stack.master_key()?)?;
    let second = file("second", &STANDARD.encode([2; 32]))?;
    let third = file("third", &STANDARD.encode([3; 32]))?;
    let log_key = stack.command(["log-key"]).await?;
    let part = stack.control_plane(0);
    let change = async |settings: &[(&'static str, String)]| -> Result<Value> {
        let printed = part.command_with(settings.iter().cloned(), ["change-master-key"]).await?;
        Ok(serde_json::from_str::<Value>(&printed)?["changed"].clone())
    };

    // A key that opens nothing is not kept as the one before.
    assert!(change(&keys(&second, Some(&third))).await.is_err());
    assert!(change(&keys(&second, None)).await.is_err());
    assert_eq!(stored(&stack).await?, None);

    for (before, after) in [(&first, &second), (&second, &third)] {
        let both = keys(after, Some(before));
        let row = stored(&stack).await?;
        kill_half_done(&stack, &both, folder.path()).await?;
        assert_eq!(stored(&stack).await?, row, "a killed change is none");
        // Both replicas are given both keys, one after the other; whoever has the key before alone goes on.
        stack.control_plane(1).restart_with(both.clone()).await?;
        check(&stack, 0, &action).await?;
        check(&stack, 1, &action).await?;
        assert_eq!((change(&both).await?, change(&both).await?), (json!(true), json!(false)));
        check(&stack, 0, &action).await?;
        part.restart_with(both.clone()).await?;
        check(&stack, 0, &action).await?;
        // The key before is needed no more, and good for nothing.
        for index in [0, 1] {
            stack.control_plane(index).restart_with(keys(after, None)).await?;
            check(&stack, index, &action).await?;
        }
        let refused = part.command_with(keys(before, None), ["log-key"]).await;
        let refused = format!("{:#}", refused.err().context("the key before opens nothing")?);
        assert!(refused.contains("MASTER_KEY") && refused.contains("does not open"), "{refused}");
        assert_eq!(part.command_with(keys(after, None), ["log-key"]).await?, log_key, "the log has its key");
    }

    // Under the third key, everything is asked, decided and recorded as before.
    let asked = stack.client()?.ask(&stack.action("restart", "Deployment", "absent", &json!({})), 10).await?;
    asked.expect(202)?;
    let changes = entries(&stack.admin()?, "kind=master-key.changed").await?;
    let said: Vec<_> = changes.iter().map(|entry| (&entry["principal"], &entry["data"]["isFirst"])).collect();
    let operator = json!("operator:command-line");
    assert_eq!(said, [(&operator, &json!(true)), (&operator, &json!(false))]);
    let place = eventually("its place in the log", WITHIN, async || {
        let id = changes[1]["id"].as_str().context("an id")?;
        let proof = stack.admin()?.get(&format!("/api/v1/audit/entries/{id}/evidence")).await?;
        Ok((proof.status == 200).then_some(proof))
    });
    place.await?;
    Ok(())
}
