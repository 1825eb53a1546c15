//! The tests of a document: questions, and the answers they must get.

use aegis_contract::facts::Facts;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use crate::compiled::{CompiledSet, Scratch};
use crate::decision::{Decision, Demanded, Effect, RuleName};
use crate::document::{Policy, Rule};
use crate::obligation::{Approval, Limit};
use crate::question::Question;
use crate::set::PolicySet;
use crate::trace::{Judgement, RuleTrace, trace};

/// P39: one test of a document.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its name, unique in the document.
    pub name: String,
    /// The time of the decision.
    pub at: Timestamp,
    /// What is asked.
    pub question: Question,
    /// What the executor saw of the target.
    pub facts: Option<Facts>,
    /// The answer.
    pub expect: Expect,
}

/// What an answer must be; what is not said may be anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expect {
    /// The effect.
    pub effect: Effect,
    /// Exactly the deciding rules, sorted.
    pub rules: Option<Vec<RuleName>>,
    /// Exactly the limits, sorted.
    pub limits: Option<Vec<Limit>>,
    /// Exactly the groups of approvers, sorted.
    pub approvals: Option<Vec<Approval>>,
    /// Whether only a dry run is allowed.
    pub dry_run_only: Option<bool>,
    /// Whether a review is asked for afterwards.
    pub break_glass: Option<bool>,
}

/// What came of the tests of a document.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// One for each test, as ordered in the document.
    pub results: Vec<CaseResult>,
    /// One for each rule of the document, as ordered in it.
    pub coverage: Vec<RuleCoverage>,
}

impl Report {
    /// Whether every test got the answer it expects.
    pub fn passed(&self) -> bool {
        self.results.iter().all(|result| result.differences.is_empty())
    }
}

/// What came of one test.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct CaseResult {
    /// Name of the test.
    pub name: String,
    /// What is not as expected; the test passed when there is nothing.
    pub differences: Vec<Difference>,
    /// The answer.
    pub decision: Decision,
}

/// One part of an answer that is not as expected.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// The field of `expect`.
    pub field: &'static str,
    /// What it says.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub expected: Value,
    /// What the answer was.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub actual: Value,
}

/// What the tests showed of one rule.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct RuleCoverage {
    /// Id of the rule.
    pub rule: String,
    /// Whether it applied in a test.
    pub applied: bool,
    /// Whether it did not apply in another.
    pub not_applied: bool,
    /// One for each comparison of its condition.
    pub comparisons: Vec<ComparisonCoverage>,
}

/// What the tests showed of one comparison, in questions that the rule's `match` covers.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ComparisonCoverage {
    /// Where it stands: a JSON pointer into the rule's `when`.
    pub pointer: String,
    /// The attribute.
    pub path: String,
    /// Whether it was true in a test.
    pub was_true: bool,
    /// Whether it was false in another.
    pub was_false: bool,
}

/// P39: asks the questions of a document's tests. The document counts as if its mode were `enforce`,
/// together with the policies of `set`; one of the same name gives way to it.
pub fn run_tests(policy: &Policy, set: &PolicySet) -> Report {
    run_more_tests(policy, &[], set)
}

/// P39: only the tests that got another answer than they expect, each with its place in the document.
pub fn failing_tests(policy: &Policy, set: &PolicySet) -> Vec<(usize, CaseResult)> {
    let policy = policy.enforced();
    let compiled = CompiledSet::compile(set.with(policy.clone()));
    let mut scratch = Scratch::new();
    let results = policy.tests().iter().map(|case| case.result(&compiled, &mut scratch)).enumerate();
    results.filter(|(_, result)| !result.differences.is_empty()).collect()
}

/// P39: the same, with more tests of the document from elsewhere.
pub fn run_more_tests(policy: &Policy, more: &[Case], set: &PolicySet) -> Report {
    let policy = policy.enforced();
    let compiled = CompiledSet::compile(set.with(policy.clone()));
    let mut scratch = Scratch::new();
    // How a rule stands to a question does not depend on others, and there may be thousands of those.
    let alone = PolicySet::empty().with(policy.clone());
    let mut coverage: Vec<RuleCoverage> = policy.compiled_rules().iter().map(RuleCoverage::none).collect();
    let mut results = Vec::new();
    for case in policy.tests().iter().chain(more) {
        let traces = trace(&alone, &case.question, case.facts.as_ref(), case.at);
        coverage.iter_mut().zip(&traces).for_each(|(coverage, trace)| coverage.count(trace));
        results.push(case.result(&compiled, &mut scratch));
    }
    Report { results, coverage }
}

impl Case {
    fn result(&self, set: &CompiledSet, scratch: &mut Scratch) -> CaseResult {
        let decision = set.decide(&self.question, self.facts.as_ref(), self.at, scratch).to_decision();
        let differences = self.expect.differences(&decision);
        CaseResult { name: self.name.clone(), differences, decision }
    }
}

impl RuleCoverage {
    /// What no test shows.
    fn none(rule: &Rule) -> Self {
        let comparisons = rule.comparisons().into_iter().map(|(pointer, test)| ComparisonCoverage {
            pointer,
            path: test.path.clone(),
            was_true: false,
            was_false: false,
        });
        let comparisons = comparisons.collect();
        Self { rule: rule.id.clone(), applied: false, not_applied: false, comparisons }
    }

    fn count(&mut self, trace: &RuleTrace) {
        self.applied |= trace.applies;
        self.not_applied |= !trace.applies;
        if trace.mismatches.is_empty() {
            for (seen, comparison) in self.comparisons.iter_mut().zip(&trace.comparisons) {
                seen.was_true |= comparison.verdict == Judgement::True;
                seen.was_false |= comparison.verdict == Judgement::False;
            }
        }
    }
}

impl Expect {
    fn differences(&self, decision: &Decision) -> Vec<Difference> {
        fn whats<T: Clone>(demanded: &[Demanded<T>]) -> Vec<T> {
            demanded.iter().map(|demanded| demanded.what.clone()).collect()
        }
        let obligations = &decision.obligations;
        let mut rules: Vec<RuleName> = decision
            .rules
            .iter()
            .map(|rule| RuleName { policy: rule.policy.clone(), rule: rule.rule.clone() })
            .collect();
        rules.sort();
        let differences = [
            difference("decision", Some(&self.effect), &decision.effect),
            difference("rules", self.rules.as_ref(), &rules),
            difference("limits", self.limits.as_ref(), &whats(&obligations.limits)),
            difference("approvals", self.approvals.as_ref(), &whats(&obligations.approvals)),
            difference("dryRunOnly", self.dry_run_only.as_ref(), &obligations.dry_run_only),
            difference("breakGlass", self.break_glass.as_ref(), &!obligations.break_glass.is_empty()),
        ];
        differences.into_iter().flatten().collect()
    }
}

fn difference<T: PartialEq + Serialize>(
    field: &'static str,
    expected: Option<&T>,
    actual: &T,
) -> Option<Difference> {
    let expected = expected.filter(|expected| *expected != actual)?;
    Some(Difference { field, expected: json!(expected), actual: json!(actual) })
}
