//! Entity tags of policies: the number of the newest version, in quotes.

use http::HeaderValue;
use http::header::{IF_MATCH, IF_NONE_MATCH};

use super::call::Call;
use super::error::Failure;
use crate::error::Error;
use crate::service::policies::Precondition;

/// The tag of a version.
pub(super) fn tag(version: u32) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{version}\"")).expect("digits in quotes are a header value")
}

/// What the caller has seen, if they say so.
pub(super) fn precondition(call: &Call) -> Result<Option<Precondition>, Failure> {
    read(call.header(&IF_MATCH)?, call.header(&IF_NONE_MATCH)?).map_err(Failure)
}

fn read(if_match: Option<&str>, if_none_match: Option<&str>) -> Result<Option<Precondition>, Error> {
    match (if_match.map(str::trim), if_none_match.map(str::trim)) {
        (None, None) => Ok(None),
        (None, Some("*")) => Ok(Some(Precondition::New)),
        (Some("*"), None) => Ok(Some(Precondition::Exists)),
        (Some(tags), None) => {
            let versions = tags.split(',').map(|tag| read_tag(tag.trim())).collect::<Option<Vec<_>>>();
            versions.map(Precondition::Latest).map(Some).ok_or_else(|| Error::Parameter {
                name: "If-Match",
                message: format!("`{tags}` must be the ETag you were given, such as \"3\""),
            })
        }
        (None, Some(_)) => Err(Error::Parameter { name: "If-None-Match", message: "must be *".to_owned() }),
        (Some(_), Some(_)) => Err(Error::Parameter {
            name: "If-Match",
            message: "must not be sent together with If-None-Match".to_owned(),
        }),
    }
}

fn read_tag(tag: &str) -> Option<u32> {
    let digits = tag.strip_prefix('"')?.strip_suffix('"')?;
    let version: u32 = digits.parse().ok()?;
    // One version has one tag.
    (version.to_string() == digits).then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_read_back_and_say_what_was_seen() {
        let tag = tag(12);
        let tag = tag.to_str().unwrap();
        assert_eq!(read(Some(tag), None).unwrap(), Some(Precondition::Latest(vec![12])));
        assert_eq!(read(Some("\"1\", \"2\""), None).unwrap(), Some(Precondition::Latest(vec![1, 2])));
        assert_eq!(read(Some("*"), None).unwrap(), Some(Precondition::Exists));
        assert_eq!(read(None, Some("*")).unwrap(), Some(Precondition::New));
        assert_eq!(read(None, None).unwrap(), None);
    }

    #[test]
    fn anything_else_is_refused() {
        for if_match in ["", "3", "\"03\"", "\"+3\"", "W/\"3\"", "\"a\"", "\"1\",", "\"-1\""] {
            assert!(read(Some(if_match), None).is_err(), "{if_match}");
        }
        assert!(read(None, Some("\"3\"")).is_err());
        assert!(read(Some("\"3\""), Some("*")).is_err());
    }
}
