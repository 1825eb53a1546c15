//! The oldest entries leave the database once somebody proves to have them; what was proven stays provable.

use aegis_tests::callers::Caller;
use aegis_tests::database::execute;
use aegis_tests::stack::{Stack, StackOptions};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, raw_sql};

use super::auditor::{Auditor, codes};
use super::exports::ask;
use super::settled;
use crate::actions::scene::{Scene, expect, id_of};

/// Entries of a partition here; a million would take minutes.
const WIDTH: i64 = 64;

/// Makes partitions smaller, before the first one is full.
async fn make_partitions_small(stack: &Stack) -> Result<()> {
    let superuser = &stack.control_plane_database().superuser_url;
    let mut conn = PgConnection::connect(superuser).await?;
    let definition =
        raw_sql("select pg_get_functiondef('audit.make_partition'::regproc)").fetch_one(&mut conn).await?;
    let definition: String = definition.try_get(0)?;
    ensure!(definition.contains("1048576"), "the width stands elsewhere");
    let small = definition.replace("1048576", &WIDTH.to_string());
    let sql = format!(
        "begin; alter table audit.entries detach partition audit.entries_from_0; \
         alter table audit.entries attach partition audit.entries_from_0 for values from (0) to ({WIDTH}); {small}; commit"
    );
    raw_sql(AssertSqlSafe(sql)).execute(&mut conn).await?;
    Ok(conn.close().await?)
}

/// Runs the command as the operator; what it printed.
async fn detach(stack: &Stack, auditor: &Auditor, bundle: &str) -> Result<Value> {
    let owner = [("DATABASE_OWNER_URL", stack.control_plane_database().owner_url.clone())];
    let path = auditor.at(bundle);
    let args = ["detach-entries".as_ref(), "--bundle".as_ref(), path.as_os_str()];
    Ok(serde_json::from_str(&stack.control_plane(0).command_with(owner, args).await?)?)
}

async fn expect_refused(stack: &Stack, auditor: &Auditor, bundle: &str, because: &str) -> Result<()> {
    match detach(stack, auditor, bundle).await {
        Ok(printed) => anyhow::bail!("{bundle} was taken: {printed}"),
        Err(error) => {
            let told = format!("{error:#}");
            ensure!(told.contains(because), "{bundle}: {told}");
            Ok(())
        }
    }
}

async fn newest_of(auditor: &Caller, kind: &str) -> Result<Value> {
    let page = auditor.get(&format!("/api/v1/audit/entries?kind={kind}&limit=1")).await?.expect(200)?.body;
    Ok(page["items"][0].clone())
}

#[tokio::test]
async fn entries_leave_only_after_they_were_proven_to_be_kept_and_all_proofs_stay_good() -> Result<()> {
    let scene = Scene::open(StackOptions::default()).await?;
    let stack = &scene.stack;
    make_partitions_small(stack).await?;
    scene.deploy_small(&["web"]).await?;
    let action = id_of(&scene.carry_out(&scene.restart("web")).await?)?;
    ask(&scene.client, usize::try_from(WIDTH)? * 3).await?;
    settled(stack).await?;
    let auditor = Auditor::of(stack).await?;
    auditor.export("action", &["--action-id", &action]).await?;
    auditor.export("short", &["--first", "0", "--end", "63"]).await?;
    let lines = auditor.export("old", &["--first", "0", "--end", "64"]).await?;
    let mut changed = lines.clone();
    changed[20][30] ^= 1;
    std::fs::write(auditor.at("changed"), changed.join(&b'\n'))?;

    expect_refused(stack, &auditor, "action", "it holds a selection; export --first 0 --end 64").await?;
    expect_refused(stack, &auditor, "short", "up to 63; export --first 0 --end 64").await?;
    expect_refused(stack, &auditor, "changed", "proves nothing").await?;
    let application = &stack.control_plane_database().url;
    for not_its_own in ["select audit.detach_partition(0)", "drop table audit.entries_from_0"] {
        ensure!(execute(application, not_its_own.to_owned()).await.is_err(), "{not_its_own}");
    }

    let detached = detach(stack, &auditor, "old").await?;
    assert_eq!((&detached["first"], &detached["end"]), (&json!(0), &json!(64)));
    let recorded = newest_of(&scene.admin, "log.entries-detached").await?;
    assert_eq!(recorded["data"], detached, "it is an entry");
    execute(&stack.control_plane_database().owner_url, "drop table audit.entries_from_0".to_owned()).await?;

    // What counts still counts, also for a process that knows nothing yet.
    stack.control_plane(0).restart().await?;
    expect(&scene.carry_out(&scene.scale("web", 2)).await?, "succeeded", "rollout-complete");
    let version = newest_of(&scene.admin, "policy.version-stored").await?;
    let version = version["id"].as_str().context("the version that decides")?;
    scene.admin.get(&format!("/api/v1/audit/entries/{version}/evidence")).await?.expect(200)?;

    // What was taken away is proven, and so is that the log goes on from it.
    for bundle in ["old", "action"] {
        assert_eq!(auditor.verify(&[bundle]).await?.0, 0, "{bundle}");
    }
    std::fs::write(auditor.at("remembered"), manifest_checkpoint(&lines[0])?)?;
    let (code, said) = auditor.verify_live(&["--remember", "remembered"]).await?;
    assert_eq!(code, 0, "{said}");
    let told = auditor.refused_export("none", &["--first", "0"]).await?;
    ensure!(told.contains("entries before 64 were detached"), "{told}");
    auditor.export("rest", &[]).await?;
    let (code, said) = auditor.verify(&["rest", "--remember", "remembered"]).await?;
    assert_eq!(code, 0, "{said}");
    assert!(codes(&said, "proven").contains(&"log-unchanged".to_owned()), "{said}");

    detach(stack, &auditor, "rest").await?;
    expect_refused(stack, &auditor, "old", "export --first 128 --end 192").await?;
    Ok(())
}

fn manifest_checkpoint(line: &[u8]) -> Result<String> {
    let manifest: Value = serde_json::from_slice(line)?;
    Ok(manifest["manifest"]["checkpoint"].as_str().context("a manifest")?.to_owned())
}
