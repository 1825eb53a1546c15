//! Filing the log: which entries say what, block by block, behind the sequencer's back. All of it follows from the
//! entries' bytes, so that nobody waits for it and nothing is lost with it.
//!
//! A block is filed as a whole when all its entries have their places. What is not filed yet is read by whoever
//! searches.

use std::collections::BTreeMap;

use jiff::Timestamp;
use sqlx::PgConnection;

use crate::audit::facets::Facets;
use crate::error::Error;
use crate::store::entries::{self, Filed, Filter};
use crate::store::filing::{self, NewBlock};
use crate::store::{ANSWER_WITHIN, Store, commit, log, within};

/// Entries of a block: so few that those not filed yet are read in milliseconds, and so many that a search looks at
/// few blocks of a large log.
pub const BLOCK: u64 = 4096;
/// Entries that one statement reads, and their bytes.
const READ: u64 = 512;
const READ_BYTES_MAX: i64 = 8 << 20;

/// A set of entries of one block, by their places in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places([u64; Places::WORDS]);

impl Places {
    const WORDS: usize = 64;
    /// Bytes of a bit for each place.
    const DENSE: usize = 512;
    /// None of them.
    pub const NONE: Self = Self([0; Self::WORDS]);

    /// Adds one.
    pub fn add(&mut self, place: u16) {
        let place = usize::from(place);
        if let Some(word) = self.0.get_mut(place / 64) {
            *word |= 1 << (place % 64);
        }
    }

    /// Leaves only those that are in the other as well.
    pub fn retain(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(own, other)| *own &= other);
    }

    /// Whether it is one of them.
    pub fn has(&self, place: u16) -> bool {
        let place = usize::from(place);
        self.0.get(place / 64).is_some_and(|word| word >> (place % 64) & 1 == 1)
    }

    /// All of them, in their order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = u64> {
        (0..BLOCK).filter(|place| u16::try_from(*place).is_ok_and(|place| self.has(place)))
    }

    /// As they are stored: two bytes each, unless a bit for each place is shorter.
    fn to_bytes(&self) -> Vec<u8> {
        let sparse: Vec<u8> =
            self.iter().filter_map(|place| u16::try_from(place).ok()).flat_map(u16::to_be_bytes).collect();
        if sparse.len() < Self::DENSE {
            return sparse;
        }
        self.0.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    /// What is stored; of bytes that nobody stored so, anything.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut places = Self::NONE;
        if bytes.len() == Self::DENSE {
            let words = bytes.chunks_exact(8).map(|word| word.try_into().map_or(0, u64::from_be_bytes));
            places.0.iter_mut().zip(words).for_each(|(place, word)| *place = word);
        } else {
            bytes.chunks_exact(2).for_each(|place| places.add(u16::from_be_bytes([place[0], place[1]])));
        }
        places
    }
}

/// Files the next block, if it is complete and nobody else is at it; says whether it did.
///
/// # Errors
/// Those of the database.
pub async fn file_next(store: &Store) -> Result<bool, Error> {
    let mut tx = within(ANSWER_WITHIN, store.begin()).await?;
    let next = within(ANSWER_WITHIN, next(&mut tx)).await?;
    let Some(block) = next else { return Ok(false) };
    let mut read = Block::default();
    let (first, all) = (u64::from(block) * BLOCK, Filter::default());
    let (mut next, end) = (first, first + BLOCK);
    while next < end {
        let piece = entries::page(&mut tx, &all, next, (next + READ).min(end), READ_BYTES_MAX);
        let (piece, behind) = within(ANSWER_WITHIN, piece).await?;
        // What is missing is found by whoever verifies; here it is passed by.
        read.add(&piece, first);
        next = behind;
    }
    // A block whose entries were taken out of the log is filed as one that holds nothing.
    let (oldest, newest) = read.times.unwrap_or((Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH));
    let (terms, places): (Vec<i64>, Vec<Vec<u8>>) =
        read.postings.iter().map(|(term, places)| (*term, places.to_bytes())).unzip();
    let new = NewBlock { block, oldest, newest, terms: &terms, places: &places };
    within(ANSWER_WITHIN, filing::insert(&mut tx, new)).await?;
    commit(tx, None).await?;
    Ok(true)
}

/// The block to file now.
async fn next(conn: &mut PgConnection) -> Result<Option<u32>, Error> {
    if !filing::lock(conn).await? {
        return Ok(None);
    }
    let block = filing::count(conn).await?;
    let size = log::newest_checkpoint(conn).await?.map_or(0, |newest| newest.size);
    Ok((size >= (u64::from(block) + 1) * BLOCK).then_some(block))
}

/// What was read of a block.
#[derive(Default)]
struct Block {
    times: Option<(Timestamp, Timestamp)>,
    postings: BTreeMap<i64, Places>,
}

impl Block {
    fn add(&mut self, piece: &[Filed], first: u64) {
        for filed in piece {
            let facets = Facets::read(&filed.body);
            let at = facets.as_ref().map_or(filed.at, |facets| facets.at);
            self.times = Some(match self.times {
                None => (at, at),
                Some((oldest, newest)) => (oldest.min(at), newest.max(at)),
            });
            let Ok(place) = u16::try_from(filed.index - first) else { continue };
            for term in facets.iter().flat_map(Facets::terms) {
                self.postings.entry(term).or_insert(Places::NONE).add(place);
            }
        }
    }
}

/// The first of these neighbours that a search would not find under what it says.
///
/// # Errors
/// Those of the database.
pub async fn first_lost(conn: &mut PgConnection, found: &[Filed]) -> Result<Option<u64>, Error> {
    let filed_end = u64::from(filing::count(conn).await?) * BLOCK;
    for of_block in found.chunk_by(|left, right| left.index / BLOCK == right.index / BLOCK) {
        let Some(block) = of_block.first().filter(|first| first.index < filed_end) else { break };
        let block = u32::try_from(block.index / BLOCK).map_err(Error::internal)?;
        let read: Vec<(u64, Facets)> =
            of_block.iter().filter_map(|filed| Some((filed.index, Facets::read(&filed.body)?))).collect();
        let terms: std::collections::BTreeSet<i64> =
            read.iter().flat_map(|(_, facets)| facets.terms()).collect();
        let terms: Vec<i64> = terms.into_iter().collect();
        let postings = filing::postings(conn, &terms, block, block + 1).await?;
        let postings: BTreeMap<i64, Places> =
            postings.iter().map(|posting| (posting.term, Places::from_bytes(&posting.places))).collect();
        let times = filing::times(conn, block).await?;
        let is_there = |index: u64, facets: &Facets| {
            let place = u16::try_from(index % BLOCK).unwrap_or_default();
            let mut terms = facets.terms();
            times.is_some_and(|(oldest, newest)| oldest <= facets.at && facets.at <= newest)
                && terms.all(|term| postings.get(&term).is_some_and(|places| places.has(place)))
        };
        if let Some((index, _)) = read.iter().find(|(index, facets)| !is_there(*index, facets)) {
            return Ok(Some(*index));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_back_however_many_they_are() {
        for count in [0u16, 1, 2, 255, 256, 257, 4095, 4096] {
            let mut places = Places::NONE;
            (0..count).for_each(|place| places.add(4095 - place));
            let bytes = places.to_bytes();
            assert!(bytes.len() <= Places::DENSE, "{count}");
            assert_eq!(Places::from_bytes(&bytes), places, "{count}");
            assert_eq!(places.iter().count(), usize::from(count));
            assert!(places.iter().all(|place| place >= BLOCK - u64::from(count)));
        }
        let mut both = Places::NONE;
        both.add(7);
        both.add(9);
        let mut one = Places::NONE;
        one.add(9);
        one.add(11);
        both.retain(&one);
        assert_eq!(both.iter().collect::<Vec<_>>(), [9]);
        // Bytes that nobody stored so: no panic.
        assert_eq!(Places::from_bytes(&[0xff, 0xff, 1]), Places::NONE);
    }
}
