//! Envelopes: DSSE's published vector, who can open what, and that no bit can change.

use aegis_contract::dsse::{
    Envelope, EnvelopeError, ORDER_PAYLOAD_TYPE, OrderKey, OrderKeys, RECEIPT_PAYLOAD_TYPE, ReceiptKey,
    ReceiptVerifier, pae,
};
use aegis_contract::key::{KeyError, SharedSecret};
use aegis_contract::strict;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use proptest::prelude::*;

const PAYLOAD: &[u8] = br#"{"audience":"local"}"#;

fn order_key(id: &str, byte: u8) -> OrderKey {
    let secret = SharedSecret::from_bytes(&[byte; 32]).expect("long enough");
    OrderKey::new(id, secret).expect("a key id")
}

fn order_keys() -> OrderKeys {
    OrderKeys::new(order_key("order-1", 1), None).expect("one key")
}

fn receipt_key() -> ReceiptKey {
    ReceiptKey::from_seed(&[1; 32])
}

fn receipt_verifier() -> ReceiptVerifier {
    ReceiptVerifier::from_public_pem(&receipt_key().public_pem()).expect("a public key")
}

/// secure-systems-lab/dsse, protocol.md, "Test Vectors": the published signature is of our encoding.
#[test]
fn the_published_dsse_signature_verifies_over_our_encoding() {
    let encoding = pae("http://example.com/HelloWorld", b"hello world");
    assert_eq!(encoding, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");

    // X and Y of the published P-256 key, printed there in decimal.
    let mut point = vec![0x04];
    point.extend(from_hex("67cd390f77aa359cb08c2235f652270493a9ed832b0abcc01f70954c0390d238"));
    point.extend(from_hex("0c782bd54e269125a44f4433aff1432ce94e12bca73aa67ac80cea12608ddf74"));
    let sig = "A3JqsQGtVsJ2O2xqrI5IcnXip5GToJ3F+FnZ+O88SjtR6rDAajabZKciJTfUiHqJPcIAriEGAHTVeCUjW2JIZA==";
    let signature = strict::base64_decode(sig).unwrap();
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(&encoding, &signature).unwrap();
}

fn from_hex(digits: &str) -> Vec<u8> {
    let byte = |place| u8::from_str_radix(&digits[place..place + 2], 16).expect("hexadecimal");
    (0..digits.len()).step_by(2).map(byte).collect()
}

#[test]
fn lengths_in_the_encoding_count_bytes_not_characters() {
    assert_eq!(pae("é", "€".as_bytes()), "DSSEv1 2 é 3 €".as_bytes());
    assert_eq!(pae("", b""), b"DSSEv1 0  0 ");
}

#[test]
fn what_was_sealed_opens_to_the_same_bytes() {
    for payload in [PAYLOAD, b"", b"\x00\xff not JSON, and nobody asks"] {
        assert_eq!(order_keys().open(&order_key("order-1", 1).seal(payload)).unwrap(), payload);
        assert_eq!(receipt_verifier().open(&receipt_key().seal(payload)).unwrap(), payload);
    }
}

#[test]
fn a_sealed_envelope_is_canonical_dsse_json() {
    let envelope = order_key("order-1", 1).seal(b"hello world");
    let text = String::from_utf8(envelope.clone()).unwrap();
    let start = r#"{"payload":"aGVsbG8gd29ybGQ=","payloadType":"application/vnd.aegis.order+json","signatures":[{"keyid":"order-1","sig":""#;
    assert!(text.starts_with(start) && text.ends_with(r#"="}]}"#), "{text}");
    assert_eq!(Envelope::from_slice(&envelope).unwrap().to_bytes(), envelope);
}

#[test]
fn both_keys_open_during_a_rotation_and_only_the_new_one_after_it() {
    let (old, new) = (order_key("order-1", 1), order_key("order-2", 2));
    let during = OrderKeys::new(new.clone(), Some(old.clone())).unwrap();
    let after = OrderKeys::new(new.clone(), None).unwrap();
    assert_eq!(during.open(&old.seal(PAYLOAD)).unwrap(), PAYLOAD);
    assert_eq!(during.open(&new.seal(PAYLOAD)).unwrap(), PAYLOAD);
    assert_eq!(after.open(&new.seal(PAYLOAD)).unwrap(), PAYLOAD);
    assert_eq!(after.open(&old.seal(PAYLOAD)), Err(EnvelopeError::KeyUnknown));

    let (old, new) = (receipt_key(), ReceiptKey::from_seed(&[2; 32]));
    let during = receipt_verifier().and_public_pem(&new.public_pem()).unwrap();
    assert_eq!(during.open(&old.seal(PAYLOAD)).unwrap(), PAYLOAD);
    assert_eq!(during.open(&new.seal(PAYLOAD)).unwrap(), PAYLOAD);
    assert_eq!(receipt_verifier().open(&new.seal(PAYLOAD)), Err(EnvelopeError::KeyUnknown));
    assert_eq!(during.key_ids().collect::<Vec<_>>(), [old.id(), new.id()]);
}

#[test]
fn a_rotation_needs_two_ids_and_two_secrets() {
    let key = order_key("order-1", 1);
    for previous in [order_key("order-1", 2), order_key("order-2", 1)] {
        assert_eq!(OrderKeys::new(key.clone(), Some(previous)).unwrap_err(), KeyError::NotDistinct);
    }
    let doubled = receipt_verifier().and_public_pem(&receipt_key().public_pem());
    assert_eq!(doubled.unwrap_err(), KeyError::NotDistinct);
}

#[test]
fn a_key_of_the_same_id_but_another_secret_opens_nothing() {
    let foreign = order_key("order-1", 9).seal(PAYLOAD);
    assert_eq!(order_keys().open(&foreign), Err(EnvelopeError::SignatureInvalid));
}

#[test]
fn an_order_is_no_receipt_and_a_receipt_no_order() {
    let order = order_key("order-1", 1).seal(PAYLOAD);
    let receipt = receipt_key().seal(PAYLOAD);
    assert_eq!(receipt_verifier().open(&order), Err(EnvelopeError::Malformed));
    assert_eq!(order_keys().open(&receipt), Err(EnvelopeError::Malformed));

    // Renaming the type does not help: the signature covers it.
    let renamed = |bytes: Vec<u8>, from: &str, to: &str| {
        String::from_utf8(bytes).expect("JSON").replace(from, to).into_bytes()
    };
    let order_as_receipt = renamed(order, ORDER_PAYLOAD_TYPE, RECEIPT_PAYLOAD_TYPE);
    let order_as_receipt = renamed(order_as_receipt, "order-1", receipt_key().id());
    assert_eq!(receipt_verifier().open(&order_as_receipt), Err(EnvelopeError::SignatureInvalid));
    let receipt_as_order = renamed(receipt, RECEIPT_PAYLOAD_TYPE, ORDER_PAYLOAD_TYPE);
    let receipt_as_order = renamed(receipt_as_order, receipt_key().id(), "order-1");
    assert_eq!(order_keys().open(&receipt_as_order), Err(EnvelopeError::SignatureInvalid));
}

#[test]
fn other_spellings_and_shapes_of_an_envelope_are_malformed() {
    let sealed = String::from_utf8(order_key("order-1", 1).seal(PAYLOAD)).unwrap();
    let envelope = Envelope::from_slice(sealed.as_bytes()).unwrap();
    let signature = &sealed[sealed.find("[{").unwrap() + 1..sealed.len() - 2];
    let cases = [
        ("a space", sealed.replacen(':', ": ", 1)),
        ("a line break at the end", format!("{sealed}\n")),
        ("an escape", sealed.replacen("order-1", "order\\u002d1", 1)),
        ("fields in another order", serde_json::to_string(&envelope).unwrap()),
        ("no signature", sealed.replacen(signature, "", 1)),
        ("the signature twice", sealed.replacen(signature, &format!("{signature},{signature}"), 1)),
        ("an unknown field", sealed.replacen('{', r#"{"extra":1,"#, 1)),
        ("a doubled field", sealed.replacen('{', r#"{"payload":"","#, 1)),
        ("no key id", sealed.replacen(r#""keyid":"order-1","#, "", 1)),
        ("payload without padding", sealed.replacen("=\",\"payloadType", "\",\"payloadType", 1)),
        ("signature without padding", sealed.replacen("=\"}]}", "\"}]}", 1)),
        ("too large", format!("{sealed}{}", " ".repeat(64 * 1024))),
        ("no JSON", "envelope".to_owned()),
        ("nothing", String::new()),
    ];
    for (name, text) in cases {
        assert_ne!(text, sealed, "{name} changes nothing");
        assert_eq!(order_keys().open(text.as_bytes()), Err(EnvelopeError::Malformed), "{name}");
    }
}

#[test]
fn a_truncated_or_lengthened_signature_is_invalid() {
    for (bytes, open) in [
        (order_key("order-1", 1).seal(PAYLOAD), (|e| order_keys().open_envelope(e)) as fn(&Envelope) -> _),
        (receipt_key().seal(PAYLOAD), |e| receipt_verifier().open_envelope(e)),
    ] {
        let envelope = Envelope::from_slice(&bytes).unwrap();
        assert_eq!(open(&envelope).unwrap(), PAYLOAD);
        let signature = strict::base64_decode(&envelope.signatures[0].sig).unwrap();
        for changed in [&signature[..signature.len() - 1], &[&signature[..], &[0]].concat(), &[]] {
            let mut envelope = envelope.clone();
            envelope.signatures[0].sig = strict::base64_encode(changed);
            assert_eq!(open(&envelope), Err(EnvelopeError::SignatureInvalid));
        }
    }
}

#[test]
fn receipt_keys_are_read_from_pem_and_only_from_ed25519() {
    let key = receipt_key();
    let again = ReceiptKey::from_pkcs8_pem(&key.to_pkcs8_pem()).unwrap();
    assert_eq!(again.id(), key.id());
    assert!(key.id().starts_with("ed25519:") && key.id().len() == "ed25519:".len() + 32, "{}", key.id());
    assert!(!format!("{key:?}").contains("01010101"));

    // `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 | openssl pkey -pubout`
    let p256 = "-----BEGIN PUBLIC KEY-----\n\
        MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEZ805D3eqNZywjCI19lInBJOp7YMr\n\
        CrzAH3CVTAOQ0jgMeCvVTiaRJaRPRDOv8UMs6U4SvKc6pnrIDOoSYI3fdA==\n\
        -----END PUBLIC KEY-----\n";
    for pem in ["", "not PEM", p256, &key.to_pkcs8_pem()] {
        assert_eq!(ReceiptVerifier::from_public_pem(pem).unwrap_err(), KeyError::Malformed);
    }
    for pem in ["", "not PEM", p256, &key.public_pem()] {
        assert_eq!(ReceiptKey::from_pkcs8_pem(pem).unwrap_err(), KeyError::Malformed);
    }
}

#[test]
fn every_envelope_error_has_its_code() {
    let codes = [EnvelopeError::Malformed, EnvelopeError::KeyUnknown, EnvelopeError::SignatureInvalid]
        .map(EnvelopeError::code);
    assert_eq!(codes, ["envelope-malformed", "key-unknown", "signature-invalid"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn an_envelope_with_any_bit_flipped_is_refused(payload in prop::collection::vec(any::<u8>(), 0..200)) {
        let order = order_key("order-1", 1).seal(&payload);
        let receipt = receipt_key().seal(&payload);
        let (order_keys, receipt_verifier) = (order_keys(), receipt_verifier());
        for (sealed, open) in [
            (order, &(|bytes: &[u8]| order_keys.open(bytes)) as &dyn Fn(&[u8]) -> Result<Vec<u8>, EnvelopeError>),
            (receipt, &|bytes: &[u8]| receipt_verifier.open(bytes)),
        ] {
            prop_assert_eq!(open(&sealed), Ok(payload.clone()));
            for place in 0..sealed.len() * 8 {
                let mut flipped = sealed.clone();
                flipped[place / 8] ^= 1 << (place % 8);
                prop_assert!(open(&flipped).is_err(), "bit {} of byte {}", place % 8, place / 8);
            }
        }
    }
}
