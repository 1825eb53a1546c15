//! A mail server that is away, refuses, hangs, or is another one; and a control plane that is killed while it sends.

use std::fs;

use aegis_tests::certificates::Authority;
use aegis_tests::eventually::until;
use aegis_tests::mail_server::{Encryption, MailServer};
use aegis_tests::paths::write_private;
use anyhow::{Context, Result};

use super::super::rotation::renewals;
use super::{NEW, Post, WITHIN};

#[tokio::test]
async fn a_mail_server_that_is_away_or_refuses_loses_nothing_and_holds_up_nobody() -> Result<()> {
    let post = Post::open(Encryption::None, &[]).await?;
    let anna = post.stack.new_user("anna", &["user"]).await?;
    post.server.process().kill()?;
    post.forgot(&anna.email).await?;
    post.until_counted("failed", 1.0).await?;
    post.server.behave("451 later")?;
    post.server.restart().await?;
    let failed = post.counted("failed").await?;
    post.hurry().await?;
    post.until_counted("failed", failed + 1.0).await?;
    assert_eq!(post.server.mails()?.len(), 0);
    post.server.behave("take")?;
    post.hurry().await?;
    let token = post.mail(1).await?.token()?;
    post.reset(0, &token, NEW).await?.expect(204)?;

    // What it does not take in time is over.
    post.server.behave("451 no")?;
    let bela = post.stack.new_user("bela", &["user"]).await?;
    let failed = post.counted("failed").await?;
    post.forgot(&bela.email).await?;
    post.until_counted("failed", failed + 1.0).await?;
    post.sql("update mails set expires_at = clock_timestamp()").await?;
    post.until_counted("given-up", 1.0).await?;
    post.until_nothing_waits().await?;
    // And so is what it never takes: strangers must not fill the outbox with recipients that there are not.
    post.server.behave("550 no")?;
    post.forgot(&bela.email).await?;
    post.until_counted("refused", 1.0).await?;
    post.until_nothing_waits().await?;

    // What it said is not repeated, since it may say anything.
    for replica in post.stack.control_planes() {
        let log = fs::read_to_string(replica.process().log())?;
        assert!(!log.contains("451 no") && !log.contains("550 no") && !log.contains(&anna.email), "{log}");
    }
    Ok(())
}

#[tokio::test]
async fn killed_between_sending_and_noting_it_sends_the_same_again_and_no_used_token_comes_back() -> Result<()>
{
    let post = Post::open(Encryption::None, &[]).await?;
    let (anna, bela) =
        (post.stack.new_user("anna", &["user"]).await?, post.stack.new_user("bela", &["user"]).await?);
    let kill_while_sending = async |email: &str, count: usize| {
        post.server.behave("hang")?;
        post.forgot(email).await?;
        let mail = post.mail(count).await?;
        for replica in post.stack.control_planes() {
            replica.kill()?;
        }
        post.server.behave("take")?;
        for replica in post.stack.control_planes() {
            replica.restart().await?;
        }
        anyhow::Ok(mail)
    };
    let first = kill_while_sending(&anna.email, 1).await?;
    post.hurry().await?;
    let again = post.mail(2).await?;
    assert_eq!(first.token()?, again.token()?);
    assert_eq!(first.headers["message-id"], again.headers["message-id"]);
    post.until_nothing_waits().await?;
    post.reset(1, &again.token()?, NEW).await?.expect(204)?;
    assert_eq!(post.reset(0, &first.token()?, NEW).await?.code(), "reset-invalid");

    // The mail that came was used before it is known that it came.
    let token = kill_while_sending(&bela.email, 3).await?.token()?;
    post.reset(0, &token, NEW).await?.expect(204)?;
    post.hurry().await?;
    post.until_nothing_waits().await?;
    assert_eq!(post.server.mails()?.len(), 3, "there is nothing to be sent any more");
    assert_eq!(post.reset(0, &token, NEW).await?.code(), "reset-invalid");
    Ok(())
}

#[tokio::test]
async fn a_mail_server_whose_certificate_nobody_vouches_for_is_told_nothing() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let other = Authority::create(&folder.path().join("other"))?;
    let wrong = other.path("ca.crt").display().to_string();
    let post = Post::open(Encryption::Implicit, &[("SMTP_CA_FILE", wrong.as_str())]).await?;
    let anna = post.stack.new_user("anna", &["user"]).await?;
    post.forgot(&anna.email).await?;
    post.until_counted("failed", 1.0).await?;
    until("the log saying why", WITHIN, async || {
        let logs = post.stack.control_planes().iter().map(|replica| replica.process().log_tail(1_000));
        Ok(logs.collect::<String>().contains("invalid peer certificate"))
    })
    .await?;
    for replica in post.stack.control_planes() {
        let log = fs::read_to_string(replica.process().log())?;
        assert!(!log.contains(post.server.password()) && !log.contains(&anna.email), "{log}");
    }
    assert_eq!(post.server.mails()?.len(), 0);

    let right = post.server.authority_file();
    for replica in post.stack.control_planes() {
        replica.restart_with([("SMTP_CA_FILE", &right)]).await?;
    }
    post.hurry().await?;
    let mail = post.mail(1).await?;
    assert!(mail.is_encrypted);
    post.reset(0, &mail.token()?, NEW).await?.expect(204)?;

    // In the clear it is not even tried elsewhere than on this machine.
    let part = post.stack.control_plane(0);
    let clear =
        [("SMTP_URL_FILE", String::new()), ("SMTP_URL", "smtp://u:hunter2@mail.example.com".to_owned())];
    let refused = part.command_with(clear, ["serve"]).await.err().context("it starts")?;
    let said = format!("{refused:#}\n{}", part.process().log_tail(20));
    assert!(said.contains("SMTP_URL must have ?tls=required") && !said.contains("hunter2"), "{said}");
    Ok(())
}

#[tokio::test]
async fn another_mail_server_takes_over_while_everything_runs() -> Result<()> {
    let post = Post::open(Encryption::None, &[]).await?;
    let anna = post.stack.new_user("anna", &["user"]).await?;
    post.forgot(&anna.email).await?;
    post.mail(1).await?;
    post.until_nothing_waits().await?;

    let other = MailServer::start(Encryption::None).await?;
    write_private(&post.server.url_file(), fs::read(other.url_file())?)?;
    for replica in post.stack.control_planes() {
        until("the other server being in force", WITHIN, async || Ok(renewals(replica.url()).await?.0 == 1))
            .await?;
    }
    post.server.process().kill()?;
    post.forgot(&anna.email).await?;
    until("a mail at the other server", WITHIN, async || Ok(other.mails()?.len() == 1)).await
}
