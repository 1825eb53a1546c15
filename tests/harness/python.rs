//! A Python environment with pinned packages, for peers written in another language.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::paths::{cache, hex, write_private};
use crate::process::Launch;
use crate::progress;

/// The interpreter of an environment that has what `requirements` names; made once and kept in the cache.
pub async fn python_with(requirements: &Path) -> Result<PathBuf> {
    let content =
        fs::read(requirements).with_context(|| format!("cannot read {}", requirements.display()))?;
    let python = Launch::new("python3").inherit_environment();
    let version = python.clone().arg("--version").output().await;
    let version =
        version.context("a peer of the tests is written in Python: install python3 and python3-venv")?;
    let hash = hex(&Sha256::new().chain_update(&content).chain_update(version).finalize()[..8]);

    let folder = cache()?.join("python").join(hash);
    let (complete, interpreter) = (folder.join("complete"), folder.join("bin/python"));
    if complete.exists() {
        return Ok(interpreter);
    }
    fs::create_dir_all(&folder)?;
    let lock = File::create(folder.with_extension("lock"))?;
    let lock = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock)).await??;
    if !complete.exists() {
        let step = progress::step("installing Python packages for a peer of the tests");
        let venv = python.args(["-m", "venv", "--clear"]).arg(&folder);
        venv.output().await.context("cannot make a Python environment: install python3-venv")?;
        let pip = Launch::new(&interpreter).inherit_environment().args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--requirement",
        ]);
        pip.arg(requirements).output().await?;
        write_private(&complete, "")?;
        step.done();
    }
    drop(lock);
    Ok(interpreter)
}
