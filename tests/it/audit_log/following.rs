//! `aegisctl audit tail`: every entry once and in order, whatever happens to the server, and nothing about reading.

use aegis_tests::eventually::eventually;
use aegis_tests::stack::{Stack, StackOptions};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::auditor::Auditor;
use super::{WITHIN, settled};

async fn evaluate(stack: &Stack) -> Result<()> {
    let question = json!({ "action": "restart", "resource": "k8s/local/shop/Deployment/web" });
    eventually("a decision", WITHIN, async || {
        let answer = stack.client()?.post("/api/v1/policy/evaluate", &question).await;
        Ok(answer.is_ok_and(|answer| answer.status == 200).then_some(()))
    })
    .await
}

/// What was followed so far: places and kinds.
fn followed(auditor: &Auditor) -> Result<Vec<(u64, String)>> {
    let written = std::fs::read_to_string(auditor.at("tail")).unwrap_or_default();
    let whole = &written[..written.rfind('\n').map_or(0, |end| end + 1)];
    let read = |line: &str| {
        let placed: Value = serde_json::from_str(line)?;
        let kind = placed["entry"]["kind"].as_str().context("a kind")?.to_owned();
        Ok((placed["index"].as_u64().context("an index")?, kind))
    };
    whole.lines().map(read).collect()
}

/// What is to be followed.
fn told(entries: &[(i64, String, Vec<u8>)]) -> Result<Vec<(u64, String)>> {
    let mut told = Vec::new();
    for (index, _, body) in entries {
        let entry: Value = serde_json::from_slice(body)?;
        let kind = entry["kind"].as_str().context("a kind")?.to_owned();
        if kind != "audit.read" {
            told.push((u64::try_from(*index)?, kind));
        }
    }
    Ok(told)
}

#[tokio::test]
async fn whoever_follows_gets_every_entry_once_in_order_and_none_about_reading() -> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    let auditor = Auditor::of(&stack).await?;
    evaluate(&stack).await?;
    let tail = auditor.follow("tail", &["--from", "0"])?;
    eventually("the past being followed", WITHIN, async || {
        Ok(followed(&auditor)?.iter().any(|(_, kind)| kind == "decision.made").then_some(()))
    })
    .await?;

    stack.control_plane(0).kill()?;
    stack.control_plane(0).restart().await?;
    evaluate(&stack).await?;
    // Reading adds entries of which nothing is told.
    stack.admin()?.get("/api/v1/audit/entries?kind=user.created").await?.expect(200)?;
    evaluate(&stack).await?;
    let expected = eventually("all being followed", WITHIN, async || {
        let log = settled(&stack).await?;
        let expected = told(&log.entries)?;
        ensure!(followed(&auditor)? == expected, "{:?} is not {expected:?}", followed(&auditor)?);
        Ok(Some(expected))
    })
    .await?;
    assert_eq!(expected.iter().filter(|(_, kind)| kind == "decision.made").count(), 3);
    drop(tail);
    let readings =
        stack.admin()?.get("/api/v1/audit/entries?kind=audit.read&limit=200").await?.expect(200)?.body;
    let mut readings = readings["items"].as_array().into_iter().flatten();
    assert!(readings.any(|entry| entry["data"]["filter"]["tail"].is_object()), "following is reading");

    let end = expected.last().context("entries")?.0 + 1;
    let end = end.to_string();
    let text = auditor.ask("table", &["audit", "tail", "--from", "0", "--end", &end]).await?;
    assert_eq!(text.lines().count(), expected.len(), "{text}");
    let some = ["audit", "tail", "--from", "0", "--end", &end, "--kind", "decision.made"];
    assert_eq!(auditor.ask("jsonl", &some).await?.lines().count(), 3);

    let otto = stack.new_person("olga", &["auditor"]).await?;
    let beyond = otto.get("/api/v1/audit/tail?first=1000000").await?.expect(400)?;
    assert!(beyond.text.contains("the log has"), "{}", beyond.text);
    otto.get("/api/v1/audit/tail?kind=audit.read").await?.expect(400)?;
    let nothing = otto.get("/api/v1/audit/tail").await?.expect(200)?.body;
    assert_eq!((&nothing["entries"], &nothing["next"]), (&json!([]), &nothing["size"]));
    Ok(())
}
