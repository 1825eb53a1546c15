//! The compiled evaluator gives the answers of the reference interpreter: the same effect, rules,
//! reasons and obligations, for every set of policies and every question.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod world;

use std::cell::RefCell;
use std::time::{Duration, Instant};

use aegis_policy::{CompiledSet, PolicySet, Scratch, document, evaluate};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseResult, TestRunner};
use serde_json::Value;
use world::Asked;

/// Several questions to each set: a set costs more to make than to ask.
const QUESTIONS: usize = 6;

fn set(documents: &[Value]) -> PolicySet {
    let policies = documents.iter().zip(1..).map(|(document, version)| {
        let policy = document::parse(document.to_string().as_bytes())
            .unwrap_or_else(|problems| panic!("{document:#}: {problems:?}"));
        (version, policy)
    });
    PolicySet::new(policies.collect()).unwrap()
}

/// The scratch is the same for all sets, as it is in a process that changes its policies.
fn answers_are_equal(documents: &[Value], asked: &[Asked], scratch: &mut Scratch) -> TestCaseResult {
    let compiled = CompiledSet::compile(set(documents));
    for (question, facts, now) in asked {
        let expected = evaluate(compiled.set(), question, facts.as_ref(), *now);
        let answer = compiled.decide(question, facts.as_ref(), *now, scratch);
        prop_assert_eq!(answer.effect(), expected.effect);
        prop_assert_eq!(answer.to_decision(), expected);
    }
    Ok(())
}

fn run(cases: u32) {
    let scratch = RefCell::new(Scratch::new());
    let strategy = (world::documents(), vec(world::asked().boxed(), QUESTIONS));
    // Most of the time goes into random numbers: the simplest kind will do.
    let rng_algorithm = RngAlgorithm::XorShift;
    let config = Config { cases, rng_algorithm, failure_persistence: None, ..Config::default() };
    let result = TestRunner::new(config).run(&strategy, |(documents, asked)| {
        answers_are_equal(&documents, &asked, &mut scratch.borrow_mut())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

#[test]
fn both_evaluators_give_the_same_answer() {
    run(10_000);
}

/// For `cargo xtask test --long`.
#[test]
#[ignore = "takes about an hour"]
fn both_evaluators_give_the_same_answer_for_an_hour() {
    let end = Instant::now() + Duration::from_secs(3_600);
    while Instant::now() < end {
        run(10_000);
    }
}
