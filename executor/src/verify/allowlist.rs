//! The namespaces this executor may touch: its own ceiling, whatever orders say.

use aegis_contract::code::RefusalCode;

use super::Refusal;

/// Beginnings of namespaces that hold the cluster together, or Aegis itself.
const SYSTEM_PREFIXES: [&str; 2] = ["kube-", "aegis-"];

/// Exact names of allowed namespaces; none means nothing is allowed.
#[derive(Clone, Debug)]
pub(crate) struct Allowlist {
    namespaces: Vec<String>,
    dangerous_allow_system: bool,
}

impl Allowlist {
    /// An allowlist of these namespaces; system namespaces count only with the dangerous switch.
    pub(crate) fn new(mut namespaces: Vec<String>, dangerous_allow_system: bool) -> Self {
        namespaces.sort_unstable();
        namespaces.dedup();
        Self { namespaces, dangerous_allow_system }
    }

    /// Refuses a namespace that is not listed, or is a system's.
    pub(crate) fn check(&self, namespace: &str) -> Result<(), Refusal> {
        if self.allows(namespace) {
            return Ok(());
        }
        Err(Refusal::new(
            RefusalCode::NamespaceNotAllowed,
            format!("this executor may not touch the namespace {namespace}"),
        ))
    }

    /// Whether the namespace may be touched.
    pub(crate) fn allows(&self, namespace: &str) -> bool {
        let is_system = SYSTEM_PREFIXES.iter().any(|prefix| namespace.starts_with(prefix));
        self.namespaces.iter().any(|listed| listed == namespace)
            && (!is_system || self.dangerous_allow_system)
    }

    /// The namespaces that may be touched, sorted.
    pub(crate) fn allowed(&self) -> Vec<String> {
        self.namespaces.iter().filter(|namespace| self.allows(namespace)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exact_names_are_allowed_and_system_namespaces_only_with_the_dangerous_switch() {
        let listed = ["shop", "kube-system", "aegis-system"].map(str::to_owned).to_vec();
        let safe = Allowlist::new(listed.clone(), false);
        let dangerous = Allowlist::new(listed, true);
        for (namespace, when_safe, when_dangerous) in [
            ("shop", true, true),
            ("shop-2", false, false),
            ("sho", false, false),
            ("", false, false),
            ("*", false, false),
            ("kube-system", false, true),
            ("aegis-system", false, true),
            ("kube-public", false, false),
        ] {
            assert_eq!(safe.check(namespace).is_ok(), when_safe, "{namespace}");
            assert_eq!(dangerous.check(namespace).is_ok(), when_dangerous, "{namespace}");
        }
        assert_eq!(safe.allowed(), ["shop"]);
        assert_eq!(dangerous.allowed(), ["aegis-system", "kube-system", "shop"]);
    }

    #[test]
    fn an_empty_allowlist_allows_nothing() {
        assert!(Allowlist::new(Vec::new(), true).check("shop").is_err());
    }
}
