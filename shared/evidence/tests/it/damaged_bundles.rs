//! Whatever is done to a bundle, nothing is proven that is not in the log.

use aegis_evidence::Head;
use aegis_evidence::bundle::Manifest;
use proptest::prelude::*;

use crate::bundles::{Outcome, all, some, verify};
use crate::log::{Log, keys};

fn lines_of(bytes: &[u8]) -> Vec<Vec<u8>> {
    // What follows the last newline is no line.
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    bytes[..whole]
        .split_inclusive(|byte| *byte == b'\n')
        .map(|line| line[..line.len() - 1].to_vec())
        .collect()
}

fn file_of(lines: &[Vec<u8>]) -> Vec<u8> {
    lines.iter().flat_map(|line| [line.as_slice(), b"\n"].concat()).collect()
}

/// A bundle, what it proves when it is intact, and the log it is from.
struct Original {
    log: Log,
    file: Vec<u8>,
    remembered: Vec<Head>,
    intact: Outcome,
}

impl Original {
    fn new(size: u64, manifest: impl Fn(&Log) -> Manifest, singles: &[u64], remembered: &[u64]) -> Self {
        let log = Log::of(size);
        let file = file_of(&log.bundle(size, &manifest(&log), singles));
        let remembered: Vec<Head> = remembered.iter().map(|size| log.heads[*size as usize]).collect();
        let intact = verify(&lines_of(&file), keys(&[1]), &remembered);
        assert!(intact.1.is_ok(), "{:?}", intact.1);
        Self { log, file, remembered, intact }
    }

    fn several() -> Vec<Self> {
        let proven = |log: &Log| Manifest {
            consistency: vec![log.consistency(3, 9)],
            checkpoints: vec![log.checkpoint(3)],
            ..log.manifest(9, some())
        };
        vec![
            Self::new(9, |log| log.manifest(9, all(0, 9)), &[], &[4]),
            Self::new(9, |log| log.manifest(9, all(2, 5)), &[], &[]),
            Self::new(9, proven, &[1, 4, 8], &[3]),
        ]
    }

    /// Each entry that is given out is the log's own, and a bundle is accepted only with all that it held.
    fn assert_sound(&self, file: &[u8]) {
        let (entries, report) = verify(&lines_of(file), keys(&[1]), &self.remembered);
        for (index, entry) in &entries {
            assert_eq!(
                Some(entry),
                self.log.entries.get(*index as usize),
                "{}",
                String::from_utf8_lossy(file)
            );
        }
        if let (Ok(report), Ok(intact)) = (report, &self.intact.1) {
            let content = String::from_utf8_lossy(file);
            assert_eq!(report.checkpoint, intact.checkpoint, "{content}");
            assert_eq!(report.remembered, intact.remembered, "{content}");
            assert_eq!(report.entries as usize, entries.len(), "{content}");
            if report.content == intact.content {
                assert_eq!(entries, self.intact.0, "{content}");
            }
        }
    }
}

#[test]
fn no_changed_byte_of_a_bundle_lets_it_prove_anything_else() {
    for original in Original::several() {
        for place in 0..original.file.len() {
            for byte in [original.file[place] ^ 1, original.file[place] ^ 0x20, b'\n', b'"'] {
                if byte != original.file[place] {
                    let mut file = original.file.clone();
                    file[place] = byte;
                    original.assert_sound(&file);
                }
            }
        }
    }
}

#[test]
fn every_changed_byte_of_an_entry_is_told_with_its_index() {
    let original = &Original::several()[0];
    let lines = lines_of(&original.file);
    for (index, at) in (0..).zip(2..lines.len() - 1) {
        for place in 0..lines[at].len() {
            for bit in 0..8 {
                let mut changed = lines.clone();
                changed[at][place] ^= 1 << bit;
                let fault =
                    verify(&lines_of(&file_of(&changed)), keys(&[1]), &[]).1.expect_err("it is changed");
                assert_eq!(fault, aegis_evidence::bundle::Fault::EntryMismatch { index });
            }
        }
    }
}

#[test]
fn a_bundle_that_was_cut_off_anywhere_is_not_proven() {
    for original in Original::several() {
        for length in 0..original.file.len() {
            let outcome = verify(&lines_of(&original.file[..length]), keys(&[1]), &[]);
            assert!(outcome.1.is_err(), "{length} bytes");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_shuffling_of_lines_lets_a_bundle_prove_anything_else(
        which in 0_usize..3,
        edits in prop::collection::vec((0_u8..4, any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..5),
    ) {
        let original = Original::several().swap_remove(which);
        let mut lines = lines_of(&original.file);
        for (edit, one, other) in edits {
            let (one, other) = (one.index(lines.len().max(1)), other.index(lines.len().max(1)));
            match edit {
                _ if lines.is_empty() => {}
                0 => { lines.remove(one); }
                1 => lines.swap(one, other),
                2 => lines.insert(one, lines[other].clone()),
                _ => lines.truncate(one),
            }
        }
        original.assert_sound(&file_of(&lines));
    }

    #[test]
    fn no_other_entries_pass_under_the_same_proofs(
        kind in "[a-z]{1,8}",
        size in 1_u64..40,
        from in any::<prop::sample::Index>(),
    ) {
        prop_assume!(kind != "test");
        // A log that is rewritten from some entry on, under the first log's manifest.
        let log = Log::of(size);
        let from = from.index(size as usize) as u64;
        let mut forged = Log::of(from);
        forged.grow_to(size, &kind);
        let mut lines = forged.bundle(size, &forged.manifest(size, all(0, size)), &[]);
        lines[0] = crate::log::line(&aegis_evidence::bundle::Line::Manifest(log.manifest(size, all(0, size))));
        let (entries, outcome) = verify(&lines, keys(&[1]), &[]);
        prop_assert!(entries.is_empty());
        prop_assert_eq!(outcome.map_err(|fault| fault.code()), Err("block-mismatch"));
    }
}
