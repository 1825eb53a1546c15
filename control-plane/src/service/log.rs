//! The audit log as a tree: giving entries their places in it, and whether an intent has its own.
//!
//! Two replicas never add to it at once: the turn is a lock of one session, and each turn has a number that the
//! database compares in the transaction of every batch. So a replica that lost its turn unnoticed adds nothing.

mod detaching;
mod renewal;
mod signers;

use std::collections::BTreeMap;
use std::time::Duration;

use aegis_contract::ids::{ActionId, EntryId};
use aegis_evidence::{Consistency, Evidence, Hash, Head, Plan, RightEdge, Tile};
use jiff::{SignedDuration, Timestamp};
use sqlx::PgConnection;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::error::Error;
use crate::seal::{Keyring, Purpose};
use crate::store::intents::{self, Newest};
use crate::store::log::{self, Batch};
use crate::store::{ANSWER_WITHIN, Store, entries, within};

pub use detaching::{Detached, begins_at, detach};
pub use renewal::renew;
pub use signers::{LogSigners, add_key, retire_key};

/// Most entries of a batch: stored well within the time of one statement.
const BATCH_MAX: u16 = 1024;
/// How long an intent may take into the log. One that took longer is never ordered: whoever asked was told
/// nothing for so long, and may have asked elsewhere.
const IN_LOG_WITHIN: SignedDuration = SignedDuration::from_secs(2);
/// First pause between two looks at an intent, which grows by half each time; usually it is there after a few.
const LOOK_AGAIN: Duration = Duration::from_millis(2);
/// Longest pause.
const LOOK_AGAIN_MAX: Duration = Duration::from_millis(64);

/// How often all that waits is looked at. In between, only what is newer than anything that was there a
/// while ago: Postgres cannot throw away what was moved while a backup may still read it, and would come past
/// it in each look.
const LOOK_AT_ALL_EVERY: Duration = Duration::from_secs(10);

/// The log as its sequencer knows it. What it knows is stored, or nothing was.
#[derive(Debug)]
pub struct Log {
    signers: LogSigners,
    epoch: i64,
    edge: RightEdge,
    horizon: Horizon,
}

/// From where on to look for what waits.
#[derive(Debug)]
struct Horizon {
    /// When all was looked at last; never yet.
    all_looked_at: Option<Instant>,
    /// Whether the last look at all did not come to the end of what waits.
    is_behind: bool,
    /// The newest entry that has been moved.
    newest: Uuid,
    /// The newest when all was looked at last, and the time before.
    marks: [Uuid; 2],
}

impl Horizon {
    const NOTHING_SEEN: Self =
        Self { all_looked_at: None, is_behind: false, newest: Uuid::nil(), marks: [Uuid::nil(); 2] };

    /// What the next look may leave out.
    fn after(&mut self) -> Uuid {
        if self.is_behind {
            return Uuid::nil();
        }
        if self.all_looked_at.is_some_and(|at| at.elapsed() < LOOK_AT_ALL_EVERY) {
            return self.marks[1];
        }
        self.all_looked_at = Some(Instant::now());
        self.marks = [self.newest, self.marks[0]];
        Uuid::nil()
    }
}

/// What one batch did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Integrated {
    /// Entries of the log now.
    pub size: u64,
    /// Entries that it gained.
    pub added: usize,
    /// Whether more are waiting already.
    pub is_full: bool,
}

impl Log {
    /// Begins a turn, for the session that has the lock.
    ///
    /// # Errors
    /// `StateNotInLog` when the stored hashes are not those of the newest checkpoint, or that is not signed
    /// by one of `signers`: nothing may be added to such a log.
    pub async fn begin(conn: &mut PgConnection, signers: LogSigners) -> Result<Self, Error> {
        let (epoch, size) = log::begin_epoch(conn).await?;
        let edge = read_edge(conn, size).await?;
        let checkpoint = log::newest_checkpoint(conn).await?;
        let signed = match checkpoint {
            None => Some(Head::EMPTY),
            Some(checkpoint) => {
                let opened = signers.log_keys()?.open(checkpoint.note.as_bytes());
                opened
                    .inspect_err(|error| tracing::error!(%error, "the newest checkpoint is not believed"))
                    .ok()
                    .map(|opened| opened.head)
            }
        };
        if signed == Some(edge.head()) {
            return Ok(Self { signers, epoch, edge, horizon: Horizon::NOTHING_SEEN });
        }
        tracing::error!(size, "the audit log is not as its newest checkpoint has it: nothing is added to it");
        Err(Error::StateNotInLog { what: "the audit log".to_owned() })
    }

    /// Entries of the log.
    pub fn size(&self) -> u64 {
        self.edge.size()
    }

    /// Gives the oldest entries that wait their places, under a new checkpoint.
    ///
    /// # Errors
    /// When the turn is over; those of the database. Then the turn must be begun again.
    pub async fn integrate(&mut self, conn: &mut PgConnection) -> Result<Integrated, Error> {
        let after = self.horizon.after();
        let waiting = log::waiting(conn, after, BATCH_MAX.into()).await?;
        let is_full = waiting.len() == usize::from(BATCH_MAX);
        let first = self.edge.size();
        if !waiting.is_empty() {
            let leaves: Vec<Hash> = waiting.iter().map(|entry| entry.leaf).collect();
            let mut edge = self.edge.clone();
            let growth = edge.append_batch(&leaves);
            let checkpoint = self.signers.sign(&edge.head())?;
            let batch = Batch {
                epoch: self.epoch,
                first,
                entries: &waiting,
                growth: &growth,
                checkpoint: &checkpoint,
            };
            log::integrate(conn, batch).await?;
            self.edge = edge;
            let ids = waiting.iter().map(|entry| entry.id);
            self.horizon.newest = ids.fold(self.horizon.newest, Ord::max);
        }
        self.horizon.is_behind = is_full && after.is_nil();
        Ok(Integrated { size: self.edge.size(), added: waiting.len(), is_full })
    }
}

/// The right edge of the stored tree.
async fn read_edge(conn: &mut PgConnection, size: u64) -> Result<RightEdge, Error> {
    let hashes = carry_out(conn, &Plan::edge(size)).await?;
    RightEdge::new(size, hashes).map_err(Error::internal)
}

/// The hashes of a proof, made from the stored tiles.
async fn carry_out(conn: &mut PgConnection, plan: &Plan) -> Result<Vec<Hash>, Error> {
    let tiles = log::tiles(conn, plan.tiles()).await?;
    hashes_from(plan, &tiles)
}

/// The same from tiles that were read already.
pub(super) fn hashes_from(plan: &Plan, tiles: &BTreeMap<Tile, Vec<u8>>) -> Result<Vec<Hash>, Error> {
    plan.hashes(|tile| tiles.get(&tile).map(Vec::as_slice)).map_err(|error| {
        tracing::error!(%error, "the audit log's hashes are incomplete");
        Error::StateNotInLog { what: "the audit log".to_owned() }
    })
}

/// A checkpoint, and the proof that the log has grown to it.
#[derive(Clone, Debug)]
pub struct Growth {
    /// Entries of the log.
    pub size: u64,
    /// The signed note.
    pub checkpoint: String,
    /// The proof, unless none was asked for or needed.
    pub consistency: Vec<Consistency>,
}

/// The newest checkpoint, with the proof that the log has grown to it from one of `from` entries; none while the
/// log is empty.
///
/// # Errors
/// `LogForked` when the log is shorter than that.
pub async fn growth(conn: &mut PgConnection, from: Option<u64>) -> Result<Option<Growth>, Error> {
    let Some(newest) = log::newest_checkpoint(conn).await? else {
        return if from.unwrap_or_default() == 0 { Ok(None) } else { Err(Error::LogForked) };
    };
    let size = newest.size;
    let consistency = match from {
        Some(from) if from > size => return Err(Error::LogForked),
        Some(from) if (1..size).contains(&from) => vec![prove_growth(conn, from, size).await?],
        _ => Vec::new(),
    };
    Ok(Some(Growth { size, checkpoint: newest.note, consistency }))
}

/// The proof that the log of `to` entries has grown from the one of `from`.
pub(super) async fn prove_growth(conn: &mut PgConnection, from: u64, to: u64) -> Result<Consistency, Error> {
    let plan = Plan::consistency(from, to).map_err(Error::internal)?;
    Ok(Consistency { from, to, hashes: carry_out(conn, &plan).await? })
}

/// Shows that an entry is in the log, for whoever holds its head of `held` entries.
///
/// # Errors
/// `LogForked` when the log is shorter than that.
pub async fn evidence(conn: &mut PgConnection, id: EntryId, held: Option<u64>) -> Result<Evidence, Error> {
    let without_place = || Error::StateNotInLog { what: "the intent".to_owned() };
    let index = entries::place(conn, id).await?.flatten().ok_or_else(without_place)?;
    let Growth { size, checkpoint, consistency } = growth(conn, held).await?.ok_or_else(without_place)?;
    Ok(Evidence { index, inclusion: prove_entry(conn, index, size).await?, checkpoint, consistency })
}

/// The proof that the entry at `index` is in the log of `size` entries.
pub(super) async fn prove_entry(conn: &mut PgConnection, index: u64, size: u64) -> Result<Vec<Hash>, Error> {
    carry_out(conn, &Plan::inclusion(index, size).map_err(Error::internal)?).await
}

/// The head that the log had at `size` entries; none when it is shorter.
pub async fn head_at(conn: &mut PgConnection, size: u64) -> Result<Option<Head>, Error> {
    let newest = log::newest_checkpoint(conn).await?.map_or(0, |newest| newest.size);
    if size > newest { Ok(None) } else { Ok(Some(read_edge(conn, size).await?.head())) }
}

/// How an intent stands to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Under a checkpoint, in time, and as it was written.
    InLog,
    /// Not there yet.
    Pending,
    /// Not in time.
    Late,
}

/// Waits until the newest intent of an action is in the log, but not longer than it may take.
///
/// # Errors
/// Those of the database.
pub async fn await_intent(store: &Store, id: ActionId) -> Result<(), Error> {
    let until = Instant::now() + IN_LOG_WITHIN.unsigned_abs();
    let mut pause = LOOK_AGAIN;
    while Instant::now() < until {
        let pending = async { intents::is_newest_pending(&mut *store.acquire().await?, id).await };
        if !within(ANSWER_WITHIN, pending).await? {
            break;
        }
        sleep(pause).await;
        pause = (pause * 3 / 2).min(LOOK_AGAIN_MAX);
    }
    Ok(())
}

/// How the newest intent of an action stands to the log; `now` is the database's time.
///
/// # Errors
/// `StateNotInLog` when the entry, or the leaf in its place, is not what was sealed when it was written.
pub async fn standing(
    conn: &mut PgConnection,
    keyring: &Keyring,
    newest: &Newest,
    now: Timestamp,
) -> Result<Standing, Error> {
    let until = newest.written_at + IN_LOG_WITHIN;
    let covered_at = match newest.index {
        None => None,
        Some(index) => log::covered_at(conn, index).await?.map(|at| (index, at)),
    };
    match covered_at {
        Some((index, at)) if at <= until => {
            require_leaf(conn, keyring, newest, index).await?;
            Ok(Standing::InLog)
        }
        None if now <= until => Ok(Standing::Pending),
        _ => Ok(Standing::Late),
    }
}

async fn require_leaf(
    conn: &mut PgConnection,
    keyring: &Keyring,
    newest: &Newest,
    index: u64,
) -> Result<(), Error> {
    let leaf = Hash::leaf(&newest.entry);
    let written = match &newest.intent.sealed_leaf {
        Some(sealed) => keyring.open(Purpose::IntentLeaf, sealed).ok(),
        None => None,
    };
    let is_written = written.is_some_and(|written| written.as_slice() == leaf.as_bytes());
    if is_written && stored_leaf(conn, index).await? == Some(leaf) {
        return Ok(());
    }
    tracing::error!(index, isWritten = is_written, "an intent is not in the audit log as it was written");
    Err(Error::StateNotInLog { what: "the intent".to_owned() })
}

/// The leaf at `index` as the tiles have it.
async fn stored_leaf(conn: &mut PgConnection, index: u64) -> Result<Option<Hash>, Error> {
    let width = u64::from(aegis_evidence::TILE_WIDTH);
    let Some(tile) = Tile::in_tree(0, index / width, index + 1) else { return Ok(None) };
    let tiles = log::tiles(conn, [tile]).await?;
    let hashes = tiles.get(&tile).and_then(|bytes| Hash::sequence(bytes)).unwrap_or_default();
    Ok(hashes.get(usize::from(tile.width()) - 1).copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_leaves_out_only_what_was_newest_two_looks_at_all_ago() {
        let long_ago = || Instant::now().checked_sub(LOOK_AT_ALL_EVERY);
        let mut horizon = Horizon::NOTHING_SEEN;
        for (newest, left_out) in [(1, 0), (2, 0), (3, 1), (4, 2)] {
            assert_eq!(horizon.after(), Uuid::nil(), "all is looked at now and then");
            assert_eq!(horizon.after(), Uuid::from_u128(left_out));
            horizon.newest = Uuid::from_u128(newest);
            assert_eq!(
                horizon.after(),
                Uuid::from_u128(left_out),
                "what was moved just now may have older neighbours"
            );
            horizon.all_looked_at = long_ago();
        }
        horizon.is_behind = true;
        let _ = horizon.after();
        assert_eq!(horizon.after(), Uuid::nil(), "a look at all goes on to its end");
    }
}
