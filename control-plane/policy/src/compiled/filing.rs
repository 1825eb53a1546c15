//! Builds the index: where each row is filed, and how rows are laid out in blocks.

use rustc_hash::FxHashMap;

use super::asked::{FIELDS, Field, OTHER};
use super::index::{BLOCK_ROWS, Block, Blocks, Clause, Entry, Index, Row, Shards, Span, Table};
use super::predicate::{Interned, PredicateId, id};
use super::text::{Symbol, Symbols};

/// Rows in one shard that make no difference: they are looked at together.
const COMPANY: usize = 16;

/// A row before it is filed.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) row: Row,
    /// What the action and the kind must be, as bits.
    pub(super) actions: u8,
    pub(super) kinds: u8,
    /// For each [`Field`], what it must be: for the action, only where it is none of the known ones;
    /// in the place of the cluster or the noun also the form.
    pub(super) dimensions: [Option<Fits>; FIELDS],
    /// For each field, the texts one of which it must be, if they are few enough to be filed under.
    pub(super) keys: [Vec<Symbol>; FIELDS],
}

/// What a question must have in one field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fits {
    /// This text, or this role among others.
    Text(Symbol),
    Predicate(PredicateId),
}

/// The order in which a block looks at its dimensions: what is quick and tells much comes first.
const CLAUSES: [Field; FIELDS] = [
    Field::Principal,
    Field::Role,
    Field::Namespace,
    Field::Name,
    Field::Cluster,
    Field::Noun,
    Field::Object,
    Field::Action,
    Field::Kind,
];

type Key = (Field, Symbol);

/// Files all rows.
pub(super) fn file(drafts: Vec<Draft>, fields: &[Symbols; FIELDS]) -> Index {
    let mut shards: FxHashMap<Option<Key>, Vec<Draft>> = FxHashMap::default();
    let shares = shares(&drafts, fields);
    for mut draft in drafts {
        let Some(field) = best_field(&draft, &shares) else {
            shards.entry(None).or_default().push(draft);
            continue;
        };
        let keys = std::mem::take(&mut draft.keys)[field as usize].clone();
        // Whoever is found under this text has it.
        draft.dimensions[field as usize] = None;
        draft.row.repeats |= field == Field::Role && keys.len() > 1;
        for symbol in keys {
            shards.entry(Some((field, symbol))).or_default().push(draft.clone());
        }
    }
    lay_out(shards, fields)
}

type Shares = [Vec<u32>; FIELDS];

/// How many rows could be filed under each text.
fn shares(drafts: &[Draft], fields: &[Symbols; FIELDS]) -> Shares {
    let mut shares = fields.each_ref().map(|symbols| vec![0; symbols.len()]);
    for draft in drafts {
        for (shares, keys) in shares.iter_mut().zip(&draft.keys) {
            keys.iter().for_each(|symbol| shares[symbol.index()] += 1);
        }
    }
    shares
}

/// The field under whose texts a row has the least company; nothing if it has no texts.
fn best_field(draft: &Draft, shares: &Shares) -> Option<Field> {
    let company = |field: Field| {
        let keys = draft.keys[field as usize].iter();
        keys.map(|symbol| shares[field as usize][symbol.index()] as usize / COMPANY).max()
    };
    Field::ALL.into_iter().filter_map(|field| Some((company(field)?, field))).min().map(|(_, field)| field)
}

fn lay_out(shards: FxHashMap<Option<Key>, Vec<Draft>>, fields: &[Symbols; FIELDS]) -> Index {
    let mut shards: Vec<_> = shards.into_iter().collect();
    shards.sort_unstable_by_key(|(key, _)| *key);
    let mut layout = Layout::default();
    let mut places: [Vec<Blocks>; FIELDS] = Default::default();
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
    let filed = Field::ALL.into_iter().zip(places).filter(|(_, places)| !places.is_empty());
    layout.finish(filed.map(|(field, places)| Shards { field, blocks: places.into() }).collect(), rest)
}

/// What tells two clauses apart.
type ClauseForm = (Field, u64, Vec<Entry<Symbol>>, Vec<Entry<PredicateId>>);

#[derive(Default)]
struct Layout {
    blocks: Vec<Block>,
    tables: Interned<Table>,
    clause_places: Vec<u32>,
    clauses: Interned<ClauseForm>,
    rows: Vec<Row>,
}

impl Layout {
    fn block(&mut self, drafts: &[Draft]) {
        let (rows, clause_places) = (id(self.rows.len()), id(self.clause_places.len()));
        for field in CLAUSES {
            if let Some(clause) = clause(drafts, field) {
                self.clause_places.push(self.clauses.intern(clause));
            }
        }
        self.rows.extend(drafts.iter().map(|draft| draft.row));
        // Actions that are none of the known ones are left to a clause.
        let mut actions = table(drafts, |draft| draft.actions);
        actions[OTHER] = u64::MAX;
        self.blocks.push(Block {
            rows,
            actions: self.tables.intern(actions),
            kinds: self.tables.intern(table(drafts, |draft| draft.kinds)),
            clause_places,
            clauses_len: u8::try_from(self.clause_places.len() - clause_places as usize)
                .expect("one a field"),
            rows_len: u8::try_from(drafts.len()).expect("at most 64"),
        });
    }

    fn finish(self, shards: Box<[Shards]>, rest: Blocks) -> Index {
        let (mut texts, mut predicates) = (Vec::new(), Vec::new());
        let clauses =
            self.clauses.finish().into_iter().map(|(field, free, of_texts, of_predicates)| Clause {
                field,
                free,
                texts: append(&mut texts, of_texts),
                predicates: append(&mut predicates, of_predicates),
            });
        Index {
            shards,
            rest,
            clauses: clauses.collect(),
            blocks: self.blocks.into(),
            tables: self.tables.finish(),
            clause_places: self.clause_places.into(),
            texts: texts.into(),
            predicates: predicates.into(),
            rows: self.rows.into(),
        }
    }
}

fn append<T>(all: &mut Vec<T>, some: Vec<T>) -> Span {
    let (start, len) = (id(all.len()), id(some.len()));
    all.extend(some);
    Span { start, len }
}

/// The rows of each bit, and last those of a value that has none: those with all bits.
fn table(drafts: &[Draft], bits: impl Fn(&Draft) -> u8) -> Table {
    let mut table = Table::default();
    for (draft, row) in drafts.iter().zip(0..) {
        for (value, rows) in table.iter_mut().enumerate() {
            *rows |= u64::from(bits(draft) >> value & 1) << row;
        }
    }
    table
}

/// Nothing if the dimension matters to no row.
fn clause(drafts: &[Draft], field: Field) -> Option<ClauseForm> {
    let (mut free, mut texts, mut predicates) = (0, Vec::new(), Vec::new());
    for (draft, bit) in drafts.iter().zip(0..) {
        let row = 1 << bit;
        match draft.dimensions[field as usize] {
            None => free |= row,
            Some(Fits::Text(text)) => add(&mut texts, row, text),
            Some(Fits::Predicate(predicate)) => add(&mut predicates, row, predicate),
        }
    }
    (!texts.is_empty() || !predicates.is_empty()).then_some((field, free, texts, predicates))
}

fn add<T: PartialEq>(entries: &mut Vec<Entry<T>>, row: u64, what: T) {
    match entries.iter_mut().find(|entry| entry.what == what) {
        Some(entry) => entry.rows |= row,
        None => entries.push(Entry { rows: row, what }),
    }
}
