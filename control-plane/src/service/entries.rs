//! Reading the audit log.

use aegis_contract::digest::Digest;
use aegis_contract::ids::{ActionId, EntryId};
use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::PgConnection;

use super::Services;
use super::authenticate::this_minute;
use crate::audit::{self, Kind, Record};
use crate::error::Error;
use crate::permission::Permission;
use crate::principal::Caller;
use crate::store::entries::{self, StoredEntry};
use crate::store::{ANSWER_WITHIN, commit, refusals, within};

/// What to look for.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Entries of this action.
    pub action_id: Option<ActionId>,
    /// Entries of this kind.
    pub kind: Option<Kind>,
    /// Entries of this principal.
    pub principal: Option<String>,
    /// Entries caused by this request.
    pub request_id: Option<String>,
    /// Entries at or after this time.
    pub from: Option<Timestamp>,
    /// Entries before this time.
    pub to: Option<Timestamp>,
}

impl Filter {
    /// Whether it leaves nothing out.
    pub(super) fn is_empty(&self) -> bool {
        self.to_json().as_object().is_none_or(serde_json::Map::is_empty)
    }

    /// As the store takes it.
    pub(super) fn to_stored(&self) -> entries::Filter {
        entries::Filter {
            action_id: self.action_id,
            kind: self.kind.map(Kind::as_str),
            principal: self.principal.clone(),
            request_id: self.request_id.clone(),
            from: self.from,
            to: self.to,
        }
    }

    pub(super) fn to_json(&self) -> Value {
        let all = json!({
            "actionId": self.action_id,
            "kind": self.kind.map(Kind::as_str),
            "principal": self.principal,
            "requestId": self.request_id,
            "from": self.from,
            "to": self.to,
        });
        match all {
            Value::Object(members) => members.into_iter().filter(|(_, value)| !value.is_null()).collect(),
            other => other,
        }
    }
}

/// Entries, the newest first, those after `before` left out. That they were read is an entry too:
/// one for each reader, filter and minute.
///
/// # Errors
/// `Forbidden`.
pub async fn list(
    services: &Services,
    caller: &Caller,
    filter: &Filter,
    before: Option<EntryId>,
    limit: u32,
) -> Result<Vec<StoredEntry>, Error> {
    caller.require(Permission::ReadAudit)?;
    let stored = filter.to_stored();
    let (tx, found) = within(ANSWER_WITHIN, async {
        let mut tx = services.store.begin().await?;
        let found = entries::list(&mut tx, &stored, before, limit.into()).await?;
        note_reading(&mut tx, caller, filter.to_json()).await?;
        Ok((tx, found))
    })
    .await?;
    commit(tx, None).await?;
    Ok(found)
}

/// The bytes of one entry. That it was read is an entry too, as in [`list`].
///
/// # Errors
/// `Forbidden`, `NotFound`.
pub async fn find(services: &Services, caller: &Caller, id: EntryId) -> Result<Vec<u8>, Error> {
    caller.require(Permission::ReadAudit)?;
    let (tx, found) = within(ANSWER_WITHIN, async {
        let mut tx = services.store.begin().await?;
        let found = entries::find(&mut tx, id).await?.ok_or(Error::NotFound { what: "entry" })?;
        note_reading(&mut tx, caller, json!({ "id": id })).await?;
        Ok((tx, found))
    })
    .await?;
    commit(tx, None).await?;
    Ok(found)
}

/// Notes that somebody read what `filter` names: the first of its reader, filter and minute.
pub(super) async fn note_reading(
    conn: &mut PgConnection,
    caller: &Caller,
    filter: Value,
) -> Result<(), Error> {
    let data = json!({ "filter": filter });
    let reading = format!("{} {}", caller.name, Digest::of(data.to_string().as_bytes()));
    if refusals::note(conn, Kind::AuditRead.as_str(), &reading, this_minute()).await? {
        let record = Record {
            kind: Kind::AuditRead,
            principal: &caller.name,
            action_id: None,
            request_id: Some(&caller.request_id),
            data,
        };
        audit::append(conn, record).await?;
    }
    Ok(())
}
