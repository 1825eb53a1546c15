//! Evidence bundles: what they prove, and what each kind of fault is called.

use std::collections::BTreeMap;

use aegis_evidence::bundle::{Class, Content, End, Fault, Line, Manifest, Report, Verifier};
use aegis_evidence::note::NoteError;
use aegis_evidence::{CheckpointError, EndorsementError, Head, LogKeys, SignerKey, endorse};

use crate::log::{Log, ORIGIN, key, keys, line, signed};

/// What came out of a bundle: the entries that were proven on the way, and the end.
pub(crate) type Outcome = (Vec<(u64, Vec<u8>)>, Result<Report, Fault>);

pub(crate) fn verify(lines: &[Vec<u8>], keys: LogKeys, remembered: &[Head]) -> Outcome {
    let mut verifier = Verifier::new(keys, remembered.to_vec());
    let mut entries = Vec::new();
    for line in lines {
        match verifier.line(line) {
            Ok(Some(index)) => entries.push((index, line.clone())),
            Ok(None) => {}
            Err(fault) => {
                assert_eq!(verifier.line(b"{}"), Err(fault.clone()), "a fault stays");
                break;
            }
        }
    }
    (entries, verifier.finish())
}

pub(crate) fn all(first: u64, end: u64) -> Content {
    Content::Range { first, end }
}

pub(crate) fn some() -> Content {
    Content::Selection { filter: BTreeMap::from([("kind".to_owned(), "test".to_owned())]) }
}

fn fault(lines: &[Vec<u8>], remembered: &[Head]) -> (&'static str, Class, Fault) {
    let fault = verify(lines, keys(&[1]), remembered).1.expect_err("something is wrong");
    (fault.code(), fault.class(), fault)
}

fn codes(report: &Report) -> (Vec<&'static str>, Vec<&'static str>) {
    let codes = |statements: Vec<aegis_evidence::bundle::Statement>| {
        statements.iter().map(|said| said.code).collect()
    };
    (codes(report.proven()), codes(report.not_proven()))
}

#[test]
fn a_whole_log_is_proven_entry_by_entry() {
    for size in [0, 1, 255, 256, 257, 600] {
        let log = Log::of(size);
        let lines = log.bundle(size, &log.manifest(size, all(0, size)), &[]);
        let (entries, report) = verify(&lines, keys(&[1]), &[]);
        let report = report.expect("nothing is wrong");
        assert_eq!(entries, (0..).zip(log.entries.clone()).collect::<Vec<_>>());
        assert_eq!((report.entries, report.checkpoint.head), (size, log.head()));
        let (proven, open) = codes(&report);
        assert_eq!(proven, ["head-signed", "entries-included", "log-complete"]);
        assert_eq!(open, ["log-unchanged", "later-entries", "meaning"]);
    }
}

#[test]
fn a_range_is_proven_to_be_complete_under_any_later_head() {
    let log = Log::of(600);
    for (first, end, size) in
        [(0, 1, 600), (3, 5, 600), (250, 260, 300), (256, 512, 600), (100, 600, 600), (7, 7, 9)]
    {
        let lines = log.bundle(size, &log.manifest(size, all(first, end)), &[]);
        let (entries, report) = verify(&lines, keys(&[1]), &[]);
        assert_eq!(
            entries.iter().map(|(index, _)| *index).collect::<Vec<_>>(),
            (first..end).collect::<Vec<_>>()
        );
        let (proven, open) = codes(&report.expect("nothing is wrong"));
        assert_eq!(proven, ["head-signed", "entries-included", "range-complete"]);
        assert_eq!(open, ["entries-outside", "log-unchanged", "later-entries", "meaning"]);
    }
    // Single entries may make up a range as well.
    let manifest = log.manifest(600, all(3, 5));
    let mut lines = log.bundle(600, &Manifest { content: some(), ..manifest.clone() }, &[3, 4]);
    lines[0] = line(&Line::Manifest(manifest));
    assert!(verify(&lines, keys(&[1]), &[]).1.is_ok());
}

#[test]
fn a_selection_is_proven_to_be_in_the_log_but_not_to_be_complete() {
    let log = Log::of(600);
    let lines = log.bundle(600, &log.manifest(600, some()), &[0, 7, 255, 256, 599]);
    let (entries, report) = verify(&lines, keys(&[1]), &[]);
    assert_eq!(entries.len(), 5);
    let (proven, open) = codes(&report.expect("nothing is wrong"));
    assert_eq!(proven, ["head-signed", "entries-included"]);
    assert_eq!(open, ["selection-complete", "log-unchanged", "later-entries", "meaning"]);
    // Blocks may hold some of their tile.
    let mut lines = vec![line(&Line::Manifest(log.manifest(600, some())))];
    lines.extend(log.block(250, 3, 600));
    lines.extend(log.block(254, 1, 600));
    lines.extend(log.block(300, 20, 600));
    lines.push(line(&Line::End(End { entries: 24, misfiled: None })));
    assert_eq!(verify(&lines, keys(&[1]), &[]).1.map(|report| report.entries), Ok(24));
}

#[test]
fn a_remembered_head_is_related_by_a_proof_or_by_the_entries() {
    let log = Log::of(600);
    let head = |size: u64| log.heads[size as usize];
    let whole = log.bundle(600, &log.manifest(600, all(0, 600)), &[]);
    let part = log.manifest(300, all(10, 20));
    let proven = |consistency| log.bundle(300, &Manifest { consistency, ..part.clone() }, &[]);
    for (lines, remembered) in [
        (&whole, vec![head(1), head(256), head(599), head(600)]),
        (&proven(vec![log.consistency(5, 300)]), vec![head(5), head(300)]),
        (&proven(vec![log.consistency(300, 500)]), vec![head(500)]),
    ] {
        let report = verify(lines, keys(&[1]), &remembered).1.expect("nothing is wrong");
        let mut found = report.remembered.clone();
        found.sort_by_key(|head| head.size);
        assert_eq!(found, remembered);
        let (proven, open) = codes(&report);
        assert_eq!(proven.iter().filter(|code| **code == "log-unchanged").count(), remembered.len());
        assert!(!open.contains(&"log-unchanged"));
    }
    // Nothing is learnt from the empty log, and the bundle's own checkpoints are no memory of the auditor's.
    let consistency = vec![log.consistency(5, 300)];
    let others = Manifest { checkpoints: vec![signed(&head(5), &[1])], consistency, ..part.clone() };
    let report =
        verify(&log.bundle(300, &others, &[]), keys(&[1]), &[Head::EMPTY]).1.expect("nothing is wrong");
    assert_eq!((report.remembered.as_slice(), report.others.as_slice()), (&[][..], &[head(5)][..]));
    assert!(codes(&report).1.contains(&"log-unchanged"));

    // A block that is left out is missing, and no reason to call the rest another history.
    let gap = [&whole[..1], &whole[258..]].concat();
    let missing = Fault::EntriesMissing { first: 0, end: 256 };
    assert_eq!(fault(&gap, &[head(300)]), ("entries-missing", Class::Incomplete, missing));

    for (lines, remembered) in [(proven(vec![]), 5), (proven(vec![log.consistency(4, 300)]), 5), (whole, 601)]
    {
        let mut longer = log.clone();
        longer.grow_to(601, "test");
        let remembered = longer.heads[remembered as usize];
        let expected = Fault::HeadUnknown { size: remembered.size };
        assert_eq!(fault(&lines, &[remembered]), ("head-unknown", Class::Incomplete, expected));
    }
}

#[test]
fn what_the_exporter_noticed_of_its_database_is_told_although_all_entries_are_proven() {
    let log = Log::of(20);
    let mut lines = log.bundle(20, &log.manifest(20, all(0, 20)), &[]);
    lines.pop();
    lines.push(line(&Line::End(End { entries: 20, misfiled: Some(7) })));
    let (entries, outcome) = verify(&lines, keys(&[1]), &[]);
    assert_eq!((entries.len(), outcome.as_ref().map_err(Fault::entry).map(drop)), (20, Err(Some(7))));
    assert_eq!(fault(&lines, &[]), ("entry-misfiled", Class::Tampered, Fault::Misfiled { index: 7 }));
}

#[test]
fn a_rewritten_log_is_told_by_a_remembered_head() {
    let log = Log::of(600);
    let mut rewritten = Log::of(100);
    rewritten.grow_to(600, "rewritten");
    let whole = rewritten.bundle(600, &rewritten.manifest(600, all(0, 600)), &[]);
    for size in [101, 300, 600] {
        let remembered = log.heads[size as usize];
        let forked = Fault::Forked { remembered, head: rewritten.head() };
        assert_eq!(fault(&whole, &[remembered]), ("log-forked", Class::Tampered, forked));
    }
    assert!(verify(&whole, keys(&[1]), &[log.heads[100]]).1.is_ok());

    let manifest = rewritten.manifest(600, all(10, 20));
    let consistency = vec![rewritten.consistency(300, 600)];
    let lines = rewritten.bundle(600, &Manifest { consistency, ..manifest.clone() }, &[]);
    assert_eq!(fault(&lines, &[log.heads[300]]).0, "log-forked");
    // A checkpoint in the bundle counts as a remembered one.
    let checkpoints = vec![log.checkpoint(600)];
    let lines = rewritten.bundle(600, &Manifest { checkpoints, ..manifest }, &[]);
    assert_eq!(fault(&lines, &[]).0, "log-forked");
}

#[test]
fn only_given_and_endorsed_keys_are_believed() {
    let log = Log::of(20);
    let mut manifest = log.manifest(20, all(0, 20));
    manifest.checkpoint = signed(&log.head(), &[3]);
    manifest.keys = vec![key(3).verifier().to_string()];
    let endorsements =
        [(1, 2), (2, 3)].map(|(old, new)| endorse(&key(old), &key(new)).expect("keys of one log"));
    let with = |endorsements: &[String]| {
        log.bundle(20, &Manifest { endorsements: endorsements.to_vec(), ..manifest.clone() }, &[])
    };
    let outcome = |lines: &[Vec<u8>], known: LogKeys| {
        let report = verify(lines, known, &[]).1.map_err(|fault| (fault.code(), fault.class()))?;
        let proven = codes(&report).0.contains(&"keys-endorsed");
        assert_eq!(proven, !report.endorsed.is_empty());
        Ok(report.endorsed.len())
    };
    let unknown = Err(("key-unknown", Class::KeyUnknown));
    assert_eq!(outcome(&with(&[]), keys(&[1])), unknown);
    assert_eq!(outcome(&with(&endorsements), keys(&[1])), Ok(2));
    assert_eq!(outcome(&with(&endorsements), keys(&[2])), Ok(1));
    assert_eq!(outcome(&with(&endorsements), keys(&[3])), Ok(0));
    assert_eq!(outcome(&with(&endorsements), keys(&[4])), unknown);
    assert_eq!(outcome(&with(&endorsements[1..]), keys(&[1])), unknown);
    let foreign = SignerKey::from_seed("aegis.example/other", &[3; 32]).expect("a name");
    let foreign = LogKeys::new(vec![foreign.verifier().clone()]).expect("one key");
    assert_eq!(outcome(&with(&endorsements), foreign), unknown);
    let damaged = endorsements[0].replace(ORIGIN, "aegis.example/other");
    assert_eq!(outcome(&with(&[damaged]), keys(&[1])), unknown);
}

#[test]
fn each_fault_has_its_own_code() {
    let log = Log::of(600);
    let good = log.bundle(600, &log.manifest(600, all(250, 520)), &[]);
    let change = |at: usize, with: &[u8]| {
        let mut lines = good.clone();
        lines[at] = with.to_vec();
        lines
    };
    let replace = |at: usize, from: &str, to: &str| {
        let text = String::from_utf8(good[at].clone()).expect("JSON");
        assert!(text.contains(from), "{text}");
        change(at, text.replacen(from, to, 1).as_bytes())
    };
    // Line 0 is the manifest, 1 the block with 250 to 255, 8 the block with 256 to 511, 265 the last block.
    let mismatch = |index| ("entry-mismatch", Class::Tampered, Fault::EntryMismatch { index });
    assert_eq!(fault(&change(2, b"{}"), &[]), mismatch(250));
    assert_eq!(fault(&change(9 + 100, &good[9 + 101]), &[]), mismatch(356));
    let mut swapped = good.clone();
    swapped.swap(20, 21);
    assert_eq!(fault(&swapped, &[]), mismatch(256 + 11));
    let mut without = good.clone();
    without.remove(30);
    assert_eq!(fault(&without, &[]), mismatch(256 + 21));
    let mut doubled = good.clone();
    doubled.insert(30, good[30].clone());
    assert_eq!(fault(&doubled, &[]), mismatch(256 + 22));

    let code = |lines: &[Vec<u8>]| {
        let (code, class, _) = fault(lines, &[]);
        (code, class)
    };
    let blocks = ("block-mismatch", Class::Tampered);
    assert_eq!(code(&replace(8, "\"tile\":1", "\"tile\":2")), blocks);
    assert_eq!(code(&replace(8, "\"leaves\":\"", "\"leaves\":\"AAAA")), ("line-malformed", Class::Tampered));
    assert_eq!(code(&replace(8, "\"first\":256", "\"first\":200")), ("entries-disordered", Class::Tampered));
    assert_eq!(code(&replace(8, "\"count\":256", "\"count\":0")), ("line-malformed", Class::Tampered));
    assert_eq!(code(&replace(8, "\"count\":256", "\"count\":257")), ("line-malformed", Class::Tampered));
    assert_eq!(code(&replace(8, "\"count\":256", "\"count\":265")), ("entries-disordered", Class::Tampered));
    assert_eq!(code(&replace(8, "\"count\"", "\"more\":1,\"count\"")), ("line-malformed", Class::Tampered));
    assert_eq!(
        code(&replace(8, "\"count\"", "\"first\":256,\"count\"")),
        ("line-malformed", Class::Tampered)
    );
    assert_eq!(code(&change(8, &good[0])), ("line-malformed", Class::Tampered));

    // Whole blocks: left out, or moved.
    let left_out = [&good[..8], &good[265..]].concat();
    let missing = Fault::EntriesMissing { first: 256, end: 512 };
    assert_eq!(fault(&left_out, &[]), ("entries-missing", Class::Incomplete, missing));
    let moved = [&good[..1], &good[8..265], &good[1..8], &good[265..]].concat();
    assert_eq!(code(&moved), ("entries-disordered", Class::Tampered));
    let at_the_end = [&good[..265], &good[274..]].concat();
    let missing = Fault::EntriesMissing { first: 512, end: 520 };
    assert_eq!(fault(&at_the_end, &[]), ("entries-missing", Class::Incomplete, missing));
    // What is tampered with weighs more than what is missing.
    let mut both = left_out.clone();
    both[9] = b"{}".to_vec();
    assert_eq!(fault(&both, &[]), mismatch(512));

    assert_eq!(code(&replace(0, "\"end\":520", "\"end\":601")), ("line-malformed", Class::Tampered));
    assert_eq!(code(&replace(0, "\"first\":250", "\"first\":521")), ("line-malformed", Class::Tampered));
    assert_eq!(code(&replace(0, "\\n600\\n", "\\n601\\n")), ("signature-invalid", Class::Tampered));
    assert_eq!(code(&replace(0, "evidence/v1", "evidence/v2")), ("bundle-unreadable", Class::Unreadable));
    assert_eq!(code(&good[1..]), ("bundle-unreadable", Class::Unreadable));
    assert_eq!(code(&[]), ("bundle-unreadable", Class::Unreadable));
    assert_eq!(code(&[b"no JSON".to_vec()]), ("bundle-unreadable", Class::Unreadable));
    for lines in 1..good.len() {
        let cut = Fault::Truncated { lines: lines as u64 };
        assert_eq!(fault(&good[..lines], &[]), ("bundle-truncated", Class::Incomplete, cut));
    }
    let more = [good.clone(), vec![Vec::new()]].concat();
    assert_eq!(code(&more), ("line-malformed", Class::Tampered));

    let mut selection = log.bundle(600, &log.manifest(600, some()), &[7, 9]);
    selection.drain(1..3);
    let count = Fault::CountMismatch { found: 1, counted: 2 };
    assert_eq!(fault(&selection, &[]), ("entry-count-mismatch", Class::Incomplete, count));
}

#[test]
fn the_documentation_names_every_fault_and_what_it_means() {
    let page = include_str!("../../../../docs/evidence.md");
    let head = Head::EMPTY;
    let notes =
        [NoteError::TooLarge, NoteError::Malformed, NoteError::KeyUnknown, NoteError::SignatureInvalid];
    let checkpoints = notes
        .map(CheckpointError::Note)
        .into_iter()
        .chain([CheckpointError::Malformed, CheckpointError::OriginMismatch])
        .map(Fault::Checkpoint);
    let endorsements = notes
        .map(EndorsementError::Note)
        .into_iter()
        .chain([EndorsementError::Malformed, EndorsementError::NotHeld])
        .map(Fault::Endorsement);
    let others = [
        Fault::Unreadable(String::new()),
        Fault::LineMalformed { line: 1, message: String::new() },
        Fault::EntryMismatch { index: 0 },
        Fault::BlockMismatch { first: 0 },
        Fault::Disordered { index: 0, expected: 1 },
        Fault::Forked { remembered: head, head },
        Fault::HeadUnknown { size: 1 },
        Fault::EntriesMissing { first: 0, end: 1 },
        Fault::CountMismatch { found: 0, counted: 1 },
        Fault::Truncated { lines: 1 },
    ];
    for fault in checkpoints.chain(endorsements).chain(others) {
        let class = match fault.class() {
            Class::Tampered => "| tampered |",
            Class::Incomplete => "| incomplete |",
            Class::KeyUnknown => "| key unknown |",
            Class::Unreadable => "| unreadable |",
        };
        let code = format!("`{}`", fault.code());
        assert!(page.lines().any(|line| line.contains(&code) && line.contains(class)), "{code} {class}");
    }
}
