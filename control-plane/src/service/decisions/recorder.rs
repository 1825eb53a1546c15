//! Bare questions are answered together: whatever waits while one transaction is committed is decided
//! and recorded by the next one, so that many share its statements and its commit. Each has a nonce, a
//! decision and an entry of its own, and one that fails takes no other with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aegis_policy::Question;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::error::Error;
use crate::principal::{Caller, Nonce};
use crate::service::decide::{Asked, Decided, Occasion, Purpose, decide, decide_all};
use crate::service::policy_set::ActivePolicies;
use crate::service::spend_nonce;
use crate::store::{ANSWER_WITHIN, Store, commit, nonces, wait_briefly_for_locks, within};

/// Most questions of one transaction: more would not make it cheaper, and its failure dearer.
const TOGETHER_MAX: usize = 128;
/// Most questions that wait; more wait for room among them.
const WAITING_MAX: usize = 1_024;
/// Longest wait for a transaction to begin. What is left of [`ANSWER_WITHIN`] is enough for one.
const BEGIN_WITHIN: Duration = Duration::from_millis(1_100);
/// Longest time of a shared transaction before its commit. What is left then is for each on its own.
const TOGETHER_WITHIN: Duration = Duration::from_millis(550);

/// Where questions wait to be recorded. Clones share it.
#[derive(Clone, Debug)]
pub struct Recorder(mpsc::Sender<Waiting>);

/// What [`run`] works through.
#[derive(Debug)]
pub struct Queue(mpsc::Receiver<Waiting>);

/// A place for questions, and the other end of it.
pub fn recorder() -> (Recorder, Queue) {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    (Recorder(sender), Queue(receiver))
}

#[derive(Debug)]
struct Waiting {
    caller: Caller,
    asked: Asked,
    question: Question,
    /// When it must be answered, but for its commit.
    until: Instant,
    /// Taken by a transaction, or withdrawn: whoever sets it first.
    taken: Arc<AtomicBool>,
    answer: oneshot::Sender<Result<Decided, Error>>,
}

impl Recorder {
    /// Decides a question, and answers once its entry is committed.
    ///
    /// # Errors
    /// Those of [`decide`]; `NonceReplayed`; `AuditUnavailable` when its turn does not come in time;
    /// `OutcomeUnknown`.
    pub async fn decide(&self, caller: &Caller, asked: Asked) -> Result<Decided, Error> {
        let question = asked.question()?;
        let (answer, mut answered) = oneshot::channel();
        let taken = Arc::new(AtomicBool::new(false));
        let now = Instant::now();
        let (caller, until) = (caller.clone(), now + ANSWER_WITHIN);
        let waiting = Waiting { caller, asked, question, until, taken: taken.clone(), answer };
        let turn = timeout_at(now + BEGIN_WITHIN, async {
            self.0.send(waiting).await.map_err(Error::internal)?;
            (&mut answered).await.map_err(Error::internal)?
        });
        match turn.await {
            Ok(answer) => answer,
            // Withdrawn: nothing of it will be recorded.
            Err(_) if !taken.swap(true, Ordering::AcqRel) => Err(Error::AuditUnavailable(None)),
            Err(_) => answered.await.map_err(Error::internal)?,
        }
    }
}

/// Records questions until there is nobody left who could ask.
pub async fn run(store: Store, policies: ActivePolicies, Queue(mut queue): Queue) {
    let mut waiting = Vec::with_capacity(TOGETHER_MAX);
    while queue.recv_many(&mut waiting, TOGETHER_MAX).await > 0 {
        waiting.retain(|waiting| !waiting.answer.is_closed() && !waiting.taken.swap(true, Ordering::AcqRel));
        if !waiting.is_empty() {
            // Also if it is only one: others gather meanwhile.
            answer_together(&store, &policies, std::mem::take(&mut waiting)).await;
        }
    }
}

async fn answer_together(store: &Store, policies: &ActivePolicies, waiting: Vec<Waiting>) {
    let work = within(TOGETHER_WITHIN, async {
        let mut tx = store.begin().await?;
        wait_briefly_for_locks(&mut tx).await?;
        let fresh = spend_nonces(&mut tx, &waiting).await?;
        let asked: Vec<_> = waiting
            .iter()
            .zip(&fresh)
            .filter(|(_, fresh)| **fresh)
            .map(|(waiting, _)| (&waiting.question, occasion(&waiting.caller)))
            .collect();
        let decided = decide_all(&mut tx, policies, &asked).await?;
        Ok((tx, fresh, decided))
    });
    match work.await {
        Ok((tx, fresh, decided)) => answer_all(waiting, fresh, decided, &commit(tx, None).await),
        // One of them may be why; which one, each finds out alone. Nothing was committed.
        Err(error) => {
            tracing::debug!(error = &error as &dyn std::error::Error, "questions are answered one by one");
            waiting.into_iter().for_each(|waiting| spawn_alone(store, policies, waiting));
        }
    }
}

fn answer_all(waiting: Vec<Waiting>, fresh: Vec<bool>, decided: Vec<Decided>, committed: &Result<(), Error>) {
    let mut decided = decided.into_iter();
    for (waiting, fresh) in waiting.into_iter().zip(fresh) {
        let answer = match committed {
            Err(Error::OutcomeUnknown { .. }) => Err(Error::OutcomeUnknown { action_id: None }),
            Err(_) => Err(Error::AuditUnavailable(None)),
            Ok(()) if !fresh => Err(Error::NonceReplayed),
            Ok(()) => decided.next().ok_or_else(|| Error::internal(anyhow::anyhow!("one was not decided"))),
        };
        // Whoever has left does not want it.
        let _ = waiting.answer.send(answer);
    }
}

/// Whether each nonce was not used before, by an earlier one of these either.
async fn spend_nonces(conn: &mut sqlx::PgConnection, waiting: &[Waiting]) -> Result<Vec<bool>, Error> {
    let nonces: Vec<&Nonce> = waiting.iter().filter_map(|waiting| waiting.caller.nonce.as_ref()).collect();
    let mut spent = nonces::spend_all(conn, &nonces).await?;
    let mut is_fresh = |nonce: &Nonce| {
        let place = spent.iter().position(|(key_id, text)| *key_id == nonce.key_id && *text == nonce.nonce);
        place.map(|place| spent.swap_remove(place)).is_some()
    };
    Ok(waiting.iter().map(|waiting| waiting.caller.nonce.as_ref().is_none_or(&mut is_fresh)).collect())
}

/// In a transaction of its own, which nobody else waits for.
fn spawn_alone(store: &Store, policies: &ActivePolicies, waiting: Waiting) {
    let (store, policies) = (store.clone(), policies.clone());
    tokio::spawn(async move {
        let answer = decide_alone(&store, &policies, &waiting).await;
        let _ = waiting.answer.send(answer);
    });
}

async fn decide_alone(store: &Store, policies: &ActivePolicies, waiting: &Waiting) -> Result<Decided, Error> {
    let (tx, decided) = within(waiting.until.saturating_duration_since(Instant::now()), async {
        let mut tx = store.begin().await?;
        spend_nonce(&mut tx, &waiting.caller).await?;
        let decided = decide(&mut tx, policies, &waiting.asked, occasion(&waiting.caller)).await?;
        Ok((tx, decided))
    })
    .await?;
    commit(tx, None).await?;
    Ok(decided)
}

fn occasion(caller: &Caller) -> Occasion<'_> {
    Occasion {
        by: &caller.name,
        request_id: Some(&caller.request_id),
        observed: None,
        purpose: Purpose::Answer,
    }
}
