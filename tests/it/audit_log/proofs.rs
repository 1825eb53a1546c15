//! What the API gives to verify the log with: to us, and to Go's own checksum database client.

use std::collections::BTreeMap;
use std::path::Path;

use aegis_evidence::{Consistency, Evidence, Hash, Head, Kept, Tile};
use aegis_tests::callers::Caller;
use aegis_tests::paths::checkout;
use aegis_tests::process::Launch;
use aegis_tests::stack::{Stack, StackOptions};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::settled;
use super::stored::log_keys;

/// Entries that are asked for besides those of the stack's own beginning: more than a tile.
const ENTRIES: usize = 280;

async fn ask(client: &Caller, times: usize) -> Result<()> {
    let question = json!({ "action": "restart", "resource": "k8s/local/shop/Deployment/web" });
    for _ in 0..times {
        client.post("/api/v1/policy/evaluate", &question).await?.expect(200)?;
    }
    Ok(())
}

async fn checkpoint(auditor: &Caller) -> Result<String> {
    Ok(auditor.get("/api/v1/audit/log/checkpoint").await?.expect(200)?.text)
}

/// A tile as it is served, for programs that know our addresses and nothing else of us.
async fn tile(stack: &Stack, tile: Tile) -> Result<Vec<u8>> {
    let url = format!("{}/api/v1/audit/log/tile/{tile}", stack.control_plane(0).url());
    let http = reqwest::Client::builder().no_proxy().build()?;
    let answer = http.get(url).bearer_auth(&stack.admin_user().access_token).send().await?;
    Ok(answer.error_for_status()?.bytes().await?.to_vec())
}

#[tokio::test]
async fn every_entry_is_proven_under_the_newest_checkpoint_and_the_log_from_every_earlier_one() -> Result<()>
{
    let stack = Stack::start(StackOptions::default()).await?;
    let (client, auditor) = (stack.client()?, stack.new_person("otto", &["auditor"]).await?);
    let keys = log_keys(&stack).await?;
    let told = auditor.get("/api/v1/audit/log/keys").await?.expect(200)?.body;
    assert_eq!(told["origin"], keys.origin());
    assert_eq!(told["keys"][0]["key"], json!(keys.keys()[0].to_string()));
    assert_eq!(told["keys"][0]["fingerprint"], json!(keys.keys()[0].fingerprint()));

    ask(&client, 3).await?;
    let first = keys.open(checkpoint(&auditor).await?.as_bytes())?.head;
    ask(&client, ENTRIES).await?;
    let log = settled(&stack).await?;
    for (index, id, body) in log.entries.iter().step_by(40) {
        let path = format!("/api/v1/audit/entries/{id}/evidence?from={}", first.size);
        let evidence: Evidence = serde_json::from_value(auditor.get(&path).await?.expect(200)?.body)?;
        assert_eq!(evidence.index, index.cast_unsigned());
        evidence.verify(body, &keys, &Kept::new(vec![first])?)?;
        assert!(evidence.verify(b"{}", &keys, &Kept::new(vec![first])?).is_err());
    }
    let heads: Vec<Head> = log
        .checkpoints
        .iter()
        .map(|(_, _, note)| Ok(keys.open(note.as_bytes())?.head))
        .collect::<Result<_>>()?;
    for pair in heads.windows(2).step_by(20) {
        let path = format!("/api/v1/audit/log/consistency?from={}&to={}", pair[0].size, pair[1].size);
        let proof: Consistency = serde_json::from_value(auditor.get(&path).await?.expect(200)?.body)?;
        Kept::new(vec![pair[0]])?.keep(pair[1], &[proof])?;
    }
    for path in ["consistency?from=0&to=1", "consistency?from=2&to=1", "consistency?from=1&to=9999999"] {
        let refused = auditor.get(&format!("/api/v1/audit/log/{path}")).await?;
        assert_eq!(refused.status, 400, "{path}: {}", refused.text);
    }
    // A proof is there as soon as an entry is, whoever is asked.
    for _ in 0..20 {
        let entries =
            auditor.get("/api/v1/audit/entries?limit=1&kind=decision.made").await?.expect(200)?.body;
        let id = entries["items"][0]["id"].as_str().context("an id")?.to_owned();
        auditor.get(&format!("/api/v1/audit/entries/{id}/evidence")).await?.expect(200)?;
        ask(&client, 1).await?;
    }
    Ok(())
}

#[tokio::test]
async fn go_verifies_checkpoints_tiles_and_proofs_as_they_are_served() -> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    let (client, auditor) = (stack.client()?, stack.admin()?);
    let keys = log_keys(&stack).await?;
    let folder = tempfile::tempdir()?;
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("key"), keys.keys()[0].to_string())?;
    ask(&client, 3).await?;
    let old = checkpoint(&auditor).await?;
    std::fs::write(at("old"), &old)?;
    ask(&client, ENTRIES).await?;
    let log = settled(&stack).await?;
    let new = checkpoint(&auditor).await?;
    std::fs::write(at("new"), &new)?;
    let (old, new) = (keys.open(old.as_bytes())?.head, keys.open(new.as_bytes())?.head);

    for level in 0..2 {
        for wanted in (0..).map_while(|index| Tile::in_tree(level, index, new.size)) {
            write(&at("tile").join(wanted.to_string()), &tile(&stack, wanted).await?)?;
        }
    }
    ensure!(at("tile/1/000.p/1").exists(), "the log is too small to show anything");
    let path = format!("/api/v1/audit/log/consistency?from={}&to={}", old.size, new.size);
    let consistency = auditor.get(&path).await?.expect(200)?.body;
    let mut inclusions = Vec::new();
    for (_, id, body) in log.entries.iter().step_by(60) {
        let evidence = auditor.get(&format!("/api/v1/audit/entries/{id}/evidence")).await?.expect(200)?.body;
        ensure!(keys.open(evidence["checkpoint"].as_str().unwrap_or_default().as_bytes())?.head == new);
        inclusions.push(json!({
            "Index": evidence["index"], "Leaf": Hash::leaf(body), "Proof": evidence["inclusion"],
        }));
    }
    let mut proofs = json!({ "Consistency": consistency["hashes"], "Inclusions": inclusions });
    let answer: BTreeMap<String, String> =
        serde_json::from_str(&verified_in_go(folder.path(), &proofs).await?)?;
    assert!(answer["checkpoint"].starts_with(keys.origin()), "{answer:?}");
    proofs["Inclusions"][1]["Leaf"] = json!(Hash::EMPTY);
    assert!(verified_in_go(folder.path(), &proofs).await.is_err(), "the peer does not look");
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::create_dir_all(path.parent().context("a folder")?)?;
    Ok(std::fs::write(path, bytes)?)
}

/// What `golang.org/x/mod/sumdb` says of the folder.
async fn verified_in_go(folder: &Path, proofs: &Value) -> Result<String> {
    std::fs::write(folder.join("proofs.json"), proofs.to_string())?;
    let peer = checkout().join("tests/peers/transparency_log");
    Launch::new("go").inherit_environment().args(["run", "."]).arg(folder).folder(peer).output().await
}
