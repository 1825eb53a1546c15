//! Sessions of people: how they go on, and that they end at once, on every replica.

use std::time::Duration;

use aegis_tests::callers::{Answer, Caller};
use aegis_tests::cluster::Cluster;
use aegis_tests::database::{Server, execute};
use aegis_tests::eventually::eventually;
use aegis_tests::stack::{RegisteredUser, Stack, StackOptions};
use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::log::entries;

/// Two replicas over a database of their own, so that it can be broken.
async fn stack() -> Result<Stack> {
    let options = StackOptions { control_planes: 2, ..StackOptions::default() };
    Stack::start_on(Cluster::shared().await?, Server::start().await?, options).await
}

async fn sign_in(stack: &Stack, replica: usize, user: &RegisteredUser) -> Result<Value> {
    let body = json!({ "email": user.email, "password": user.password });
    let anonymous = Caller::anonymous(stack.control_plane(replica).url())?;
    Ok(anonymous.post("/api/v1/auth/login", &body).await?.expect(200)?.body)
}

async fn refresh(stack: &Stack, replica: usize, token: &Value) -> Result<Answer> {
    let anonymous = Caller::anonymous(stack.control_plane(replica).url())?;
    anonymous.post("/api/v1/auth/refresh", &json!({ "refreshToken": token })).await
}

/// The caller of a signed-in person on a replica.
fn caller(stack: &Stack, replica: usize, signed_in: &Value) -> Result<Caller> {
    let token = signed_in["accessToken"].as_str().context("an access token")?;
    Caller::person(stack.control_plane(replica).url(), token)
}

/// Checks that none of the tokens of a session is good any more, on any replica.
async fn is_over(stack: &Stack, signed_in: &Value) -> Result<()> {
    for replica in 0..stack.control_planes().len() {
        let refused = caller(stack, replica, signed_in)?.get("/api/v1/whoami").await?;
        assert_eq!((refused.status, refused.code()), (401, "unauthenticated"), "{}", refused.text);
        let refused = refresh(stack, replica, &signed_in["refreshToken"]).await?;
        assert_eq!((refused.status, refused.code()), (401, "unauthenticated"), "{}", refused.text);
    }
    Ok(())
}

/// Lets the time pass in which a used token gets its successor again.
async fn pass_grace(stack: &Stack) -> Result<()> {
    let earlier = "update refresh_tokens set used_at = used_at - interval '31 s'".to_owned();
    execute(&stack.control_plane_database().superuser_url, earlier).await
}

async fn sessions(caller: &Caller) -> Result<Vec<Value>> {
    let page = caller.get("/api/v1/sessions?limit=200").await?.expect(200)?.body;
    Ok(page["items"].as_array().context("items")?.clone())
}

#[tokio::test]
async fn a_session_goes_on_whatever_is_lost_and_ends_when_two_hold_its_token() -> Result<()> {
    let stack = stack().await?;
    let admin = stack.admin_user().clone();
    let first = sign_in(&stack, 0, &admin).await?;
    assert_eq!(
        (&first["expiresInSeconds"], &first["refreshExpiresInSeconds"]),
        (&json!(900), &json!(604_800))
    );

    // Tabs of one browser refresh at once, through both replicas, and all have the same successor.
    let mut together = JoinSet::new();
    for replica in stack.control_planes().iter().cycle().take(8) {
        let (tab, body) =
            (Caller::anonymous(replica.url())?, json!({ "refreshToken": first["refreshToken"] }));
        together.spawn(async move { tab.post("/api/v1/auth/refresh", &body).await });
    }
    let mut second = Value::Null;
    for answer in together.join_all().await {
        let answer = answer?.expect(200)?;
        assert_eq!(answer.headers["cache-control"], "no-store");
        assert!(second.is_null() || second["refreshToken"] == answer.body["refreshToken"]);
        caller(&stack, 1, &answer.body)?.get("/api/v1/whoami").await?.expect(200)?;
        second = answer.body;
    }
    assert_ne!(second["refreshToken"], first["refreshToken"]);

    // An answer that nobody received, because its replica was killed, is given again by the other.
    let lost = refresh(&stack, 0, &second["refreshToken"]).await?.expect(200)?.body;
    stack.control_plane(0).kill()?;
    let third = refresh(&stack, 1, &second["refreshToken"]).await?.expect(200)?.body;
    assert_eq!(third["refreshToken"], lost["refreshToken"]);
    stack.control_plane(0).restart().await?;

    // A database that does not answer in time costs nobody their session.
    stack.server().process().stop()?;
    let silent = refresh(&stack, 0, &third["refreshToken"]).await?;
    assert_eq!((silent.status, silent.code()), (503, "audit-unavailable"), "{}", silent.text);
    stack.server().process().cont()?;
    let fourth = eventually("the session going on", Duration::from_secs(60), || async {
        let answer = refresh(&stack, 0, &third["refreshToken"]).await?;
        ensure!(answer.status != 503, "{}", answer.text);
        Ok(Some(answer.expect(200)?.body))
    })
    .await?;

    // What nobody ever issued, and what is no refresh token, ends nothing.
    for token in ["", "AAAA", fourth["accessToken"].as_str().unwrap_or_default()] {
        assert_eq!(refresh(&stack, 1, &json!(token)).await?.status, 401);
    }
    caller(&stack, 1, &fourth)?.get("/api/v1/whoami").await?.expect(200)?;

    // A token that comes again is in two hands: the session is over, whoever of them was the thief.
    let other = sign_in(&stack, 1, &admin).await?;
    pass_grace(&stack).await?;
    assert_eq!(refresh(&stack, 1, &first["refreshToken"]).await?.code(), "unauthenticated");
    is_over(&stack, &fourth).await?;
    caller(&stack, 0, &other)?.get("/api/v1/whoami").await?.expect(200)?;
    let ended = entries(&stack.admin()?, "kind=session.ended").await?;
    let said: Vec<_> = ended.iter().map(|entry| (&entry["principal"], &entry["data"]["reason"])).collect();
    assert_eq!(said, [(&json!("anonymous"), &json!("refresh-token-reused"))]);

    // Nothing that a token could be made of stands in the database.
    let stored = [&first, &second, &third, &fourth, &other].map(|pair| pair["refreshToken"].as_str());
    let stored: Vec<String> = stored.into_iter().flatten().map(|token| format!("'{token}'")).collect();
    let found = format!(
        "do $$ begin if exists (select from refresh_tokens where encode(hash, 'escape') in ({0}) \
         or encode(hash, 'base64') in ({0})) then raise exception 'a token is stored'; end if; end $$",
        stored.join(", ")
    );
    execute(&stack.control_plane_database().superuser_url, found).await
}

#[tokio::test]
async fn whoever_ends_sessions_ends_their_own_at_once_on_every_replica() -> Result<()> {
    let stack = Stack::start(StackOptions { control_planes: 2, ..StackOptions::default() }).await?;
    let admin = stack.admin_user().clone();
    let mut signed_in = Vec::new();
    for replica in [0, 1, 0, 1] {
        signed_in.push(sign_in(&stack, replica, &admin).await?);
    }
    let me = caller(&stack, 1, &signed_in[3])?;
    let listed = sessions(&me).await?;
    let [_, first, _, third, current] = &listed[..] else { anyhow::bail!("{listed:?}") };
    assert_eq!(listed.iter().filter(|session| session["isCurrent"] == true).count(), 1);
    assert_eq!(current["isCurrent"], true, "{current}");

    // Somebody else's looks absent, and so does one that never was; a client has none.
    let ursula = stack.new_person("ursula", &["user"]).await?;
    for session in [first, &json!({ "id": "019a9f0e-1c4b-7c11-9d0a-2f1b6f7a8c90" })] {
        let path = format!("/api/v1/sessions/{}", session["id"].as_str().context("id")?);
        assert_eq!(ursula.delete(&path).await?.status, 404);
        assert_eq!(stack.client()?.delete(&path).await?.status, 403);
    }
    assert_eq!(sessions(&ursula).await?.len(), 1);
    caller(&stack, 0, &signed_in[0])?.get("/api/v1/whoami").await?.expect(200)?;

    let path = format!("/api/v1/sessions/{}", first["id"].as_str().context("id")?);
    me.delete(&path).await?.expect(204)?;
    is_over(&stack, &signed_in[0]).await?;
    assert_eq!(me.delete(&path).await?.status, 404, "it is over");
    caller(&stack, 0, &signed_in[1])?.post("/api/v1/auth/logout", &json!({})).await?.expect(204)?;
    is_over(&stack, &signed_in[1]).await?;

    // One that nobody continued is over by itself, and so is one that is as old as any may become.
    let superuser = &stack.control_plane_database().superuser_url;
    let id = third["id"].as_str().context("id")?;
    let continued = refresh(&stack, 0, &signed_in[2]["refreshToken"]).await?.expect(200)?.body;
    execute(
        superuser,
        format!("update sessions set created_at = now() - interval '29 days' where id = '{id}'"),
    )
    .await?;
    let last = refresh(&stack, 0, &continued["refreshToken"]).await?.expect(200)?.body;
    let left = last["refreshExpiresInSeconds"].as_i64().context("seconds")?;
    assert!((80_000..=86_400).contains(&left), "{left}");
    execute(superuser, format!("update sessions set expires_at = now() where id = '{id}'")).await?;
    is_over(&stack, &last).await?;

    assert_eq!(sessions(&me).await?.len(), 2, "the one of the stack, and this one");
    me.delete("/api/v1/sessions").await?.expect(204)?;
    is_over(&stack, &signed_in[3]).await?;
    assert_eq!(stack.admin()?.get("/api/v1/whoami").await?.status, 401, "all are all");
    ursula.get("/api/v1/whoami").await?.expect(200)?;

    let auditor = stack.new_person("otto", &["auditor"]).await?;
    let ended = entries(&auditor, "kind=session.ended").await?;
    let said: Vec<_> = ended
        .iter()
        .map(|entry| (entry["data"]["reason"].as_str(), entry["data"]["sessions"].as_array().map(Vec::len)))
        .collect();
    assert_eq!(said, [(Some("ended"), Some(1)), (Some("signed-out"), Some(1)), (Some("ended"), Some(2))]);
    Ok(())
}

#[tokio::test]
async fn a_new_password_ends_all_other_sessions_and_two_changes_at_once_are_one() -> Result<()> {
    let stack = Stack::start(StackOptions { control_planes: 2, ..StackOptions::default() }).await?;
    let admin = stack.admin_user().clone();
    let (mine, other) = (sign_in(&stack, 0, &admin).await?, sign_in(&stack, 1, &admin).await?);
    let me = caller(&stack, 0, &mine)?;
    let change = |replica: usize, current: &str, new: &str| {
        let (me, body) =
            (caller(&stack, replica, &mine), json!({ "currentPassword": current, "newPassword": new }));
        async move { me?.post("/api/v1/users/me/password", &body).await }
    };
    let wrong = change(0, "not my password", "a much better one").await?;
    assert_eq!((wrong.status, wrong.code()), (403, "password-wrong"), "{}", wrong.text);
    for unusable in ["short", &"x".repeat(1_025)] {
        assert_eq!(change(0, &admin.password, unusable).await?.code(), "invalid-parameter");
    }
    caller(&stack, 1, &other)?.get("/api/v1/whoami").await?.expect(200)?;

    let (one, two) = tokio::join!(
        change(0, &admin.password, "the one of mine"),
        change(1, &admin.password, "the one of ours")
    );
    let statuses = [one?.status, two?.status];
    assert!(statuses.contains(&204) && statuses.contains(&403), "{statuses:?}");
    is_over(&stack, &other).await?;
    me.get("/api/v1/whoami").await?.expect(200)?;
    let new = if statuses[0] == 204 { "the one of mine" } else { "the one of ours" };
    sign_in(&stack, 1, &RegisteredUser { password: new.to_owned(), ..admin.clone() }).await?;
    let body = json!({ "email": admin.email, "password": admin.password });
    assert_eq!(me.post("/api/v1/auth/login", &body).await?.code(), "sign-in-failed");
    let changes = entries(&me, "kind=user.password-changed").await?;
    assert_eq!(changes.len(), 1, "{changes:?}");

    // What a person is called is theirs to say, and not for the log.
    let rename =
        |name: Value| me.request(Method::PATCH, "/api/v1/users/me").json(&json!({ "name": name })).send();
    let renamed = rename(json!("Anna Berg")).await?.expect(200)?.body;
    assert_eq!((&renamed["name"], &renamed["email"]), (&json!("Anna Berg"), &json!(admin.email)));
    rename(json!("Anna Berg")).await?.expect(200)?;
    for name in ["", "a\nb", &"x".repeat(101)] {
        assert_eq!(rename(json!(name)).await?.code(), "invalid-parameter", "{name}");
    }
    assert!(rename(Value::Null).await?.expect(200)?.body.get("name").is_none());
    assert_eq!(me.get("/api/v1/users/me").await?.expect(200)?.body["roles"], json!(["admin"]));
    let changes = entries(&me, "kind=user.profile-changed").await?;
    assert_eq!(changes.len(), 2, "the same name again is no change");
    assert!(!json!(changes).to_string().contains("Anna"), "{changes:?}");
    Ok(())
}
