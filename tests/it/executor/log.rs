//! An audit log as a test keeps it, small enough for one tile.

use std::sync::Mutex;

use aegis_evidence::{
    Consistency, Evidence, Hash, Head, Plan, RightEdge, SignerKey, TILE_WIDTH, sign_checkpoint,
};
use anyhow::{Result, ensure};

/// A log and the key that signs it.
pub(crate) struct TestLog {
    signer: SignerKey,
    leaves: Mutex<Vec<Hash>>,
}

impl TestLog {
    /// A log without entries.
    pub(crate) fn new(seed: &[u8; 32]) -> Result<Self> {
        let signer = SignerKey::from_seed("test.example/audit", seed)?;
        Ok(Self { signer, leaves: Mutex::default() })
    }

    /// Another log of the same key that has the same entries so far: what it adds from now on is another history.
    pub(crate) fn fork(&self) -> Self {
        Self { signer: self.signer.clone(), leaves: Mutex::new(self.leaves()) }
    }

    /// The public key, as executors are told it.
    pub(crate) fn key(&self) -> String {
        self.signer.verifier().to_string()
    }

    /// How many entries it has.
    pub(crate) fn size(&self) -> u64 {
        self.leaves().len() as u64
    }

    /// Adds an entry, and shows that it is there to whoever knows any earlier head.
    pub(crate) fn add(&self, entry: &[u8]) -> Result<Evidence> {
        let index = {
            let mut leaves = self.leaves.lock().expect("nobody panics with it");
            leaves.push(Hash::leaf(entry));
            ensure!(leaves.len() < usize::from(TILE_WIDTH), "a test's log is one tile");
            leaves.len() as u64 - 1
        };
        self.evidence(index, self.size())
    }

    /// Shows that the entry at `index` was there when the log had `size` entries.
    pub(crate) fn evidence(&self, index: u64, size: u64) -> Result<Evidence> {
        Ok(Evidence {
            index,
            inclusion: self.carry_out(&Plan::inclusion(index, size)?)?,
            checkpoint: self.checkpoint(size)?,
            consistency: (1..size).map(|from| self.growth(from, size)).collect::<Result<_>>()?,
        })
    }

    /// The signed head of `size` entries.
    pub(crate) fn checkpoint(&self, size: u64) -> Result<String> {
        Ok(sign_checkpoint(&self.head(size)?, &[&self.signer])?)
    }

    /// The head of `size` entries.
    pub(crate) fn head(&self, size: u64) -> Result<Head> {
        let mut edge = RightEdge::EMPTY;
        self.leaves().iter().take(usize::try_from(size)?).for_each(|leaf| edge.append(*leaf));
        Ok(edge.head())
    }

    /// The proof that the log of `to` entries has grown from that of `from`.
    pub(crate) fn growth(&self, from: u64, to: u64) -> Result<Consistency> {
        Ok(Consistency { from, to, hashes: self.carry_out(&Plan::consistency(from, to)?)? })
    }

    fn leaves(&self) -> Vec<Hash> {
        self.leaves.lock().expect("nobody panics with it").clone()
    }

    fn carry_out(&self, plan: &Plan) -> Result<Vec<Hash>> {
        let tile: Vec<u8> = self.leaves().iter().flat_map(|leaf| *leaf.as_bytes()).collect();
        Ok(plan.hashes(|_| Some(&tile))?)
    }
}
