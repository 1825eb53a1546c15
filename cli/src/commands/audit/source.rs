//! Where the entries of a question come from: an evidence bundle that is verified meanwhile, or the server.

use std::path::{Path, PathBuf};

use aegis_evidence::bundle::{Content, Report, Verifier};
use aegis_evidence::{LogKeys, VerifierKey};
use aegis_runtime::clock;
use http::Method;
use jiff::Timestamp;

use crate::client::Client;
use crate::commands::audit::verify::{believed, bundle};
use crate::failure::Failure;
use crate::settings::Settings;

/// Where entries come from.
#[derive(Debug, clap::Args)]
pub(crate) struct SourceOptions {
    /// Evidence bundle to take the entries from, instead of the server; it is verified meanwhile
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    /// Key of the log to believe, as its operator told you: NAME+ID+KEY; may be given more than once
    #[arg(long = "key", value_name = "KEY", requires = "bundle")]
    keys: Vec<VerifierKey>,
    /// File of such keys, one a line; lines that begin with # are left out
    #[arg(long = "keys", value_name = "FILE", requires = "bundle")]
    keys_file: Option<PathBuf>,
}

/// What the entries that were taken are.
pub(crate) struct Taken {
    /// For people.
    pub(crate) from: String,
    /// Whether nothing is left out of the log's part that they are.
    pub(crate) is_gapless: bool,
    /// Whether they begin with the log's first entry.
    pub(crate) from_the_first: bool,
    /// Up to when they tell everything, by the time of the newest one or of the server's answer.
    pub(crate) until: Timestamp,
    /// Since when.
    pub(crate) since: Timestamp,
}

impl SourceOptions {
    /// Whether entries come from the server.
    pub(crate) fn is_live(&self) -> bool {
        self.bundle.is_none()
    }

    /// Hands over every entry of a span of time. A bundle may hold others as well.
    ///
    /// # Errors
    /// Those of the server; of a bundle that is not what it claims.
    pub(crate) async fn take(
        &self,
        settings: &Settings<'_>,
        (from, to): (Timestamp, Timestamp),
        mut sink: impl FnMut(&[u8]),
    ) -> Result<Taken, Failure> {
        if let Some(path) = &self.bundle {
            return self.take_bundle(path, &mut sink);
        }
        let now = clock::now();
        let client = settings.client()?;
        take_live(&client, (from, to), &mut sink).await?;
        Ok(Taken {
            from: settings.url.clone(),
            is_gapless: true,
            from_the_first: false,
            since: from,
            until: to.min(now),
        })
    }

    fn take_bundle(&self, path: &Path, sink: &mut impl FnMut(&[u8])) -> Result<Taken, Failure> {
        let keys: LogKeys = believed(&self.keys, self.keys_file.as_deref())?;
        let (mut since, mut until) = (Timestamp::MAX, Timestamp::MIN);
        let mut note = |_: u64, entry: &[u8]| {
            if let Some(at) = time_of(entry) {
                (since, until) = (since.min(at), until.max(at));
            }
            sink(entry);
        };
        let read = bundle::read_file(path, Verifier::new(keys, Vec::new()), &mut note)?;
        let report: Report = read.outcome.map_err(|fault| {
            Failure::usage(format!("{} is not what it claims: {fault} ({})", path.display(), fault.code()))
                .with_note("`aegisctl audit verify` says more")
        })?;
        let (is_gapless, from_the_first) = match report.content {
            Content::Range { first, .. } => (true, first == 0),
            Content::Selection { .. } => (false, false),
        };
        let size = report.checkpoint.head.size;
        let from = format!("{}, proven under the checkpoint of {size} entries", path.display());
        Ok(Taken { from, is_gapless, from_the_first, since, until })
    }
}

async fn take_live(
    client: &Client,
    (from, to): (Timestamp, Timestamp),
    sink: &mut impl FnMut(&[u8]),
) -> Result<(), Failure> {
    let call = client.api(Method::GET, &["audit", "export"]).query("format", "jsonl");
    let call = call.query("from", &from.to_string()).query("to", &to.to_string());
    let mut pieces = client.open(&call).await?;
    let mut rest = Vec::new();
    while let Some(piece) = pieces.next().await? {
        rest.extend(piece);
        let whole = rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        for line in rest[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            sink(line);
        }
        rest.drain(..whole);
    }
    if rest.is_empty() {
        return Ok(());
    }
    Err(Failure::usage("the server's answer broke off in the middle of an entry").with_note("ask again"))
}

fn time_of(entry: &[u8]) -> Option<Timestamp> {
    #[derive(serde::Deserialize)]
    struct At {
        at: Timestamp,
    }
    serde_json::from_slice::<At>(entry).ok().map(|entry| entry.at)
}
