//! Secrets are put wherever a caller could put one, rightly or by mistake, and then looked for wherever anything is
//! written down.

use aegis_tests::authenticator::Authenticator;
use aegis_tests::callers::{Answer, Caller};
use aegis_tests::paths::{hex, random_name};
use aegis_tests::stack::{Stack, StackOptions};
use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde_json::{Value, json};

use super::callers::{concrete, routes};

/// A webhook's secret as Standard Webhooks writes it.
const WEBHOOK_SECRET_PREFIX: &str = "whsec_";

fn canary() -> String {
    format!("canary{}", random_name(24))
}

/// Sends a secret in every place of a request that is not made for it, or where it is worth nothing.
async fn spill(caller: &Caller, method: &str, path: &str, secret: &str) -> Result<Vec<Answer>> {
    let path = concrete(path);
    let draft = || -> Result<_> { Ok(caller.request(method.parse()?, &path)) };
    let basic = STANDARD.encode(format!("anna@example.com:{secret}"));
    let mut requests = vec![
        caller.request(method.parse()?, &format!("{path}?access_token={secret}")).finish()?,
        draft()?.header("cookie", &format!("session={secret}")).finish()?,
        draft()?.header("x-api-key", secret).finish()?,
        draft()?.header("signature-input", &format!("aegis=();keyid=\"{secret}\"")).finish()?,
        draft()?.header("signature", &format!("aegis=:{}:", STANDARD.encode(secret))).finish()?,
    ];
    for authorization in [format!("Bearer {secret}"), format!("Basic {basic}"), secret.to_owned()] {
        let mut request = draft()?.finish()?;
        request.headers.insert("authorization", authorization.parse()?);
        requests.push(request);
    }
    if method != "GET" {
        for body in [
            json!({ "password": secret, "secret": secret, "token": secret }).to_string(),
            json!({ "email": "anna@example.com", "password": secret }).to_string(),
            json!({ "email": "anna@example.com", "password": [secret] }).to_string(),
            json!({ "currentPassword": secret, "newPassword": secret }).to_string(),
            json!({ "refreshToken": secret }).to_string(),
            json!({ "resetToken": secret, "password": secret }).to_string(),
            json!({ "code": secret }).to_string(),
            json!({ "secret": { "is": secret } }).to_string(),
            json!(secret).to_string(),
            format!(r#"{{"password":"{secret}"#),
            secret.to_owned(),
        ] {
            requests.push(draft()?.header("idempotency-key", &random_name(12)).bytes(body).finish()?);
        }
    }
    let mut answers = Vec::new();
    for request in requests {
        answers.push(request.send().await?);
    }
    Ok(answers)
}

/// Uses secrets for what they are made for; returns them all.
async fn use_up(stack: &Stack) -> Result<Vec<String>> {
    let (url, admin) = (stack.control_plane(0).url(), stack.admin_user());
    let mut secrets = vec![admin.password.clone(), admin.access_token.clone()];
    let text = |body: &Value, field: &str| -> Result<String> {
        Ok(body[field].as_str().with_context(|| format!("{field} in {body}"))?.to_owned())
    };
    let sign_in = json!({ "email": admin.email, "password": admin.password });
    let signed_in = stack.anonymous()?.post("/api/v1/auth/login", &sign_in).await?.expect(200)?.body;
    let next = json!({ "refreshToken": signed_in["refreshToken"] });
    let next = stack.anonymous()?.post("/api/v1/auth/refresh", &next).await?.expect(200)?.body;
    for session in [&signed_in, &next] {
        secrets.extend([text(session, "accessToken")?, text(session, "refreshToken")?]);
    }
    let person = Caller::person(url, &text(&next, "accessToken")?)?;
    let (wrong, new) = (canary(), canary());
    let change = |current: &str| json!({ "currentPassword": current, "newPassword": new });
    person.post("/api/v1/users/me/password", &change(&wrong)).await?.expect(403)?;
    person.post("/api/v1/users/me/password", &change(&admin.password)).await?.expect(204)?;
    let begun = json!({ "password": new });
    let begun = person.post("/api/v1/users/me/second-factor", &begun).await?.expect(200)?.body;
    let app = Authenticator::new(&text(&begun, "secret")?)?;
    let confirm = json!({ "code": app.code(0) });
    let confirm = person.post("/api/v1/users/me/second-factor/confirm", &confirm).await?.expect(200)?.body;
    let codes = confirm["recoveryCodes"].as_array().context("recovery codes")?.iter();
    let codes: Vec<String> = codes.filter_map(|code| code.as_str().map(str::to_owned)).collect();
    person.post("/api/v1/auth/step-up", &json!({ "code": codes[0] })).await?.expect(200)?;
    secrets.extend(codes.iter().map(|code| code.replace('-', "")));
    secrets.extend(codes);
    secrets.extend([wrong, new, text(&begun, "secret")?]);

    let webhook = json!({ "url": "https://hooks.example.com/" });
    let made = person.put("/api/v1/webhooks/told", &webhook, None).await?;
    assert_eq!(made.status, 201, "{}", made.text);
    let turned = person.post("/api/v1/webhooks/told/rotate-secret", &json!({})).await?.expect(200)?.body;
    for told in [&made.body, &turned] {
        secrets.push(text(told, "secret")?.trim_start_matches(WEBHOOK_SECRET_PREFIX).to_owned());
    }

    secrets.push(stack.registered_client().secret.clone());
    stack.client()?.ask(&stack.action("restart", "Deployment", "absent", &json!({})), 10).await?;
    secrets.extend([stack.master_key()?.trim().to_owned(), STANDARD.encode(stack.order_key()?.1)]);
    secrets.push(String::from_utf8(stack.token_secret()?)?.trim().to_owned());
    for database in [stack.control_plane_database(), stack.executor_database()] {
        let login = database.url.split_once("://").and_then(|(_, rest)| rest.split_once('@'));
        secrets.push(login.and_then(|(login, _)| login.split_once(':')).context("a password")?.1.to_owned());
    }
    Ok(secrets)
}

/// A secret as it may stand in a text: by itself, as bytes, and within something that was encoded as a whole.
pub(super) fn disguises(secret: &str) -> Vec<String> {
    let mut found = vec![secret.to_owned(), hex(secret.as_bytes())];
    found.extend((0..3).map(|skipped: usize| {
        let text = STANDARD_NO_PAD.encode([&vec![0; skipped], secret.as_bytes()].concat());
        text[(skipped * 8).div_ceil(6)..text.len() - 1].to_owned()
    }));
    found.extend(STANDARD.decode(secret).ok().map(|bytes| hex(&bytes)));
    found
}

/// Everything that is written down or can be asked for, by its name.
pub(super) async fn sinks(stack: &Stack) -> Result<Vec<(String, String)>> {
    let mut sinks = Vec::new();
    for file in std::fs::read_dir(stack.logs())? {
        let path = file?.path();
        sinks.push((path.display().to_string(), std::fs::read_to_string(&path)?));
    }
    let admin = stack.new_person("reader", &["admin"]).await?;
    for (method, path) in routes().filter(|(method, path)| *method == "GET" && !path.contains("tail")) {
        let path = path.replace("{name}", "told");
        let answer = admin.request(method.parse()?, &concrete(&path)).send().await?;
        sinks.push((format!("the answer to {path}"), answer.text));
    }
    for url in [stack.control_plane(0).url(), stack.executor(0).url()] {
        let metrics = Caller::anonymous(url)?.get("/metrics").await?.expect(200)?;
        sinks.push((format!("the metrics of {url}"), metrics.text));
    }
    let databases = [stack.control_plane_database(), stack.executor_database()];
    for database in databases {
        sinks.push((format!("the database {}", database.name), stack.server().rows(database).await?));
    }
    Ok(sinks)
}

#[tokio::test]
async fn no_secret_that_goes_in_anywhere_comes_out_anywhere_else() -> Result<()> {
    let talkative = ("LOG_LEVEL".to_owned(), "debug".to_owned());
    let stack = Stack::start(StackOptions {
        control_plane_settings: vec![talkative.clone()],
        executor_settings: vec![talkative],
        ..StackOptions::default()
    })
    .await?;
    stack.allow_everything().await?;
    let canary = canary();
    let mut answers = 0;
    for (method, path) in routes().filter(|(_, path)| !path.contains("tail")) {
        for caller in [stack.anonymous()?, stack.client()?, stack.admin()?] {
            for answer in spill(&caller, method, path, &canary).await? {
                assert!(answer.status < 500, "{method} {path}: {}", answer.text);
                let told = format!("{:?}\n{}", answer.headers, answer.text);
                assert!(
                    disguises(&canary).iter().all(|text| !told.contains(text)),
                    "{method} {path}: {told}"
                );
                answers += 1;
            }
        }
    }
    assert!(answers > 2_000, "only {answers} requests were tried");

    let mut secrets = use_up(&stack).await?;
    secrets.push(canary);
    let sinks = sinks(&stack).await?;
    let public = disguises("policy.activated");
    for disguise in &public[..2] {
        assert!(sinks.iter().any(|(_, text)| text.contains(disguise)), "{disguise} should be found");
    }
    for secret in &secrets {
        assert!(secret.len() >= 16, "too short to be told from chance");
        for disguise in disguises(secret) {
            for (name, text) in &sinks {
                let place = text.find(&disguise);
                let around = place.map(|place| {
                    let (from, to) = (place.saturating_sub(200), (place + 20).min(text.len()));
                    String::from_utf8_lossy(&text.as_bytes()[from..to]).into_owned()
                });
                assert_eq!(around, None, "{name} shows a secret");
            }
        }
    }
    Ok(())
}
