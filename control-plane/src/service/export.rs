//! Taking entries away in the order of the log, with what proves them. An export is made piece by piece under one
//! checkpoint that is chosen first; each piece is read by itself, so that neither memory nor a snapshot of the
//! database is held for as long as somebody reads.

mod lines;

use std::sync::Arc;
use std::time::Duration;

use aegis_evidence::TILE_WIDTH;
use aegis_evidence::bundle::{Content, End, FORMAT, Line, Manifest};
use futures_util::stream::{Stream, try_unfold};
use serde_json::{Map, Value, json};
use sqlx::PgConnection;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::sleep;

use super::Services;
use super::entries::Filter;
use super::filing::first_lost;
use super::log::{LogSigners, begins_at};
use super::proofs::{asked_growth, newest};
use crate::audit::facets::Field;
use crate::audit::{self, Kind, Record};
use crate::error::Error;
use crate::permission::Permission;
use crate::principal::Caller;
use crate::store::entries::{self, Filed};
use crate::store::{ANSWER_WITHIN, commit, log, within};

/// Bytes of entries after which a piece ends: an entry may hold a whole policy, and a tile 256 of them.
const PIECE_BYTES_MAX: i64 = 4 << 20;
/// Places that one statement looks at for entries that fit a filter: read in milliseconds, fit or not.
const WINDOW: u64 = 4096;
/// How often the database is asked for one piece before the export breaks off, and the pause in between: an export of
/// hours outlives a restart of the database.
const TRIES_MAX: u32 = 15;
const PAUSE: Duration = Duration::from_secs(2);
/// Pieces read at a time: each takes a connection, and requests need most of them.
const READERS_MAX: usize = 2;

/// In which form entries leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// An evidence bundle, as `docs/evidence.md` describes it.
    Bundle,
    /// The entries, one a line.
    Jsonl,
    /// A table of what all entries have, with a line of titles.
    Csv,
}

impl Form {
    /// The name used in queries and entries.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bundle => "bundle",
            Self::Jsonl => "jsonl",
            Self::Csv => "csv",
        }
    }
}

/// What somebody wants to take away.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// In which form.
    pub form: Form,
    /// Only entries that fit.
    pub filter: Filter,
    /// Only entries from this place on.
    pub first: Option<u64>,
    /// Only entries before this place.
    pub end: Option<u64>,
    /// Entries of the log under the checkpoint that is used; the newest one if absent.
    pub checkpoint: Option<u64>,
    /// Entries of the log under a checkpoint that the reader remembers and wants related to this one.
    pub remembered: Option<u64>,
}

/// An export under way.
#[derive(Debug)]
pub struct Export {
    wanted: Wanted,
    manifest: Manifest,
    /// Entries of the log under the checkpoint.
    size: u64,
    /// The place that is looked at next, and the one behind the last.
    next: u64,
    end: u64,
    /// Entries that have left.
    written: u64,
    misfiled: Option<u64>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Head,
    Entries,
    End,
}

/// Begins an export. That it was begun is an entry, committed before anything leaves.
///
/// # Errors
/// `Forbidden`; `NotFound` when there is no such checkpoint; `Parameter` when the range is not within the log.
pub async fn begin(services: &Services, caller: &Caller, wanted: Wanted) -> Result<Export, Error> {
    caller.require(Permission::ReadAudit)?;
    let (tx, export) = within(ANSWER_WITHIN, async {
        let mut tx = services.store.begin().await?;
        let signers = LogSigners::load(&mut tx, &services.keyring, &services.log_origin).await?;
        let export = Export::new(&mut tx, &signers, wanted).await?;
        let filter = export.wanted.filter.to_json(&services.keyring);
        let record = Record {
            kind: Kind::AuditExported,
            principal: &caller.name,
            action_id: None,
            request_id: Some(&caller.request_id),
            data: export.description(&filter),
        };
        audit::append(&mut tx, record).await?;
        Ok((tx, export))
    })
    .await?;
    commit(tx, None).await?;
    Ok(export)
}

/// The pieces of an export, each made when the one before has been taken. Ends with an error where it breaks off;
/// a bundle then lacks its end.
pub fn pieces(
    services: Arc<Services>,
    export: Export,
) -> impl Stream<Item = Result<Vec<u8>, Error>> + Send + 'static {
    try_unfold((services, export), |(services, mut export)| async move {
        loop {
            match insist(&services, &mut export).await {
                Ok(Some(piece)) if piece.is_empty() => {}
                Ok(Some(piece)) => return Ok(Some((piece, (services, export)))),
                Ok(None) => return Ok(None),
                Err(error) => {
                    let place = export.next;
                    tracing::warn!(error = &error as &dyn std::error::Error, place, "an export broke off");
                    return Err(error);
                }
            }
        }
    })
}

/// The next piece, also from a database that is away for a while.
async fn insist(services: &Services, export: &mut Export) -> Result<Option<Vec<u8>>, Error> {
    for _ in 1..TRIES_MAX {
        match piece(services, export).await {
            Err(Error::AuditUnavailable(_)) if !services.shutdown.is_triggered() => {
                tracing::warn!(place = export.next, "an export waits for the database");
                sleep(PAUSE).await;
            }
            result => return result,
        }
    }
    piece(services, export).await
}

async fn piece(services: &Services, export: &mut Export) -> Result<Option<Vec<u8>>, Error> {
    if services.shutdown.is_triggered() {
        return Err(Error::AuditUnavailable(None));
    }
    let _turn = services.exports.turn().await?;
    within(ANSWER_WITHIN, async {
        let mut conn = services.store.acquire().await?;
        export.piece(&mut conn).await
    })
    .await
}

/// Lets few pieces be read at a time, in the order in which they are asked for.
#[derive(Debug)]
pub struct Turns(Semaphore);

impl Default for Turns {
    fn default() -> Self {
        Self(Semaphore::new(READERS_MAX))
    }
}

impl Turns {
    async fn turn(&self) -> Result<SemaphorePermit<'_>, Error> {
        self.0.acquire().await.map_err(Error::internal)
    }
}

impl Export {
    /// Chooses the checkpoint, and reads what the manifest says.
    ///
    /// # Errors
    /// Those of [`begin`].
    pub async fn new(conn: &mut PgConnection, signers: &LogSigners, wanted: Wanted) -> Result<Self, Error> {
        let (size, checkpoint) = match wanted.checkpoint {
            None => {
                let newest = newest(conn).await?;
                (newest.size, newest.note)
            }
            Some(size) => {
                let note = log::checkpoint(conn, size).await?;
                (size, note.ok_or(Error::NotFound { what: "checkpoint" })?)
            }
        };
        let begin = begins_at(conn).await?;
        let (first, end) = (wanted.first.unwrap_or(begin), wanted.end.unwrap_or(size));
        require_range(begin, first, end, size)?;
        let mut manifest = Manifest {
            format: FORMAT.to_owned(),
            checkpoint,
            keys: signers.verifiers().iter().map(ToString::to_string).collect(),
            endorsements: signers.endorsements().to_vec(),
            checkpoints: Vec::new(),
            consistency: Vec::new(),
            content: content(&wanted, first, end),
        };
        if let Some(remembered) = wanted.remembered {
            relate(conn, &mut manifest, remembered, size).await?;
        }
        Ok(Self { wanted, manifest, size, next: first, end, written: 0, misfiled: None, stage: Stage::Head })
    }

    /// Entries of the log under the checkpoint that is used.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What the log says of it.
    fn description(&self, filter: &Map<String, Value>) -> Value {
        json!({
            "form": self.wanted.form.as_str(),
            "filter": filter,
            "first": self.next,
            "end": self.end,
            "checkpoint": self.size,
        })
    }

    /// The next piece: whole lines, or nothing where nothing fitted. None after the last one.
    ///
    /// # Errors
    /// `StateNotInLog` when hashes are missing that prove it; those of the database.
    pub async fn piece(&mut self, conn: &mut PgConnection) -> Result<Option<Vec<u8>>, Error> {
        match self.stage {
            Stage::Head => {
                self.stage = Stage::Entries;
                Ok(Some(self.head()))
            }
            Stage::Entries if self.next < self.end => self.entries(conn).await.map(Some),
            Stage::Entries => {
                self.stage = Stage::End;
                Ok(Some(self.tail()))
            }
            Stage::End => Ok(None),
        }
    }

    fn head(&self) -> Vec<u8> {
        match self.wanted.form {
            Form::Bundle => Line::Manifest(self.manifest.clone()).to_bytes(),
            Form::Jsonl => Vec::new(),
            Form::Csv => lines::CSV_TITLES.to_vec(),
        }
    }

    fn tail(&self) -> Vec<u8> {
        match self.wanted.form {
            Form::Bundle => Line::End(End { entries: self.written, misfiled: self.misfiled }).to_bytes(),
            Form::Jsonl | Form::Csv => Vec::new(),
        }
    }

    async fn entries(&mut self, conn: &mut PgConnection) -> Result<Vec<u8>, Error> {
        let window_end = self.window_end();
        let filter = self.wanted.filter.to_stored();
        let (mut found, next) = entries::page(conn, &filter, self.next, window_end, PIECE_BYTES_MAX).await?;
        let misfiled = self.find_misfiled(conn, &found).await?;
        found.retain(|filed| self.wanted.filter.fits(&filed.body));
        let piece = match (self.wanted.form, &self.manifest.content) {
            (Form::Jsonl, _) => lines::plain(&found),
            (Form::Csv, _) => lines::table(&found)?,
            (Form::Bundle, Content::Range { .. }) => lines::blocks(conn, &found, self.size).await?,
            (Form::Bundle, Content::Selection { .. }) => lines::singles(conn, &found, self.size).await?,
        };
        // Nothing is noted before all is read: a piece that failed is read again.
        self.next = next;
        self.note_misfiled(misfiled);
        self.written += u64::try_from(found.len()).map_err(Error::internal)?;
        Ok(piece)
    }

    /// A tile where all entries are wanted. What belongs to one action is found by an index, wherever it stands.
    fn window_end(&self) -> u64 {
        let width = u64::from(TILE_WIDTH);
        let end = match &self.manifest.content {
            Content::Range { .. } => (self.next / width + 1) * width,
            Content::Selection { .. } if self.wanted.filter.value(Field::ActionId).is_some() => self.end,
            Content::Selection { .. } => self.next.saturating_add(WINDOW),
        };
        end.min(self.end)
    }

    /// The first entry that a search would not find under what its bytes say, unless one was found before.
    async fn find_misfiled(&self, conn: &mut PgConnection, found: &[Filed]) -> Result<Option<u64>, Error> {
        if self.misfiled.is_some() {
            return Ok(None);
        }
        let by_columns =
            found.iter().find(|filed| !lines::is_filed_as_it_says(filed)).map(|filed| filed.index);
        let by_postings = first_lost(conn, found).await?;
        Ok(by_columns.into_iter().chain(by_postings).min())
    }

    fn note_misfiled(&mut self, misfiled: Option<u64>) {
        if let Some(index) = misfiled {
            tracing::error!(index, "an entry is filed under something else than it says");
            self.misfiled = Some(index);
        }
    }
}

fn content(wanted: &Wanted, first: u64, end: u64) -> Content {
    if wanted.filter.is_empty() {
        return Content::Range { first, end };
    }
    let mut filter = wanted.filter.description();
    filter.extend(
        [("first", wanted.first), ("end", wanted.end)]
            .into_iter()
            .filter_map(|(name, place)| Some((name.to_owned(), Value::from(place?.to_string())))),
    );
    let text = |value: Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    Content::Selection { filter: filter.into_iter().map(|(name, value)| (name, text(value))).collect() }
}

fn require_range(begin: u64, first: u64, end: u64, size: u64) -> Result<(), Error> {
    let refuse = |name, message| Err(Error::Parameter { name, message });
    if first < begin {
        return refuse(
            "first",
            format!(
                "entries before {begin} were detached; find them in the bundles that `log.entries-detached` names"
            ),
        );
    }
    if end > size {
        return refuse("end", format!("the log under this checkpoint has {size} entries"));
    }
    if first > end {
        return refuse("first", format!("must not be more than the end, {end}"));
    }
    Ok(())
}

/// Adds what relates the checkpoint to one that is remembered, as far as the log reaches. Where it does not reach,
/// whoever verifies finds that nothing does.
async fn relate(
    conn: &mut PgConnection,
    manifest: &mut Manifest,
    remembered: u64,
    size: u64,
) -> Result<(), Error> {
    let (from, to) = (remembered.min(size), remembered.max(size));
    if from == 0 || from == to || to > newest(conn).await?.size {
        return Ok(());
    }
    manifest.consistency.push(asked_growth(conn, from, to).await?);
    manifest.checkpoints.extend(log::checkpoint(conn, remembered).await?);
    Ok(())
}
