//! Waiting for a condition, never for a time.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::process::Ended;

/// Pause between two probes: short beside anything we wait for, long beside what a probe costs.
const PAUSE: Duration = Duration::from_millis(50);

/// Probes until there is a value. An error counts as "not yet" and is told if the time runs out; only the end of a
/// process that is needed for it ends the wait at once.
pub async fn eventually<T>(
    what: &str,
    within: Duration,
    mut probe: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + within;
    loop {
        let last = match probe().await {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => String::new(),
            Err(error) if error.is::<Ended>() => return Err(error.context(format!("waiting for {what}"))),
            Err(error) => format!("; last error: {error:#}"),
        };
        if Instant::now() >= deadline {
            bail!("{what} did not happen within {:.0} s{last}", within.as_secs_f32());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Probes until the condition holds.
pub async fn until(
    what: &str,
    within: Duration,
    mut condition: impl AsyncFnMut() -> Result<bool>,
) -> Result<()> {
    eventually(what, within, async || Ok(condition().await?.then_some(()))).await
}
