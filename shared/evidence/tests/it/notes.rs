//! Signed notes and their keys: published ones, and everything near them that is none.

use aegis_evidence::note::{self, NOTE_BYTES_MAX, NoteError};
use aegis_evidence::{KeyError, SignerKey, VerifierKey};

use crate::log::{ORIGIN, key};

/// The example of C2SP signed-note.
const EXAMPLE_KEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
const EXAMPLE: &str = "This is an example message.\n\n\
    — example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";

/// The example of Go's golang.org/x/mod/sumdb/note: seed, key, text, signature, and a second signer.
const PETER_SEED: &str = "gQoUAtUUbI2E8kQzMPVAgOv5juF9nHT2JS/F1ccoMXM=";
const PETER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const ENOCH: &str = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop";
const TEXT: &str =
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
const PETER_SIGNED: &str = "— PeterNeumann \
    x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
const ENOCH_SIGNED: &str = "— EnochRoot \
    rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n";

fn keys(texts: &[&str]) -> Vec<VerifierKey> {
    texts.iter().map(|text| text.parse().expect("a verifier key")).collect()
}

fn peter() -> SignerKey {
    let seed: aegis_evidence::Hash = PETER_SEED.parse().expect("32 bytes");
    SignerKey::from_seed("PeterNeumann", seed.as_bytes()).expect("a name")
}

fn signers(note: &str, known: &[VerifierKey]) -> Result<Vec<String>, NoteError> {
    let opened = note::open(note.as_bytes(), known)?;
    Ok(opened.signed_by.iter().map(|key| key.name().to_owned()).collect())
}

#[test]
fn the_published_notes_are_opened() {
    let known = keys(&[EXAMPLE_KEY]);
    let opened = note::open(EXAMPLE.as_bytes(), &known).expect("it is signed");
    assert_eq!((opened.text, opened.signed_by), ("This is an example message.\n", vec![&known[0]]));

    let both = format!("{TEXT}\n{PETER_SIGNED}{ENOCH_SIGNED}");
    assert_eq!(signers(&both, &keys(&[PETER])), Ok(vec!["PeterNeumann".to_owned()]));
    assert_eq!(signers(&both, &keys(&[ENOCH])), Ok(vec!["EnochRoot".to_owned()]));
    assert_eq!(signers(&both, &keys(&[ENOCH, PETER])).map(|signers| signers.len()), Ok(2));
    assert_eq!(signers(&both, &known), Err(NoteError::KeyUnknown));
    assert_eq!(signers(&both, &[]), Err(NoteError::KeyUnknown));
}

#[test]
fn the_published_note_is_signed_to_the_byte() {
    assert_eq!(peter().verifier().to_string(), PETER);
    assert_eq!(note::sign(TEXT, &[&peter()]), Ok(format!("{TEXT}\n{PETER_SIGNED}")));
    for no_text in ["", "no newline", "a tab\t\n", "a carriage return\r\n", "a zero\0\n"] {
        assert_eq!(note::sign(no_text, &[&peter()]), Err(NoteError::Malformed), "{no_text:?}");
    }
    assert_eq!(note::sign(TEXT, &[]), Err(NoteError::Malformed));
    assert_eq!(note::sign(&"long\n".repeat(NOTE_BYTES_MAX / 5), &[&peter()]), Err(NoteError::TooLarge));
}

#[test]
fn texts_with_empty_lines_come_back_as_they_were() {
    for text in ["\n", "\n\n", "a\n\n", "\n\nä\n\n\nb\n", "— PeterNeumann looks like a signature\n"] {
        let note = note::sign(text, &[&peter()]).expect("a text");
        let known = keys(&[PETER]);
        assert_eq!(note::open(note.as_bytes(), &known).map(|opened| opened.text), Ok(text), "{text:?}");
    }
}

#[test]
fn a_signature_in_the_name_of_a_known_key_must_hold() {
    let known = keys(&[PETER, ENOCH]);
    let changed = TEXT.replace("answer", "Answer");
    assert_eq!(signers(&format!("{changed}\n{PETER_SIGNED}"), &known), Err(NoteError::SignatureInvalid));
    // One that holds does not make up for one that does not.
    let wrong = ENOCH_SIGNED.replace("zmZa0", "zmZa1");
    assert_eq!(signers(&format!("{TEXT}\n{PETER_SIGNED}{wrong}"), &known), Err(NoteError::SignatureInvalid));
    assert_eq!(
        signers(&format!("{TEXT}\n{PETER_SIGNED}{wrong}"), &keys(&[PETER])),
        Ok(vec!["PeterNeumann".to_owned()])
    );
    // The same name with another id, and the same id with another name, are other keys.
    for other in [PETER_SIGNED.replace(" x08g", " x08h"), PETER_SIGNED.replace("Peter", "Petra")] {
        assert_eq!(signers(&format!("{TEXT}\n{other}"), &known), Err(NoteError::KeyUnknown));
    }
    // A signature cut short is still in its name.
    assert_eq!(
        signers(&format!("{TEXT}\n— PeterNeumann x08go/ZJkuA=\n"), &known),
        Err(NoteError::SignatureInvalid)
    );
    assert_eq!(signers(&format!("{TEXT}\n{PETER_SIGNED}{PETER_SIGNED}"), &known), Err(NoteError::Malformed));
}

#[test]
fn every_flipped_bit_of_a_note_is_refused() {
    let known = keys(&[PETER]);
    let note = format!("{TEXT}\n{PETER_SIGNED}");
    for bit in 0..note.len() * 8 {
        let mut other = note.clone().into_bytes();
        other[bit / 8] ^= 1 << (bit % 8);
        assert!(note::open(&other, &known).is_err(), "bit {bit}: {}", String::from_utf8_lossy(&other));
    }
}

/// An Ed25519 signature is `R` and `s`; `s` plus the group's order is the same number, and RFC 8032 refuses it.
#[test]
fn a_signature_has_one_form() {
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let text = PETER_SIGNED.trim_end().rsplit(' ').next().expect("a signature");
    let mut signature = STANDARD.decode(text).expect("base64");
    let mut carry = 0;
    for (byte, order) in signature[36..].iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        *byte = sum.to_le_bytes()[0];
        carry = sum >> 8;
    }
    let other = format!("{TEXT}\n— PeterNeumann {}\n", STANDARD.encode(&signature));
    assert_eq!(signers(&other, &keys(&[PETER])), Err(NoteError::SignatureInvalid));
}

#[test]
fn what_is_no_note_is_refused() {
    let known = keys(&[PETER]);
    let lines = |lines: &str| format!("{TEXT}\n{lines}");
    for wrong in [
        String::new(),
        "\n".to_owned(),
        "\n\n".to_owned(),
        TEXT.to_owned(),
        format!("{TEXT}\n"),
        format!("{TEXT}{PETER_SIGNED}"),
        lines(PETER_SIGNED.trim_end()),
        lines(&format!("{PETER_SIGNED}\n")),
        lines(&format!("{PETER_SIGNED}more\n")),
        lines(&format!("more\n{PETER_SIGNED}")),
        lines(&PETER_SIGNED.replace('—', "-")),
        lines(&PETER_SIGNED.replace("— ", "—")),
        lines(&PETER_SIGNED.replace("Neumann ", "Neumann  ")),
        lines(&PETER_SIGNED.replace("Neumann", " Neumann")),
        lines(&PETER_SIGNED.replace("Neumann", "+Neumann")),
        lines(&PETER_SIGNED.replace("Neumann", "\u{a0}Neumann")),
        lines(&PETER_SIGNED.replace("PeterNeumann", "")),
        lines(&PETER_SIGNED.replace("AM=", "AN=")),
        lines(&PETER_SIGNED.replace("AM=", "AM")),
        lines(&PETER_SIGNED.replace('\n', "\r\n")),
        lines("— PeterNeumann x08goy==\n"),
        lines("— PeterNeumann x08gow==\n"),
        lines("— PeterNeumann \n"),
        lines("— PeterNeumann\n"),
        format!("a\u{1f}b\n\n{PETER_SIGNED}"),
    ] {
        assert_eq!(signers(&wrong, &known), Err(NoteError::Malformed), "{wrong:?}");
    }
    assert_eq!(note::open(b"\xff\n\n\xe2\x80\x94 a AAAAAAA=\n", &known), Err(NoteError::Malformed));
}

#[test]
fn sixteen_signatures_of_the_largest_kind_are_no_burden() {
    use base64::Engine as _;
    let large = base64::engine::general_purpose::STANDARD.encode([5; 5_000]);
    let others: String = (0..15).map(|number| format!("— witness{number}.example {large}\n")).collect();
    assert_eq!(
        signers(&format!("{TEXT}\n{others}{PETER_SIGNED}"), &keys(&[PETER])).map(|by| by.len()),
        Ok(1)
    );
    let more = "x".repeat(NOTE_BYTES_MAX);
    assert_eq!(signers(&format!("{more}{TEXT}\n{PETER_SIGNED}"), &keys(&[PETER])), Err(NoteError::TooLarge));
}

#[test]
fn only_whole_verifier_keys_are_read() {
    for text in [EXAMPLE_KEY, PETER, ENOCH] {
        assert_eq!(text.parse().map(|key: VerifierKey| key.to_string()).as_deref(), Ok(text));
    }
    // The second and third are Go's: a key of the wrong length and an unknown algorithm, each with a fitting id.
    for (text, error) in [
        ("", KeyError::Malformed),
        ("PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==", KeyError::Malformed),
        (
            "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            KeyError::AlgorithmUnsupported,
        ),
        ("PeterNeumann+c74f20a3", KeyError::Malformed),
        ("PeterNeumann+c74f20a3+", KeyError::Malformed),
        ("+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", KeyError::NameMalformed),
        ("Peter Neumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", KeyError::NameMalformed),
        ("PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", KeyError::IdMismatch),
        ("PeterNeumann+C74F20A3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", KeyError::IdMismatch),
        ("PeterNeumann+0c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", KeyError::IdMismatch),
        ("Petra+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", KeyError::IdMismatch),
        // The neutral element: with it, one signature would fit many texts.
        ("PeterNeumann+00000000+AQEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", KeyError::Weak),
    ] {
        assert_eq!(text.parse::<VerifierKey>().err(), Some(error), "{text}");
    }
    assert_eq!(SignerKey::from_seed("a b", &[1; 32]).err(), Some(KeyError::NameMalformed));
    assert_eq!(SignerKey::from_seed(&"a".repeat(256), &[1; 32]).err(), Some(KeyError::NameMalformed));
}

/// The key pair of RFC 8410, section 10.
#[test]
fn a_private_key_is_read_from_the_usual_pem() {
    let pem = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
        -----END PRIVATE KEY-----\n";
    let signer = SignerKey::from_pkcs8_pem(ORIGIN, pem).expect("a key");
    let public = signer.verifier().to_string();
    assert!(public.ends_with("+ARm/RAlphM3+hUG6wWfcO5bIUIaqMLa2ywxcOK1wMWbh"), "{public}");
    let again = SignerKey::from_pkcs8_pem(ORIGIN, &signer.to_pkcs8_pem()).expect("its own text");
    assert_eq!(note::sign(TEXT, &[&again]), note::sign(TEXT, &[&signer]));
    assert_eq!(SignerKey::from_pkcs8_pem(ORIGIN, "no pem").err(), Some(KeyError::Malformed));
    let shown = format!("{:?}", key(1));
    assert!(shown.contains(ORIGIN) && !shown.contains("PRIVATE") && !shown.contains("1, 1"), "{shown}");
}
