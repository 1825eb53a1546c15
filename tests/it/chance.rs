//! Numbers by chance, the same for the same seed.

use aegis_tests::paths::random;
use anyhow::{Context, Result};

/// The variable that makes a run repeat another.
const SEED: &str = "AEGIS_TEST_SEED";

/// Whoever asks for the same numbers in the same order gets them again by the seed.
#[derive(Clone, Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    /// Of the seed that the environment names, or of a new one; says which.
    pub(crate) fn from_environment() -> Result<Self> {
        #[expect(clippy::disallowed_methods, reason = "a failed run is repeated by its seed")]
        let given = std::env::var(SEED).ok();
        let seed = match given {
            Some(text) => text.parse().with_context(|| format!("{SEED} is a number"))?,
            None => u64::from_le_bytes(random()),
        };
        eprintln!("repeat this run with {SEED}={seed}");
        Ok(Self(seed))
    }

    /// A number below `end`: splitmix64 (Steele, Lea, Flood 2014).
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}
