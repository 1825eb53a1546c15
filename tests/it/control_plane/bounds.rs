//! What callers get at most: of heads, bodies, connections, time and turns. Each bound is met on a real connection to
//! a running stack, and whoever stays within them is served meanwhile.

use std::time::Duration;

use aegis_tests::callers::Caller;
use aegis_tests::eventually::until;
use aegis_tests::stack::{Stack, StackOptions};
use aegis_tests::wire::Wire;
use anyhow::{Context, Result};
use reqwest::Method;
use serde_json::{Value, json};

use super::log::metric;
use crate::actions::scene::{Scene, id_of};
use crate::approvals::people::{ask, demand};

const WITHIN: Duration = Duration::from_secs(60);
/// Between two bytes of a slow caller: much less than what it may take in all.
const DRIP: Duration = Duration::from_millis(300);
const PING: &str = "GET /health/ping HTTP/1.1\r\nhost: x\r\n\r\n";

fn options(settings: &[(&str, &str)]) -> StackOptions {
    let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    StackOptions { control_plane_settings: settings.collect(), ..StackOptions::default() }
}

async fn wire(stack: &Stack, last: u8) -> Result<Wire> {
    Wire::connect(stack.control_plane(0).url(), last).await
}

fn code(body: &str) -> Result<String> {
    let problem: Value = serde_json::from_str(body).with_context(|| format!("no problem: {body}"))?;
    Ok(problem["code"].as_str().context("a code")?.to_owned())
}

#[tokio::test]
async fn heads_are_bounded_in_number_and_bytes_and_bodies_in_bytes() -> Result<()> {
    let stack = Stack::start(options(&[])).await?;
    let head = |fields: &str| format!("GET /health/ping HTTP/1.1\r\nhost: x\r\n{fields}\r\n");
    let many = |count: usize| (0..count).map(|number| format!("x-{number}: y\r\n")).collect::<String>();
    for (what, request, expected) in [
        ("ninety-nine fields", head(&many(98)), 200),
        ("two hundred fields", head(&many(200)), 431),
        ("a field of 32 KiB", head(&format!("x: {}\r\n", "y".repeat(32 << 10))), 200),
        ("a field of 128 KiB", head(&format!("x: {}\r\n", "y".repeat(128 << 10))), 431),
        ("a path of 128 KiB", format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "y".repeat(128 << 10)), 431),
    ] {
        let mut wire = wire(&stack, 1).await?;
        // It may be answered, and ended, before all of it was sent.
        let _ = wire.send(&request).await;
        assert_eq!(wire.answer().await?.0, expected, "{what}");
    }
    // Bodies: announced, sent, or sent without end.
    let post = "POST /api/v1/auth/login HTTP/1.1\r\nhost: x\r\n";
    let chunk = format!("4000\r\n{}\r\n", "y".repeat(0x4000));
    let endless = format!("{post}transfer-encoding: chunked\r\n\r\n{chunk}");
    for request in [format!("{post}content-length: 65537\r\n\r\n{}", "y".repeat(65_537)), endless] {
        let mut wire = wire(&stack, 1).await?;
        let _ = wire.send(&request).await;
        for _ in 0..8 {
            let _ = wire.send(&chunk).await;
        }
        let (status, body) = wire.answer().await?;
        assert_eq!((status, code(&body)?.as_str()), (413, "too-large"));
        wire.ended().await?;
    }
    Ok(())
}

#[tokio::test]
async fn who_is_slow_or_idle_for_too_long_loses_the_connection_and_nobody_else_does() -> Result<()> {
    let stack = Stack::start(options(&[("IDLE_SECONDS_MAX", "3"), ("SLOW_SECONDS_MAX", "3")])).await?;

    // Never a byte; a byte now and then; and nothing more after an answer.
    wire(&stack, 1).await?.ended().await?;
    let mut slow = wire(&stack, 1).await?;
    let mut dripped = 0;
    while slow.send(&PING[dripped..=dripped]).await.is_ok() {
        dripped += 1;
        assert!(dripped < PING.len(), "a whole head came, byte by byte");
        tokio::time::sleep(DRIP).await;
    }
    let mut kept = wire(&stack, 1).await?;
    for _ in 0..2 {
        kept.send(PING).await?;
        assert_eq!(kept.answer().await?.0, 200, "a connection can be used again");
    }
    kept.ended().await?;

    // A body that does not come to its end is answered, and its connection ended.
    let mut slow = wire(&stack, 1).await?;
    slow.send("POST /api/v1/auth/login HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n").await?;
    let dripping = async {
        for _ in 0..5 {
            tokio::time::sleep(DRIP).await;
            slow.send("{").await?;
        }
        slow.answer().await
    };
    let (status, body) = dripping.await?;
    assert_eq!((status, code(&body)?.as_str()), (408, "too-slow"));
    slow.ended().await
}

#[tokio::test]
async fn who_takes_no_answers_is_given_up() -> Result<()> {
    let stack = Stack::start(options(&[("SLOW_SECONDS_MAX", "3")])).await?;
    let mut deaf = wire(&stack, 1).await?;
    // Some 40 MB of answers: more than lies in the buffers of both ends.
    let ask = "GET /api/v1/openapi.json HTTP/1.1\r\nhost: x\r\n\r\n";
    deaf.send(&ask.repeat(100)).await?;
    let open = async || metric(&stack, "aegis_http_connections ").await;
    // The one that reads the metric is the other.
    assert!(open().await? >= 2.0);
    until("the connection being given up", WITHIN, async || Ok(open().await? < 2.0)).await?;
    Ok(())
}

#[tokio::test]
async fn connections_are_bounded_in_all_and_of_each_address() -> Result<()> {
    let settings = [("CONNECTIONS_MAX", "30"), ("CONNECTIONS_PER_ADDRESS_MAX", "10")];
    let stack = Stack::start(options(&settings)).await?;
    let mut held = Vec::new();
    for address in [2, 3] {
        for _ in 0..10 {
            let mut wire = wire(&stack, address).await?;
            wire.send(PING).await?;
            assert_eq!(wire.answer().await?.0, 200);
            held.push(wire);
        }
        let mut over = wire(&stack, address).await?;
        let (status, body) = over.answer().await?;
        assert_eq!((status, code(&body)?.as_str()), (503, "too-many-connections"));
        over.ended().await?;
    }
    // Others are served, until there are too many in all.
    stack.client()?.get("/api/v1/whoami").await?.expect(200)?;
    for _ in 0..30 {
        held.push(wire(&stack, 4).await?);
        held.push(wire(&stack, 5).await?);
    }
    let mut over = wire(&stack, 6).await?;
    assert_eq!(over.answer().await?.0, 503);
    // What is let go is there again for others.
    held.clear();
    until("connections being free again", WITHIN, async || {
        let mut wire = wire(&stack, 2).await?;
        wire.send(PING).await?;
        Ok(wire.answer().await?.0 == 200)
    })
    .await?;
    for reason in ["too-many", "too-many-of-address"] {
        let line = format!("aegis_http_connections_refused_total{{reason=\"{reason}\"}}");
        assert!(metric(&stack, &line).await? >= 1.0, "{reason}");
    }
    Ok(())
}

#[tokio::test]
async fn requests_are_bounded_in_time_and_in_how_many_are_worked_on() -> Result<()> {
    let settings = [("REQUESTS_MAX", "4"), ("REQUEST_SECONDS_MAX", "15")];
    let scene = Scene::open(options(&settings)).await?;
    scene.deploy_small(&["web"]).await?;
    demand(&scene, "four-eyes", json!({ "approvals": [{ "role": "sre-lead", "min": 1 }] })).await?;
    let action = ask(&scene, "web").await?;
    let path = format!("/api/v1/actions/{}?wait=60", id_of(&action)?);

    // Nobody agrees, so each of them waits.
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (client, path) = (scene.client.clone(), path.clone());
        waiting.spawn(async move {
            loop {
                // Those that ask whether all turns are taken take one themselves.
                let answer = client.get(&path).await?;
                if answer.code() != "overloaded" {
                    return anyhow::Ok(answer);
                }
            }
        });
    }
    until("all turns being taken", WITHIN, async || {
        let answer = scene.client.get("/api/v1/whoami").await?;
        Ok((answer.status, answer.code()) == (503, "overloaded"))
    })
    .await?;
    scene.stack.anonymous()?.get("/health/ready").await?.expect(200)?;
    scene.stack.anonymous()?.get("/metrics").await?.expect(200)?;
    for answer in waiting.join_all().await {
        let answer = answer?;
        assert_eq!((answer.status, answer.code()), (503, "timed-out"), "{}", answer.text);
        assert_eq!(answer.headers["retry-after"], "1");
    }
    scene.client.get("/api/v1/whoami").await?.expect(200)?;
    Ok(())
}

#[tokio::test]
async fn strangers_with_large_bodies_keep_nobody_from_the_work_on_policies() -> Result<()> {
    let stack = Stack::start(options(&[])).await?;
    // As if they were signed, which nobody can tell before the body is there.
    let large = "POST /api/v1/policy/check HTTP/1.1\r\nhost: x\r\nsignature: aegis=:YQ==:\r\n\
                 content-length: 16000000\r\n\r\n{";
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let mut wire = wire(&stack, 2).await?;
        asking.spawn(async move {
            wire.send(large).await?;
            wire.answer().await
        });
    }
    // Four of them have their turns; the others are told at once.
    for _ in 0..4 {
        let (status, body) = asking.join_next().await.context("eight were sent")???;
        assert_eq!((status, code(&body)?.as_str()), (429, "too-many-requests"));
    }
    // Other addresses have theirs, and people, who are proven first, have others.
    let (admin, client) = (stack.admin()?, stack.client()?);
    let check = |caller: &Caller| {
        let body = format!("{{}}{}", " ".repeat(100_000));
        caller.request(Method::POST, "/api/v1/policy/check").bytes(body).finish()
    };
    check(&admin)?.send().await?.expect(200)?;
    let signed = check(&client)?.send().await?;
    assert_eq!((signed.status, signed.code()), (403, "forbidden"), "{}", signed.text);
    Ok(())
}

#[tokio::test]
async fn a_thousand_idle_and_slow_connections_do_not_stop_the_way_to_a_heal() -> Result<()> {
    let scene = Scene::open(options(&[])).await?;
    scene.deploy_small(&["web"]).await?;
    let mut held = Vec::new();
    for number in 0..1_000 {
        let mut wire = wire(&scene.stack, 2).await?;
        // Nothing, half a head, or a head without its body.
        wire.send(match number % 3 {
            0 => "",
            1 => "POST /api/v1/actions HTTP/1.1\r\nhost: x\r\nx-slow: ",
            _ => "POST /api/v1/auth/login HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{",
        })
        .await?;
        held.push(wire);
    }
    assert!(metric(&scene.stack, "aegis_http_connections ").await? >= 1_000.0);
    let mut rehearsal = scene.restart("web");
    rehearsal["dryRun"] = json!(true);
    for _ in 0..5 {
        let action = scene.asked(&rehearsal, 60).await?.expect(202)?.body;
        assert_eq!(action["state"], "succeeded", "{action}");
    }
    Ok(())
}
