//! How people stand in the sessions that they call in, [looked up together](super::lookup).

use std::collections::HashMap;

use aegis_contract::ids::{SessionId, UserId};

use super::lookup::{self, Lookup, lookup};
use crate::error::Error;
use crate::service::second_factor::STEP_UP_GOOD_FOR;
use crate::store::Store;
use crate::store::sessions::{self, Standing};

/// Where requests of people wait. Clones share it.
#[derive(Clone, Debug)]
pub struct Standings {
    store: Store,
    wanted: Lookup<(SessionId, UserId), Standing>,
}

/// What [`run`] works through.
pub type Queue = lookup::Queue<(SessionId, UserId), Standing>;

/// A place to wait, and the other end of it.
pub fn standings(store: Store) -> (Standings, Queue) {
    let (wanted, queue) = lookup();
    (Standings { store, wanted }, queue)
}

impl Standings {
    /// How a person stands now in a session of theirs; nothing when it is over, or they may not sign in.
    ///
    /// # Errors
    /// `AuditUnavailable` when the database does not answer in time; those of the database.
    pub async fn find(&self, session: SessionId, user: UserId) -> Result<Option<Standing>, Error> {
        self.wanted.find((session, user), |wanted| find(self.store.clone(), wanted)).await
    }
}

/// Looks people up until there is nobody left who could call.
pub async fn run(store: Store, queue: Queue) {
    queue.serve(|wanted| find(store.clone(), wanted)).await;
}

async fn find(
    store: Store,
    wanted: Vec<(SessionId, UserId)>,
) -> Result<HashMap<(SessionId, UserId), Standing>, Error> {
    sessions::standings(&mut *store.acquire().await?, &wanted, STEP_UP_GOOD_FOR).await
}
