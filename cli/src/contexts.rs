//! Contexts: settings with a name, in a file of the person who uses them. A secret never stands in it, only
//! the path of the file that holds one.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use aegis_contract::strict::{self, Limits};
use aegis_runtime::clock;
use serde::{Deserialize, Serialize};

use crate::environment::{Environment, Variable};
use crate::failure::{Cause, Failure};
use crate::output::Format;

/// Settings with a name. What is absent is left to the defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Context {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) secret_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cluster: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) output: Option<Format>,
}

/// What the file holds.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    current: Option<String>,
    #[serde(default)]
    contexts: BTreeMap<String, Context>,
}

/// All contexts of a person.
#[derive(Debug)]
pub(crate) struct Contexts {
    /// `None`: this person has no folder for settings.
    path: Option<PathBuf>,
    stored: Stored,
}

impl Contexts {
    /// Reads the contexts; a file that is not there holds none, one that cannot be understood is an error.
    pub(crate) fn read(environment: &Environment) -> Result<Self, Failure> {
        let path = path(environment);
        let Some(path) = path else { return Ok(Self { path: None, stored: Stored::default() }) };
        let stored = match fs::read(&path) {
            Ok(bytes) => parse(&bytes).map_err(|fault| broken(&path, &fault))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Stored::default(),
            Err(source) => return Err(Cause::File { path, source }.into()),
        };
        Ok(Self { path: Some(path), stored })
    }

    /// The context in force: the wanted one, which must exist, else the current one, if any.
    pub(crate) fn in_force(&self, wanted: Option<&str>) -> Result<Option<(&str, &Context)>, Failure> {
        match wanted.or(self.stored.current.as_deref()) {
            Some(name) => self.get(name).map(Some),
            None => Ok(None),
        }
    }

    /// The context of this name, which must exist.
    pub(crate) fn get(&self, name: &str) -> Result<(&str, &Context), Failure> {
        self.stored.contexts.get_key_value(name).map(|(name, context)| (name.as_str(), context)).ok_or_else(
            || {
                Failure::usage(format!("there is no context {name}"))
                    .with_note("`aegisctl context list` shows those that there are")
            },
        )
    }

    /// All contexts by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Context)> {
        self.stored.contexts.iter().map(|(name, context)| (name.as_str(), context))
    }

    /// Whether this context is used where no other one is named.
    pub(crate) fn is_current(&self, name: &str) -> bool {
        self.stored.current.as_deref() == Some(name)
    }

    /// Stores a context; the first of all becomes the current one.
    pub(crate) fn set(&mut self, name: &str, context: Context) {
        if self.stored.contexts.is_empty() {
            self.stored.current = Some(name.to_owned());
        }
        self.stored.contexts.insert(name.to_owned(), context);
    }

    /// Makes a context, which must exist, the current one.
    pub(crate) fn make_current(&mut self, name: &str) -> Result<(), Failure> {
        self.stored.current = Some(self.get(name)?.0.to_owned());
        Ok(())
    }

    /// Forgets a context, which must exist. After the current one there is none.
    pub(crate) fn delete(&mut self, name: &str) -> Result<(), Failure> {
        self.get(name)?;
        self.stored.contexts.remove(name);
        if self.is_current(name) {
            self.stored.current = None;
        }
        Ok(())
    }

    /// Writes the contexts: whoever reads meanwhile finds the old file or the new one, never a part.
    pub(crate) fn save(&self) -> Result<(), Failure> {
        let Some(path) = &self.path else {
            return Err(Failure::usage("no place for contexts: set HOME or XDG_CONFIG_HOME"));
        };
        // A link to a file elsewhere stays a link.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.clone());
        let text = serde_json::to_string_pretty(&self.stored).map_err(Failure::usage)?;
        replace(&path, &format!("{text}\n"))
            .map_err(|error| Failure::usage(format!("cannot write {}: {error}", path.display())))
    }
}

/// The folder of what is kept for this person. The base directory specification ignores relative paths.
pub(crate) fn folder(environment: &Environment) -> Option<PathBuf> {
    let absolute =
        |variable| environment.plain(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder =
        absolute(Variable::ConfigHome).or_else(|| Some(absolute(Variable::Home)?.join(".config")))?;
    Some(folder.join("aegis"))
}

fn path(environment: &Environment) -> Option<PathBuf> {
    Some(folder(environment)?.join("config.json"))
}

fn parse(bytes: &[u8]) -> Result<Stored, String> {
    let stored: Stored = strict::from_slice(bytes, Limits::WIRE).map_err(|error| {
        let place = if error.pointer.is_empty() { String::new() } else { format!("{}: ", error.pointer) };
        format!("{place}{error}")
    })?;
    for (name, context) in &stored.contexts {
        if context.token_file.is_some() && (context.key_id.is_some() || context.secret_file.is_some()) {
            return Err(format!("/contexts/{name}: holds both a token and a key"));
        }
    }
    Ok(stored)
}

fn broken(path: &Path, fault: &str) -> Failure {
    Failure::usage(format!("{}: {fault}", path.display())).with_note(
        "mend it there, or move the file away and make its contexts again with `aegisctl context set`",
    )
}

/// Puts a file with this text in place of the one before, for nobody else to read.
pub(crate) fn replace(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let next = folder.join(format!(".next.{}", clock::new_uuid()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&next)?;
    let written =
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&next, path));
    if written.is_err() {
        // What is left behind harms nobody; the first error is the one to tell.
        let _ = fs::remove_file(&next);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_file_is_told_with_its_place_and_a_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let environment = Environment::of_pairs(&[("XDG_CONFIG_HOME", folder.path().to_str().unwrap())]);
        let path = folder.path().join("aegis/config.json");
        fs::create_dir(path.parent().unwrap()).unwrap();
        for (text, place) in [
            ("", "(line 1, column 0)"),
            ("{\n  \"contexts\": {\"a\": }\n}", "(line 2, column 21)"),
            ("{\"contexts\":{\"a\":{\"secret\":\"s3cret\"}}}", "/contexts/a"),
            ("{\"contexts\":{\"a\":{\"output\":\"yaml\"}}}", "/contexts/a/output"),
            ("{\"contexts\":{\"a\":{},\"a\":{}}}", "line 1"),
            ("{\"contexts\":{\"a\":{\"tokenFile\":\"/t\",\"keyId\":\"k\"}}}", "/contexts/a: holds both"),
        ] {
            fs::write(&path, text).unwrap();
            let told = Contexts::read(&environment).unwrap_err().lines();
            assert!(told[0].contains(path.to_str().unwrap()) && told[0].contains(place), "{told:?}");
            assert!(told[1].starts_with("hint: mend it there") && !told[0].contains("s3cret"), "{told:?}");
        }
    }

    #[test]
    fn the_folder_of_settings_is_found_as_the_specification_says() {
        let found = |pairs: &[(&str, &str)]| path(&Environment::of_pairs(pairs));
        let at = |path: &str| Some(PathBuf::from(path));
        assert_eq!(
            found(&[("XDG_CONFIG_HOME", "/x"), ("HOME", "/h"), ("HOME_FILE", "/f")]),
            at("/x/aegis/config.json")
        );
        assert_eq!(
            found(&[("XDG_CONFIG_HOME", "relative"), ("HOME", "/h")]),
            at("/h/.config/aegis/config.json")
        );
        assert_eq!(found(&[]), None);
    }
}
