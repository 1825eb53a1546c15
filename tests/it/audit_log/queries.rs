//! The views for people who ask in SQL, and what the auditor's role lets them do.

use aegis_tests::database::{Database, execute};
use aegis_tests::paths::{checkout, random_name};
use aegis_tests::stack::StackOptions;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, raw_sql};

use super::settled;
use crate::actions::scene::{ORDERED, Scene, expect};

/// Makes the role, and lets it in as the page says.
async fn let_auditor_in(database: &Database) -> Result<String> {
    let password = random_name(32);
    let role = format!(
        "do $$ begin create role auditor; exception when duplicate_object then null; end $$; \
         alter role auditor login password '{password}'"
    );
    execute(&database.superuser_url, role).await?;
    let script = std::fs::read_to_string(checkout().join("docs/auditor.sql"))?;
    let page = std::fs::read_to_string(checkout().join("docs/audit-log.md"))?;
    assert!(page.contains(&format!("```sql\n{script}```")), "docs/auditor.sql differs from the page");
    execute(&database.owner_url, script).await?;
    let (_, place) = database.superuser_url.split_once('@').context("credentials")?;
    Ok(format!("postgres://auditor:{password}@{place}"))
}

async fn rows(conn: &mut PgConnection, sql: &str) -> Result<Vec<Value>> {
    let sql = format!("select row_to_json(found)::text from ({sql}) found");
    let rows = raw_sql(AssertSqlSafe(sql)).fetch_all(conn).await?;
    rows.iter().map(|row| Ok(serde_json::from_str(row.try_get(0)?)?)).collect()
}

#[tokio::test]
async fn the_views_tell_in_sql_what_the_log_holds_and_auditors_may_do_nothing_else() -> Result<()> {
    let scene = Scene::open(StackOptions::default()).await?;
    scene.deploy_small(&["web"]).await?;
    let done = scene.carry_out(&scene.scale("web", 2)).await?;
    expect(&done, "succeeded", "rollout-complete");
    let question = json!({
        "action": "restart", "resource": "k8s/local/shop/Deployment/web", "metadata": { "note": "a\u{0}b" },
    });
    let asked = scene.client.post("/api/v1/policy/evaluate", &question).await?;
    settled(&scene.stack).await?;
    let database = scene.stack.control_plane_database();
    let url = let_auditor_in(database).await?;
    let mut auditor = PgConnection::connect(&url).await?;

    let of_action = format!(
        "select * from action_audit_logs where action_id = '{}' order by index",
        done["id"].as_str().context("an id")?
    );
    let mut steps = rows(&mut auditor, &of_action).await?;
    steps.retain(|step| step["status"] != "running");
    let phases: Vec<_> = steps.iter().filter_map(|step| step["phase"].as_str()).collect();
    assert_eq!(phases, ORDERED);
    for step in &steps {
        assert_eq!((&step["action_type"], &step["target_name"]), (&json!("scale"), &json!("web")), "{step}");
        assert_eq!(step["trace_id"].as_str().map(str::len), Some(32), "{step}");
    }
    let last = steps.last().context("an end")?;
    assert_eq!((&last["status"], &last["code"]), (&json!("succeeded"), &done["outcome"]["code"]));

    let decided = format!(
        "select * from policy_audit_logs where decision_id = '{}'",
        done["decisionId"].as_str().context("an id")?
    );
    let decided = rows(&mut auditor, &decided).await?;
    let principal = &scene.stack.registered_client().principal;
    assert_eq!((&decided[0]["decision"], &decided[0]["subject_id"]), (&json!("ALLOW"), &json!(principal)));
    assert_eq!(decided[0]["params"], json!({ "replicas": 2 }));
    let matched = &decided[0]["matched_policies"][0];
    assert_eq!((&matched["policy"], &matched["rule"]), (&json!("allow-everything"), &json!("everything")));
    // What JSON can say and SQL cannot breaks no view.
    assert!(matches!(asked.status, 200 | 400 | 422), "{}", asked.text);
    let all = rows(&mut auditor, "select decision, reason from policy_audit_logs").await?;
    assert_eq!(all.len(), if asked.status == 200 { 2 } else { 1 });

    let events =
        rows(&mut auditor, "select index, id, type, details from audit_events order by index").await?;
    let log = settled(&scene.stack).await?;
    assert_eq!(events.len(), log.entries.len());
    for (event, (index, id, body)) in events.iter().zip(&log.entries) {
        let entry: Value = serde_json::from_slice(body)?;
        assert_eq!((&event["index"], &event["id"]), (&json!(index), &json!(id)));
        assert_eq!((&event["type"], &event["details"]), (&entry["kind"], &entry["data"]));
    }

    for statement in [
        "select * from users",
        "select * from audit.texts",
        "select * from audit.entries",
        "select * from audit.pending",
        "select audit.begin_epoch()",
        "insert into audit.pending (id, kind, at, principal, body) values (gen_random_uuid(), 'x', now(), 'x', '')",
        "insert into decisions select * from decisions",
        "update audit_events set type = ''",
        "delete from action_audit_logs",
        "create table mine (x integer)",
    ] {
        assert!(execute(&url, statement.to_owned()).await.is_err(), "{statement}");
    }
    let integrate = "select audit.integrate(1, 0, '{}', '{}', '{}', '{}', '{}', '{}', '')";
    for statement in [
        "delete from audit.pending",
        "select * from audit.sequencer",
        "select * from audit.pending",
        "select audit.begin_epoch()",
        integrate,
        "set role aegis_sequencer; select * from decisions",
        "set role aegis_sequencer; insert into audit.checkpoints (size, epoch, note) values (0, 0, '')",
    ] {
        assert!(
            execute(&database.url, statement.to_owned()).await.is_err(),
            "{statement} as the application"
        );
    }
    execute(
        &database.url,
        "begin; set role aegis_sequencer; select audit.begin_epoch(); rollback".to_owned(),
    )
    .await?;
    Ok(())
}
