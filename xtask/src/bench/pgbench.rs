//! PostgreSQL's own benchmark program, as the limit that ours are held against.

use std::path::PathBuf;
use std::process::Command;

use aegis_tests::database::programs;
use anyhow::{Context, Result, ensure};

/// Transactions a second of `clients` that each run `script` again as soon as it is done.
pub(super) async fn per_second(url: &str, clients: usize, seconds: u64, script: &str) -> Result<f64> {
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), script)?;
    let mut pgbench = Command::new(program()?);
    pgbench
        .args(["--no-vacuum", "--protocol=prepared", "--jobs=2"])
        .args([format!("--client={clients}"), format!("--time={seconds}"), "--file".to_owned()])
        .arg(file.path())
        .arg(url);
    let output = tokio::task::spawn_blocking(move || pgbench.output()).await??;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "pgbench failed: {}", String::from_utf8_lossy(&output.stderr));
    tps(&text).with_context(|| format!("pgbench says no rate: {text}"))
}

fn program() -> Result<PathBuf> {
    let path = programs().context("PostgreSQL is not installed")?.join("pgbench");
    ensure!(path.exists(), "there is no {}: install PostgreSQL's client programs", path.display());
    Ok(path)
}

fn tps(text: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.starts_with("tps = "))?;
    line.split_whitespace().nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_read_from_what_pgbench_says() {
        let text = "number of failed transactions: 0 (0.000%)\ntps = 4321.098765 (without initial connection time)\n";
        assert_eq!(tps(text), Some(4321.098765));
        assert_eq!(tps("tps: many"), None);
    }
}
