//! `aegisctl audit export`: takes entries away.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use http::Method;

use crate::client::{Client, Pieces};
use crate::commands::audit::EntryFilter;
use crate::commands::audit::remembered::Remembered;
use crate::failure::{Cause, Failure};
use crate::progress::Progress;
use crate::settings::Settings;

/// How long nothing is said of an export's progress, and how often something is after that.
const QUIET: Duration = Duration::from_secs(2);

/// What to take away.
#[derive(Debug, clap::Args)]
pub(crate) struct Export {
    #[command(flatten)]
    filter: EntryFilter,
    /// Index of the first entry, from 0
    #[arg(long, value_name = "INDEX")]
    first: Option<u64>,
    /// Index behind the last entry
    #[arg(long, value_name = "INDEX")]
    end: Option<u64>,
    /// Prove everything under the checkpoint of a log of so many entries; the newest if absent
    #[arg(long, value_name = "SIZE")]
    checkpoint: Option<u64>,
    /// File with a checkpoint that was verified before: the bundle proves that the log has only grown since
    #[arg(long, value_name = "FILE")]
    remember: Option<PathBuf>,
    /// What to write: bundle (with everything that proves the entries), jsonl (the entries alone) or csv
    #[arg(long, value_enum, default_value_t = Form::Bundle, hide_possible_values = true)]
    format: Form,
    /// File to write, which is there only when all of it is; standard output if absent
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    Bundle,
    Jsonl,
    Csv,
}

/// Runs the command.
pub(super) async fn run(command: &Export, client: &Client, settings: &Settings<'_>) -> Result<(), Failure> {
    let remembered = command.remember.as_deref().map(|path| Remembered::read(path)?.size()).transpose()?;
    let form = match command.format {
        Form::Bundle => "bundle",
        Form::Jsonl => "jsonl",
        Form::Csv => "csv",
    };
    let call = command.filter.add_to(client.api(Method::GET, &["audit", "export"]).query("format", form));
    let call = call
        .query_some("first", command.first)
        .query_some("end", command.end)
        .query_some("checkpoint", command.checkpoint)
        .query_some("remembered", remembered.flatten());
    let pieces = client.open(&call).await?;
    let progress = Progress::new(settings.is_plain);
    match &command.out {
        None => write_all(pieces, &mut io::stdout().lock(), Failure::from, progress).await,
        Some(path) => write_file(pieces, path, progress).await,
    }
}

/// Writes beside the file, and moves it there when it is whole and on the disk.
async fn write_file(pieces: Pieces<'_>, path: &Path, progress: Progress) -> Result<(), Failure> {
    let mut name = path.as_os_str().to_owned();
    name.push(".partial");
    let partial = PathBuf::from(name);
    let cannot = |source: io::Error| Failure::from(Cause::Unwritten { path: partial.clone(), source });
    let mut file = File::create(&partial).map_err(cannot)?;
    let left = || format!("{} holds what came; `audit verify` calls it incomplete", partial.display());
    write_all(pieces, &mut file, cannot, progress).await.map_err(|failure| failure.with_note(left()))?;
    file.sync_all().and_then(|()| std::fs::rename(&partial, path)).map_err(cannot)
}

async fn write_all(
    mut pieces: Pieces<'_>,
    to: &mut impl Write,
    cannot: impl Fn(io::Error) -> Failure,
    mut progress: Progress,
) -> Result<(), Failure> {
    let mut bytes: u64 = 0;
    let mut said = Instant::now();
    while let Some(piece) = pieces.next().await? {
        to.write_all(&piece).map_err(&cannot)?;
        bytes += piece.len() as u64;
        if said.elapsed() >= QUIET {
            said = Instant::now();
            progress.show(&format!("{} MiB so far", bytes >> 20));
        }
    }
    to.flush().map_err(cannot)
}
