//! The programs of the test cluster (etcd, the Kubernetes control plane, kubectl, kwok), built from the Go modules
//! of `tests/testbed` and cached outside the work tree by the hash of what went into them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use crate::paths::{cache, checkout, hex, random_name};
use crate::process::Launch;
use crate::progress::{self, Step};

const MODULES: [&str; 2] = ["kubernetes", "kwok"];
const PROGRAMS: [&str; 6] =
    ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "kwok"];

/// The folder the built programs lie in.
#[derive(Clone, Debug)]
pub struct Programs {
    folder: PathBuf,
}

impl Programs {
    /// Finds the programs in the cache or builds them there: some minutes the first time, nothing after that.
    /// Concurrent callers, also in other processes, wait for the one that builds.
    pub async fn ready() -> Result<Self> {
        let recipe = Recipe::read().await?;
        let folder = cache()?.join("testbed").join(&recipe.hash);
        if !folder.is_dir() {
            fs::create_dir_all(cache()?.join("testbed"))?;
            let step = progress::step("building the Kubernetes test bed (once; some minutes)");
            let _lock = lock(folder.with_extension("lock"), &step).await?;
            if !folder.is_dir() {
                let step = Arc::new(step);
                recipe.build(&folder, &step).await?;
                if let Some(step) = Arc::into_inner(step) {
                    step.done();
                }
            } else {
                step.done();
            }
        }
        Ok(Self { folder })
    }

    /// The path of one program.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// Waits for the lock without blocking the runtime's thread.
async fn lock(path: PathBuf, step: &Step) -> Result<File> {
    let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    if file.try_lock().is_err() {
        step.detail("waiting for another process that builds it");
        let waiting = file.try_clone()?;
        tokio::task::spawn_blocking(move || waiting.lock()).await??;
    }
    Ok(file)
}

/// Everything that decides what the programs will be.
struct Recipe {
    linker_flags: String,
    hash: String,
}

impl Recipe {
    async fn read() -> Result<Self> {
        let kubernetes = fs::read_to_string(module_folder("kubernetes").join("go.mod"))?;
        let version = kubernetes
            .lines()
            .find_map(|line| line.trim().strip_prefix("k8s.io/kubernetes v"))
            .and_then(|rest| rest.split_whitespace().next())
            .context("go.mod of the test bed names no k8s.io/kubernetes")?;
        let linker_flags = linker_flags(version)?;

        let mut hash = Sha256::new();
        for module in MODULES {
            for file in ["go.mod", "go.sum"] {
                hash.update(fs::read(module_folder(module).join(file))?);
            }
        }
        hash.update(go_version().await?);
        hash.update(&linker_flags);
        Ok(Self { linker_flags, hash: hex(&hash.finalize()[..8]) })
    }

    async fn build(&self, folder: &Path, step: &Arc<Step>) -> Result<()> {
        let unfinished = folder.with_extension(format!("unfinished-{}", random_name(8)));
        fs::create_dir_all(&unfinished)?;
        for module in MODULES {
            self.build_module(module, &unfinished, step).await?;
        }
        // Go names a binary after its package path.
        fs::rename(unfinished.join("server"), unfinished.join("etcd"))?;
        for program in PROGRAMS {
            ensure!(unfinished.join(program).is_file(), "the build made no {program}");
        }
        fs::rename(&unfinished, folder)?;
        Ok(())
    }

    async fn build_module(&self, module: &str, into: &Path, step: &Arc<Step>) -> Result<()> {
        let go = || Launch::new("go").inherit_environment().folder(module_folder(module));
        step.detail(format!("{module}: finding its packages"));
        let total = go().args(["list", "-deps", "tool"]).output().await?.lines().count();
        let (step, name) = (step.clone(), module.to_owned());
        let mut compiled = 0_usize;
        // `tool` stands for every package named on a tool line of that go.mod; -v prints each package it compiles.
        go().args(["build", "-v", "-trimpath"])
            .arg(format!("-ldflags={}", self.linker_flags))
            .arg("-o")
            .arg(format!("{}/", into.display()))
            .arg("tool")
            .run_with_lines(move |line| {
                if line.starts_with("go: ") {
                    step.detail(format!("{name}: {}", line.trim_start_matches("go: ")));
                } else {
                    compiled += 1;
                    step.detail(format!("{name}: {compiled} of at most {total} packages"));
                }
            })
            .await
            .with_context(|| format!("cannot build tests/testbed/{module}"))
    }
}

/// A module build knows no git tag: without these stamps the API server calls itself `v0.0.0-master+$Format:%H$`,
/// which clients cannot parse.
fn linker_flags(version: &str) -> Result<String> {
    let mut parts = version.split('.');
    let (major, minor) =
        (parts.next().context("no major version")?, parts.next().context("no minor version")?);
    let mut flags = String::from("-s -w");
    for package in ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"] {
        flags += &format!(
            " -X {package}.gitVersion=v{version} -X {package}.gitMajor={major} -X {package}.gitMinor={minor} \
             -X {package}.gitTreeState=clean"
        );
    }
    Ok(flags)
}

async fn go_version() -> Result<String> {
    let go = Launch::new("go").inherit_environment().folder(module_folder("kubernetes")).arg("version");
    go.output()
        .await
        .context("the Kubernetes test bed is built with Go 1.26 or newer: install it from https://go.dev/dl")
}

fn module_folder(module: &str) -> PathBuf {
    testbed().join(module)
}

/// The folder of the test bed's sources.
#[must_use]
pub fn testbed() -> PathBuf {
    checkout().join("tests/testbed")
}
