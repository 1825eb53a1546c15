//! Exports that end before they are whole, and one that takes longer than the database is away.

use aegis_evidence::bundle::{Class, Line, Verifier};
use aegis_tests::database::execute;
use aegis_tests::eventually::{eventually, until};
use aegis_tests::stack::{Stack, StackOptions};
use anyhow::{Context, Result};
use reqwest::Response;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection, raw_sql};

use super::auditor::Auditor;
use super::exports::{ENTRIES, NEW_ID, ask};
use super::{WITHIN, settled};

fn index_of(lines: &[Vec<u8>], wanted: &Value) -> Result<usize> {
    let is = |line: &Vec<u8>| serde_json::from_slice(line).is_ok_and(|value: Value| value == *wanted);
    lines.iter().position(is).context("it is among the lines")
}

#[tokio::test]
async fn an_export_that_broke_off_is_incomplete_and_is_continued_under_its_checkpoint() -> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    ask(&stack.client()?, ENTRIES).await?;
    settled(&stack).await?;
    let auditor = Auditor::of(&stack).await?;
    let lines = auditor.export("whole", &[]).await?;
    let size = match serde_json::from_slice(&lines[0])? {
        Line::Manifest(manifest) => auditor.keys.open(manifest.checkpoint.as_bytes())?.head.size,
        _ => anyhow::bail!("a bundle begins with its manifest"),
    };
    for kept in 0..lines.len() {
        let mut verifier = Verifier::new(auditor.keys.clone(), Vec::new());
        for line in &lines[..kept] {
            verifier.line(line)?;
        }
        let fault = verifier.finish().expect_err("nothing that is cut off is accepted");
        let expected = if kept == 0 { Class::Unreadable } else { Class::Incomplete };
        assert_eq!(fault.class(), expected, "after {kept} lines: {fault}");
    }

    // A disk that takes no more leaves as much as it took.
    let told = auditor.full_disk("full", 64).await?;
    assert!(told.contains("cannot write full.partial"), "{told}");
    let (code, said) = auditor.verify(&["full.partial"]).await?;
    assert_eq!((code, &said["code"]), (3, &json!("bundle-truncated")));

    // The log grows, and the rest is asked for under the checkpoint of the beginning.
    ask(&stack.client()?, 20).await?;
    let second = lines.iter().rposition(|line| line.starts_with(b"{\"block\"")).context("blocks")?;
    let rest = auditor.export("rest", &["--first", "256", "--checkpoint", &size.to_string()]).await?;
    assert_eq!(auditor.verify(&["rest"]).await?.0, 0);
    let end = index_of(&rest, &json!({ "end": { "entries": size - 256 } }))?;
    let whole = [&lines[..second], &rest[1..end], &lines[lines.len() - 1..]].concat();
    assert_eq!(whole, lines, "it is as if it had never broken off");
    Ok(())
}

/// Adds 50 MB to the log: more than all buffers between server and reader hold.
async fn grow_large(stack: &Stack) -> Result<()> {
    let large = "insert into audit.pending (id, kind, at, principal, body) \
        select id, 'user.created', at, 'operator:command-line', convert_to(format( \
            '{\"at\":\"%s\",\"data\":{\"x\":\"%s\"},\"id\":\"%s\",\"kind\":\"user.created\",\"principal\":\"operator:command-line\",\
            \"schema\":\"aegis.entry/v1\"}', to_char(at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), repeat('x', 250000), id), 'UTF8') \
        from (select NEW_ID as id, date_trunc('second', now()) as at from generate_series(1, 20)) new";
    // Few at a time: a batch of all of them could take a slow machine longer than a statement may.
    for _ in 0..10 {
        execute(&stack.control_plane_database().url, large.replace("NEW_ID", NEW_ID)).await?;
        until("every entry having its place", WITHIN, async || {
            let none =
                "do $$ begin if exists (select from audit.pending) then raise 'some wait'; end if; end $$";
            execute(&stack.control_plane_database().superuser_url, none.to_owned()).await.map(|()| true)
        })
        .await?;
    }
    Ok(())
}

/// An export that is read as far as the reader likes.
async fn begun(stack: &Stack) -> Result<Response> {
    let http = reqwest::Client::builder().no_proxy().build()?;
    let url = format!("{}/api/v1/audit/export", stack.control_plane(0).url());
    let asking = http.get(url).bearer_auth(&stack.admin_user().access_token);
    eventually("an export", WITHIN, async || {
        let asking = asking.try_clone().context("it has no body")?;
        Ok(Some(asking.send().await?.error_for_status()?))
    })
    .await
}

#[tokio::test]
async fn a_large_log_leaves_in_little_memory_and_a_server_that_is_killed_leaves_what_is_called_incomplete()
-> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    let auditor = Auditor::of(&stack).await?;
    grow_large(&stack).await?;
    let before = peak_mebibytes(&stack)?;
    let whole = auditor.export("whole", &[]).await?;
    let grown = peak_mebibytes(&stack)? - before;
    eprintln!("the server's memory grew by {grown} MiB at most");
    assert!(grown < 40, "the server held {grown} MiB more than before");
    assert_eq!(auditor.verify(&["whole"]).await?.0, 0);

    let mut answer = begun(&stack).await?;
    let mut came = answer.chunk().await?.context("it begins")?.to_vec();
    stack.control_plane(0).kill()?;
    while let Ok(Some(chunk)) = answer.chunk().await {
        came.extend(chunk);
    }
    assert!(came.len() < whole.iter().map(Vec::len).sum(), "all of it came before the server died");
    std::fs::write(auditor.at("killed"), came)?;
    let (code, said) = auditor.verify(&["killed"]).await?;
    assert_eq!((code, &said["code"]), (3, &json!("bundle-truncated")));
    Ok(())
}

#[tokio::test]
async fn an_export_outlives_a_database_that_cannot_be_read_for_a_while() -> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    let auditor = Auditor::of(&stack).await?;
    grow_large(&stack).await?;
    let mut answer = begun(&stack).await?;
    let mut came = answer.chunk().await?.context("it begins")?.to_vec();
    let mut holder = PgConnection::connect(&stack.control_plane_database().superuser_url).await?;
    raw_sql("begin; lock table audit.entries in access exclusive mode").execute(&mut holder).await?;
    let rest = tokio::spawn(async move {
        while let Some(chunk) = answer.chunk().await? {
            came.extend(chunk);
        }
        anyhow::Ok(came)
    });
    until("the export waiting", WITHIN, async || {
        Ok(stack.control_plane(0).process().log_tail(2000).contains("an export waits for the database"))
    })
    .await?;
    holder.close().await?;
    std::fs::write(auditor.at("late"), rest.await??)?;
    let (code, said) = auditor.verify(&["late"]).await?;
    assert_eq!(code, 0, "{said}");
    Ok(())
}

/// The most memory that the control plane has had so far.
fn peak_mebibytes(stack: &Stack) -> Result<u64> {
    let pid = stack.control_plane(0).process().pid().context("it runs")?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("a peak")?;
    Ok(peak.trim().trim_end_matches("kB").trim().parse::<u64>()? >> 10)
}
