//! Times every engine, and writes the comparisons for `cargo xtask bench policy`.

use std::path::PathBuf;

use aegis_bench_policy::suite::Effort;
use aegis_bench_policy::{bytes, suite};
use anyhow::{Context, Result, bail};

fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let (mut effort, mut rows_file) = (Effort::FULL, None);
    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            Some("--quick") => effort = Effort::QUICK,
            Some("--rows") => rows_file = arguments.next().map(PathBuf::from),
            _ => bail!("usage: aegis-bench-policy [--quick] --rows FILE"),
        }
    }
    let mut rows = suite::run(effort)?;
    rows.extend(bytes::run(effort)?);
    let file = rows_file.context("--rows FILE is missing")?;
    std::fs::write(&file, serde_json::to_vec_pretty(&rows)?)
        .with_context(|| format!("cannot write {}", file.display()))
}
