//! Tiles: how the hashes of a tree are stored and named (C2SP tlog-tiles, "Merkle Tree").

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// Hashes of a full tile. One tile is a subtree of eight levels, of which the lowest is stored.
pub const TILE_WIDTH: u16 = 256;

/// Levels of the tree in one tile.
pub(crate) const TILE_LEVELS: u32 = 8;

/// The highest level of a tile (C2SP tlog-tiles: 0 to 63).
const LEVEL_MAX: u8 = 63;

/// Names one tile: consecutive hashes of one level of the tree.
///
/// The tile at level `l` and index `n` holds the hashes of the full subtrees of `256^l` entries, from the
/// `n * 256`-th. Its text is the path below `tile/` of C2SP tlog-tiles: `0/x001/x234/067` when full,
/// `0/x001/x234/067.p/8` with a width of 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tile {
    level: u8,
    index: u64,
    width: u16,
}

/// The text is not the path of a tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not the path of a tile, such as 0/x001/x234/067 or 0/x001/x234/067.p/8")]
pub struct TilePathError;

impl Tile {
    /// The tile as it is in a tree of `size` entries; nothing if such a tree has no hash in it.
    pub fn in_tree(level: u8, index: u64, size: u64) -> Option<Self> {
        let hashes = size.checked_shr(u32::from(level) * TILE_LEVELS).unwrap_or(0);
        let before = index.checked_mul(u64::from(TILE_WIDTH))?;
        let width = u16::try_from(hashes.saturating_sub(before).min(u64::from(TILE_WIDTH))).ok()?;
        (width > 0).then_some(Self { level, index, width })
    }

    /// The level, 0 for hashes of entries.
    pub const fn level(self) -> u8 {
        self.level
    }

    /// The place within its level, from 0.
    pub const fn index(self) -> u64 {
        self.index
    }

    /// How many hashes it holds, 1 to [`TILE_WIDTH`].
    pub const fn width(self) -> u16 {
        self.width
    }

    /// Whether it will never hold more.
    pub const fn is_full(self) -> bool {
        self.width == TILE_WIDTH
    }
}

impl fmt::Display for Tile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/", self.level)?;
        let digits = self.index.to_string();
        let digits = format!("{digits:0>width$}", width = digits.len().next_multiple_of(3));
        for place in (0..digits.len()).step_by(3) {
            let lead = if place + 3 < digits.len() { "x" } else { "" };
            let end = if place + 3 < digits.len() { "/" } else { "" };
            write!(formatter, "{lead}{}{end}", &digits[place..place + 3])?;
        }
        if self.is_full() { Ok(()) } else { write!(formatter, ".p/{}", self.width) }
    }
}

impl FromStr for Tile {
    type Err = TilePathError;

    fn from_str(path: &str) -> Result<Self, TilePathError> {
        let (level, rest) = path.split_once('/').ok_or(TilePathError)?;
        let level = level.parse().ok().filter(|level| *level <= LEVEL_MAX).ok_or(TilePathError)?;
        let (index, width) = match rest.split_once(".p/") {
            None => (rest, TILE_WIDTH),
            Some((index, width)) => {
                let width = width.parse().ok().filter(|width| (1..TILE_WIDTH).contains(width));
                (index, width.ok_or(TilePathError)?)
            }
        };
        let digits: String = index.split('/').map(|group| group.strip_prefix('x').unwrap_or(group)).collect();
        let index = digits.parse().map_err(|_| TilePathError)?;
        let tile = Self { level, index, width };
        // One tile has one path: signs, missing or superfluous zeros and misplaced x do not come back.
        if tile.to_string() == path { Ok(tile) } else { Err(TilePathError) }
    }
}
