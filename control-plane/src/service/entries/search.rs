//! Finding entries. Where the log is filed, postings say which entries to look at; its newest end is read. What an
//! entry says is always judged by its bytes: what is filed wrongly can hide an entry, but never show a wrong one.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use sqlx::PgConnection;
use tokio::time::Instant;
use uuid::Uuid;

use super::{Counts, Filter, Order, Page, Start, Wanted, needle};
use crate::audit::facets::{Facets, Field};
use crate::error::Error;
use crate::service::filing::{BLOCK, Places};
use crate::store::entries::{self, Sieve, StoredEntry};
use crate::store::{filing, log};

/// How long to look for a page. What was found until then is answered, with where to go on.
const LOOK_WITHIN: Duration = Duration::from_secs(1);
/// Entries that counts are over, and their bytes: read in some ten milliseconds.
const COUNTED_MAX: usize = 2_000;
const COUNTED_BYTES_MAX: usize = 8 << 20;
/// Values that are named of each field.
const VALUES_MAX: usize = 20;
/// Entries that one statement reads: at first, and at most.
const READ_MIN: u64 = 256;
const READ_MAX: u64 = 2_048;
/// Entries that are named, and that one statement reads.
const NAMED_READ_MAX: usize = 1_024;
/// Blocks whose postings one statement reads: at first, and at most.
const BLOCKS_MIN: u64 = 16;
const BLOCKS_MAX: u64 = 2_048;
/// Entries without a place that one statement reads.
const UNPLACED_READ: i64 = 1_024;

/// An entry that fits, with what it says where that was looked at.
struct Found {
    entry: StoredEntry,
    facets: Option<Facets>,
}

/// One search.
pub(super) struct Search<'f> {
    filter: &'f Filter,
    wanted: Wanted,
    terms: Vec<i64>,
    sieve: Sieve,
    until: Instant,
    found: Vec<Found>,
    bytes: usize,
}

/// Places of the log, from the first to before the second.
type Range = (u64, u64);

impl<'f> Search<'f> {
    pub(super) fn new(filter: &'f Filter, wanted: Wanted) -> Self {
        let lowered = filter.text.as_ref().map(|text| text.lowered.iter().copied().map(char::from).collect());
        let sieve = Sieve {
            from: filter.from,
            to: filter.to,
            needles: filter.values.values().map(|value| needle(value)).collect(),
            lowered,
        };
        let terms = filter.values.iter().map(|(field, value)| field.term(value)).collect();
        let until = Instant::now() + LOOK_WITHIN;
        Self { filter, wanted, terms, sieve, until, found: Vec::new(), bytes: 0 }
    }

    pub(super) async fn run(mut self, conn: &mut PgConnection) -> Result<Page, Error> {
        // An entry may get its place between two statements: first those without one, so that none is missed.
        let unplaced = self.unplaced(conn).await?;
        let (first, end) = self.range(conn).await?;
        let size = log::newest_checkpoint(conn).await?.map_or(0, |newest| newest.size);
        let range = (first, end.min(size));
        let stopped = match self.wanted.order {
            Order::Newest => {
                self.add(unplaced);
                self.look(conn, range).await?
            }
            Order::Oldest => {
                let stopped = self.look(conn, range).await?;
                if stopped.is_none() {
                    self.add(unplaced);
                }
                stopped
            }
        };
        let mut seen = HashSet::new();
        self.found.retain(|found| seen.insert(found.entry.id));
        Ok(self.page(stopped))
    }

    /// The places to look at.
    async fn range(&self, conn: &mut PgConnection) -> Result<Range, Error> {
        let at = |place: u64| match self.wanted.order {
            Order::Newest => (0, place),
            Order::Oldest => (place, u64::MAX),
        };
        let Some(start) = self.wanted.start else { return Ok((0, u64::MAX)) };
        let id = match start {
            Start::At(place) => return Ok(at(place)),
            Start::Behind(id) => id,
        };
        let Some(place) = entries::place(conn, id).await? else {
            let message = "must be the nextCursor of the page before".to_owned();
            return Err(Error::Parameter { name: "cursor", message });
        };
        Ok(match (place, self.wanted.order) {
            (Some(index), Order::Newest) => at(index),
            (Some(index), Order::Oldest) => at(index + 1),
            // Everything that has a place comes after it, or comes before it.
            (None, Order::Newest) => (0, u64::MAX),
            (None, Order::Oldest) => (u64::MAX, u64::MAX),
        })
    }

    /// Those without a place that fit, in the order that is wanted.
    async fn unplaced(&self, conn: &mut PgConnection) -> Result<Vec<Found>, Error> {
        let is_newest = self.wanted.order == Order::Newest;
        let behind = match self.wanted.start {
            Some(Start::At(_)) if is_newest => return Ok(Vec::new()),
            Some(Start::Behind(id)) => Some(id),
            _ => None,
        };
        let mut found = Vec::new();
        let mut after = behind.filter(|_| !is_newest).map_or(Uuid::nil(), |id| id.0);
        loop {
            let read = entries::unplaced(conn, &self.sieve, after, UNPLACED_READ).await?;
            let is_last = i64::try_from(read.len()).is_ok_and(|count| count < UNPLACED_READ);
            after = read.last().map_or(after, |last| last.id.0);
            let wanted = read.into_iter().filter(|entry| !is_newest || behind.is_none_or(|id| entry.id < id));
            found.extend(wanted.filter_map(|entry| self.fit(entry)));
            if is_last || (!is_newest && found.len() >= self.enough()) {
                break;
            }
            if is_newest {
                found.drain(..found.len().saturating_sub(self.enough()));
            }
        }
        if is_newest {
            found.reverse();
        }
        Ok(found)
    }

    /// Looks at the places of a range until there is enough, or the time is over; then says where to go on.
    async fn look(&mut self, conn: &mut PgConnection, (first, end): Range) -> Result<Option<u64>, Error> {
        let filed_end = u64::from(filing::count(conn).await?) * BLOCK;
        let bounds = match (self.filter.from, self.filter.to) {
            (None, None) => Some((0, filed_end)),
            (from, to) => filing::between(conn, from, to)
                .await?
                .map(|(first, last)| (u64::from(first) * BLOCK, (u64::from(last) + 1) * BLOCK)),
        };
        let (low, high) = bounds.unwrap_or((0, 0));
        let filed = (first.max(low), end.min(high).min(filed_end));
        let rest = (first.max(filed_end), end);
        match self.wanted.order {
            Order::Newest => {
                let stopped = self.read(conn, rest).await?;
                if stopped.is_some() { Ok(stopped) } else { self.look_at_filed(conn, filed).await }
            }
            Order::Oldest => {
                let stopped = self.look_at_filed(conn, filed).await?;
                if stopped.is_some() { Ok(stopped) } else { self.read(conn, rest).await }
            }
        }
    }

    async fn look_at_filed(&mut self, conn: &mut PgConnection, range: Range) -> Result<Option<u64>, Error> {
        if self.terms.is_empty() { self.read(conn, range).await } else { self.pick(conn, range).await }
    }

    /// Reads every entry of a range.
    async fn read(&mut self, conn: &mut PgConnection, mut range: Range) -> Result<Option<u64>, Error> {
        let mut width = READ_MIN.min(self.wanted.limit as u64 + 1).max(64);
        while range.0 < range.1 {
            if let Some(stop) = self.stop(range) {
                return Ok(Some(stop));
            }
            let (first, end) = self.cut(&mut range, width);
            let read = entries::window(conn, &self.sieve, first, end).await?;
            self.add_placed(read);
            width = (width * 4).min(READ_MAX);
        }
        Ok(None)
    }

    /// Reads those entries of a range that are filed under all terms.
    async fn pick(&mut self, conn: &mut PgConnection, mut range: Range) -> Result<Option<u64>, Error> {
        let mut blocks = BLOCKS_MIN;
        while range.0 < range.1 {
            if let Some(stop) = self.stop(range) {
                return Ok(Some(stop));
            }
            // Whole blocks, but at the ends of the range.
            let within_block = match self.wanted.order {
                Order::Newest => (range.1 - 1) % BLOCK + 1,
                Order::Oldest => BLOCK - range.0 % BLOCK,
            };
            let part = self.cut(&mut range, within_block + (blocks - 1) * BLOCK);
            let named = self.named(conn, part).await?;
            if let Some(stop) = self.read_named(conn, &named).await? {
                return Ok(Some(stop));
            }
            blocks = (blocks * 4).min(BLOCKS_MAX);
        }
        Ok(None)
    }

    /// The blocks with places that all terms name in a part of the log, in the order that is wanted.
    async fn named(&self, conn: &mut PgConnection, (first, end): Range) -> Result<Vec<(u64, Places)>, Error> {
        let block = |place: u64| u32::try_from(place / BLOCK).map_err(Error::internal);
        let postings = filing::postings(conn, &self.terms, block(first)?, block(end - 1)? + 1).await?;
        let mut blocks: BTreeMap<u32, (usize, Places)> = BTreeMap::new();
        for posting in postings {
            let places = Places::from_bytes(&posting.places);
            blocks
                .entry(posting.block)
                .and_modify(|(terms, all)| {
                    *terms += 1;
                    all.retain(&places);
                })
                .or_insert((1, places));
        }
        let with_all = blocks.into_iter().filter(|(_, (terms, _))| *terms == self.terms.len());
        let mut named: Vec<_> =
            with_all.map(|(block, (_, places))| (u64::from(block) * BLOCK, places)).collect();
        if self.wanted.order == Order::Newest {
            named.reverse();
        }
        for (start, places) in &mut named {
            if *start < first || *start + BLOCK > end {
                let mut within = Places::NONE;
                (first.max(*start)..end.min(*start + BLOCK))
                    .filter_map(|place| u16::try_from(place - *start).ok())
                    .for_each(|place| within.add(place));
                places.retain(&within);
            }
        }
        Ok(named)
    }

    async fn read_named(
        &mut self,
        conn: &mut PgConnection,
        named: &[(u64, Places)],
    ) -> Result<Option<u64>, Error> {
        let is_newest = self.wanted.order == Order::Newest;
        let mut places = named.iter().flat_map(|(start, places)| {
            let in_order: Box<dyn Iterator<Item = u64> + Send> =
                if is_newest { Box::new(places.iter().rev()) } else { Box::new(places.iter()) };
            in_order.map(move |place| start + place)
        });
        let mut width = self.enough().min(NAMED_READ_MAX);
        loop {
            let part: Vec<u64> = places.by_ref().take(width).collect();
            let Some(next) = part.first() else { return Ok(None) };
            if let Some(stop) = self.stop(if is_newest { (0, next + 1) } else { (*next, u64::MAX) }) {
                return Ok(Some(stop));
            }
            let read = entries::at_places(conn, &self.sieve, &part).await?;
            self.add_placed(read);
            width = (width * 2).min(NAMED_READ_MAX);
        }
    }

    /// Where to go on, if this is where to stop.
    fn stop(&self, (first, end): Range) -> Option<u64> {
        let is_over = self.has_enough() || Instant::now() >= self.until;
        is_over.then_some(if self.wanted.order == Order::Newest { end } else { first })
    }

    /// Takes the next `width` places off a range.
    fn cut(&self, range: &mut Range, width: u64) -> Range {
        let (first, end) = *range;
        match self.wanted.order {
            Order::Newest => {
                range.1 = end.saturating_sub(width).max(first);
                (range.1, end)
            }
            Order::Oldest => {
                range.0 = first.saturating_add(width).min(end);
                (first, range.0)
            }
        }
    }

    /// One more than is wanted tells that there is more.
    fn enough(&self) -> usize {
        let page = self.wanted.limit + 1;
        if self.wanted.is_counted { page.max(COUNTED_MAX) } else { page }
    }

    fn has_enough(&self) -> bool {
        let count = self.found.len();
        count >= self.enough() || (count > self.wanted.limit && self.bytes >= COUNTED_BYTES_MAX)
    }

    fn add_placed(&mut self, mut read: Vec<StoredEntry>) {
        if self.wanted.order == Order::Newest {
            read.reverse();
        }
        let found: Vec<Found> = read.into_iter().filter_map(|entry| self.fit(entry)).collect();
        self.add(found);
    }

    fn add(&mut self, found: Vec<Found>) {
        self.bytes += found.iter().map(|found| found.entry.body.len()).sum::<usize>();
        self.found.extend(found);
    }

    fn fit(&self, entry: StoredEntry) -> Option<Found> {
        if self.filter.is_empty() && !self.wanted.is_counted {
            return Some(Found { entry, facets: None });
        }
        let facets = Facets::read(&entry.body);
        let fits = self.filter.is_empty()
            || facets
                .as_ref()
                .is_some_and(|facets| self.filter.fits_facets(facets) && self.filter.fits_text(&entry.body));
        fits.then_some(Found { entry, facets })
    }

    fn page(mut self, stopped: Option<u64>) -> Page {
        let has_more = self.found.len() > self.wanted.limit;
        let is_complete = stopped.is_none() && self.found.len() <= self.enough();
        let counts = self.wanted.is_counted.then(|| count(&self.found, is_complete));
        self.found.truncate(self.wanted.limit);
        let entries: Vec<StoredEntry> = self.found.into_iter().map(|found| found.entry).collect();
        let next = match entries.last() {
            Some(last) if has_more => Some(match (last.index, self.wanted.order) {
                (None, _) => Start::Behind(last.id),
                (Some(index), Order::Newest) => Start::At(index),
                (Some(index), Order::Oldest) => Start::At(index + 1),
            }),
            _ => stopped.map(Start::At),
        };
        Page { entries, next, counts }
    }
}

fn count(found: &[Found], is_complete: bool) -> Counts {
    let mut fields = Vec::new();
    for field in Field::COUNTED {
        let mut values: BTreeMap<&str, u64> = BTreeMap::new();
        for facets in found.iter().filter_map(|found| found.facets.as_ref()) {
            facets.of(field).for_each(|value| *values.entry(value).or_default() += 1);
        }
        let mut values: Vec<(String, u64)> =
            values.into_iter().map(|(value, count)| (value.to_owned(), count)).collect();
        values.sort_by(|left, right| right.1.cmp(&left.1).then_with(|| left.0.cmp(&right.0)));
        values.truncate(VALUES_MAX);
        fields.push((field, values));
    }
    Counts { entries: found.len() as u64, is_complete, fields }
}
