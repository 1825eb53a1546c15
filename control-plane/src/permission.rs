//! What callers may do. Roles give permissions; roles that are not listed here mean something to
//! policies only.

use std::collections::BTreeSet;

use crate::principal::Principal;

/// One thing a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Permission {
    /// Ask for an action.
    RequestActions,
    /// See the actions one asked for oneself, and their decisions.
    ReadOwnActions,
    /// See all actions and decisions.
    ReadActions,
    /// Withdraw an action one asked for oneself.
    CancelOwnActions,
    /// Withdraw any action.
    CancelActions,
    /// Be one of the two people who close an action nobody can resolve.
    CloseActions,
    /// Let automation act again where an action was put back.
    LiftHolds,
    /// Look afterwards at actions where policy asks people of one's role to.
    ReviewActions,
    /// Answer where policy asks people of one's role.
    ApproveActions,
    /// See and end one's sessions, and change one's name and password.
    ManageOwnAccount,
    /// Ask what policy would say to oneself.
    EvaluatePolicy,
    /// Ask what policy would say to anybody.
    EvaluatePolicyForOthers,
    /// See policies and have drafts checked.
    ReadPolicies,
    /// Store policy versions, and activate and deactivate policies.
    WritePolicies,
    /// Read the audit log.
    ReadAudit,
    /// Say who outside is told what happens, and see what they were told.
    ManageWebhooks,
    /// See people and their roles.
    ReadUsers,
    /// Add people, disable and enable them, take roles away, and ask policy whether they may be given some.
    ManageUsers,
    /// Add automation, bound it, and change its keys.
    ManageClients,
    /// Add what sends alerts, and change its credentials.
    ManageAlertSources,
}

impl Permission {
    /// All permissions, in the order they are documented.
    pub const ALL: [Self; 20] = [
        Self::RequestActions,
        Self::ReadOwnActions,
        Self::ReadActions,
        Self::CancelOwnActions,
        Self::CancelActions,
        Self::CloseActions,
        Self::LiftHolds,
        Self::ReviewActions,
        Self::ApproveActions,
        Self::ManageOwnAccount,
        Self::EvaluatePolicy,
        Self::EvaluatePolicyForOthers,
        Self::ReadPolicies,
        Self::WritePolicies,
        Self::ReadAudit,
        Self::ManageWebhooks,
        Self::ReadUsers,
        Self::ManageUsers,
        Self::ManageClients,
        Self::ManageAlertSources,
    ];

    /// The name shown to callers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RequestActions => "request-actions",
            Self::ReadOwnActions => "read-own-actions",
            Self::ReadActions => "read-actions",
            Self::CancelOwnActions => "cancel-own-actions",
            Self::CancelActions => "cancel-actions",
            Self::CloseActions => "close-actions",
            Self::LiftHolds => "lift-holds",
            Self::ReviewActions => "review-actions",
            Self::ApproveActions => "approve-actions",
            Self::ManageOwnAccount => "manage-own-account",
            Self::EvaluatePolicy => "evaluate-policy",
            Self::EvaluatePolicyForOthers => "evaluate-policy-for-others",
            Self::ReadPolicies => "read-policies",
            Self::WritePolicies => "write-policies",
            Self::ReadAudit => "read-audit",
            Self::ManageWebhooks => "manage-webhooks",
            Self::ReadUsers => "read-users",
            Self::ManageUsers => "manage-users",
            Self::ManageClients => "manage-clients",
            Self::ManageAlertSources => "manage-alert-sources",
        }
    }
}

/// What every client may do; policy decides about the actions it asks for.
const CLIENT: &[Permission] = &[
    Permission::RequestActions,
    Permission::ReadOwnActions,
    Permission::CancelOwnActions,
    Permission::EvaluatePolicy,
];

/// What every person may do; policy says whose answer it asks for.
const PERSON: &[Permission] =
    &[Permission::ReviewActions, Permission::ApproveActions, Permission::ManageOwnAccount];

/// The permissions of a role; none for roles that only policies know.
fn role_permissions(role: &str) -> &'static [Permission] {
    match role {
        "admin" => &Permission::ALL,
        "user" => &[
            Permission::RequestActions,
            Permission::ReadOwnActions,
            Permission::ReadActions,
            Permission::CancelOwnActions,
            Permission::CancelActions,
            Permission::LiftHolds,
            Permission::EvaluatePolicy,
            Permission::ReadPolicies,
        ],
        "auditor" => &[
            Permission::ReadOwnActions,
            Permission::ReadActions,
            Permission::ReadPolicies,
            Permission::ReadAudit,
            Permission::ReadUsers,
        ],
        _ => &[],
    }
}

/// Everything a caller may do.
pub fn permissions_of(principal: &Principal, roles: &[String]) -> BTreeSet<Permission> {
    match principal {
        Principal::Client(_) => CLIENT.iter().copied().collect(),
        // It proves who it is, which is all it may do.
        Principal::AlertSource(_) => BTreeSet::new(),
        Principal::User(_) => {
            let of_roles = roles.iter().flat_map(|role| role_permissions(role));
            of_roles.chain(PERSON).copied().collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use aegis_contract::ids::UserId;

    use super::*;

    /// To change a permission, change this table with it.
    const MATRIX: &str = "
                             admin user auditor sre-lead client
request-actions              x     x    -       -        x
read-own-actions             x     x    x       -        x
read-actions                 x     x    x       -        -
cancel-own-actions           x     x    -       -        x
cancel-actions               x     x    -       -        -
close-actions                x     -    -       -        -
lift-holds                   x     x    -       -        -
review-actions               x     x    x       x        -
approve-actions              x     x    x       x        -
manage-own-account           x     x    x       x        -
evaluate-policy              x     x    -       -        x
evaluate-policy-for-others   x     -    -       -        -
read-policies                x     x    x       -        -
write-policies               x     -    -       -        -
read-audit                   x     -    x       -        -
manage-webhooks              x     -    -       -        -
read-users                   x     -    x       -        -
manage-users                 x     -    -       -        -
manage-clients               x     -    -       -        -
manage-alert-sources         x     -    -       -        -
";

    #[test]
    fn every_role_has_exactly_the_permissions_of_the_table() {
        let user = Principal::User(UserId(uuid::Uuid::nil()));
        let client = Principal::Client("bot".to_owned());
        let columns: Vec<BTreeSet<Permission>> = ["admin", "user", "auditor", "sre-lead"]
            .iter()
            .map(|role| permissions_of(&user, &[(*role).to_owned()]))
            // A role in a client's name gives a client nothing more.
            .chain([permissions_of(&client, &["admin".to_owned()])])
            .collect();
        let rows: Vec<Vec<String>> = Permission::ALL
            .iter()
            .map(|permission| {
                let marks = columns.iter().map(|held| if held.contains(permission) { "x" } else { "-" });
                std::iter::once(permission.as_str()).chain(marks).map(str::to_owned).collect()
            })
            .collect();
        let expected: Vec<Vec<String>> =
            MATRIX.lines().skip(2).map(|line| line.split_whitespace().map(str::to_owned).collect()).collect();
        assert_eq!(rows, expected);
    }

    #[test]
    fn an_alert_source_may_do_nothing_whatever_it_is_called() {
        let source = Principal::AlertSource("admin".to_owned());
        assert!(permissions_of(&source, &["admin".to_owned()]).is_empty());
    }

    #[test]
    fn several_roles_give_the_permissions_of_all() {
        let user = Principal::User(UserId(uuid::Uuid::nil()));
        let held = permissions_of(&user, &["auditor".to_owned(), "user".to_owned()]);
        assert!(held.contains(&Permission::ReadAudit) && held.contains(&Permission::RequestActions));
    }
}
