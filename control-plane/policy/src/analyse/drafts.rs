//! Tests that a document lacks: questions on both sides of what its rules draw a line at.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use super::check::{TOO_LARGE, Undecided};
use super::diagram::{NOTHING, OverBudget, Region};
use super::regions::Regions;
use super::world::{Named, Witness, World};
use crate::case::Report;
use crate::decision::RuleName;
use crate::document::{Policy, Rule, Test};
use crate::evaluate::evaluate;
use crate::set::PolicySet;

/// A test that somebody may take over, once they have made sure that the answer is the one they want.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Draft {
    /// Id of the rule it is about.
    pub rule: String,
    /// The test, as it stands in the `tests` of a document. It expects what is answered now.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub test: Value,
}

/// Tests for everything that `report` says the document's own tests do not show: each rule applying
/// and not, each comparison true and false, each time open and closed. In second place what could not
/// be decided.
pub fn draft_tests(
    policy: &Policy,
    set: &PolicySet,
    report: &Report,
    now: Timestamp,
    steps: u64,
) -> (Vec<Draft>, Vec<Undecided>) {
    let set = set.with(policy.enforced());
    let rules: Vec<(&Policy, &Rule)> = set
        .policies()
        .flat_map(|(_, policy)| policy.compiled_rules().iter().map(move |rule| (policy, rule)))
        .collect();
    let world = World::new(&rules, &Named::default(), now);
    let names = policy.tests().iter().map(|case| case.name.clone()).collect();
    let mut drafter = Drafter { set: &set, policy, names, drafts: Vec::new() };
    let mut regions = Regions::new(&world, steps);
    let mut undecided = Vec::new();
    for rule in policy.compiled_rules() {
        if drafter.draft(rule, report, &mut regions) == Err(OverBudget) {
            let name = RuleName { policy: policy.name().to_owned(), rule: rule.id.clone() };
            undecided.push(Undecided { rule: Some(name), reason: TOO_LARGE.to_owned() });
        }
    }
    (drafter.drafts, undecided)
}

struct Drafter<'a> {
    set: &'a PolicySet,
    policy: &'a Policy,
    /// Names of tests that are taken.
    names: BTreeSet<String>,
    drafts: Vec<Draft>,
}

impl Drafter<'_> {
    fn draft(&mut self, rule: &Rule, report: &Report, regions: &mut Regions<'_>) -> Result<(), OverBudget> {
        let shown = report.coverage.iter().find(|coverage| coverage.rule == rule.id);
        let (matching, timely) = (regions.matching(&rule.matching)?, regions.timely(self.policy, rule)?);
        let (condition, applies) = (regions.condition(rule)?, regions.applying(self.policy, rule)?);
        if !shown.is_some_and(|coverage| coverage.applied) {
            self.add(rule, "applies", &[applies], regions)?;
        }
        if rule.time.is_some() {
            let closed = regions.diagrams.both(matching, condition)?;
            let closed = regions.diagrams.without(closed, timely)?;
            self.add(rule, "outside its time", &[closed], regions)?;
        }
        let asked = regions.diagrams.both(matching, timely)?;
        let tests: Vec<&Test> = rule.comparisons().into_iter().map(|(_, test)| test).collect();
        for (index, test) in tests.iter().enumerate() {
            let coverage = shown.and_then(|coverage| coverage.comparisons.get(index));
            let truths = regions.test(test)?;
            // What matters most is where this comparison alone makes the difference.
            let others = others_true(&tests, index, regions)?;
            for (word, region, is_shown) in [
                ("true", truths.is_true, coverage.is_some_and(|coverage| coverage.was_true)),
                ("false", truths.is_false, coverage.is_some_and(|coverage| coverage.was_false)),
            ] {
                if !is_shown {
                    let wanted = regions.diagrams.both(asked, region)?;
                    let alone = regions.diagrams.both(wanted, others)?;
                    self.add(
                        rule,
                        &format!("{} {} is {word}", test.path, test.check.operator()),
                        &[alone, wanted],
                        regions,
                    )?;
                }
            }
        }
        if !shown.is_some_and(|coverage| coverage.not_applied) && tests.is_empty() && rule.time.is_none() {
            let elsewhere = regions.well_formed()?;
            let elsewhere = regions.diagrams.without(elsewhere, matching)?;
            self.add(rule, "does not match", &[elsewhere], regions)?;
        }
        Ok(())
    }

    /// Adds a test with a question of the first of these regions that has one.
    fn add(
        &mut self,
        rule: &Rule,
        about: &str,
        among: &[Region],
        regions: &mut Regions<'_>,
    ) -> Result<(), OverBudget> {
        let Some(region) = among.iter().find(|region| **region != NOTHING) else { return Ok(()) };
        let Some(witness) = regions.witness(*region)? else { return Ok(()) };
        let name = self.free_name(&format!("draft: {} {about}", rule.id));
        let test = self.test(&name, &witness);
        if !self.drafts.iter().any(|draft| {
            draft.rule == rule.id
                && draft.test["request"] == test["request"]
                && draft.test["at"] == test["at"]
                && draft.test.get("facts") == test.get("facts")
        }) {
            self.drafts.push(Draft { rule: rule.id.clone(), test });
            self.names.insert(name);
        }
        Ok(())
    }

    fn free_name(&self, wanted: &str) -> String {
        let numbered = (2..).map(|number| format!("{wanted} ({number})"));
        std::iter::once(wanted.to_owned())
            .chain(numbered)
            .find(|name| !self.names.contains(name))
            .unwrap_or_default()
    }

    fn test(&self, name: &str, witness: &Witness) -> Value {
        let decision = evaluate(self.set, &witness.question, witness.facts.as_ref(), witness.at);
        let rules: Vec<String> = decision
            .rules
            .iter()
            .map(|rule| match rule.policy == self.policy.name() {
                true => rule.rule.clone(),
                false => format!("{}/{}", rule.policy, rule.rule),
            })
            .collect();
        let mut request = json!(witness.question);
        if let Some(fields) = request.as_object_mut() {
            fields.retain(|_, value| !is_empty(value));
        }
        let mut test = json!({
            "name": name, "at": witness.at, "request": request,
            "expect": { "decision": decision.effect, "rules": rules },
        });
        if let Some(facts) = &witness.facts {
            test["facts"] = json!(facts);
        }
        test
    }
}

fn is_empty(value: &Value) -> bool {
    value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(serde_json::Map::is_empty)
}

/// Where all comparisons but this one are true.
fn others_true(tests: &[&Test], but: usize, regions: &mut Regions<'_>) -> Result<Region, OverBudget> {
    let mut others = Vec::new();
    for (index, test) in tests.iter().enumerate() {
        if index != but {
            others.push(regions.test(test)?.is_true);
        }
    }
    regions.diagrams.all(&others)
}
