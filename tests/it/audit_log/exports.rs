//! What auditors take away with `aegisctl audit export`, and what `aegisctl audit verify` makes of it.

use std::collections::BTreeSet;

use aegis_tests::callers::Caller;
use aegis_tests::database::execute;
use aegis_tests::eventually::eventually;
use aegis_tests::stack::{Stack, StackOptions};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::auditor::{Auditor, codes};
use super::{WITHIN, settled};
use crate::actions::scene::{Scene, answered, id_of};

/// Entries that are asked for besides those of the stack's own beginning: more than a tile.
pub(super) const ENTRIES: usize = 280;
/// An id as the control plane makes them, for entries that it did not make.
pub(super) const NEW_ID: &str = "(lpad(to_hex((extract(epoch from clock_timestamp()) * 1000)::bigint), 12, '0') \
    || substr(replace(gen_random_uuid()::text, '-', ''), 13))::uuid";
/// What a person says, which no export may repeat.
const SAID: &str = "because the zebra ate the cable";

pub(super) async fn ask(client: &Caller, times: usize) -> Result<()> {
    let question = json!({ "action": "restart", "resource": "k8s/local/shop/Deployment/web" });
    for _ in 0..times {
        answered(|| client.post("/api/v1/policy/evaluate", &question)).await?.expect(200)?;
    }
    Ok(())
}

/// Switches all triggers off and runs `sql` as superuser.
async fn tamper(stack: &Stack, sql: &str) -> Result<()> {
    let url = &stack.control_plane_database().superuser_url;
    execute(url, format!("set session_replication_role = replica; {sql}")).await
}

#[tokio::test]
async fn a_bundle_of_a_real_log_is_proven_by_a_foreign_copy_of_the_key_and_every_change_is_named()
-> Result<()> {
    let scene = Scene::open(StackOptions::default()).await?;
    scene.deploy_small(&["web"]).await?;
    let mut restart = scene.restart("web");
    restart["reason"] = json!(SAID);
    let action = scene.carry_out(&restart).await?;
    ask(&scene.client, ENTRIES).await?;
    let log = settled(&scene.stack).await?;
    let auditor = Auditor::of(&scene.stack).await?;
    let lines = auditor.export("bundle", &[]).await?;

    let (code, said) = auditor.verify(&["bundle"]).await?;
    assert_eq!(code, 0, "{said}");
    assert_eq!(codes(&said, "proven"), ["head-signed", "entries-included", "log-complete", "entries-fit"]);
    assert_eq!(codes(&said, "notProven"), ["log-unchanged", "later-entries", "meaning"]);
    assert_eq!(said["open"], json!([]), "the only action has its outcome");
    let text = std::fs::read_to_string(auditor.at("bundle"))?;
    assert!(text.contains(&id_of(&action)?) && !text.contains("zebra"), "what people say stays where it is");
    for (_, _, body) in &log.entries {
        ensure!(lines.contains(body), "an entry is not as it is stored: {}", String::from_utf8_lossy(body));
    }

    // The tenth line of the bundle is the entry with index 7: a manifest and a block stand before the first.
    let expect = async |what: &str, lines: Vec<Vec<u8>>, expected: (i32, &str, Option<u64>)| {
        let (code, said) = auditor.verify_lines(&lines).await?;
        let found = (code, said["code"].as_str().unwrap_or_default(), said["entry"].as_u64());
        assert_eq!(found, expected, "{what}: {said}");
        anyhow::Ok(())
    };
    let change = |change: &dyn Fn(&mut Vec<Vec<u8>>)| {
        let mut lines = lines.clone();
        change(&mut lines);
        lines
    };
    let flipped = change(&|lines| lines[9][20] ^= 1);
    expect("a flipped bit", flipped, (2, "entry-mismatch", Some(7))).await?;
    let removed = change(&|lines| drop(lines.remove(9)));
    expect("a removed entry", removed, (2, "entry-mismatch", Some(7))).await?;
    let swapped = change(&|lines| lines.swap(9, 10));
    expect("swapped entries", swapped, (2, "entry-mismatch", Some(7))).await?;
    let unsigned = change(&|lines| {
        let root = String::from_utf8_lossy(&lines[0]).replacen("\\n\\n", "0\\n\\n", 1);
        lines[0] = root.into_bytes();
    });
    expect("a changed checkpoint", unsigned, (2, "signature-invalid", None)).await?;
    let second_block =
        lines.iter().skip(2).position(|line| line.starts_with(b"{\"block\"")).context("two")? + 2;
    let without_tile = change(&|lines| drop(lines.drain(1..second_block)));
    expect("a removed tile", without_tile, (3, "entries-missing", Some(0))).await?;
    let cut = change(&|lines| lines.truncate(40));
    expect("a cut file", cut, (3, "bundle-truncated", None)).await?;
    std::fs::write(auditor.at("cut"), &text[..text.len() - 1])?;
    assert_eq!(auditor.verify(&["cut"]).await?.0, 3, "the last newline is missing");
    // What the log holds and signs may still contradict itself.
    let second = format!(
        "with new as materialized (select {NEW_ID} as id) \
         insert into audit.pending select new.id, kind, at, principal, action_id, request_id, \
             convert_to(replace(convert_from(body, 'UTF8'), e.id::text, new.id::text), 'UTF8') \
         from audit.entries e, new where kind = 'action.ended'"
    );
    tamper(&scene.stack, &second).await?;
    let log = settled(&scene.stack).await?;
    let is_outcome = |body: &[u8]| String::from_utf8_lossy(body).contains("\"kind\":\"action.ended\"");
    let outcomes: Vec<_> = log.entries.iter().filter(|(_, _, body)| is_outcome(body)).collect();
    assert_eq!(outcomes.len(), 2);
    auditor.export("twice", &[]).await?;
    let (code, said) = auditor.verify(&["twice"]).await?;
    let found = (code, said["code"].as_str(), said["entry"].as_i64());
    assert_eq!(found, (2, Some("outcome-twice"), Some(outcomes[1].0)), "{said}");

    std::fs::write(auditor.at("keys"), other_key(&auditor)?)?;
    let (code, said) = auditor.verify(&["bundle"]).await?;
    assert_eq!((code, &said["code"]), (4, &json!("key-unknown")));
    Ok(())
}

/// A key of the log's name that nobody believes.
fn other_key(auditor: &Auditor) -> Result<String> {
    Ok(aegis_evidence::SignerKey::from_seed(auditor.keys.origin(), &[7; 32])?.verifier().to_string())
}

#[tokio::test]
async fn what_the_superuser_changes_is_told_by_export_and_verification() -> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    ask(&stack.client()?, ENTRIES).await?;
    settled(&stack).await?;
    let auditor = Auditor::of(&stack).await?;
    auditor.export("honest", &[]).await?;
    assert_eq!(auditor.verify(&["honest"]).await?.0, 0);
    // Each is done to what stands there then: the first thing that is wrong is named.
    for (sql, expected) in [
        ("delete from audit.entries where index between 70 and 80", (3, "entries-missing", Some(70))),
        (
            "update audit.entries set principal = 'user:nobody' where index = 90",
            (2, "entry-misfiled", Some(90)),
        ),
        (
            "update audit.entries set index = index + 100000 where index in (50, 51); \
             update audit.entries set index = 100101 - index where index > 100000",
            (2, "entry-mismatch", Some(50)),
        ),
        (
            "update audit.entries set body = set_bit(body, 9, 1 - get_bit(body, 9)) where index = 7",
            (2, "entry-mismatch", Some(7)),
        ),
    ] {
        tamper(&stack, sql).await?;
        auditor.export("tampered", &[]).await?;
        let (code, said) = auditor.verify(&["tampered"]).await?;
        let found = (code, said["code"].as_str().unwrap_or_default(), said["entry"].as_u64());
        assert_eq!(found, expected, "{sql}: {said}");
    }
    // Where hashes are missing nothing can be proven: what has come is there, and is called incomplete.
    tamper(&stack, "delete from audit.tiles where level = 0 and index = 1").await?;
    auditor.broken_export("broken", &[]).await?;
    let (code, said) = auditor.verify(&["broken.partial"]).await?;
    assert!(matches!(code, 2 | 3), "{said}");
    Ok(())
}

#[tokio::test]
async fn a_filter_selects_what_it_says_and_every_export_is_an_entry_before_anything_leaves() -> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    let (client, admin) = (stack.client()?, stack.admin()?);
    ask(&client, ENTRIES).await?;
    let log = settled(&stack).await?;
    let auditor = Auditor::of(&stack).await?;
    let of_kind = |kind: &str| {
        let is = |body: &[u8]| serde_json::from_slice(body).is_ok_and(|entry: Value| entry["kind"] == kind);
        log.entries
            .iter()
            .filter(|(_, _, body)| is(body))
            .map(|(_, _, body)| body.clone())
            .collect::<Vec<_>>()
    };
    let size = log.entries.len().to_string();
    let decisions = of_kind("decision.made");
    assert!(decisions.len() >= ENTRIES);
    let bound = ["--end", &size];
    let plain = [&["--format", "jsonl", "--kind", "decision.made"], &bound[..]].concat();
    assert_eq!(auditor.export("plain", &plain).await?, decisions);
    let bundle = [&["--kind", "user.created", "--from", "1d"], &bound[..]].concat();
    let lines = auditor.export("created", &bundle).await?;
    let found: Vec<_> = lines.iter().skip(2).step_by(2).cloned().collect();
    assert_eq!(found, of_kind("user.created"));
    let (code, said) = auditor.verify(&["created"]).await?;
    assert_eq!(
        (code, codes(&said, "proven")),
        (0, vec!["head-signed".to_owned(), "entries-included".to_owned()])
    );
    assert!(codes(&said, "notProven").contains(&"selection-complete".to_owned()), "{said}");
    let table = auditor.export("table", &["--format", "csv", "--first", "3", "--end", "5"]).await?;
    let rows: Vec<_> = table.iter().map(|row| String::from_utf8_lossy(row).into_owned()).collect();
    assert!(rows[0].starts_with("index,id,kind,") && rows[1].starts_with("3,") && rows[2].starts_with("4,"));
    assert_eq!(rows.len(), 3);

    // A slow machine may begin one more than once.
    let exports = async || {
        let found = admin.get("/api/v1/audit/entries?kind=audit.exported").await?.expect(200)?.body;
        let told = found["items"].as_array().into_iter().flatten().map(|entry| &entry["data"]);
        let told = told.map(|data| format!("{} {} {}", data["form"], data["filter"]["kind"], data["first"]));
        anyhow::Ok(told.collect::<BTreeSet<String>>())
    };
    let told = ["\"bundle\" \"user.created\" 0", "\"csv\" null 3", "\"jsonl\" \"decision.made\" 0"];
    assert_eq!(exports().await?, told.map(str::to_owned).into());
    for path in ["?first=5&end=4", "?end=99999999", "?checkpoint=99999999", "?kind=no", "?format=xml"] {
        let refused = admin.get(&format!("/api/v1/audit/export{path}")).await?;
        assert!(matches!(refused.status, 400 | 404), "{path}: {}", refused.text);
    }
    client.get("/api/v1/audit/export").await?.expect(403)?;
    assert_eq!(exports().await?.len(), 3, "what is refused is no export");
    Ok(())
}

/// The log is put back to how it was with `size` entries, as from a backup.
async fn put_back(stack: &Stack, size: u64) -> Result<()> {
    stack.control_plane(0).process().terminate(WITHIN).await?;
    let cut = format!(
        "delete from audit.entries where index >= {size}; delete from audit.checkpoints where size > {size}; \
         delete from audit.tiles where level = 0 and index * 256 + start >= {size}; \
         delete from audit.tiles where level = 1 and (index * 256 + start + 1) * 256 > {size}; \
         update audit.sequencer set size = {size}"
    );
    tamper(stack, &cut).await?;
    stack.control_plane(0).restart().await
}

#[tokio::test]
async fn a_log_that_was_put_back_or_grew_otherwise_is_refused_by_whoever_remembers() -> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    let client = stack.client()?;
    ask(&client, 20).await?;
    let old = settled(&stack).await?.entries.len() as u64;
    let auditor = Auditor::of(&stack).await?;
    let remember = ["--remember", "remembered"];
    let (code, said) = auditor.verify_live(&remember).await?;
    assert_eq!(code, 0, "{said}");
    assert!(codes(&said, "notProven").contains(&"log-unchanged".to_owned()), "nothing was remembered yet");

    ask(&client, 20).await?;
    settled(&stack).await?;
    let before = std::fs::read_to_string(auditor.at("remembered"))?;
    auditor.export("part", &["--first", "5", "--remember", "remembered"]).await?;
    let (code, said) = auditor.verify(&["part", "--remember", "remembered"]).await?;
    assert_eq!(code, 0, "{said}");
    assert!(codes(&said, "proven").contains(&"log-unchanged".to_owned()), "{said}");
    let after = std::fs::read_to_string(auditor.at("remembered"))?;
    let size = |note: &str| auditor.keys.open(note.as_bytes()).map(|opened| opened.head.size);
    assert!(size(&after)? > size(&before)?, "the newer checkpoint is remembered");
    assert_eq!(auditor.verify_live(&remember).await?.0, 0);
    let remembered = size(&std::fs::read_to_string(auditor.at("remembered"))?)?;

    put_back(&stack, old).await?;
    let (code, said) = auditor.verify_live(&remember).await?;
    assert_eq!((code, &said["code"]), (2, &json!("log-forked")), "{said}");
    auditor.export("shorter", &remember).await?;
    let (code, said) = auditor.verify(&[&["shorter"], &remember[..]].concat()).await?;
    assert_eq!((code, &said["code"]), (3, &json!("head-unknown")), "{said}");

    eventually("the log being longer than before", WITHIN, async || {
        ask(&client, 20).await?;
        Ok((settled(&stack).await?.entries.len() as u64 > remembered).then_some(()))
    })
    .await?;
    let (code, said) = auditor.verify_live(&remember).await?;
    assert_eq!((code, &said["code"]), (2, &json!("log-forked")), "{said}");
    auditor.export("forked", &remember).await?;
    let (code, said) = auditor.verify(&[&["forked"], &remember[..]].concat()).await?;
    assert_eq!((code, &said["code"]), (2, &json!("log-forked")), "{said}");
    assert_eq!(auditor.verify(&["forked"]).await?.0, 0, "without a memory it is a log like others");
    assert_eq!(size(&std::fs::read_to_string(auditor.at("remembered"))?)?, remembered, "it is not forgotten");
    Ok(())
}
