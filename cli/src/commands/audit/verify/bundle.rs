//! Verifying a file: line by line, in memory that grows with actions and not with entries.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use aegis_evidence::bundle::{Content, Fault, LINE_BYTES_MAX, Line, Report, Verifier};
use aegis_evidence::{Head, LogKeys};
use aegis_runtime::lines::next_line;

use super::answer::Answer;
use crate::commands::audit::meaning::Meaning;
use crate::failure::{Cause, Failure};

/// What the bundle proves.
pub(super) fn verify(path: &Path, keys: LogKeys, remembered: Option<Head>) -> Result<Answer, Failure> {
    let mut meaning = Meaning::default();
    let verifier = Verifier::new(keys, remembered.into_iter().collect());
    let Read { outcome, checkpoint } = read_file(path, verifier, |index, entry| meaning.take(index, entry))?;
    let report = match outcome {
        Err(fault) => return Ok(Answer::of_fault(&fault)),
        Ok(report) => report,
    };
    // A later head than the one remembered is the one to remember.
    let is_newer = remembered.is_none_or(|head| head.size < report.checkpoint.head.size);
    let open = match is_whole(&report).then(|| meaning.finish()).transpose() {
        Err(contradiction) => return Ok(Answer::of_contradiction(&contradiction)),
        Ok(open) => open,
    };
    Ok(Answer::of_report(&report, open, checkpoint.filter(|_| is_newer)))
}

/// How the keys of the log handed over, as the manifest has it; none where there is no manifest.
pub(super) fn endorsements(path: &Path) -> Result<Vec<String>, Failure> {
    let cannot = |source| Failure::from(Cause::File { path: path.to_owned(), source });
    let mut line = Vec::new();
    let mut file = BufReader::new(File::open(path).map_err(cannot)?);
    next_line(&mut file, LINE_BYTES_MAX, &mut line).map_err(cannot)?;
    Ok(match serde_json::from_slice(&line) {
        Ok(Line::Manifest(manifest)) => manifest.endorsements,
        _ => Vec::new(),
    })
}

/// What came out of a file.
pub(crate) struct Read {
    pub(crate) outcome: Result<Report, Fault>,
    /// The checkpoint of the manifest.
    checkpoint: Option<String>,
}

/// Reads a bundle, and hands over every entry once it is proven to be in the log.
///
/// # Errors
/// When the file cannot be read.
pub(crate) fn read_file(
    path: &Path,
    verifier: Verifier,
    sink: impl FnMut(u64, &[u8]),
) -> Result<Read, Failure> {
    let cannot = |source| Failure::from(Cause::File { path: path.to_owned(), source });
    let file = BufReader::new(File::open(path).map_err(cannot)?);
    read(file, verifier, sink).map_err(cannot)
}

fn is_whole(report: &Report) -> bool {
    matches!(report.content, Content::Range { first: 0, end } if end == report.checkpoint.head.size)
}

fn read(
    mut file: impl BufRead,
    mut verifier: Verifier,
    mut sink: impl FnMut(u64, &[u8]),
) -> io::Result<Read> {
    let mut checkpoint = None;
    let mut line = Vec::new();
    while next_line(&mut file, LINE_BYTES_MAX, &mut line)? {
        match verifier.line(&line) {
            Ok(Some(index)) => sink(index, &line),
            Ok(None) if checkpoint.is_none() => checkpoint = manifest_checkpoint(&line),
            Ok(None) => {}
            Err(_) => break,
        }
    }
    Ok(Read { outcome: verifier.finish(), checkpoint })
}

fn manifest_checkpoint(line: &[u8]) -> Option<String> {
    match serde_json::from_slice(line) {
        Ok(Line::Manifest(manifest)) => Some(manifest.checkpoint),
        _ => None,
    }
}
