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
        let kubernetes = fs::read_to_string(module_folder("kubernetes").join("go.mod"))?;
        let version = kubernetes
            .lines()
            .find_map(|line| line.trim().strip_prefix("k8s.io/kubernetes v"))
            .and_then(|rest| rest.split_whitespace().next())
            .context("go.mod of the test bed names no k8s.io/kubernetes")?;
        let recipe = Recipe::new(MODULES.map(module_folder).to_vec(), linker_flags(version)?).await?;
        let folder = recipe.built("testbed", "the Kubernetes test bed", |built| {
            // Go names a binary after its package path.
            fs::rename(built.join("server"), built.join("etcd"))?;
            for program in PROGRAMS {
                ensure!(built.join(program).is_file(), "the build made no {program}");
            }
            Ok(())
        });
        Ok(Self { folder: folder.await? })
    }

    /// The path of one program.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// The folder of the programs that a Go module names as its tools; in the cache, built once as the test bed is.
pub async fn go_tools(module: PathBuf, what: &str) -> Result<PathBuf> {
    Recipe::new(vec![module], "-s -w".to_owned()).await?.built("tools", what, |_| Ok(())).await
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

/// Everything that decides what programs will be.
struct Recipe {
    modules: Vec<PathBuf>,
    linker_flags: String,
    hash: String,
}

impl Recipe {
    async fn new(modules: Vec<PathBuf>, linker_flags: String) -> Result<Self> {
        let mut hash = Sha256::new();
        for module in &modules {
            for file in ["go.mod", "go.sum"] {
                hash.update(fs::read(module.join(file))?);
            }
        }
        hash.update(go_version(&modules[0]).await?);
        hash.update(&linker_flags);
        Ok(Self { modules, linker_flags, hash: hex(&hash.finalize()[..8]) })
    }

    /// The folder of what it makes, below `group` in the cache; `finish` looks at what was built.
    async fn built(
        &self,
        group: &str,
        what: &str,
        finish: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let group = cache()?.join(group);
        let folder = group.join(&self.hash);
        if folder.is_dir() {
            return Ok(folder);
        }
        fs::create_dir_all(group)?;
        let step = Arc::new(progress::step(format!("building {what} (once; some minutes)")));
        let _lock = lock(folder.with_extension("lock"), &step).await?;
        if !folder.is_dir() {
            let unfinished = folder.with_extension(format!("unfinished-{}", random_name(8)));
            fs::create_dir_all(&unfinished)?;
            for module in &self.modules {
                self.build_module(module, &unfinished, &step).await?;
            }
            finish(&unfinished)?;
            fs::rename(&unfinished, &folder)?;
        }
        if let Some(step) = Arc::into_inner(step) {
            step.done();
        }
        Ok(folder)
    }

    async fn build_module(&self, module: &Path, into: &Path, step: &Arc<Step>) -> Result<()> {
        let go = || Launch::new("go").inherit_environment().folder(module);
        let name = module.file_name().unwrap_or_default().to_string_lossy().into_owned();
        step.detail(format!("{name}: finding its packages"));
        let total = go().args(["list", "-deps", "tool"]).output().await?.lines().count();
        let step = step.clone();
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
            .with_context(|| format!("cannot build {}", module.display()))
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

async fn go_version(module: &Path) -> Result<String> {
    let go = Launch::new("go").inherit_environment().folder(module).arg("version");
    go.output().await.with_context(|| {
        format!("{} is built with Go 1.26 or newer: install it from https://go.dev/dl", module.display())
    })
}

fn module_folder(module: &str) -> PathBuf {
    testbed().join(module)
}

/// The folder of the test bed's sources.
#[must_use]
pub fn testbed() -> PathBuf {
    checkout().join("tests/testbed")
}
