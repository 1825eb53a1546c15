//! A database that is nearly full.

use aegis_tests::callers::{Answer, Caller};
use aegis_tests::database::execute;
use aegis_tests::eventually::until;
use aegis_tests::stack::StackOptions;
use anyhow::Result;
use serde_json::json;

use crate::actions::scene::{Scene, WITHIN, expect};

/// An empty database takes a third of it.
const CAPACITY_BYTES: u32 = 32 << 20;
/// A page of 8 KiB for each row: with them it is over nine tenths.
const FILL: &str = "
    create table filler (text text);
    alter table filler alter column text set storage plain;
    insert into filler select repeat('x', 7000) from generate_series(1, 3400)";

fn expect_full(answer: &Answer) {
    assert_eq!((answer.status, answer.code()), (503, "database-full"), "{}", answer.text);
}

async fn until_postgres_is(scene: &Scene, status: &str) -> Result<()> {
    let anonymous = scene.stack.anonymous()?;
    until(&format!("the database being called {status}"), WITHIN, async || {
        Ok(anonymous.get("/api/v1/health").await?.expect(200)?.body["postgres"]["status"] == status)
    })
    .await
}

async fn actions(caller: &Caller) -> Result<Option<usize>> {
    let page = caller.get("/api/v1/actions").await?.expect(200)?.body;
    Ok(page["items"].as_array().map(Vec::len))
}

#[tokio::test]
async fn at_nine_tenths_of_its_capacity_nothing_new_is_recorded_and_all_else_goes_on() -> Result<()> {
    let settings = vec![("DATABASE_CAPACITY_BYTES".to_owned(), CAPACITY_BYTES.to_string())];
    let scene =
        Scene::open(StackOptions { control_plane_settings: settings, ..StackOptions::default() }).await?;
    let database = &scene.stack.control_plane_database().owner_url;
    let policy = scene.admin.get("/api/v1/policies/allow-everything/versions/1").await?.expect(200)?;
    let at_work = scene.occupy("web").await?;
    let scaling = scene.scale("web", 2);
    let queued = scene.client.ask_with_key("earlier", &scaling, 0).await?.expect(202)?.body;
    let withdrawn = scene.ask(&scene.scale("web", 3)).await?;
    until_postgres_is(&scene, "up").await?;

    execute(database, FILL.to_owned()).await?;
    until_postgres_is(&scene, "full").await?;
    let recorded = actions(&scene.client).await?;
    expect_full(&scene.client.ask_with_key("new", &scaling, 0).await?);
    let question = json!({ "action": "restart", "resource": "k8s/local/shop/Deployment/web" });
    expect_full(&scene.client.post("/api/v1/policy/evaluate", &question).await?);
    expect_full(&scene.admin.post("/api/v1/policies/allow-everything/deactivate", &json!({})).await?);
    let document = &policy.body["document"];
    expect_full(&scene.admin.put("/api/v1/policies/allow-everything", document, Some("\"1\"")).await?);
    assert_eq!(actions(&scene.client).await?, recorded);

    // Everything that is there can be read, retried, withdrawn and brought to its end.
    scene.stack.anonymous()?.get("/health/ready").await?.expect(200)?;
    let again = scene.client.ask_with_key("earlier", &scaling, 0).await?.expect(202)?.body;
    assert_eq!(again["id"], queued["id"]);
    let cancelled = scene.posted(&format!("/api/v1/actions/{withdrawn}/cancel")).await?.expect(200)?.body;
    expect(&cancelled, "cancelled", "cancelled");
    scene.mend("web").await?;
    let queued = queued["id"].as_str().unwrap_or_default();
    for id in [&*at_work, queued] {
        expect(&scene.ended(id).await?, "succeeded", "rollout-complete");
        scene.only_write(id)?;
    }

    execute(database, "drop table filler".to_owned()).await?;
    until_postgres_is(&scene, "up").await?;
    let action = scene.client.ask_with_key("new", &scene.scale("web", 1), 0).await?.expect(202)?.body;
    expect(&scene.ended(action["id"].as_str().unwrap_or_default()).await?, "succeeded", "rollout-complete");
    Ok(())
}
