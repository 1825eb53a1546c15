//! What is asked about: `k8s/<cluster>/<namespace>/<Kind>/<name>` or `aegis/<noun>/<name>`.

use std::fmt;

use aegis_contract::target::{Target, TargetError};
use serde::{Deserialize, Serialize};

/// Longest segment of an `aegis/` resource.
const SEGMENT_LENGTH_MAX: usize = 253;

/// One thing a rule can be about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Resource {
    /// An object in a cluster.
    Kubernetes(Target),
    /// An object of Aegis itself, for example `aegis/policy/prod-heal`.
    Aegis {
        /// What kind of thing it is, in kebab-case.
        noun: String,
        /// Which one.
        name: String,
    },
}

/// Why a text names no resource.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResourceError {
    /// Neither of the two forms.
    #[error("`{0}` is neither k8s/<cluster>/<namespace>/<Kind>/<name> nor aegis/<noun>/<name>")]
    Form(String),
    /// A segment that no cluster would accept.
    #[error(transparent)]
    Target(#[from] TargetError),
}

impl Resource {
    /// Reads one of the two forms. Kinds are spelled as Kubernetes spells them.
    pub fn parse(text: &str) -> Result<Self, ResourceError> {
        let segments: Vec<&str> = text.split('/').collect();
        match segments[..] {
            ["k8s", cluster, namespace, kind, name] => {
                let target = Target::parse(&format!("{cluster}/{namespace}/{kind}/{name}"), "")?;
                // The contract forgives the case of a kind; a policy must not have two spellings.
                if target.kind.as_str() != kind {
                    return Err(TargetError::Kind(kind.to_owned()).into());
                }
                Ok(Self::Kubernetes(target))
            }
            ["aegis", noun, name] if is_segment(noun) && is_segment(name) => {
                Ok(Self::Aegis { noun: noun.to_owned(), name: name.to_owned() })
            }
            _ => Err(ResourceError::Form(text.to_owned())),
        }
    }

    /// The target, if this is an object in a cluster.
    pub fn target(&self) -> Option<&Target> {
        match self {
            Self::Kubernetes(target) => Some(target),
            Self::Aegis { .. } => None,
        }
    }

    /// The name: the last segment of either form.
    pub fn name(&self) -> &str {
        match self {
            Self::Kubernetes(target) => &target.name,
            Self::Aegis { name, .. } => name,
        }
    }
}

/// Whether `text` can stand between two slashes: visible ASCII, and neither `/` nor `*`.
fn is_segment(text: &str) -> bool {
    (1..=SEGMENT_LENGTH_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/' && byte != b'*')
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // As `Target::resource` writes it, but without a text of its own.
            Self::Kubernetes(target) => write!(f, "k8s/{target}"),
            Self::Aegis { noun, name } => write!(f, "aegis/{noun}/{name}"),
        }
    }
}

impl From<Target> for Resource {
    fn from(target: Target) -> Self {
        Self::Kubernetes(target)
    }
}

impl TryFrom<String> for Resource {
    type Error = ResourceError;

    fn try_from(text: String) -> Result<Self, ResourceError> {
        Self::parse(&text)
    }
}

impl From<Resource> for String {
    fn from(resource: Resource) -> Self {
        resource.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_read_back_what_they_write() {
        for text in ["k8s/prod-1/shop/Deployment/web", "k8s/local/shop/Pod/web-0.a", "aegis/policy/prod-heal"]
        {
            assert_eq!(Resource::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "k8s",
            "k8s/prod/shop/Deployment",
            "k8s/prod/shop/Deployment/web/x",
            "k8s/prod/shop/deployment/web",
            "k8s/prod/shop/Gateway/web",
            "k8s/prod/*/Deployment/web",
            "k8s//shop/Deployment/web",
            "aegis/policy",
            "aegis/policy/*",
            "aegis//x",
            "aegis/policy/a/b",
            "aws/ec2/i-1",
            "/k8s/prod/shop/Deployment/web",
        ] {
            assert!(Resource::parse(text).is_err(), "{text}");
        }
    }
}
