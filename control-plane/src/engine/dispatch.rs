//! Brings every open action to its end: claims it, sends its order, and asks until the executor has
//! said what happened. Killed at any point, another replica continues where the database says.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use aegis_contract::action::ActionState;
use aegis_contract::ids::ActionId;
use aegis_contract::receipt::{AttemptName, Receipt, Stage};
use aegis_runtime::clock;
use aegis_runtime::shutdown::Shutdown;
use aegis_runtime::trace_context::TraceContext;
use jiff::{SignedDuration, Timestamp};
use sqlx::PgConnection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{Instrument, error, info_span, warn};
use uuid::Uuid;

use crate::client::executor::{Answer, DeliveryError, ExecutorClient, Link, SignedOrder, Wait};
use crate::error::Error;
use crate::metrics::ControlPlaneMetrics;
use crate::seal::Keyring;
use crate::service::dispatch::{
    Claim, Nudge, OrderTerms, Recorded, Redecided, claim, expire_unapproved, mark_unknown, record_answer,
    record_not_accepted, redecide,
};
use crate::service::log;
use crate::service::policy_set::ActivePolicies;
use crate::service::safeguards::Safeguards;
use crate::store::attempts::{self, Attempt};
use crate::store::dispatch::{self as store, Leased, OpenAction};
use crate::store::{ANSWER_WITHIN, Store, within};

/// How long a replica drives an action without renewing: after a crash another takes over then.
const LEASE_SECONDS: f64 = 10.0;
/// A lease younger than this is not renewed: enough of it is left for one question and its record.
const RENEW_AFTER: Duration = Duration::from_secs(2);
/// How long one question to an executor may wait; well below the lease.
const WAIT: Duration = Duration::from_secs(4);
/// How often to look for work without being nudged; bounds the delay after another replica queued it.
const TICK: Duration = Duration::from_millis(250);
/// Pause after an executor could not be asked.
const RETRY_PAUSE: Duration = Duration::from_millis(250);
/// How long to leave an action alone that only people, or a returning executor, can move.
const DOUBT_PAUSE_SECONDS: f64 = 30.0;
/// Actions driven at once by one replica: each holds at most one connection to Postgres at a time.
const DRIVEN_MAX: usize = 256;
/// How often an executor may ask for another proof before it is left alone for a moment.
const RACES_MAX: u32 = 8;
/// How long open work may take to reach a safe point when the process ends.
const HAND_OVER: Duration = Duration::from_secs(5);

/// What the dispatcher works with.
#[derive(Clone)]
pub struct Dispatcher {
    /// The database.
    pub store: Store,
    /// What intents are sealed with.
    pub keyring: Keyring,
    /// The policies that queued actions are decided by again.
    pub policies: ActivePolicies,
    /// The executors.
    pub client: ExecutorClient,
    /// Rung when something was queued.
    pub nudge: Nudge,
    /// What must not be done now.
    pub safeguards: Safeguards,
    /// Where decisions are counted.
    pub metrics: ControlPlaneMetrics,
    /// What every order says.
    pub order_terms: OrderTerms,
}

/// Runs until shutdown, then hands open actions over.
pub async fn run(dispatcher: Dispatcher, shutdown: Shutdown) {
    let driver = clock::new_uuid();
    let slots = Arc::new(Semaphore::new(DRIVEN_MAX));
    let mut drives = JoinSet::new();
    while !shutdown.is_triggered() {
        match take_on(&dispatcher, driver, &slots).await {
            Ok(taken) => {
                for (drive, slot) in taken {
                    drives.spawn(drive_to_end(dispatcher.clone(), drive, slot, shutdown.clone()));
                }
            }
            Err(error) => warn!(error = &error as &dyn std::error::Error, "cannot look for open actions"),
        }
        while drives.try_join_next().is_some() {}
        tokio::select! {
            () = dispatcher.nudge.wait() => {}
            () = tokio::time::sleep(TICK) => {}
            () = shutdown.wait() => {}
        }
    }
    // Every step is a transaction of its own: cutting a drive off loses nothing.
    let finished = tokio::time::timeout(HAND_OVER, async { while drives.join_next().await.is_some() {} });
    if finished.await.is_err() {
        drives.shutdown().await;
    }
    let released = async { store::release_leases(&mut *dispatcher.store.acquire().await?, driver).await };
    if let Err(error) = released.await {
        warn!(error = &error as &dyn std::error::Error, "cannot release leases; they run out by themselves");
    }
}

async fn take_on(
    dispatcher: &Dispatcher,
    driver: Uuid,
    slots: &Arc<Semaphore>,
) -> Result<Vec<(Drive, OwnedSemaphorePermit)>, Error> {
    let free = i64::try_from(slots.available_permits()).unwrap_or(i64::MAX);
    if free == 0 || !dispatcher.safeguards.is_clock_true() {
        return Ok(Vec::new());
    }
    let mut conn = dispatcher.store.acquire().await?;
    let leased_at = Instant::now();
    let leased = store::lease(&mut conn, driver, LEASE_SECONDS, free).await?;
    let drive = |Leased { id, cluster, queued }| Drive {
        driver,
        id,
        leased_at,
        queued_in: queued.then_some(cluster),
        not_accepted: HashSet::new(),
        steps: 0,
    };
    Ok(leased
        .into_iter()
        .filter_map(|leased| Some((drive(leased), Arc::clone(slots).try_acquire_owned().ok()?)))
        .collect())
}

/// One action under lease.
struct Drive {
    driver: Uuid,
    id: ActionId,
    /// When the lease was last asked for.
    leased_at: Instant,
    /// The cluster, when it was queued as it was leased: it can be claimed without another look.
    queued_in: Option<String>,
    /// The attempts and codes of errors already recorded: the same error again is only logged, so that
    /// an executor out of order does not fill the audit log.
    not_accepted: HashSet<(u32, String)>,
    /// How many steps the executor has told of.
    steps: usize,
}

impl Drive {
    /// Renews the lease unless it was taken just now; false when another replica has taken over.
    async fn hold(&mut self, conn: &mut PgConnection) -> Result<bool, Error> {
        let asked_at = Instant::now();
        if asked_at.duration_since(self.leased_at) < RENEW_AFTER {
            return Ok(true);
        }
        self.leased_at = asked_at;
        store::renew_lease(conn, self.id, self.driver, LEASE_SECONDS).await
    }
}

/// What to do next with an action.
enum Next {
    /// Go on at once.
    Again,
    /// Go on after a short pause.
    AfterPause,
    /// Somebody else is to go on, or nobody: nothing more to do here.
    Leave,
    /// Nothing can be done before people, or the executor, come back.
    Park,
    /// It has ended, and its lease with it.
    Over,
}

async fn drive_to_end(
    dispatcher: Dispatcher,
    mut drive: Drive,
    slot: OwnedSemaphorePermit,
    shutdown: Shutdown,
) {
    let span = info_span!("drive", actionId = %drive.id);
    async {
        let pause_seconds = loop {
            // Questions to executors are signed too, and entries bear the time: others have to go on.
            if !dispatcher.safeguards.is_clock_true() {
                break 0.0;
            }
            let next = match step(&dispatcher, &mut drive).await {
                Ok(next) => next,
                Err(error) => {
                    error!(error = &error as &dyn std::error::Error, "a step of an action failed");
                    Next::AfterPause
                }
            };
            match next {
                Next::Again => {}
                Next::AfterPause => tokio::time::sleep(RETRY_PAUSE).await,
                Next::Leave => break 0.0,
                Next::Park => break DOUBT_PAUSE_SECONDS,
                Next::Over => return,
            }
            if shutdown.is_triggered() {
                break 0.0;
            }
        };
        let released = async {
            let mut conn = dispatcher.store.acquire().await?;
            store::renew_lease(&mut conn, drive.id, drive.driver, pause_seconds).await
        };
        if let Err(error) = released.await {
            warn!(error = &error as &dyn std::error::Error, "cannot release a lease; it runs out by itself");
        }
    }
    .instrument(span)
    .await;
    drop(slot);
    // The next in line on the same target may begin.
    dispatcher.nudge.ring();
}

async fn step(dispatcher: &Dispatcher, drive: &mut Drive) -> Result<Next, Error> {
    let id = drive.id;
    let mut conn = dispatcher.store.acquire().await?;
    if !drive.hold(&mut conn).await? {
        return Ok(Next::Leave);
    }
    if let Some(cluster) = drive.queued_in.take() {
        let link = dispatcher.client.link(&mut conn, &cluster).await?;
        drop(conn);
        return step_queued(dispatcher, drive, &link).await;
    }
    let Some(action) = store::find(&mut conn, id).await? else { return Ok(Next::Leave) };
    if action.state.is_final() {
        return Ok(Next::Over);
    }
    if action.state == ActionState::AwaitingApproval {
        drop(conn);
        return step_approved(dispatcher, &action).await;
    }
    let link = dispatcher.client.link(&mut conn, &action.target.cluster).await?;
    if action.state == ActionState::Queued {
        drop(conn);
        return step_queued(dispatcher, drive, &link).await;
    }
    let without_order = || Error::internal(anyhow::anyhow!("action {id} runs without an order"));
    let attempt = attempts::newest(&mut conn, id).await?.ok_or_else(without_order)?;
    let now = store::clock(&mut conn).await?;
    drop(conn);
    step_ordered(dispatcher, drive, &action, &attempt, &link, now).await
}

/// An action that enough people agreed to, or too few in time.
async fn step_approved(dispatcher: &Dispatcher, action: &OpenAction) -> Result<Next, Error> {
    let Dispatcher { store, keyring, policies, client, metrics, .. } = dispatcher;
    if expire_unapproved(store, action.id).await? {
        return Ok(Next::Over);
    }
    Ok(match redecide(store, keyring, policies, client, metrics, action.id).await? {
        Redecided::Intended => Next::Again,
        Redecided::Asked | Redecided::Over => Next::Leave,
        Redecided::FactsUnavailable => Next::AfterPause,
    })
}

async fn step_queued(dispatcher: &Dispatcher, drive: &mut Drive, link: &Link) -> Result<Next, Error> {
    let Dispatcher { store, keyring, policies, client, safeguards, metrics, order_terms, .. } = dispatcher;
    match claim(store, keyring, safeguards, link, *order_terms, drive.id).await? {
        Claim::Ordered(action, attempt) => {
            step_ordered(dispatcher, drive, &action, &attempt, link, attempt.issued_at).await
        }
        Claim::NotInLog | Claim::LogForked => Ok(Next::AfterPause),
        Claim::TargetBusy | Claim::ClockSkewed | Claim::NotQueued => Ok(Next::Leave),
        Claim::Stale => Ok(match redecide(store, keyring, policies, client, metrics, drive.id).await? {
            Redecided::Intended => Next::Again,
            Redecided::Asked | Redecided::Over => Next::Leave,
            Redecided::FactsUnavailable => Next::AfterPause,
        }),
    }
}

/// The stored bytes until `notAfter`, then questions: the first one closes what never began.
async fn step_ordered(
    dispatcher: &Dispatcher,
    drive: &mut Drive,
    action: &OpenAction,
    attempt: &Attempt,
    link: &Link,
    now: Timestamp,
) -> Result<Next, Error> {
    let in_time = now < attempt.not_after;
    let answer = if in_time {
        send(dispatcher, action, attempt, link, drive.steps, now).await
    } else {
        if action.state == ActionState::Running && !attempt.accepted {
            mark_unknown(&dispatcher.store, action.id, "the order's time is over and no receipt came")
                .await?;
        }
        resolve(dispatcher, action, attempt, link, drive.steps).await
    };
    if let Ok(Answer { receipt: Receipt { stage: Stage::Running { steps }, .. }, .. }) = &answer {
        drive.steps = steps.len();
    }
    match answer {
        Ok(answer) => Ok(match record_answer(&dispatcher.store, action.id, &answer).await? {
            Recorded::AtWork => Next::Again,
            Recorded::Requeued => Next::Again,
            Recorded::Over => Next::Over,
            Recorded::InDoubt => Next::Park,
        }),
        Err(DeliveryError::Internal(error)) => Err(*error),
        Err(error) => {
            warn!(error = &error as &dyn std::error::Error, inTime = in_time, "no receipt");
            if action.state == ActionState::Running && now > ended_by(action, attempt) {
                let message = "the executor took the order and has not said how it ended";
                mark_unknown(&dispatcher.store, action.id, message).await?;
            }
            if let DeliveryError::Refused { status, code } = &error
                && drive.not_accepted.insert((attempt.number, code.clone()))
            {
                record_not_accepted(&dispatcher.store, action, attempt.number, *status, code).await?;
            }
            Ok(Next::AfterPause)
        }
    }
}

/// When the executor of an accepted attempt must have come to an end: it writes in the order's time
/// and then watches for the span of the deadline.
fn ended_by(action: &OpenAction, attempt: &Attempt) -> Timestamp {
    attempt.not_after + SignedDuration::from_secs(action.deadline_seconds.into())
}

async fn send(
    dispatcher: &Dispatcher,
    action: &OpenAction,
    attempt: &Attempt,
    link: &Link,
    steps: usize,
    now: Timestamp,
) -> Result<Answer, DeliveryError> {
    let left = attempt.not_after.duration_since(now).unsigned_abs();
    let order = SignedOrder { digest: attempt.order_digest, envelope: attempt.envelope.clone() };
    let name = AttemptName { action_id: action.id, attempt: attempt.number };
    let trace = TraceContext::from_text(&action.traceparent);
    // Whole seconds, at least one: less would turn waiting into asking without pause.
    let wait = Wait { time: left.clamp(Duration::from_secs(1), WAIT), steps: Some(steps) };
    let Dispatcher { store, client, .. } = dispatcher;
    for _ in 0..RACES_MAX {
        let held = client.held(&action.target.cluster);
        let evidence = within(ANSWER_WITHIN, async {
            log::evidence(&mut *store.acquire().await?, attempt.intent_entry_id, held).await
        });
        match client.send(link, name, &order, evidence.await?, wait, trace).await {
            // Another order has shown it a newer head meanwhile.
            Err(DeliveryError::HeadUnknown { .. }) => {}
            answer => return answer,
        }
    }
    Err(DeliveryError::Refused { status: 409, code: "head-unknown".to_owned() })
}

async fn resolve(
    dispatcher: &Dispatcher,
    action: &OpenAction,
    attempt: &Attempt,
    link: &Link,
    steps: usize,
) -> Result<Answer, DeliveryError> {
    let name = AttemptName { action_id: action.id, attempt: attempt.number };
    let trace = TraceContext::from_text(&action.traceparent);
    let wait = Wait { time: WAIT, steps: Some(steps) };
    dispatcher.client.resolve(link, name, attempt.order_digest, wait, trace).await
}
