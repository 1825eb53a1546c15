//! `cargo xtask test`: exactly what CI runs.

use std::time::Instant;

use aegis_tests::paths::checkout;
use aegis_tests::programs::Programs;
use aegis_tests::python::python_with;
use anyhow::{Result, bail};

use crate::cargo::{build_everything, cargo, line_of, run as run_cargo, run_with_lines};
use crate::{install, sqlx, supply_chain};

/// Most failed tests that are tried once more: more of them are no accident.
const TRIED_AGAIN_MAX: usize = 5;

/// Runs every check and test; with filters, only the tests whose names hold one of them. Tests that fail beside others
/// are tried once more, one by one: on a busy machine what takes seconds may take a minute. What passes then is told
/// at the end, and does not fail the run.
pub(crate) async fn run(filters: &[String], long: bool) -> Result<()> {
    let started_at = Instant::now();
    install::programs(&["go", "openssl", "python3"]).await?;
    install::postgres().await?;
    install::fake_clock().await?;
    install::node().await?;
    install::redis().await?;
    install::npm().await?;
    aegis_tests::oidc::installed().await?;
    Programs::ready().await?;
    for requirements in python_requirements()? {
        python_with(&requirements).await?;
    }
    if filters.is_empty() {
        checks().await?;
    }
    build_everything()?;
    install::room()?;
    let tests = run_tests(filters, long)?;
    if filters.is_empty() {
        let mut doc = cargo(["doc", "--quiet", "--workspace", "--no-deps", "--document-private-items"]);
        doc.env("RUSTDOCFLAGS", "-D warnings");
        run_cargo(doc)?;
    }
    println!("\n✓ {} tests passed in {} s", tests.passed, started_at.elapsed().as_secs());
    if !tests.failures.is_empty() {
        println!("! failed beside others, and passed alone:\n{}", tests.told());
    }
    Ok(())
}

/// Format, lock files, dependencies, lints, and whether the descriptions of the queries are up to date.
async fn checks() -> Result<()> {
    run_cargo(cargo(["fmt", "--all", "--check"]))?;
    // `bench/` is a workspace of its own and too much to build here.
    run_cargo(cargo(["fmt", "--all", "--check", "--manifest-path", "bench/Cargo.toml"]))?;
    run_cargo(cargo(["update", "--workspace", "--locked", "--manifest-path", "bench/Cargo.toml"]))?;
    supply_chain::run().await?;
    sqlx::run(true).await?;
    run_cargo(cargo(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

fn python_requirements() -> Result<Vec<std::path::PathBuf>> {
    let peers = checkout().join("tests/peers");
    let mut found = Vec::new();
    if peers.is_dir() {
        for entry in std::fs::read_dir(peers)? {
            let requirements = entry?.path().join("requirements.txt");
            if requirements.exists() {
                found.push(requirements);
            }
        }
    }
    Ok(found)
}

#[derive(Default)]
struct Tests {
    passed: u64,
    failed: u64,
    /// The name of each that failed, with the first line of its error.
    failures: Vec<(String, Option<String>)>,
    /// The one whose output is being read.
    current: Option<usize>,
    /// Test binaries that began and have not told their result: one that crashed never does.
    open: u64,
}

impl Tests {
    /// Reads a line such as `test result: ok. 13 passed; 0 failed; 2 ignored; …`, `test name ... FAILED`, or of
    /// what the failed test printed, under its headline `---- name stdout ----`.
    fn read(&mut self, line: &str) {
        if let Some(name) = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED")) {
            self.failures.push((name.to_owned(), None));
        }
        if let Some(name) = line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----")) {
            self.current = self.failures.iter().rposition(|(failed, _)| failed == name);
        } else if (line.starts_with("Error: ")
            || line.contains("' panicked at ")
            || line.contains(") panicked at "))
            && let Some((_, error @ None)) = self.current.and_then(|current| self.failures.get_mut(current))
        {
            *error = Some(line.to_owned());
        }
        if line.starts_with("running ") && (line.ends_with(" test") || line.ends_with(" tests")) {
            self.open += 1;
        }
        let Some((_, counts)) = line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". "))
        else {
            return;
        };
        self.open = self.open.saturating_sub(1);
        for count in counts.split("; ") {
            match count.split_once(' ') {
                Some((number, "passed")) => self.passed += number.parse::<u64>().unwrap_or_default(),
                Some((number, "failed")) => self.failed += number.parse::<u64>().unwrap_or_default(),
                _ => {}
            }
        }
    }

    /// Runs each failed test by itself; an error if one fails again, or if too much failed to be an accident.
    fn try_again(&mut self) -> Result<()> {
        let few = 1..=TRIED_AGAIN_MAX;
        let is_accident =
            self.open == 0 && self.failed == self.failures.len() as u64 && few.contains(&self.failures.len());
        let mut passes = is_accident;
        for (name, _) in self.failures.iter().filter(|_| is_accident) {
            println!("\n! {name} failed; trying it once more, alone");
            let alone = ["test", "--workspace", "--", "--include-ignored", "--exact", name];
            let mut again = Self::default();
            passes &= run_with_lines(cargo(alone), |line| again.read(line))? && again.passed > 0;
        }
        if !passes {
            bail!("{} tests failed, {} passed:\n{}", self.failed, self.passed, self.told());
        }
        self.passed += self.failed;
        Ok(())
    }

    /// Each test that failed, with its error.
    fn told(&self) -> String {
        let told = |(name, error): &(String, Option<String>)| {
            format!("  {name}\n    {}", error.as_deref().unwrap_or("(it printed no error)"))
        };
        self.failures.iter().map(told).collect::<Vec<_>>().join("\n")
    }
}

fn run_tests(filters: &[String], long: bool) -> Result<Tests> {
    let mut command = cargo(["test", "--workspace", "--no-fail-fast", "--"]);
    if long {
        command.arg("--include-ignored");
    }
    command.args(filters);
    let line = line_of(&command);
    let mut tests = Tests::default();
    let succeeded = run_with_lines(command, |line| tests.read(line))?;
    if !succeeded {
        tests.try_again()?;
    }
    if tests.passed == 0 {
        bail!("`{line}` ran no test");
    }
    Ok(tests)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_all_test_binaries_are_added_up_and_failures_told_with_their_first_error() {
        let mut tests = Tests::default();
        for line in [
            "running 2 tests",
            "test it::one ... ok",
            "test it::two ... FAILED",
            "---- it::two stdout ----",
            "Error: the disk is full",
            "Error: and so on",
            "test result: FAILED. 1 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.10s",
            "running 13 tests",
            "test result: ok. 13 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s",
        ] {
            tests.read(line);
        }
        assert_eq!(tests.open, 0);
        tests.read("running 1 test");
        assert_eq!(tests.open, 1, "a binary that crashed told nothing");
        assert_eq!(
            (tests.passed, tests.failed, tests.failures),
            (14, 1, vec![("it::two".to_owned(), Some("Error: the disk is full".to_owned()))])
        );
    }
}
