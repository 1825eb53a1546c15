//! Whether the threat model says what is tested.

use aegis_tests::paths::checkout;
use anyhow::{Context, Result};

use super::operations::{is_test, quoted};

#[test]
fn every_attack_of_the_threat_model_names_what_stops_it_and_tests_that_exist() -> Result<()> {
    let page = std::fs::read_to_string(checkout().join("docs/threat-model.md"))?;
    let (_, table) = page.split_once("\n| Attack |").context("the table of attacks")?;
    let rows: Vec<_> = table.lines().skip(2).take_while(|line| line.starts_with('|')).collect();
    assert!(rows.len() >= 20, "only {} attacks", rows.len());
    for row in rows {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [attack, kinds, stopped_by, tests] = cells[..] else { panic!("four cells: {row}") };
        assert!(!attack.is_empty() && !stopped_by.is_empty(), "an empty cell: {row}");
        assert!(!kinds.is_empty() && kinds.chars().all(|kind| "STRIDE".contains(kind)), "{row}");
        assert!(quoted(tests).next().is_some(), "no test: {row}");
        for path in quoted(tests) {
            assert!(is_test(path)?, "`{path}` is no test: {row}");
        }
    }
    Ok(())
}
