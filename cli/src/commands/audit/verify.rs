//! `aegisctl audit verify`: what a bundle proves to somebody who has it and a public key, and trusts nobody.

mod answer;
mod bundle;
mod live;

use std::path::PathBuf;

use aegis_evidence::{LogKeys, VerifierKey};

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
    let keys = believed(command)?;
    let remembered = command.remember.as_deref().map(Remembered::read).transpose()?;
    let settings = Settings::resolve(options)?;
    let answer = match remembered.as_ref().map(|remembered| remembered.head(&keys)).transpose() {
        Err(error) => Answer::of_remembered(&error),
        Ok(head) => match &command.file {
            Some(file) => bundle::verify(file, keys, head.flatten())?,
            None => live::verify(&settings.client()?, &keys, head.flatten()).await?,
        },
    };
    if let (Some(remembered), Some(note)) = (&remembered, &answer.to_remember) {
        remembered.renew(note)?;
    }
    answer.write(settings.output)?;
    Ok(answer.verdict)
}

fn believed(command: &Verify) -> Result<LogKeys, Failure> {
    let mut keys = command.keys.clone();
    if let Some(path) = &command.keys_file {
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|source| Cause::File { path: path.clone(), source })?;
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
