//! Policies and tests as they lie in files and folders.

use std::fs;
use std::path::{Path, PathBuf};

use aegis_contract::strict::{self, Limits};
use aegis_policy::document::{self, TestFile};
use aegis_policy::shape::TESTS_SCHEMA;
use aegis_policy::{Policy, PolicySet, Problem};

use crate::failure::{Cause, Failure};

/// Most folders below one another that are looked into.
const DEPTH_MAX: usize = 16;

/// What was read.
#[derive(Debug)]
pub(super) struct Files {
    /// All policies, of one set.
    pub(super) set: PolicySet,
    /// Files of tests, each with where it lies.
    pub(super) tests: Vec<(PathBuf, TestFile)>,
}

enum File {
    Policy(Policy),
    Tests(TestFile),
}

/// Reads files, and all files that end in `.json` of folders. Everything that is wrong with any of them
/// is told together.
pub(super) fn read(paths: &[PathBuf]) -> Result<Files, Failure> {
    let mut found = Vec::new();
    for path in paths {
        collect(path, DEPTH_MAX, &mut found)?;
    }
    if found.is_empty() {
        let paths: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
        return Err(Failure::usage(format!("there is no file that ends in .json in {}", paths.join(", "))));
    }
    let (mut policies, mut tests, mut problems) = (Vec::new(), Vec::new(), Vec::new());
    for path in found {
        match read_file(&path)? {
            Ok(File::Policy(policy)) => policies.push((1, policy)),
            Ok(File::Tests(file)) => tests.push((path, file)),
            Err(wrong) => problems.extend(wrong.iter().map(|problem| line(&path, problem))),
        }
    }
    if !problems.is_empty() {
        return Err(Failure::usage(format!("policies cannot be read:\n  {}", problems.join("\n  "))));
    }
    let set = PolicySet::new(policies).map_err(|error| Failure::usage(error.to_string()))?;
    for (path, file) in &tests {
        if !set.policies().any(|(_, policy)| policy.name() == file.policy) {
            let message = format!("{}: no file given holds the policy {}", path.display(), file.policy);
            return Err(Failure::usage(message));
        }
    }
    Ok(Files { set, tests })
}

/// The files at a path, sorted by name.
fn collect(path: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), Failure> {
    if !path.is_dir() {
        found.push(path.to_owned());
        return Ok(());
    }
    let failed = |source| Cause::File { path: path.to_owned(), source };
    let mut entries = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        entries.push(entry.map_err(failed)?.path());
    }
    entries.sort();
    for entry in entries {
        if entry.is_dir() && depth > 0 {
            collect(&entry, depth - 1, found)?;
        } else if entry.extension().is_some_and(|extension| extension == "json") {
            found.push(entry);
        }
    }
    Ok(())
}

fn read_file(path: &Path) -> Result<Result<File, Vec<Problem>>, Failure> {
    let bytes = fs::read(path).map_err(|source| Cause::File { path: path.to_owned(), source })?;
    let schema = strict::value(&bytes, Limits::POLICY).ok().and_then(|value| value.get("schema").cloned());
    Ok(if schema.is_some_and(|schema| schema == TESTS_SCHEMA) {
        document::parse_tests(&bytes).map(File::Tests)
    } else {
        document::parse(&bytes).map(File::Policy)
    })
}

/// A problem as compilers write it, so that editors find the place.
fn line(path: &Path, problem: &Problem) -> String {
    let place = match (problem.line, problem.column) {
        (Some(line), Some(column)) => format!(":{line}:{column}"),
        _ => String::new(),
    };
    let Problem { pointer, code, message, suggestion, .. } = problem;
    let meant = suggestion.as_ref().map(|name| format!(" (did you mean `{name}`?)")).unwrap_or_default();
    format!("{}{place}: {pointer} [{code}] {message}{meant}", path.display())
}
