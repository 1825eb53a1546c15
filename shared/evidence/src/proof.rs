//! Verifying proofs (RFC 6962, section 2.1; the algorithms are those of RFC 9162, sections 2.1.3.2 and 2.1.4.2).
//!
//! A proof holds exactly the hashes it needs: one more or one less is refused, and no size or index makes a
//! verification panic.

use thiserror::Error;

use crate::checkpoint::Head;
use crate::edge::root_of;
use crate::hash::Hash;
use crate::tile::TILE_WIDTH;

/// Why a proof proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ProofError {
    /// The entry, or the older tree, does not lie within the tree; or the older tree is empty, of which nothing can
    /// be proven.
    #[error("there is no such proof in a tree of this size")]
    OutOfRange,
    /// Not as many hashes as a proof for these places has.
    #[error("the proof has too few or too many hashes")]
    Length,
    /// The hashes lead to another root.
    #[error("the proof leads to another root")]
    Root,
}

impl ProofError {
    /// The stable code of this error.
    pub const fn code(self) -> &'static str {
        match self {
            Self::OutOfRange => "proof-out-of-range",
            Self::Length => "proof-length",
            Self::Root => "proof-root",
        }
    }
}

/// Verifies that the entry with the hash `leaf` stands at `index` of the tree with that head.
pub fn verify_inclusion(leaf: &Hash, index: u64, head: &Head, proof: &[Hash]) -> Result<(), ProofError> {
    if index >= head.size {
        return Err(ProofError::OutOfRange);
    }
    let mut climb = Climb { place: index, last: head.size - 1 };
    let mut root = *leaf;
    for sibling in proof {
        root = match climb.next()? {
            Side::Left => Hash::node(sibling, &root),
            Side::Right => Hash::node(&root, sibling),
        };
    }
    climb.end()?;
    if root == head.root { Ok(()) } else { Err(ProofError::Root) }
}

/// Verifies that `leaves` are the hashes of the level-0 tile `index` of the tree with that head, all of them.
///
/// The proof is one of the tile's root within the tree whose leaves are such roots: [`crate::Plan::block`].
pub fn verify_block(leaves: &[Hash], index: u64, head: &Head, proof: &[Hash]) -> Result<(), ProofError> {
    let tile = crate::Tile::in_tree(0, index, head.size).ok_or(ProofError::OutOfRange)?;
    if leaves.len() != usize::from(tile.width()) {
        return Err(ProofError::Length);
    }
    let tiles = Head { size: head.size.div_ceil(u64::from(TILE_WIDTH)), root: head.root };
    verify_inclusion(&root_of(leaves.iter().copied()), index, &tiles, proof)
}

/// Verifies that the tree with the head `old` is the beginning of the tree with the head `new`.
///
/// A tree is the beginning of itself, with an empty proof. From the empty tree there is no proof.
pub fn verify_consistency(old: &Head, new: &Head, proof: &[Hash]) -> Result<(), ProofError> {
    if old.size == 0 || old.size > new.size {
        return Err(ProofError::OutOfRange);
    }
    if old.size == new.size {
        return match proof {
            [] if old.root == new.root => Ok(()),
            [] => Err(ProofError::Root),
            _ => Err(ProofError::Length),
        };
    }
    // A full subtree is its own first hash, which the proof leaves out.
    let full_levels = old.size.trailing_zeros();
    let (first, rest) = if old.size.is_power_of_two() {
        (&old.root, proof)
    } else {
        proof.split_first().ok_or(ProofError::Length)?
    };
    let mut climb = Climb { place: (old.size - 1) >> full_levels, last: (new.size - 1) >> full_levels };
    let (mut old_root, mut new_root) = (*first, *first);
    for sibling in rest {
        match climb.next()? {
            Side::Left => {
                old_root = Hash::node(sibling, &old_root);
                new_root = Hash::node(sibling, &new_root);
            }
            Side::Right => new_root = Hash::node(&new_root, sibling),
        }
    }
    climb.end()?;
    if old_root == old.root && new_root == new.root { Ok(()) } else { Err(ProofError::Root) }
}

/// Where the next sibling stands.
enum Side {
    Left,
    Right,
}

/// The way from a node up to the root: the node's place within its level, and the place of the last one.
struct Climb {
    place: u64,
    last: u64,
}

impl Climb {
    /// Goes up to the next level at which there is a sibling.
    fn next(&mut self) -> Result<Side, ProofError> {
        if self.last == 0 {
            return Err(ProofError::Length);
        }
        let side = if self.place & 1 == 1 || self.place == self.last {
            // A last node without a right sibling rises unchanged until it is a right child.
            let alone = self.place.trailing_zeros();
            self.place >>= alone;
            self.last >>= alone;
            Side::Left
        } else {
            Side::Right
        };
        self.place >>= 1;
        self.last >>= 1;
        Ok(side)
    }

    /// The root is reached, neither sooner nor later.
    fn end(&self) -> Result<(), ProofError> {
        if self.last == 0 { Ok(()) } else { Err(ProofError::Length) }
    }
}
