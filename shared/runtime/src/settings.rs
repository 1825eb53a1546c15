//! Settings from the environment. Each may instead name a file that holds its value: `NAME_FILE`.
//! All problems are collected and reported together; values of secrets are never shown.

mod production;
#[cfg(feature = "service")]
pub mod renewal;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::str::FromStr;

use secrecy::{ExposeSecret, SecretString};

/// A source of settings, and the problems found while reading from it.
pub struct Source {
    values: BTreeMap<String, String>,
    problems: Vec<String>,
    read: DefaultHasher,
    secrets: Vec<(String, SecretString)>,
    /// What was read, of those that production does not have as it likes.
    switches: Vec<(String, String)>,
}

/// Everything that is wrong with the settings.
#[derive(Debug, thiserror::Error)]
#[error("the settings have {} problem(s):\n  - {}", .0.len(), .0.join("\n  - "))]
pub struct SettingsError(pub Vec<String>);

impl Source {
    /// The environment of this process.
    pub fn from_environment() -> Self {
        Self::from_pairs(
            std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))),
        )
    }

    /// Named values, as tests give them.
    pub fn from_pairs(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        Self {
            values: pairs.into_iter().collect(),
            problems: Vec::new(),
            read: DefaultHasher::new(),
            secrets: Vec::new(),
            switches: Vec::new(),
        }
    }

    /// Tells whether the values that were read so far are the same as those of another time.
    pub fn fingerprint(&self) -> u64 {
        self.read.finish()
    }

    fn text(&mut self, name: &str) -> Option<String> {
        let text = self.find(name);
        (name, &text).hash(&mut self.read);
        if let Some(text) = text.as_ref().filter(|_| production::is_switch(name)) {
            self.switches.push((name.to_owned(), text.clone()));
        }
        text
    }

    fn find(&mut self, name: &str) -> Option<String> {
        let direct = self.values.get(name).filter(|value| !value.is_empty()).cloned();
        let file_name = format!("{name}_FILE");
        let file = self.values.get(&file_name).filter(|value| !value.is_empty()).cloned();
        match (direct, file) {
            (Some(_), Some(_)) => {
                self.problem(name, format!("is set twice: set either {name} or {file_name}"));
                None
            }
            (Some(value), None) => Some(value),
            (None, Some(path)) => match std::fs::read_to_string(&path) {
                // As with a variable, an empty one says nothing.
                Ok(value) => {
                    Some(value.trim_end_matches(['\r', '\n']).to_owned()).filter(|it| !it.is_empty())
                }
                Err(error) => {
                    self.problem(&file_name, format!("cannot read {path}: {error}"));
                    None
                }
            },
            (None, None) => None,
        }
    }

    fn parse<T: FromStr<Err: Display>>(&mut self, name: &str, text: &str) -> Option<T> {
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.problem(name, format!("`{text}` is not usable: {error}"));
                None
            }
        }
    }

    /// A value that must be there; `None` has left a problem behind.
    pub fn required<T: FromStr<Err: Display>>(&mut self, name: &str) -> Option<T> {
        let problems = self.problems.len();
        let Some(text) = self.text(name) else {
            if self.problems.len() == problems {
                self.problem(name, format!("is not set (or name a file with {name}_FILE)"));
            }
            return None;
        };
        self.parse(name, &text)
    }

    /// A value that may be absent.
    pub fn optional<T: FromStr<Err: Display>>(&mut self, name: &str) -> Option<T> {
        let text = self.text(name)?;
        self.parse(name, &text)
    }

    /// A value with a default.
    pub fn or<T: FromStr<Err: Display>>(&mut self, name: &str, default: T) -> T {
        self.optional(name).unwrap_or(default)
    }

    /// The comma-separated items of a value, trimmed, empty ones left out.
    pub fn list(&mut self, name: &str) -> Vec<String> {
        let text = self.text(name).unwrap_or_default();
        text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
    }

    /// A secret that must be there.
    pub fn secret(&mut self, name: &str) -> Option<SecretString> {
        let secret = self.required::<String>(name).map(SecretString::from);
        self.noted(name, secret)
    }

    /// A secret that may be absent.
    pub fn optional_secret(&mut self, name: &str) -> Option<SecretString> {
        let secret = self.text(name).map(SecretString::from);
        self.noted(name, secret)
    }

    fn noted(&mut self, name: &str, secret: Option<SecretString>) -> Option<SecretString> {
        self.secrets.extend(secret.iter().map(|secret| (name.to_owned(), secret.clone())));
        secret
    }

    /// Whether this is for production, where what is fit for trying things out only is a problem: secrets of examples,
    /// secrets that are equal, and switches that show or allow too much. To be read after everything else.
    pub fn production(&mut self, name: &str) -> bool {
        let is_on = self.or(name, false);
        if is_on {
            self.refuse_examples();
            self.problems.extend(production::problems_of_switches(&self.switches));
        }
        is_on
    }

    /// Takes secrets of examples, and secrets that are equal, for problems. To be done after they were read.
    pub fn refuse_examples(&mut self) {
        let secrets: Vec<_> =
            self.secrets.iter().map(|(name, secret)| (name.as_str(), secret.expose_secret())).collect();
        let problems = production::problems_of_secrets(&secrets);
        self.problems.extend(problems);
    }

    /// Whether a secret was there when it was read, fit for its use or not.
    pub fn found_secret(&self, name: &str) -> bool {
        self.secrets.iter().any(|(found, _)| found == name)
    }

    /// A variable of the system, such as `HOME`: never read from a file; absent if empty.
    pub fn plain(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Notes a problem with a setting. The message must not contain a secret.
    pub fn problem(&mut self, name: &str, message: impl Display) {
        self.problems.push(format!("{name} {message}"));
    }

    /// The settings, if nothing was wrong. Every `None` that made `settings` one has left a problem.
    pub fn finish<T>(self, settings: Option<T>) -> Result<T, SettingsError> {
        match settings {
            Some(settings) if self.problems.is_empty() => Ok(settings),
            _ => Err(SettingsError(self.problems)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(pairs: &[(&str, &str)]) -> Source {
        Source::from_pairs(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn all_problems_are_reported_together_and_name_their_setting() {
        let mut source = source(&[("PORT", "many"), ("KEY", "a"), ("KEY_FILE", "/b")]);
        let port: Option<u16> = source.required("PORT");
        let key = source.secret("KEY");
        let missing: Option<String> = source.required("ABSENT");
        let all = port.zip(key).zip(missing);
        let text = source.finish(all).map(|_| ()).unwrap_err().to_string();
        for name in ["PORT", "KEY is set twice", "ABSENT is not set"] {
            assert!(text.contains(name), "{text}");
        }
    }

    #[test]
    fn a_value_can_stand_in_a_file_and_loses_its_last_newline() {
        let file = std::env::temp_dir().join(format!("aegis-settings-{}", std::process::id()));
        std::fs::write(&file, "s3cret\n").unwrap();
        let mut source = source(&[("KEY_FILE", file.to_str().unwrap())]);
        assert_eq!(source.secret("KEY").unwrap().expose_secret(), "s3cret");
        std::fs::remove_file(file).unwrap();
    }

    #[test]
    fn an_empty_file_is_as_no_setting() {
        let file = std::env::temp_dir().join(format!("aegis-settings-empty-{}", std::process::id()));
        std::fs::write(&file, "\n").unwrap();
        let mut source = source(&[("KEY_FILE", file.to_str().unwrap())]);
        assert!(source.optional_secret("KEY").is_none() && source.problems.is_empty());
        assert!(!source.found_secret("KEY"));
        assert!(source.secret("KEY").is_none() && source.problems.len() == 1, "{:?}", source.problems);
        std::fs::remove_file(file).unwrap();
    }

    #[test]
    fn a_list_ignores_spaces_and_empty_items() {
        assert_eq!(source(&[("N", " shop, ,web ,")]).list("N"), ["shop", "web"]);
    }
}
