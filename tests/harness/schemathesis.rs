//! Schemathesis (PyPI): requests of every kind made up from the API's own description, and each answer judged by it.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::paths::{checkout, write_private};
use crate::process::Launch;
use crate::python::python_with;
use crate::stack::{Stack, sign_in};

/// Longest that one round may last: its token is good for a quarter of an hour.
pub const ROUND_MAX: Duration = Duration::from_mins(12);
/// Routes that are left out: an answer that never ends, and what ends the session that everything is asked with.
const LEFT_OUT: &str = "/audit/tail|/auth/logout|/sessions";
/// What an answer is not judged by: whether everything is accepted that has the right shape. Cursors, resources and
/// the like are texts that must also exist.
const NOT_JUDGED: &str = "positive_data_acceptance";

/// Lets Schemathesis loose on a stack as its admin, and returns what it said.
///
/// # Errors
/// What it found, with the requests that show it.
pub async fn run(stack: &Stack, lasts: Duration, seed: u64) -> Result<String> {
    let python = python_with(&checkout().join("tests/peers/schemathesis/requirements.txt")).await?;
    let (url, admin) = (stack.control_plane(0).url(), stack.admin_user());
    let token = sign_in(url, &admin.email, &admin.password).await?;
    let folder = tempfile::tempdir()?;
    let config = folder.path().join("schemathesis.toml");
    write_private(&config, format!("[headers]\nAuthorization = \"Bearer {token}\"\n"))?;
    let launch = Launch::new(python.with_file_name("st"))
        .folder(folder.path())
        .arg("--config-file")
        .arg(&config)
        .args(["run", "--no-color", "--warnings", "off", "--continue-on-failure", "--max-examples", "5"])
        .args(["--exclude-path-regex", LEFT_OUT, "--exclude-checks", NOT_JUDGED])
        .arg(format!("--max-time={}", lasts.min(ROUND_MAX).as_secs()))
        .arg(format!("--seed={seed}"))
        .arg(format!("{url}/api/v1/openapi.json"));
    let output = launch.output_with(Vec::new()).await?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    launch.expect_success(&output).with_context(|| said.clone())?;
    Ok(said)
}
