//! From the bytes of a request to the answer, and from documents to a set.

use std::hint::black_box;
use std::time::{Duration, Instant};

use aegis_policy::{CompiledSet, Effect, Question, Scratch, document};
use anyhow::{Result, anyhow, ensure};
use jiff::Timestamp;
use serde_json::json;

use crate::engines::{aegis, cedar, rego};
use crate::measure::{nanoseconds, times_of};
use crate::row::Row;
use crate::suite::Effort;
use crate::workloads::heal;
use crate::world::Workload;

/// Length of a request.
const BYTES: usize = 1_024;

/// Both.
pub fn run(effort: Effort) -> Result<Vec<Row>> {
    let workload = heal(effort.rules_max.min(10_000));
    let mut rows = answers(&workload, effort)?;
    rows.extend(sets(&workload)?);
    Ok(rows)
}

fn answers(workload: &Workload, effort: Effort) -> Result<Vec<Row>> {
    let hits = &workload.requests[..workload.groups[0].1];
    let questions: Vec<Vec<u8>> = hits.iter().map(|request| padded(aegis::question(request))).collect();
    let inputs: Vec<Vec<u8>> = hits.iter().map(|request| padded(rego::input(request))).collect();
    let set = CompiledSet::compile(aegis::policy_set(&workload.rules)?);
    let now = Timestamp::from_second(hits[0].now)?;
    let mut scratch = Scratch::new();
    let mut ours = |bytes: &[u8]| -> Result<bool> {
        let question: Question = serde_json::from_slice(bytes)?;
        Ok(set.decide(&question, None, now, &mut scratch).effect() == Effect::Allow)
    };
    let cedar = cedar::Sliced::new(workload)?;
    let mut rego = rego::Rego::data(workload)?;
    for (question, input) in questions.iter().zip(&inputs) {
        let answer = ours(question)?;
        ensure!(
            cedar.allows_bytes(question)? == answer && rego.allows_bytes(input)? == answer,
            "answers differ"
        );
    }
    let case = format!("from {BYTES} bytes of JSON to the answer, {}", workload.name);
    let ours = times_of(questions.len(), effort.budget, |request| {
        black_box(ours(black_box(&questions[request]))).expect("it was answered before");
    });
    let cedar = times_of(questions.len(), effort.budget, |request| {
        black_box(cedar.allows_bytes(black_box(&questions[request]))).expect("it was answered before");
    });
    let rego = times_of(inputs.len(), effort.budget, |request| {
        black_box(rego.allows_bytes(black_box(&inputs[request]))).expect("it was answered before");
    });
    Ok(vec![
        Row::limit(format!("{case}: p50"), "ns", ours.p50, 2_000.0),
        Row::against(format!("{case}: p50"), "ns", ours.p50, ("cedar sliced", cedar.p50), 10.0),
        Row::against(format!("{case}: p50"), "ns", ours.p50, ("regorus data", rego.p50), 10.0),
    ])
}

/// The request with as much metadata that no rule reads as it takes to be [`BYTES`] long.
fn padded(mut request: serde_json::Value) -> Vec<u8> {
    for number in 0.. {
        let len = request.to_string().len();
        let key = format!("label-{number:02}");
        // `,"label-00":""` is added, and the text.
        let Some(room) = BYTES.checked_sub(len + 14) else { break };
        let text = if room < 64 { room } else { 24 };
        request["metadata"][key] = json!("x".repeat(text));
        if text == room {
            break;
        }
    }
    request.to_string().into_bytes()
}

fn sets(workload: &Workload) -> Result<Vec<Row>> {
    let documents = aegis::documents(&workload.rules);
    let (mut compile, mut read) = (Duration::MAX, Duration::MAX);
    for _ in 0..5 {
        let set = aegis::policy_set(&workload.rules)?;
        let start = Instant::now();
        black_box(CompiledSet::compile(set));
        compile = compile.min(start.elapsed());
        let start = Instant::now();
        for bytes in &documents {
            black_box(document::parse(bytes).map_err(|problems| anyhow!("{problems:?}"))?);
        }
        read = read.min(start.elapsed());
    }
    let start = Instant::now();
    black_box(cedar::Plain::new(&Workload { requests: Vec::new(), ..workload.clone() })?);
    let cedar = nanoseconds(start.elapsed()) / 1e6;
    let (compile, read) = (nanoseconds(compile) / 1e6, nanoseconds(read) / 1e6);
    Ok(vec![
        Row::limit(format!("compiling, {}", workload.name), "ms", compile, 50.0),
        Row::beside(
            format!("reading and compiling, {}", workload.name),
            "ms",
            read + compile,
            ("cedar", cedar),
        ),
    ])
}
