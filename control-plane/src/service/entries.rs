//! Reading the audit log.

mod search;

use std::collections::BTreeMap;

use aegis_contract::digest::Digest;
use aegis_contract::ids::EntryId;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use sqlx::PgConnection;

use self::search::Search;
use super::Services;
use super::authenticate::this_minute;
use crate::audit::facets::{Facets, Field};
use crate::audit::{self, Kind, Record};
use crate::error::Error;
use crate::permission::Permission;
use crate::principal::Caller;
use crate::seal::Keyring;
use crate::store::entries::{self, StoredEntry};
use crate::store::{ANSWER_WITHIN, commit, refusals, within};

/// Most bytes of a value that is looked for, and of a text.
const VALUE_BYTES_MAX: usize = 512;

/// What to look for.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    values: BTreeMap<Field, String>,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    text: Option<Text>,
}

/// A text that an entry's bytes must hold, whatever the case of ASCII letters in either.
#[derive(Clone, Debug)]
struct Text {
    /// As it was asked for.
    asked: String,
    /// As JSON holds it, without capitals.
    lowered: Vec<u8>,
}

impl Filter {
    /// Entries that answer so, were recorded at or after `from` and before `to`, and hold `text`.
    ///
    /// # Errors
    /// `Parameter` for values that are too long, and for a text without a time from which on to look for it: that
    /// reads every entry since.
    pub fn new(
        values: BTreeMap<Field, String>,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
        text: Option<String>,
    ) -> Result<Self, Error> {
        let refuse = |name, message: String| Err(Error::Parameter { name, message });
        let too_long = |value: &String| value.is_empty() || value.len() > VALUE_BYTES_MAX;
        if let Some((field, _)) = values.iter().find(|(_, value)| too_long(value)) {
            return refuse(field.as_str(), format!("must have 1 to {VALUE_BYTES_MAX} bytes"));
        }
        if text.as_ref().is_some_and(too_long) {
            return refuse("text", format!("must have 1 to {VALUE_BYTES_MAX} bytes"));
        }
        if text.is_some() && from.is_none() {
            let message = "needs `from`, and better `to` as well: every entry of that time is read for it";
            return refuse("text", message.to_owned());
        }
        let text = text.map(|asked| {
            let lowered = needle(&asked).to_ascii_lowercase();
            Text { asked, lowered }
        });
        Ok(Self { values, from, to, text })
    }

    /// Whether it leaves nothing out.
    pub(super) fn is_empty(&self) -> bool {
        self.values.is_empty() && self.from.is_none() && self.to.is_none() && self.text.is_none()
    }

    /// The value that entries must have.
    pub(super) fn value(&self, field: Field) -> Option<&str> {
        self.values.get(&field).map(String::as_str)
    }

    /// What the columns of entries can say of it.
    pub(super) fn to_stored(&self) -> entries::Filter {
        let value = |field| self.value(field).map(str::to_owned);
        entries::Filter {
            action_id: self.value(Field::ActionId).and_then(|id| id.parse().ok()),
            kind: value(Field::Kind),
            principal: value(Field::Principal),
            request_id: value(Field::RequestId),
            from: self.from,
            to: self.to,
        }
    }

    /// Whether an entry fits, by its bytes.
    pub(super) fn fits(&self, body: &[u8]) -> bool {
        self.is_empty()
            || Facets::read(body).is_some_and(|facets| self.fits_facets(&facets) && self.fits_text(body))
    }

    fn fits_facets(&self, facets: &Facets) -> bool {
        self.from.is_none_or(|from| facets.at >= from)
            && self.to.is_none_or(|to| facets.at < to)
            && self.values.iter().all(|(field, value)| facets.has(*field, value))
    }

    fn fits_text(&self, body: &[u8]) -> bool {
        let Some(Text { lowered, .. }) = &self.text else { return true };
        body.windows(lowered.len()).any(|window| window.eq_ignore_ascii_case(lowered))
    }

    /// As whoever asked for it said it.
    pub(super) fn description(&self) -> Map<String, Value> {
        let values = self.values.iter().map(|(field, value)| (field.as_str().to_owned(), json!(value)));
        let mut all: Map<String, Value> = values.collect();
        let times = [("from", self.from), ("to", self.to)];
        all.extend(times.into_iter().filter_map(|(name, time)| Some((name.to_owned(), json!(time?)))));
        all.extend(self.text.as_ref().map(|text| ("text".to_owned(), json!(text.asked))));
        all
    }

    /// The same for an entry of the log: of a text from a person only its keyed hash.
    pub(super) fn to_json(&self, keyring: &Keyring) -> Map<String, Value> {
        let mut all = self.description();
        if let Some(text) = &self.text {
            all.insert("text".to_owned(), json!({ "hmac": keyring.text_hash(&text.asked) }));
        }
        all
    }
}

/// The bytes that stand in canonical JSON for a text, without the marks around it.
fn needle(text: &str) -> Vec<u8> {
    let quoted = json!(text).to_string();
    quoted.as_bytes().get(1..quoted.len() - 1).unwrap_or_default().to_vec()
}

/// In which order entries are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Those that came last first; before them those that have no place yet.
    Newest,
    /// As the log has them; after them those that have no place yet.
    Oldest,
}

/// Where a page begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Behind this entry.
    Behind(EntryId),
    /// At this place of the log; with the newest first, before it.
    At(u64),
}

/// Which page of entries is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// In which order.
    pub order: Order,
    /// Where it begins, unless at the beginning.
    pub start: Option<Start>,
    /// Most entries of the page.
    pub limit: usize,
    /// Whether to count values as well.
    pub is_counted: bool,
}

/// A page of entries.
#[derive(Debug)]
pub struct Page {
    /// The entries; fewer than were wanted, or none, when it took too long to find more.
    pub entries: Vec<StoredEntry>,
    /// Where the next page begins; none on the last one.
    pub next: Option<Start>,
    /// How often values occur, if that was wanted.
    pub counts: Option<Counts>,
}

/// How often each value of each field occurs among the entries from the beginning of a page on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Entries that were counted.
    pub entries: u64,
    /// Whether they are all that fit.
    pub is_complete: bool,
    /// The values of each field, the most frequent first.
    pub fields: Vec<(Field, Vec<(String, u64)>)>,
}

/// A page of the entries that fit. That they were read is an entry too: one for each reader, filter and minute.
///
/// # Errors
/// `Forbidden`; `Parameter` for a start that names no entry.
pub async fn list(
    services: &Services,
    caller: &Caller,
    filter: &Filter,
    wanted: Wanted,
) -> Result<Page, Error> {
    caller.require(Permission::ReadAudit)?;
    let (tx, found) = within(ANSWER_WITHIN, async {
        let mut tx = services.store.begin().await?;
        let found = Search::new(filter, wanted).run(&mut tx).await?;
        note_reading(&mut tx, caller, Value::Object(filter.to_json(&services.keyring))).await?;
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
