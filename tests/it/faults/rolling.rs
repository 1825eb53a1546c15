//! Control planes replaced one after the other, and migrated all at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aegis_tests::callers::Caller;
use aegis_tests::database::{Server, Service, execute};
use aegis_tests::paths::random_name;
use aegis_tests::stack::StackOptions;
use anyhow::{Context, Result, ensure};
use http::Method;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::actions::scene::{Scene, id_of};

/// Clients at work at the same time.
const CLIENTS: usize = 8;
/// A replica finishes what it has begun, and waits for nothing else.
const ENDED_WITHIN: Duration = Duration::from_secs(20);
/// Pause before a request that was answered "come again" is sent again.
const PAUSE: Duration = Duration::from_millis(50);

/// A kept connection may be closed just as a request is sent on it: then nobody has read it, and every client sends it
/// again (RFC 9110, section 9.2.2), as its key allows. One that was being waited for breaks later.
const CLOSED_WITHIN: Duration = Duration::from_millis(500);

/// Asks for one action. A replica that does not take the connection is passed over for the next; whatever else keeps
/// an answer from coming is a request that was dropped.
async fn ask(callers: &[Caller], request: &Value) -> Result<String> {
    let key = random_name(32);
    let mut turn = callers.iter().cycle();
    loop {
        let caller = turn.next().context("there are callers")?;
        let draft = caller.request(Method::POST, "/api/v1/actions?wait=5").header("idempotency-key", &key);
        let sent = Instant::now();
        match draft.json(request).finish()?.send().await {
            Ok(answer) if answer.status == 503 => tokio::time::sleep(PAUSE).await,
            Ok(answer) => return id_of(&answer.expect(202)?.body),
            Err(error) => {
                let error = error.downcast_ref::<reqwest::Error>().with_context(|| format!("{error:?}"))?;
                let closed = error.is_request() && sent.elapsed() < CLOSED_WITHIN;
                ensure!(error.is_connect() || closed, "a request was dropped: {error:?}");
            }
        }
    }
}

/// Waits for an action's end at whichever replica is there: the next change of the same target would be
/// refused if it had been decided on what this one is about to change.
async fn until_ended(callers: &[Caller], id: &str) {
    let path = format!("/api/v1/actions/{id}");
    for caller in callers.iter().cycle() {
        if let Ok(answer) = caller.get(&path).await
            && answer.body["outcome"].is_object()
        {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[tokio::test]
async fn a_rolling_restart_under_load_drops_no_request_and_every_action_ends() -> Result<()> {
    // An order outlives the moment in which nobody drives it, on a busy machine too.
    let options = StackOptions { control_planes: 2, order_lifetime_seconds: 10, ..StackOptions::default() };
    let scene = Scene::open(options).await?;
    let names: Vec<_> = (0..CLIENTS).map(|number| format!("web-{number}")).collect();
    scene.deploy_small(&names.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    let is_over = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for (number, name) in names.iter().enumerate() {
        let (is_over, requests) = (is_over.clone(), [scene.scale(name, 2), scene.scale(name, 1)]);
        let mut callers: Vec<_> =
            scene.stack.control_planes().iter().map(|part| scene.client.at(part.url())).collect();
        callers.rotate_left(number % 2);
        clients.spawn(async move {
            let mut told = Vec::new();
            for request in requests.iter().cycle() {
                let id = ask(&callers, request).await?;
                until_ended(&callers, &id).await;
                told.push(id);
                if is_over.load(Ordering::Acquire) && told.len() > 1 {
                    break;
                }
            }
            anyhow::Ok(told)
        });
    }
    for part in scene.stack.control_planes() {
        part.end(ENDED_WITHIN).await?;
        part.restart().await?;
    }
    is_over.store(true, Ordering::Release);
    let told = clients.join_all().await.into_iter().collect::<Result<Vec<_>>>()?.concat();
    for id in &told {
        assert_eq!(scene.ended(id).await?["state"], "succeeded");
        scene.only_write(id)?;
    }
    Ok(())
}

#[tokio::test]
async fn four_replicas_that_migrate_one_database_at_once_all_succeed() -> Result<()> {
    let server = Server::shared().await?;
    for service in Service::ALL {
        let database = server.empty(service).await?;
        let mut migrating = JoinSet::new();
        for _ in 0..4 {
            let database = database.clone();
            migrating.spawn(async move { database.migrate(service).await });
        }
        migrating.join_all().await.into_iter().collect::<Result<Vec<()>>>()?;
        // Each migration was applied once, and once more changes nothing.
        database.migrate(service).await?;
        let once = "do $$ begin
            if exists (select from _sqlx_migrations where not success)
                or (select count(distinct version) from _sqlx_migrations) <> (select count(*) from _sqlx_migrations)
                or not exists (select from _sqlx_migrations)
            then raise exception 'not every migration was applied once'; end if;
        end $$";
        execute(&database.superuser_url, once.to_owned()).await?;
    }
    Ok(())
}
