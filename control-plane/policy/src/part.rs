//! The parts of the language that need more than an evaluator.

/// A part of the language that holds only if somebody acts on what the evaluator answers. Whoever
/// reads documents says which of these it enforces, and documents with any other are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// `approvals`: people are asked.
    Approvals,
    /// `breakGlass`: a review is asked for, loudly.
    BreakGlass,
    /// `dryRunOnly`: nothing but a dry run is done.
    DryRunOnly,
    /// `limits`: actions are counted.
    Limits,
    /// `mode: shadow`: divergences are counted and stored.
    Shadow,
    /// `tests`: no document is activated whose tests fail.
    Tests,
    /// `mode: warn`: warnings are counted and stored.
    Warn,
}

impl Part {
    /// Every part.
    pub const ALL: &'static [Self] = &[
        Self::Approvals,
        Self::BreakGlass,
        Self::DryRunOnly,
        Self::Limits,
        Self::Shadow,
        Self::Tests,
        Self::Warn,
    ];

    /// How a document writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Approvals => "approvals",
            Self::BreakGlass => "breakGlass",
            Self::DryRunOnly => "dryRunOnly",
            Self::Limits => "limits",
            Self::Shadow => "mode: shadow",
            Self::Tests => "tests",
            Self::Warn => "mode: warn",
        }
    }

    /// What somebody must do for it to hold.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Approvals => "people are asked, and counted: P36",
            Self::BreakGlass => "a review is asked for, loudly: P38",
            Self::DryRunOnly => "nothing but a dry run is done: P37",
            Self::Limits => "actions are counted: P34",
            Self::Shadow => "divergences are counted and stored: P32",
            Self::Tests => "nothing is activated whose tests fail: P39",
            Self::Warn => "warnings are told and stored: P31",
        }
    }
}
