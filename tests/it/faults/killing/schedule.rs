//! When what is killed: random, and the same for the same seed.

use std::time::Duration;

use aegis_tests::paths::random;
use aegis_tests::stack::{Part, Stack};
use anyhow::{Context, Result};

/// The variable that makes a run repeat the schedule of another.
const SEED: &str = "AEGIS_FAULTS_SEED";

/// A schedule of kills without end.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    state: u64,
}

impl Schedule {
    /// Of the seed that the environment names, or of a new one; says which.
    pub(super) fn from_environment() -> Result<Self> {
        #[expect(clippy::disallowed_methods, reason = "a failed run is repeated by its seed")]
        let given = std::env::var(SEED).ok();
        let seed = match given {
            Some(text) => text.parse().with_context(|| format!("{SEED} is a number"))?,
            None => u64::from_le_bytes(random()),
        };
        eprintln!("kills are scheduled by {SEED}={seed}");
        Ok(Self { state: seed })
    }

    /// splitmix64 (Steele, Lea, Flood 2014).
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn milliseconds(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.next() % (to - from))
    }

    /// Kills one process after another, each up again before the next one falls. Ends only when something cannot be
    /// killed or started.
    pub(super) async fn carry_out(mut self, stack: &Stack) -> Result<()> {
        let parts: Vec<&Part> = stack.control_planes().iter().chain(stack.executors()).collect();
        let count = u64::try_from(parts.len())?;
        loop {
            let (pause, down) = (self.milliseconds(300, 3_000), self.milliseconds(0, 1_000));
            let part = parts[usize::try_from(self.next() % count)?];
            tokio::time::sleep(pause).await;
            eprintln!("killing {} after {pause:?}, for {down:?}", part.process().name());
            part.kill()?;
            tokio::time::sleep(down).await;
            part.process().start_again()?;
        }
    }
}
