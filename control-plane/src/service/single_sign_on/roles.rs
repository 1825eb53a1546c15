//! The roles that claims stand for, as the operator wrote it down.

use std::collections::BTreeSet;

use crate::client::oidc::Identity;
use crate::service::users::check_role;

/// Which values of the claim stand for which roles. Empty: claims give no roles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimedRoles(Vec<(String, String)>);

impl ClaimedRoles {
    /// Reads items such as `sre-leads=approver`: a value of the claim, and the role it stands for. A value may stand
    /// for several roles, one item each.
    ///
    /// # Errors
    /// The first item that is none.
    pub fn read(items: &[String]) -> Result<Self, String> {
        let read = items.iter().map(|item| {
            // The value may hold the sign itself; a role cannot.
            let (value, role) = item.rsplit_once('=').unwrap_or_default();
            let (value, role) = (value.trim(), role.trim());
            if value.is_empty() || check_role(role).is_err() {
                return Err(format!(
                    "`{item}` must be a value of the claim, =, and a role of a-z, 0-9 and '-'"
                ));
            }
            Ok((value.to_owned(), role.to_owned()))
        });
        read.collect::<Result<_, _>>().map(Self)
    }

    /// Whether claims give no roles at all.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The roles of somebody whom the provider knows.
    pub(super) fn of(&self, identity: &Identity) -> BTreeSet<String> {
        let held = self.0.iter().filter(|(value, _)| identity.groups.contains(value));
        held.map(|(_, role)| role.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(items: &[&str]) -> Result<ClaimedRoles, String> {
        ClaimedRoles::read(&items.iter().map(|item| (*item).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn a_value_of_the_claim_stands_for_roles() {
        let roles = read(&["sre-leads=approver", "sre-leads=user", "cn=ops = admin"]).unwrap();
        let of = |groups: &[&str]| {
            let groups = groups.iter().map(|group| (*group).to_owned()).collect();
            roles.of(&Identity { subject: "x".to_owned(), verified_email: None, groups })
        };
        let expected = |roles: &[&str]| roles.iter().map(|role| (*role).to_owned()).collect();
        assert_eq!(of(&["sre-leads", "others"]), expected(&["approver", "user"]));
        assert_eq!(of(&["cn=ops"]), expected(&["admin"]));
        assert_eq!(of(&["SRE-leads", "admin", ""]), expected(&[]));
        assert!(read(&[]).unwrap().is_empty());
    }

    #[test]
    fn what_is_no_pair_is_refused() {
        for wrong in ["approver", "=approver", "x=", "x=Approver", "x=a b"] {
            assert!(read(&[wrong]).unwrap_err().contains(wrong), "{wrong}");
        }
    }
}
