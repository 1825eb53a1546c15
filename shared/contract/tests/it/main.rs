//! What the contract's bytes promise, held against published vectors and by properties.

mod canonical;
mod digests;
mod envelopes;
mod http_signature_bits;
mod http_signature_profile;
mod http_signature_vectors;
mod macs;
mod strict;
