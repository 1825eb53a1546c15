//! Whether the time of a failed sign-in tells who has an account: a wrong password of somebody beside somebody
//! unknown, disabled, and invited, in turns, each tried once and from an address of its own.

use std::net::Ipv4Addr;
use std::time::Instant;

use aegis_tests::callers::Caller;
use aegis_tests::progress;
use aegis_tests::stack::{Stack, StackOptions};
use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::heal::{milliseconds, percentile};
use super::{Case, Goal};

const ROUNDS: usize = 100;
const ROUNDS_QUICK: usize = 10;
const WARM_UP: usize = 2;
const KNOWN: &str = "known";
const OTHERS: [&str; 3] = ["unknown", "disabled", "invited"];
/// Goal: how many times as long another one's failure may take, at the median.
const TIMES_MAX: f64 = 1.02;

/// Runs the benchmark.
pub(super) async fn run(quick: bool) -> Result<Vec<Case>> {
    let rounds = if quick { ROUNDS_QUICK } else { ROUNDS };
    let stack = Stack::start(StackOptions::default()).await?;
    let step = progress::step(format!("making {} people", 3 * (rounds + WARM_UP)));
    for round in 0..rounds + WARM_UP {
        make(&stack, round).await?;
    }
    step.done();
    let step = progress::step(format!("{rounds} failed sign-ins of each kind"));
    let mut times = [const { Vec::new() }; 1 + OTHERS.len()];
    for round in 0..rounds + WARM_UP {
        for (index, kind) in [KNOWN].into_iter().chain(OTHERS).enumerate() {
            let took = fail(&stack, kind, index, round).await?;
            if round >= WARM_UP {
                times[index].push(took);
            }
        }
    }
    step.done();
    let [known, others @ ..] = times;
    let case = |kind: &str, times: &[f64], percent, goal| {
        let [ours, other] = [times, &known].map(|times| percentile(times.to_vec(), percent));
        Case::new(format!("failed sign-in of somebody {kind}, p{percent}"), "ms", ours, other, KNOWN, goal)
    };
    let cases = OTHERS.into_iter().zip(&others).flat_map(|(kind, times)| {
        [case(kind, times, 50, Goal::PartMax(TIMES_MAX)), case(kind, times, 95, Goal::None)]
    });
    Ok(cases.collect())
}

fn email(kind: &str, round: usize) -> String {
    format!("{kind}-{round}@example.com")
}

/// Somebody of each kind, but for the unknown.
async fn make(stack: &Stack, round: usize) -> Result<()> {
    stack.new_user(&format!("{KNOWN}-{round}"), &["user"]).await?;
    let admin = stack.admin()?;
    for kind in ["disabled", "invited"] {
        let made = admin.post("/api/v1/users", &json!({ "email": email(kind, round) })).await?.expect(201)?;
        let id = made.body["user"]["id"].as_str().context("id")?;
        if kind == "disabled" {
            admin.post(&format!("/api/v1/users/{id}/disable"), &json!({})).await?.expect(200)?;
        }
    }
    Ok(())
}

async fn fail(stack: &Stack, kind: &str, index: usize, round: usize) -> Result<f64> {
    let address = Ipv4Addr::new(127, u8::try_from(index)? + 1, 0, u8::try_from(round)? + 1);
    let caller = Caller::anonymous(stack.control_plane(0).url())?.from_address(address.into())?;
    let credentials = json!({ "email": email(kind, round), "password": "a wrong password" });
    let begun = Instant::now();
    let answer = caller.post("/api/v1/auth/login", &credentials).await?;
    ensure!(answer.code() == "sign-in-failed", "{}", answer.text);
    Ok(milliseconds(begun.elapsed()))
}
