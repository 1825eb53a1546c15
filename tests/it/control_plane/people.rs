//! People as admins manage them: invited, disabled, enabled, and never all gone.

use aegis_tests::callers::{Answer, Caller};
use aegis_tests::database::execute;
use aegis_tests::stack::{RegisteredUser, Stack, StackOptions, sign_in};
use anyhow::{Context, Result};
use reqwest::Method;
use serde_json::{Value, json};

use super::log::entries;

pub(super) async fn stack() -> Result<Stack> {
    Stack::start(StackOptions { control_planes: 2, ..StackOptions::default() }).await
}

/// The id of a person.
pub(super) async fn id_of(admin: &Caller, name: &str) -> Result<String> {
    let found = admin.get(&format!("/api/v1/users?email={name}@example.com")).await?.expect(200)?.body;
    Ok(found["items"][0]["id"].as_str().with_context(|| format!("nobody is called {name}"))?.to_owned())
}

/// Asks for something about a person: `disable`, `enable` or `invite`.
pub(super) async fn ask(admin: &Caller, id: &str, what: &str) -> Result<Answer> {
    admin.post(&format!("/api/v1/users/{id}/{what}"), &json!({})).await
}

/// `PUT` gives the role, `DELETE` takes it.
pub(super) async fn role(admin: &Caller, method: Method, id: &str, role: &str) -> Result<Answer> {
    admin.request(method, &format!("/api/v1/users/{id}/roles/{role}")).send().await
}

async fn accept(stack: &Stack, token: &Value, password: &str) -> Result<Answer> {
    let body = json!({ "invitationToken": token, "password": password });
    stack.anonymous()?.post("/api/v1/auth/accept-invitation", &body).await
}

#[tokio::test]
async fn who_is_invited_chooses_a_password_alone_and_is_nobody_at_once_when_disabled() -> Result<()> {
    const PASSWORD: &str = "the one that anna chose";
    let stack = stack().await?;
    let admin = stack.admin()?;
    let new = |email: &str| {
        let (admin, body) = (admin.clone(), json!({ "email": email }));
        async move { admin.post("/api/v1/users", &body).await }
    };
    let invited = new("anna@example.com").await?.expect(201)?;
    assert_eq!(invited.headers["cache-control"], "no-store");
    let id = invited.body["user"]["id"].as_str().context("id")?.to_owned();
    assert_eq!(
        (&invited.body["user"]["state"], &invited.body["user"]["roles"]),
        (&json!("invited"), &json!([]))
    );
    assert_eq!(new("Anna@Example.com").await?.expect(409)?.code(), "already-exists");
    assert_eq!(new("anna").await?.code(), "invalid-parameter");
    let sign_in_as_anna = |replica: usize| {
        let url = stack.control_plane(replica).url().to_owned();
        async move { sign_in(&url, "anna@example.com", PASSWORD).await }
    };
    assert!(sign_in_as_anna(0).await.is_err());

    // Only the newest invitation is good, and once.
    let first = &invited.body["invitationToken"];
    let again = ask(&admin, &id, "invite").await?.expect(200)?.body;
    assert_eq!(accept(&stack, first, PASSWORD).await?.expect(403)?.code(), "invitation-invalid");
    assert_eq!(accept(&stack, &again["invitationToken"], "short").await?.code(), "invalid-parameter");
    accept(&stack, &again["invitationToken"], PASSWORD).await?.expect(204)?;
    let late = accept(&stack, &again["invitationToken"], "the one of a thief").await?;
    assert_eq!(late.code(), "invitation-invalid");
    assert_eq!(ask(&admin, &id, "invite").await?.expect(409)?.code(), "not-invitable");
    let over = new("otto@example.com").await?.expect(201)?.body;
    let superuser = &stack.control_plane_database().superuser_url;
    execute(superuser, "update invitations set expires_at = now()".to_owned()).await?;
    assert_eq!(accept(&stack, &over["invitationToken"], PASSWORD).await?.code(), "invitation-invalid");

    // Without a role she sees herself, and nobody else; and cannot make herself more.
    let anna = Caller::person(stack.control_plane(1).url(), &sign_in_as_anna(1).await?)?;
    anna.get(&format!("/api/v1/users/{id}")).await?.expect(200)?;
    let admins = id_of(&admin, "admin").await?;
    assert_eq!(anna.get(&format!("/api/v1/users/{admins}")).await?.status, 404);
    let auditor = stack.new_person("audrey", &["auditor"]).await?;
    let seen = auditor.get(&format!("/api/v1/users/{id}")).await?.expect(200)?.body;
    assert_eq!((&seen["state"], &seen["email"]), (&json!("active"), &json!("anna@example.com")));
    for caller in [&anna, &auditor, &stack.client()?] {
        assert_eq!(role(caller, Method::PUT, &id, "admin").await?.code(), "forbidden");
        assert_eq!(role(caller, Method::DELETE, &admins, "admin").await?.code(), "forbidden");
        for what in ["disable", "enable", "invite"] {
            assert_eq!(ask(caller, &admins, what).await?.code(), "forbidden");
        }
    }

    let bot = stack.caller_of(&stack.new_client("annas-bot", "anna@example.com").await?)?;
    bot.get("/api/v1/whoami").await?.expect(200)?;
    ask(&admin, &id, "disable").await?.expect(200)?;
    for replica in stack.control_planes() {
        assert_eq!(anna.at(replica.url()).get("/api/v1/whoami").await?.code(), "unauthenticated");
    }
    assert_eq!(
        bot.get("/api/v1/whoami").await?.code(),
        "signature-invalid",
        "nobody answers for it any more"
    );
    assert!(sign_in_as_anna(0).await.is_err());
    ask(&admin, &id, "disable").await?.expect(200)?;
    assert_eq!(role(&admin, Method::PUT, &id, "sre").await?.expect(409)?.code(), "user-disabled");
    let enabled = ask(&admin, &id, "enable").await?.expect(200)?.body;
    bot.get("/api/v1/whoami").await?.expect(200)?;
    assert_eq!(enabled["state"], "active");
    assert_eq!(anna.get("/api/v1/whoami").await?.status, 401, "a session that was over stays so");
    sign_in_as_anna(0).await?;

    let mut listed = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = auditor.get(&format!("/api/v1/users?limit=1{cursor}")).await?.expect(200)?.body;
        listed.extend(page["items"].as_array().context("items")?.iter().map(|item| item["email"].clone()));
        let Some(next) = page["nextCursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(
        json!(listed),
        json!(["admin@example.com", "anna@example.com", "otto@example.com", "audrey@example.com"])
    );

    let told = entries(&auditor, "").await?;
    let kinds: Vec<&str> = told
        .iter()
        .filter(|entry| entry["data"]["user"] == json!(format!("user:{id}")))
        .filter_map(|entry| entry["kind"].as_str())
        .collect();
    assert_eq!(
        kinds,
        [
            "user.created",
            "user.invited",
            "user.invited",
            "user.password-set",
            "user.disabled",
            "session.ended",
            "user.enabled"
        ]
    );
    let told = json!(told).to_string();
    for secret in ["anna@", PASSWORD, first.as_str().context("a token")?] {
        assert!(!told.contains(secret), "{secret}");
    }
    Ok(())
}

/// Signs somebody in anew, before a replica.
async fn anew(stack: &Stack, replica: usize, user: &RegisteredUser) -> Result<Caller> {
    let url = stack.control_plane(replica).url();
    Caller::person(url, &sign_in(url, &user.email, &user.password).await?)
}

/// How many admins may sign in.
async fn admins(admin: &Caller) -> Result<usize> {
    let page = admin.get("/api/v1/users").await?.expect(200)?.body;
    let is_admin = |user: &&Value| {
        let roles = user["roles"].as_array();
        user["state"] == "active" && roles.is_some_and(|roles| roles.contains(&json!("admin")))
    };
    Ok(page["items"].as_array().context("items")?.iter().filter(is_admin).count())
}

#[tokio::test]
async fn of_two_admins_who_take_each_other_away_at_once_one_is_left() -> Result<()> {
    let stack = stack().await?;
    let operator = stack.admin()?;
    let ada = stack.admin_user().clone();
    let bela = stack.new_user("bela", &["admin"]).await?;
    let (ada_id, bela_id) = (id_of(&operator, "admin").await?, id_of(&operator, "bela").await?);
    for round in 0..6 {
        let (one, other) = (anew(&stack, 0, &ada).await?, anew(&stack, 1, &bela).await?);
        let (first, second) = if round % 2 == 0 {
            tokio::join!(ask(&one, &bela_id, "disable"), ask(&other, &ada_id, "disable"))
        } else {
            tokio::join!(
                role(&one, Method::DELETE, &bela_id, "admin"),
                role(&other, Method::DELETE, &ada_id, "admin")
            )
        };
        let (first, second) = (first?, second?);
        let (winner, myself, refused) =
            if first.status == 200 { (&one, &ada_id, second) } else { (&other, &bela_id, first) };
        let code = refused.code();
        assert!(["last-admin", "unauthenticated", "forbidden"].contains(&code), "{round}: {}", refused.text);
        assert_eq!(admins(winner).await?, 1, "{round}");
        // Neither does the one who is left take themselves away.
        assert_eq!(ask(winner, myself, "disable").await?.expect(409)?.code(), "last-admin");
        assert_eq!(role(winner, Method::DELETE, myself, "admin").await?.expect(409)?.code(), "last-admin");
        for (id, user) in [(&ada_id, &ada), (&bela_id, &bela)] {
            ask(winner, id, "enable").await?.expect(200)?;
            stack.command(["user", "grant", "--email", &user.email, "--role", "admin"]).await?;
        }
    }
    // Who has no password yet is nobody's last hope; and no other way than the API goes round it.
    let admin = anew(&stack, 0, &ada).await?;
    ask(&admin, &bela_id, "disable").await?.expect(200)?;
    admin.post("/api/v1/users", &json!({ "email": "ivan@example.com" })).await?.expect(201)?;
    stack.command(["user", "grant", "--email", "ivan@example.com", "--role", "admin"]).await?;
    assert_eq!(ask(&admin, &ada_id, "disable").await?.expect(409)?.code(), "last-admin");
    assert!(stack.command(["user", "revoke", "--email", &ada.email, "--role", "admin"]).await.is_err());
    let superuser = &stack.control_plane_database().superuser_url;
    for sql in ["update users set disabled_at = now()", "delete from user_roles where role = 'admin'"] {
        let refused = execute(superuser, sql.to_owned()).await.err().context(sql)?;
        assert!(format!("{refused:#}").contains("nobody would be an admin"), "{refused:#}");
    }
    admin.get("/api/v1/whoami").await?.expect(200)?;
    Ok(())
}
