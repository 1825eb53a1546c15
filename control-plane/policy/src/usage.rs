//! Which rules were used, counted from stored decisions.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::decision::RuleName;
use crate::document::Mode;
use crate::replay::Used;

/// How often a rule decided, and when it last did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Use {
    /// How often.
    pub decisions: u64,
    /// When it last did.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub last_used_at: Timestamp,
}

/// How often rules decided, and how often they would have, did their policy count.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    decided: Uses,
    diverging: Uses,
}

type Uses = BTreeMap<RuleName, Use>;

/// The parts of a stored decision that say who decided it, and who would have.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Deciders<'a> {
    decided_at: Timestamp,
    #[serde(borrow)]
    rules: Vec<Used<'a>>,
    #[serde(borrow, default)]
    warnings: Vec<Used<'a>>,
    #[serde(borrow, default)]
    shadow: Option<ShadowDeciders<'a>>,
}

/// Who would decide if the policies in mode `shadow` counted.
#[derive(Deserialize)]
struct ShadowDeciders<'a> {
    #[serde(borrow)]
    rules: Vec<Used<'a>>,
}

impl Usage {
    /// Counts one decision, given as it was stored. One that cannot be read used no rule that is known.
    pub fn look_at(&mut self, body: &[u8]) {
        let Ok(Deciders { decided_at, rules, warnings, shadow }) = serde_json::from_slice(body) else {
            return;
        };
        let shadow = shadow.into_iter().flat_map(|shadow| shadow.rules);
        let diverging: BTreeSet<RuleName> =
            warnings.into_iter().chain(shadow).map(|rule| rule.name()).collect();
        let used = Use { decisions: 1, last_used_at: decided_at };
        rules.iter().for_each(|rule| add(&mut self.decided, rule.name(), used));
        diverging.into_iter().for_each(|rule| add(&mut self.diverging, rule, used));
    }

    /// The uses in the decisions of both.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        other.decided.into_iter().for_each(|(rule, used)| add(&mut self.decided, rule, used));
        other.diverging.into_iter().for_each(|(rule, used)| add(&mut self.diverging, rule, used));
        self
    }

    /// How a rule of a policy in this mode was used: how it decided, or, in mode `warn` and `shadow`, how it
    /// would have. Nothing when it never did.
    pub fn of(&self, rule: &RuleName, mode: Mode) -> Option<Use> {
        match mode {
            Mode::Enforce => self.decided.get(rule).copied(),
            Mode::Warn | Mode::Shadow => self.diverging.get(rule).copied(),
            Mode::Off => None,
        }
    }
}

fn add(uses: &mut Uses, rule: RuleName, used: Use) {
    let sum = uses.entry(rule).or_insert(Use { decisions: 0, ..used });
    sum.decisions += used.decisions;
    sum.last_used_at = sum.last_used_at.max(used.last_used_at);
}
