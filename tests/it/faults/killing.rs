//! Control planes and executors killed at any moment, under clients that ask again until they are told.

mod requests;
mod schedule;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aegis_tests::callers::{Answer, Caller, Finished};
use aegis_tests::database::execute;
use aegis_tests::eventually::eventually;
use aegis_tests::kube_audit::KubeRequest;
use aegis_tests::paths::random_name;
use aegis_tests::stack::StackOptions;
use aegis_tests::workload::{daemon_set, deployment, stateful_set};
use anyhow::{Context, Result, bail, ensure};
use http::Method;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use self::requests::{Asked, FORBIDDEN, GROUPS, STUCK, Wish, wishes};
use self::schedule::Schedule;
use crate::actions::scene::{Scene, WITHIN};

/// What is asked for.
const ACTIONS: usize = 200;
/// Clients at work at the same time.
const CLIENTS: usize = 24;
/// Pause of a client before it asks again.
const PAUSE: Duration = Duration::from_millis(100);

/// The object annotation with which an executor makes sure that an earlier write of its own comes too late.
const FENCE: &str = "aegis.dev/fence";

async fn set_up() -> Result<Scene> {
    let options = StackOptions {
        control_planes: 2,
        executors: 2,
        order_lifetime_seconds: 10,
        ..StackOptions::default()
    };
    let scene = Scene::closed(options).await?;
    let policy = json!({
        "schema": "aegis.policy/v1", "name": "all-but-one", "description": "Everything but one workload.",
        "rules": [
            { "id": "everything", "effect": "ALLOW", "reason": "this test is not about policy" },
            {
                "id": "not-this", "effect": "DENY", "reason": "nobody touches this one",
                "match": { "resources": [format!("k8s/*/*/Deployment/{FORBIDDEN}")] },
            },
        ],
    });
    scene.admin.activate_policy(&policy).await?;
    let mut first = vec![deployment(FORBIDDEN, "app:1", 1)];
    let mut second = Vec::new();
    for group in 0..GROUPS {
        first.push(deployment(&format!("web-{group}"), "app:1", 1));
        second.push(deployment(&format!("web-{group}"), "app:2", 1));
        first.push(deployment(&format!("pods-{group}"), "app:1", 3));
        first.push(stateful_set(&format!("db-{group}"), "app:1", 1));
        first.push(daemon_set(&format!("agent-{group}"), "app:1"));
    }
    scene.deploy(&first).await?;
    // Something to roll back to.
    scene.deploy(&second).await?;
    Ok(scene)
}

/// Sends until it is answered for good, to one control plane and the other in turn.
async fn insist(callers: &[Caller], draft: impl Fn(&Caller) -> Result<Finished>) -> Result<Answer> {
    let until = Instant::now() + WITHIN * 2;
    let mut turn = callers.iter().cycle();
    loop {
        let request = draft(turn.next().context("there are callers")?)?;
        let last = match request.send().await {
            Ok(answer) if matches!(answer.status, 429 | 503) || answer.code() == "in-progress" => answer.text,
            Ok(answer) => return Ok(answer),
            Err(error) => format!("{error:#}"),
        };
        ensure!(Instant::now() < until, "{}: no answer for good; last: {last}", request.url);
        tokio::time::sleep(PAUSE).await;
    }
}

/// One client with one wish: it asks, under one key, until it is told the action's id.
async fn ask(callers: &[Caller], wish: &Wish) -> Result<String> {
    let key = random_name(32);
    let asking = |caller: &Caller| {
        let draft = caller.request(Method::POST, "/api/v1/actions?wait=2").header("idempotency-key", &key);
        draft.json(&wish.request).finish()
    };
    let answer = insist(callers, asking).await?;
    let id = match (answer.status, answer.code()) {
        (202, _) => &answer.body["id"],
        (403, "policy-denied") => &answer.body["actionId"],
        _ => bail!("{}: {}", answer.status, answer.text),
    };
    let id = id.as_str().context("an action has an id")?.to_owned();
    if wish.asked == Asked::Withdrawn {
        let path = format!("/api/v1/actions/{id}/cancel");
        let cancelling = |caller: &Caller| caller.request(Method::POST, &path).json(&json!({})).finish();
        insist(callers, cancelling).await?.expect(200)?;
    }
    Ok(id)
}

/// The action when it has ended. What nobody can ever know is closed by two people, as in life.
async fn end_of(scene: &Scene, people: &[Caller; 2], id: &str) -> Result<Value> {
    eventually(&format!("the end of action {id}"), WITHIN * 2, async || {
        // In this order: what has a final receipt and is unknown after that stays so.
        let entries = scene.entries(id).await?;
        let action = scene.action(id).await?;
        let told =
            |entry: &Value| entry["kind"] == "receipt.received" && entry["data"]["stage"] == "finished";
        if action["state"] == "unknown" && entries.iter().any(told) {
            assert_eq!(action["type"], "restart-pod", "only evictions are in doubt for ever: {action}");
            for person in people {
                person.post(&format!("/api/v1/actions/{id}/close"), &json!({})).await?.expect(200)?;
            }
        }
        let state = action["state"].as_str().unwrap_or_default();
        ensure!(!matches!(state, "queued" | "running" | "unknown"), "it stands {state}");
        Ok(Some(action))
    })
    .await
}

fn is_fence(write: &KubeRequest) -> bool {
    let is_plain = write.object_ref.as_ref().is_some_and(|object| object.subresource.is_empty());
    // As a key, or as a JSON pointer writes it.
    let names_fence = |body: &Value| body.to_string().replace("~1", "/").contains(FENCE);
    is_plain && write.request_object.as_ref().is_some_and(names_fence)
}

/// Whether the log and the cluster agree on how one action ended. Returns what it changed.
async fn judge(scene: &Scene, wish: &Wish, action: &Value, writes: &[KubeRequest]) -> Result<()> {
    let id = action["id"].as_str().context("an action has an id")?;
    let (state, code) = (action["state"].as_str(), action["outcome"]["code"].as_str());
    let (state, code) = (state.unwrap_or_default(), code.unwrap_or_default());
    let agent = format!("(action {id})");
    let changes: Vec<_> =
        writes.iter().filter(|write| write.user_agent.contains(&agent) && !is_fence(write)).collect();
    let told = format!("{wish:?} ended {state} {code}: {changes:?}");
    match (state, code) {
        ("denied" | "refused" | "expired" | "cancelled", _)
        | ("succeeded", "already-done" | "dry-run" | "no-change") => assert!(changes.is_empty(), "{told}"),
        // A request whose sender was killed may have taken effect, and be recorded as cut off.
        ("succeeded", _) if changes.is_empty() => {
            let in_doubt = scene.stack.cluster()?.audit().writes_in_doubt_by_agent(&agent)?;
            assert!(in_doubt.iter().any(|write| !is_fence(write)), "{told}");
        }
        ("succeeded", _) => assert_eq!(changes.len(), 1, "{told}"),
        ("failed", _) => assert!(changes.len() <= 1, "{told}"),
        _ => panic!("{told}"),
    }
    match wish.asked {
        Asked::Denied => assert_eq!(state, "denied", "{told}"),
        Asked::Withdrawn => assert_eq!(state, "cancelled", "{told}"),
        Asked::TooLate => assert_eq!(state, "expired", "{told}"),
        Asked::Absent => assert_eq!(state, "refused", "{told}"),
        Asked::Rehearsed => assert!(matches!(state, "succeeded" | "refused" | "expired"), "{told}"),
        Asked::Done => {}
    }
    let entries = scene.entries(id).await?;
    for kind in ["action.requested", "action.ended"] {
        let count = entries.iter().filter(|entry| entry["kind"] == kind).count();
        assert_eq!(count, 1, "{kind} of {told}");
    }
    Ok(())
}

/// Whether every action there is was told to a client, and every write names one.
async fn nothing_else(
    scene: &Scene,
    told: &[(String, Wish)],
    occupied: &str,
    writes: &[KubeRequest],
) -> Result<()> {
    let known: BTreeSet<&str> = told.iter().map(|(id, _)| id.as_str()).chain([occupied]).collect();
    assert_eq!(known.len(), told.len() + 1, "two clients were told of one action");
    let count = known.len();
    let database = &scene.stack.control_plane_database().superuser_url;
    let exactly = format!(
        "do $$ begin
            if (select count(*) from actions) <> {count}
                or (select count(*) from audit.recorded where kind = 'action.requested') <> {count}
                or (select count(*) from audit.recorded where kind = 'action.ended') <> {count}
            then raise exception 'the database holds other actions than {count}'; end if;
        end $$"
    );
    execute(database, exactly).await?;
    for write in writes.iter().filter(|write| write.is_in(scene.stack.namespace())) {
        let named = known.iter().any(|id| write.user_agent.contains(&format!("(action {id})")));
        assert!(named, "a write for no action: {write:?}");
    }
    Ok(())
}

#[tokio::test]
async fn kills_at_random_moments_during_two_hundred_actions_lose_nothing_and_double_nothing() -> Result<()> {
    let schedule = Schedule::from_environment()?;
    let scene = Arc::new(set_up().await?);
    let second = scene.stack.new_person("second", &["admin"]).await?;
    let people = [scene.admin.clone(), second];
    let occupied = scene.occupy(STUCK).await?;
    let wishes = wishes(&scene, ACTIONS).await?;
    let callers: Arc<Vec<Caller>> =
        Arc::new(scene.stack.control_planes().iter().map(|part| scene.client.at(part.url())).collect());

    let turns = Arc::new(Semaphore::new(CLIENTS));
    let mut clients = JoinSet::new();
    for wish in wishes {
        let (callers, turns) = (callers.clone(), turns.clone());
        clients.spawn(async move {
            let _turn = turns.acquire().await?;
            anyhow::Ok((ask(&callers, &wish).await?, wish))
        });
    }
    let asking = async {
        let told = clients.join_all().await.into_iter().collect::<Result<Vec<_>>>()?;
        // The kills go on until half of what was asked for has ended: the rest is under way.
        eventually("half of the actions ending", WITHIN * 2, async || {
            let open = scene.client.get("/api/v1/actions?limit=200").await?.expect(200)?;
            let items = open.body["items"].as_array().context("a page has items")?;
            let ended = items.iter().filter(|action| action["outcome"].is_object()).count();
            Ok((ended * 2 >= ACTIONS).then_some(()))
        })
        .await?;
        anyhow::Ok(told)
    };
    let kills = schedule.clone().carry_out(&scene.stack);
    let told = tokio::select! {
        told = asking => told?,
        failed = kills => bail!("the kills ended: {failed:?}"),
    };
    for part in scene.stack.control_planes().iter().chain(scene.stack.executors()) {
        part.restart().await?;
    }
    scene.mend(STUCK).await?;

    let mut ended = Vec::new();
    for (id, wish) in &told {
        ended.push((wish, end_of(&scene, &people, id).await?));
    }
    assert_eq!(end_of(&scene, &people, &occupied).await?["state"], "succeeded");
    scene.only_write(&occupied)?;
    let writes = scene.stack.cluster()?.audit().writes_by_executor()?;
    for (wish, action) in &ended {
        judge(&scene, wish, action, &writes).await?;
    }
    nothing_else(&scene, &told, &occupied, &writes).await
}
