//! The log's mathematics, held against published vectors, other implementations and by properties.

mod bundles;
mod checkpoints;
mod damaged_bundles;
mod evidence;
mod foreign;
mod heads;
mod log;
mod notes;
mod parsers;
mod proofs;
mod tiles;
mod tree;
mod vectors;
