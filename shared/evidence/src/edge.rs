//! Appending: the right edge of a tree is all that is needed to let it grow.

use thiserror::Error;

use crate::checkpoint::{Head, SIZE_MAX};
use crate::hash::Hash;
use crate::tile::{TILE_LEVELS, TILE_WIDTH};

/// The hashes of the full subtrees that make up a tree, largest first: one for each bit set in its size.
///
/// These are the nodes from which RFC 6962, section 2.1, computes the root; a tree of ten million entries has at
/// most 24 of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RightEdge {
    size: u64,
    hashes: Vec<Hash>,
}

/// The hashes are not the right edge of a tree of that size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the right edge of a tree of {size} entries is not made of {hashes} hashes")]
pub struct EdgeError {
    /// The size that was given.
    pub size: u64,
    /// How many hashes were given.
    pub hashes: usize,
}

/// Hashes to be stored behind those that a tile has already (C2SP tlog-tiles, "Merkle Tree").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TileGrowth {
    /// The tile's level.
    pub level: u8,
    /// The tile's place within its level.
    pub index: u64,
    /// How many hashes the tile had; less than [`TILE_WIDTH`].
    pub offset: u16,
    /// What is new, at most what fills the tile.
    pub hashes: Vec<Hash>,
}

impl RightEdge {
    /// The edge of the tree without entries.
    pub const EMPTY: Self = Self { size: 0, hashes: Vec::new() };

    /// The edge of a tree that exists, as it was stored or read with [`crate::Plan::edge`].
    pub fn new(size: u64, hashes: Vec<Hash>) -> Result<Self, EdgeError> {
        if size > SIZE_MAX || hashes.len() != size.count_ones() as usize {
            return Err(EdgeError { size, hashes: hashes.len() });
        }
        Ok(Self { size, hashes })
    }

    /// Entries in the tree.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The hashes, largest subtree first.
    pub fn hashes(&self) -> &[Hash] {
        &self.hashes
    }

    /// Size and root of the tree (RFC 6962, section 2.1).
    pub fn head(&self) -> Head {
        let root = self.hashes.iter().rev().copied().reduce(|right, left| Hash::node(&left, &right));
        Head { size: self.size, root: root.unwrap_or(Hash::EMPTY) }
    }

    /// Appends one entry.
    pub fn append(&mut self, leaf: Hash) {
        self.grow(leaf, |_, _, _| {});
    }

    /// Appends a batch of entries and answers what that adds to the stored tiles: each tile once, levels upwards,
    /// tiles of a level from left to right.
    pub fn append_batch(&mut self, leaves: &[Hash]) -> Vec<TileGrowth> {
        let mut levels: Vec<Vec<TileGrowth>> = Vec::new();
        for leaf in leaves {
            self.grow(*leaf, |level, place, hash| {
                let above = usize::from(level);
                if levels.len() <= above {
                    levels.push(Vec::new());
                }
                let tiles = &mut levels[above];
                let (index, offset) = (place / u64::from(TILE_WIDTH), place % u64::from(TILE_WIDTH));
                match tiles.last_mut() {
                    Some(tile) if tile.index == index => tile.hashes.push(hash),
                    _ => {
                        let offset = u16::try_from(offset).expect("a rest is below the divisor");
                        tiles.push(TileGrowth { level, index, offset, hashes: vec![hash] });
                    }
                }
            });
        }
        levels.into_iter().flatten().collect()
    }

    /// Appends one entry and tells each hash that tiles store: level of the tile, place within the level, hash.
    fn grow(&mut self, leaf: Hash, mut stored: impl FnMut(u8, u64, Hash)) {
        let place = self.size;
        let mut hash = leaf;
        stored(0, place, hash);
        // Each bit that the size carries over closes a subtree.
        for level in 1..=place.trailing_ones() {
            let left = self.hashes.pop().expect("an edge has one hash for each bit of its size");
            hash = Hash::node(&left, &hash);
            if level % TILE_LEVELS == 0 {
                let tile_level = u8::try_from(level / TILE_LEVELS).expect("a tree has at most 64 levels");
                stored(tile_level, place >> level, hash);
            }
        }
        self.hashes.push(hash);
        self.size += 1;
    }
}

/// The root of the tree over these leaf hashes (RFC 6962, section 2.1).
pub fn root_of(leaves: impl IntoIterator<Item = Hash>) -> Hash {
    let mut edge = RightEdge::EMPTY;
    leaves.into_iter().for_each(|leaf| edge.append(leaf));
    edge.head().root
}
