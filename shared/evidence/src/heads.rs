//! Whether a head belongs to the same history as heads that were verified before.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::checkpoint::Head;
use crate::hash::Hash;
use crate::proof::{self, ProofError};

/// The proof that a log of `to` entries has grown from one of `from` (RFC 6962, section 2.1.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Consistency {
    /// Entries of the older tree.
    pub from: u64,
    /// Entries of the newer tree.
    pub to: u64,
    /// The proof.
    pub hashes: Vec<Hash>,
}

/// How a head stands to those that are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// It is one of them.
    Equal,
    /// It is the beginning of one of them.
    Older,
    /// It has grown from the newest of them.
    Newer,
}

/// Why a head is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HeadError {
    /// Nothing shows that it belongs to the kept ones. Says nothing against it: to be asked again with a proof.
    #[error("no proof relates the head to the one kept at {needs} entries")]
    Unknown {
        /// The size of the newest kept head: a proof to or from it is always enough.
        needs: u64,
    },
    /// Two roots at one size, or a proof that fails: there are two histories.
    #[error(
        "the log is forked: the head at {} entries does not belong to the one kept at {}",
        presented.size, kept.size
    )]
    Forked {
        /// The head that is kept.
        kept: Head,
        /// The head that contradicts it.
        presented: Head,
    },
}

impl HeadError {
    /// The stable code of this error.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Unknown { .. } => "head-unknown",
            Self::Forked { .. } => "log-forked",
        }
    }
}

/// There is nothing to start from, or the kept heads contradict each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum KeptError {
    /// No head at all.
    #[error("a first head is needed to compare others with")]
    Missing,
    /// Two roots at one size.
    #[error("two heads of {size} entries are kept")]
    Contradiction {
        /// The size of both.
        size: u64,
    },
}

/// Heads that were verified, all of one history. There is always one to compare with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// By size, without doubles, not empty.
    heads: Vec<Head>,
}

impl Kept {
    /// Heads that were verified before. The first one ever comes from configuration; for a log that is watched from
    /// its beginning it is [`Head::EMPTY`], of which every log is a continuation.
    pub fn new(mut heads: Vec<Head>) -> Result<Self, KeptError> {
        heads.sort_by_key(|head| head.size);
        heads.dedup();
        if heads.is_empty() {
            return Err(KeptError::Missing);
        }
        match heads.windows(2).find(|pair| pair[0].size == pair[1].size) {
            Some(pair) => Err(KeptError::Contradiction { size: pair[0].size }),
            None => Ok(Self { heads }),
        }
    }

    /// The head with the most entries.
    pub fn newest(&self) -> &Head {
        self.heads.last().expect("there is always one")
    }

    /// How `presented` stands to the kept heads.
    ///
    /// It passes if it equals one, if a proof shows it to be the beginning of one, or if a proof shows it to have
    /// grown from the newest. Having grown from an older one is not enough: it could have left the history of
    /// the newest after that. Proofs between other sizes are ignored; one that relates the presented head to a kept
    /// one and fails means that the log is forked, whatever else holds.
    pub fn judge(&self, presented: &Head, proofs: &[Consistency]) -> Result<Relation, HeadError> {
        let newest = self.newest();
        let mut relation = Err(HeadError::Unknown { needs: newest.size });
        for kept in &self.heads {
            match relate(kept, presented, proofs) {
                Some(Ok(Relation::Newer)) if kept != newest => {}
                Some(Ok(found)) => relation = Ok(found),
                Some(Err(ForkedError)) => {
                    return Err(HeadError::Forked { kept: *kept, presented: *presented });
                }
                None => {}
            }
        }
        relation
    }

    /// Keeps a head that passed [`Kept::judge`], which this asks again.
    pub fn keep(&mut self, head: Head, proofs: &[Consistency]) -> Result<Relation, HeadError> {
        let relation = self.judge(&head, proofs)?;
        if relation != Relation::Equal {
            let place = self.heads.partition_point(|kept| kept.size < head.size);
            self.heads.insert(place, head);
        }
        Ok(relation)
    }
}

/// Two heads do not belong to one history, or a proof that they do is wrong.
pub(crate) struct ForkedError;

/// How `presented` stands to one verified head; nothing if no proof says.
pub(crate) fn relate(
    kept: &Head,
    presented: &Head,
    proofs: &[Consistency],
) -> Option<Result<Relation, ForkedError>> {
    if kept.size == presented.size {
        return Some(if kept.root == presented.root { Ok(Relation::Equal) } else { Err(ForkedError) });
    }
    let (old, new, relation) = if kept.size < presented.size {
        (kept, presented, Relation::Newer)
    } else {
        (presented, kept, Relation::Older)
    };
    // Every log is a continuation of the empty one, and RFC 6962 has no proof of that.
    if old.size == 0 {
        return Some(if *old == Head::EMPTY { Ok(relation) } else { Err(ForkedError) });
    }
    let mut of_these =
        proofs.iter().filter(|proof| proof.from == old.size && proof.to == new.size).peekable();
    of_these.peek()?;
    let holds = of_these.all(|proof| verify(proof, old, new).is_ok());
    Some(if holds { Ok(relation) } else { Err(ForkedError) })
}

fn verify(proof: &Consistency, old: &Head, new: &Head) -> Result<(), ProofError> {
    proof::verify_consistency(old, new, &proof.hashes)
}
