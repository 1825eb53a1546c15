//! What must not be in production.

use std::collections::BTreeSet;

/// What people write where a secret is to be put.
const PLACEHOLDERS: [&str; 8] =
    ["change-me", "changeme", "default", "example", "insecure", "password", "replace", "secret"];
/// Fewest different bytes of what was made by chance: 16 hexadecimal digits have about ten.
const DIFFERENT_MIN: usize = 6;
const LOG_LEVEL: &str = "LOG_LEVEL";

/// What is wrong with secrets, by the names of their settings. What is told shows none of them.
pub(super) fn problems_of_secrets(secrets: &[(&str, &str)]) -> Vec<String> {
    let secrets: Vec<_> = secrets.iter().map(|(name, text)| (*name, secret_part(text.trim()))).collect();
    let mut problems = BTreeSet::new();
    for (index, (name, secret)) in secrets.iter().enumerate() {
        if is_example(secret) {
            problems.insert(format!(
                "{name} looks like an example, which PRODUCTION refuses; `openssl rand -base64 32` makes another"
            ));
        }
        for (other, same) in &secrets[..index] {
            if same == secret && other != name && !secret.is_empty() {
                problems.insert(format!(
                    "{name} is the same as {other}, which PRODUCTION refuses: one secret has one purpose"
                ));
            }
        }
    }
    problems.into_iter().collect()
}

/// Whether production has an opinion on what a setting says.
pub(super) fn is_switch(name: &str) -> bool {
    name == LOG_LEVEL || name.starts_with("DANGEROUS_")
}

/// What is wrong with [switches](is_switch).
pub(super) fn problems_of_switches(switches: &[(String, String)]) -> Vec<String> {
    let problem = |(name, value): &(String, String)| {
        if name == LOG_LEVEL {
            let shows = value.split(',').any(shows_too_much);
            return shows.then(|| {
                format!("{name} is `{value}`, which PRODUCTION refuses: `info` is the most it logs")
            });
        }
        (value == "true").then(|| format!("{name} is `true`, which PRODUCTION refuses"))
    };
    switches.iter().filter_map(problem).collect()
}

/// Whether a directive of a filter lets more through than `info`. A target without a level lets everything through.
fn shows_too_much(directive: &str) -> bool {
    let level = directive.rsplit_once('=').map_or(directive, |(_, level)| level).trim();
    !["", "off", "error", "warn", "info", "0", "1", "2", "3"].contains(&level.to_lowercase().as_str())
}

/// The password of an address, or the whole.
fn secret_part(text: &str) -> &str {
    let Some((_, rest)) = text.split_once("://") else { return text };
    let Some((person, _)) = rest.rsplit_once('@') else { return "" };
    person.split_once(':').map_or("", |(_, password)| password)
}

/// Whether chance would hardly have made this.
fn is_example(secret: &str) -> bool {
    if secret.is_empty() || secret.starts_with("-----BEGIN ") {
        return false;
    }
    let lower = secret.to_lowercase();
    let bytes = secret.trim_end_matches('=').as_bytes();
    let different = bytes.iter().collect::<BTreeSet<_>>().len();
    let counts_up = bytes.len() > 8 && bytes.is_sorted();
    PLACEHOLDERS.iter().any(|placeholder| lower.contains(placeholder))
        || different < DIFFERENT_MIN
        || counts_up
        || repeats(bytes)
        || base64_counts_up(bytes)
}

/// Whether it is a part of itself again and again.
fn repeats(bytes: &[u8]) -> bool {
    (1..=bytes.len() / 2).any(|period| bytes.iter().zip(&bytes[period..]).all(|(one, other)| one == other))
}

/// Whether it is base64 of bytes each of which is by the same more than the one before.
fn base64_counts_up(text: &[u8]) -> bool {
    let digit = |byte: u8| {
        let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        digits.iter().position(|digit| *digit == byte).and_then(|place| u32::try_from(place).ok())
    };
    let Some(digits) = text.iter().map(|byte| digit(*byte)).collect::<Option<Vec<_>>>() else { return false };
    let bytes: Vec<u8> = digits
        .chunks_exact(4)
        .flat_map(|four| {
            let word = four.iter().fold(0, |word, digit| word << 6 | digit);
            let [_, first, second, third] = word.to_be_bytes();
            [first, second, third]
        })
        .collect();
    let step = |pair: &[u8]| pair[1].wrapping_sub(pair[0]);
    bytes.len() > 8 && bytes.windows(3).all(|three| step(&three[..2]) == step(&three[1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_chance_makes_is_no_example() {
        for secret in [
            "hpPWiVcXDlJ4jZ1nRyPQpEwzqMVJk8Tx0dYe5FZc7bA=",
            "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "b4c1f07e2d9a6385",
            "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIPasswordExample\n-----END PRIVATE KEY-----",
            "postgres://aegis_control_plane:b4c1f07e2d9a6385@localhost/aegis",
            "postgres://aegis_control_plane@localhost/aegis?host=/run/postgresql",
        ] {
            let problems = problems_of_secrets(&[("NAME", secret)]);
            assert!(problems.is_empty(), "{secret}: {problems:?}");
        }
    }

    #[test]
    fn examples_placeholders_and_series_are_told_without_themselves() {
        for secret in [
            "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
            "0123456789abcdef0123456789abcdef",
            "abcdefghijklmnopqrstuvwxyz",
            "please-CHANGE-ME-to-something-long-enough",
            "my-super-secret-jwt-signing-key-of-2026",
            "postgres://aegis_control_plane:password@localhost/aegis",
            "redis://:changeme@localhost",
        ] {
            let problems = problems_of_secrets(&[("NAME", secret)]).join("");
            assert!(problems.starts_with("NAME looks like an example"), "{secret}: {problems}");
            assert!(!problems.contains(secret) && !problems.contains("CHANGE"), "{problems}");
        }
    }

    #[test]
    fn two_settings_have_two_secrets_also_inside_of_addresses() {
        let secret = "b4c1f07e2d9a6385";
        let url = format!("postgres://aegis:{secret}@localhost/aegis");
        let problems = problems_of_secrets(&[("A", secret), ("B", &url), ("C", "9f86d081884c7d65")]);
        assert_eq!(problems, ["B is the same as A, which PRODUCTION refuses: one secret has one purpose"]);
    }

    #[test]
    fn switches_that_show_or_allow_too_much_are_told() {
        let problems = |name: &str, value: &str| problems_of_switches(&[(name.to_owned(), value.to_owned())]);
        for (name, value) in [
            ("DANGEROUS_ALLOW_PRIVATE_WEBHOOKS", "true"),
            ("LOG_LEVEL", "aegis_control_plane=debug,info"),
            ("LOG_LEVEL", "info, sqlx=TRACE"),
            ("LOG_LEVEL", "Debug"),
            ("LOG_LEVEL", "5"),
            ("LOG_LEVEL", "info,sqlx"),
            ("LOG_LEVEL", "info,[span{id=1}]"),
        ] {
            assert_eq!(problems(name, value).len(), 1, "{name}={value}");
        }
        for (name, value) in [
            ("DANGEROUS_ALLOW_EXCESS_RIGHTS", "false"),
            ("LOG_LEVEL", "info"),
            ("LOG_LEVEL", "WARN,aegis_control_plane=info,sqlx=off"),
        ] {
            assert!(problems(name, value).is_empty(), "{name}={value}");
        }
    }
}
