//! Signing in with an identity provider: a real one, and one that says what no real one would.

mod hostile;
mod scene;

use std::time::Duration;

use aegis_tests::callers::Caller;
use aegis_tests::database::execute;
use aegis_tests::eventually::{eventually, until};
use aegis_tests::oidc::{Browser, Provider};
use aegis_tests::paths::write_private;
use aegis_tests::stack::{Stack, sign_in as sign_in_with_password};
use anyhow::{Context, Error, Result};
use reqwest::Method;
use serde_json::{Value, json};

use self::scene::{
    Program, ask_to_begin, caller, configure, handed_over, redeem, redirect_uri, roles, sign_in, stack,
};
use super::log::{entries, refusals};
use super::people::{ask, id_of, role};
use super::rotation::renewals;

/// What is waited for takes seconds; a busy machine is given much more before the test fails.
const WITHIN: Duration = Duration::from_secs(120);
const ROLES: &str = "sre-leads=sre-lead,sre-leads=user,platform-admins=admin";

fn person(name: &str, groups: &[&str]) -> Value {
    json!({ "email": format!("{name}@example.com"), "email_verified": true, "groups": groups })
}

async fn start(is_encrypted: bool) -> Result<(Stack, Provider)> {
    let stack = stack(&[]).await?;
    let provider = Provider::start(&redirect_uri(&stack), is_encrypted).await?;
    configure(&stack, &provider.settings(), ROLES).await?;
    Ok((stack, provider))
}

#[tokio::test]
async fn who_comes_from_the_provider_holds_what_its_claims_say_and_nothing_else_by_them() -> Result<()> {
    let (stack, provider) = start(false).await?;
    let admin = stack.admin()?;
    provider.set_people(&json!({ "alice": person("alice", &["sre-leads", "others"]) }))?;
    let first = sign_in(&stack, &provider, "alice").await?.expect(200)?;
    assert_eq!(first.headers["cache-control"], "no-store");
    let alice = caller(&stack, 1, &first)?;
    assert_eq!(roles(&alice).await?, json!(["sre-lead", "user"]));
    let id = id_of(&admin, "alice").await?;
    let seen = admin.get(&format!("/api/v1/users/{id}")).await?.expect(200)?.body;
    assert_eq!((&seen["state"], &seen["roles"]), (&json!("active"), &json!(["sre-lead", "user"])));

    // Nobody edits by hand what comes back by itself, or gives a password to who has none on purpose.
    assert_eq!(role(&admin, Method::DELETE, &id, "user").await?.expect(409)?.code(), "role-from-claims");
    assert!(
        stack.command(["user", "revoke", "--email", "alice@example.com", "--role", "user"]).await.is_err()
    );
    assert_eq!(ask(&admin, &id, "invite").await?.expect(409)?.code(), "not-invitable");
    stack.command(["user", "grant", "--email", "alice@example.com", "--role", "by-hand"]).await?;

    // Another session, other groups: exactly those, at once, in all sessions; what people gave stays.
    provider.set_people(&json!({ "alice": person("alice", &["platform-admins"]) }))?;
    let second = sign_in(&stack, &provider, "alice").await?.expect(200)?;
    for signed_in in [&first, &second] {
        assert_eq!(roles(&caller(&stack, 0, signed_in)?).await?, json!(["admin", "by-hand"]));
    }
    assert_eq!(id_of(&admin, "alice").await?, id, "the same person");
    let refreshed = json!({ "refreshToken": second.body["refreshToken"] });
    stack.anonymous()?.post("/api/v1/auth/refresh", &refreshed).await?.expect(200)?;
    // An admin by claims is none that could be left alone: the provider may take it, or be away.
    let own = id_of(&admin, "admin").await?;
    assert_eq!(ask(&alice, &own, "disable").await?.expect(409)?.code(), "last-admin");

    provider.set_people(&json!({ "alice": person("alice", &["others"]) }))?;
    assert_eq!(sign_in(&stack, &provider, "alice").await?.expect(403)?.code(), "no-role");
    assert_eq!(roles(&alice).await?, json!(["by-hand"]), "what the claims gave is taken all the same");
    provider.set_people(&json!({ "alice": person("alice", &["sre-leads"]) }))?;
    ask(&admin, &id, "disable").await?.expect(200)?;
    assert_eq!(sign_in(&stack, &provider, "alice").await?.expect(409)?.code(), "user-disabled");
    ask(&admin, &id, "enable").await?.expect(200)?;
    sign_in(&stack, &provider, "alice").await?.expect(200)?;

    let told = entries(&admin, "").await?;
    let of_alice: Vec<&Value> =
        told.iter().filter(|entry| entry["principal"] == json!(format!("user:{id}"))).collect();
    let kinds: Vec<&str> = of_alice.iter().filter_map(|entry| entry["kind"].as_str()).collect();
    assert_eq!(
        kinds,
        [
            "user.created",
            "user.roles-changed",
            "user.signed-in",
            "user.roles-changed",
            "user.signed-in",
            "user.roles-changed",
            "user.roles-changed",
            "user.signed-in",
        ]
    );
    let data = &of_alice[2]["data"];
    assert_eq!((&data["method"], &data["issuer"]), (&json!("oidc"), &json!(provider.issuer())));
    let data = &of_alice[3]["data"];
    assert_eq!(
        (&data["before"], &data["roles"], &data["source"]),
        (&json!(["by-hand", "sre-lead", "user"]), &json!(["admin", "by-hand"]), &json!("claims"))
    );
    assert!(!json!(told).to_string().contains("alice@"));
    Ok(())
}

#[tokio::test]
async fn an_e_mail_address_proves_nobody_and_an_account_is_not_taken_by_it() -> Result<()> {
    let (stack, provider) = start(false).await?;
    let unproven = json!({ "email": "bob@example.com", "email_verified": false, "groups": ["sre-leads"] });
    provider.set_people(&json!({
        "mallory": person("Admin", &["platform-admins"]),
        "bob": unproven,
        "carol": { "groups": ["sre-leads"] },
        "dave": person("dave", &[]),
        "old-erin": person("erin", &["sre-leads"]),
    }))?;
    for (name, status, code) in [
        ("mallory", 409, "email-taken"),
        ("bob", 403, "email-unverified"),
        ("carol", 403, "email-unverified"),
        ("dave", 403, "no-role"),
    ] {
        let refused = sign_in(&stack, &provider, name).await?;
        assert_eq!((refused.status, refused.code()), (status, code), "{name}");
        assert!(refusals(&stack, code).await? >= 1, "{code} is recorded");
    }
    let admin = stack.admin()?;
    let known = admin.get("/api/v1/users").await?.expect(200)?.body;
    assert_eq!(known["items"].as_array().map(Vec::len), Some(1), "{known}");
    let user = stack.admin_user();
    sign_in_with_password(stack.control_plane(0).url(), &user.email, &user.password).await?;

    // Who left, and somebody else who is given the address: two people, of whom the second is told so.
    sign_in(&stack, &provider, "old-erin").await?.expect(200)?;
    provider.set_people(&json!({ "new-erin": person("erin", &["sre-leads"]) }))?;
    assert_eq!(sign_in(&stack, &provider, "new-erin").await?.code(), "email-taken");
    // Who comes from the provider has no password that could be right.
    assert!(sign_in_with_password(stack.control_plane(0).url(), "erin@example.com", "any").await.is_err());
    Ok(())
}

/// Goes through the provider's pages; where the person is sent back to.
async fn back_from(provider: &Provider, program: &Program, person: &str) -> Result<String> {
    provider.browser()?.sign_in(provider, &program.url, person).await
}

#[tokio::test]
async fn a_session_is_for_who_began_the_sign_in_and_everything_in_between_is_good_once() -> Result<()> {
    let (stack, provider) = start(false).await?;
    provider.set_people(&json!({ "alice": person("alice", &["sre-leads"]) }))?;
    let browser = Browser::new(None)?;
    let hand_over = async |back: &str, program: &Program| handed_over(&browser.get(back).await?, program);

    // What goes to the provider: a hash of one secret, and no other.
    let program = Program::begin(&stack, 0).await?;
    assert_eq!(program.parameter("code_challenge_method")?, "S256");
    assert!(!program.url.contains(&program.verifier));
    for (parameter, value) in [("response_type", "code"), ("redirect_uri", &redirect_uri(&stack))] {
        assert_eq!(program.parameter(parameter)?, value);
    }

    // Whoever sends others a link holds the secret and never sees the code; whoever sees the code lacks the secret.
    let back = back_from(&provider, &program, "alice").await?;
    let code = hand_over(&back, &program).await?.map_err(Error::msg)?;
    let other = Program::begin(&stack, 1).await?;
    for verifier in [other.verifier.as_str(), "", &program.flow, &program.parameter("code_challenge")?] {
        assert_eq!(redeem(&stack, 0, &code, verifier).await?.expect(403)?.code(), "flow-unknown");
    }
    assert_eq!(program.redeem(&stack, 0, &program.flow).await?.code(), "flow-unknown");
    program.redeem(&stack, 1, &code).await?.expect(200)?;
    assert_eq!(program.redeem(&stack, 1, &code).await?.code(), "flow-unknown", "good once");
    let again = browser.get(&back).await?;
    assert!(again.status == 403 && again.text.contains("flow-unknown"), "{again:?}");

    // A code that was used, and one of another sign-in (somebody signs others in as themselves).
    let used = scene::parameter(&back, "code")?.context("a code")?;
    let iss = format!("iss={}", provider.issuer());
    let replayed = other.back_with(&stack, &format!("code={used}&{iss}"))?;
    assert_eq!(hand_over(&replayed, &other).await?, Err("identity-refused".to_owned()));
    let (mine, theirs) = (Program::begin(&stack, 0).await?, Program::begin(&stack, 0).await?);
    let back = back_from(&provider, &mine, "alice").await?;
    let fresh = scene::parameter(&back, "code")?.context("a code")?;
    let injected = theirs.back_with(&stack, &format!("code={fresh}&{iss}"))?;
    assert_eq!(hand_over(&injected, &theirs).await?, Err("identity-refused".to_owned()));
    assert!(refusals(&stack, "oidc-code-refused").await? >= 1);

    // Whom it is from is said, and is the one that it was begun with; others may say no.
    for (more, error) in [
        ("code=x&iss=https://evil.example.com".to_owned(), "identity-refused"),
        ("code=x".to_owned(), "identity-refused"),
        (format!("error=access_denied&{iss}"), "sign-in-declined"),
        (format!("error=server_error&{iss}"), "identity-refused"),
        (format!("code=x&error=access_denied&{iss}"), "sign-in-declined"),
    ] {
        let program = Program::begin(&stack, 0).await?;
        let back = program.back_with(&stack, &more)?;
        assert_eq!(hand_over(&back, &program).await?, Err(error.to_owned()), "{more}");
        assert_eq!(browser.get(&back).await?.status, 403, "{more}: good once, whatever came of it");
    }
    assert!(refusals(&stack, "oidc-issuer-mixed-up").await? >= 1);
    for query in ["", "?code=x", "?state=&code=x", "?state=x&code=x", "?state=x"] {
        let answer = browser.get(&format!("{}{query}", redirect_uri(&stack))).await?;
        assert!(answer.status == 403 && answer.location.is_none(), "{query}: {answer:?}");
    }
    assert_eq!(browser.get(&format!("{}?state=x&state=y", redirect_uri(&stack))).await?.status, 400);

    // Too late on either way, and what the database's admin exchanges.
    let superuser = &stack.control_plane_database().superuser_url;
    let late = Program::begin(&stack, 0).await?;
    let back = back_from(&provider, &late, "alice").await?;
    execute(superuser, "update sign_in_flows set expires_at = now()".to_owned()).await?;
    assert_eq!(browser.get(&back).await?.status, 403);
    let late = Program::begin(&stack, 0).await?;
    let code = hand_over(&back_from(&provider, &late, "alice").await?, &late).await?.map_err(Error::msg)?;
    execute(superuser, "update sign_in_flows set expires_at = now()".to_owned()).await?;
    assert_eq!(late.redeem(&stack, 0, &code).await?.code(), "flow-unknown");
    let (first, second) = (Program::begin(&stack, 0).await?, Program::begin(&stack, 0).await?);
    hand_over(&back_from(&provider, &first, "alice").await?, &first).await?.map_err(Error::msg)?;
    let code =
        hand_over(&back_from(&provider, &second, "alice").await?, &second).await?.map_err(Error::msg)?;
    let exchanged = format!(
        "update sign_in_flows set sealed_identity = (select sealed_identity from sign_in_flows where id = '{}') \
         where id = '{}'",
        first.flow, second.flow
    );
    execute(superuser, exchanged).await?;
    assert_eq!(second.redeem(&stack, 0, &code).await?.code(), "flow-unknown");

    for (body, code) in [
        (json!({ "challenge": "x", "port": 40_000 }), "invalid-parameter"),
        (json!({ "challenge": "A".repeat(43), "port": 22 }), "invalid-parameter"),
        (json!({ "challenge": "x".repeat(43), "port": 70_000 }), "invalid"),
        (json!({ "challenge": "x".repeat(43), "port": 40_000, "host": "evil.example.com" }), "invalid"),
    ] {
        assert_eq!(stack.anonymous()?.post("/api/v1/auth/oidc", &body).await?.expect(400)?.code(), code);
    }
    Ok(())
}

#[tokio::test]
async fn a_provider_that_is_away_keeps_nobody_with_a_password_out_and_comes_back_with_other_keys()
-> Result<()> {
    let (stack, provider) = start(true).await?;
    provider.set_people(&json!({ "alice": person("alice", &["sre-leads"]) }))?;
    let alice = caller(&stack, 0, &sign_in(&stack, &provider, "alice").await?.expect(200)?)?;
    let begun = Program::begin(&stack, 0).await?;
    let back = back_from(&provider, &begun, "alice").await?;

    provider.process().kill()?;
    let page = Browser::new(None)?.get(&back).await?;
    assert_eq!(handed_over(&page, &begun)?, Err("provider-unavailable".to_owned()));
    stack.control_plane(0).restart().await?;
    let refused = ask_to_begin(&stack, 0, "x").await?.expect(503)?;
    assert_eq!(refused.code(), "provider-unavailable");
    assert!(refused.headers.contains_key("retry-after"));
    let user = stack.admin_user();
    let token = sign_in_with_password(stack.control_plane(0).url(), &user.email, &user.password).await?;
    Caller::person(stack.control_plane(0).url(), &token)?.get("/api/v1/whoami").await?.expect(200)?;
    alice.get("/api/v1/whoami").await?.expect(200)?;

    // Its keys are others now. They are looked at again, but not as often as tokens name one.
    provider.restart().await?;
    eventually("signing in under the provider's new keys", WITHIN, async || {
        Ok(Some(sign_in(&stack, &provider, "alice").await?.expect(200)?))
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn the_proof_to_the_provider_changes_while_people_sign_in() -> Result<()> {
    let (stack, provider) = start(false).await?;
    provider.set_people(&json!({ "alice": person("alice", &["sre-leads"]) }))?;
    let renewed = async |times: u64| {
        for replica in stack.control_planes() {
            until("the other proof being in force", WITHIN, async || {
                Ok(renewals(replica.url()).await?.0 == times)
            })
            .await?;
        }
        anyhow::Ok(())
    };
    write_private(&provider.client_secret_file(), "one that the provider does not know")?;
    renewed(1).await?;
    let program = Program::begin(&stack, 0).await?;
    let page = Browser::new(None)?.get(&back_from(&provider, &program, "alice").await?).await?;
    assert!(handed_over(&page, &program)?.is_err(), "the provider took another proof: {page:?}");
    write_private(&provider.client_secret_file(), provider.client_secret())?;
    renewed(2).await?;
    sign_in(&stack, &provider, "alice").await?.expect(200)?;
    Ok(())
}
