//! What policies would have changed that do not count: those in mode `warn` and `shadow`.

use aegis_policy::{DecidingRule, Decision, Mode, PolicySet};
use serde::Serialize;

/// A rule that would have changed an answer if its policy counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Divergence {
    /// Its policy.
    pub policy: String,
    /// The policy's version.
    pub version: u32,
    /// Its id.
    pub rule: String,
    /// The policy's mode: `warn` or `shadow`.
    pub mode: &'static str,
}

/// Every rule that would have changed this answer of the set. An answer that differs with the policies in
/// mode `shadow` has at least one rule of theirs.
pub fn divergences(set: &PolicySet, decision: &Decision) -> Vec<Divergence> {
    let is_shadow = |rule: &&DecidingRule| {
        set.policies().any(|(_, policy)| policy.name() == rule.policy && policy.mode() == Mode::Shadow)
    };
    let diverging = |rule: &DecidingRule, mode: Mode| Divergence {
        policy: rule.policy.clone(),
        version: rule.version,
        rule: rule.rule.clone(),
        mode: mode.as_str(),
    };
    let warnings = decision.warnings.iter().map(|rule| diverging(rule, Mode::Warn));
    let shadow = decision.shadow.iter().flat_map(|shadow| shadow.rules.iter().filter(is_shadow));
    warnings.chain(shadow.map(|rule| diverging(rule, Mode::Shadow))).collect()
}
