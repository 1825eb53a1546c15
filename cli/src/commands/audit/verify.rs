//! `aegisctl audit verify`: what a bundle proves to somebody who has it and a public key, and trusts nobody.

mod answer;
pub(super) mod bundle;
mod live;

use std::path::{Path, PathBuf};

use aegis_evidence::note::NoteError;
use aegis_evidence::{EndorsementError, Head, LogKeys, VerifierKey};

use crate::arguments::Options;
use crate::commands::audit::remembered::Remembered;
use crate::exit::Verdict;
use crate::failure::{Cause, Failure};
use crate::settings::Settings;
use answer::Answer;

/// What to verify, and what is believed.
#[derive(Debug, clap::Args)]
pub(crate) struct Verify {
    /// Evidence bundle to verify
    #[arg(value_name = "FILE", required_unless_present = "live", conflicts_with = "live")]
    file: Option<PathBuf>,
    /// Key of the log to believe, as its operator told you: NAME+ID+KEY; may be given more than once
    #[arg(long = "key", value_name = "KEY")]
    keys: Vec<VerifierKey>,
    /// File of such keys, one a line; lines that begin with # are left out
    #[arg(long = "keys", value_name = "FILE", required_unless_present = "keys")]
    keys_file: Option<PathBuf>,
    /// File that keeps the newest checkpoint that was verified: the log must have only grown since
    #[arg(long, value_name = "FILE")]
    remember: Option<PathBuf>,
    /// Verify the server's newest checkpoint instead of a bundle
    #[arg(long)]
    live: bool,
}

/// Runs the command.
pub(crate) async fn run(command: &Verify, options: &Options) -> Result<Verdict, Failure> {
    let keys = believed(&command.keys, command.keys_file.as_deref())?;
    let remembered = command.remember.as_deref().map(Remembered::read).transpose()?;
    let settings = Settings::resolve(options)?;
    let answer = match &command.file {
        Some(file) => {
            let endorsements = bundle::endorsements(file)?;
            match judged(&keys, &endorsements, remembered.as_ref()) {
                Err(answer) => answer,
                Ok((_, head)) => bundle::verify(file, keys, head)?,
            }
        }
        None => {
            let client = settings.client()?;
            let endorsements = live::endorsements(&client).await?;
            match judged(&keys, &endorsements, remembered.as_ref()) {
                Err(answer) => answer,
                Ok((keys, head)) => live::verify(&client, &keys, head).await?,
            }
        }
    };
    if let (Some(remembered), Some(note)) = (&remembered, &answer.to_remember) {
        remembered.renew(note)?;
    }
    answer.write(settings.output)?;
    Ok(answer.verdict)
}

/// The keys that are believed by what one hands over to the next, and the head that is remembered: the newest key may
/// have signed it alone.
fn judged(
    keys: &LogKeys,
    endorsements: &[String],
    remembered: Option<&Remembered>,
) -> Result<(LogKeys, Option<Head>), Answer> {
    let mut keys = keys.clone();
    for endorsement in endorsements {
        match keys.accept(endorsement.as_bytes()) {
            // One by nobody known may be from before the keys that were given.
            Ok(_) | Err(EndorsementError::Note(NoteError::KeyUnknown)) => {}
            Err(error) => return Err(Answer::of_fault(&error.into())),
        }
    }
    let head = remembered.map(|remembered| remembered.head(&keys)).transpose();
    let head = head.map_err(|error| Answer::of_remembered(&error))?;
    Ok((keys, head.flatten()))
}

/// The keys that are believed: those given, and those of a file.
pub(super) fn believed(given: &[VerifierKey], file: Option<&Path>) -> Result<LogKeys, Failure> {
    let mut keys = given.to_vec();
    if let Some(path) = file {
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|source| Cause::File { path: path.to_owned(), source })?;
        for (line, key) in
            (1..).zip(text.lines()).filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        {
            let key: Result<VerifierKey, _> = key.parse();
            keys.push(key.map_err(|error| {
                Failure::usage(format!("{}, line {line}: {error}", path.display()))
                    .with_note("`aegis-control-plane log-key` prints the key as it belongs here")
            })?);
        }
    }
    LogKeys::new(keys).map_err(Failure::usage)
}
