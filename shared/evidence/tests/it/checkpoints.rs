//! Checkpoints: what they say, who may say it, and how one key hands over to the next.

use aegis_evidence::note::{self, NoteError};
use aegis_evidence::{
    CheckpointError, EndorsementError, Hash, Head, LogKeys, LogKeysError, SIZE_MAX, SignError, SignerKey,
    endorse, sign_checkpoint,
};

use crate::log::{Log, ORIGIN, key, keys, signed};

fn open(text: &str) -> Result<Head, CheckpointError> {
    let note = note::sign(text, &[&key(1)]).expect("a text");
    keys(&[1]).open(note.as_bytes()).map(|checkpoint| checkpoint.head)
}

#[test]
fn a_checkpoint_has_three_lines_and_comes_back() {
    let head = Log::of(5).head();
    let note = signed(&head, &[1]);
    assert!(note.starts_with(&format!("{ORIGIN}\n5\n{}\n\n— {ORIGIN} ", head.root)), "{note}");
    let checkpoint = keys(&[1]).open(note.as_bytes()).expect("it is signed");
    assert_eq!((checkpoint.origin.as_str(), checkpoint.head), (ORIGIN, head));
    assert_eq!(checkpoint.signed_by, [key(1).verifier().clone()]);
    assert_eq!(open(&format!("{ORIGIN}\n0\n{}\n", Hash::EMPTY)), Ok(Head::EMPTY));
    // Extension lines are allowed, and none of our business.
    assert_eq!(open(&format!("{ORIGIN}\n5\n{}\nmore\nand more\n", head.root)), Ok(head));
}

#[test]
fn a_signed_text_that_is_no_checkpoint_is_refused() {
    let root = Hash::leaf(b"").to_string();
    for text in [
        "\n".to_owned(),
        format!("{ORIGIN}\n"),
        format!("{ORIGIN}\n5\n"),
        format!("{ORIGIN}\n{root}\n5\n"),
        format!("\n5\n{root}\n"),
        format!("{ORIGIN}\n\n{root}\n"),
        format!("{ORIGIN}\n05\n{root}\n"),
        format!("{ORIGIN}\n+5\n{root}\n"),
        format!("{ORIGIN}\n-5\n{root}\n"),
        format!("{ORIGIN}\n 5\n{root}\n"),
        format!("{ORIGIN}\n5 \n{root}\n"),
        format!("{ORIGIN}\n0x5\n{root}\n"),
        format!("{ORIGIN}\n٥\n{root}\n"),
        format!("{ORIGIN}\n{}\n{root}\n", SIZE_MAX + 1),
        format!("{ORIGIN}\n18446744073709551616\n{root}\n"),
        format!("{ORIGIN}\n5\n{}\n", root.trim_end_matches('=')),
        format!("{ORIGIN}\n5\n{root} \n"),
        format!("{ORIGIN}\n5\nAAAA\n"),
        format!("{ORIGIN}\n5\n{root}\n\n"),
        format!("{ORIGIN}\n5\n{root}\n\nmore\n"),
        // The empty tree has one root.
        format!("{ORIGIN}\n0\n{root}\n"),
    ] {
        assert_eq!(open(&text), Err(CheckpointError::Malformed), "{text:?}");
    }
    for origin in ["aegis.example/other", "aegis.example/audit ", "AEGIS.example/audit"] {
        let refused = Err(CheckpointError::OriginMismatch);
        assert_eq!(open(&format!("{origin}\n5\n{root}\n")), refused, "{origin:?}");
    }
}

#[test]
fn no_head_is_signed_that_could_not_be_read() {
    let (one, root) = (key(1), Hash::leaf(b""));
    for head in [Head { size: 0, root }, Head { size: SIZE_MAX + 1, root }] {
        assert_eq!(sign_checkpoint(&head, &[&one]), Err(SignError::Head));
    }
    let head = Head { size: SIZE_MAX, root };
    assert_eq!(open(&format!("{ORIGIN}\n{SIZE_MAX}\n{root}\n")), Ok(head));
    let other = SignerKey::from_seed("aegis.example/other", &[1; 32]).expect("a name");
    for signers in [&[][..], &[&one, &other], &[&one, &one]] {
        assert_eq!(sign_checkpoint(&head, signers), Err(SignError::Keys));
    }
}

#[test]
fn the_keys_of_a_log_are_different_keys_with_its_name() {
    let other = SignerKey::from_seed("aegis.example/other", &[2; 32]).expect("a name").verifier().clone();
    let one = key(1).verifier().clone();
    for wrong in [vec![], vec![one.clone(), other], vec![one.clone(), one.clone()]] {
        assert_eq!(LogKeys::new(wrong), Err(LogKeysError));
    }
    assert_eq!(keys(&[1, 2]).origin(), ORIGIN);
}

#[test]
fn during_a_rotation_both_keys_sign_and_either_is_enough() {
    let head = Log::of(3).head();
    let (before, during, after) = (signed(&head, &[1]), signed(&head, &[1, 2]), signed(&head, &[2]));
    let signers = |note: &str, known: &[u8]| {
        let checkpoint = keys(known).open(note.as_bytes())?;
        Ok::<_, CheckpointError>(checkpoint.signed_by.len())
    };
    let unknown = Err(CheckpointError::Note(NoteError::KeyUnknown));
    for (known, expected) in [
        (&[1][..], [Ok(1), Ok(1), unknown]),
        (&[2][..], [unknown, Ok(1), Ok(1)]),
        (&[1, 2][..], [Ok(1), Ok(2), Ok(1)]),
        (&[3][..], [unknown, unknown, unknown]),
    ] {
        assert_eq!([&before, &during, &after].map(|note| signers(note, known)), expected, "{known:?}");
    }
}

#[test]
fn a_key_is_believed_when_a_believed_one_endorses_it() {
    let after = signed(&Log::of(3).head(), &[3]);
    let mut known = keys(&[1]);
    for (old, new) in [(1, 2), (2, 3)] {
        assert!(known.open(after.as_bytes()).is_err());
        let endorsement = endorse(&key(old), &key(new)).expect("keys of one log");
        assert_eq!(known.accept(endorsement.as_bytes()), Ok(Some(key(new).verifier().clone())));
        assert_eq!(known.accept(endorsement.as_bytes()), Ok(None));
    }
    assert_eq!(known.open(after.as_bytes()).map(|checkpoint| checkpoint.signed_by.len()), Ok(1));
}

#[test]
fn nothing_else_hands_over_to_another_key() {
    let title = "aegis log key endorsement v1";
    let new = key(2).verifier().to_string();
    let foreign = SignerKey::from_seed("aegis.example/other", &[2; 32]).expect("a name");
    let sign = |text: String, by: &[&SignerKey]| note::sign(&text, by).expect("a text");
    let (one, two, three) = (key(1), key(2), key(3));
    let text = format!("{title}\n{ORIGIN}\n{new}\n");
    for (endorsement, error) in [
        (sign(text.clone(), &[&one]), EndorsementError::NotHeld),
        (sign(text.clone(), &[&two]), EndorsementError::Note(NoteError::KeyUnknown)),
        (sign(text.clone(), &[&two, &three]), EndorsementError::Note(NoteError::KeyUnknown)),
        (sign(text.clone(), &[&one, &three]), EndorsementError::NotHeld),
        // A checkpoint that both have signed.
        (signed(&Log::of(3).head(), &[1, 2]), EndorsementError::Malformed),
        (sign(format!("{title}\nother\n{new}\n"), &[&one, &two]), EndorsementError::Malformed),
        (sign(format!("{title}\n{ORIGIN}\n{new}\nmore\n"), &[&one, &two]), EndorsementError::Malformed),
        (sign(format!("{title}\n{ORIGIN}\nno key\n"), &[&one, &two]), EndorsementError::Malformed),
        (sign(format!("{title} \n{ORIGIN}\n{new}\n"), &[&one, &two]), EndorsementError::Malformed),
        (
            sign(format!("{title}\n{ORIGIN}\n{}\n", foreign.verifier()), &[&one, &foreign]),
            EndorsementError::Malformed,
        ),
        ("nothing".to_owned(), EndorsementError::Note(NoteError::Malformed)),
    ] {
        let mut known = keys(&[1]);
        assert_eq!(known.accept(endorsement.as_bytes()), Err(error), "{endorsement}");
        assert_eq!(known, keys(&[1]));
    }
    assert_eq!(endorse(&one, &foreign), Err(EndorsementError::Malformed));
    assert_eq!(endorse(&one, &one), Err(EndorsementError::Malformed));
    // An endorsement is no checkpoint either.
    let endorsement = endorse(&one, &two).expect("keys of one log");
    assert_eq!(keys(&[1]).open(endorsement.as_bytes()).err(), Some(CheckpointError::Malformed));
}
