//! The workers of this process, and the loop that takes over what others left behind.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aegis_contract::ids::ActionId;
use aegis_contract::receipt::Step;
use aegis_runtime::clock;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::Instrument;
use uuid::Uuid;

use super::Executor;
use super::lease::Lease;
use super::worker::{self, Begun, Stop};
use crate::ledger::LedgerError;
use crate::ledger::leases::LeaseGrant;

/// How often leases that ran out are looked for; with the lease's own length this bounds a takeover.
const RESUME_INTERVAL: Duration = Duration::from_secs(1);
/// Longest a process that was asked to end waits for its workers to let go.
const HAND_OVER_MAX: Duration = Duration::from_secs(5);

/// The actions this process carries out.
pub(crate) struct Workers {
    owner: Uuid,
    running: Mutex<HashMap<ActionId, Running>>,
    tasks: Mutex<JoinSet<()>>,
}

struct Running {
    fence: i64,
    /// Steps so far; closed when the worker has ended.
    steps: watch::Receiver<Vec<Step>>,
}

impl Workers {
    /// No workers yet, under a name that no other process has.
    pub(crate) fn new() -> Self {
        Self { owner: clock::new_uuid(), running: Mutex::default(), tasks: Mutex::default() }
    }

    /// The name under which this process holds leases.
    pub(crate) fn owner(&self) -> Uuid {
        self.owner
    }

    /// Carries out an action whose lease was just granted, from what has `begun` or else from where the ledger
    /// leaves it.
    pub(crate) fn start(&self, executor: &Arc<Executor>, grant: LeaseGrant, begun: Option<Begun>) {
        let (steps, receiver) = watch::channel(Vec::new());
        lock(&self.running).insert(grant.action_id, Running { fence: grant.fence, steps: receiver });
        let executor = Arc::clone(executor);
        let span = tracing::info_span!("action", actionId = %grant.action_id);
        let work = async move {
            let _entry = Entry { workers: &executor.workers, grant };
            carry_out(&executor, grant, begun, steps).await;
        };
        let mut tasks = lock(&self.tasks);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(work.instrument(span));
    }

    fn forget(&self, grant: LeaseGrant) {
        let mut running = lock(&self.running);
        if running.get(&grant.action_id).is_some_and(|entry| entry.fence == grant.fence) {
            running.remove(&grant.action_id);
        }
    }

    /// Steps of an action that this process carries out, once there are any.
    pub(crate) fn steps(&self, action_id: ActionId) -> Option<Vec<Step>> {
        let steps = lock(&self.running).get(&action_id)?.steps.borrow().clone();
        (!steps.is_empty()).then_some(steps)
    }

    /// Returns when this process' worker of an action ends; without one, after `otherwise`.
    pub(crate) async fn ended(&self, action_id: ActionId, otherwise: Duration) {
        let steps = lock(&self.running).get(&action_id).map(|entry| entry.steps.clone());
        match steps {
            Some(mut steps) => while steps.changed().await.is_ok() {},
            None => tokio::time::sleep(otherwise).await,
        }
    }

    /// Returns when an action has more than `known` steps, or its worker has ended; where this process has no
    /// worker of it, after `otherwise`.
    pub(crate) async fn more_steps(&self, action_id: ActionId, known: usize, otherwise: Duration) {
        let steps = lock(&self.running).get(&action_id).map(|entry| entry.steps.clone());
        match steps {
            Some(mut steps) => {
                let _ = steps.wait_for(|steps| steps.len() > known).await;
            }
            None => tokio::time::sleep(otherwise).await,
        }
    }

    /// Waits until every worker has let go, but not for long.
    pub(crate) async fn hand_over(&self) {
        let mut tasks = std::mem::take(&mut *lock(&self.tasks));
        let all = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(HAND_OVER_MAX, all).await.is_err() {
            tracing::warn!("some workers did not let go in time; their leases run out");
        }
    }
}

/// A worker's entry among the running ones; it goes when the worker ends, also by a panic.
struct Entry<'a> {
    workers: &'a Workers,
    grant: LeaseGrant,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.workers.forget(self.grant);
    }
}

async fn carry_out(
    executor: &Arc<Executor>,
    grant: LeaseGrant,
    begun: Option<Begun>,
    steps: watch::Sender<Vec<Step>>,
) {
    let lease = Lease::new(executor.ledger.clone(), grant);
    let stop = tokio::select! {
        result = worker::run(executor, &lease, begun, &steps) => match result {
            Ok(()) => return,
            Err(stop) => stop,
        },
        () = lease.keep() => Stop::LeaseLost,
        () = executor.shutdown.wait() => Stop::ShuttingDown,
    };
    match &stop {
        Stop::LeaseLost => tracing::warn!("the lease is lost; this worker stops"),
        Stop::ShuttingDown => {
            tracing::info!("shutting down; another worker goes on");
            lease.release().await;
        }
        Stop::Ledger(error) => {
            tracing::error!(
                error = error as &dyn std::error::Error,
                "the ledger failed; the action is resumed later"
            );
            lease.release().await;
        }
    }
}

/// Takes over actions whose leases ran out, at start and ever after.
pub(crate) async fn resume_actions(executor: Arc<Executor>) {
    let mut was_failing = false;
    while !executor.shutdown.is_triggered() {
        match resume_once(&executor).await {
            Ok(()) => was_failing = false,
            Err(error) => {
                if !was_failing {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "cannot look for unfinished actions"
                    );
                }
                was_failing = true;
            }
        }
        executor.shutdown.pause(RESUME_INTERVAL).await;
    }
}

async fn resume_once(executor: &Arc<Executor>) -> Result<(), LedgerError> {
    executor.name_ledger().await?;
    for grant in executor.ledger.take_over(executor.workers.owner()).await? {
        tracing::info!(actionId = %grant.action_id, fence = grant.fence, "action resumed");
        executor.workers.start(executor, grant, None);
    }
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
