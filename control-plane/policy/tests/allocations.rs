//! A decision by a compiled set allocates nothing, whatever its rules look at. A binary of its own:
//! linking `allocation_counter` puts a counter into the allocator.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "equality/world.rs"]
mod world;

use aegis_policy::{CompiledSet, PolicySet, Scratch, document};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::Value;

const QUESTIONS: usize = 20;

fn compile(documents: &[Value]) -> CompiledSet {
    let policies =
        documents.iter().map(|document| (1, document::parse(document.to_string().as_bytes()).unwrap()));
    CompiledSet::compile(PolicySet::new(policies.collect()).unwrap())
}

#[test]
fn a_decision_allocates_nothing_once_its_scratch_fits() {
    let strategy = (world::documents(), vec(world::asked().boxed(), QUESTIONS));
    let config = Config { cases: 300, failure_persistence: None, ..Config::default() };
    let result = TestRunner::new(config).run(&strategy, |(documents, asked)| {
        let compiled = compile(&documents);
        let mut scratch = Scratch::new();
        let mut decide_all = || {
            for (question, facts, now) in &asked {
                compiled.decide(question, facts.as_ref(), *now, &mut scratch);
            }
        };
        let first = allocation_counter::measure(&mut decide_all);
        let again = allocation_counter::measure(&mut decide_all);
        prop_assert!(first.count_total > 0, "the counter counts nothing");
        prop_assert_eq!(again.count_total, 0);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}
