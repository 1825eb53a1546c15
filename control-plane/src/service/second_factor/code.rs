//! Codes: those that an app computes from a shared secret and the time (TOTP, RFC 6238, on top of HOTP, RFC 4226), and
//! those on paper that stand in for it.

use aegis_runtime::clock;
use data_encoding::BASE32_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use sha1::Sha1;

/// Bytes of a secret: as many as the MAC has (RFC 4226, 4 R6).
pub(super) const SECRET_BYTES: usize = 20;
/// How long a code holds. Together with six digits and SHA-1 what every app computes, and some compute nothing else.
const STEP_SECONDS: i64 = 30;
const DIGITS: u32 = 6;
/// How many steps an app's clock may be off, and the person slow (RFC 6238, 5.2).
const STEPS_OFF: i64 = 1;
/// Bytes of chance in a recovery code: nobody finds one by trying, nor in a stolen database, where its hash is keyed.
const RECOVERY_BYTES: usize = 10;
const RECOVERY_LENGTH: usize = 16;
/// How many recovery codes a person is given.
pub(super) const RECOVERY_CODES: usize = 10;

/// What somebody typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Typed {
    /// Six digits, as an app shows them.
    Digits(u32),
    /// A recovery code, without what is there to be read more easily.
    Recovery(String),
}

impl Typed {
    /// What a text is, if it can be a code. Spaces and dashes do not matter, nor does case.
    pub(super) fn read(text: &str) -> Option<Self> {
        let plain: String = text.chars().filter(|c| !matches!(c, ' ' | '-')).collect();
        let plain = plain.to_ascii_lowercase();
        let is_of =
            |length: usize, fits: fn(&u8) -> bool| plain.len() == length && plain.as_bytes().iter().all(fits);
        if is_of(6, u8::is_ascii_digit) {
            return plain.parse().ok().map(Self::Digits);
        }
        is_of(RECOVERY_LENGTH, |byte| matches!(byte, b'a'..=b'z' | b'2'..=b'7'))
            .then_some(Self::Recovery(plain))
    }
}

/// The step after `after` whose code these digits are, if it is near enough to `now`.
pub(super) fn step_of(secret: &[u8], digits: u32, now: Timestamp, after: i64) -> Option<i64> {
    let present = now.as_second().div_euclid(STEP_SECONDS);
    let near = present - STEPS_OFF..=present + STEPS_OFF;
    near.filter(|step| *step > after).find(|step| hotp(secret, step.cast_unsigned()) == digits)
}

/// The code of a counter (RFC 4226, 5.3).
fn hotp(secret: &[u8], counter: u64) -> u32 {
    let mut mac = Hmac::<Sha1>::new_from_slice(secret).expect("HMAC takes keys of any length");
    mac.update(&counter.to_be_bytes());
    let mac: [u8; 20] = mac.finalize().into_bytes().into();
    let at = usize::from(mac[19] & 0xf);
    let word = [mac[at] & 0x7f, mac[at + 1], mac[at + 2], mac[at + 3]];
    u32::from_be_bytes(word) % 10_u32.pow(DIGITS)
}

/// A secret as apps take it, typed.
pub(super) fn as_text(secret: &[u8]) -> String {
    BASE32_NOPAD.encode(secret)
}

/// A secret as apps take it, as a picture of this address (the "Key URI Format" of Google Authenticator, which others
/// follow).
pub(super) fn as_uri(secret: &[u8], account: &str) -> String {
    let account: String = account
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'@' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect();
    format!(
        "otpauth://totp/Aegis:{account}?secret={}&issuer=Aegis&algorithm=SHA1&digits={DIGITS}&period={STEP_SECONDS}",
        as_text(secret)
    )
}

/// A recovery code, as it is kept and as it is shown.
pub(super) fn recovery_code() -> (String, String) {
    let plain = BASE32_NOPAD.encode(&clock::random_bytes::<RECOVERY_BYTES>()).to_ascii_lowercase();
    let groups = [&plain[..4], &plain[4..8], &plain[8..12], &plain[12..]];
    let shown = groups.join("-");
    (plain, shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"12345678901234567890";

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn codes_are_those_of_rfc_4226_appendix_d() {
        let codes: Vec<u32> = (0..10).map(|counter| hotp(SECRET, counter)).collect();
        let expected =
            [755_224, 287_082, 359_152, 969_429, 338_314, 254_676, 287_922, 162_583, 399_871, 520_489];
        assert_eq!(codes, expected);
    }

    #[test]
    fn codes_are_those_of_rfc_6238_appendix_b() {
        // The last six of its eight digits.
        for (second, digits) in [
            (59, 287_082),
            (1_111_111_109, 81_804),
            (1_111_111_111, 50_471),
            (1_234_567_890, 5_924),
            (2_000_000_000, 279_037),
            (20_000_000_000, 353_130),
        ] {
            assert_eq!(step_of(SECRET, digits, at(second), 0), Some(second / 30), "{second}");
        }
    }

    #[test]
    fn a_code_holds_for_a_step_around_its_own_and_not_after_it_or_a_later_one_was_used() {
        let (digits, step) = (50_471, 1_111_111_111 / 30);
        let is_taken = |second: i64, after: i64| step_of(SECRET, digits, at(second), after) == Some(step);
        for second in [step * 30 - 30, step * 30, step * 30 + 29, step * 30 + 59] {
            assert!(is_taken(second, step - 1), "{second}");
            assert!(!is_taken(second, step) && !is_taken(second, step + 1), "{second}");
        }
        for second in [step * 30 - 31, step * 30 + 60] {
            assert!(!is_taken(second, 0), "{second}");
        }
    }

    #[test]
    fn what_is_typed_is_a_code_or_none() {
        assert_eq!(Typed::read(" 081 804"), Some(Typed::Digits(81_804)));
        let (plain, shown) = recovery_code();
        assert_eq!(shown.len(), 19);
        for text in [&plain, &shown, &shown.to_uppercase()] {
            assert_eq!(Typed::read(text), Some(Typed::Recovery(plain.clone())), "{text}");
        }
        for text in ["", "12345", "1234567", "+12345", "abcdef", "abcd-efgh-ijkl-mno1", "１２３４５６"]
        {
            assert_eq!(Typed::read(text), None, "{text}");
        }
    }

    #[test]
    fn apps_are_told_everything_in_one_address() {
        let uri = as_uri(SECRET, "ann+a@example.com");
        assert_eq!(
            uri,
            "otpauth://totp/Aegis:ann%2Ba@example.com?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ\
             &issuer=Aegis&algorithm=SHA1&digits=6&period=30"
        );
    }
}
