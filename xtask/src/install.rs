//! What must be on the machine besides Rust: found, installed where that is ours to do, or named in a sentence.

use aegis_tests::paths::state;
use aegis_tests::process::Launch;
use aegis_tests::{database, fake_clock, progress, redis};
use anyhow::{Context, Result, bail, ensure};
use nix::sys::statvfs::statvfs;
use nix::unistd::Uid;

/// What the data of all tests takes at its worst, and some room for everybody else.
const NEEDED_GIB: u64 = 4;

/// Makes sure that there is room for the data of tests. A full disk fails them in ways that name everything but
/// the cause.
pub(crate) fn room() -> Result<()> {
    let folder = state()?;
    let found = statvfs(&folder).with_context(|| format!("cannot look at {}", folder.display()))?;
    let free_gib = (found.blocks_available() * found.fragment_size()) >> 30;
    ensure!(
        free_gib >= NEEDED_GIB,
        "the tests need {NEEDED_GIB} GiB on the disk of {} and {free_gib} are free: make room and try again",
        folder.display()
    );
    Ok(())
}

/// Makes sure that PostgreSQL's server is there.
pub(crate) async fn postgres() -> Result<()> {
    let there = || async { database::is_installed() };
    let elsewhere =
        ["Fedora:         sudo dnf install postgresql-server", "Arch:           sudo pacman -S postgresql"];
    ensure_installed("PostgreSQL's server", "postgresql", elsewhere, there).await
}

/// Makes sure that libfaketime is there, which gives one process of a test a wrong clock.
pub(crate) async fn fake_clock() -> Result<()> {
    let there = || async { fake_clock::is_installed() };
    let elsewhere =
        ["Fedora:         sudo dnf install libfaketime", "Arch:           sudo pacman -S libfaketime"];
    ensure_installed("libfaketime", "libfaketime", elsewhere, there).await
}

/// Makes sure that Node.js is there, which runs one of the examples that sign requests.
pub(crate) async fn node() -> Result<()> {
    let there =
        || async { Launch::new("node").inherit_environment().arg("--version").output().await.is_ok() };
    let elsewhere = ["Fedora:         sudo dnf install nodejs", "Arch:           sudo pacman -S nodejs"];
    ensure_installed("Node.js", "nodejs", elsewhere, there).await
}

/// Makes sure that npm is there, which installs the identity provider of some tests.
pub(crate) async fn npm() -> Result<()> {
    let there = || async { Launch::new("npm").inherit_environment().arg("--version").output().await.is_ok() };
    let elsewhere = ["Fedora:         sudo dnf install nodejs-npm", "Arch:           sudo pacman -S npm"];
    ensure_installed("npm", "npm", elsewhere, there).await
}

/// Makes sure that Redis' server is there, which control planes of some tests share.
pub(crate) async fn redis() -> Result<()> {
    let there = || async { redis::is_installed() };
    let elsewhere = ["Fedora:         sudo dnf install redis", "Arch:           sudo pacman -S redis"];
    ensure_installed("Redis' server", "redis-server", elsewhere, there).await
}

async fn ensure_installed<F: Future<Output = bool>>(
    what: &str,
    package: &str,
    elsewhere: [&str; 2],
    is_there: impl Fn() -> F,
) -> Result<()> {
    if is_there().await {
        return Ok(());
    }
    if !may_install().await {
        let [fedora, arch] = elsewhere;
        bail!(
            "{what} is not installed. Install it and try again:\n  \
             Debian, Ubuntu: sudo apt-get update && sudo apt-get install {package}\n  {fedora}\n  {arch}"
        );
    }
    install(package).await?;
    ensure!(is_there().await, "apt-get installed {package}, but {what} is nowhere to be found");
    Ok(())
}

async fn may_install() -> bool {
    Uid::effective().is_root() && apt_get(&["--version"]).output().await.is_ok()
}

async fn install(package: &str) -> Result<()> {
    let step = progress::step(format!("installing {package} with apt-get"));
    apt_get(&["update"]).output().await?;
    apt_get(&["install", "--yes", "--no-install-recommends", package]).output().await?;
    step.done();
    Ok(())
}

fn apt_get(args: &[&str]) -> Launch {
    Launch::new("apt-get").inherit_environment().env("DEBIAN_FRONTEND", "noninteractive").args(args)
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
