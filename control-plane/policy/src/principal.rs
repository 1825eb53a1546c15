//! Who asks.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The kinds of principal: people, automation, senders of alerts, our own engines.
pub const PRINCIPAL_KINDS: [&str; 4] = ["user", "client", "alert-source", "engine"];

/// Longest name behind the kind.
const NAME_LENGTH_MAX: usize = 200;

/// Who asks, as `kind:name`, for example `client:alert-bot`. The name is visible ASCII without `*`,
/// so that no principal can look like a pattern.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Principal(String);

/// The text names no principal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not user:…, client:…, alert-source:… or engine:… with a name of 1 to 200 visible ASCII characters other than *"
)]
pub struct PrincipalError(String);

impl Principal {
    /// Reads `kind:name`.
    pub fn parse(text: &str) -> Result<Self, PrincipalError> {
        match text.split_once(':') {
            Some((kind, name)) if PRINCIPAL_KINDS.contains(&kind) && is_name(name) => {
                Ok(Self(text.to_owned()))
            }
            _ => Err(PrincipalError(text.to_owned())),
        }
    }

    /// The principal as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_name(name: &str) -> bool {
    (1..=NAME_LENGTH_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'*')
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Principal {
    type Error = PrincipalError;

    fn try_from(text: String) -> Result<Self, PrincipalError> {
        Self::parse(&text)
    }
}

impl From<Principal> for String {
    fn from(principal: Principal) -> Self {
        principal.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_principal_has_a_known_kind_and_a_name_that_is_no_pattern() {
        for text in ["user:0192", "client:alert-bot", "alert-source:am/prod", "engine:detector", "user:a:b"] {
            assert_eq!(Principal::parse(text).unwrap().as_str(), text);
        }
        for text in ["", "user", "user:", "root:me", "User:me", "user:*", "user:a b", "user:ä", " user:a"] {
            assert!(Principal::parse(text).is_err(), "{text}");
        }
    }
}
