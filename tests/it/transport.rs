//! What travels between the parts: who may speak to whom over TLS, and what every answer tells browsers.

mod callers;
mod guards;
mod mutual;
mod renewal;
mod stores;

use std::time::Duration;

use aegis_tests::eventually::until;
use aegis_tests::stack::Part;
use anyhow::Result;

/// What the stack does takes seconds; a busy machine is given much more before the test fails.
const WITHIN: Duration = Duration::from_secs(90);

/// A client that keeps no connection from one test's request to the next.
fn plain() -> Result<reqwest::Client> {
    Ok(reqwest::Client::builder().no_proxy().timeout(WITHIN).pool_max_idle_per_host(0).build()?)
}

/// The metrics of one part.
async fn metrics(part: &Part) -> Result<String> {
    Ok(plain()?.get(format!("{}/metrics", part.observe_url())).send().await?.text().await?)
}

/// The value of a line in them, 0 when there is none.
async fn metric(part: &Part, line: &str) -> Result<f64> {
    let page = metrics(part).await?;
    let value = page.lines().find_map(|found| found.strip_prefix(line)).map(str::trim);
    Ok(value.map(str::parse).transpose()?.unwrap_or_default())
}

async fn until_metric(part: &Part, line: &str, value: f64) -> Result<()> {
    until(&format!("{line} being {value}"), WITHIN, async || Ok(metric(part, line).await? == value)).await
}
