//! Identifiers. All are UUIDv7 (RFC 9562), so that they sort by the time they were made; making one
//! needs a clock and is therefore left to the services.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }
    };
}

id!(
    /// Names one action, from its request to its outcome.
    ActionId
);
id!(
    /// Names one decision of the policy engine.
    DecisionId
);
id!(
    /// Names one entry of the audit log.
    EntryId
);
id!(
    /// Names one sign-in at an identity provider.
    FlowId
);
id!(
    /// Names one request to give a person a role, which others must agree to.
    GrantId
);
id!(
    /// Names one executor ledger. A ledger made anew has another id, even for the same cluster.
    LedgerId
);
id!(
    /// Names one session of a person.
    SessionId
);
id!(
    /// Names one person.
    UserId
);
