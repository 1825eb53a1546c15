//! Which rules are about a question: shards by the literal texts that rules match, and in each shard
//! blocks of 64 rows whose dimensions are joined as bits.
//!
//! A *row* is one rule with one of its resource patterns. It is filed under a literal text that the
//! question must have if the row matches (of all such texts the one that the fewest rows share), or
//! in the rest if it has none. A question is looked up under each of its texts and in the rest.

use std::ops::Range;

use super::asked::Field;
use super::condition::NodeId;
use super::predicate::PredicateId;
use super::text::Symbol;
use crate::decision::RuleEffect;

/// Rows of one block: as many as a word has bits.
pub(super) const BLOCK_ROWS: usize = 64;

/// The finished index.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// For each [`Field`], the blocks filed under each symbol.
    pub(super) shards: Box<[Shards]>,
    /// The blocks of rows that are filed under no text.
    pub(super) rest: Blocks,
    pub(super) blocks: Box<[Block]>,
    pub(super) clauses: Box<[Clause]>,
    pub(super) entries: Box<[Entry]>,
    pub(super) rows: Box<[Row]>,
}

/// The blocks under each symbol of one field; empty if nothing is filed in this field.
#[derive(Debug, Default)]
pub(super) struct Shards(pub(super) Box<[Blocks]>);

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
    pub(super) clauses: u32,
    pub(super) clauses_len: u8,
    pub(super) rows_len: u8,
}

/// One dimension of a block: a row lives on if it is free or one of its entries holds.
#[derive(Debug)]
pub(super) struct Clause {
    /// The rows to which the dimension does not matter.
    pub(super) free: u64,
    pub(super) entries: u32,
    pub(super) entries_len: u32,
}

/// The rows that live on if the predicate holds.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) rows: u64,
    pub(super) predicate: PredicateId,
}

/// One rule with one of its resource patterns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) rule: u32,
    /// What must hold besides; [`Row::UNGUARDED`] if the rule applies wherever it matches.
    pub(super) guard: NodeId,
    /// Whether one question can meet the rule in several rows.
    pub(super) repeats: bool,
    pub(super) effect: RuleEffect,
    /// Whether the rule is part of the answer: P31.
    pub(super) counts: bool,
}

impl Row {
    pub(super) const UNGUARDED: NodeId = u32::MAX;
}

impl Blocks {
    pub(super) fn range(self) -> Range<usize> {
        self.start as usize..(self.start + self.len) as usize
    }
}

impl Index {
    /// The blocks filed under this text of this field.
    pub(super) fn under(&self, field: Field, symbol: Symbol) -> Blocks {
        self.shards[field as usize].0.get(symbol.index()).copied().unwrap_or_default()
    }

    /// Rows of a block that match, as bits.
    pub(super) fn matching(&self, block: &Block, mut holds: impl FnMut(PredicateId) -> bool) -> u64 {
        let mut alive = u64::MAX >> (BLOCK_ROWS - usize::from(block.rows_len));
        let clauses = block.clauses as usize..block.clauses as usize + usize::from(block.clauses_len);
        for clause in &self.clauses[clauses] {
            let entries = clause.entries as usize..(clause.entries + clause.entries_len) as usize;
            let mut matching = clause.free;
            for entry in &self.entries[entries] {
                if entry.rows & alive != 0 && holds(entry.predicate) {
                    matching |= entry.rows;
                }
            }
            alive &= matching;
            if alive == 0 {
                break;
            }
        }
        alive
    }
}
