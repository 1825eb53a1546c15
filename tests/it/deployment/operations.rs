//! Whether the operations page says what is tested, and shows the scripts that are tested.

use std::collections::BTreeSet;

use aegis_tests::paths::checkout;
use anyhow::{Context, Result};

fn page() -> Result<String> {
    Ok(std::fs::read_to_string(checkout().join("docs/operations.md"))?)
}

/// The texts in backticks.
pub(super) fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// Whether a path such as `control_plane::outages::a_sentence` is a test of this binary.
pub(super) fn is_test(path: &str) -> Result<bool> {
    let (module, name) = path.rsplit_once("::").with_context(|| format!("`{path}` names no module"))?;
    let file = checkout().join("tests/it").join(module.replace("::", "/")).with_extension("rs");
    let code = std::fs::read_to_string(&file).with_context(|| format!("`{path}`: no {}", file.display()))?;
    let lines: Vec<_> = code.lines().map(str::trim).collect();
    let declares = |line: &str| line.trim_start_matches("async ").starts_with(&format!("fn {name}()"));
    let is_marked = |before: &str| matches!(before, "#[test]" | "#[tokio::test]");
    Ok(lines.windows(2).any(|pair| is_marked(pair[0]) && declares(pair[1])))
}

#[test]
fn every_row_of_the_outage_table_names_tests_that_exist() -> Result<()> {
    let page = page()?;
    let (_, table) = page.split_once("\n| What is away |").context("the table of outages")?;
    let rows: Vec<_> = table.lines().skip(2).take_while(|line| line.starts_with('|')).collect();
    let mut services = BTreeSet::new();
    for row in &rows {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [away, service, works, refused, recovers, tests] = cells[..] else { panic!("six cells: {row}") };
        for cell in [away, works, refused, recovers] {
            assert!(!cell.is_empty(), "an empty cell: {row}");
        }
        services.insert((away, service));
        let named: Vec<_> = quoted(tests).collect();
        assert!(!named.is_empty() || tests == "not used", "no test: {row}");
        for path in named {
            assert!(is_test(path)?, "`{path}` is no test: {row}");
        }
    }
    let every =
        ["control plane's Postgres", "executor's Postgres", "API server", "executor", "control plane"];
    for away in every {
        assert!(services.iter().any(|(found, _)| *found == away), "{away} has no row: {services:?}");
    }
    Ok(())
}

#[test]
fn the_page_shows_the_scripts_as_they_are_tested() -> Result<()> {
    let page = page()?;
    for name in ["backup", "restore"] {
        let script = std::fs::read_to_string(checkout().join(format!("docs/{name}.sh")))?;
        assert!(page.contains(&format!("```bash\n{script}```")), "docs/{name}.sh differs from the page");
    }
    Ok(())
}
