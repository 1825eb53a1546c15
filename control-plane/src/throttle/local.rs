//! Buckets of this process.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use governor::clock::{Clock as _, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

use super::{Rate, Standing, WINDOW};

/// Most buckets of one policy and rate. Callers without a name of their own share one beyond that: whoever sends from
/// so many addresses does not make this process grow.
const KEYS_MAX: usize = 32_768;
/// The bucket that they share.
const ALL_OTHERS: &str = "all others";
/// Least time between two removals of buckets that are full again.
const SWEEP_PAUSE: Duration = Duration::from_secs(1);

type Limiter = RateLimiter<String, HashMapStateStore<String>, DefaultClock, StateInformationMiddleware>;

/// Buckets by policy and rate, and by whose they are.
#[derive(Default)]
pub(super) struct Local(RwLock<HashMap<(&'static str, Rate), Arc<Buckets>>>);

struct Buckets {
    limiter: Limiter,
    swept_at: RwLock<Instant>,
}

impl Local {
    /// Takes one request out of a bucket.
    pub(super) fn take(&self, policy: &'static str, key: &str, rate: Rate) -> Standing {
        let buckets = self.buckets(policy, rate);
        let key = if buckets.has_room() { key } else { ALL_OTHERS };
        let judged = buckets.limiter.check_key(&key.to_owned());
        let (remaining, retry_after) = match judged {
            Ok(state) => (state.remaining_burst_capacity(), None),
            Err(not_until) => (0, Some(not_until.wait_time_from(buckets.limiter.clock().now()))),
        };
        let used = rate.get().saturating_sub(remaining);
        Standing { policy, rate, remaining, full_in: WINDOW * used / rate.get(), retry_after }
    }

    fn buckets(&self, policy: &'static str, rate: Rate) -> Arc<Buckets> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&(policy, rate)).cloned();
        known.unwrap_or_else(|| {
            let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(all.entry((policy, rate)).or_insert_with(|| Arc::new(Buckets::new(rate))))
        })
    }
}

impl Buckets {
    fn new(rate: Rate) -> Self {
        let limiter = RateLimiter::hashmap_with_clock(Quota::per_minute(rate.0), DefaultClock::default());
        Self { limiter: limiter.with_middleware(), swept_at: RwLock::new(Instant::now()) }
    }

    /// Whether one more bucket may be made, after those that are full again were removed.
    fn has_room(&self) -> bool {
        if self.limiter.len() < KEYS_MAX {
            return true;
        }
        let mut swept_at = self.swept_at.write().unwrap_or_else(PoisonError::into_inner);
        if swept_at.elapsed() >= SWEEP_PAUSE {
            self.limiter.retain_recent();
            *swept_at = Instant::now();
        }
        drop(swept_at);
        self.limiter.len() < KEYS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_what_it_holds_and_then_says_when_it_gives_again() {
        let local = Local::default();
        let rate = Rate::per_minute(3).unwrap();
        for remaining in [2, 1, 0] {
            let standing = local.take("read", "one", rate);
            assert_eq!((standing.remaining, standing.retry_after), (remaining, None));
        }
        let standing = local.take("read", "one", rate);
        let retry_after = standing.retry_after.unwrap();
        assert!(
            retry_after > Duration::from_secs(15) && retry_after <= Duration::from_secs(20),
            "{retry_after:?}"
        );
        assert_eq!(standing.full_in, WINDOW);
        // Another's, another policy's and another rate's are other buckets.
        assert!(local.take("read", "two", rate).is_admitted());
        assert!(local.take("write", "one", rate).is_admitted());
        assert!(local.take("read", "one", Rate::per_minute(2).unwrap()).is_admitted());
    }

    #[test]
    fn who_comes_from_everywhere_fills_one_bucket_and_not_the_memory() {
        let local = Local::default();
        let rate = Rate::per_minute(1).unwrap();
        let admitted =
            (0..KEYS_MAX + 100).filter(|key| local.take("public", &key.to_string(), rate).is_admitted());
        // And one from the bucket of all others.
        assert_eq!(admitted.count(), KEYS_MAX + 1);
        assert!(local.buckets("public", rate).limiter.len() <= KEYS_MAX + 1);
    }
}
