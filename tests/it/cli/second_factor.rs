//! Second factors from the command line: got, asked for where they are needed, and given up.

use aegis_tests::authenticator::Authenticator;
use aegis_tests::database::execute;
use aegis_tests::paths::binary;
use aegis_tests::process::Launch;
use aegis_tests::stack::{Stack, StackOptions};
use anyhow::{Context, Result};
use serde_json::json;

use super::{Said, Terminal};

#[tokio::test]
async fn commands_ask_for_a_code_where_one_is_needed_and_then_do_what_they_were_told() -> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    let (user, anybody) = (stack.admin_user().clone(), Terminal::new(&stack)?);
    let folder = tempfile::tempdir()?;
    let anna = Terminal { launch: anybody.launch.clone().env("XDG_CONFIG_HOME", folder.path()) };
    let keep = ["login", "--keep", "--email", &user.email, "--password-file", "-"];
    anna.run_with(&keep, &user.password).await?.expect(0)?;
    let superuser = &stack.control_plane_database().superuser_url;
    let later = async || {
        let forget = "update second_factors set last_step = 0; update sessions set stepped_up_at = null";
        execute(superuser, forget.to_owned()).await
    };

    let enrol = ["account", "second-factor", "enrol", "--password-file", "-"];
    let begun = anna.run_with(&enrol, &user.password).await?.expect(0)?;
    let app = Authenticator::new(begun["secret"].as_str().context("a secret")?)?;
    let confirm = ["account", "second-factor", "confirm"];
    assert_eq!(anna.run(&confirm).await?.code, Some(2), "there is nobody to ask");
    let confirmed = anna.run(&[&confirm[..], &["--code", &app.code(-1)]].concat()).await?.expect(0)?;
    assert_eq!(confirmed["recoveryCodes"].as_array().map(Vec::len), Some(10));
    let shown = anna.run(&["account", "second-factor", "show"]).await?.expect(0)?;
    assert_eq!(shown, json!({ "state": "enrolled", "recoveryCodesLeft": 10 }));

    // Signing in says what is missing, and takes it.
    let said = anna.run_with(&keep, &user.password).await?;
    assert!(said.code == Some(5) && said.stderr.contains("--code"), "{}", said.stderr);
    let with_code = Terminal { launch: anna.launch.clone().env("AEGIS_CODE", app.code(0)) };
    with_code.run_with(&keep, &user.password).await?.expect(0)?;

    // So does what asks for it later: with a code given beforehand, and on a terminal.
    later().await?;
    let create = ["user", "create", "bela@example.com"];
    let said = anna.run(&create).await?;
    assert!(said.code == Some(5) && said.stderr.contains("step-up-required"), "{}", said.stderr);
    assert!(said.stderr.contains("--code"), "{}", said.stderr);
    anna.run(&[&create[..], &["--code", &app.code(0)]].concat()).await?.expect(0)?;
    anna.run(&["user", "invite", "bela@example.com"]).await?.expect(0)?;
    later().await?;
    // `script` of util-linux gives the program a terminal.
    let invite = format!("{} user invite bela@example.com", binary("aegisctl")?.display());
    let terminal = Launch::new("script").args(["-qec", &invite, "/dev/null"]).env("TERM", "xterm");
    let terminal =
        terminal.env("XDG_CONFIG_HOME", folder.path()).env("AEGIS_URL", stack.control_plane(0).url());
    let said = Said::of(&terminal.output_with(format!("{}\n", app.code(0))).await?);
    assert!(
        said.code == Some(0) && said.stdout.contains("recovery code: "),
        "{}{}",
        said.stdout,
        said.stderr
    );
    later().await?;
    let until = anna.run(&["step-up", "--code", &app.code(0)]).await?.expect(0)?;
    assert!(until["until"].is_string(), "{until}");
    assert_eq!(anna.run(&["step-up", "--code", &app.code(0)]).await?.code, Some(5), "it is good once");

    let other = Terminal::of_person(&stack, "omar", &["admin"]).await?;
    assert_eq!(other.run(&["user", "reset-second-factor", "bela@example.com"]).await?.code, Some(6));
    other.run(&["user", "reset-second-factor", &user.email]).await?.expect(0)?;
    anna.run_with(&keep, &user.password).await?.expect(0)?;
    let begun = anna.run_with(&enrol, &user.password).await?.expect(0)?;
    let app = Authenticator::new(begun["secret"].as_str().context("a secret")?)?;
    anna.run(&[&confirm[..], &["--code", &app.code(-1)]].concat()).await?.expect(0)?;
    later().await?;
    anna.run(&["account", "second-factor", "remove", "--code", &app.code(0)]).await?.expect(0)?;
    anna.run_with(&keep, &user.password).await?.expect(0)?;
    Ok(())
}
