//! The newest checkpoint that was verified, kept in a file of the auditor's: a log that is rewritten or cut off
//! cannot be told from an honest one without.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use aegis_evidence::{CheckpointError, Head, LogKeys};
use aegis_runtime::clock;

use crate::failure::{Cause, Failure};

/// What a file remembers.
pub(crate) struct Remembered {
    path: PathBuf,
    note: Option<String>,
}

impl Remembered {
    /// Reads the file; without it nothing is remembered yet.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let note = match fs::read_to_string(path) {
            Ok(note) => Some(note),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(Cause::File { path: path.to_owned(), source }.into()),
        };
        Ok(Self { path: path.to_owned(), note })
    }

    /// The head, if its signature is one of these keys'.
    pub(crate) fn head(&self, keys: &LogKeys) -> Result<Option<Head>, CheckpointError> {
        self.note.as_ref().map(|note| Ok(keys.open(note.as_bytes())?.head)).transpose()
    }

    /// The size that it says, for asking for proofs: whoever verifies looks at the signature.
    pub(crate) fn size(&self) -> Result<Option<u64>, Failure> {
        let Some(note) = &self.note else { return Ok(None) };
        let size = note.lines().nth(1).and_then(|line| line.parse().ok());
        size.map(Some).ok_or_else(|| Failure::usage(format!("{} holds no checkpoint", self.path.display())))
    }

    /// Remembers another checkpoint: all of it, or still the one before.
    pub(crate) fn renew(&self, note: &str) -> Result<(), Failure> {
        replace(&self.path, note).map_err(|source| {
            Failure::from(Cause::Unwritten { path: self.path.clone(), source })
                .with_note("what was verified holds; it is only not remembered")
        })
    }
}

fn replace(path: &Path, text: &str) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let next = path.with_file_name(format!(".{name}.{}", clock::new_uuid()));
    let mut file = OpenOptions::new().write(true).create_new(true).open(&next)?;
    let written =
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&next, path));
    if written.is_err() {
        // What is left behind harms nobody; the first error is the one to tell.
        let _ = fs::remove_file(&next);
    }
    written
}
