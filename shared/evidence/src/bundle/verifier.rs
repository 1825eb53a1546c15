//! Reading a bundle, line by line, in memory that does not grow with it.

use std::collections::VecDeque;

use crate::checkpoint::Head;
use crate::edge::RightEdge;
use crate::hash::Hash;
use crate::keys::VerifierKey;
use crate::log_keys::{EndorsementError, LogKeys};
use crate::note::NoteError;
use crate::proof;
use crate::tile::TILE_WIDTH;

use super::line::{Block, Content, End, FORMAT, LINE_BYTES_MAX, Line, Manifest, Single};
use super::progress::{Other, Progress};
use super::{Fault, Report};

/// Verifies one bundle.
///
/// Give it every line, then ask it to [`Verifier::finish`]. The first entry that was tampered with ends it at once;
/// what is merely missing is told at the end, since something worse may follow.
#[derive(Debug)]
pub struct Verifier {
    keys: LogKeys,
    remembered: Vec<Head>,
    lines: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    Begin,
    /// A block, a single entry or the end comes next.
    Between(Box<Progress>),
    /// Entries with these hashes come next.
    Entries(Box<Progress>, VecDeque<Hash>),
    /// The entry of this proof comes next.
    Entry(Box<Progress>, Single),
    Ended(Box<Progress>, End),
    Failed(Fault),
}

impl Verifier {
    /// Believes `keys`, and whatever they endorse; demands that the log is a continuation, or the beginning, of every
    /// head in `remembered`.
    pub fn new(keys: LogKeys, remembered: Vec<Head>) -> Self {
        Self { keys, remembered, lines: 0, state: State::Begin }
    }

    /// Takes the next line, without its newline. Answers the index if the line is an entry: its bytes are proven, and
    /// what they say may be looked at. What follows the last newline of a bundle is no line.
    ///
    /// Fails where something is wrong, and for ever after that.
    pub fn line(&mut self, line: &[u8]) -> Result<Option<u64>, Fault> {
        self.lines = self.lines.saturating_add(1);
        let state = std::mem::replace(&mut self.state, State::Begin);
        let (state, answer) = match self.step(state, line) {
            Ok((state, index)) => (state, Ok(index)),
            Err(fault) => (State::Failed(fault.clone()), Err(fault)),
        };
        self.state = state;
        answer
    }

    /// What the whole bundle has proven, or the worst that is wrong with it.
    pub fn finish(self) -> Result<Report, Fault> {
        let lines = self.lines;
        let (progress, end) = match self.state {
            State::Failed(fault) => return Err(fault),
            State::Begin => return Err(Fault::Unreadable("it has no lines".to_owned())),
            State::Between(_) | State::Entries(..) | State::Entry(..) => {
                return Err(Fault::Truncated { lines });
            }
            State::Ended(progress, end) => (progress, end),
        };
        if let Some(missing) = progress.missing {
            return Err(missing);
        }
        match progress.content {
            Content::Range { end, .. } if progress.next != end => {
                return Err(Fault::EntriesMissing { first: progress.next, end });
            }
            _ => {}
        }
        if progress.entries != end.entries {
            return Err(Fault::CountMismatch { found: progress.entries, counted: end.entries });
        }
        if let Some(other) = progress.unrelated.first() {
            return Err(Fault::HeadUnknown { size: other.head.size });
        }
        let (remembered, others): (Vec<_>, Vec<_>) =
            progress.related.into_iter().partition(|other| other.remembered);
        let heads = |others: Vec<Other>| others.into_iter().map(|other| other.head).collect();
        Ok(Report {
            checkpoint: progress.checkpoint,
            endorsed: progress.endorsed,
            content: progress.content,
            entries: progress.entries,
            remembered: heads(remembered),
            others: heads(others),
        })
    }

    fn step(&mut self, state: State, line: &[u8]) -> Result<(State, Option<u64>), Fault> {
        if line.len() > LINE_BYTES_MAX {
            return Err(self.malformed("it is too long"));
        }
        match state {
            State::Failed(fault) => Err(fault),
            State::Begin => Ok((State::Between(Box::new(self.begin(line)?)), None)),
            State::Between(progress) => Ok((self.between(progress, line)?, None)),
            State::Entries(mut progress, mut leaves) => {
                let (index, leaf) = (progress.next, Hash::leaf(line));
                if leaves.pop_front() != Some(leaf) {
                    return Err(Fault::EntryMismatch { index });
                }
                progress.pass(index, leaf)?;
                let next = if leaves.is_empty() {
                    State::Between(progress)
                } else {
                    State::Entries(progress, leaves)
                };
                Ok((next, Some(index)))
            }
            State::Entry(mut progress, Single { index, proof }) => {
                let leaf = Hash::leaf(line);
                proof::verify_inclusion(&leaf, index, &progress.checkpoint.head, &proof)
                    .map_err(|_| Fault::EntryMismatch { index })?;
                progress.pass(index, leaf)?;
                Ok((State::Between(progress), Some(index)))
            }
            State::Ended(..) => Err(self.malformed("it stands after the end")),
        }
    }

    fn begin(&mut self, line: &[u8]) -> Result<Progress, Fault> {
        let unreadable = |message: &str| Fault::Unreadable(message.to_owned());
        let manifest: Manifest = match serde_json::from_slice(line) {
            Ok(Line::Manifest(manifest)) => manifest,
            Ok(_) => return Err(unreadable("its first line is not a manifest")),
            Err(error) => return Err(Fault::Unreadable(error.to_string())),
        };
        if manifest.format != FORMAT {
            return Err(unreadable("its format is not one that is understood here"));
        }
        let endorsed = self.endorsed(&manifest.endorsements)?;
        let checkpoint = self.keys.open(manifest.checkpoint.as_bytes())?;
        let first = match manifest.content {
            Content::Range { first, end } if first <= end && end <= checkpoint.head.size => first,
            Content::Range { .. } => return Err(self.malformed("its range lies outside the log")),
            Content::Selection { .. } => 0,
        };
        let mut progress = Progress {
            checkpoint,
            endorsed,
            content: manifest.content.clone(),
            entries: 0,
            next: first,
            related: Vec::new(),
            unrelated: Vec::new(),
            edge: None,
            missing: None,
        };
        for head in self.remembered.iter().copied() {
            progress.compare(Other { head, remembered: true }, &manifest)?;
        }
        for checkpoint in &manifest.checkpoints {
            let head = self.keys.open(checkpoint.as_bytes())?.head;
            progress.compare(Other { head, remembered: false }, &manifest)?;
        }
        if !progress.unrelated.is_empty() && matches!(progress.content, Content::Range { first: 0, .. }) {
            progress.edge = Some(RightEdge::EMPTY);
        }
        Ok(progress)
    }

    /// The keys that come to be believed. An endorsement by nobody known adds nothing: it may be from before the keys
    /// that were given.
    fn endorsed(&mut self, endorsements: &[String]) -> Result<Vec<VerifierKey>, Fault> {
        let mut endorsed = Vec::new();
        for endorsement in endorsements {
            match self.keys.accept(endorsement.as_bytes()) {
                Ok(key) => endorsed.extend(key),
                Err(EndorsementError::Note(NoteError::KeyUnknown)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(endorsed)
    }

    fn between(&self, mut progress: Box<Progress>, line: &[u8]) -> Result<State, Fault> {
        match serde_json::from_slice(line).map_err(|error| self.malformed(&error.to_string()))? {
            Line::Manifest(_) => Err(self.malformed("it is a second manifest")),
            Line::End(End { misfiled: Some(index), .. }) => Err(Fault::Misfiled { index }),
            Line::End(end) => Ok(State::Ended(progress, end)),
            Line::Single(single) => {
                progress.admit(single.index, 1)?;
                Ok(State::Entry(progress, single))
            }
            Line::Block(block) => {
                progress.admit(block.first, u64::from(block.count))?;
                let leaves = self.leaves(&progress.checkpoint.head, &block)?;
                Ok(State::Entries(progress, leaves))
            }
        }
    }

    /// The proven hashes of a block's entries.
    fn leaves(&self, head: &Head, block: &Block) -> Result<VecDeque<Hash>, Fault> {
        let start = block.tile.saturating_mul(u64::from(TILE_WIDTH));
        let hashes = block.hashes().ok_or_else(|| self.malformed("its leaves are not hashes"))?;
        proof::verify_block(&hashes, block.tile, head, &block.proof)
            .map_err(|_| Fault::BlockMismatch { first: start })?;
        let first = block.first.checked_sub(start).and_then(|first| usize::try_from(first).ok());
        let wanted = first.and_then(|first| hashes.get(first..first.checked_add(block.count.into())?));
        match wanted {
            Some(wanted) if !wanted.is_empty() => Ok(wanted.iter().copied().collect()),
            _ => Err(self.malformed("its entries are not those of its tile")),
        }
    }

    fn malformed(&self, message: &str) -> Fault {
        Fault::LineMalformed { line: self.lines, message: message.to_owned() }
    }
}
