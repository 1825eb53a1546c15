//! Which runs of entries are nodes of a tree (RFC 6962, section 2.1: how `D[n]` is divided).

use std::ops::Range;

/// The entries below one node of a tree, also of one at its right edge that is not full.
pub(crate) type Span = Range<u64>;

/// A full subtree: the entries from `index << level`, `1 << level` of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) level: u32,
    pub(crate) index: u64,
}

/// Where a node over `length` entries, at least two, is divided: the largest power of two below `length`.
pub(crate) fn division(length: u64) -> u64 {
    1 << (length - 1).ilog2()
}

/// The full subtrees that make up `span`, from left to right.
pub(crate) fn full_nodes(span: &Span) -> Vec<Node> {
    let mut nodes = Vec::new();
    let mut start = span.start;
    while start < span.end {
        let level = (span.end - start).ilog2();
        nodes.push(Node { level, index: start >> level });
        start += 1 << level;
    }
    nodes
}
