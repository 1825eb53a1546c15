//! The policy evaluator beside others: the same rules and requests for each in its best idiom, the same
//! answers before anything is timed.

pub mod bytes;
pub mod engines;
pub mod measure;
pub mod row;
pub mod suite;
pub mod workloads;
pub mod world;
