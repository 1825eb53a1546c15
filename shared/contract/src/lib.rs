//! What two services of Aegis must agree on byte for byte.
//!
//! ```text
//!  automation ──http_signature──► control plane ──dsse(order)──► executor
//!                                       ▲                           │
//!                                       └──────dsse(receipt)────────┘
//! ```
//!
//! Documents: [`action`], [`target`], [`facts`], [`plan`], [`intent`], [`order`], [`receipt`], [`problem`].
//! Bytes: [`canonical`] writes them, [`strict`] reads them, [`digest`] names them, [`dsse`] and
//! [`http_signature`] sign them with what [`key`] holds. [`peer`] names services in certificates. Nothing here does IO or reads a clock.

pub mod action;
pub mod bounds;
pub mod canonical;
pub mod code;
pub mod digest;
pub mod dsse;
pub mod facts;
pub mod http_signature;
pub mod ids;
pub mod intent;
pub mod key;
pub mod order;
pub mod peer;
pub mod plan;
pub mod problem;
pub mod receipt;
pub mod strict;
pub mod target;
