//! Makes people, clients and clusters known, by the commands of the control plane's binary.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::secrets::{ORDER_KEY_ID, Secrets};
use super::{Part, RegisteredClient, RegisteredUser};
use crate::callers::Caller;
use crate::paths::{random_name, write_private};

/// Tells a control plane, by the commands of its binary, of its first admin, its first client and its cluster.
pub(super) async fn register(
    control_plane: &Part,
    secrets: &Secrets,
    cluster: &str,
    executor_url: &str,
) -> Result<(RegisteredUser, RegisteredClient)> {
    let admin = create_user(control_plane, secrets, "admin@example.com", &["admin"]).await?;
    let client = create_client(control_plane, "demo-bot", &admin.email).await?;
    control_plane
        .command([
            "cluster".into(),
            "create".into(),
            "--name".into(),
            cluster.into(),
            "--executor-url".into(),
            executor_url.into(),
            "--order-key-id".into(),
            ORDER_KEY_ID.into(),
            "--order-key-file".into(),
            secrets.path("order-key").into_os_string(),
            "--receipt-public-key-file".into(),
            secrets.path("receipt-key.pub").into_os_string(),
        ])
        .await?;
    Ok((admin, client))
}

/// The key of the audit log, as executors are told it.
pub(super) async fn log_key(control_plane: &Part) -> Result<String> {
    let printed: Value = serde_json::from_str(&control_plane.command(["log-key"]).await?)?;
    Ok(printed["key"].as_str().context("the control plane prints no key")?.to_owned())
}

/// Creates a person with a generated password.
pub(super) async fn create_user(
    part: &Part,
    secrets: &Secrets,
    email: &str,
    roles: &[&str],
) -> Result<RegisteredUser> {
    let password = random_name(24);
    let password_file = secrets.path(&format!("password-{}", random_name(8)));
    write_private(&password_file, &password)?;
    let mut args = vec!["user".into(), "create".into(), "--email".into(), email.into()];
    for role in roles {
        args.extend(["--role".into(), (*role).into()]);
    }
    args.extend(["--password-file".into(), password_file.clone().into_os_string()]);
    part.command(args).await?;
    std::fs::remove_file(password_file)?;
    Ok(RegisteredUser { email: email.to_owned(), password, access_token: String::new() })
}

/// Creates a client with a key of its own.
pub(super) async fn create_client(part: &Part, name: &str, owner_email: &str) -> Result<RegisteredClient> {
    let printed = part.command(["client", "create", "--name", name, "--owner", owner_email]).await?;
    let client: Value = serde_json::from_str(&printed).context("`client create` printed no JSON")?;
    let text = |field: &str| {
        client[field]
            .as_str()
            .map(str::to_owned)
            .with_context(|| format!("`client create` printed no {field}"))
    };
    Ok(RegisteredClient { principal: text("principal")?, key_id: text("keyId")?, secret: text("secret")? })
}

/// Signs a person in and returns the access token.
pub async fn sign_in(base_url: &str, email: &str, password: &str) -> Result<String> {
    let credentials = json!({ "email": email, "password": password });
    let answer = Caller::anonymous(base_url)?.post("/api/v1/auth/login", &credentials).await?.expect(200)?;
    let token = answer.body["accessToken"].as_str();
    Ok(token.context("the sign-in answered without accessToken")?.to_owned())
}
