//! Heads and the history they belong to.

use aegis_evidence::{Consistency, Hash, Head, HeadError, Kept, KeptError, Relation};

use crate::log::Log;

fn kept(log: &Log, sizes: &[u64]) -> Kept {
    Kept::new(sizes.iter().map(|size| log.heads[*size as usize]).collect()).expect("heads of one history")
}

/// Two logs that are alike up to `common` entries.
fn forked(common: u64, size: u64) -> (Log, Log) {
    let mut log = Log::of(common);
    let mut other = log.clone();
    log.grow_to(size, "test");
    other.grow_to(size, "forged");
    (log, other)
}

#[test]
fn every_pair_of_heads_of_one_log_passes_with_a_proof_in_either_direction() {
    let log = Log::of(40);
    for size in 1..=40 {
        for other in 1..=40 {
            let known = kept(&log, &[size]);
            let presented = log.heads[other as usize];
            let proof = log.consistency(size.min(other), size.max(other));
            let expected = match other.cmp(&size) {
                std::cmp::Ordering::Less => Relation::Older,
                std::cmp::Ordering::Equal => Relation::Equal,
                std::cmp::Ordering::Greater => Relation::Newer,
            };
            assert_eq!(known.judge(&presented, &[proof]), Ok(expected));
            let without = if size == other { Ok(expected) } else { Err(HeadError::Unknown { needs: size }) };
            assert_eq!(known.judge(&presented, &[]), without);
        }
    }
}

#[test]
fn a_missing_proof_names_the_newest_head_and_changes_nothing() {
    let log = Log::of(30);
    let mut known = kept(&log, &[10, 20]);
    let unrelated = [log.consistency(5, 30), log.consistency(10, 20), log.consistency(20, 29)];
    assert_eq!(known.keep(log.heads[30], &unrelated), Err(HeadError::Unknown { needs: 20 }));
    assert_eq!(known.keep(log.heads[15], &unrelated), Err(HeadError::Unknown { needs: 20 }));
    assert_eq!(known, kept(&log, &[10, 20]));

    assert_eq!(known.keep(log.heads[30], &[log.consistency(20, 30)]), Ok(Relation::Newer));
    assert_eq!(known.keep(log.heads[15], &[log.consistency(15, 20)]), Ok(Relation::Older));
    assert_eq!(known.keep(log.heads[15], &[]), Ok(Relation::Equal));
    assert_eq!(known, kept(&log, &[10, 15, 20, 30]));
    assert_eq!(known.newest(), &log.heads[30]);
}

#[test]
fn two_roots_at_one_size_are_a_fork_whatever_is_proven() {
    let (log, other) = forked(10, 20);
    let presented = other.heads[20];
    for proofs in [vec![], vec![other.consistency(10, 20)]] {
        assert_eq!(
            kept(&log, &[10, 20]).judge(&presented, &proofs),
            Err(HeadError::Forked { kept: log.heads[20], presented })
        );
    }
}

#[test]
fn two_histories_from_one_size_cannot_both_be_accepted() {
    let (log, other) = forked(10, 30);
    let mut known = kept(&log, &[10]);
    assert_eq!(known.keep(log.heads[20], &[log.consistency(10, 20)]), Ok(Relation::Newer));
    // Each of these has a proof from what both histories have in common; none is of the history that was accepted.
    for size in [11, 15, 25, 30] {
        let unknown = Err(HeadError::Unknown { needs: 20 });
        assert_eq!(
            known.judge(&other.heads[size as usize], &[other.consistency(10, size)]),
            unknown,
            "{size}"
        );
        // The other log's own proof does not show otherwise.
        let proof = other.consistency(size.min(20), size.max(20));
        let presented = other.heads[size as usize];
        let fork = Err(HeadError::Forked { kept: log.heads[20], presented });
        assert_eq!(known.judge(&presented, &[other.consistency(10, size), proof]), fork, "{size}");
    }
    // What both have in common passes from either.
    assert_eq!(known.judge(&other.heads[7], &[other.consistency(7, 10)]), Ok(Relation::Older));
}

#[test]
fn a_proof_that_fails_is_a_fork_even_beside_one_that_holds() {
    let log = Log::of(30);
    let known = kept(&log, &[10, 20]);
    let presented = log.heads[30];
    let good = log.consistency(20, 30);
    for bad in [
        Consistency { hashes: vec![], ..good.clone() },
        Consistency { hashes: good.hashes[1..].to_vec(), ..good.clone() },
        Consistency { hashes: [good.hashes.clone(), vec![Hash::EMPTY]].concat(), ..good.clone() },
        log.consistency(19, 30).between(20, 30),
    ] {
        for proofs in [vec![bad.clone()], vec![bad.clone(), good.clone()], vec![good.clone(), bad]] {
            let fork = Err(HeadError::Forked { kept: log.heads[20], presented });
            assert_eq!(known.judge(&presented, &proofs), fork, "{proofs:?}");
        }
    }
    let old = log.consistency(9, 30).between(10, 30);
    let fork = Err(HeadError::Forked { kept: log.heads[10], presented });
    assert_eq!(known.judge(&presented, &[good, old]), fork);
}

trait Between {
    fn between(self, from: u64, to: u64) -> Self;
}

impl Between for Consistency {
    /// The same hashes, for other sizes.
    fn between(self, from: u64, to: u64) -> Self {
        Self { from, to, hashes: self.hashes }
    }
}

#[test]
fn every_log_continues_the_empty_one() {
    let log = Log::of(5);
    let known = kept(&log, &[0]);
    assert_eq!(known.judge(&log.heads[5], &[]), Ok(Relation::Newer));
    assert_eq!(known.judge(&Head::EMPTY, &[]), Ok(Relation::Equal));
    assert_eq!(kept(&log, &[5]).judge(&Head::EMPTY, &[]), Ok(Relation::Older));
    // But only the first one that was kept decides which log it is.
    assert_eq!(kept(&log, &[0, 3]).judge(&log.heads[5], &[]), Err(HeadError::Unknown { needs: 3 }));
    let odd = Head { size: 0, root: Hash::leaf(b"") };
    assert!(matches!(known.judge(&odd, &[]), Err(HeadError::Forked { .. })));
    assert!(matches!(kept(&log, &[5]).judge(&odd, &[]), Err(HeadError::Forked { .. })));
}

#[test]
fn there_is_always_one_history_to_compare_with() {
    let (log, other) = forked(2, 5);
    assert_eq!(Kept::new(vec![]), Err(KeptError::Missing));
    let both = vec![log.heads[5], log.heads[1], other.heads[5]];
    assert_eq!(Kept::new(both), Err(KeptError::Contradiction { size: 5 }));
    assert_eq!(Kept::new(vec![log.heads[5], log.heads[1], log.heads[5]]), Ok(kept(&log, &[1, 5])));
}
