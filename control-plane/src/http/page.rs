//! Pages of lists: at most so many items, and a cursor to the next ones.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::error::Failure;
use crate::error::Error;

/// Items of a page when the caller does not say.
const LIMIT_DEFAULT: u32 = 50;
/// Most items of a page.
const LIMIT_MAX: u32 = 200;

/// Which page of a list to answer.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PageQuery {
    /// The `nextCursor` of the page before.
    pub(super) cursor: Option<String>,
    /// Most items to answer.
    #[param(minimum = 1, maximum = 200)]
    pub(super) limit: Option<u32>,
}

/// One page of a list.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Page<T> {
    /// The items.
    pub(super) items: Vec<T>,
    /// Send it as `cursor` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// The page of at most `limit` of `items`, of which one more was looked for.
    pub(super) fn new(mut items: Vec<T>, limit: u32, cursor_of: impl Fn(&T) -> String) -> Self {
        let limit = limit as usize;
        let more = items.len() > limit;
        items.truncate(limit);
        let next_cursor = if more { items.last().map(cursor_of) } else { None };
        Self { items, next_cursor }
    }
}

/// How many items to answer.
pub(super) fn limit(asked: Option<u32>) -> Result<u32, Failure> {
    let limit = asked.unwrap_or(LIMIT_DEFAULT);
    if (1..=LIMIT_MAX).contains(&limit) {
        Ok(limit)
    } else {
        Err(Error::Parameter { name: "limit", message: format!("must be 1 to {LIMIT_MAX}, not {limit}") }
            .into())
    }
}

/// A cursor that names an id.
pub(super) fn id_cursor(id: Uuid) -> String {
    URL_SAFE_NO_PAD.encode(id.as_bytes())
}

/// The id that a cursor names.
pub(super) fn read_id_cursor(cursor: Option<&str>) -> Result<Option<Uuid>, Failure> {
    let Some(cursor) = cursor else { return Ok(None) };
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|bytes| Uuid::from_slice(&bytes).ok());
    bytes.map(Some).ok_or_else(unusable)
}

/// A cursor that names a place.
pub(super) fn place_cursor(place: u64) -> String {
    URL_SAFE_NO_PAD.encode(place.to_be_bytes())
}

/// The place that a cursor names, if it names one.
pub(super) fn read_place_cursor(cursor: &str) -> Option<u64> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
    bytes.try_into().map(u64::from_be_bytes).ok().filter(|place| i64::try_from(*place).is_ok())
}

/// A cursor that names a name.
pub(super) fn name_cursor(name: &str) -> String {
    URL_SAFE_NO_PAD.encode(name)
}

/// The name that a cursor names.
pub(super) fn read_name_cursor(cursor: Option<&str>) -> Result<Option<String>, Failure> {
    let Some(cursor) = cursor else { return Ok(None) };
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    bytes.filter(|name| !name.contains('\0')).map(Some).ok_or_else(unusable)
}

fn unusable() -> Failure {
    Error::Parameter { name: "cursor", message: "must be the nextCursor of the page before".to_owned() }
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_read_back_and_nothing_else_does() {
        let id = Uuid::from_u128(42);
        assert_eq!(read_id_cursor(Some(&id_cursor(id))).unwrap(), Some(id));
        assert_eq!(read_name_cursor(Some(&name_cursor("prod-heal"))).unwrap().as_deref(), Some("prod-heal"));
        for cursor in ["", "AA", "not a cursor", "AAAAAAAAAAAAAAAAAAAAAAAA"] {
            assert!(read_id_cursor(Some(cursor)).is_err(), "{cursor}");
            assert_eq!(read_place_cursor(cursor), None, "{cursor}");
        }
        assert!(read_name_cursor(Some("AA")).is_err());
        assert_eq!(read_place_cursor(&place_cursor(42)), Some(42));
        assert_eq!(read_place_cursor(&place_cursor(u64::MAX)), None);
        assert_eq!(read_place_cursor(&id_cursor(id)), None);
    }

    #[test]
    fn a_page_has_a_cursor_only_if_there_is_more() {
        let page = |items: &[u32]| Page::new(items.to_vec(), 2, ToString::to_string);
        assert_eq!(page(&[1, 2, 3]).next_cursor.as_deref(), Some("2"));
        assert_eq!(page(&[1, 2, 3]).items, [1, 2]);
        assert_eq!(page(&[1, 2]).next_cursor, None);
        assert!(limit(Some(0)).is_err() && limit(Some(201)).is_err());
        assert_eq!(limit(None).unwrap(), 50);
    }
}
