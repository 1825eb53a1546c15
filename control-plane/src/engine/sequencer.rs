//! Gives entries their places in the audit log. One replica does; another takes over when it is gone, or has
//! done nothing for too long.

use std::time::Duration;

use aegis_contract::ids::EntryId;
use sqlx::PgConnection;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use crate::error::Error;
use crate::metrics::ControlPlaneMetrics;
use crate::seal::Keyring;
use crate::service::log::{Log, LogSigners};
use crate::store::{ANSWER_WITHIN, Store, committed, log, within};

/// Pause between two batches, in which the next one gathers: each costs a flush of the disk and a signature.
const GATHER: Duration = Duration::from_millis(2);
/// Pause between two looks at what other processes committed, for so long after the last batch …
const LOOK_AGAIN: Duration = Duration::from_millis(5);
const BUSY_FOR: Duration = Duration::from_secs(1);
/// … and after that.
const LOOK_AGAIN_IDLE: Duration = Duration::from_millis(20);
/// How often others try to take the turn over.
const TRY_AGAIN: Duration = Duration::from_millis(100);
/// How often they look whether whoever has it does anything.
const WATCH_EVERY: Duration = Duration::from_secs(1);
/// How long an entry may wait before others end the turn. Longer than any statement of the sequencer may
/// take, so that a slow one is not cut off in the middle, again and again.
const STALLED_AFTER: Duration = Duration::from_secs(4);
/// Pause after an error.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// What the sequencer works with.
#[derive(Clone)]
pub struct Sequencer {
    /// The database.
    pub store: Store,
    /// Opens the keys that sign checkpoints.
    pub keyring: Keyring,
    /// The log's name.
    pub origin: String,
    /// What is counted.
    pub metrics: ControlPlaneMetrics,
}

/// Runs for ever. It may be cut off anywhere: a batch is stored as a whole or not at all.
pub async fn run(sequencer: Sequencer) {
    loop {
        let ended = take_part(&sequencer).await;
        sequencer.metrics.set_sequencing(false);
        if let Err(error) = ended {
            warn!(
                error = &error as &dyn std::error::Error,
                "the audit log cannot be sequenced; trying again"
            );
            sleep(RETRY_PAUSE).await;
        }
    }
}

/// Waits for the turn, and keeps it until it has to sign in to the database anew.
async fn take_part(sequencer: &Sequencer) -> Result<(), Error> {
    let Sequencer { store, keyring, origin, metrics } = sequencer;
    let began_at = Instant::now();
    let is_outdated = || store.renewed_at() > began_at;
    let mut conn = within(ANSWER_WITHIN, store.connect()).await?;
    if !await_turn(&mut conn, is_outdated).await? {
        return Ok(());
    }
    let mut log = within(ANSWER_WITHIN, async {
        let signers = LogSigners::load(&mut conn, keyring, origin).await?;
        Log::begin(&mut conn, signers).await
    })
    .await?;
    info!(size = log.size(), "this process sequences the audit log");
    metrics.set_sequencing(true);
    let mut added_at = Instant::now();
    while !is_outdated() {
        let integrated = within(ANSWER_WITHIN, log.integrate(&mut conn)).await?;
        metrics.set_log_size(integrated.size);
        if integrated.is_full {
            continue;
        }
        if integrated.added > 0 {
            added_at = Instant::now();
            sleep(GATHER).await;
            continue;
        }
        let pause = if added_at.elapsed() < BUSY_FOR { LOOK_AGAIN } else { LOOK_AGAIN_IDLE };
        // Whether it was rung or the time is over: there is a look at the database.
        let _ = timeout(pause, committed()).await;
    }
    Ok(())
}

/// Returns when the session of `conn` has the turn, or is outdated: whether it has.
async fn await_turn(conn: &mut PgConnection, is_outdated: impl Fn() -> bool) -> Result<bool, Error> {
    let mut watched_at = Instant::now();
    let mut seen: Option<(EntryId, Instant)> = None;
    while !within(ANSWER_WITHIN, log::take_turn(conn)).await? {
        if is_outdated() {
            return Ok(false);
        }
        if watched_at.elapsed() >= WATCH_EVERY {
            watched_at = Instant::now();
            seen = watch(conn, seen).await?;
        }
        sleep(TRY_AGAIN).await;
    }
    Ok(true)
}

/// Ends the turn of a sequencer that leaves the same entry waiting. Returns which one waits, and since when.
async fn watch(
    conn: &mut PgConnection,
    seen: Option<(EntryId, Instant)>,
) -> Result<Option<(EntryId, Instant)>, Error> {
    let Some(first) = within(ANSWER_WITHIN, log::first_waiting(conn)).await? else { return Ok(None) };
    let since = seen.filter(|(id, _)| *id == first).map_or_else(Instant::now, |(_, since)| since);
    if since.elapsed() >= STALLED_AFTER {
        warn!(entryId = %first, "the sequencer does nothing: ending its turn");
        within(ANSWER_WITHIN, log::end_turn(conn)).await?;
    }
    Ok(Some((first, since)))
}
