//! cargo-deny, in a version of our own.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aegis_tests::paths::{cache, checkout};
use aegis_tests::process::Launch;
use aegis_tests::progress;
use anyhow::{Context, Result, bail};

const VERSION: &str = "0.20.2";
/// What it says when it cannot get the list of known vulnerabilities.
const NO_DATABASE: &str = "failed to fetch advisory database";

/// Checks bans, licences and sources, and advisories where their list can be had. What cannot be checked is said.
pub(super) async fn check(metadata: &Path) -> Result<()> {
    let program = match ready().await {
        Ok(program) => program,
        Err(error) => {
            eprintln!("! cargo-deny {VERSION} cannot be had, so deny.toml is not checked: {error:#}");
            return Ok(());
        }
    };
    let deny = || {
        let launch = Launch::new(&program).inherit_environment().folder(checkout());
        launch.arg("--metadata-path").arg(metadata)
    };
    let checking = ["--offline", "check", "--hide-inclusion-graph", "bans", "licenses", "sources"];
    deny().args(checking).output().await.context("deny.toml does not allow what is linked")?;
    eprintln!("✓ bans, licences and sources are as deny.toml says");

    let advisories = deny().args(["check", "--hide-inclusion-graph", "advisories"]).output_with("").await?;
    let said = String::from_utf8_lossy(&advisories.stderr);
    if advisories.status.success() {
        eprintln!("✓ no known vulnerability is linked");
    } else if said.contains(NO_DATABASE) {
        eprintln!("! advisories are not checked: their database cannot be reached");
    } else {
        bail!("cargo deny check advisories:\n{}", said.trim());
    }
    Ok(())
}

/// Finds the program in the cache or builds it there: some minutes the first time, nothing after that.
async fn ready() -> Result<PathBuf> {
    let folder = cache()?.join("tools").join(format!("cargo-deny-{VERSION}"));
    let program = folder.join("bin/cargo-deny");
    if program.is_file() {
        return Ok(program);
    }
    fs::create_dir_all(&folder)?;
    let lock = File::create(folder.with_extension("lock"))?;
    let _lock = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock)).await??;
    if !program.is_file() {
        let step = Arc::new(progress::step("building cargo-deny (once; some minutes)"));
        let shown = Arc::clone(&step);
        let built = folder.join("target");
        // Without optimisation it is built in a fraction of the time, and runs for a second or two.
        let install = Launch::new("cargo")
            .inherit_environment()
            .args(["install", "cargo-deny", "--locked", "--debug", "--version", VERSION, "--root"])
            .arg(&folder)
            .arg("--target-dir")
            .arg(&built);
        let installed = install.run_with_lines(move |line| shown.detail(line.trim().to_owned())).await;
        // What it was built from is many times its size.
        fs::remove_dir_all(&built).or_else(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        })?;
        installed?;
        if let Some(step) = Arc::into_inner(step) {
            step.done();
        }
    }
    Ok(program)
}
