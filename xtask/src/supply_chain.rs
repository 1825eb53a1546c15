//! What is linked: whether it may be, as `deny.toml` says, and a list of it for each shipped binary.

mod bom;
mod deny;

use std::fs;
use std::path::PathBuf;

use aegis_tests::paths::checkout;
use anyhow::{Context, Result, ensure};

use self::bom::{Metadata, bill_of_materials, checksums};
use crate::cargo::cargo;

/// The binaries that are shipped.
const SHIPPED: [&str; 3] = ["aegis-control-plane", "aegis-executor", "aegisctl"];

/// Holds the dependencies to `deny.toml`, and writes `target/sbom`.
pub(crate) async fn run() -> Result<()> {
    let folder = checkout().join("target/sbom");
    fs::create_dir_all(&folder)?;
    let metadata = resolve()?;
    let metadata_file = folder.join("cargo-metadata.json");
    fs::write(&metadata_file, &metadata)?;
    deny::check(&metadata_file).await?;
    fs::remove_file(&metadata_file)?;
    write_bills(&metadata, &folder)
}

/// All that cargo knows of the dependencies on this platform.
fn resolve() -> Result<Vec<u8>> {
    let host = cargo(["-vV"]).output()?;
    let host = String::from_utf8_lossy(&host.stdout).into_owned();
    let host = host.lines().find_map(|line| line.strip_prefix("host: ")).context("cargo names no host")?;
    let output =
        cargo(["metadata", "--format-version", "1", "--locked", "--filter-platform", host]).output()?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(output.stdout)
}

fn write_bills(metadata: &[u8], folder: &std::path::Path) -> Result<()> {
    let metadata: Metadata = serde_json::from_slice(metadata)?;
    let checksums = checksums(&fs::read_to_string(checkout().join("Cargo.lock"))?);
    let mut written = Vec::new();
    for binary in SHIPPED {
        let bill = bill_of_materials(&metadata, &checksums, binary)?;
        let file: PathBuf = folder.join(format!("{binary}.cdx.json"));
        fs::write(&file, serde_json::to_vec_pretty(&bill)?)?;
        written.push(format!("{binary} {}", bill["components"].as_array().map_or(0, Vec::len)));
    }
    eprintln!("✓ target/sbom lists what is linked: {} components", written.join(", "));
    Ok(())
}
