//! A log as its server keeps it: entries, tiles, heads, a key.

use std::collections::BTreeMap;

use aegis_evidence::bundle::{Block, Content, End, FORMAT, Line, Manifest, Single};
use aegis_evidence::{
    Consistency, Evidence, Hash, Head, LogKeys, Plan, RightEdge, SignerKey, TILE_WIDTH, Tile, sign_checkpoint,
};

/// The name of every log of these tests.
pub(crate) const ORIGIN: &str = "aegis.example/audit";

/// The key with that number.
pub(crate) fn key(number: u8) -> SignerKey {
    SignerKey::from_seed(ORIGIN, &[number; 32]).expect("the name is one")
}

/// Believes the keys with these numbers.
pub(crate) fn keys(numbers: &[u8]) -> LogKeys {
    LogKeys::new(numbers.iter().map(|number| key(*number).verifier().clone()).collect())
        .expect("different keys")
}

/// A log that has grown entry by entry, signed by key 1.
#[derive(Clone)]
pub(crate) struct Log {
    pub(crate) entries: Vec<Vec<u8>>,
    /// The head at every size, from 0.
    pub(crate) heads: Vec<Head>,
    tiles: BTreeMap<(u8, u64), Vec<u8>>,
    edge: RightEdge,
}

impl Log {
    pub(crate) fn empty() -> Self {
        Self { entries: Vec::new(), heads: vec![Head::EMPTY], tiles: BTreeMap::new(), edge: RightEdge::EMPTY }
    }

    /// A log whose entries are JSON as the real ones.
    pub(crate) fn of(size: u64) -> Self {
        let mut log = Self::empty();
        log.grow_to(size, "test");
        log
    }

    pub(crate) fn grow_to(&mut self, size: u64, kind: &str) {
        for id in self.size()..size {
            self.append(format!(r#"{{"id":{id},"kind":"{kind}"}}"#).into_bytes());
        }
    }

    pub(crate) fn append(&mut self, entry: Vec<u8>) {
        self.append_batch(vec![entry]);
        self.heads.push(self.edge.head());
    }

    /// Like [`Log::append`] for many, but without the heads in between.
    pub(crate) fn append_batch(&mut self, entries: Vec<Vec<u8>>) {
        let leaves: Vec<Hash> = entries.iter().map(|entry| Hash::leaf(entry)).collect();
        for growth in self.edge.append_batch(&leaves) {
            let tile = self.tiles.entry((growth.level, growth.index)).or_default();
            assert_eq!(
                tile.len(),
                usize::from(growth.offset) * Hash::LENGTH,
                "growth begins where the tile ends"
            );
            tile.extend(growth.hashes.iter().flat_map(|hash| *hash.as_bytes()));
            assert!(tile.len() <= usize::from(TILE_WIDTH) * Hash::LENGTH, "no tile holds more than fits");
        }
        self.entries.extend(entries);
    }

    pub(crate) fn size(&self) -> u64 {
        self.entries.len() as u64
    }

    pub(crate) fn edge(&self) -> &RightEdge {
        &self.edge
    }

    pub(crate) fn head(&self) -> Head {
        self.edge.head()
    }

    /// What is stored of a tile; it may hold more than the tile's width.
    pub(crate) fn tile(&self, tile: Tile) -> Option<&[u8]> {
        self.tiles.get(&(tile.level(), tile.index())).map(Vec::as_slice)
    }

    /// Every stored tile: level, index, bytes.
    pub(crate) fn tiles(&self) -> impl Iterator<Item = (u8, u64, &[u8])> {
        self.tiles.iter().map(|((level, index), bytes)| (*level, *index, bytes.as_slice()))
    }

    /// The hashes of a plan, read from the tiles that it names and no others.
    pub(crate) fn hashes(&self, plan: &Plan) -> Vec<Hash> {
        let named = plan.tiles();
        let read = |tile: Tile| named.contains(&tile).then(|| self.tile(tile)).flatten();
        plan.hashes(read).expect("the log has its tiles")
    }

    pub(crate) fn inclusion(&self, index: u64, size: u64) -> Vec<Hash> {
        self.hashes(&Plan::inclusion(index, size).expect("there is such an entry"))
    }

    pub(crate) fn consistency(&self, from: u64, to: u64) -> Consistency {
        let hashes = self.hashes(&Plan::consistency(from, to).expect("there are such trees"));
        Consistency { from, to, hashes }
    }

    pub(crate) fn checkpoint(&self, size: u64) -> String {
        signed(&self.heads[usize::try_from(size).expect("a size of tests")], &[1])
    }

    pub(crate) fn evidence(&self, index: u64, size: u64, kept: &[u64]) -> Evidence {
        let between = |kept: &u64| self.consistency(size.min(*kept), size.max(*kept));
        Evidence {
            index,
            inclusion: self.inclusion(index, size),
            checkpoint: self.checkpoint(size),
            consistency: kept.iter().map(between).collect(),
        }
    }

    pub(crate) fn manifest(&self, size: u64, content: Content) -> Manifest {
        Manifest {
            format: FORMAT.to_owned(),
            checkpoint: self.checkpoint(size),
            keys: vec![key(1).verifier().to_string()],
            endorsements: Vec::new(),
            checkpoints: Vec::new(),
            consistency: Vec::new(),
            content,
        }
    }

    /// The lines of a bundle with every entry of the manifest's range, or with these single entries.
    pub(crate) fn bundle(&self, size: u64, manifest: &Manifest, singles: &[u64]) -> Vec<Vec<u8>> {
        let mut lines = vec![line(&Line::Manifest(manifest.clone()))];
        let mut entries = singles.len() as u64;
        if let Content::Range { first, end } = manifest.content {
            entries += end - first;
            let mut next = first;
            while next < end {
                let count = (256 - next % 256).min(end - next);
                lines.extend(self.block(next, count, size));
                next += count;
            }
        }
        for index in singles {
            lines.push(line(&Line::Single(Single { index: *index, proof: self.inclusion(*index, size) })));
            lines.push(self.entry(*index));
        }
        lines.push(line(&Line::End(End { entries, misfiled: None })));
        lines
    }

    /// A block line and its entries.
    pub(crate) fn block(&self, first: u64, count: u64, size: u64) -> Vec<Vec<u8>> {
        let tile = Tile::in_tree(0, first / 256, size).expect("there are such entries");
        let stored = self.tile(tile).expect("the log has its tiles");
        let leaves =
            Hash::sequence(&stored[..usize::from(tile.width()) * Hash::LENGTH]).expect("whole hashes");
        let block = Block {
            tile: tile.index(),
            first,
            count: u16::try_from(count).expect("within a tile"),
            leaves: Block::leaves_text(&leaves),
            proof: self.hashes(&Plan::block(tile.index(), size).expect("there is such a tile")),
        };
        std::iter::once(line(&Line::Block(block)))
            .chain((first..first + count).map(|index| self.entry(index)))
            .collect()
    }

    pub(crate) fn entry(&self, index: u64) -> Vec<u8> {
        self.entries[usize::try_from(index).expect("an index of tests")].clone()
    }
}

/// A checkpoint by the keys with these numbers.
pub(crate) fn signed(head: &Head, numbers: &[u8]) -> String {
    let keys: Vec<SignerKey> = numbers.iter().map(|number| key(*number)).collect();
    sign_checkpoint(head, &keys.iter().collect::<Vec<_>>()).expect("the head is one")
}

/// A line of a bundle without its newline.
pub(crate) fn line(line: &Line) -> Vec<u8> {
    let mut bytes = line.to_bytes();
    assert_eq!(bytes.pop(), Some(b'\n'), "a line ends with its newline");
    bytes
}
