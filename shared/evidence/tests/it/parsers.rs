//! Whatever comes in: an answer, never a panic.

use aegis_evidence::bundle::{Content, Verifier};
use aegis_evidence::{Evidence, Hash, Tile, VerifierKey, note};
use proptest::prelude::*;

use crate::log::{Log, key, keys};

/// Bytes that are near to what the readers expect: a valid piece with some of it replaced.
fn near(piece: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let edits = prop::collection::vec(
        (any::<prop::sample::Index>(), 0_usize..9, prop::collection::vec(any::<u8>(), 0..9)),
        0..4,
    );
    edits.prop_map(move |edits| {
        let mut bytes = piece.clone();
        for (place, length, with) in edits {
            let start = place.index(bytes.len() + 1);
            let end = bytes.len().min(start + length);
            bytes.splice(start..end, with);
        }
        bytes
    })
}

fn read_all(bytes: &[u8]) {
    let known = keys(&[1, 2]);
    let _ = note::open(bytes, known.keys());
    let _ = known.open(bytes);
    let _ = known.clone().accept(bytes);
    let _ = Hash::sequence(bytes);
    let _ = serde_json::from_slice::<Evidence>(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = text.parse::<Hash>();
        let _ = text.parse::<VerifierKey>();
        if let Ok(tile) = text.parse::<Tile>() {
            assert_eq!(tile.to_string(), text);
        }
    }
    let mut verifier = Verifier::new(known, Vec::new());
    for line in bytes.split(|byte| *byte == b'\n') {
        let _ = verifier.line(line);
    }
    let _ = verifier.finish();
}

proptest! {
    #[test]
    fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        read_all(&bytes);
    }

    #[test]
    fn no_text_makes_a_reader_panic(text in "\\PC{0,200}") {
        read_all(text.as_bytes());
    }

    #[test]
    fn nothing_near_a_note_makes_a_reader_panic(bytes in near(Log::of(3).checkpoint(3).into_bytes())) {
        read_all(&bytes);
    }

    #[test]
    fn nothing_near_a_key_or_a_path_makes_a_reader_panic(
        key in near(key(1).verifier().to_string().into_bytes()),
        path in near(b"0/x001/x234/067.p/12".to_vec()),
    ) {
        read_all(&key);
        read_all(&path);
    }

    #[test]
    fn nothing_near_a_bundle_makes_a_reader_panic(
        bytes in near({
            let log = Log::of(4);
            let manifest = log.manifest(4, Content::Range { first: 1, end: 3 });
            log.bundle(4, &manifest, &[]).join(&b'\n')
        })
    ) {
        read_all(&bytes);
    }
}
