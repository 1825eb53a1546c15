//! Error bodies: RFC 9457 `application/problem+json` with a stable `code`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Media type of [`Problem`].
pub const MEDIA_TYPE: &str = "application/problem+json";

/// One error as the caller sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// `about:blank`: the `code` says what happened (RFC 9457 section 4.2.1).
    #[serde(rename = "type")]
    pub type_uri: String,
    /// The HTTP status in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// Stable, kebab-case.
    pub code: String,
    /// What happened and what to do, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Names the request in logs and audit entries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Each thing wrong with the body, by place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// Members particular to the code, such as `actionId` or `serverTime`.
    #[serde(flatten)]
    pub extensions: Map<String, Value>,
}

/// One thing wrong with a body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FieldError {
    /// Where: a JSON pointer (RFC 6901) into the body.
    pub pointer: String,
    /// Stable, kebab-case.
    pub code: String,
    /// What is wrong and what is expected, for people.
    pub message: String,
}

impl Problem {
    /// A problem with a status and a code; the rest is empty.
    pub fn new(status: http::StatusCode, code: impl Into<String>) -> Self {
        Self {
            type_uri: "about:blank".to_owned(),
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            code: code.into(),
            detail: None,
            request_id: None,
            errors: Vec::new(),
            extensions: Map::new(),
        }
    }

    /// The same with a text for people.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }
}
