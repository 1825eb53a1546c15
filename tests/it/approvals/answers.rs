//! Who is asked, who may answer, and what an answer does.

use aegis_tests::database::execute;
use aegis_tests::stack::StackOptions;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::people::{answer, approve, ask, asked_of, missing, scene, scene_with};
use crate::actions::scene::{Scene, expect, id_of};
use crate::control_plane::log::metric;
use crate::limits::scene::asked;

#[tokio::test]
async fn an_action_waits_for_its_people_and_is_then_ordered_on_their_word() -> Result<()> {
    let groups = json!([{ "role": "sre", "min": 2 }, { "role": "security", "min": 1 }]);
    let scene = scene(groups, &["web"]).await?;
    let anna = scene.stack.new_person("anna", &["user", "sre"]).await?;
    let ben = scene.stack.new_person("ben", &["sre"]).await?;
    let carla = scene.stack.new_person("carla", &["security"]).await?;
    let action = ask(&scene, "web").await?;
    let id = id_of(&action)?;
    assert_eq!(missing(&action), 3);
    assert!(action["approval"]["groups"][0]["people"].is_null(), "a client learns no names: {action}");

    assert_eq!(asked_of(&anna, "").await?, std::slice::from_ref(&id));
    let seen = anna.get("/api/v1/approvals").await?.expect(200)?.body["items"][0].clone();
    assert_eq!(seen["approval"]["groups"][0]["people"], json!(["carla@example.com"]), "{seen}");
    assert_eq!(seen["approval"]["groups"][1]["people"], json!(["anna@example.com", "ben@example.com"]));
    assert_eq!(missing(&approve(&anna, &action).await?), 2);
    assert_eq!(missing(&approve(&anna, &action).await?), 2, "again is the same");
    assert!(asked_of(&anna, "").await?.is_empty());
    assert_eq!(asked_of(&anna, "?all=true").await?, std::slice::from_ref(&id));
    assert_eq!(missing(&approve(&ben, &action).await?), 1);
    assert_eq!(scene.action(&id).await?["state"], "awaiting-approval");
    assert_eq!(scene.writes_in_namespace()?, 0);

    let path = format!("/api/v1/actions/{id}/approve?wait=60");
    let digest = &action["approval"]["digest"];
    let other = json!({ "digest": format!("sha256:{}", "0".repeat(64)) });
    assert_eq!(carla.post(&path, &other).await?.expect(409)?.code(), "approval-changed");
    carla.post(&path, &json!({ "digest": digest })).await?.expect(200)?;
    expect(&scene.ended(&id).await?, "succeeded", "rollout-complete");

    let kinds = [
        "action.requested",
        "decision.made",
        "approval.requested",
        "approval.given",
        "approval.given",
        "approval.given",
        "decision.made",
        "action.intent",
        "order.signed",
        "receipt.received",
        "action.ended",
    ];
    let story = scene.expect_story(&id, &kinds).await?;
    let words = story[7]["data"]["approvals"].as_array().context("the intent names who agreed")?;
    for (word, given) in words.iter().zip(&story[3..6]) {
        assert_eq!((&word["principal"], &word["entryId"]), (&given["principal"], &given["id"]));
        assert_eq!((&word["digest"], &given["data"]["digest"]), (digest, digest));
    }
    assert_eq!(words.len(), 3);
    assert_eq!(
        metric(&scene.stack, "aegis_decisions_total{effect=\"ALLOW\"}").await?,
        2.0,
        "both are counted"
    );
    scene.only_write(&id)?;
    let late = answer(&ben, "approve", &action).await?.expect(409)?;
    assert_eq!((late.code(), &late.body["state"]), ("not-awaiting-approval", &json!("succeeded")));
    Ok(())
}

#[tokio::test]
async fn nobody_approves_their_own_and_nobody_without_the_role() -> Result<()> {
    let groups = json!([{ "role": "sre", "min": 1 }, { "role": "security", "min": 1 }]);
    let scene = scene(groups, &["web", "api"]).await?;
    let anna = scene.stack.new_person("anna", &["user", "sre", "security"]).await?;
    let ben = scene.stack.new_person("ben", &["user", "sre"]).await?;
    let ursula = scene.stack.new_person("ursula", &["user"]).await?;
    let nobody = scene.stack.new_person("nobody", &["guest"]).await?;
    let refused = async |person: &_, action: &Value| {
        let answer = answer(person, "approve", action).await?;
        anyhow::Ok((answer.status, answer.code().to_owned()))
    };

    let own = asked(&anna, &scene.restart("web")).await?.expect(202)?.body;
    assert_eq!(refused(&anna, &own).await?, (403, "not-an-approver".to_owned()), "who asked");
    assert_eq!(refused(&ursula, &own).await?, (403, "not-an-approver".to_owned()), "without the role");
    assert_eq!(refused(&nobody, &own).await?, (404, "not-found".to_owned()), "who may not see it");
    assert_eq!(refused(&scene.client, &own).await?, (403, "forbidden".to_owned()), "automation");
    for what in ["deny", "withdraw-approval"] {
        assert_eq!(answer(&anna, what, &own).await?.expect(403)?.code(), "not-an-approver");
    }

    let bot = scene.stack.new_client("annas-bot", "anna@example.com").await?;
    let bot = scene.stack.caller_of(&bot)?;
    let of_bot = asked(&bot, &scene.restart("api")).await?.expect(202)?.body;
    assert_eq!(
        refused(&anna, &of_bot).await?,
        (403, "not-an-approver".to_owned()),
        "who answers for the bot"
    );

    // One person with both roles stands for one of them.
    let action = ask(&scene, "web").await?;
    assert_eq!(missing(&approve(&anna, &action).await?), 1);
    assert_eq!(missing(&approve(&ben, &action).await?), 0);
    expect(&scene.ended(&id_of(&action)?).await?, "succeeded", "rollout-complete");
    Ok(())
}

#[tokio::test]
async fn an_action_that_is_not_approved_is_withdrawn_denied_or_expires_and_nothing_is_done() -> Result<()> {
    let scene = scene(json!([{ "role": "sre", "min": 2, "expiresSeconds": 600 }]), &["web"]).await?;
    let anna = scene.stack.new_person("anna", &["sre"]).await?;
    let ben = scene.stack.new_person("ben", &["sre"]).await?;

    let action = ask(&scene, "web").await?;
    approve(&anna, &action).await?;
    let withdrawn = answer(&anna, "withdraw-approval", &action).await?.expect(200)?.body;
    assert_eq!(missing(&withdrawn), 2);
    assert_eq!(missing(&approve(&ben, &action).await?), 1);
    let denied = answer(&ben, "deny", &action).await?.expect(200)?.body;
    expect(&denied, "denied", "approval-denied");
    let story = scene.story(&id_of(&action)?).await?;
    let last: Vec<_> = story.iter().rev().take(2).map(|entry| entry["kind"].clone()).collect();
    assert_eq!(last, [json!("action.ended"), json!("approval.denied")]);
    assert!(!json!(story).to_string().contains("not now"), "what people write can be erased");
    let no_reason = ben.post(&format!("/api/v1/actions/{}/deny", id_of(&action)?), &json!({})).await?;
    assert_eq!(no_reason.status, 400);

    let action = ask(&scene, "web").await?;
    let id = id_of(&action)?;
    scene.posted(&format!("/api/v1/actions/{id}/cancel")).await?.expect(200)?;
    expect(&scene.action(&id).await?, "cancelled", "cancelled");

    let action = ask(&scene, "web").await?;
    let id = id_of(&action)?;
    let (asked_at, until): (jiff::Timestamp, jiff::Timestamp) = (
        action["approval"]["askedAt"].as_str().context("askedAt")?.parse()?,
        action["approval"]["expiresAt"].as_str().context("expiresAt")?.parse()?,
    );
    assert_eq!(until.duration_since(asked_at).as_secs(), 600);
    // As if ten minutes had passed.
    let sql = format!("update actions set deadline_at = clock_timestamp() where id = '{id}'");
    execute(&scene.stack.control_plane_database().superuser_url, sql).await?;
    assert_eq!(answer(&anna, "approve", &action).await?.code(), "not-awaiting-approval");
    expect(&scene.ended(&id).await?, "expired", "approval-expired");
    assert_eq!(scene.writes_in_namespace()?, 0);
    Ok(())
}

#[tokio::test]
async fn a_role_counts_only_while_it_is_held() -> Result<()> {
    let scene = scene(json!([{ "role": "sre", "min": 2 }]), &["web"]).await?;
    let anna = scene.stack.new_person("anna", &["sre"]).await?;
    let ben = scene.stack.new_person("ben", &["sre"]).await?;
    let carla = scene.stack.new_person("carla", &["guest"]).await?;
    let action = ask(&scene, "web").await?;
    approve(&anna, &action).await?;
    scene.stack.command(["user", "revoke", "--email", "anna@example.com", "--role", "sre"]).await?;
    assert_eq!(missing(&approve(&ben, &action).await?), 1);
    assert_eq!(answer(&anna, "withdraw-approval", &action).await?.status, 404);

    scene.stack.command(["user", "grant", "--email", "carla@example.com", "--role", "sre"]).await?;
    // Who may not sign in any more holds nothing.
    let people = scene.admin.get("/api/v1/users?email=ben@example.com").await?.expect(200)?.body;
    let ben = people["items"][0]["id"].as_str().context("an id")?;
    scene.admin.post(&format!("/api/v1/users/{ben}/disable"), &json!({})).await?.expect(200)?;
    assert_eq!(missing(&approve(&carla, &action).await?), 1);
    let dora = scene.stack.new_person("dora", &["sre"]).await?;
    approve(&dora, &action).await?;
    let id = id_of(&action)?;
    expect(&scene.ended(&id).await?, "succeeded", "rollout-complete");
    let story = scene.story(&id).await?;
    let intent = story.iter().find(|entry| entry["kind"] == "action.intent").context("an intent")?;
    assert_eq!(intent["data"]["approvals"].as_array().map(Vec::len), Some(2), "{intent}");
    Ok(())
}

#[tokio::test]
async fn many_answers_at_once_at_two_control_planes_make_one_order() -> Result<()> {
    let options = StackOptions { control_planes: 2, ..StackOptions::default() };
    let scene = scene_with(options, json!([{ "role": "sre", "min": 5 }]), &["web"]).await?;
    let mut people = Vec::new();
    for number in 0..8 {
        people.push(scene.stack.new_person(&format!("sre-{number}"), &["sre"]).await?);
    }
    let action = ask(&scene, "web").await?;
    let mut answering = JoinSet::new();
    for (number, person) in people.into_iter().enumerate() {
        let person = person.at(scene.stack.control_plane(number % 2).url());
        let action = action.clone();
        answering.spawn(async move { answer(&person, "approve", &action).await });
    }
    for answer in answering.join_all().await {
        let answer = answer?;
        assert!([200, 409].contains(&answer.status), "{}", answer.text);
    }
    let id = id_of(&action)?;
    expect(&scene.ended(&id).await?, "succeeded", "rollout-complete");
    expect_one_order(&scene, &id).await
}

async fn expect_one_order(scene: &Scene, id: &str) -> Result<()> {
    let story = scene.story(id).await?;
    assert_eq!(story.iter().filter(|entry| entry["kind"] == "order.signed").count(), 1);
    scene.only_write(id).map(drop)
}
