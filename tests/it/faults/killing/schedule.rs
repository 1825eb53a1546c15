//! When what is killed: random, and the same for the same seed.

use std::time::Duration;

use aegis_tests::stack::{Part, Stack};
use anyhow::Result;

use crate::chance::Chance;

/// A schedule of kills without end.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    chance: Chance,
}

impl Schedule {
    /// Of the seed that the environment names, or of a new one; says which.
    pub(super) fn from_environment() -> Result<Self> {
        Ok(Self { chance: Chance::from_environment()? })
    }

    fn milliseconds(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.chance.below(to - from))
    }

    /// Kills one process after another, each up again before the next one falls. Ends only when something cannot be
    /// killed or started.
    pub(super) async fn carry_out(mut self, stack: &Stack) -> Result<()> {
        let parts: Vec<&Part> = stack.control_planes().iter().chain(stack.executors()).collect();
        let count = u64::try_from(parts.len())?;
        loop {
            let (pause, down) = (self.milliseconds(300, 3_000), self.milliseconds(0, 1_000));
            let part = parts[usize::try_from(self.chance.below(count))?];
            tokio::time::sleep(pause).await;
            eprintln!("killing {} after {pause:?}, for {down:?}", part.process().name());
            part.kill()?;
            tokio::time::sleep(down).await;
            part.process().start_again()?;
        }
    }
}
