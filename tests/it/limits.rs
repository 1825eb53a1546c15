//! Limits of policies, held by the whole stack: never one action too many, whoever asks where and when.

mod again;
mod bounds;
mod counting;
pub(crate) mod scene;
mod storm;
