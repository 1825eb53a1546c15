//! What an action changes: one Kubernetes object, named by cluster, namespace, kind and name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The kinds of object an action can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Kind {
    /// `apps/v1` Deployment
    Deployment,
    /// `apps/v1` StatefulSet
    StatefulSet,
    /// `apps/v1` DaemonSet
    DaemonSet,
    /// `v1` Pod
    Pod,
}

impl Kind {
    /// All kinds, in the order they are documented.
    pub const ALL: [Self; 4] = [Self::Deployment, Self::StatefulSet, Self::DaemonSet, Self::Pod];

    /// The kind as Kubernetes spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
            Self::DaemonSet => "DaemonSet",
            Self::Pod => "Pod",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = TargetError;

    /// Reads the Kubernetes spelling without regard to case; nothing is abbreviated.
    fn from_str(text: &str) -> Result<Self, TargetError> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str().eq_ignore_ascii_case(text))
            .ok_or_else(|| TargetError::Kind(text.to_owned()))
    }
}

/// One object in one cluster. Text form: `cluster/namespace/Kind/name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Cluster as registered in the control plane: an RFC 1123 label.
    pub cluster: String,
    /// Namespace: an RFC 1123 label.
    pub namespace: String,
    /// Kind of the object.
    pub kind: Kind,
    /// Name: an RFC 1123 subdomain.
    pub name: String,
}

/// Why a target cannot exist in any cluster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Not an RFC 1123 label.
    #[error("cluster `{0}` must be 1 to 63 of a-z, 0-9 and '-', starting and ending with a letter or digit")]
    Cluster(String),
    /// Not an RFC 1123 label.
    #[error(
        "namespace `{0}` must be 1 to 63 of a-z, 0-9 and '-', starting and ending with a letter or digit"
    )]
    Namespace(String),
    /// Not one of [`Kind::ALL`].
    #[error("kind `{0}` must be one of Deployment, StatefulSet, DaemonSet, Pod")]
    Kind(String),
    /// Not an RFC 1123 subdomain.
    #[error(
        "name `{0}` must be 1 to 253 of a-z, 0-9, '-' and '.', each part starting and ending with a letter or digit"
    )]
    Name(String),
    /// Not three or four segments.
    #[error("`{0}` must have the form [CLUSTER/]NAMESPACE/KIND/NAME")]
    Shape(String),
}

impl TargetError {
    /// The field at fault, as a member name of [`Target`]; empty for the whole.
    pub fn field(&self) -> &'static str {
        match self {
            Self::Cluster(_) => "cluster",
            Self::Namespace(_) => "namespace",
            Self::Kind(_) => "kind",
            Self::Name(_) => "name",
            Self::Shape(_) => "",
        }
    }
}

impl Target {
    /// Reads `[CLUSTER/]NAMESPACE/KIND/NAME`; a missing cluster is `default_cluster`.
    pub fn parse(text: &str, default_cluster: &str) -> Result<Self, TargetError> {
        let segments: Vec<&str> = text.split('/').collect();
        let (cluster, namespace, kind, name) = match segments[..] {
            [namespace, kind, name] => (default_cluster, namespace, kind, name),
            [cluster, namespace, kind, name] => (cluster, namespace, kind, name),
            _ => return Err(TargetError::Shape(text.to_owned())),
        };
        let target = Self {
            cluster: cluster.to_owned(),
            namespace: namespace.to_owned(),
            kind: kind.parse()?,
            name: name.to_owned(),
        };
        target.validate()?;
        Ok(target)
    }

    /// Checks every name against what the Kubernetes API would accept.
    pub fn validate(&self) -> Result<(), TargetError> {
        if !is_dns_label(&self.cluster) {
            return Err(TargetError::Cluster(self.cluster.clone()));
        }
        if !is_dns_label(&self.namespace) {
            return Err(TargetError::Namespace(self.namespace.clone()));
        }
        if !is_dns_subdomain(&self.name) {
            return Err(TargetError::Name(self.name.clone()));
        }
        Ok(())
    }

    /// The target as a policy resource: `k8s/<cluster>/<namespace>/<Kind>/<name>`.
    pub fn resource(&self) -> String {
        format!("k8s/{self}")
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/{}", self.cluster, self.namespace, self.kind, self.name)
    }
}

/// Whether `text` is a label of RFC 1123 section 2.1 as Kubernetes uses it for namespaces.
pub fn is_dns_label(text: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(inside)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(|part| part.len() <= 253 && is_dns_label_of_any_length(part))
}

// Kubernetes limits the whole of an object name to 253, not its parts to 63.
fn is_dns_label_of_any_length(part: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !part.is_empty() && part.bytes().all(inside) && !part.starts_with('-') && !part.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_read_with_and_without_its_cluster() {
        let short = Target::parse("shop/deployment/web", "local").unwrap();
        let long = Target::parse("local/shop/Deployment/web", "other").unwrap();
        assert_eq!(short, long);
        assert_eq!(long.resource(), "k8s/local/shop/Deployment/web");
    }

    #[test]
    fn a_name_no_cluster_would_accept_is_refused_with_its_field() {
        for (text, field) in [
            ("Shop/Deployment/web", "namespace"),
            ("shop/Gateway/web", "kind"),
            ("shop/Deployment/-web", "name"),
            ("shop/Deployment/web..x", "name"),
            ("shop/Deployment/", "name"),
            ("a_b/shop/Deployment/web", "cluster"),
            ("shop/Deployment", ""),
            ("a/b/c/d/e", ""),
        ] {
            assert_eq!(Target::parse(text, "local").unwrap_err().field(), field, "{text}");
        }
    }
}
