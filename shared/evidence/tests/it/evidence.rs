//! What travels beside an order, as an executor verifies it.

use aegis_evidence::note::NoteError;
use aegis_evidence::proof::ProofError;
use aegis_evidence::{CheckpointError, Evidence, EvidenceError, HeadError, Kept, Relation};

use crate::log::{Log, keys, signed};

#[test]
fn evidence_shows_an_entry_under_a_head_of_the_known_history() {
    let log = Log::of(300);
    let kept = Kept::new(vec![log.heads[40], log.heads[260]]).expect("one history");
    for (size, relation) in
        [(300, Relation::Newer), (260, Relation::Equal), (259, Relation::Older), (8, Relation::Older)]
    {
        let evidence = log.evidence(7, size, &[260]);
        let verified = evidence.verify(&log.entry(7), &keys(&[1]), &kept).expect("all of it holds");
        assert_eq!((verified.checkpoint.head, verified.relation), (log.heads[size as usize], relation));

        let text = serde_json::to_string(&evidence).expect("it is JSON");
        assert_eq!(serde_json::from_str::<Evidence>(&text).ok(), Some(evidence));
    }
}

#[test]
fn each_part_of_evidence_is_refused_by_its_own_code() {
    let log = Log::of(300);
    let kept = Kept::new(vec![log.heads[260]]).expect("one history");
    let good = log.evidence(7, 300, &[260]);
    let refused = |evidence: &Evidence| {
        let error = evidence.verify(&log.entry(7), &keys(&[1]), &kept).expect_err("it does not hold");
        (error.code(), error)
    };

    let other = Evidence { checkpoint: signed(&log.heads[300], &[2]), ..good.clone() };
    assert_eq!(refused(&other).0, "key-unknown");
    let other = Evidence { checkpoint: good.checkpoint.replace("\n300\n", "\n301\n"), ..good.clone() };
    let invalid = EvidenceError::Checkpoint(CheckpointError::Note(NoteError::SignatureInvalid));
    assert_eq!(refused(&other), ("signature-invalid", invalid));
    let other = Evidence { index: 8, ..good.clone() };
    assert_eq!(refused(&other), ("entry-not-in-log", EvidenceError::NotInLog(ProofError::Root)));
    let other = Evidence { inclusion: good.inclusion[1..].to_vec(), ..good.clone() };
    assert_eq!(refused(&other), ("entry-not-in-log", EvidenceError::NotInLog(ProofError::Length)));
    let other = Evidence { consistency: vec![log.consistency(259, 300)], ..good.clone() };
    assert_eq!(refused(&other), ("head-unknown", EvidenceError::Head(HeadError::Unknown { needs: 260 })));

    let mut changed = log.entry(7);
    changed.push(b' ');
    let error = good.verify(&changed, &keys(&[1]), &kept).expect_err("the bytes are others");
    assert_eq!(error.code(), "entry-not-in-log");
}

#[test]
fn a_rewritten_log_is_a_fork_though_its_key_is_right() {
    let log = Log::of(50);
    let mut rewritten = Log::of(20);
    rewritten.grow_to(60, "rewritten");
    let kept = Kept::new(vec![log.heads[50]]).expect("one history");
    for (size, sizes) in [(50, &[][..]), (60, &[50]), (40, &[50])] {
        let error =
            rewritten.evidence(7, size, sizes).verify(&log.entry(7), &keys(&[1]), &kept).expect_err("forked");
        let fork = HeadError::Forked { kept: log.heads[50], presented: rewritten.heads[size as usize] };
        assert_eq!((error.code(), error), ("log-forked", EvidenceError::Head(fork)));
    }
    // Also when the entry is not in it: what is worse is told.
    let evidence = Evidence { inclusion: vec![], ..rewritten.evidence(30, 60, &[50]) };
    assert_eq!(
        evidence.verify(&log.entry(30), &keys(&[1]), &kept).map_err(|error| error.code()),
        Err("log-forked")
    );
}
