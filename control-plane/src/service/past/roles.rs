//! Who held which role, and when.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;
use sqlx::PgConnection;

use super::{Change, PAGE, read};
use crate::audit::Kind;
use crate::error::Error;
use crate::permission::Permission;
use crate::principal::Caller;
use crate::service::Services;
use crate::service::entries::note_reading;
use crate::store::past::{self, Wanted};
use crate::store::{ANSWER_WITHIN, commit, within};

/// The times that are asked about, both in it.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// The first instant.
    pub from: Timestamp,
    /// The last instant.
    pub to: Timestamp,
}

/// A role that somebody held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// Who.
    pub principal: String,
    /// The role; `client` for automation, which has no other.
    pub role: String,
    /// Since when, and who gave it.
    pub given: Change,
    /// Until when, and who took it, if that was within the time.
    pub taken: Option<Change>,
}

/// What an entry says of a person's roles, or of a client.
#[derive(Deserialize)]
#[serde(untagged)]
enum Said {
    Person { user: String, roles: BTreeSet<String> },
    Client { client: String },
}

/// The roles that people, and clients, held at any instant of a span. That it was asked is an entry: one for each
/// reader, span and minute.
///
/// # Errors
/// `Forbidden`; `Parameter` when the span ends before it begins.
pub async fn roles_held(services: &Services, caller: &Caller, span: Span) -> Result<Vec<Holding>, Error> {
    caller.require(Permission::ReadAudit)?;
    if span.to < span.from {
        return Err(Error::Parameter { name: "to", message: format!("must not be before {}", span.from) });
    }
    let (tx, changes) = within(ANSWER_WITHIN, async {
        let mut tx = services.store.begin().await?;
        let changes = changes_until(&mut tx, span.to).await?;
        note_reading(&mut tx, caller, json!({ "roles": { "from": span.from, "to": span.to } })).await?;
        Ok((tx, changes))
    })
    .await?;
    commit(tx, None).await?;
    Ok(held(changes, span.from))
}

/// Every change of roles up to a time, in the order of the log.
async fn changes_until(conn: &mut PgConnection, until: Timestamp) -> Result<Vec<(Change, Said)>, Error> {
    let mut changes = Vec::new();
    for kind in [Kind::UserCreated, Kind::UserRolesChanged, Kind::ClientCreated] {
        let mut wanted = Wanted { kind: kind.as_str(), until, beyond: None };
        loop {
            let found = read::<Said>(past::oldest(conn, wanted, PAGE).await?)?;
            let Some((newest, _)) = found.last() else { break };
            wanted.beyond = Some(newest.entry_id);
            changes.extend(found);
        }
    }
    changes.sort_by_key(|(change, _)| change.order());
    Ok(changes)
}

/// What was held at `from` or later.
fn held(changes: Vec<(Change, Said)>, from: Timestamp) -> Vec<Holding> {
    let mut open: BTreeMap<(String, String), Change> = BTreeMap::new();
    let mut holdings = Vec::new();
    for (change, said) in changes {
        let (principal, roles) = match said {
            Said::Person { user, roles } => (user, roles),
            Said::Client { client } => (client, BTreeSet::from(["client".to_owned()])),
        };
        let of_principal: Vec<_> = open.keys().filter(|(holder, _)| *holder == principal).cloned().collect();
        for key in of_principal.into_iter().filter(|(_, role)| !roles.contains(role)) {
            if let Some(given) = open.remove(&key)
                && change.at > from
            {
                let (principal, role) = key;
                holdings.push(Holding { principal, role, given, taken: Some(change.clone()) });
            }
        }
        for role in roles {
            open.entry((principal.clone(), role)).or_insert_with(|| change.clone());
        }
    }
    let still = |((principal, role), given)| Holding { principal, role, given, taken: None };
    holdings.extend(open.into_iter().map(still));
    holdings.sort_by(|a, b| (&a.principal, &a.role, a.given.at).cmp(&(&b.principal, &b.role, b.given.at)));
    holdings
}

#[cfg(test)]
mod tests {
    use aegis_contract::ids::EntryId;
    use uuid::Uuid;

    use super::*;

    fn change(second: i64) -> Change {
        Change {
            at: Timestamp::from_second(second).unwrap(),
            by: "operator:command-line".to_owned(),
            entry_id: EntryId(Uuid::from_u128(u128::try_from(second).unwrap())),
            index: u64::try_from(second).ok(),
        }
    }

    fn person(second: i64, roles: &[&str]) -> (Change, Said) {
        let roles = roles.iter().map(|role| (*role).to_owned()).collect();
        (change(second), Said::Person { user: "user:anna".to_owned(), roles })
    }

    /// Role, second it was given, second it was taken (0 if it was not).
    fn told(from: i64) -> Vec<(String, i64, i64)> {
        let changes = vec![
            person(10, &["user", "sre"]),
            (change(15), Said::Client { client: "client:bot".to_owned() }),
            person(20, &["user"]),
            person(30, &["user", "sre"]),
        ];
        let second = |change: &Change| change.at.as_second();
        let told =
            |held: &Holding| (held.role.clone(), second(&held.given), held.taken.as_ref().map_or(0, second));
        held(changes, Timestamp::from_second(from).unwrap()).iter().map(told).collect()
    }

    #[test]
    fn a_role_is_held_from_its_gift_until_it_is_taken() {
        let of = |role: &str, given, taken| (role.to_owned(), given, taken);
        assert_eq!(told(10), [of("client", 15, 0), of("sre", 10, 20), of("sre", 30, 0), of("user", 10, 0)]);
        // Who has lost it by then does not hold it.
        assert_eq!(told(20), [of("client", 15, 0), of("sre", 30, 0), of("user", 10, 0)]);
    }
}
