//! Times of single decisions.
//!
//! Each decision is timed alone by the monotonic clock, and the median time of timing nothing is
//! subtracted; that leaves about 10 ns of uncertainty in a figure. Percentiles are those of all decisions
//! of a run. As a check, the mean is taken from a loop that is timed as a whole.

use std::hint::black_box;
use std::ops::Range;
use std::time::{Duration, Instant};

use crate::engines::Engine;

/// Most decisions timed in a run.
const SAMPLES_MAX: usize = 400_000;

/// Nanoseconds per decision.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Half of all decisions were at least as quick.
    pub p50: f64,
    /// 99 of 100 were.
    pub p99: f64,
    /// Of a loop timed as a whole.
    pub mean: f64,
    /// Decisions timed.
    pub samples: usize,
}

/// Puts these requests in turn, for about this long.
pub fn times(engine: &mut dyn Engine, requests: Range<usize>, budget: Duration) -> Times {
    let first = requests.start;
    times_of(requests.len(), budget, |request| {
        black_box(engine.allows(black_box(first + request)));
    })
}

/// The same of any work on one of so many inputs.
pub fn times_of(inputs: usize, budget: Duration, mut work: impl FnMut(usize)) -> Times {
    let overhead = overhead();
    (0..inputs).for_each(&mut work);
    let mut samples = Vec::with_capacity(SAMPLES_MAX);
    let end = Instant::now() + budget;
    while samples.is_empty() || (Instant::now() < end && samples.len() + inputs <= SAMPLES_MAX) {
        for input in 0..inputs {
            let start = Instant::now();
            work(input);
            samples.push(start.elapsed());
        }
    }
    let loops = (samples.len() / inputs).clamp(1, 100);
    let start = Instant::now();
    for _ in 0..loops {
        (0..inputs).for_each(&mut work);
    }
    #[expect(clippy::cast_precision_loss, reason = "a figure to be read")]
    let mean = start.elapsed().as_nanos() as f64 / (loops * inputs) as f64;
    samples.sort_unstable();
    let at = |part: usize| nanoseconds(samples[samples.len() * part / 100].saturating_sub(overhead));
    Times { p50: at(50), p99: at(99), mean, samples: samples.len() }
}

/// The median time of timing nothing.
fn overhead() -> Duration {
    let mut samples: Vec<Duration> = (0..100_001)
        .map(|_| {
            let start = Instant::now();
            black_box(());
            start.elapsed()
        })
        .collect();
    samples.sort_unstable();
    samples[samples.len() / 2]
}

/// A duration as a figure.
#[expect(clippy::cast_precision_loss, reason = "a figure to be read")]
pub fn nanoseconds(duration: Duration) -> f64 {
    duration.as_nanos() as f64
}
