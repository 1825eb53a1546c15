//! What a bundle has proven, and what it has not.

use crate::checkpoint::{Checkpoint, Head};
use crate::keys::VerifierKey;

use super::Content;

/// The outcome of a bundle without faults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The checkpoint that everything was proven under, and who signed it.
    pub checkpoint: Checkpoint,
    /// Keys that are believed because one that was given endorses them.
    pub endorsed: Vec<VerifierKey>,
    /// Which entries it holds.
    pub content: Content,
    /// How many entries it holds.
    pub entries: u64,
    /// The heads that were remembered; the log is a continuation, or the beginning, of each.
    pub remembered: Vec<Head>,
    /// The heads of other checkpoints in the bundle, of the same history.
    pub others: Vec<Head>,
}

/// One sentence about a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The stable code.
    pub code: &'static str,
    /// For people.
    pub text: String,
}

impl Report {
    /// What was proven.
    pub fn proven(&self) -> Vec<Statement> {
        let Head { size, root } = self.checkpoint.head;
        let names = |keys: &[VerifierKey]| {
            keys.iter().map(VerifierKey::fingerprint).collect::<Vec<_>>().join(" and ")
        };
        let mut proven = vec![statement(
            "head-signed",
            format!(
                "The log {} had {size} entries with the root {root}, signed by {}.",
                self.checkpoint.origin,
                names(&self.checkpoint.signed_by)
            ),
        )];
        if !self.endorsed.is_empty() {
            proven.push(statement(
                "keys-endorsed",
                format!("A believed key handed over to {}.", names(&self.endorsed)),
            ));
        }
        proven.push(statement(
            "entries-included",
            format!("The {} entries of the bundle are in that log, byte for byte.", self.entries),
        ));
        proven.extend(match &self.content {
            Content::Range { first: 0, end } if *end == size => {
                Some(statement("log-complete", "They are all entries of that log.".to_owned()))
            }
            Content::Range { first, end } => Some(statement(
                "range-complete",
                format!("They are all entries from {first} to before {end}, none left out, none moved."),
            )),
            Content::Selection { .. } => None,
        });
        let grown = |head: &Head| {
            let (old, new) = (head.size.min(size), head.size.max(size));
            format!("From {old} to {new} entries the log only grew; nothing before was changed")
        };
        proven.extend(
            self.remembered
                .iter()
                .map(|head| statement("log-unchanged", format!("{}: it was remembered.", grown(head)))),
        );
        proven.extend(
            self.others
                .iter()
                .map(|head| statement("checkpoint-consistent", format!("{}: the bundle says.", grown(head)))),
        );
        proven
    }

    /// What was not proven and cannot be concluded.
    pub fn not_proven(&self) -> Vec<Statement> {
        let size = self.checkpoint.head.size;
        let mut open = Vec::new();
        match &self.content {
            Content::Selection { .. } => open.push(statement(
                "selection-complete",
                "That no other entry of the log fits the selection: only a range shows that.".to_owned(),
            )),
            Content::Range { first: 0, end } if *end == size => {}
            Content::Range { .. } => open.push(statement(
                "entries-outside",
                "Anything about the entries outside the range.".to_owned(),
            )),
        }
        if self.remembered.is_empty() {
            open.push(statement(
                "log-unchanged",
                "That the log was not rewritten before it was signed: no remembered head was given to compare with."
                    .to_owned(),
            ));
        }
        open.push(statement("later-entries", format!("What was recorded after the first {size} entries.")));
        open.push(statement("meaning", "That what the entries say is true.".to_owned()));
        open
    }
}

fn statement(code: &'static str, text: String) -> Statement {
    Statement { code, text }
}
