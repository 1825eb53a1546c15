//! An auditor: a folder of files, `aegisctl`, and the log's key as the operator gave it. Nothing else.

use std::path::{Path, PathBuf};

use aegis_evidence::LogKeys;
use aegis_tests::eventually::eventually;
use aegis_tests::paths::binary;
use aegis_tests::process::{Launch, Process};
use aegis_tests::stack::Stack;
use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::WITHIN;
use super::stored::log_keys;

/// Somebody with a folder and the log's key.
pub(super) struct Auditor {
    folder: tempfile::TempDir,
    pub(super) keys: LogKeys,
    url: String,
    cluster: String,
    token: String,
}

impl Auditor {
    pub(super) async fn of(stack: &Stack) -> Result<Self> {
        let keys = log_keys(stack).await?;
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("keys"), format!("# from the operator\n{}\n", keys.keys()[0]))?;
        let token = stack.new_person_token("otto", &["auditor"]).await?;
        let cluster = stack.cluster_name().to_owned();
        Ok(Self { folder, keys, url: stack.control_plane(0).url().to_owned(), cluster, token })
    }

    pub(super) fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn launch(&self, args: &[&str]) -> Result<Launch> {
        Ok(Launch::new(binary("aegisctl")?)
            .folder(self.folder.path())
            .args(["-o", "json", "audit"])
            .args(args))
    }

    /// Asks the server something by a command; what is printed.
    pub(super) async fn ask(&self, output: &str, args: &[&str]) -> Result<String> {
        let launch =
            Launch::new(binary("aegisctl")?).folder(self.folder.path()).args(["-o", output]).args(args);
        let launch = launch.env("AEGIS_URL", &self.url).env("AEGIS_TOKEN", &self.token);
        eventually(&format!("{args:?}"), WITHIN, async || launch.output().await.map(Some)).await
    }

    /// Follows the log into a file, until what is returned is dropped.
    pub(super) fn follow(&self, file: &str, args: &[&str]) -> Result<Process> {
        let followed = format!("exec \"$0\" -o jsonl audit tail \"$@\" > {file}");
        let launch = Launch::new("sh").args(["-c", &followed]).arg(binary("aegisctl")?).args(args);
        let launch = launch.folder(self.folder.path());
        let launch = launch.env("AEGIS_URL", &self.url).env("AEGIS_TOKEN", &self.token);
        Process::start("tail", launch, &self.at("tail.log"))
    }

    /// Runs `audit` with arguments, whatever comes of it; all that is said.
    pub(super) async fn said(&self, output: &str, args: &[&str]) -> Result<String> {
        let launch = Launch::new(binary("aegisctl")?).folder(self.folder.path());
        let launch = launch.args(["-o", output, "audit"]).args(args);
        let launch = launch.env("AEGIS_URL", &self.url).env("AEGIS_TOKEN", &self.token);
        let output = launch.output_with("").await?;
        Ok(format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
    }

    /// Holds a cluster's log against ours: the exit code, and what is said.
    pub(super) async fn reconcile(&self, args: &[&str]) -> Result<(i32, Value)> {
        let launch = self.launch(&["reconcile", "--cluster", &self.cluster])?.args(args);
        let launch = launch.env("AEGIS_URL", &self.url).env("AEGIS_TOKEN", &self.token);
        eventually("a comparison", WITHIN, async || said(&launch).await.map(Some)).await
    }

    /// Takes entries away into a file; returns its lines.
    pub(super) async fn export(&self, file: &str, args: &[&str]) -> Result<Vec<Vec<u8>>> {
        let launch = self.launch(&["export", "--out", file])?.args(args);
        let launch = launch.env("AEGIS_URL", &self.url).env("AEGIS_TOKEN", &self.token);
        eventually(&format!("an export to {file}"), WITHIN, async || launch.output().await.map(Some)).await?;
        lines_of(&self.at(file))
    }

    /// The same, where it must break off: what is said of it.
    pub(super) async fn broken_export(&self, file: &str, args: &[&str]) -> Result<String> {
        let launch = self.launch(&["export", "--out", file])?.args(args);
        let launch = launch.env("AEGIS_URL", &self.url).env("AEGIS_TOKEN", &self.token);
        self.breaks_off(file, &launch).await
    }

    /// The same, where the server does not begin: what is said of it.
    pub(super) async fn refused_export(&self, file: &str, args: &[&str]) -> Result<String> {
        let launch = self.launch(&["export", "--out", file])?.args(args);
        let launch = launch.env("AEGIS_URL", &self.url).env("AEGIS_TOKEN", &self.token);
        let output = launch.output_with("").await?;
        ensure!(!output.status.success() && !self.at(file).exists(), "it was not refused");
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    async fn breaks_off(&self, file: &str, launch: &Launch) -> Result<String> {
        eventually("an export that breaks off", WITHIN, async || {
            let output = launch.output_with("").await?;
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            ensure!(!output.status.success() && !self.at(file).exists(), "what is there must be whole");
            ensure!(told.contains(&format!("{file}.partial")), "it did not begin: {told}");
            Ok(Some(told))
        })
        .await
    }

    /// Takes all away where a file may have so many kibibytes: what is said of it.
    pub(super) async fn full_disk(&self, file: &str, kibibytes: u32) -> Result<String> {
        let limited =
            format!("trap '' XFSZ; ulimit -f {}; exec \"$0\" audit export --out {file}", kibibytes * 2);
        let launch =
            Launch::new("sh").args(["-c", &limited]).arg(binary("aegisctl")?).folder(self.folder.path());
        let launch = launch.env("AEGIS_URL", &self.url).env("AEGIS_TOKEN", &self.token);
        self.breaks_off(file, &launch).await
    }

    /// Verifies, knowing nothing of any server: the exit code, and what is said.
    pub(super) async fn verify(&self, args: &[&str]) -> Result<(i32, Value)> {
        said(&self.launch(&["verify", "--keys", "keys"])?.args(args)).await
    }

    /// Verifies the server's newest checkpoint.
    pub(super) async fn verify_live(&self, args: &[&str]) -> Result<(i32, Value)> {
        let launch = self.launch(&["verify", "--keys", "keys", "--live"])?.args(args);
        let launch = launch.env("AEGIS_URL", &self.url).env("AEGIS_TOKEN", &self.token);
        eventually("the server's checkpoint", WITHIN, async || said(&launch).await.map(Some)).await
    }

    /// Verifies a file of these lines.
    pub(super) async fn verify_lines(&self, lines: &[Vec<u8>]) -> Result<(i32, Value)> {
        let text: Vec<u8> = lines.iter().flat_map(|line| [line.as_slice(), b"\n"].concat()).collect();
        std::fs::write(self.at("changed"), text)?;
        self.verify(&["changed"]).await
    }
}

async fn said(launch: &Launch) -> Result<(i32, Value)> {
    let output = launch.output_with("").await?;
    let code = output.status.code().context("it was not killed")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let document = serde_json::from_str(&text);
    let document = document.with_context(|| format!("{text}{}", String::from_utf8_lossy(&output.stderr)))?;
    Ok((code, document))
}

/// The lines of a file that ends with a newline.
pub(super) fn lines_of(path: &Path) -> Result<Vec<Vec<u8>>> {
    let bytes = std::fs::read(path)?;
    let bytes = bytes.strip_suffix(b"\n").context("it ends with a newline")?;
    Ok(bytes.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect())
}

/// The codes of statements.
pub(super) fn codes(said: &Value, list: &str) -> Vec<String> {
    let listed = said[list].as_array().into_iter().flatten();
    listed.filter_map(|said| said["code"].as_str()).map(str::to_owned).collect()
}
