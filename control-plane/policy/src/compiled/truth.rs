//! Truths in four bytes.

use std::fmt;

use super::value::Attribute;
use crate::decision::{Cause, Indeterminate};

/// P7: true, false or unknown; an unknown one holds the place of its path in the sorted list of all
/// paths, and the cause, so that the smallest is the one that P17 names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Truth(u32);

const CAUSES: [Cause; 3] = [Cause::Missing, Cause::Mistyped, Cause::Stale];

impl Truth {
    pub(super) const FALSE: Self = Self(0);
    pub(super) const TRUE: Self = Self(1);

    pub(super) fn known(holds: bool) -> Self {
        Self(holds.into())
    }

    pub(super) fn unknown(path: u32, cause: Cause) -> Self {
        Self(2 + path * 3 + cause as u32)
    }

    pub(super) fn is_unknown(self) -> bool {
        self > Self::TRUE
    }

    pub(super) fn not(self) -> Self {
        if self.is_unknown() { self } else { Self(1 - self.0) }
    }

    /// What was unknown, by the sorted list of attributes.
    pub(super) fn indeterminate(self, attributes: &[Attribute]) -> Option<Indeterminate> {
        let code = self.0.checked_sub(2)?;
        let path = attributes[(code / 3) as usize].path.to_string();
        Some(Indeterminate { path, cause: CAUSES[(code % 3) as usize] })
    }
}

impl fmt::Debug for Truth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("false"),
            1 => f.write_str("true"),
            code => write!(f, "unknown {:?} of path {}", CAUSES[((code - 2) % 3) as usize], (code - 2) / 3),
        }
    }
}

impl Default for Truth {
    fn default() -> Self {
        Self::FALSE
    }
}
