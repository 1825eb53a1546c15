//! Who is calling, once proven.

use std::fmt;

use aegis_contract::ids::{SessionId, UserId};
use jiff::Timestamp;

use crate::error::Error;
use crate::permission::{Permission, permissions_of};
use crate::scope::Scope;

/// A person, a client or an alert source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// A signed-in person.
    User(UserId),
    /// Automation, by its unique name.
    Client(String),
    /// What sends alerts, by its unique name.
    AlertSource(String),
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(id) => write!(f, "user:{id}"),
            Self::Client(name) => write!(f, "client:{name}"),
            Self::AlertSource(name) => write!(f, "alert-source:{name}"),
        }
    }
}

/// A nonce to be spent by the first thing a signed request records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nonce {
    /// The key that signed.
    pub key_id: String,
    /// Its nonce.
    pub nonce: String,
    /// Until when it has to be remembered.
    pub keep_until: Timestamp,
}

/// What a caller has shown besides what they signed in with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SecondFactor {
    /// They have none, as is so with all automation.
    #[default]
    Absent,
    /// They have one, and did not show it lately in this session.
    NotShown,
    /// They showed it lately in this session.
    Shown,
}

/// A proven caller and what they may do.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Who.
    pub principal: Principal,
    /// The same as text: what entries, decisions and actions say.
    pub name: String,
    /// The roles they hold, sorted. Clients have none.
    pub roles: Vec<String>,
    /// What a client may ask for at most. People are not bounded.
    pub scope: Scope,
    /// How many requests a minute a client may send at most, where that was bounded.
    pub requests_per_minute: Option<u32>,
    /// The session of a person; absent for clients.
    pub session: Option<SessionId>,
    /// How far a person has proven more than their session does.
    pub second_factor: SecondFactor,
    /// The nonce to spend; absent for people and for requests that only read.
    pub nonce: Option<Nonce>,
    /// Names the request.
    pub request_id: String,
}

impl Caller {
    /// Whether the caller has a permission.
    pub fn may(&self, permission: Permission) -> bool {
        permissions_of(&self.principal, &self.roles).contains(&permission)
    }

    /// The first line of a use case.
    ///
    /// # Errors
    /// `Forbidden` without the permission.
    pub fn require(&self, permission: Permission) -> Result<(), Error> {
        if self.may(permission) { Ok(()) } else { Err(Error::Forbidden { permission: permission.as_str() }) }
    }

    /// Checks that an action on a resource lies in what the caller may ask for at most.
    ///
    /// # Errors
    /// `OutsideScope`.
    pub fn require_in_scope(&self, action: &str, resource: &str) -> Result<(), Error> {
        if self.scope.includes(action, resource) {
            return Ok(());
        }
        Err(Error::OutsideScope { action: action.to_owned(), resource: resource.to_owned() })
    }

    /// The person and the session they call in, for what only people do.
    ///
    /// # Errors
    /// `Forbidden` for clients and alert sources.
    pub fn person(&self) -> Result<(UserId, SessionId), Error> {
        match (&self.principal, self.session) {
            (Principal::User(user), Some(session)) => Ok((*user, session)),
            _ => Err(Error::Forbidden { permission: Permission::ManageOwnAccount.as_str() }),
        }
    }

    /// Whether this is a person, as some things only people may do.
    pub fn is_user(&self) -> bool {
        matches!(self.principal, Principal::User(_))
    }
}
