//! Who may do what: every route and every kind of caller, and how people sign in.

use std::collections::BTreeSet;

use aegis_tests::callers::{Answer, Caller};
use aegis_tests::stack::{Stack, StackOptions};
use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use reqwest::Method;
use serde_json::{Value, json};

use super::log::{entries, metric};

const NO_ID: &str = "019a9f0e-1c4b-7c11-9d0a-2f1b6f7a8c90";

/// Every route with the answers to: nobody, a client, a user, an auditor, an admin, and a person with
/// a role that only policies know. 404, 400 and 428 say that the caller was let in.
const TABLE: &str = "
GET  /api/v1/whoami                          401 200 200 200 200 200
GET  /api/v1/actions                         401 200 200 200 200 403
POST /api/v1/actions                         401 400 400 403 400 403
GET  /api/v1/actions/{id}                    401 404 404 404 404 403
GET  /api/v1/actions/{id}/story              401 404 404 404 404 403
POST /api/v1/actions/{id}/cancel             401 404 404 403 404 403
POST /api/v1/actions/{id}/close              401 403 403 403 404 403
GET  /api/v1/holds                           401 403 200 200 200 403
POST /api/v1/actions/{id}/lift-hold          401 403 404 403 404 403
GET  /api/v1/reviews                         401 403 200 200 200 200
POST /api/v1/actions/{id}/review             401 403 404 404 404 404
GET  /api/v1/approvals                       401 403 200 200 200 200
POST /api/v1/actions/{id}/approve            401 403 404 404 404 404
POST /api/v1/actions/{id}/deny               401 403 404 404 404 404
POST /api/v1/actions/{id}/withdraw-approval  401 403 404 404 404 404
GET  /api/v1/decisions/{id}                  401 404 404 404 404 403
POST /api/v1/policy/evaluate                 401 400 400 403 400 403
POST /api/v1/policy/validate                 401 403 422 422 422 403
POST /api/v1/policy/check                    401 403 200 200 200 403
POST /api/v1/policy/diff                     401 403 200 200 200 403
POST /api/v1/policy/test                     401 403 200 200 200 403
POST /api/v1/policy/who-can                  401 403 400 400 400 403
POST /api/v1/policy/simulate                 401 403 400 400 400 403
POST /api/v1/policy/replay                   401 403 200 200 200 403
POST /api/v1/policy/sync                     401 403 403 403 400 403
GET  /api/v1/policy/usage                    401 403 200 200 200 403
GET  /api/v1/policy/schema                   200 200 200 200 200 200
GET  /api/v1/policies                        401 403 200 200 200 403
GET  /api/v1/policies/{name}                 401 403 404 404 404 403
PUT  /api/v1/policies/{name}                 401 403 403 403 422 403
GET  /api/v1/policies/{name}/versions/{version} 401 403 404 404 404 403
POST /api/v1/policies/{name}/activate        401 403 403 403 404 403
POST /api/v1/policies/{name}/deactivate      401 403 403 403 404 403
POST /api/v1/policies/{name}/release         401 403 403 403 404 403
GET  /api/v1/audit/entries                   401 403 403 200 200 403
GET  /api/v1/audit/entries/{id}              401 403 403 404 404 403
GET  /api/v1/audit/export                    401 403 403 200 200 403
GET  /api/v1/audit/policies                  401 403 403 200 200 403
GET  /api/v1/audit/roles                     401 403 403 200 200 403
GET  /api/v1/audit/tail                      401 403 403 200 200 403
GET  /api/v1/audit/entries/{id}/evidence     401 403 403 404 404 403
GET  /api/v1/audit/log/keys                  401 403 403 200 200 403
GET  /api/v1/audit/log/checkpoint            401 403 403 200 200 403
GET  /api/v1/audit/log/tile/{path}           401 403 403 404 404 403
GET  /api/v1/audit/log/consistency           401 403 403 200 200 403
GET  /api/v1/webhooks                        401 403 403 403 200 403
GET  /api/v1/webhooks/{name}                 401 403 403 403 404 403
PUT  /api/v1/webhooks/{name}                 401 403 403 403 400 403
DELETE /api/v1/webhooks/{name}               401 403 403 403 404 403
POST /api/v1/webhooks/{name}/rotate-secret   401 403 403 403 404 403
POST /api/v1/webhooks/{name}/test            401 403 403 403 404 403
GET  /api/v1/webhooks/{name}/deliveries      401 403 403 403 404 403
GET  /api/v1/webhooks/{name}/deliveries/{id} 401 403 403 403 404 403
POST /api/v1/webhooks/{name}/deliveries/{id}/redeliver 401 403 403 403 404 403
GET  /api/v1/clients                         401 403 403 403 200 403
POST /api/v1/clients                         401 403 403 403 404 403
GET  /api/v1/clients/{name}                  401 403 403 403 404 403
PATCH /api/v1/clients/{name}                 401 403 403 403 404 403
POST /api/v1/clients/{name}/disable          401 403 403 403 404 403
POST /api/v1/clients/{name}/enable           401 403 403 403 404 403
POST /api/v1/clients/{name}/keys             401 403 403 403 404 403
DELETE /api/v1/clients/{name}/keys/{id}      401 403 403 403 404 403
GET  /api/v1/alert-sources                   401 403 403 403 200 403
POST /api/v1/alert-sources                   401 403 403 403 400 403
GET  /api/v1/alert-sources/{name}            401 403 403 403 404 403
DELETE /api/v1/alert-sources/{name}          401 403 403 403 404 403
POST /api/v1/alert-sources/{name}/disable    401 403 403 403 404 403
POST /api/v1/alert-sources/{name}/enable     401 403 403 403 404 403
POST /api/v1/alert-sources/{name}/credentials 401 403 403 403 404 403
DELETE /api/v1/alert-sources/{name}/credentials/{id} 401 403 403 403 404 403
POST /api/v1/auth/login                      400 400 400 400 400 400
POST /api/v1/auth/refresh                    400 400 400 400 400 400
POST /api/v1/auth/oidc                       400 400 400 400 400 400
GET  /api/v1/auth/oidc/callback              404 404 404 404 404 404
POST /api/v1/auth/oidc/session               400 400 400 400 400 400
GET  /api/v1/sessions                        401 403 200 200 200 200
DELETE /api/v1/sessions/{id}                 401 403 404 404 404 404
POST /api/v1/auth/accept-invitation          403 403 403 403 403 403
POST /api/v1/auth/forgot-password            403 403 403 403 403 403
POST /api/v1/auth/reset-password             403 403 403 403 403 403
POST /api/v1/auth/sign-up                    403 403 403 403 403 403
GET  /api/v1/users                           401 403 403 200 200 403
POST /api/v1/users                           401 403 403 403 400 403
GET  /api/v1/users/{id}                      401 404 404 404 404 404
POST /api/v1/users/{id}/invite               401 403 403 403 404 403
POST /api/v1/users/{id}/disable              401 403 403 403 404 403
POST /api/v1/users/{id}/enable               401 403 403 403 404 403
PUT  /api/v1/users/{id}/roles/{name}         401 403 403 403 404 403
DELETE /api/v1/users/{id}/roles/{name}       401 403 403 403 404 403
GET  /api/v1/role-grants                     401 403 200 200 200 200
GET  /api/v1/role-grants/{id}                401 403 404 404 404 404
POST /api/v1/role-grants/{id}/approve        401 403 404 404 404 404
POST /api/v1/role-grants/{id}/deny           401 403 404 404 404 404
GET  /api/v1/users/me                        401 403 200 200 200 200
PATCH /api/v1/users/me                       401 403 200 200 200 200
POST /api/v1/users/me/password               401 403 403 403 403 403
GET  /api/v1/users/me/second-factor          401 403 200 200 200 200
POST /api/v1/users/me/second-factor          401 403 400 400 400 400
DELETE /api/v1/users/me/second-factor        401 403 404 404 404 404
POST /api/v1/users/me/second-factor/confirm  401 403 404 404 404 404
DELETE /api/v1/users/{id}/second-factor      401 403 403 403 404 403
POST /api/v1/auth/step-up                    401 403 404 404 404 404
POST /api/v1/auth/logout                     401 403 204 204 204 204
DELETE /api/v1/sessions                      401 403 204 204 204 204
GET  /api/v1/health                          200 200 200 200 200 200
GET  /health/ping                            200 200 200 200 200 200
GET  /health/ready                           200 200 200 200 200 200
";

/// Every route: its method, and its path with names in braces.
pub(super) fn routes() -> impl Iterator<Item = (&'static str, &'static str)> {
    TABLE.trim().lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        Some((words.next()?, words.next()?))
    })
}

/// A path that a request can have.
pub(super) fn concrete(path: &str) -> String {
    let concrete = path.replace("{id}", NO_ID).replace("{name}", "absent").replace("{version}", "1");
    concrete.replace("{path}", "9/x001/000.p/7")
}

fn body(method: &str, path: &str) -> Value {
    match path {
        "/api/v1/webhooks/{name}" if method == "PUT" => json!({ "url": "http://127.0.0.1" }),
        "/api/v1/clients" => json!({ "name": "absent", "owner": "nobody@example.com" }),
        "/api/v1/alert-sources" => json!({ "name": "", "kind": "bearer" }),
        "/api/v1/alert-sources/{name}/credentials" => json!({ "kind": "bearer" }),
        "/api/v1/actions/{id}/review" => json!({ "comment": "seen" }),
        "/api/v1/actions/{id}/deny" => json!({ "reason": "not now" }),
        "/api/v1/policies/{name}/activate" => json!({ "version": 1 }),
        "/api/v1/policy/evaluate" => json!({ "action": "restart", "resource": "nothing" }),
        "/api/v1/policy/who-can" => json!({ "action": "restart", "resource": "nothing" }),
        "/api/v1/policy/simulate" => json!({ "principal": "x", "action": "restart", "resource": "nothing" }),
        "/api/v1/policy/replay" => json!({ "since": "2020-01-01T00:00:00Z" }),
        "/api/v1/policy/sync" => json!({ "managedBy": "", "documents": [] }),
        "/api/v1/users" => json!({ "email": "nobody" }),
        "/api/v1/auth/accept-invitation" => {
            json!({ "invitationToken": "x", "password": "long enough to be one" })
        }
        "/api/v1/auth/forgot-password" | "/api/v1/auth/sign-up" => json!({ "email": "nobody@example.com" }),
        "/api/v1/auth/reset-password" => json!({ "resetToken": "x", "password": "long enough to be one" }),
        "/api/v1/auth/step-up" | "/api/v1/users/me/second-factor/confirm" => json!({ "code": "000000" }),
        "/api/v1/users/me" => json!({ "name": "Ursula" }),
        "/api/v1/users/me/password" => {
            json!({ "currentPassword": "x", "newPassword": "long enough to be one" })
        }
        _ => json!({}),
    }
}

/// Sends what every caller sends there.
pub(super) async fn call(caller: &Caller, method: &str, path: &str) -> Result<Answer> {
    let concrete = concrete(path);
    let draft = caller.request(method.parse()?, &concrete);
    let draft = match method {
        "GET" if path == "/api/v1/policy/usage" => {
            caller.request(method.parse()?, &format!("{concrete}?since=2020-01-01T00:00:00Z"))
        }
        "GET" if path == "/api/v1/audit/log/consistency" => {
            caller.request(method.parse()?, &format!("{concrete}?from=1&to=1"))
        }
        "GET" => draft,
        "PUT" => draft.json(&body(method, path)).header("if-none-match", "*"),
        _ if path == "/api/v1/actions" => draft.json(&body(method, path)).header("idempotency-key", "key"),
        _ => draft.json(&body(method, path)),
    };
    draft.send().await
}

/// People and clients whose proof was good once, or is good elsewhere, and what each is called.
async fn disproved_callers(stack: &Stack) -> Result<Vec<(&'static str, Caller)>> {
    let url = stack.control_plane(0).url();
    let token = stack.new_person_token("tilda", &["admin"]).await?;
    let claims = token.split('.').nth(1).context("a token has claims")?;
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims)?)?;
    let secret = stack.token_secret()?;
    let with = |claim: &str, value: Value, secret: &[u8]| {
        let mut claims = claims.clone();
        claims[claim] = value;
        let key = EncodingKey::from_secret(secret);
        Caller::person(url, &encode(&Header::new(Algorithm::HS256), &claims, &key)?)
    };
    let unchanged = with("aud", claims["aud"].clone(), &secret)?;
    unchanged.get("/api/v1/whoami").await?.expect(200)?;

    let ended = stack.new_person("theo", &["admin"]).await?;
    ended.post("/api/v1/auth/logout", &json!({})).await?.expect(204)?;
    let client = stack.new_client("revoked", &stack.admin_user().email).await?;
    stack.command(["client", "revoke-key", "--key-id", &client.key_id]).await?;
    let known = stack.registered_client();
    let admin = stack.admin()?;
    let source = async |name: &str| {
        let new = json!({ "name": name, "kind": "bearer" });
        let made = admin.post("/api/v1/alert-sources", &new).await?.expect(201)?.body;
        let secret = made["credentials"][0]["secret"].as_str().context("a secret")?;
        Caller::authorized(url, &format!("Bearer {secret}"))
    };
    let (disabled, removed) = (source("disabled").await?, source("removed").await?);
    admin.post("/api/v1/alert-sources/disabled/disable", &json!({})).await?.expect(200)?;
    admin.delete("/api/v1/alert-sources/removed").await?.expect(204)?;
    Ok(vec![
        ("an alert source that was disabled", disabled),
        ("an alert source that was removed", removed),
        ("a token whose time is over", with("exp", json!(1), &secret)?),
        ("a token for another audience", with("aud", json!("aegis-executor"), &secret)?),
        ("a token of another issuer", with("iss", json!("somebody"), &secret)?),
        ("a token under another secret", with("aud", claims["aud"].clone(), &[7; 32])?),
        ("a token of a session that there is not", with("sid", json!(NO_ID), &secret)?),
        ("a token of a session that was ended", ended),
        ("a client whose key was revoked", stack.caller_of(&client)?),
        ("a client with the secret of another", Caller::client(url, &known.key_id, &client.secret)?),
        ("a client that nobody knows", Caller::client(url, "nobody", &known.secret)?),
    ])
}

#[tokio::test]
async fn whose_proof_is_worth_nothing_is_nobody_on_every_route() -> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    let callers = disproved_callers(&stack).await?;
    for line in TABLE.trim().lines() {
        let [method, path, to_nobody, ..] = line.split_whitespace().collect::<Vec<_>>()[..] else {
            anyhow::bail!("a line of the table is incomplete: {line}");
        };
        for (what, caller) in &callers {
            assert_eq!(
                call(caller, method, path).await?.status.to_string(),
                to_nobody,
                "{what}: {method} {path}"
            );
        }
    }
    Ok(())
}

/// What alert sources are answered that have proven who they are, where it is neither 403 nor what everybody is answered.
const TO_ALERT_SOURCES: [(&str, &str, &str); 2] =
    [("GET", "/api/v1/whoami", "200"), ("GET", "/api/v1/users/{id}", "404")];

#[tokio::test]
async fn an_alert_source_may_ask_who_it_is_and_nothing_else_on_every_route() -> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    let admin = stack.admin()?;
    let mut sources = Vec::new();
    for kind in ["bearer", "basic"] {
        let new = json!({ "name": kind, "kind": kind });
        let made = admin.post("/api/v1/alert-sources", &new).await?.expect(201)?.body;
        let secret = made["credentials"][0]["secret"].as_str().context("a secret")?;
        let authorization = match kind {
            "bearer" => format!("Bearer {secret}"),
            _ => format!("Basic {}", STANDARD.encode(format!("{kind}:{secret}"))),
        };
        sources.push(Caller::authorized(stack.control_plane(0).url(), &authorization)?);
    }
    for line in TABLE.trim().lines() {
        let [method, path, to_nobody, ..] = line.split_whitespace().collect::<Vec<_>>()[..] else {
            anyhow::bail!("a line of the table is incomplete: {line}");
        };
        let special = TO_ALERT_SOURCES.iter().find(|(of, at, _)| (*of, *at) == (method, path));
        let expected = match special {
            Some((_, _, status)) => status,
            None if to_nobody == "401" => "403",
            None => to_nobody,
        };
        for source in &sources {
            assert_eq!(call(source, method, path).await?.status.to_string(), expected, "{method} {path}");
        }
    }
    Ok(())
}

/// Routes after which their callers have to sign in again.
const ENDS_SESSIONS: [&str; 2] = ["/api/v1/auth/logout", "/api/v1/sessions"];

/// Callers as the table has them, the people new ones.
async fn all_callers(stack: &Stack, round: usize) -> Result<[Caller; 6]> {
    let person = async |name: &str, role| stack.new_person(&format!("{name}-{round}"), &[role]).await;
    Ok([
        stack.anonymous()?,
        stack.client()?,
        person("ursula", "user").await?,
        person("otto", "auditor").await?,
        person("anna", "admin").await?,
        person("sigrid", "sre-lead").await?,
    ])
}

#[tokio::test]
async fn every_route_answers_every_caller_as_the_table_says() -> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    let mut callers = all_callers(&stack, 0).await?;
    let mut listed = BTreeSet::new();
    for line in TABLE.trim().lines() {
        let [method, path, statuses @ ..] = &line.split_whitespace().collect::<Vec<_>>()[..] else {
            anyhow::bail!("a line of the table is incomplete: {line}");
        };
        listed.insert(format!("{method} {path}"));
        let mut found = Vec::new();
        for caller in &callers {
            found.push(call(caller, method, path).await?.status.to_string());
        }
        assert_eq!(found, *statuses, "{method} {path}");
        if *method != "GET" && ENDS_SESSIONS.contains(path) {
            callers = all_callers(&stack, listed.len()).await?;
        }
    }

    let description = stack.anonymous()?.get("/api/v1/openapi.json").await?.expect(200)?.body;
    assert_eq!(description["openapi"], "3.1.0");
    let mut described = BTreeSet::new();
    for (path, operations) in description["paths"].as_object().context("paths")? {
        for method in operations.as_object().context("operations")?.keys() {
            described.insert(format!("{} {path}", method.to_uppercase()));
        }
    }
    assert_eq!(listed, described, "a route is missing in the table, or in the description");
    Ok(())
}

#[tokio::test]
async fn people_sign_in_with_their_password_and_with_nothing_else() -> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    let admin = stack.admin_user();
    let anonymous = stack.anonymous()?;
    let sign_in = |email: &str, password: &str| {
        let body = json!({ "email": email, "password": password });
        let anonymous = anonymous.clone();
        async move { anonymous.post("/api/v1/auth/login", &body).await }
    };
    let signed_in = sign_in(&admin.email.to_uppercase(), &admin.password).await?.expect(200)?;
    assert_eq!(signed_in.body["expiresInSeconds"], 900);
    assert_eq!(signed_in.headers["cache-control"], "no-store");

    let wrong = sign_in(&admin.email, "wrong password").await?;
    let unknown = sign_in("nobody@example.com", &admin.password).await?;
    for answer in [&wrong, &unknown] {
        assert_eq!((answer.status, answer.code()), (401, "sign-in-failed"), "{}", answer.text);
    }
    assert_eq!(wrong.body["detail"], unknown.body["detail"], "they do not tell who exists");
    let failures = entries(&stack.admin()?, "kind=user.sign-in-failed").await?;
    assert_eq!(failures.len(), 2, "one of the account, one of unknown addresses: {failures:?}");
    assert!(!json!(failures).to_string().contains("nobody@"), "{failures:?}");
    assert_eq!(metric(&stack, "aegis_sign_ins_total{result=\"failed\"}").await?, 2.0);

    let url = stack.control_plane(0).url();
    let mut token = admin.access_token.clone();
    Caller::person(url, &token)?.get("/api/v1/whoami").await?.expect(200)?;
    // The first character of the signature: all of its bits count.
    let signature = token.rfind('.').context("a token has a signature")? + 1;
    let other = if token[signature..].starts_with('A') { "B" } else { "A" };
    token.replace_range(signature..=signature, other);
    for token in [token.as_str(), "", "x.y.z", "eyJhbGciOiJub25lIn0.e30."] {
        let refused = Caller::person(url, token)?.get("/api/v1/whoami").await?;
        assert_eq!((refused.status, refused.code()), (401, "unauthenticated"), "{token}");
    }
    Ok(())
}

#[tokio::test]
async fn whoever_presents_a_signature_and_a_token_is_nobody() -> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    let token = format!("Bearer {}", stack.admin_user().access_token);
    let mut request = stack.client()?.request(Method::GET, "/api/v1/whoami").finish()?;
    request.send().await?.expect(200)?;
    request.headers.insert(http::header::AUTHORIZATION, token.parse()?);
    assert_eq!(request.send().await?.expect(401)?.code(), "unauthenticated");
    Ok(())
}
