//! Making proofs from stored tiles, in two steps, so that the reader may be a database, a disk or a network: a
//! [`Plan`] says which tiles it needs, then takes the hashes from them.

use std::collections::BTreeSet;

use thiserror::Error;

use crate::edge::root_of;
use crate::hash::Hash;
use crate::span::{Node, Span, division, full_nodes};
use crate::tile::{TILE_LEVELS, TILE_WIDTH, Tile};

/// Which nodes of a tree a proof consists of.
///
/// ```
/// # use std::collections::BTreeMap;
/// # use aegis_evidence::{Hash, Plan, RightEdge, Tile, proof};
/// # let mut edge = RightEdge::EMPTY;
/// # let leaves: Vec<Hash> = (0..5_u8).map(|entry| Hash::leaf(&[entry])).collect();
/// # let growth = edge.append_batch(&leaves);
/// # let head = edge.head();
/// # let stored: Vec<u8> = growth[0].hashes.iter().flat_map(|hash| *hash.as_bytes()).collect();
/// let plan = Plan::inclusion(3, head.size)?;
/// let read: BTreeMap<Tile, &[u8]> = plan.tiles().into_iter().map(|tile| (tile, &stored[..])).collect();
/// let hashes = plan.hashes(|tile| read.get(&tile).copied())?;
/// proof::verify_inclusion(&leaves[3], 3, &head, &hashes)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    size: u64,
    spans: Vec<Span>,
}

/// There is no such proof: the entry or the older tree is not within the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{place} does not lie within a tree of {size} entries")]
pub struct PlanError {
    /// The index or size that was asked for.
    pub place: u64,
    /// The size of the tree.
    pub size: u64,
}

/// A tile that the plan named was not there, or held too few hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the stored tile {0} is missing or too short")]
pub struct TileMissing(
    /// The tile.
    pub Tile,
);

impl Plan {
    /// The proof that the entry at `index` is in the tree of `size` entries (RFC 6962, section 2.1.1).
    pub fn inclusion(index: u64, size: u64) -> Result<Self, PlanError> {
        if index >= size {
            return Err(PlanError { place: index, size });
        }
        Ok(Self { size, spans: path(index, size) })
    }

    /// The proof that the hashes of the level-0 tile `index` are in the tree of `size` entries: the inclusion proof
    /// of the tile's root in the tree whose leaves are such roots.
    ///
    /// A node over whole tiles is divided where the node over their roots is, also at the right edge, so that
    /// [`crate::proof::verify_block`] can verify it.
    pub fn block(index: u64, size: u64) -> Result<Self, PlanError> {
        let width = u64::from(TILE_WIDTH);
        let tiles = Self::inclusion(index, size.div_ceil(width))
            .map_err(|_| PlanError { place: index.saturating_mul(width), size })?;
        let scaled = |span: Span| span.start * width..span.end.saturating_mul(width).min(size);
        Ok(Self { size, spans: tiles.spans.into_iter().map(scaled).collect() })
    }

    /// The proof that the tree of `old` entries is the beginning of the tree of `size` entries (RFC 6962,
    /// section 2.1.2). There is none from the empty tree; from a tree to itself it is empty.
    pub fn consistency(old: u64, size: u64) -> Result<Self, PlanError> {
        if old == 0 || old > size {
            return Err(PlanError { place: old, size });
        }
        let (mut start, mut end) = (0, size);
        let mut spans = Vec::new();
        // SUBPROOF of RFC 6962: down along the boundary until a node ends exactly where the old tree ends.
        while end != old {
            let middle = start + division(end - start);
            if old <= middle {
                spans.push(middle..end);
                end = middle;
            } else {
                spans.push(start..middle);
                start = middle;
            }
        }
        if start != 0 {
            spans.push(start..end);
        }
        spans.reverse();
        Ok(Self { size, spans })
    }

    /// The right edge of the tree of `size` entries, for [`crate::RightEdge::new`].
    pub fn edge(size: u64) -> Self {
        let span = |node: Node| node.index << node.level..(node.index + 1) << node.level;
        Self { size, spans: full_nodes(&(0..size)).into_iter().map(span).collect() }
    }

    /// The tiles it is made from, each as it is in a tree of this size.
    pub fn tiles(&self) -> BTreeSet<Tile> {
        self.nodes().map(|node| self.tile(node)).collect()
    }

    /// The hashes, in the order of the proof. `read` answers at least the first hashes of each tile, up to its
    /// width; what a tile has got since does no harm.
    pub fn hashes<'t>(&self, read: impl Fn(Tile) -> Option<&'t [u8]>) -> Result<Vec<Hash>, TileMissing> {
        let hash = |span: &Span| {
            let nodes = full_nodes(span).into_iter().map(|node| self.node_hash(node, &read));
            let nodes = nodes.collect::<Result<Vec<_>, _>>()?;
            let hash = nodes.into_iter().rev().reduce(|right, left| Hash::node(&left, &right));
            Ok(hash.expect("no span of a plan is empty"))
        };
        self.spans.iter().map(hash).collect()
    }

    fn nodes(&self) -> impl Iterator<Item = Node> {
        self.spans.iter().flat_map(full_nodes)
    }

    /// The tile that holds all that is needed to compute a node.
    fn tile(&self, node: Node) -> Tile {
        let level = u8::try_from(node.level / TILE_LEVELS).expect("a tree has at most 64 levels");
        let index = first_place(node) / u64::from(TILE_WIDTH);
        Tile::in_tree(level, index, self.size).expect("a plan names only nodes of its tree")
    }

    fn node_hash<'t>(
        &self,
        node: Node,
        read: impl Fn(Tile) -> Option<&'t [u8]>,
    ) -> Result<Hash, TileMissing> {
        let tile = self.tile(node);
        let first = usize::try_from(first_place(node) % u64::from(TILE_WIDTH)).expect("within a tile");
        let end = first + (1 << (node.level % TILE_LEVELS));
        let bytes = read(tile).and_then(|bytes| bytes.get(first * Hash::LENGTH..end * Hash::LENGTH));
        let hashes = bytes.and_then(Hash::sequence).ok_or(TileMissing(tile))?;
        Ok(root_of(hashes))
    }
}

/// Where the hashes that make up a node begin, counted within the level of their tiles.
fn first_place(node: Node) -> u64 {
    node.index << (node.level % TILE_LEVELS)
}

/// The siblings on the way from an entry to the root, lowest first: PATH of RFC 6962, section 2.1.1.
fn path(index: u64, size: u64) -> Vec<Span> {
    let (mut start, mut end) = (0, size);
    let mut spans = Vec::new();
    while end - start > 1 {
        let middle = start + division(end - start);
        if index < middle {
            spans.push(middle..end);
            end = middle;
        } else {
            spans.push(start..middle);
            start = middle;
        }
    }
    spans.reverse();
    spans
}
