//! Break-glass: an action that nothing else allows goes ahead, loudly, and somebody must look at it afterwards.

use aegis_tests::callers::Caller;
use aegis_tests::database::execute;
use aegis_tests::eventually::eventually;
use aegis_tests::paths::random_name;
use aegis_tests::stack::StackOptions;
use anyhow::{Context, Result, ensure};
use http::Method;
use serde_json::{Value, json};

use crate::actions::scene::{Scene, WITHIN, answered, id_of};
use crate::control_plane::log::metric;

/// A stack whose workloads may be restarted in an emergency, by anybody, and otherwise by nobody; a webhook is told.
async fn scene() -> Result<Scene> {
    let private = ("DANGEROUS_ALLOW_PRIVATE_WEBHOOKS".to_owned(), "true".to_owned());
    let scene =
        Scene::closed(StackOptions { control_plane_settings: vec![private], ..StackOptions::default() })
            .await?;
    scene.deploy_small(&["web", "shop"]).await?;
    let policy = json!({
        "schema": "aegis.policy/v1", "name": "emergency",
        "rules": [{
            "id": "glass", "effect": "ALLOW", "reason": "emergencies", "match": { "actions": ["restart"] },
            "breakGlass": { "reviewRole": "security", "reviewSeconds": 86_400 },
        }],
    });
    scene.admin.activate_policy(&policy).await?;
    let hook = json!({ "url": "http://127.0.0.1:9/", "events": ["review.requested"] });
    let put = scene.admin.request(Method::PUT, "/api/v1/webhooks/on-call").json(&hook).send().await?;
    put.expect(201)?;
    Ok(scene)
}

/// The reviews that somebody sees: action and role.
async fn open(person: &Caller) -> Result<Vec<(String, String)>> {
    let page = person.get("/api/v1/reviews").await?.expect(200)?.body;
    let text = |value: &Value| value.as_str().map(str::to_owned).context("a text");
    page["items"]
        .as_array()
        .context("items")?
        .iter()
        .map(|of| Ok((text(&of["actionId"])?, text(&of["role"])?)))
        .collect()
}

async fn review(person: &Caller, action: &str) -> Result<(u16, Value)> {
    let path = format!("/api/v1/actions/{action}/review");
    let answer = person.post(&path, &json!({ "comment": "the shop was down" })).await?;
    Ok((answer.status, if answer.status == 200 { answer.body } else { json!(answer.code()) }))
}

#[tokio::test]
async fn a_broken_glass_stays_listed_until_a_second_person_of_the_role_has_looked_at_it() -> Result<()> {
    let scene = scene().await?;
    let (stack, admin) = (&scene.stack, &scene.admin);
    let action = scene.carry_out(&scene.restart("web")).await?;
    assert_eq!(action["state"], "succeeded", "it is allowed at once: {action}");
    let id = id_of(&action)?;
    let story = scene.entries(&id).await?;
    let asking =
        story.iter().find(|entry| entry["kind"] == "review.requested").context("an entry that asks")?;
    assert_eq!(asking["data"]["reviews"][0]["role"], "security");
    assert_eq!(asking["data"]["reviews"][0]["rules"], json!([{ "policy": "emergency", "rule": "glass" }]));

    let (sven, stranger) =
        (stack.new_person("sven", &["security"]).await?, stack.new_person("otto", &["sre-lead"]).await?);
    let asked = [(id.clone(), "security".to_owned())];
    assert_eq!((open(admin).await?, open(&sven).await?), (asked.to_vec(), asked.to_vec()));
    assert_eq!(open(&stranger).await?, []);
    assert_eq!(review(&stranger, &id).await?, (404, json!("not-found")), "nor does it exist for them");
    assert_eq!(review(admin, &id).await?, (403, json!("not-a-reviewer")), "no role of theirs is asked");
    // Whoever answers for the client that asked is no second person, whatever their roles.
    let database = &stack.control_plane_database().superuser_url;
    let promote = "insert into user_roles (user_id, role) select distinct owner_id, 'security' from clients";
    execute(database, promote.to_owned()).await?;
    assert_eq!(review(admin, &id).await?, (403, json!("not-a-reviewer")), "it was their client");

    let (status, done) = review(&sven, &id).await?;
    assert_eq!((status, &done["roles"]), (200, &json!(["security"])), "{done}");
    assert_eq!((open(admin).await?, open(&sven).await?), (vec![], vec![]));
    assert_eq!(review(&sven, &id).await?, (409, json!("nothing-to-review")));
    let story = scene.entries(&id).await?;
    let looked =
        story.iter().find(|entry| entry["kind"] == "review.done").context("an entry that says so")?;
    assert_eq!(looked["id"], done["entryId"]);
    assert!(!looked.to_string().contains("the shop was down"), "what people write stands outside the log");

    let told = admin.get("/api/v1/webhooks/on-call/deliveries").await?.expect(200)?.body;
    assert_eq!(
        (&told["items"][0]["event"], &told["items"][0]["actionId"]),
        (&json!("review.requested"), &json!(id))
    );
    assert_eq!(told["items"].as_array().map(Vec::len), Some(1), "{told}");
    Ok(())
}

#[tokio::test]
async fn nobody_reviews_what_they_asked_for_and_what_is_late_is_counted() -> Result<()> {
    let scene = scene().await?;
    let stack = &scene.stack;
    // Nothing is written by a dry run, and nothing has to be looked at.
    let mut dry = scene.restart("web");
    dry["dryRun"] = json!(true);
    assert_eq!(scene.carry_out(&dry).await?["state"], "succeeded");
    assert_eq!(open(&scene.admin).await?, []);

    let petra = stack.new_person("petra", &["user", "security"]).await?;
    let key = random_name(32);
    let request = scene.restart("shop");
    let action = answered(|| petra.ask_with_key(&key, &request, 0)).await?.expect(202)?.body;
    let id = id_of(&action)?;
    assert_eq!(review(&petra, &id).await?, (403, json!("not-a-reviewer")));
    assert_eq!(metric(stack, "aegis_break_glass_actions_total").await?, 1.0);
    let late = "update reviews set due_at = clock_timestamp() - interval '1 second'";
    execute(&stack.control_plane_database().superuser_url, late.to_owned()).await?;
    let page = scene.admin.get("/api/v1/reviews").await?.expect(200)?.body;
    assert_eq!((&page["items"][0]["isOverdue"], &page["items"][0]["actionId"]), (&json!(true), &json!(id)));
    eventually("the late review being counted", WITHIN, async || {
        let overdue = metric(stack, "aegis_reviews_open{state=\"overdue\"}").await?;
        ensure!((overdue - 1.0).abs() < f64::EPSILON, "{overdue} overdue");
        Ok(Some(()))
    })
    .await
}
