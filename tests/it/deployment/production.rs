//! What is fit for trying things out does not start in production.

use std::time::Duration;

use aegis_tests::callers::Caller;
use aegis_tests::eventually::until;
use aegis_tests::paths::write_private;
use aegis_tests::ports::free;
use aegis_tests::stack::{Part, Stack, StackOptions};
use anyhow::{Context, Result, ensure};

use crate::control_plane::rotation::renewals;

/// What is waited for takes seconds; a busy machine is given much more before the test fails.
const WITHIN: Duration = Duration::from_secs(120);

const EXAMPLE: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// Why a process does not start in production with these settings besides its own, and what it said besides.
async fn refusal(part: &Part, settings: &[(&'static str, String)]) -> Result<String> {
    let settings = settings.iter().cloned().chain([("PRODUCTION", "true".to_owned())]);
    let started = part.command_with(settings, ["serve"]).await;
    Ok(format!("{:#}", started.err().context("it started, and ended well")?))
}

#[tokio::test]
async fn production_refuses_examples_equal_secrets_open_switches_and_executors_without_tls() -> Result<()> {
    let stack = Stack::start(StackOptions { mutual_tls: true, ..Default::default() }).await?;
    let file = |name: &str| stack.secret_file(name).display().to_string();
    write_private(&stack.secret_file("example"), EXAMPLE)?;
    write_private(&stack.secret_file("placeholder"), "please-change-me-before-you-go-to-production")?;
    write_private(&stack.secret_file("true"), "true")?;
    let (control_plane, executor) = (stack.control_plane(0), stack.executor(0));
    let cases = [
        (control_plane, "JWT_SECRET_FILE", file("placeholder"), "JWT_SECRET looks like an example"),
        (control_plane, "MASTER_KEY_FILE", file("example"), "MASTER_KEY looks like an example"),
        (
            control_plane,
            "JWT_SECRET_PREVIOUS_FILE",
            file("jwt-secret"),
            "JWT_SECRET_PREVIOUS is the same as JWT_SECRET",
        ),
        (
            control_plane,
            "DANGEROUS_ALLOW_PRIVATE_WEBHOOKS",
            "true".to_owned(),
            "DANGEROUS_ALLOW_PRIVATE_WEBHOOKS is `true`",
        ),
        (control_plane, "LOG_LEVEL", "info,sqlx=debug".to_owned(), "LOG_LEVEL is `info,sqlx=debug`"),
        (executor, "ORDER_KEY_FILE", file("example"), "ORDER_KEY looks like an example"),
        (
            executor,
            "DANGEROUS_ALLOW_EXCESS_RIGHTS",
            "true".to_owned(),
            "DANGEROUS_ALLOW_EXCESS_RIGHTS is `true`",
        ),
        (
            executor,
            "DANGEROUS_ALLOW_EXCESS_RIGHTS_FILE",
            file("true"),
            "DANGEROUS_ALLOW_EXCESS_RIGHTS is `true`",
        ),
        (executor, "LOG_LEVEL", "TRACE".to_owned(), "LOG_LEVEL is `TRACE`"),
    ];
    for (part, name, value, told) in cases {
        let refused = refusal(part, &[(name, value)]).await?;
        ensure!(refused.contains(told), "{name}: {refused}");
        ensure!(!refused.contains(EXAMPLE) && !refused.contains("please-change"), "{refused}");
    }

    // Everything at once, so that nobody has to start it as often as there are problems.
    let several =
        [("LOG_LEVEL", "debug".to_owned()), ("DANGEROUS_ALLOW_PRIVATE_WEBHOOKS", "true".to_owned())];
    let refused = refusal(control_plane, &several).await?;
    ensure!(refused.contains("LOG_LEVEL") && refused.contains("DANGEROUS_"), "{refused}");

    let without = |names: [&'static str; 3]| names.map(|name| (name, String::new()));
    let files = ["EXECUTOR_CERTIFICATE_FILE", "EXECUTOR_KEY_FILE", "EXECUTOR_CA_FILE"];
    let refused = refusal(control_plane, &without(files)).await?;
    ensure!(refused.contains("PRODUCTION needs EXECUTOR_CERTIFICATE_FILE"), "{refused}");
    let files = ["TLS_CERTIFICATE_FILE", "TLS_KEY_FILE", "TLS_CLIENT_CA_FILE"];
    let refused = refusal(executor, &without(files)).await?;
    ensure!(refused.contains("PRODUCTION needs TLS_CERTIFICATE_FILE"), "{refused}");

    let refused = refusal(control_plane, &[]).await?;
    ensure!(refused.contains("PRODUCTION needs SECOND_FACTOR=required"), "{refused}");
    ensure!(refused.contains("PRODUCTION needs OBSERVE_ADDRESS"), "{refused}");

    let observe = format!("127.0.0.1:{}", free()?);
    let fit = [("PRODUCTION", "true"), ("SECOND_FACTOR", "required"), ("OBSERVE_ADDRESS", &observe)];
    control_plane.restart_with(fit).await?;
    executor.restart_with([fit[0]]).await?;
    stack.admin()?.get("/api/v1/whoami").await?.expect(200)?;
    // Metrics tell more than answers do.
    assert_eq!(stack.anonymous()?.get("/metrics").await?.status, 404);
    let observed = format!("http://{observe}");
    let observer = Caller::anonymous(&observed)?;
    ensure!(observer.get("/metrics").await?.expect(200)?.text.contains("aegis_http_requests"));
    assert_eq!(observer.get("/api/v1/whoami").await?.status, 404);

    // Nor does it go on with one: its next start would fail.
    let sound = std::fs::read_to_string(stack.secret_file("jwt-secret"))?;
    write_private(&stack.secret_file("jwt-secret"), std::fs::read(stack.secret_file("placeholder"))?)?;
    until("the alarm", WITHIN, async || Ok(renewals(&observed).await?.1)).await?;
    let log = std::fs::read_to_string(control_plane.process().log())?;
    ensure!(log.contains("JWT_SECRET looks like an example"), "the log does not say why");
    write_private(&stack.secret_file("jwt-secret"), sound)?;
    until("the alarm's end", WITHIN, async || Ok(!renewals(&observed).await?.1)).await?;

    // The settings are sound; what is stored is not.
    let plain =
        ["cluster", "set-executor-url", "--name", stack.cluster_name(), "--executor-url", "http://x:1"];
    stack.command(plain).await?;
    let refused = refusal(control_plane, &fit.map(|(name, value)| (name, value.to_owned()))).await?;
    ensure!(refused.contains("is reached without TLS") && refused.contains("set-executor-url"), "{refused}");
    Ok(())
}
