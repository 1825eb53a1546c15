//! Whatever sends alerts: what it proves itself with, and that it may do nothing but say who it is.

use std::time::Duration;

use aegis_tests::callers::{Answer, Caller};
use aegis_tests::eventually::until;
use aegis_tests::stack::{Stack, StackOptions};
use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::canaries::{disguises, sinks};
use super::log::{entries, refusals};

const SOURCES: &str = "/api/v1/alert-sources";

/// The id and the secret of the credential that was just made.
fn made(answer: &Answer) -> Result<(String, String)> {
    let newest = &answer.body["credentials"][0];
    let text = |member: &str| {
        newest[member].as_str().map(str::to_owned).with_context(|| format!("{member}: {newest}"))
    };
    Ok((text("id")?, text("secret")?))
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// Asks a replica who it is, with this `Authorization`.
async fn whoami(stack: &Stack, replica: usize, authorization: &str) -> Result<Answer> {
    Caller::authorized(stack.control_plane(replica).url(), authorization)?.get("/api/v1/whoami").await
}

#[tokio::test]
async fn an_alert_source_changes_over_between_two_credentials_and_each_ends_at_once() -> Result<()> {
    let stack = Stack::start(StackOptions { control_planes: 2, ..StackOptions::default() }).await?;
    let admin = stack.admin()?;
    let first =
        admin.post(SOURCES, &json!({ "name": "alertmanager", "kind": "bearer" })).await?.expect(201)?;
    assert_eq!(first.headers["cache-control"], "no-store");
    assert_eq!(first.headers["location"], "/api/v1/alert-sources/alertmanager");
    let (first_id, token) = made(&first)?;
    assert!(token.starts_with("aas_") && token.len() == 47, "{}", token.len());
    let bearer = format!("Bearer {token}");
    for replica in [0, 1] {
        let known = whoami(&stack, replica, &bearer).await?.expect(200)?.body;
        assert_eq!(known["principal"], "alert-source:alertmanager");
        assert_eq!((&known["roles"], &known["permissions"]), (&json!([]), &json!([])));
    }
    for (name, kind, status, code) in [
        ("alertmanager", "basic", 409, "already-exists"),
        ("Alert Manager", "basic", 400, "invalid-parameter"),
        ("", "basic", 400, "invalid-parameter"),
        ("grafana", "digest", 400, "invalid"),
    ] {
        let refused = admin.post(SOURCES, &json!({ "name": name, "kind": kind })).await?;
        assert_eq!((refused.status, refused.code()), (status, code), "{name}");
    }

    // Two are good at a time, of whatever kind, and no third.
    let credentials = format!("{SOURCES}/alertmanager/credentials");
    let second = admin.post(&credentials, &json!({ "kind": "basic" })).await?.expect(201)?;
    let (second_id, password) = made(&second)?;
    let login = basic("alertmanager", &password);
    whoami(&stack, 0, &bearer).await?.expect(200)?;
    whoami(&stack, 1, &login).await?.expect(200)?;
    assert_eq!(
        admin.post(&credentials, &json!({ "kind": "basic" })).await?.expect(409)?.code(),
        "already-exists"
    );
    until("both uses being noted", Duration::from_secs(60), async || {
        let shown = admin.get(&format!("{SOURCES}/alertmanager")).await?.expect(200)?.body;
        let used = shown["credentials"].as_array().context("credentials")?.iter();
        Ok(used.filter(|credential| credential["lastUsedAt"].is_string()).count() == 2)
    })
    .await?;
    let refused = [
        format!("Bearer {token}x"),
        format!("Bearer {}", &token[..46]),
        format!("Bearer aas_{}", "A".repeat(100_000)),
        format!("Bearer aas_{password}"),
        format!("Bearer {password}"),
        basic("alertmanager", &token),
        basic("grafana", &password),
        basic("", &password),
        basic("alertmanager", ""),
        format!("Basic {}", STANDARD.encode("alertmanager")),
        format!("Basic {}", STANDARD.encode([0xff, b':', 0xff])),
        format!("Basic {}", STANDARD.encode(format!("alertmanager:{password}")).trim_end_matches('=')) + "!",
        "Basic".to_owned(),
        "Basic \u{e4}".to_owned(),
    ];
    for authorization in &refused {
        let answer = whoami(&stack, 0, authorization).await?;
        let is_too_large = answer.status == 431;
        assert!(
            is_too_large || (answer.status, answer.code()) == (401, "unauthenticated"),
            "{}",
            answer.text
        );
    }
    // Twice, or beside a signature, it is nobody.
    let mut doubled = Caller::authorized(stack.control_plane(0).url(), &bearer)?
        .request(http::Method::GET, "/api/v1/whoami")
        .finish()?;
    doubled.headers.append("authorization", login.parse()?);
    assert_eq!(doubled.send().await?.expect(401)?.code(), "unauthenticated");
    let mut both = stack.client()?.request(http::Method::GET, "/api/v1/whoami").finish()?;
    both.headers.insert("authorization", bearer.parse()?);
    assert_eq!(both.send().await?.expect(401)?.code(), "unauthenticated");

    // What is revoked, disabled or removed is so at once and everywhere.
    let replicas = [0, 1];
    admin.delete(&format!("{credentials}/{first_id}")).await?.expect(204)?;
    admin.delete(&format!("{credentials}/{first_id}")).await?.expect(404)?;
    admin.delete(&format!("{credentials}/none")).await?.expect(404)?;
    for replica in replicas {
        assert_eq!(whoami(&stack, replica, &bearer).await?.code(), "unauthenticated");
        whoami(&stack, replica, &login).await?.expect(200)?;
    }
    let change = async |what: &str| admin.post(&format!("{SOURCES}/alertmanager/{what}"), &json!({})).await;
    change("disable").await?.expect(200)?;
    change("disable").await?.expect(200)?;
    for replica in replicas {
        assert_eq!(whoami(&stack, replica, &login).await?.code(), "unauthenticated");
    }
    assert_eq!(change("enable").await?.expect(200)?.body["disabledAt"], Value::Null);
    whoami(&stack, 1, &login).await?.expect(200)?;
    admin.delete(&format!("{SOURCES}/alertmanager")).await?.expect(204)?;
    admin.delete(&format!("{SOURCES}/alertmanager")).await?.expect(404)?;
    for replica in replicas {
        assert_eq!(whoami(&stack, replica, &login).await?.code(), "unauthenticated");
    }
    let again =
        admin.post(SOURCES, &json!({ "name": "alertmanager", "kind": "basic" })).await?.expect(201)?;
    assert_eq!(whoami(&stack, 0, &login).await?.code(), "unauthenticated", "another one of the same name");
    assert_eq!(again.body["credentials"].as_array().map(Vec::len), Some(1));

    for reason in [
        "credential-unknown",
        "credential-misused",
        "credential-revoked",
        "credential-malformed",
        "alert-source-disabled",
    ] {
        assert!(refusals(&stack, reason).await? >= 1, "{reason}");
    }
    let told = entries(&admin, "").await?;
    let of_source = |entry: &&Value| entry["data"]["alertSource"] == "alert-source:alertmanager";
    let kinds: Vec<&str> = told.iter().filter(of_source).filter_map(|entry| entry["kind"].as_str()).collect();
    assert_eq!(
        kinds,
        [
            "alert-source.created",
            "alert-source.credential-added",
            "alert-source.credential-revoked",
            "alert-source.disabled",
            "alert-source.enabled",
            "alert-source.deleted",
            "alert-source.created"
        ]
    );
    let secrets = [token, password, made(&again)?.1];
    assert!(second_id != first_id && secrets[1].len() == 43);
    for (name, text) in sinks(&stack).await? {
        for secret in &secrets {
            assert!(
                disguises(secret).iter().all(|disguise| !text.contains(disguise)),
                "{name} shows a secret"
            );
        }
    }
    Ok(())
}
