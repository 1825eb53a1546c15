//! People and roles from the command line.

use std::time::Duration;

use aegis_tests::eventually::eventually;
use aegis_tests::mail_server::{Encryption, MailServer};
use aegis_tests::paths::checkout;
use aegis_tests::stack::{Stack, StackOptions};
use anyhow::{Context, Result};
use serde_json::json;

use super::Terminal;

#[tokio::test]
async fn people_are_invited_given_roles_and_disabled_from_the_command_line() -> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    let (admin, anybody) = (Terminal::of_admin(&stack)?, Terminal::new(&stack)?);
    let second = Terminal::of_person(&stack, "bela", &["admin"]).await?;
    let folder = tempfile::tempdir()?;
    let password = folder.path().join("password");
    std::fs::write(&password, "the one that anna chose\n")?;
    let password = password.to_str().context("a path")?;

    let invited = admin.run(&["user", "create", "anna@example.com"]).await?;
    assert!(invited.stderr.contains("not shown again"), "{}", invited.stderr);
    let token = invited.expect(0)?["invitationToken"].as_str().context("a token")?.to_owned();
    let accept = ["account", "accept-invitation", "--invitation-file", "-", "--new-file", password];
    anybody.run_with(&accept, &token).await?.expect(0)?;
    assert_eq!(anybody.run_with(&accept, &token).await?.code, Some(5), "it is good once");
    let login = ["login", "--email", "anna@example.com", "--password-file", password, "-o", "table"];
    let said = anybody.run(&login).await?;
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let anna = ["--token", said.stdout.trim()];
    assert_eq!(anybody.run(&[&["user", "list"], &anna[..]].concat()).await?.code, Some(5));

    // What policy says is told, and who is missing.
    let grant = ["role", "grant", "sre-lead", "anna@example.com"];
    let denied = admin.run(&grant).await?;
    assert_eq!(denied.code, Some(3), "{}", denied.stderr);
    let policy = checkout().join("policies/give-roles.json");
    let apply = ["policy", "apply", policy.to_str().context("a path")?, "--activate"];
    admin.run(&apply).await?.expect(0)?;
    let held = admin.run(&["role", "grant", "sre", "anna@example.com"]).await?.expect(0)?;
    assert_eq!(held["roles"], json!(["sre"]));
    let said = admin.run(&grant).await?;
    assert!(said.stderr.contains("still missing: 1 × admin"), "{}", said.stderr);
    let waiting = said.expect(0)?;
    let id = waiting["id"].as_str().context("a grant has an id")?;
    assert_eq!(admin.run(&["role", "approve", id]).await?.code, Some(5), "it was theirs to ask");
    let listed = second.run(&["role", "list"]).await?.expect(0)?;
    assert_eq!(listed["items"][0]["id"], id, "{listed}");
    assert_eq!(second.run(&["role", "approve", id]).await?.expect(0)?["state"], "granted");
    let shown = second.run(&["user", "show", "anna@example.com"]).await?.expect(0)?;
    assert_eq!(shown["roles"], json!(["sre", "sre-lead"]));
    let left = second.run(&["role", "withdraw", "sre", "anna@example.com"]).await?.expect(0)?;
    assert_eq!(left["roles"], json!(["sre-lead"]));

    let id = shown["id"].as_str().context("a person has an id")?;
    assert_eq!(second.run(&["user", "disable", id]).await?.expect(0)?["state"], "disabled");
    assert_eq!(anybody.run(&[&["whoami"], &anna[..]].concat()).await?.code, Some(5));
    let listed = admin.run(&["user", "list", "--all"]).await?.expect(0)?;
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(3), "{listed}");
    assert_eq!(second.run(&["user", "enable", id]).await?.expect(0)?["state"], "active");
    assert_eq!(second.run(&["user", "disable", "admin@example.com"]).await?.code, Some(0));
    let last = second.run(&["user", "disable", "bela@example.com"]).await?;
    assert!(last.code == Some(8) && last.stderr.contains("last-admin"), "{}", last.stderr);
    assert_eq!(second.run(&["user", "show", "nobody@example.com"]).await?.code, Some(2));
    Ok(())
}

#[tokio::test]
async fn passwords_are_chosen_by_mail_from_the_command_line() -> Result<()> {
    let server = MailServer::start(Encryption::None).await?;
    let mut control_plane_settings = server.settings();
    control_plane_settings.push(("SIGN_UP_DOMAINS".to_owned(), "*".to_owned()));
    let stack = Stack::start(StackOptions { control_plane_settings, ..StackOptions::default() }).await?;
    let anybody = Terminal::new(&stack)?;
    let folder = tempfile::tempdir()?;
    let password = folder.path().join("password");
    std::fs::write(&password, "the one that anna chose\n")?;
    let password = password.to_str().context("a path")?;
    let token = async |count: usize| {
        let mails = eventually("a mail", Duration::from_secs(90), async || {
            Ok(Some(server.mails()?).filter(|mails| mails.len() >= count))
        });
        mails.await?[count - 1].token()
    };
    let login = ["login", "--email", "anna@example.org", "--password-file", password, "-o", "table"];

    let said = anybody.run(&["account", "sign-up", "anna@example.org"]).await?;
    assert!(said.code == Some(0) && said.stderr.contains("look into your mail"), "{}", said.stderr);
    let accept = ["account", "accept-invitation", "--invitation-file", "-", "--new-file", password];
    anybody.run_with(&accept, &token(1).await?).await?.expect(0)?;
    assert_eq!(anybody.run(&login).await?.code, Some(0));

    anybody.run(&["account", "forgot-password", "anna@example.org"]).await?.expect(0)?;
    std::fs::write(password, "another one of hers\n")?;
    let reset = ["account", "reset-password", "--token-file", "-", "--new-file", password];
    let token = token(2).await?;
    anybody.run_with(&reset, &token).await?.expect(0)?;
    let again = anybody.run_with(&reset, &token).await?;
    assert!(again.code == Some(5) && again.stderr.contains("reset-invalid"), "{}", again.stderr);
    assert_eq!(anybody.run(&login).await?.code, Some(0));
    Ok(())
}
