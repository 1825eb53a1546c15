//! The mathematics of the audit log: what convinces someone who trusts nobody.
//!
//! ```text
//!  entry bytes ──Hash::leaf──► RightEdge ──► tile growths (stored) ──► Plan ──► proofs
//!                                  │                                             │
//!                                  ▼                                             ▼
//!  SignerKey ──sign_checkpoint──► checkpoint ──LogKeys::open──► Head ◄── proof::verify_…
//!                                                                │
//!        executor: Evidence::verify against Kept heads ◄─────────┤
//!        auditor:  bundle::Verifier, line by line      ◄─────────┘
//! ```
//!
//! The tree is that of RFC 6962, stored as C2SP tlog-tiles, its head signed as a C2SP tlog-checkpoint. Everything
//! here is a function of its arguments: no IO, no clock, no randomness. What is verified may come from anybody: no
//! input makes it panic, and sizes are bounded before they are used.

mod base64;
pub mod bundle;
mod checkpoint;
mod edge;
mod evidence;
mod hash;
mod heads;
mod keys;
mod log_keys;
pub mod note;
mod plan;
pub mod proof;
mod span;
mod tile;

pub use checkpoint::{Checkpoint, CheckpointError, Head, SIZE_MAX, SignError, sign_checkpoint};
pub use edge::{EdgeError, RightEdge, TileGrowth, root_of};
pub use evidence::{Evidence, EvidenceError, Verified};
pub use hash::{Hash, HashError};
pub use heads::{Consistency, HeadError, Kept, KeptError, Relation};
pub use keys::{KeyError, SignerKey, VerifierKey};
pub use log_keys::{EndorsementError, LogKeys, LogKeysError, endorse};
pub use plan::{Plan, PlanError, TileMissing};
pub use tile::{TILE_WIDTH, Tile, TilePathError};
