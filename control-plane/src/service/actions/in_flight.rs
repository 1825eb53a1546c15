//! Copies of one request that arrive together: one is worked on, the others wait for it. This spares
//! the executor fifty questions for one answer; that there is only one action is up to the database,
//! which also tells copies at different replicas apart.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

/// Principal and idempotency key.
type Key = (String, String);
type Working = Arc<Mutex<HashMap<Key, watch::Receiver<()>>>>;

/// The requests that this process is working on. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct InFlight(Working);

/// What a request is among its copies.
pub(super) enum Place {
    /// The one that is worked on, until the turn is dropped.
    First(Turn),
    /// Another one is being worked on.
    Behind(Ahead),
}

/// Held by the request that is worked on.
pub(super) struct Turn {
    working: Working,
    key: Key,
    // Wakes those behind when it is dropped.
    _done: watch::Sender<()>,
}

/// The request ahead.
pub(super) struct Ahead(watch::Receiver<()>);

impl InFlight {
    /// Takes a place among the copies of a request.
    pub(super) fn enter(&self, principal: &str, key: &str) -> Place {
        let key = (principal.to_owned(), key.to_owned());
        let mut working = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match working.entry(key.clone()) {
            Entry::Occupied(ahead) => Place::Behind(Ahead(ahead.get().clone())),
            Entry::Vacant(place) => {
                let (done, ahead) = watch::channel(());
                place.insert(ahead);
                Place::First(Turn { working: Arc::clone(&self.0), key, _done: done })
            }
        }
    }
}

impl Ahead {
    /// Returns when the request ahead is done, whatever came of it.
    pub(super) async fn done(mut self) {
        // Nothing is ever sent: an error means that the sender is gone.
        while self.0.changed().await.is_ok() {}
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.working.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_copy_is_first_and_the_others_wait_until_it_is_done() {
        let in_flight = InFlight::default();
        let Place::First(turn) = in_flight.enter("client:a", "k") else { panic!("nobody was ahead") };
        let Place::Behind(ahead) = in_flight.enter("client:a", "k") else { panic!("two are first") };
        assert!(matches!(in_flight.enter("client:b", "k"), Place::First(_)), "another caller's key");
        let waiting = tokio::spawn(ahead.done());
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(turn);
        waiting.await.unwrap();
        assert!(matches!(in_flight.enter("client:a", "k"), Place::First(_)));
        assert!(in_flight.0.lock().unwrap().is_empty(), "what is done is forgotten");
    }
}
