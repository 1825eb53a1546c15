//! What the analysis says of a set is true of every question.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod examples;
#[path = "../equality/world.rs"]
mod world;

use std::cell::Cell;

use aegis_contract::action::{ActionType, Change};
use aegis_policy::analyse::{self, Circumstances, FindingKind, STEPS_DEFAULT, Subject, Witness};
use aegis_policy::{Decision, Effect, PolicySet, Question, document, evaluate, run_tests, trace};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseResult, TestRunner};
use serde_json::{Map, Value, json};
use world::Asked;

const CASES: u32 = 300;
/// Several questions to each set.
const QUESTIONS: usize = 4;

pub(crate) fn set(documents: &[Value]) -> PolicySet {
    let policies = documents.iter().zip(1..).map(|(document, version)| {
        let policy = document::parse(document.to_string().as_bytes())
            .unwrap_or_else(|problems| panic!("{document:#}: {problems:?}"));
        (version, policy)
    });
    PolicySet::new(policies.collect()).unwrap()
}

/// The documents without the rules of which this is true, and without documents that have none left.
fn without(documents: &[Value], leave_out: impl Fn(&str, &str) -> bool) -> Vec<Value> {
    let mut documents = documents.to_vec();
    for document in &mut documents {
        let name = document["name"].as_str().unwrap().to_owned();
        let rules = document["rules"].as_array_mut().unwrap();
        rules.retain(|rule| !leave_out(&name, rule["id"].as_str().unwrap()));
    }
    documents.retain(|document| document["rules"] != json!([]));
    documents
}

fn decide(set: &PolicySet, (question, facts, now): &Asked) -> Decision {
    evaluate(set, question, facts.as_ref(), *now)
}

fn answers_the_same(left: &Decision, right: &Decision) -> bool {
    left.effect == right.effect && left.obligations.demand_the_same_as(&right.obligations)
}

/// Whether a request for an action can lead to this question.
fn can_be_requested(question: &Question) -> bool {
    let Some(target) = question.resource().target() else { return true };
    let action: ActionType = question.action().parse().unwrap();
    Change::new(action, Map::from(question.params().clone()).into(), target.kind).is_ok()
}

fn hold<S: Strategy>(strategy: &S, test: impl Fn(S::Value) -> TestCaseResult) {
    let rng_algorithm = RngAlgorithm::XorShift;
    let config = Config { cases: CASES, rng_algorithm, failure_persistence: None, ..Config::default() };
    if let Err(error) = TestRunner::new(config).run(strategy, test) {
        panic!("{error}");
    }
}

/// How often something came up, so that no law is kept only because nothing ever happens.
#[derive(Default)]
struct Seen(Cell<u32>);

impl Seen {
    fn count(&self) {
        self.0.set(self.0.get() + 1);
    }
}

fn questions() -> impl Strategy<Value = Vec<Asked>> {
    proptest::collection::vec(world::asked(), QUESTIONS)
}

#[test]
fn every_finding_is_true_of_every_question() {
    hold(&(world::documents(), questions()), |(documents, questions)| {
        let set = set(&documents);
        for asked in &questions {
            let (question, facts, now) = asked;
            let checked = analyse::check(&set, &Circumstances::default(), *now, STEPS_DEFAULT);
            let traces = trace(&set, question, facts.as_ref(), *now);
            for finding in &checked.findings {
                let of_rule = |trace: &&_| {
                    let trace: &aegis_policy::RuleTrace = trace;
                    (&trace.policy, &trace.rule) == (&finding.policy, &finding.rule)
                };
                let trace = traces.iter().find(of_rule).unwrap();
                match finding.kind {
                    FindingKind::Unreachable => {
                        prop_assert!(!trace.applies || !can_be_requested(question), "{finding:?}");
                    }
                    FindingKind::Expired | FindingKind::NeverOpens => {
                        prop_assert!(!trace.open, "{finding:?}");
                    }
                    FindingKind::Shadowed => {
                        let effect = decide(&set, asked).effect;
                        prop_assert!(!trace.applies || effect == Effect::Deny, "{finding:?}");
                    }
                    FindingKind::Redundant => {}
                    FindingKind::ApprovalImpossible | FindingKind::NamespaceUnserved => {
                        prop_assert!(false, "nothing is known of people and executors: {finding:?}");
                    }
                }
                let Witness { question, facts, at } = finding.witness.clone();
                prop_assert_eq!(&decide(&set, &(question, facts, at)), &finding.decision);
            }
        }
        Ok(())
    });
}

#[test]
fn leaving_out_all_redundant_rules_changes_no_answer() {
    hold(&(world::documents(), questions()), |(documents, questions)| {
        let all = set(&documents);
        for asked in &questions {
            let checked = analyse::check(&all, &Circumstances::default(), asked.2, STEPS_DEFAULT);
            let redundant: Vec<(&str, &str)> = checked
                .findings
                .iter()
                .filter(|finding| finding.kind == FindingKind::Redundant)
                .map(|finding| (finding.policy.as_str(), finding.rule.as_str()))
                .collect();
            let fewer = set(&without(&documents, |policy, rule| redundant.contains(&(policy, rule))));
            let (before, after) = (decide(&all, asked), decide(&fewer, asked));
            prop_assert!(answers_the_same(&before, &after), "{redundant:?}: {before:?} {after:?}");
        }
        Ok(())
    });
}

#[test]
fn a_diff_tells_every_change_of_an_answer_or_says_that_it_cannot() {
    let (changes, undecided) = (Seen::default(), Seen::default());
    hold(&(world::documents(), world::documents(), any::<Index>(), questions()), |case| {
        let (documents, others, index, questions) = case;
        let before = set(&documents);
        // Another set altogether, and this one without one of its rules.
        let names: Vec<(&str, &str)> = documents
            .iter()
            .flat_map(|document| {
                let rules = document["rules"].as_array().unwrap().iter();
                rules.map(|rule| (document["name"].as_str().unwrap(), rule["id"].as_str().unwrap()))
            })
            .collect();
        let gone = *index.get(&names);
        for after in [set(&others), set(&without(&documents, |policy, rule| (policy, rule) == gone))] {
            for asked in &questions {
                let diff = analyse::diff(&before, &after, asked.2, STEPS_DEFAULT);
                for change in diff.gained.iter().chain(&diff.lost).chain(&diff.changed) {
                    let Witness { question, facts, at } = change.witness.clone();
                    let shown = (question, facts, at);
                    prop_assert_eq!(&decide(&before, &shown), &change.before);
                    prop_assert_eq!(&decide(&after, &shown), &change.after);
                    prop_assert!(!answers_the_same(&change.before, &change.after), "{change:?}");
                }
                let (old, new) = (decide(&before, asked), decide(&after, asked));
                let told = match (old.effect, new.effect) {
                    (Effect::Deny, Effect::Allow) => !diff.gained.is_empty(),
                    (Effect::Allow, Effect::Deny) => !diff.lost.is_empty(),
                    _ => answers_the_same(&old, &new) || !diff.changed.is_empty(),
                };
                prop_assert!(told || !diff.undecided.is_empty(), "{old:?} {new:?} {diff:?}");
                if !diff.undecided.is_empty() {
                    undecided.count();
                } else if !answers_the_same(&old, &new) {
                    changes.count();
                }
            }
        }
        Ok(())
    });
    let (changes, undecided) = (changes.0.get(), undecided.0.get());
    assert!(changes >= CASES / 50 && undecided < CASES * 4, "{changes} changes, {undecided} undecided");
}

#[test]
fn who_can_do_something_is_told_whoever_they_are() {
    let (allowed, denied) = (Seen::default(), Seen::default());
    hold(&(world::documents(), questions()), |(documents, questions)| {
        let set = set(&documents);
        for asked in questions.iter().filter(|(question, ..)| can_be_requested(question)) {
            let (question, _, now) = asked;
            let principal = question.principal().to_string();
            let subject = Subject { principal: principal.clone(), roles: question.roles().to_vec() };
            let (action, resource) = (question.action(), question.resource());
            let found = analyse::who_can(&set, action, resource, &[subject], *now, STEPS_DEFAULT);
            let verdict = found.subjects.iter().find(|verdict| verdict.principal == principal);
            let decision = decide(&set, asked);
            if !found.undecided.is_empty() {
                continue;
            }
            match (verdict, decision.effect) {
                (None, effect) => {
                    denied.count();
                    prop_assert_eq!(effect, Effect::Deny);
                }
                (Some(verdict), Effect::Deny) => {
                    prop_assert!(verdict.is_conditional, "{verdict:?} {decision:?}");
                }
                (Some(verdict), Effect::Allow) => {
                    allowed.count();
                    let letting =
                        decision.rules.iter().filter(|rule| rule.effect == aegis_policy::RuleEffect::Allow);
                    for rule in letting {
                        let told =
                            verdict.rules.iter().any(|of| of.policy == rule.policy && of.rule == rule.rule);
                        prop_assert!(told, "{rule:?} {verdict:?}");
                    }
                    if verdict.sometimes.is_empty() {
                        let shown = &verdict.decision;
                        prop_assert!(answers_the_same(&decision, shown), "{decision:?} {verdict:?}");
                    }
                }
            }
            for grant in &found.grants {
                prop_assert_eq!(grant.decision.effect, Effect::Allow);
            }
        }
        Ok(())
    });
    let (allowed, denied) = (allowed.0.get(), denied.0.get());
    assert!(allowed >= CASES / 50 && denied >= CASES / 10, "{allowed} allowed, {denied} denied");
}

#[test]
fn drafted_tests_can_be_taken_over_and_leave_nothing_untested() {
    hold(&(world::documents(), world::asked()), |(documents, (.., now))| {
        let all = set(&documents);
        for document in &documents {
            let policy = document::parse(document.to_string().as_bytes()).unwrap();
            let report = run_tests(&policy, &all);
            let (drafts, undecided) = analyse::draft_tests(&policy, &all, &report, now, STEPS_DEFAULT);
            prop_assert!(undecided.is_empty(), "{undecided:?}");
            let mut document = document.clone();
            document["tests"] = drafts.into_iter().map(|draft| draft.test).collect();
            let tested = document::parse(document.to_string().as_bytes());
            let tested = tested.unwrap_or_else(|problems| panic!("{document:#}: {problems:?}"));
            let report = run_tests(&tested, &all);
            prop_assert!(report.passed(), "{:?}", report.results);
            // What is still untested cannot be tested.
            let (left, _) = analyse::draft_tests(&tested, &all, &report, now, STEPS_DEFAULT);
            let names = left
                .iter()
                .filter(|draft| !draft.test["name"].as_str().unwrap().contains("outside its time"));
            prop_assert_eq!(names.count(), 0, "{:?}", left);
        }
        Ok(())
    });
}
