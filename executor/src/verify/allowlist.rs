//! What this executor may do where: its own ceiling, whatever orders say.

use std::collections::{BTreeMap, BTreeSet};

use aegis_contract::action::ActionType;
use aegis_contract::code::RefusalCode;
use aegis_contract::strict::{self, Limits};
use aegis_contract::target::is_dns_label;
use serde::Deserialize;
use tokio::sync::watch;

use super::Refusal;

/// Beginnings of namespaces that hold the cluster together, or Aegis itself.
const SYSTEM_PREFIXES: [&str; 2] = ["kube-", "aegis-"];
/// Most namespaces on the allowlist: every observation reports them all, and a receipt has 64 KiB.
const NAMESPACES_MAX: usize = 500;
/// What a file must call itself.
const SCHEMA: &str = "aegis.allowlist/v1";
/// As much as a ConfigMap holds, and a few levels.
const FILE: Limits = Limits { bytes_max: 1024 * 1024, levels_max: 8 };

/// The action types that are allowed, by exact names of namespaces. What is not named is not allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rules(BTreeMap<String, BTreeSet<ActionType>>);

/// Why something is no allowlist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RulesError {
    /// Not the strict JSON of one.
    #[error("it is not {{\"schema\": \"{SCHEMA}\", \"namespaces\": {{\"NAME\": [\"ACTION\", …]}}}}: {0}")]
    Malformed(String),
    /// A key that no namespace can have as its name.
    #[error("`{0}` is not the name of a namespace")]
    Name(String),
    /// More than can be reported.
    #[error("it names more than {NAMESPACES_MAX} namespaces")]
    TooMany,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    schema: String,
    namespaces: BTreeMap<String, Vec<ActionType>>,
}

impl Rules {
    /// Every action type in each of these namespaces.
    pub(crate) fn everything_in(namespaces: Vec<String>) -> Result<Self, RulesError> {
        Self::checked(
            namespaces.into_iter().map(|namespace| (namespace, BTreeSet::from(ActionType::ALL))).collect(),
        )
    }

    /// The rules in a file's bytes.
    pub(crate) fn from_json(bytes: &[u8]) -> Result<Self, RulesError> {
        let document: Document =
            strict::from_slice(bytes, FILE).map_err(|error| RulesError::Malformed(error.to_string()))?;
        if document.schema != SCHEMA {
            return Err(RulesError::Malformed(format!("its schema is `{}`", document.schema)));
        }
        let of_namespace = |(name, actions): (String, Vec<ActionType>)| (name, actions.into_iter().collect());
        Self::checked(document.namespaces.into_iter().map(of_namespace).collect())
    }

    fn checked(rules: BTreeMap<String, BTreeSet<ActionType>>) -> Result<Self, RulesError> {
        if let Some(name) = rules.keys().find(|name| !is_dns_label(name)) {
            return Err(RulesError::Name(name.clone()));
        }
        if rules.len() > NAMESPACES_MAX {
            return Err(RulesError::TooMany);
        }
        Ok(Self(rules))
    }

    /// What both allow.
    pub(crate) fn narrowed_to(&self, other: &Self) -> Self {
        let both = self.0.iter().filter_map(|(namespace, actions)| {
            let common = actions.intersection(other.0.get(namespace)?).copied().collect();
            Some((namespace.clone(), common))
        });
        Self(both.collect())
    }

    /// Whether a namespace is named here and not there.
    pub(crate) fn adds_namespaces_to(&self, other: &Self) -> bool {
        self.0.keys().any(|namespace| !other.0.contains_key(namespace))
    }
}

/// The rules in force, which may change while the executor runs.
#[derive(Debug)]
pub(crate) struct Allowlist {
    rules: watch::Sender<Rules>,
    /// Whether there is an account that writes rollbacks.
    rolls_back: bool,
    dangerous_allow_system: bool,
}

impl Allowlist {
    /// An allowlist of these rules; rollbacks count only where an account writes them, and system namespaces
    /// only with the dangerous switch.
    pub(crate) fn new(rules: Rules, rolls_back: bool, dangerous_allow_system: bool) -> Self {
        Self { rules: watch::Sender::new(rules), rolls_back, dangerous_allow_system }
    }

    /// The rules in force.
    pub(crate) fn rules(&self) -> Rules {
        self.rules.borrow().clone()
    }

    /// Puts other rules in force.
    pub(crate) fn put(&self, rules: Rules) {
        self.rules.send_replace(rules);
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

    /// Refuses an action in a namespace for which it is not listed, or for which there is no account.
    pub(crate) fn check_action(&self, namespace: &str, action: ActionType) -> Result<(), Refusal> {
        self.check(namespace)?;
        let is_listed = self.rules.borrow().0.get(namespace).is_some_and(|actions| actions.contains(&action));
        let refuse = |message: String| Err(Refusal::new(RefusalCode::ActionNotAllowed, message));
        if !is_listed {
            return refuse(format!(
                "this executor's allowlist does not name {action} for the namespace {namespace}"
            ));
        }
        if action == ActionType::Rollback && !self.rolls_back {
            return refuse(
                "this executor has no account that writes rollbacks; give it one with ROLLBACK_TOKEN_FILE, as \
                 k8s/rollback does"
                    .to_owned(),
            );
        }
        Ok(())
    }

    /// Whether the namespace may be touched.
    pub(crate) fn allows(&self, namespace: &str) -> bool {
        self.is_touchable(namespace) && self.rules.borrow().0.contains_key(namespace)
    }

    /// The namespaces that may be touched, sorted.
    pub(crate) fn allowed(&self) -> Vec<String> {
        self.touchable(&self.rules.borrow())
    }

    /// The namespaces that could be touched under other rules, sorted.
    pub(crate) fn touchable(&self, rules: &Rules) -> Vec<String> {
        rules.0.keys().filter(|namespace| self.is_touchable(namespace)).cloned().collect()
    }

    fn is_touchable(&self, namespace: &str) -> bool {
        let is_system = SYSTEM_PREFIXES.iter().any(|prefix| namespace.starts_with(prefix));
        !is_system || self.dangerous_allow_system
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(json: &str) -> Rules {
        let text = format!("{{\"schema\": \"{SCHEMA}\", \"namespaces\": {json}}}");
        Rules::from_json(text.as_bytes()).unwrap()
    }

    #[test]
    fn only_exact_names_are_allowed_and_system_namespaces_only_with_the_dangerous_switch() {
        let listed = || {
            Rules::everything_in(["shop", "kube-system", "aegis-system"].map(str::to_owned).to_vec()).unwrap()
        };
        let safe = Allowlist::new(listed(), true, false);
        let dangerous = Allowlist::new(listed(), true, true);
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
            for action in ActionType::ALL {
                assert_eq!(safe.check_action(namespace, action).is_ok(), when_safe, "{namespace}");
            }
        }
        assert_eq!(safe.allowed(), ["shop"]);
        assert_eq!(dangerous.allowed(), ["aegis-system", "kube-system", "shop"]);
    }

    #[test]
    fn an_empty_allowlist_allows_nothing() {
        assert!(Allowlist::new(Rules::default(), true, true).check("shop").is_err());
    }

    #[test]
    fn only_listed_actions_are_allowed_and_a_namespace_with_none_may_be_looked_at() {
        let list = Allowlist::new(rules(r#"{"shop": ["restart", "scale"], "bank": []}"#), true, false);
        let code = |namespace, action| list.check_action(namespace, action).map_err(|refusal| refusal.code);
        assert_eq!(code("shop", ActionType::Restart), Ok(()));
        assert_eq!(code("shop", ActionType::RestartPod), Err(RefusalCode::ActionNotAllowed));
        assert_eq!(code("bank", ActionType::Restart), Err(RefusalCode::ActionNotAllowed));
        assert_eq!(code("other", ActionType::Restart), Err(RefusalCode::NamespaceNotAllowed));
        assert!(list.check("bank").is_ok());
        assert_eq!(list.allowed(), ["bank", "shop"]);
    }

    #[test]
    fn a_rollback_needs_an_account_of_its_own_and_the_refusal_says_how_to_get_one() {
        let listed = || rules(r#"{"shop": ["rollback", "restart"]}"#);
        let without = Allowlist::new(listed(), false, false);
        let refusal = without.check_action("shop", ActionType::Rollback).unwrap_err();
        assert_eq!(refusal.code, RefusalCode::ActionNotAllowed);
        assert!(refusal.message.contains("ROLLBACK_TOKEN_FILE"), "{refusal}");
        assert!(without.check_action("shop", ActionType::Restart).is_ok());
        assert!(Allowlist::new(listed(), true, false).check_action("shop", ActionType::Rollback).is_ok());
    }

    #[test]
    fn what_is_no_allowlist_says_why() {
        let many: Vec<_> = (0..=NAMESPACES_MAX).map(|number| format!("\"n{number}\": []")).collect();
        let many = format!("{{\"schema\": \"{SCHEMA}\", \"namespaces\": {{{}}}}}", many.join(","));
        for (text, said) in [
            ("", "schema"),
            (r#"{"namespaces": {}}"#, "schema"),
            (r#"{"schema": "aegis.allowlist/v2", "namespaces": {}}"#, "aegis.allowlist/v2"),
            (r#"{"schema": "aegis.allowlist/v1", "namespaces": {}, "more": 1}"#, "more"),
            (r#"{"schema": "aegis.allowlist/v1", "namespaces": {"a": [], "a": []}}"#, "a"),
            (r#"{"schema": "aegis.allowlist/v1", "namespaces": {"shop": ["explode"]}}"#, "explode"),
            (r#"{"schema": "aegis.allowlist/v1", "namespaces": {"Shop*": []}}"#, "`Shop*`"),
            (&many, "more than 500"),
        ] {
            let error = Rules::from_json(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn narrowing_adds_nothing_and_keeps_what_both_allow() {
        let (old, new) = (
            rules(r#"{"shop": ["restart", "scale"], "bank": ["restart"]}"#),
            rules(r#"{"shop": ["scale", "rollback"], "farm": ["restart"]}"#),
        );
        assert_eq!(old.narrowed_to(&new), rules(r#"{"shop": ["scale"]}"#));
        assert!(new.adds_namespaces_to(&old));
        assert!(!old.narrowed_to(&new).adds_namespaces_to(&old));
    }
}
