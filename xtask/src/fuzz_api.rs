//! `cargo xtask fuzz-api`: the suite's look at every answer of the API, for as long as one likes.

use std::time::{Duration, Instant};

use aegis_tests::paths::random;
use aegis_tests::programs::Programs;
use aegis_tests::progress;
use aegis_tests::schemathesis::{self, ROUND_MAX};
use aegis_tests::stack::{Stack, StackOptions};
use anyhow::{Context, Result};

use crate::{cargo, install};

/// Goes on in rounds, each by a seed of its own, until the time is over or something is found.
pub(crate) async fn run(minutes: u64, seed: Option<u64>) -> Result<()> {
    install::programs(&["go", "openssl", "python3"]).await?;
    install::postgres().await?;
    Programs::ready().await?;
    cargo::build_binaries()?;
    let stack = Stack::start(StackOptions::default()).await?;
    stack.allow_everything().await?;
    let end = Instant::now() + Duration::from_secs(minutes * 60);
    let mut next = seed;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        let seed = next.take().unwrap_or_else(|| u64::from(u32::from_le_bytes(random())));
        let step = progress::step(format!("a round with --seed {seed}"));
        let lasts = left.clamp(Duration::from_secs(30), ROUND_MAX);
        let said = schemathesis::run(&stack, lasts, seed).await;
        let said = said.with_context(|| format!("found with --seed {seed}"))?;
        step.done();
        let summary = said.find("= SUMMARY =").map_or(said.as_str(), |place| &said[place..]);
        println!("{}", summary.split_once('\n').map_or(summary, |(_, rest)| rest).trim());
    }
    Ok(())
}
