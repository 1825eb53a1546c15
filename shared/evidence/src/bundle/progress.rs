//! What a bundle has proven so far, and what may come next.

use crate::checkpoint::{Checkpoint, Head};
use crate::edge::RightEdge;
use crate::hash::Hash;
use crate::heads::{ForkedError, relate};
use crate::keys::VerifierKey;

use super::{Content, Fault, Manifest};

/// What has been proven so far.
#[derive(Debug)]
pub(super) struct Progress {
    pub(super) checkpoint: Checkpoint,
    pub(super) endorsed: Vec<VerifierKey>,
    pub(super) content: Content,
    pub(super) entries: u64,
    /// The lowest index that may come next.
    pub(super) next: u64,
    pub(super) related: Vec<Other>,
    /// Heads that no proof relates; the entries may still come by the older ones.
    pub(super) unrelated: Vec<Other>,
    /// The tree of all entries so far, while there are heads to come by.
    pub(super) edge: Option<RightEdge>,
    /// The first thing that is missing.
    pub(super) missing: Option<Fault>,
}

/// A head that must be of the same history as the bundle's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Other {
    pub(super) head: Head,
    /// Given by who verifies, not by the bundle.
    pub(super) remembered: bool,
}

impl Progress {
    /// Compares the bundle's head with another that must be of the same history.
    pub(super) fn compare(&mut self, other: Other, manifest: &Manifest) -> Result<(), Fault> {
        let head = self.checkpoint.head;
        match relate(&other.head, &head, &manifest.consistency) {
            Some(Err(ForkedError)) => return Err(Fault::Forked { remembered: other.head, head }),
            // Every log is a continuation of the empty one: nothing is learnt from that.
            Some(Ok(_)) if other.head.size == 0 => {}
            Some(Ok(_)) => self.related.push(other),
            None => self.unrelated.push(other),
        }
        Ok(())
    }

    /// Whether `count` entries from `first` on may come next.
    pub(super) fn admit(&mut self, first: u64, count: u64) -> Result<(), Fault> {
        let disordered = Fault::Disordered { index: first, expected: self.next };
        let end = match self.content {
            Content::Range { end, .. } => end,
            Content::Selection { .. } => self.checkpoint.head.size,
        };
        if first < self.next || first.checked_add(count).is_none_or(|behind| behind > end) {
            return Err(disordered);
        }
        if first > self.next && matches!(self.content, Content::Range { .. }) {
            self.edge = None;
            self.missing.get_or_insert(Fault::EntriesMissing { first: self.next, end: first });
        }
        self.next = first;
        Ok(())
    }

    /// Counts an entry that is proven.
    pub(super) fn pass(&mut self, index: u64, leaf: Hash) -> Result<(), Fault> {
        self.entries += 1;
        self.next = index + 1;
        let Some(edge) = &mut self.edge else { return Ok(()) };
        edge.append(leaf);
        let size = edge.size();
        if !self.unrelated.iter().any(|other| other.head.size == size) {
            return Ok(());
        }
        // All entries of the older tree have been proven to be in the newer one, in their places.
        let here = edge.head();
        let (reached, open): (Vec<Other>, Vec<Other>) =
            self.unrelated.iter().partition(|other| other.head.size == size);
        if let Some(other) = reached.iter().find(|other| other.head != here) {
            return Err(Fault::Forked { remembered: other.head, head: self.checkpoint.head });
        }
        self.related.extend(reached);
        self.unrelated = open;
        Ok(())
    }
}
