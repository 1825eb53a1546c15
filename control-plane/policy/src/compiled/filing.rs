//! Builds the index: where each row is filed, and how rows are laid out in blocks.

use rustc_hash::FxHashMap;

use super::asked::{FIELDS, Field};
use super::index::{BLOCK_ROWS, Block, Blocks, Clause, Entry, Index, Row, Shards};
use super::predicate::{PredicateId, id};
use super::text::{Symbol, Symbols};

/// A row before it is filed.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) row: Row,
    /// For each [`Field`], what it must be; in the place of the cluster or the noun also the form.
    pub(super) dimensions: [Option<PredicateId>; FIELDS],
    /// For each field, the texts one of which it must be, if they are few enough to be filed under.
    pub(super) keys: [Vec<Symbol>; FIELDS],
}

type Key = (Field, Symbol);

/// Files all rows.
pub(super) fn file(drafts: &[Draft], fields: &[Symbols; FIELDS]) -> Index {
    let mut shards: FxHashMap<Option<Key>, Vec<Draft>> = FxHashMap::default();
    let shares = shares(drafts);
    for draft in drafts {
        let Some(field) = best_field(draft, &shares) else {
            shards.entry(None).or_default().push(draft.clone());
            continue;
        };
        let mut filed = draft.clone();
        // Whoever is found under this text has it.
        filed.dimensions[field as usize] = None;
        filed.row.repeats |= field == Field::Role && draft.keys[field as usize].len() > 1;
        for symbol in &draft.keys[field as usize] {
            shards.entry(Some((field, *symbol))).or_default().push(filed.clone());
        }
    }
    lay_out(shards, fields)
}

/// How many rows could be filed under each text.
fn shares(drafts: &[Draft]) -> FxHashMap<Key, usize> {
    let mut shares = FxHashMap::default();
    for draft in drafts {
        for field in Field::ALL {
            for symbol in &draft.keys[field as usize] {
                *shares.entry((field, *symbol)).or_default() += 1;
            }
        }
    }
    shares
}

/// The field under whose texts a row has the least company; nothing if it has no texts.
fn best_field(draft: &Draft, shares: &FxHashMap<Key, usize>) -> Option<Field> {
    let company =
        |field: Field| draft.keys[field as usize].iter().map(|symbol| shares[&(field, *symbol)]).max();
    Field::ALL.into_iter().filter_map(|field| Some((company(field)?, field))).min().map(|(_, field)| field)
}

fn lay_out(shards: FxHashMap<Option<Key>, Vec<Draft>>, fields: &[Symbols; FIELDS]) -> Index {
    let mut shards: Vec<_> = shards.into_iter().collect();
    shards.sort_unstable_by_key(|(key, _)| *key);
    let mut layout = Layout::default();
    let mut places = fields.each_ref().map(|_| Vec::new());
    let mut rest = Blocks::default();
    for (key, mut drafts) in shards {
        // Rows that ask the same share the entries of a block.
        drafts.sort_by_key(|draft| (draft.dimensions, draft.row.guard));
        let start = id(layout.blocks.len());
        drafts.chunks(BLOCK_ROWS).for_each(|rows| layout.block(rows));
        let blocks = Blocks { start, len: id(layout.blocks.len()) - start };
        match key {
            None => rest = blocks,
            Some((field, symbol)) => {
                let places = &mut places[field as usize];
                places.resize(fields[field as usize].len(), Blocks::default());
                places[symbol.index()] = blocks;
            }
        }
    }
    Index {
        shards: places.into_iter().map(|places| Shards(places.into())).collect(),
        rest,
        blocks: layout.blocks.into(),
        clauses: layout.clauses.into(),
        entries: layout.entries.into(),
        rows: layout.rows.into(),
    }
}

#[derive(Default)]
struct Layout {
    blocks: Vec<Block>,
    clauses: Vec<Clause>,
    entries: Vec<Entry>,
    rows: Vec<Row>,
}

impl Layout {
    fn block(&mut self, drafts: &[Draft]) {
        let (rows, clauses) = (id(self.rows.len()), id(self.clauses.len()));
        for field in Field::ALL {
            self.clause(drafts, field);
        }
        self.rows.extend(drafts.iter().map(|draft| draft.row));
        self.blocks.push(Block {
            rows,
            clauses,
            clauses_len: u8::try_from(self.clauses.len() - clauses as usize).expect("one a field"),
            rows_len: u8::try_from(drafts.len()).expect("at most 64"),
        });
    }

    /// Nothing if the dimension matters to no row.
    fn clause(&mut self, drafts: &[Draft], field: Field) {
        let (mut free, start) = (0, self.entries.len());
        for (draft, bit) in drafts.iter().zip(0..) {
            let row = 1 << bit;
            match draft.dimensions[field as usize] {
                None => free |= row,
                Some(predicate) => {
                    match self.entries[start..].iter_mut().find(|entry| entry.predicate == predicate) {
                        Some(entry) => entry.rows |= row,
                        None => self.entries.push(Entry { rows: row, predicate }),
                    }
                }
            }
        }
        let entries_len = id(self.entries.len() - start);
        if entries_len > 0 {
            self.clauses.push(Clause { free, entries: id(start), entries_len });
        }
    }
}
