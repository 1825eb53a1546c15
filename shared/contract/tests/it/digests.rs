//! Digests and their text.

use aegis_contract::digest::{Digest, DigestError};

/// FIPS 180-4's example "abc".
const ABC: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

#[test]
fn a_digest_has_one_text_which_reads_back_to_it() {
    let digest = Digest::of(b"abc");
    assert_eq!(digest.to_string(), ABC);
    assert_eq!(ABC.parse(), Ok(digest));
    assert_eq!(serde_json::to_string(&digest).unwrap(), format!("\"{ABC}\""));
    assert_eq!(serde_json::from_str::<Digest>(&format!("\"{ABC}\"")).unwrap(), digest);
}

#[test]
fn other_texts_are_no_digests() {
    let upper = ABC.to_uppercase();
    let upper_digits = format!("sha256:{}", &upper[7..]);
    let texts = [
        "",
        "sha256:",
        &ABC[7..],
        &ABC[..70],
        &format!("{ABC}0"),
        &format!(" {ABC}"),
        &upper,
        &upper_digits,
        &ABC.replace("sha256", "sha512"),
        &ABC.replace('b', "g"),
        &ABC.replacen("ba", "é", 1),
    ];
    for text in texts {
        assert_eq!(text.parse::<Digest>(), Err(DigestError), "{text}");
    }
}
