//! `aegisctl policy test`.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use aegis_policy::analyse::{STEPS_DEFAULT, draft_tests};
use aegis_policy::shape::TESTS_SCHEMA;
use aegis_policy::{Case, CaseResult, Report, RuleCoverage, run_more_tests};
use aegis_runtime::clock;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::files::{self, Files};
use super::tool::print;
use crate::exit::Exit;
use crate::failure::{Cause, Failure};
use crate::output::Format;

/// What to test, and what to make of it.
#[derive(Debug, clap::Args)]
pub(crate) struct Test {
    /// Policies and files of tests, or folders of them; all policies are one set
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Also fail when a rule or a comparison is not tested both ways
    #[arg(long)]
    require_coverage: bool,
    /// Write what is not tested yet as files of tests, to be read and taken over
    #[arg(long, value_name = "FOLDER")]
    write_drafts: Option<PathBuf>,
    /// Time from which on drafts look for windows that open; now if absent
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
}

/// Runs the command.
pub(super) fn run(command: &Test, output: Format) -> Result<Exit, Failure> {
    let files = files::read(&command.paths)?;
    let reports: Vec<(String, Report)> = files
        .set
        .policies()
        .map(|(_, policy)| {
            (policy.name().to_owned(), run_more_tests(policy, &more(&files, policy.name()), &files.set))
        })
        .collect();
    let gaps: Vec<String> = reports
        .iter()
        .flat_map(|(name, report)| report.coverage.iter().flat_map(move |rule| gaps(name, rule)))
        .collect();
    print(output, &document(&reports, &gaps), || lines(&reports, &gaps))?;
    if let Some(folder) = &command.write_drafts {
        write_drafts(folder, &files, &reports, command.at.unwrap_or_else(clock::now))?;
    }
    let is_passed = reports.iter().all(|(_, report)| report.passed());
    let is_covered = gaps.is_empty() || !command.require_coverage;
    Ok(if is_passed && is_covered { Exit::Done } else { Exit::Failed })
}

/// The tests of a policy that stand in files of their own.
fn more(files: &Files, policy: &str) -> Vec<Case> {
    let of_policy = files.tests.iter().filter(|(_, file)| file.policy == policy);
    of_policy.flat_map(|(_, file)| file.tests.iter().cloned()).collect()
}

/// What no test shows of a rule.
fn gaps(policy: &str, rule: &RuleCoverage) -> Vec<String> {
    let name = format!("{policy}/{}", rule.rule);
    let mut gaps = Vec::new();
    if !rule.applied {
        gaps.push(format!("{name} never applies"));
    }
    if !rule.not_applied {
        gaps.push(format!("{name} always applies"));
    }
    for comparison in &rule.comparisons {
        for (word, is_shown) in [("true", comparison.was_true), ("false", comparison.was_false)] {
            if !is_shown {
                gaps.push(format!(
                    "{name}: {} is never {word} (when{})",
                    comparison.path, comparison.pointer
                ));
            }
        }
    }
    gaps
}

fn count(reports: &[(String, Report)]) -> (usize, usize) {
    let results = || reports.iter().flat_map(|(_, report)| &report.results);
    (results().filter(|result| !result.differences.is_empty()).count(), results().count())
}

fn document(reports: &[(String, Report)], gaps: &[String]) -> Value {
    let policies: Vec<Value> = reports
        .iter()
        .map(|(name, report)| json!({ "policy": name, "passed": report.passed(), "results": report.results, "coverage": report.coverage }))
        .collect();
    let (failed, all) = count(reports);
    json!({ "tests": all, "failed": failed, "policies": policies, "notTested": gaps })
}

/// What people read: the tests that failed with what differs, what is not tested, and a last line.
fn lines(reports: &[(String, Report)], gaps: &[String]) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, report) in reports {
        for result in &report.results {
            lines.extend(result_lines(name, result));
        }
    }
    if !gaps.is_empty() {
        lines.push("not tested:".to_owned());
        lines.extend(gaps.iter().map(|gap| format!("  {gap}")));
    }
    let (failed, all) = count(reports);
    lines.push(format!("{all} tests of {} policies, {failed} failed, {} gaps", reports.len(), gaps.len()));
    lines
}

fn result_lines(policy: &str, result: &CaseResult) -> Vec<String> {
    if result.differences.is_empty() {
        return vec![format!("pass  {policy}: {}", result.name)];
    }
    let mut lines = vec![format!("FAIL  {policy}: {}", result.name)];
    for difference in &result.differences {
        lines.push(format!(
            "        {}: expected {}, got {}",
            difference.field, difference.expected, difference.actual
        ));
    }
    lines.push(format!("        {}: {}", result.decision.effect, result.decision.reason));
    lines
}

/// Writes a file of tests for each policy that has gaps; one that is there already is left alone.
fn write_drafts(
    folder: &Path,
    files: &Files,
    reports: &[(String, Report)],
    now: Timestamp,
) -> Result<(), Failure> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| Failure::from(Cause::File { path, source })
    };
    fs::create_dir_all(folder).map_err(failed(folder))?;
    for ((_, policy), (name, report)) in files.set.policies().zip(reports) {
        let (drafts, undecided) = draft_tests(policy, &files.set, report, now, STEPS_DEFAULT);
        for undecided in undecided {
            eprintln!("{name}: no drafts for some rule: {}", undecided.reason);
        }
        if drafts.is_empty() {
            continue;
        }
        let tests: Vec<Value> = drafts.into_iter().map(|draft| draft.test).collect();
        let path = folder.join(format!("{name}.drafts.json"));
        let mut file = fs::File::create_new(&path).map_err(failed(&path))?;
        let document = json!({ "schema": TESTS_SCHEMA, "policy": name, "tests": tests });
        writeln!(file, "{document:#}").map_err(failed(&path))?;
        eprintln!(
            "wrote {}: they expect what is answered now; make sure it is what you want",
            path.display()
        );
    }
    Ok(())
}
