//! The keys that signed requests name are looked up together: whatever waits while one statement runs is
//! found by the next one. Nothing is kept, so that a key is revoked, and a client disabled, for every request that
//! comes later. That a key was used is noted beside requests, and once a minute.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::error::Error;
use crate::store::client_keys::{self, ClientKey};
use crate::store::{ANSWER_WITHIN, Store, within};

/// Most requests that share a statement.
const TOGETHER_MAX: usize = 256;
/// Longest time of a shared statement. What is left of [`ANSWER_WITHIN`] is enough for one of its own.
const TOGETHER_WITHIN: Duration = Duration::from_millis(500);

/// Where requests wait for the keys they name. Clones share it.
#[derive(Clone, Debug)]
pub struct Keys {
    store: Store,
    wanted: mpsc::Sender<Wanted>,
    used: mpsc::Sender<String>,
}

/// What [`run`] works through.
#[derive(Debug)]
pub struct Queue {
    wanted: mpsc::Receiver<Wanted>,
    used: mpsc::Receiver<String>,
}

#[derive(Debug)]
struct Wanted {
    key_id: String,
    /// Dropped unanswered when the shared statement failed.
    answer: oneshot::Sender<Option<ClientKey>>,
}

/// A place to wait, and the other end of it.
pub fn keys(store: Store) -> (Keys, Queue) {
    let (wanted, wanted_queue) = mpsc::channel(TOGETHER_MAX);
    let (used, used_queue) = mpsc::channel(TOGETHER_MAX);
    (Keys { store, wanted, used }, Queue { wanted: wanted_queue, used: used_queue })
}

impl Keys {
    /// A key by its id, as it is now; also one that is good no more.
    ///
    /// # Errors
    /// `AuditUnavailable` when the database does not answer in time; those of the database.
    pub async fn find(&self, key_id: &str) -> Result<Option<ClientKey>, Error> {
        within(ANSWER_WITHIN, async {
            let (answer, answered) = oneshot::channel();
            // Full while the database is slow: then a statement of its own is as good.
            let _ = self.wanted.try_send(Wanted { key_id: key_id.to_owned(), answer });
            if let Ok(found) = answered.await {
                return Ok(found);
            }
            let found = client_keys::find(&mut *self.store.acquire().await?, &[key_id]).await?;
            Ok(found.into_values().next())
        })
        .await
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
    tokio::join!(look_up(&store, wanted), note_uses(&store, used));
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

async fn look_up(store: &Store, mut queue: mpsc::Receiver<Wanted>) {
    let mut wanted = Vec::with_capacity(TOGETHER_MAX);
    while queue.recv_many(&mut wanted, TOGETHER_MAX).await > 0 {
        match find_together(store, &wanted).await {
            Ok(found) => {
                for Wanted { key_id, answer } in wanted.drain(..) {
                    // Whoever has left does not want it.
                    let _ = answer.send(found.get(&key_id).cloned());
                }
            }
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "keys are looked up one by one");
                wanted.clear();
            }
        }
    }
}

async fn find_together(store: &Store, wanted: &[Wanted]) -> Result<HashMap<String, ClientKey>, Error> {
    let mut key_ids: Vec<&str> = wanted.iter().map(|wanted| wanted.key_id.as_str()).collect();
    key_ids.sort_unstable();
    key_ids.dedup();
    within(TOGETHER_WITHIN, async { client_keys::find(&mut *store.acquire().await?, &key_ids).await }).await
}
