//! Accounts by mail: forgotten passwords and sign-up, with a real mail server.

mod outages;
mod sign_up;

use std::time::Duration;

use aegis_tests::callers::{Answer, Caller};
use aegis_tests::database::execute;
use aegis_tests::eventually::{eventually, until};
use aegis_tests::mail_server::{Encryption, Mail, MailServer, PUBLIC_URL};
use aegis_tests::stack::{Stack, StackOptions, sign_in};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::canaries::{disguises, sinks};
use super::log::entries;
use super::people::{ask, id_of};
use super::sign_in::{computed, seen};

/// What is waited for takes a second; a busy machine is given much more before the test fails.
const WITHIN: Duration = Duration::from_secs(90);
const NEW: &str = "the one that anna chose";

/// Two control planes that send mail.
struct Post {
    stack: Stack,
    server: MailServer,
}

impl Post {
    async fn open(encryption: Encryption, settings: &[(&str, &str)]) -> Result<Self> {
        let server = MailServer::start(encryption).await?;
        let mut control_plane_settings = server.settings();
        control_plane_settings
            .extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let options = StackOptions { control_planes: 2, control_plane_settings, ..StackOptions::default() };
        Ok(Self { stack: Stack::start(options).await?, server })
    }

    /// Asks for a mail: `forgot-password` or `sign-up`.
    async fn ask(&self, what: &str, email: &str) -> Result<Answer> {
        let body = json!({ "email": email });
        self.stack.anonymous()?.post(&format!("/api/v1/auth/{what}"), &body).await
    }

    async fn forgot(&self, email: &str) -> Result<()> {
        self.ask("forgot-password", email).await?.expect(202)?;
        Ok(())
    }

    /// Waits until so many mails have come; the last of them.
    async fn mail(&self, count: usize) -> Result<Mail> {
        eventually(&format!("mail {count}"), WITHIN, async || {
            let mut mails = self.server.mails()?;
            ensure!(mails.len() >= count, "{} came", mails.len());
            Ok(mails.drain(..count).next_back())
        })
        .await
    }

    /// How many mails the replicas count as this: `sent`, `failed`, `refused`, `dropped` or `given-up`.
    async fn counted(&self, result: &str) -> Result<f64> {
        let mut sum = 0.0;
        for replica in self.stack.control_planes() {
            let page = Caller::anonymous(replica.url())?.get("/metrics").await?.expect(200)?.text;
            let line = format!("aegis_mails_total{{result=\"{result}\"}}");
            let found = page.lines().find_map(|found| found.strip_prefix(&line)).map(str::trim);
            sum += found.map(str::parse::<f64>).transpose()?.unwrap_or_default();
        }
        Ok(sum)
    }

    async fn until_counted(&self, result: &str, count: f64) -> Result<()> {
        let what = format!("{count} mails being {result}");
        until(&what, WITHIN, async || Ok(self.counted(result).await? >= count)).await
    }

    async fn sql(&self, sql: &str) -> Result<()> {
        execute(&self.stack.control_plane_database().superuser_url, sql.to_owned()).await
    }

    /// Has everything that waits sent at once: nobody waits ten minutes in a test.
    async fn hurry(&self) -> Result<()> {
        self.sql("update mails set due_at = clock_timestamp()").await
    }

    async fn until_nothing_waits(&self) -> Result<()> {
        let empty =
            "do $$ begin if exists (select from mails) then raise exception 'mails wait'; end if; end $$";
        until("every mail being done", WITHIN, async || {
            self.sql(empty).await?;
            Ok(true)
        })
        .await
    }

    async fn reset(&self, replica: usize, token: &str, password: &str) -> Result<Answer> {
        let body = json!({ "resetToken": token, "password": password });
        let caller = Caller::anonymous(self.stack.control_plane(replica).url())?;
        caller.post("/api/v1/auth/reset-password", &body).await
    }

    async fn sign_in(&self, email: &str, password: &str) -> Result<Answer> {
        let body = json!({ "email": email, "password": password });
        self.stack.anonymous()?.post("/api/v1/auth/login", &body).await
    }
}

#[tokio::test]
async fn who_forgot_a_password_chooses_another_by_mail_once_and_all_that_was_open_ends() -> Result<()> {
    let post = Post::open(Encryption::StartTls, &[]).await?;
    let anna = post.stack.new_user("anna", &["user"]).await?;
    let signed_in = post.sign_in(&anna.email, &anna.password).await?.expect(200)?.body;
    let session = Caller::person(
        post.stack.control_plane(1).url(),
        signed_in["accessToken"].as_str().context("a token")?,
    )?;

    post.forgot("ANNA@example.com").await?;
    let first = post.mail(1).await?;
    assert!(first.is_encrypted);
    assert_eq!(
        (&*first.sender, &*first.recipients),
        ("aegis@example.com", &["anna@example.com".to_owned()][..])
    );
    assert_eq!(first.headers["auto-submitted"], "auto-generated");
    assert!(first.text.contains(PUBLIC_URL), "{}", first.text);
    post.until_nothing_waits().await?;
    post.forgot(&anna.email).await?;
    let (first, second) = (first.token()?, post.mail(2).await?.token()?);
    assert_ne!(first, second);

    // Asking alone changes nothing, and a password that may not be chosen spends nothing.
    session.get("/api/v1/whoami").await?.expect(200)?;
    post.sign_in(&anna.email, &anna.password).await?.expect(200)?;
    assert_eq!(post.reset(1, &second, "short").await?.code(), "invalid-parameter");
    let before = computed(&post.stack).await?;
    for wrong in ["", "x", &first[1..], &format!("{first}x"), &first.to_lowercase()] {
        assert_eq!(post.reset(0, wrong, NEW).await?.expect(403)?.code(), "reset-invalid");
    }
    assert_eq!(computed(&post.stack).await?, before, "a stranger makes nobody hash");

    // Two at once, by two mails and two replicas: one of them counts.
    const OTHER: &str = "the one of somebody else";
    let (one, other) = tokio::join!(post.reset(0, &first, NEW), post.reset(1, &second, OTHER));
    let (one, other) = (one?, other?);
    let (chosen, refused) = if one.status == 204 { (NEW, other) } else { (OTHER, one) };
    assert_eq!(refused.expect(403)?.code(), "reset-invalid");
    for token in [&first, &second] {
        assert_eq!(post.reset(1, token, "the one of a thief").await?.code(), "reset-invalid", "once");
    }
    assert_eq!(session.get("/api/v1/whoami").await?.code(), "unauthenticated");
    let refresh = json!({ "refreshToken": signed_in["refreshToken"] });
    assert_eq!(post.stack.anonymous()?.post("/api/v1/auth/refresh", &refresh).await?.status, 401);
    assert_eq!(post.sign_in(&anna.email, &anna.password).await?.code(), "sign-in-failed");
    sign_in(post.stack.control_plane(1).url(), &anna.email, chosen).await?;

    // What was mailed is over after an hour, and when the password was changed otherwise.
    post.until_nothing_waits().await?;
    post.forgot(&anna.email).await?;
    let third = post.mail(3).await?.token()?;
    post.sql("update password_resets set expires_at = clock_timestamp()").await?;
    assert_eq!(post.reset(0, &third, NEW).await?.code(), "reset-invalid");
    post.sql("update password_resets set expires_at = clock_timestamp() + interval '1 hour'").await?;
    let token = sign_in(post.stack.control_plane(0).url(), &anna.email, chosen).await?;
    let change = json!({ "currentPassword": chosen, "newPassword": "one by the ordinary way" });
    let anna = Caller::person(post.stack.control_plane(0).url(), &token)?;
    anna.post("/api/v1/users/me/password", &change).await?.expect(204)?;
    assert_eq!(post.reset(0, &third, NEW).await?.code(), "reset-invalid");

    let admin = post.stack.admin()?;
    let id = id_of(&admin, "anna").await?;
    let told = entries(&admin, "").await?;
    let of_anna = |entry: &&Value| entry["data"]["user"] == json!(format!("user:{id}"));
    let kinds: Vec<&str> = told.iter().filter(of_anna).filter_map(|entry| entry["kind"].as_str()).collect();
    let requested = kinds.iter().filter(|kind| **kind == "user.password-reset-requested").count();
    assert_eq!(requested, 3, "{kinds:?}");
    let from = kinds.iter().position(|kind| *kind == "user.password-reset").context("the reset")?;
    assert_eq!(kinds[from + 1], "session.ended", "{kinds:?}");

    // What came by mail is nowhere else.
    for (name, text) in sinks(&post.stack).await? {
        for secret in [first.as_str(), &second, &third, chosen, post.server.password()] {
            for disguise in disguises(secret) {
                assert!(!text.contains(&disguise), "{name} shows a secret");
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn nobody_learns_who_has_an_account_is_flooded_or_gets_in_who_may_not() -> Result<()> {
    let post = Post::open(Encryption::None, &[]).await?;
    let admin = post.stack.admin()?;
    for name in ["anna", "dora"] {
        post.stack.new_user(name, &["user"]).await?;
    }
    let dora = id_of(&admin, "dora").await?;
    ask(&admin, &dora, "disable").await?.expect(200)?;
    admin.post("/api/v1/users", &json!({ "email": "ivan@example.com" })).await?.expect(201)?;

    let before = computed(&post.stack).await?;
    let mut answers = Vec::new();
    for email in ["anna@example.com", "nobody@example.com", "dora@example.com", "ivan@example.com"] {
        answers.push(seen(&post.ask("forgot-password", email).await?.expect(202)?));
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!(computed(&post.stack).await?, before);
    post.until_counted("dropped", 3.0).await?;
    let token = post.mail(1).await?.token()?;
    assert_eq!(post.server.mails()?.len(), 1);
    for email in [
        "anna@example.com\r\nBcc: eve@example.com",
        "anna@example.com\nDATA",
        "anna@example.com eve@example.com",
        "anna",
    ] {
        assert_eq!(post.ask("forgot-password", email).await?.expect(400)?.code(), "invalid-parameter");
    }

    // However often and however spelled somebody is asked for: three mails in an hour, and each is good.
    for round in 0..8 {
        post.until_nothing_waits().await?;
        let email = if round % 2 == 0 { "anna@example.com" } else { "Anna@Example.com" };
        post.forgot(email).await?;
    }
    post.until_nothing_waits().await?;
    let mails = post.server.mails()?;
    assert_eq!(mails.len(), 3);
    assert!(mails.iter().all(|mail| mail.recipients == ["anna@example.com"]), "{mails:?}");
    post.sql("update mailed_recipients set sent_at = array[clock_timestamp() - interval '61 minutes']")
        .await?;
    post.forgot("anna@example.com").await?;
    let last = post.mail(4).await?.token()?;

    // Of many at once that wait, one is sent. (What the server has and nobody has noted yet would come again.)
    post.until_nothing_waits().await?;
    post.server.process().kill()?;
    post.sql("truncate mailed_recipients").await?;
    for _ in 0..5 {
        post.forgot("anna@example.com").await?;
    }
    post.server.restart().await?;
    post.hurry().await?;
    post.mail(5).await?;
    post.until_nothing_waits().await?;
    assert_eq!(post.server.mails()?.len(), 5);

    // Who is disabled uses nothing that was mailed before, neither then nor afterwards.
    let anna = id_of(&admin, "anna").await?;
    ask(&admin, &anna, "disable").await?.expect(200)?;
    assert_eq!(post.reset(1, &token, NEW).await?.code(), "reset-invalid");
    ask(&admin, &anna, "enable").await?.expect(200)?;
    assert_eq!(post.reset(1, &last, NEW).await?.code(), "reset-invalid");
    let clear = "do $$ begin if exists (select from mailed_recipients where recipient not like 'hmac-sha256:%') \
                 then raise exception 'an address is stored'; end if; end $$";
    post.sql(clear).await
}
