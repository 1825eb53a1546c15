//! Second factors: how they are got, that a code is good once, what asks for them, and how guessing them is bounded.

mod guarded;
mod guessing;

use std::time::Duration;

use aegis_tests::authenticator::Authenticator;
use aegis_tests::callers::{Answer, Caller};
use aegis_tests::database::execute;
use aegis_tests::stack::{RegisteredUser, Stack, StackOptions, sign_in};
use anyhow::{Context, Result};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection, Row, raw_sql};

use super::log::entries;
use super::people::id_of;

const OWN: &str = "/api/v1/users/me/second-factor";
const CONFIRM: &str = "/api/v1/users/me/second-factor/confirm";
const STEP_UP: &str = "/api/v1/auth/step-up";

async fn stack(more: &[(&str, &str)]) -> Result<Stack> {
    // What is looked at here shall be what limits, and nothing else.
    let mut settings = vec![("THROTTLES".to_owned(), "sign-in=100000".to_owned())];
    settings.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    Stack::start(StackOptions {
        control_planes: 2,
        control_plane_settings: settings,
        ..StackOptions::default()
    })
    .await
}

async fn sql(stack: &Stack, text: &str) -> Result<()> {
    execute(&stack.control_plane_database().superuser_url, text.to_owned()).await
}

/// A code of now that is good, also if one of now was used.
async fn fresh(stack: &Stack, app: &Authenticator) -> Result<String> {
    sql(stack, "update second_factors set last_step = 0").await?;
    Ok(app.code(0))
}

/// As if all sessions had been begun long ago.
async fn forget_step_ups(stack: &Stack) -> Result<()> {
    sql(stack, "update sessions set stepped_up_at = stepped_up_at - interval '1 hour'").await
}

async fn login(caller: &Caller, user: &RegisteredUser, code: Option<&str>) -> Result<Answer> {
    let body = json!({ "email": user.email, "password": user.password, "code": code });
    caller.post("/api/v1/auth/login", &body).await
}

async fn step_up(caller: &Caller, code: &str) -> Result<Answer> {
    caller.post(STEP_UP, &json!({ "code": code })).await
}

/// Somebody who signs in, before a replica.
async fn person(stack: &Stack, replica: usize, user: &RegisteredUser) -> Result<Caller> {
    let url = stack.control_plane(replica).url();
    Caller::person(url, &sign_in(url, &user.email, &user.password).await?)
}

/// The same with a code, which counts as shown in that session.
async fn person_with(stack: &Stack, replica: usize, user: &RegisteredUser, code: &str) -> Result<Caller> {
    let url = stack.control_plane(replica).url();
    let answer = login(&Caller::anonymous(url)?, user, Some(code)).await?.expect(200)?;
    Caller::person(url, answer.body["accessToken"].as_str().context("a token")?)
}

/// Something that asks for a second factor, and is not there.
async fn privileged(caller: &Caller) -> Result<Answer> {
    caller.post("/api/v1/clients/absent/disable", &json!({})).await
}

#[tokio::test]
async fn a_secret_counts_when_a_code_confirms_it_and_is_asked_for_from_then_on() -> Result<()> {
    let stack = stack(&[]).await?;
    let admin = stack.admin()?;
    let user = stack.new_user("anna", &["admin"]).await?;
    let (anna, elsewhere) = (person(&stack, 0, &user).await?, person(&stack, 1, &user).await?);
    let begin = async |body: Value| anna.post(OWN, &body).await;
    let confirm = async |code: &str| anna.post(CONFIRM, &json!({ "code": code })).await;

    // A session alone gets no secret.
    assert_eq!(anna.get(OWN).await?.expect(200)?.body, json!({ "state": "none" }));
    assert_eq!(begin(json!({})).await?.expect(400)?.code(), "invalid-parameter");
    assert_eq!(begin(json!({ "password": "another one" })).await?.expect(403)?.code(), "password-wrong");
    assert_eq!(confirm("000000").await?.status, 404);
    assert_eq!(step_up(&anna, "000000").await?.status, 404);
    let first = begin(json!({ "password": user.password })).await?.expect(200)?;
    assert_eq!(first.headers["cache-control"], "no-store");
    let abandoned = Authenticator::new(first.body["secret"].as_str().context("a secret")?)?;
    let second = begin(json!({ "password": user.password })).await?.expect(200)?.body;
    let (secret, uri) =
        (second["secret"].as_str().context("secret")?, second["uri"].as_str().context("uri")?);
    assert!(uri.starts_with("otpauth://totp/Aegis:anna@example.com?"), "{uri}");
    assert!(uri.contains(secret) && first.body["secret"] != second["secret"], "{uri}");

    // What nobody confirmed counts for nothing.
    assert_eq!(anna.get(OWN).await?.expect(200)?.body, json!({ "state": "pending" }));
    person(&stack, 1, &user).await?;
    assert_eq!(privileged(&anna).await?.status, 404);
    let app = Authenticator::new(secret)?;
    assert_eq!(step_up(&anna, &app.code(0)).await?.status, 404);
    assert_eq!(confirm(&abandoned.code(0)).await?.expect(403)?.code(), "code-wrong");
    let confirmed = confirm(&app.code(-1)).await?.expect(200)?;
    assert_eq!(confirmed.headers["cache-control"], "no-store");
    let recovery = confirmed.body["recoveryCodes"].as_array().context("codes")?.clone();
    assert_eq!(recovery.len(), 10);
    let enrolled = json!({ "state": "enrolled", "recoveryCodesLeft": 10 });
    assert_eq!(anna.get(OWN).await?.expect(200)?.body, enrolled);
    for again in [confirm(&app.code(0)).await?, begin(json!({ "password": user.password })).await?] {
        assert_eq!(again.expect(409)?.code(), "already-exists");
    }

    // The session that confirmed it has shown it, no other one has; and the password alone is good no more.
    assert_eq!(privileged(&anna).await?.status, 404);
    assert_eq!(privileged(&elsewhere).await?.expect(403)?.code(), "step-up-required");
    let anonymous = stack.anonymous()?;
    let missing = login(&anonymous, &user, None).await?.expect(401)?;
    assert_eq!(missing.code(), "code-required", "{}", missing.text);
    let code = fresh(&stack, &app).await?;
    let wrong = RegisteredUser { password: "another one".to_owned(), ..user.clone() };
    assert_eq!(login(&anonymous, &wrong, None).await?.code(), "sign-in-failed");
    assert_eq!(login(&anonymous, &wrong, Some(&code)).await?.code(), "sign-in-failed");
    assert_eq!(login(&anonymous, &user, Some("12345")).await?.expect(403)?.code(), "code-wrong");
    let signed_in = person_with(&stack, 1, &user, &code).await?;
    assert_eq!(privileged(&signed_in).await?.status, 404, "signing in with a code has shown it");
    assert_eq!(login(&anonymous, &user, Some(&code)).await?.code(), "code-wrong", "it is good once");

    // Nobody gives it up who does not have it. Then it is asked for no more, and nothing of it is left, in any session.
    assert_eq!(elsewhere.delete(OWN).await?.expect(403)?.code(), "step-up-required");
    signed_in.delete(OWN).await?.expect(204)?;
    for session in [&anna, &elsewhere, &signed_in] {
        assert_eq!(session.get("/api/v1/whoami").await?.status, 401);
    }
    let (anna, elsewhere) = (person(&stack, 0, &user).await?, person(&stack, 1, &user).await?);
    assert_eq!(anna.get(OWN).await?.expect(200)?.body, json!({ "state": "none" }));
    let (_, _) = Authenticator::enrol(&elsewhere, &user.password).await?;
    assert_eq!(privileged(&anna).await?.code(), "step-up-required", "the one before is not this one");

    let name = format!("user:{}", id_of(&admin, "anna").await?);
    let told = entries(&admin, "").await?;
    let of_anna = told.iter().filter(|entry| {
        entry["data"]["user"] == name || entry["data"]["account"] == name || entry["principal"] == name
    });
    let kinds: Vec<&str> = of_anna.filter_map(|entry| entry["kind"].as_str()).collect();
    for (kind, times) in
        [("second-factor.begun", 3), ("second-factor.enrolled", 2), ("second-factor.removed", 1)]
    {
        assert_eq!(kinds.iter().filter(|told| **told == kind).count(), times, "{kind}: {kinds:?}");
    }
    let failed = entries(&admin, "kind=second-factor.failed").await?;
    for (at, reason) in [("enrolment", "wrong"), ("sign-in", "missing"), ("sign-in", "wrong")] {
        let is_it = |entry: &&Value| entry["data"] == json!({ "user": name, "at": at, "reason": reason });
        assert!(failed.iter().any(|entry| is_it(&entry)), "{at} {reason}: {failed:?}");
    }
    let told = json!(told).to_string();
    for secret in [secret, recovery[0].as_str().context("a code")?, "anna@"] {
        assert!(!told.contains(secret), "{secret}");
    }
    Ok(())
}

#[tokio::test]
async fn a_code_is_good_once_around_its_time_whichever_replica_it_is_shown_to() -> Result<()> {
    let stack = stack(&[]).await?;
    let user = stack.new_user("anna", &["user"]).await?;
    let anna = person(&stack, 0, &user).await?;
    let (app, _) = Authenticator::enrol(&anna, &user.password).await?;

    // At once and through both replicas, one of many is the first.
    let code = fresh(&stack, &app).await?;
    let mut showing = tokio::task::JoinSet::new();
    for number in 0..4 {
        let (caller, code) = (anna.at(stack.control_plane(number % 2).url()), code.clone());
        showing.spawn(async move { step_up(&caller, &code).await });
    }
    let answers = showing.join_all().await.into_iter().collect::<Result<Vec<_>>>()?;
    let codes: Vec<(u16, &str)> = answers.iter().map(|answer| (answer.status, answer.code())).collect();
    assert_eq!(codes.iter().filter(|(status, _)| *status == 200).count(), 1, "{codes:?}");
    assert!(codes.iter().all(|said| [(200, ""), (403, "code-wrong")].contains(said)), "{codes:?}");

    // One step off is a clock, two are not. Judged within one step, or once more.
    for (off, expected) in [(-2, 403), (-1, 200), (0, 200), (1, 200), (2, 403)] {
        loop {
            sql(&stack, "update second_factors set last_step = 0; delete from sign_in_delays").await?;
            let step = Authenticator::step();
            let answer = step_up(&anna, &app.code(off)).await?;
            if Authenticator::step() == step {
                assert_eq!(answer.status, expected, "{off}: {}", answer.text);
                break;
            }
        }
    }
    // A later one uses up those before it.
    sql(&stack, "delete from sign_in_delays").await?;
    fresh(&stack, &app).await?;
    step_up(&anna, &app.code(1)).await?.expect(200)?;
    assert_eq!(step_up(&anna, &app.code(0)).await?.expect(403)?.code(), "code-wrong");
    Ok(())
}

#[tokio::test]
async fn recovery_codes_stand_in_for_a_lost_app_once_each() -> Result<()> {
    let stack = stack(&[]).await?;
    let user = stack.new_user("anna", &["admin"]).await?;
    let anna = person(&stack, 0, &user).await?;
    let (_, codes) = Authenticator::enrol(&anna, &user.password).await?;
    let other = stack.new_user("bela", &["admin"]).await?;
    let bela = person(&stack, 0, &other).await?;
    Authenticator::enrol(&bela, &other.password).await?;

    let again = person_with(&stack, 1, &user, &codes[0]).await?;
    assert_eq!(login(&stack.anonymous()?, &user, Some(&codes[0])).await?.expect(403)?.code(), "code-wrong");
    forget_step_ups(&stack).await?;
    assert_eq!(step_up(&bela, &codes[1]).await?.expect(403)?.code(), "code-wrong", "it is somebody else's");
    let typed = codes[1].to_uppercase().replace('-', " ");
    let (one, two) = tokio::join!(step_up(&anna, &typed), step_up(&again, &typed));
    let mut statuses = [one?.status, two?.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 403], "at once on two replicas too");
    assert_eq!(anna.get(OWN).await?.expect(200)?.body["recoveryCodesLeft"], 8);

    let used = entries(&bela, "kind=second-factor.recovery-code-used").await?;
    let left: Vec<&Value> = used.iter().map(|entry| &entry["data"]["left"]).collect();
    assert_eq!(left, [&json!(9), &json!(8)]);
    let rows = stack.server().rows(stack.control_plane_database()).await?;
    assert!(codes.iter().all(|code| !rows.contains(code.as_str()) && !rows.contains(&code.replace('-', ""))));
    Ok(())
}

#[tokio::test]
async fn who_is_disabled_has_no_password_or_is_killed_half_way_stays_who_they_were() -> Result<()> {
    let stack = stack(&[]).await?;
    let admin = stack.admin()?;
    let user = stack.new_user("anna", &["user"]).await?;
    let anna = person(&stack, 0, &user).await?;
    let begun = anna.post(OWN, &json!({ "password": user.password })).await?.expect(200)?.body;
    let app = Authenticator::new(begun["secret"].as_str().context("a secret")?)?;

    // A control plane dies when the secret counts and its entry is not written yet.
    kill_half_confirmed(&stack, &anna, &app).await?;
    stack.control_plane(0).process().start_again()?;
    stack.control_plane(0).wait_until_ready().await?;
    assert_eq!(anna.get(OWN).await?.expect(200)?.body, json!({ "state": "pending" }));
    person(&stack, 0, &user).await?;
    let confirmed = anna.post(CONFIRM, &json!({ "code": app.code(0) })).await?.expect(200)?;
    assert_eq!(confirmed.body["recoveryCodes"].as_array().map(Vec::len), Some(10));
    assert_eq!(anna.get(OWN).await?.expect(200)?.body["recoveryCodesLeft"], 10);

    let id = id_of(&admin, "anna").await?;
    admin.post(&format!("/api/v1/users/{id}/disable"), &json!({})).await?.expect(200)?;
    let code = fresh(&stack, &app).await?;
    assert_eq!(login(&stack.anonymous()?, &user, Some(&code)).await?.code(), "sign-in-failed");
    assert_eq!(step_up(&anna, &code).await?.status, 401);
    admin.post(&format!("/api/v1/users/{id}/enable"), &json!({})).await?.expect(200)?;
    assert_eq!(login(&stack.anonymous()?, &user, None).await?.code(), "code-required");
    person_with(&stack, 1, &user, &code).await?;

    // Whoever signs in elsewhere has no password: a sign-in of lately says as much.
    let other = stack.new_user("omar", &["user"]).await?;
    let omar = person(&stack, 0, &other).await?;
    sql(&stack, "update users set password_hash = null where email = 'omar@example.com'").await?;
    sql(&stack, "update sessions set created_at = created_at - interval '11 minutes'").await?;
    assert_eq!(omar.post(OWN, &json!({})).await?.expect(403)?.code(), "sign-in-again");
    sql(&stack, "update sessions set created_at = created_at + interval '11 minutes'").await?;
    omar.post(OWN, &json!({})).await?.expect(200)?;

    // A secret that was put into somebody else's place opens nothing.
    let swap = "update second_factors set sealed_secret = (select sealed_secret from second_factors join users \
                on id = user_id where email = 'omar@example.com') where confirmed_at is not null";
    sql(&stack, swap).await?;
    let swapped = login(&stack.anonymous()?, &user, Some(&app.code(0))).await?;
    assert_eq!(swapped.expect(503)?.code(), "state-not-in-log");
    Ok(())
}

/// Confirms a secret, and kills the first control plane when its row is written and not yet committed.
async fn kill_half_confirmed(stack: &Stack, anna: &Caller, app: &Authenticator) -> Result<()> {
    let mut holder = PgConnection::connect(&stack.control_plane_database().superuser_url).await?;
    raw_sql("begin; lock table audit.pending in share row exclusive mode").execute(&mut holder).await?;
    let waits = "select exists (select from pg_locks join pg_class on pg_class.oid = relation \
                 where relname = 'recovery_codes' and mode = 'RowExclusiveLock' and granted)";
    loop {
        let (anna, code) = (anna.clone(), app.code(0));
        let asked = tokio::spawn(async move {
            anna.post(CONFIRM, &json!({ "code": code })).await.map(|said| said.status)
        });
        // Given up on a slow machine before it was seen, it is asked for again.
        while !asked.is_finished() {
            if raw_sql(waits).fetch_one(&mut holder).await?.try_get::<bool, _>(0)? {
                stack.control_plane(0).kill()?;
                assert!(asked.await?.is_err(), "nobody answers any more");
                raw_sql("rollback").execute(&mut holder).await?;
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(asked.await??, 503);
    }
}

#[tokio::test]
async fn a_lost_second_factor_is_taken_away_by_another_admin_or_the_operator_and_ends_sessions() -> Result<()>
{
    let stack = stack(&[]).await?;
    let admin = stack.admin()?;
    let (app, _) = Authenticator::enrol(&admin, &stack.admin_user().password).await?;
    let user = stack.new_user("anna", &["user"]).await?;
    let anna = person(&stack, 1, &user).await?;
    Authenticator::enrol(&anna, &user.password).await?;
    let (admin_id, anna_id) = (id_of(&admin, "admin").await?, id_of(&admin, "anna").await?);
    let reset = async |caller: &Caller, id: &str| {
        caller.request(Method::DELETE, &format!("/api/v1/users/{id}/second-factor")).send().await
    };

    forget_step_ups(&stack).await?;
    assert_eq!(reset(&anna, &admin_id).await?.expect(403)?.code(), "forbidden");
    assert_eq!(reset(&admin, &anna_id).await?.expect(403)?.code(), "step-up-required");
    step_up(&admin, &fresh(&stack, &app).await?).await?.expect(200)?;
    assert_eq!(reset(&admin, &admin_id).await?.expect(403)?.code(), "four-eyes");
    reset(&admin, &anna_id).await?.expect(204)?;
    assert_eq!(reset(&admin, &anna_id).await?.status, 404);
    assert_eq!(anna.get("/api/v1/whoami").await?.status, 401);
    let anna = person(&stack, 0, &user).await?;
    Authenticator::enrol(&anna, &user.password).await?;

    // The last admin has nobody but the operator.
    stack.command(["user", "reset-second-factor", "--email", &stack.admin_user().email]).await?;
    assert!(
        stack.command(["user", "reset-second-factor", "--email", &stack.admin_user().email]).await.is_err()
    );
    assert_eq!(admin.get("/api/v1/whoami").await?.status, 401);
    let admin = person(&stack, 0, stack.admin_user()).await?;
    let resets = entries(&admin, "kind=second-factor.reset").await?;
    let by: Vec<_> = resets.iter().map(|entry| (&entry["principal"], &entry["data"]["user"])).collect();
    let (admin_name, anna_name) = (json!(format!("user:{admin_id}")), json!(format!("user:{anna_id}")));
    assert_eq!(by, [(&admin_name, &anna_name), (&json!("operator:command-line"), &admin_name)]);
    let ended = entries(&admin, "kind=session.ended").await?;
    let ended: Vec<_> =
        ended.iter().filter(|entry| entry["data"]["reason"] == "second-factor-reset").collect();
    assert_eq!(ended.len(), 2, "{ended:?}");
    Ok(())
}
