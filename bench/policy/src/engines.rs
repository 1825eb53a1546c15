//! The engines, each with rules and requests in its best idiom.

pub mod aegis;
pub mod casbin;
pub mod cedar;
pub mod rego;

use anyhow::{Result, ensure};

use crate::world::Workload;

/// Rules that are loaded, and requests that are parsed.
pub trait Engine {
    /// As it is printed.
    fn name(&self) -> &'static str;

    /// Whether the request of this number is allowed.
    fn allows(&mut self, request: usize) -> bool;
}

/// An engine, and how much it can bear.
pub struct Contender {
    /// With its rules and requests.
    pub engine: Box<dyn Engine>,
    /// Requests of each group that it answers; all others have an answer by our own engine only.
    pub requests_max: usize,
}

/// Puts every request to all engines that shall be timed with it; an error if any two answer
/// differently.
pub fn agree(workload: &Workload, engines: &mut [Contender]) -> Result<()> {
    let Some((first, others)) = engines.split_first_mut() else { return Ok(()) };
    let mut start = 0;
    for (group, len) in &workload.groups {
        for request in start..start + len {
            let answer = first.engine.allows(request);
            let bear = |other: &&mut Contender| request - start < other.requests_max;
            for other in others.iter_mut().filter(bear) {
                ensure!(
                    other.engine.allows(request) == answer,
                    "{}, {group}: {} answers {answer} to {:?}, {} does not",
                    workload.name,
                    first.engine.name(),
                    workload.requests[request],
                    other.engine.name()
                );
            }
        }
        start += len;
    }
    Ok(())
}
