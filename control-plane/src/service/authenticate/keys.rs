//! The keys that signed requests name, [looked up together](super::lookup). That a key was used is noted beside requests,
//! and once a minute.

use std::collections::HashMap;

use tokio::sync::mpsc;

use super::lookup::{self, Lookup, TOGETHER_MAX, lookup};
use crate::error::Error;
use crate::store::client_keys::{self, ClientKey};
use crate::store::{ANSWER_WITHIN, Store, within};

/// Where requests wait for the keys they name. Clones share it.
#[derive(Clone, Debug)]
pub struct Keys {
    store: Store,
    wanted: Lookup<String, ClientKey>,
    used: mpsc::Sender<String>,
}

/// What [`run`] works through.
#[derive(Debug)]
pub struct Queue {
    wanted: lookup::Queue<String, ClientKey>,
    used: mpsc::Receiver<String>,
}

/// A place to wait, and the other end of it.
pub fn keys(store: Store) -> (Keys, Queue) {
    let (wanted, wanted_queue) = lookup();
    let (used, used_queue) = mpsc::channel(TOGETHER_MAX);
    (Keys { store, wanted, used }, Queue { wanted: wanted_queue, used: used_queue })
}

impl Keys {
    /// A key by its id, as it is now; also one that is good no more.
    ///
    /// # Errors
    /// `AuditUnavailable` when the database does not answer in time; those of the database.
    pub async fn find(&self, key_id: &str) -> Result<Option<ClientKey>, Error> {
        self.wanted.find(key_id.to_owned(), |ids| find(self.store.clone(), ids)).await
    }

    /// Has it noted that a key was used, unless that is noted already.
    pub fn note_use(&self, key_id: &str, key: &ClientKey) {
        if !key.is_use_noted {
            // Full while the database is slow: then a later use is noted.
            let _ = self.used.try_send(key_id.to_owned());
        }
    }
}

/// Looks keys up, and notes their uses, until there is nobody left who could name one.
pub async fn run(store: Store, Queue { wanted, used }: Queue) {
    tokio::join!(wanted.serve(|ids| find(store.clone(), ids)), note_uses(&store, used));
}

async fn find(store: Store, ids: Vec<String>) -> Result<HashMap<String, ClientKey>, Error> {
    client_keys::find(&mut *store.acquire().await?, &ids).await
}

async fn note_uses(store: &Store, mut queue: mpsc::Receiver<String>) {
    let mut used = Vec::with_capacity(TOGETHER_MAX);
    while queue.recv_many(&mut used, TOGETHER_MAX).await > 0 {
        used.sort_unstable();
        used.dedup();
        let key_ids: Vec<&str> = used.iter().map(String::as_str).collect();
        let noted = async { client_keys::note_use(&mut *store.acquire().await?, &key_ids).await };
        if let Err(error) = within(ANSWER_WITHIN, noted).await {
            tracing::debug!(error = &error as &dyn std::error::Error, "uses of keys were not noted");
        }
        used.clear();
    }
}
