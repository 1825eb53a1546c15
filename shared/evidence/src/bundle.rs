//! Evidence bundles: a part of the log, or all of it, with everything needed to verify it offline.
//!
//! A bundle is JSON Lines: a manifest; then blocks and single entries with their proofs, each followed by the exact
//! bytes of its entries, one entry a line; then an end. `docs/evidence.md` describes it for other implementations.
//! [`Line`] writes what stands between the entries, [`Verifier`] reads all of it.

mod fault;
mod line;
mod progress;
mod report;
mod verifier;

pub use fault::{Class, Fault};
pub use line::{Block, Content, End, FORMAT, LINE_BYTES_MAX, Line, Manifest, Single};
pub use report::{Report, Statement};
pub use verifier::Verifier;
