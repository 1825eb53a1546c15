//! What held at a time in the past, by what is recorded: active policies, and the roles that people held. The tables
//! of today have no part in it.

mod policies;
mod roles;

use aegis_contract::ids::EntryId;
use aegis_contract::intent::Entry;
use jiff::Timestamp;
use serde::de::DeserializeOwned;

pub use policies::{Active, ActiveSet, policies_at};
pub use roles::{Holding, Span, roles_held};

use crate::error::Error;
use crate::store::stories::Placed;

/// Entries that one statement reads.
const PAGE: i64 = 200;

/// An entry that changed what holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// When.
    pub at: Timestamp,
    /// Who did it.
    pub by: String,
    /// The entry that says so.
    pub entry_id: EntryId,
    /// Its place in the log; none while it waits for one.
    pub index: Option<u64>,
}

impl Change {
    /// Changes in the order of the log, those without a place last.
    fn order(&self) -> (u64, EntryId) {
        (self.index.unwrap_or(u64::MAX), self.entry_id)
    }
}

/// Reads entries that the control plane wrote, each with what is particular to its kind.
fn read<T: DeserializeOwned>(placed: Vec<Placed>) -> Result<Vec<(Change, T)>, Error> {
    let read = |Placed { index, body }: Placed| {
        let entry: Entry<T> = serde_json::from_slice(&body).map_err(Error::internal)?;
        let change = Change { at: entry.at, by: entry.principal, entry_id: entry.id, index };
        Ok((change, entry.data))
    };
    placed.into_iter().map(read).collect()
}
