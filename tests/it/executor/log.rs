//! An audit log as a test keeps it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use aegis_evidence::{Consistency, Evidence, Hash, Head, Plan, RightEdge, SignerKey, sign_checkpoint};
use anyhow::{Context, Result};

/// How many heads back the growth of the log is shown to executors, which know one of the last few.
const HEADS: u64 = 64;

/// A log and the key that signs it.
pub(crate) struct TestLog {
    signer: SignerKey,
    tree: Mutex<Tree>,
}

#[derive(Clone)]
struct Tree {
    edge: RightEdge,
    /// The head of each size from 0.
    heads: Vec<Head>,
    /// The tiles' bytes by level and index.
    tiles: HashMap<(u8, u64), Vec<u8>>,
}

impl Tree {
    fn append(&mut self, leaf: Hash) {
        for growth in self.edge.append_batch(&[leaf]) {
            let tile = self.tiles.entry((growth.level, growth.index)).or_default();
            growth.hashes.iter().for_each(|hash| tile.extend_from_slice(hash.as_bytes()));
        }
        self.heads.push(self.edge.head());
    }

    fn hashes(&self, plan: &Plan) -> Result<Vec<Hash>> {
        Ok(plan.hashes(|tile| self.tiles.get(&(tile.level(), tile.index())).map(Vec::as_slice))?)
    }
}

impl TestLog {
    /// A log without entries.
    pub(crate) fn new(seed: &[u8; 32]) -> Result<Self> {
        let signer = SignerKey::from_seed("test.example/audit", seed)?;
        let tree = Tree { edge: RightEdge::EMPTY, heads: vec![Head::EMPTY], tiles: HashMap::new() };
        Ok(Self { signer, tree: Mutex::new(tree) })
    }

    /// Another log of the same key that has the same entries so far: what it adds from now on is another history.
    pub(crate) fn fork(&self) -> Self {
        Self { signer: self.signer.clone(), tree: Mutex::new(self.tree().clone()) }
    }

    /// The public key, as executors are told it.
    pub(crate) fn key(&self) -> String {
        self.signer.verifier().to_string()
    }

    /// Adds an entry, and shows that it is there to whoever knows one of the last heads.
    pub(crate) fn add(&self, entry: &[u8]) -> Result<Evidence> {
        let size = {
            let mut tree = self.tree();
            tree.append(Hash::leaf(entry));
            tree.edge.size()
        };
        self.evidence(size - 1, size)
    }

    /// Shows that the entry at `index` was there when the log had `size` entries.
    pub(crate) fn evidence(&self, index: u64, size: u64) -> Result<Evidence> {
        let known = size.saturating_sub(HEADS).max(1)..size;
        let inclusion = self.tree().hashes(&Plan::inclusion(index, size)?)?;
        Ok(Evidence {
            index,
            inclusion,
            checkpoint: self.checkpoint(size)?,
            consistency: known.map(|from| self.growth(from, size)).collect::<Result<_>>()?,
        })
    }

    /// The signed head of `size` entries.
    pub(crate) fn checkpoint(&self, size: u64) -> Result<String> {
        Ok(sign_checkpoint(&self.head(size)?, &[&self.signer])?)
    }

    /// The head of `size` entries.
    pub(crate) fn head(&self, size: u64) -> Result<Head> {
        self.tree().heads.get(usize::try_from(size)?).copied().context("the log has fewer entries")
    }

    /// The proof that the log of `to` entries has grown from that of `from`.
    pub(crate) fn growth(&self, from: u64, to: u64) -> Result<Consistency> {
        let hashes = self.tree().hashes(&Plan::consistency(from, to)?)?;
        Ok(Consistency { from, to, hashes })
    }

    fn tree(&self) -> MutexGuard<'_, Tree> {
        self.tree.lock().expect("nobody panics with it")
    }
}
