//! Verifying a bundle that lies in a file.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use aegis_contract::digest::Digest;
use aegis_evidence::LogKeys;
use aegis_evidence::bundle::{LINE_BYTES_MAX, Report, Verifier};
use aegis_runtime::lines::next_line;
use anyhow::Context;
use sha2::{Digest as _, Sha256};

/// What a bundle proves, and the digest of the whole file.
///
/// # Errors
/// When it cannot be read, or anything in it is wrong or missing.
pub(super) fn verify(path: &Path, keys: LogKeys) -> anyhow::Result<(Report, Digest)> {
    let shown = path.display();
    let mut file = BufReader::new(File::open(path).with_context(|| format!("cannot read {shown}"))?);
    let mut verifier = Verifier::new(keys, Vec::new());
    let (mut hasher, mut line) = (Sha256::new(), Vec::new());
    while next_line(&mut file, LINE_BYTES_MAX, &mut line).with_context(|| format!("cannot read {shown}"))? {
        hasher.update(&line);
        hasher.update(b"\n");
        if verifier.line(&line).is_err() {
            break;
        }
    }
    let report = verifier.finish().map_err(|fault| anyhow::anyhow!("{shown} proves nothing: {fault}"))?;
    anyhow::ensure!(line.is_empty(), "{shown} holds more than the bundle");
    Ok((report, Digest::from_bytes(hasher.finalize().into())))
}
