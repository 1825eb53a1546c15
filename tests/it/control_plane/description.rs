//! What the API's description says, held against what the API does.

use std::time::Duration;

use aegis_tests::schemathesis;
use aegis_tests::stack::{Stack, StackOptions};
use anyhow::{Result, ensure};
use serde_json::json;

/// The suite's share; `cargo xtask fuzz-api` goes on for longer, by other seeds.
const LASTS: Duration = Duration::from_mins(1);
/// The same requests each time.
const SEED: u64 = 1;

#[tokio::test]
async fn no_request_made_up_from_the_description_gets_an_answer_that_it_does_not_allow() -> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    stack.allow_everything().await?;
    stack.client()?.ask(&stack.action("restart", "Deployment", "absent", &json!({})), 10).await?;
    let said = schemathesis::run(&stack, LASTS, SEED).await?;
    ensure!(said.contains("No issues found"), "{said}");
    Ok(())
}
