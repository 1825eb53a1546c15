//! Whether the page of settings says what the code reads.

use std::collections::BTreeSet;

use aegis_tests::paths::checkout;
use anyhow::{Context, Result};

const PAGE: &str = "docs/configuration.md";
const HEAD: &str = "# Settings

Each setting is a variable of the environment, or a file that `NAME_FILE` names; secrets belong into files. All problems \
with them are told at once, and the program does not start. A test writes this page from the code.
";
const PROGRAMS: [(&str, &str); 2] =
    [("Control plane", "control-plane/src/settings.rs"), ("Executor", "executor/src/settings.rs")];

/// The name in backticks that a line begins with, if it is one of a setting, and what follows it.
fn beginning(line: &str) -> Option<(&str, &str)> {
    let (name, text) = line.strip_prefix('`')?.split_once("`: ")?;
    let is_name = name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    is_name.then_some((name, text))
}

/// The settings that doc comments explain, each once, in the order of the code.
fn explained(code: &str) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::new();
    let mut is_open = false;
    for line in code.lines().map(str::trim) {
        let comment = line.strip_prefix("/// ");
        match comment.map(|text| (beginning(text), text)) {
            Some((Some((name, text)), _)) => {
                is_open = all.iter().all(|(known, _)| known != name);
                if is_open {
                    all.push((name.to_owned(), text.to_owned()));
                }
            }
            Some((None, text)) => {
                if let Some((_, so_far)) = all.last_mut().filter(|_| is_open) {
                    so_far.push(' ');
                    so_far.push_str(text);
                }
            }
            None => is_open = false,
        }
    }
    all
}

/// The names that the code reads: every text of capitals that is given to a function that reads.
fn read_names(code: &str) -> BTreeSet<String> {
    let (code, _) = code.split_once("#[cfg(test)]").unwrap_or((code, ""));
    let code: String = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let texts = code.split('"').skip(1).step_by(2);
    let is_name = |text: &&str| {
        text.len() > 3
            && text.contains(|byte: char| byte.is_ascii_uppercase())
            && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
    };
    texts.filter(is_name).map(str::to_owned).collect()
}

#[test]
fn the_page_of_settings_says_what_the_code_reads() -> Result<()> {
    let mut page = HEAD.to_owned();
    for (program, path) in PROGRAMS {
        let code = std::fs::read_to_string(checkout().join(path))?;
        let explained = explained(&code);
        let names: BTreeSet<_> = explained.iter().map(|(name, _)| name.clone()).collect();
        assert_eq!(names, read_names(&code), "{path}: what is explained (left) is not what is read (right)");
        page.push_str(&format!("\n## {program}\n\n| setting | meaning |\n|---|---|\n"));
        for (name, text) in explained {
            page.push_str(&format!("| `{name}` | {} |\n", text.trim_end_matches('.')));
        }
    }
    let written = std::fs::read_to_string(checkout().join(PAGE)).context(PAGE).unwrap_or_default();
    assert!(written == page, "{PAGE} must say:\n{page}");
    Ok(())
}
