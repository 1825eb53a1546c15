//! Who asks is looked up together: whatever waits while one statement runs is found by the next one. Nothing is kept,
//! so that what is revoked, ended or disabled is so for every request that comes later.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::error::Error;
use crate::store::{ANSWER_WITHIN, within};

/// Most requests that share a statement.
pub const TOGETHER_MAX: usize = 256;
/// Longest time of a shared statement. What is left of [`ANSWER_WITHIN`] is enough for one of its own.
const TOGETHER_WITHIN: Duration = Duration::from_millis(500);

/// Where requests wait for what they name. Clones share it.
#[derive(Debug)]
pub struct Lookup<K, V>(mpsc::Sender<Wanted<K, V>>);

impl<K, V> Clone for Lookup<K, V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// What [`Queue::serve`] works through.
#[derive(Debug)]
pub struct Queue<K, V>(mpsc::Receiver<Wanted<K, V>>);

#[derive(Debug)]
struct Wanted<K, V> {
    key: K,
    /// Dropped unanswered when the shared statement failed.
    answer: oneshot::Sender<Option<V>>,
}

/// A place to wait, and the other end of it.
pub fn lookup<K, V>() -> (Lookup<K, V>, Queue<K, V>) {
    let (wanted, queue) = mpsc::channel(TOGETHER_MAX);
    (Lookup(wanted), Queue(queue))
}

impl<K: Clone + Eq + Hash, V> Lookup<K, V> {
    /// What there is of this key, as it is now: found together with others, or by `find` alone when that fails.
    ///
    /// # Errors
    /// `AuditUnavailable` when there is no answer in time; those of `find`.
    pub async fn find<F>(&self, key: K, find: impl FnOnce(Vec<K>) -> F) -> Result<Option<V>, Error>
    where
        F: Future<Output = Result<HashMap<K, V>, Error>>,
    {
        within(ANSWER_WITHIN, async {
            let (answer, answered) = oneshot::channel();
            // Full while the database is slow: then a statement of its own is as good.
            let _ = self.0.try_send(Wanted { key: key.clone(), answer });
            match answered.await {
                Ok(found) => Ok(found),
                Err(_) => Ok(find(vec![key.clone()]).await?.remove(&key)),
            }
        })
        .await
    }
}

impl<K: Clone + Eq + Hash + Ord, V: Clone> Queue<K, V> {
    /// Looks up whatever waits, by one statement at a time, until there is nobody left who could wait.
    pub async fn serve<F>(mut self, find: impl Fn(Vec<K>) -> F)
    where
        F: Future<Output = Result<HashMap<K, V>, Error>>,
    {
        let mut wanted = Vec::with_capacity(TOGETHER_MAX);
        while self.0.recv_many(&mut wanted, TOGETHER_MAX).await > 0 {
            let mut keys: Vec<K> = wanted.iter().map(|wanted| wanted.key.clone()).collect();
            keys.sort_unstable();
            keys.dedup();
            match within(TOGETHER_WITHIN, find(keys)).await {
                Ok(found) => {
                    for Wanted { key, answer } in wanted.drain(..) {
                        // Whoever has left does not want it.
                        let _ = answer.send(found.get(&key).cloned());
                    }
                }
                Err(error) => {
                    tracing::debug!(error = &error as &dyn std::error::Error, "looked up one by one");
                    wanted.clear();
                }
            }
        }
    }
}
