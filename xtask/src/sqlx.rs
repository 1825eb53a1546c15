//! The descriptions of the SQL queries: what the checked macros read when no database is at hand. They are made by
//! compiling a service against a database that its own migrations have just made.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::Path;

use aegis_tests::database::{Server, Service, execute};
use aegis_tests::paths::checkout;
use anyhow::{Context, Result, ensure};

use crate::cargo::{cargo, run as run_cargo};
use crate::install;

/// Renews the descriptions of both services, or only says whether they are up to date.
pub(crate) async fn run(check: bool) -> Result<()> {
    install::postgres().await?;
    let server = Server::start().await?;
    for (service, folder) in [(Service::ControlPlane, "control-plane"), (Service::Executor, "executor")] {
        let database = server.empty(service).await?;
        migrate(&database.owner_url, &checkout().join("migrations").join(folder)).await?;
        let described = describe(service, folder, &database.owner_url)?;
        let kept = checkout().join(folder).join(".sqlx");
        if check {
            compare(&kept, described.path(), folder)?;
        } else {
            replace(&kept, described.path())?;
        }
    }
    Ok(())
}

async fn migrate(owner_url: &str, migrations: &Path) -> Result<()> {
    let mut files: Vec<_> =
        fs::read_dir(migrations)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.sort();
    for file in files.iter().filter(|file| file.extension() == Some(OsStr::new("sql"))) {
        let applied = execute(owner_url, fs::read_to_string(file)?).await;
        applied.with_context(|| format!("cannot apply {}", file.display()))?;
    }
    Ok(())
}

/// Compiles one service against the database, so that its macros describe every query into a folder.
fn describe(service: Service, folder: &str, url: &str) -> Result<tempfile::TempDir> {
    let described = tempfile::tempdir()?;
    for root in ["lib.rs", "main.rs"] {
        let root = checkout().join(folder).join("src").join(root);
        if root.exists() {
            // The macros only describe what is compiled: a changed time makes cargo compile it again.
            File::open(&root)?.set_modified(fs::metadata(described.path())?.modified()?)?;
        }
    }
    let mut check = cargo(["check", "--quiet", "--package", service.program(), "--all-targets"]);
    let variable = format!("{}_DATABASE_URL", folder.replace('-', "_").to_uppercase());
    check.env(variable, url).env("SQLX_OFFLINE", "false").env("SQLX_OFFLINE_DIR", described.path());
    run_cargo(check)?;
    Ok(described)
}

/// The descriptions in a folder, by file name. A folder that is not there describes nothing.
fn read(folder: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut found = BTreeMap::new();
    if !folder.is_dir() {
        return Ok(found);
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("query-") {
            found.insert(name, fs::read(entry.path())?);
        }
    }
    Ok(found)
}

fn compare(kept: &Path, described: &Path, folder: &str) -> Result<()> {
    let (kept, described) = (read(kept)?, read(described)?);
    let differs = |name: &&String| kept.get(*name) != described.get(*name);
    let mut stale: Vec<_> = kept.keys().chain(described.keys()).filter(differs).cloned().collect();
    stale.dedup();
    ensure!(
        stale.is_empty(),
        "{folder}/.sqlx does not describe the queries in the code; `cargo xtask sqlx` renews it:\n  {}",
        stale.join("\n  ")
    );
    eprintln!("✓ {folder}/.sqlx describes the {} queries in the code", described.len());
    Ok(())
}

fn replace(kept: &Path, described: &Path) -> Result<()> {
    let described = read(described)?;
    fs::create_dir_all(kept)?;
    for name in read(kept)?.keys() {
        fs::remove_file(kept.join(name))?;
    }
    for (name, content) in &described {
        fs::write(kept.join(name), content)?;
    }
    eprintln!("✓ {}: {} queries described", kept.display(), described.len());
    Ok(())
}
