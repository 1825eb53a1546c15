//! What must be on the machine besides Rust: found, installed where that is ours to do, or named in a sentence.

use aegis_tests::database::is_installed;
use aegis_tests::process::Launch;
use aegis_tests::progress;
use anyhow::{Result, bail};
use nix::unistd::Uid;

/// Makes sure that PostgreSQL's server is there: as root, where there is apt, by installing it.
pub(crate) async fn postgres() -> Result<()> {
    if is_installed() {
        return Ok(());
    }
    let apt_get = |args: &[&str]| {
        let launch = Launch::new("apt-get").inherit_environment().env("DEBIAN_FRONTEND", "noninteractive");
        launch.args(args)
    };
    let has_apt = apt_get(&["--version"]).output().await.is_ok();
    if !has_apt || !Uid::effective().is_root() {
        bail!(
            "PostgreSQL's server is not installed. Install it and try again:\n  \
             Debian, Ubuntu: sudo apt-get update && sudo apt-get install postgresql\n  \
             Fedora:         sudo dnf install postgresql-server\n  \
             Arch:           sudo pacman -S postgresql"
        );
    }
    let step = progress::step("installing PostgreSQL with apt-get");
    apt_get(&["update"]).output().await?;
    apt_get(&["install", "--yes", "--no-install-recommends", "postgresql"]).output().await?;
    step.done();
    if !is_installed() {
        bail!("apt-get installed postgresql, but neither the PATH nor /usr/lib/postgresql holds initdb");
    }
    Ok(())
}

/// Makes sure that these programs are there; says what to install for all that are not.
pub(crate) async fn programs(names: &[&str]) -> Result<()> {
    let mut missing = Vec::new();
    for name in names {
        let argument = if *name == "python3" { "--version" } else { "version" };
        if Launch::new(name).inherit_environment().arg(argument).output().await.is_err() {
            missing.push(match *name {
                "go" => "  go       builds the Kubernetes test bed: https://go.dev/dl (1.26 or newer)",
                "openssl" => "  openssl  signs requests in the README's example: apt-get install openssl",
                "python3" => "  python3  runs a peer of the tests: apt-get install python3 python3-venv",
                other => other,
            });
        }
    }
    if !missing.is_empty() {
        bail!("some programs are missing; install them and try again:\n{}", missing.join("\n"));
    }
    Ok(())
}
