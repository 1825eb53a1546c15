//! Has something made that comes with a secret, and brings the secret to where it is wanted.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde_json::Value;

use crate::client::{Call, Client};
use crate::exit::Exit;
use crate::failure::{Cause, Failure};
use crate::settings::Settings;

/// Sends the call and writes its answer. The secret is a member of one item of the answer's `list`; it goes into the new
/// file `out` if there is one, else where the rest of the answer goes. `first` is what is shown first.
pub(crate) async fn make(
    client: &Client,
    call: &Call,
    (list, first): (&str, &[&str]),
    out: Option<&Path>,
    settings: &Settings<'_>,
) -> Result<Exit, Failure> {
    // Opened first: a secret that cannot be kept must not be made.
    let mut kept = out.map(|path| Ok::<_, Failure>((path, new_file(path)?))).transpose()?;
    let mut made = match client.send(call).await {
        Ok(answer) => answer.body,
        Err(failure) => {
            if let Some((path, _)) = kept {
                // It is empty; that it stays harms nobody, and the failure is what is to be told.
                let _ = fs::remove_file(path);
            }
            return Err(failure);
        }
    };
    let items = made[list].as_array_mut().map(Vec::as_mut_slice).unwrap_or_default();
    let item = items.iter_mut().filter_map(Value::as_object_mut).find(|item| item.contains_key("secret"));
    let is_shown = item.is_some() && kept.is_none();
    if let (Some((path, file)), Some(item)) = (&mut kept, item) {
        let secret = item.remove("secret").unwrap_or_default();
        let text = format!("{}\n", secret.as_str().unwrap_or_default());
        let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
        written.map_err(|source| Cause::Unwritten { path: path.to_owned(), source })?;
    }
    settings.output.document(&made, first)?;
    if is_shown {
        eprintln!("keep the secret: it is not shown again");
    }
    Ok(Exit::Done)
}

fn new_file(path: &Path) -> Result<File, Failure> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.map_err(|source| Cause::Unwritten { path: path.to_owned(), source }.into())
}
