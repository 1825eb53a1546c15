//! Checkpoints are kept elsewhere too, and whoever watches sees whether they are.

use std::fs;

use aegis_tests::callers::Caller;
use aegis_tests::eventually::{eventually, until};
use aegis_tests::paths::RunFolder;
use aegis_tests::receiver::Receiver;
use aegis_tests::stack::{Stack, StackOptions};
use anyhow::{Context, Result, ensure};

use super::stored::log_keys;
use super::{WITHIN, settled};

/// When the mirror called `name` last took a checkpoint, as the metrics have it.
async fn taken_at(stack: &Stack, name: &str) -> Result<Option<f64>> {
    let page = Caller::anonymous(stack.control_plane(0).url())?.get("/metrics").await?.expect(200)?.text;
    let line = format!("aegis_audit_log_published_timestamp_seconds{{mirror=\"{name}\"}} ");
    page.lines().find_map(|found| found.strip_prefix(&line)).map(|value| Ok(value.parse()?)).transpose()
}

#[tokio::test]
async fn the_newest_checkpoint_reaches_every_mirror_and_one_that_is_away_is_told_from_the_others()
-> Result<()> {
    let folder = RunFolder::create("mirror")?;
    let receiver = Receiver::start().await?;
    let host = receiver.url().trim_end_matches("/notifications").to_owned();
    let file = format!("file:{}", folder.path().display());
    let mirrors = format!("{file},{host}/objects/{{size}}?key=hunter2,{}", receiver.url());
    let settings = vec![
        ("CHECKPOINT_MIRRORS".to_owned(), mirrors),
        ("CHECKPOINT_MIRROR_SECONDS".to_owned(), "1".to_owned()),
    ];
    let stack =
        Stack::start(StackOptions { control_plane_settings: settings, ..StackOptions::default() }).await?;
    stack.allow_everything().await?;
    let keys = log_keys(&stack).await?;
    let size = settled(&stack).await?.entries.len() as u64;

    let latest = folder.path().join("latest.checkpoint");
    let note = eventually("the folder having all of the log", WITHIN, async || {
        let note = fs::read(&latest)?;
        Ok((keys.open(&note)?.head.size >= size).then_some(note))
    })
    .await?;
    let published = keys.open(&note)?.head.size;
    let by_size = folder.path().join(format!("{published:016}.checkpoint"));
    ensure!(fs::read(by_size)? == note, "each checkpoint keeps a file of its own");
    let note = String::from_utf8(note)?;
    until("the same checkpoint as object and message", WITHIN, async || {
        let received = receiver.received();
        let came = |request: &str| received.iter().any(|came| came.request == request && came.text == note);
        Ok(came(&format!("PUT /objects/{published}?key=hunter2")) && came("POST /notifications"))
    })
    .await?;

    receiver.stop_listening();
    let both = async || -> Result<(f64, f64)> {
        let folder = taken_at(&stack, &file).await?.context("the folder is measured")?;
        Ok((taken_at(&stack, &host).await?.context("the mirror is measured")?, folder))
    };
    let mut since = both().await?;
    let away = eventually("the folder being served on, and the other mirror not", WITHIN, async || {
        let (mirror, folder) = both().await?;
        if mirror > since.0 {
            // It was under way.
            since = (mirror, folder);
        }
        Ok((folder > since.1 + 1.5).then_some(mirror))
    })
    .await?;
    receiver.listen().await?;
    until("the mirror being served again", WITHIN, async || {
        Ok(taken_at(&stack, &host).await?.is_some_and(|at| at > away))
    })
    .await
}
