//! Which rules are about a question: shards by the literal texts that rules match, and in each shard
//! blocks of 64 rows whose dimensions are joined as bits.
//!
//! A *row* is one rule with one of its resource patterns. It is filed under a literal text that the
//! question must have if the row matches (of all such texts one that few rows share), or in the rest
//! if it has none. A question is looked up under each of its texts and in the rest.

use std::ops::Range;

use super::asked::{Field, OTHER, Seen};
use super::condition::Part;
use super::predicate::PredicateId;
use super::text::Symbol;
use crate::decision::RuleEffect;

/// Rows of one block: as many as a word has bits.
pub(super) const BLOCK_ROWS: usize = 64;

/// The finished index. What several blocks ask alike is stored once: tables, and clauses.
#[derive(Debug, Default)]
pub(super) struct Index {
    pub(super) shards: Box<[Shards]>,
    /// The blocks of rows that are filed under no text.
    pub(super) rest: Blocks,
    pub(super) blocks: Box<[Block]>,
    pub(super) tables: Box<[Table]>,
    /// The clauses of each block, one block after the other.
    pub(super) clause_places: Box<[u32]>,
    pub(super) clauses: Box<[Clause]>,
    pub(super) texts: Box<[Entry<Symbol>]>,
    pub(super) predicates: Box<[Entry<PredicateId>]>,
    pub(super) rows: Box<[Row]>,
}

/// What is filed under the texts of one field.
#[derive(Debug)]
pub(super) struct Shards {
    pub(super) field: Field,
    /// For each symbol.
    pub(super) blocks: Box<[Blocks]>,
}

/// A range of blocks.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Blocks {
    pub(super) start: u32,
    pub(super) len: u32,
}

/// Up to 64 rows.
#[derive(Debug)]
pub(super) struct Block {
    /// The first row.
    pub(super) rows: u32,
    pub(super) actions: u32,
    pub(super) kinds: u32,
    pub(super) clause_places: u32,
    pub(super) clauses_len: u8,
    pub(super) rows_len: u8,
}

/// The rows that are about each action or kind, and last about none of the known ones.
pub(super) type Table = [u64; 5];

/// One dimension of a block: a row lives on if it is free or one of its entries holds.
#[derive(Clone, Debug)]
pub(super) struct Clause {
    pub(super) field: Field,
    /// The rows to which the dimension does not matter.
    pub(super) free: u64,
    /// Entries of [`Index::texts`].
    pub(super) texts: Span,
    /// Entries of [`Index::predicates`].
    pub(super) predicates: Span,
}

/// A range of entries.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) len: u32,
}

/// The rows that live on if the question has this text, or if this predicate holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Entry<T> {
    pub(super) rows: u64,
    pub(super) what: T,
}

/// One rule with one of its resource patterns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) rule: u32,
    /// What must hold besides.
    pub(super) guard: Option<Part>,
    /// Whether one question can meet the rule in several rows.
    pub(super) repeats: bool,
    pub(super) effect: RuleEffect,
    /// Whether the rule is part of the answer: P31.
    pub(super) counts: bool,
}

impl Blocks {
    pub(super) fn range(self) -> Range<usize> {
        self.start as usize..(self.start + self.len) as usize
    }
}

impl Span {
    fn range(self) -> Range<usize> {
        self.start as usize..(self.start + self.len) as usize
    }
}

impl Shards {
    /// The blocks filed under this text.
    pub(super) fn under(&self, symbol: Symbol) -> Blocks {
        self.blocks.get(symbol.index()).copied().unwrap_or_default()
    }
}

impl Index {
    /// Rows of a block that match, as bits.
    pub(super) fn matching(
        &self,
        block: &Block,
        seen: &Seen<'_>,
        mut holds: impl FnMut(PredicateId) -> bool,
    ) -> u64 {
        let mut alive = u64::MAX >> (BLOCK_ROWS - usize::from(block.rows_len));
        alive &= self.tables[block.actions as usize][seen.action];
        alive &= self.tables[block.kinds as usize][seen.kind];
        for clause in self.clauses_of(block) {
            if alive == 0 {
                break;
            }
            // A known action was looked up in a table.
            if clause.field == Field::Action && seen.action != OTHER {
                continue;
            }
            let mut matching = clause.free;
            for entry in &self.texts[clause.texts.range()] {
                if seen.has(clause.field, entry.what) {
                    matching |= entry.rows;
                }
            }
            for entry in &self.predicates[clause.predicates.range()] {
                if entry.rows & alive != 0 && holds(entry.what) {
                    matching |= entry.rows;
                }
            }
            alive &= matching;
        }
        alive
    }

    fn clauses_of(&self, block: &Block) -> impl Iterator<Item = &Clause> {
        let places =
            block.clause_places as usize..block.clause_places as usize + usize::from(block.clauses_len);
        self.clause_places[places].iter().map(|place| &self.clauses[*place as usize])
    }

    /// The most that looking through these blocks can be.
    pub(super) fn steps(&self, blocks: Blocks) -> u64 {
        let of_clause = |clause: &Clause| u64::from(clause.texts.len + clause.predicates.len);
        let of_block = |block: &Block| {
            1 + u64::from(block.rows_len) + self.clauses_of(block).map(of_clause).sum::<u64>()
        };
        self.blocks[blocks.range()].iter().map(of_block).sum()
    }
}
