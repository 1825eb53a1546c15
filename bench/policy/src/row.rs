//! What is reported.

use serde::Serialize;

/// One comparison, as `cargo xtask bench` reads it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// What was measured.
    pub case: String,
    /// Of both figures.
    pub unit: &'static str,
    /// Our figure.
    pub ours: f64,
    /// What it is compared with.
    pub other: f64,
    /// Whose that is.
    pub other_name: String,
    /// At most this part of `other` is the goal; nothing if the figure is only there to be seen.
    pub part_max: Option<f64>,
}

impl Row {
    /// A figure that is meant to be at most `limit`.
    pub fn limit(case: impl Into<String>, unit: &'static str, ours: f64, limit: f64) -> Self {
        Self {
            case: case.into(),
            unit,
            ours,
            other: limit,
            other_name: "limit".to_owned(),
            part_max: Some(1.0),
        }
    }

    /// A figure that is meant to be at most one of so many parts of another one.
    pub fn against(
        case: impl Into<String>,
        unit: &'static str,
        ours: f64,
        (name, other): (&str, f64),
        times: f64,
    ) -> Self {
        Self {
            case: case.into(),
            unit,
            ours,
            other,
            other_name: name.to_owned(),
            part_max: Some(1.0 / times),
        }
    }

    /// A figure beside another one.
    pub fn beside(
        case: impl Into<String>,
        unit: &'static str,
        ours: f64,
        (name, other): (&str, f64),
    ) -> Self {
        Self { case: case.into(), unit, ours, other, other_name: name.to_owned(), part_max: None }
    }
}
