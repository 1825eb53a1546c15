//! What the environment says. Every variable that is read stands here, so that the help lists them all.

use std::fmt::{Display, Write as _};
use std::str::FromStr;

use aegis_runtime::settings::Source;
use secrecy::SecretString;

use crate::failure::Failure;

/// A variable of the environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Variable {
    /// Which context to use.
    Context,
    /// Where the control plane is.
    Url,
    /// Key id of a client.
    KeyId,
    /// Secret of that key.
    Secret,
    /// Access token of a person.
    Token,
    /// Code of a person's second factor.
    Code,
    /// Cluster of targets that name none.
    Cluster,
    /// How data is written.
    Output,
    /// Whether the terminal is to be left alone.
    NoColor,
    /// The folder of settings.
    ConfigHome,
    /// The folder that holds the folder of settings.
    Home,
}

impl Variable {
    const ALL: [Self; 11] = [
        Self::Context,
        Self::Url,
        Self::KeyId,
        Self::Secret,
        Self::Token,
        Self::Code,
        Self::Cluster,
        Self::Output,
        Self::NoColor,
        Self::ConfigHome,
        Self::Home,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Context => "AEGIS_CONTEXT",
            Self::Url => "AEGIS_URL",
            Self::KeyId => "AEGIS_KEY_ID",
            Self::Secret => "AEGIS_SECRET",
            Self::Token => "AEGIS_TOKEN",
            Self::Code => "AEGIS_CODE",
            Self::Cluster => "AEGIS_CLUSTER",
            Self::Output => "AEGIS_OUTPUT",
            Self::NoColor => "NO_COLOR",
            Self::ConfigHome => "XDG_CONFIG_HOME",
            Self::Home => "HOME",
        }
    }

    fn meaning(self) -> &'static str {
        match self {
            Self::Context => "context to use, as --context",
            Self::Url => "address of the control plane, as --url",
            Self::KeyId => "key id of a client, as --key-id",
            Self::Secret => "secret of that key; AEGIS_SECRET_FILE is --secret-file",
            Self::Token => "access token of a person, as --token",
            Self::Code => "code of your second factor, as --code",
            Self::Cluster => "cluster of targets that name none, as --cluster",
            Self::Output => "how data is written, as --output",
            Self::NoColor => "if not empty: no colours, no spinner, no control characters",
            Self::ConfigHome => "folder of aegis/, which holds contexts and kept sessions",
            Self::Home => "its .config is used where XDG_CONFIG_HOME is not set",
        }
    }

    /// The table of variables for `--help`.
    pub(crate) fn help() -> String {
        let mut text = "Environment variables:\n".to_owned();
        for variable in Self::ALL {
            writeln!(text, "  {:<15}  {}", variable.name(), variable.meaning())
                .expect("writing to a string cannot fail");
        }
        text + "Each AEGIS_ variable may instead name a file that holds its value, as in AEGIS_TOKEN_FILE.\n"
    }
}

/// The environment, and the problems found while reading from it.
pub(crate) struct Environment(Source);

impl Environment {
    /// The environment of this process.
    pub(crate) fn of_process() -> Self {
        Self(Source::from_environment())
    }

    #[cfg(test)]
    pub(crate) fn of_pairs(pairs: &[(&str, &str)]) -> Self {
        Self(Source::from_pairs(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))))
    }

    /// A value of ours, which may stand in a file.
    pub(crate) fn value<T: FromStr<Err: Display>>(&mut self, variable: Variable) -> Option<T> {
        self.0.optional(variable.name())
    }

    /// A secret of ours, which may stand in a file.
    pub(crate) fn secret(&mut self, variable: Variable) -> Option<SecretString> {
        self.0.optional_secret(variable.name())
    }

    /// A value that other programs use as well.
    pub(crate) fn plain(&self, variable: Variable) -> Option<&str> {
        self.0.plain(variable.name())
    }

    /// Whether everything that was asked for could be read.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        self.0.finish(Some(())).map_err(Failure::usage)
    }
}
