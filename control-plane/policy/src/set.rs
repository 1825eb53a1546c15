//! The policies that are active together.

use aegis_contract::canonical;
use aegis_contract::digest::Digest;
use serde_json::json;

use crate::decision::RuleName;
use crate::document::Policy;

/// All active policies. Its digest names exactly this set.
#[derive(Clone, Debug)]
pub struct PolicySet {
    /// Sorted by name; the order means nothing, but equal sets are equal.
    policies: Vec<(u32, Policy)>,
    digest: Digest,
}

/// Two policies of one name: which one holds would be chance.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the policy `{0}` is in the set more than once")]
pub struct DuplicatePolicy(pub String);

impl PolicySet {
    /// The set of these policies, each with its version.
    pub fn new(mut policies: Vec<(u32, Policy)>) -> Result<Self, DuplicatePolicy> {
        policies.sort_by(|(_, left), (_, right)| left.name().cmp(right.name()));
        for pair in policies.windows(2) {
            if pair[0].1.name() == pair[1].1.name() {
                return Err(DuplicatePolicy(pair[0].1.name().to_owned()));
            }
        }
        let digest = digest(&policies);
        Ok(Self { policies, digest })
    }

    /// The set in which nothing is allowed.
    pub fn empty() -> Self {
        Self { policies: Vec::new(), digest: digest(&[]) }
    }

    /// The same set with this policy in place of any other of its name, as a draft: version 0.
    pub fn with(&self, policy: Policy) -> Self {
        let others = self.policies.iter().filter(|(_, other)| other.name() != policy.name());
        let mut policies: Vec<(u32, Policy)> = others.cloned().collect();
        policies.push((0, policy));
        policies.sort_by(|(_, left), (_, right)| left.name().cmp(right.name()));
        let digest = digest(&policies);
        Self { policies, digest }
    }

    /// The same set without one rule, to see what it is there for.
    pub(crate) fn without(&self, rule: &RuleName) -> Self {
        let mut set = self.clone();
        for (_, policy) in &mut set.policies {
            if policy.name() == rule.policy {
                *policy = policy.without(&rule.rule);
            }
        }
        set
    }

    /// P24: SHA-256 over the canonical JSON of `[{name, version, digest}, …]`, sorted by name.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The policies with their versions, sorted by name.
    pub fn policies(&self) -> impl Iterator<Item = (u32, &Policy)> {
        self.policies.iter().map(|(version, policy)| (*version, policy))
    }

    /// The policy at this place of [`policies`](Self::policies), with its version.
    pub(crate) fn policy(&self, place: u32) -> (u32, &Policy) {
        let (version, policy) = &self.policies[place as usize];
        (*version, policy)
    }
}

fn digest(policies: &[(u32, Policy)]) -> Digest {
    let list: Vec<_> = policies
        .iter()
        .map(|(version, policy)| json!({ "name": policy.name(), "version": version, "digest": policy.digest() }))
        .collect();
    let bytes = canonical::to_bytes(&list).expect("texts and 32-bit numbers are canonical JSON");
    Digest::of(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document;

    fn policy(name: &str, reason: &str) -> Policy {
        let document = json!({
            "schema": "aegis.policy/v1", "name": name,
            "rules": [{ "id": "r", "effect": "DENY", "reason": reason }]
        });
        document::parse(document.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn the_digest_names_the_set_whatever_its_order() {
        let (a, b) = (policy("a", "x"), policy("b", "x"));
        let set = PolicySet::new(vec![(1, a.clone()), (2, b.clone())]).unwrap();
        assert_eq!(set.digest(), PolicySet::new(vec![(2, b.clone()), (1, a.clone())]).unwrap().digest());
        let others = [
            PolicySet::empty(),
            PolicySet::new(vec![(1, a.clone())]).unwrap(),
            PolicySet::new(vec![(1, a.clone()), (3, b)]).unwrap(),
            PolicySet::new(vec![(1, a), (2, policy("b", "y"))]).unwrap(),
        ];
        for other in others {
            assert_ne!(set.digest(), other.digest());
        }
    }

    #[test]
    fn one_name_stands_in_a_set_only_once() {
        let result = PolicySet::new(vec![(1, policy("a", "x")), (2, policy("a", "y"))]);
        assert_eq!(result.unwrap_err(), DuplicatePolicy("a".to_owned()));
    }

    #[test]
    fn the_digest_of_a_set_is_computed_as_documented() {
        let a = policy("a", "x");
        let text = format!(r#"[{{"digest":"{}","name":"a","version":1}}]"#, a.digest());
        assert_eq!(PolicySet::new(vec![(1, a)]).unwrap().digest(), Digest::of(text.as_bytes()));
        assert_eq!(PolicySet::empty().digest(), Digest::of(b"[]"));
    }
}
