//! Hashes, roots and the right edge, against the RFC's own definition.

use aegis_evidence::{Hash, Head, Plan, RightEdge, SIZE_MAX, root_of};
use proptest::prelude::*;

use crate::log::Log;

/// MTH of RFC 6962, section 2.1, as it is written there.
pub(crate) fn tree_hash(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Hash::EMPTY,
        [leaf] => *leaf,
        _ => {
            let middle = leaves.len().next_power_of_two() / 2;
            Hash::node(&tree_hash(&leaves[..middle]), &tree_hash(&leaves[middle..]))
        }
    }
}

pub(crate) fn hash_of_hex(text: &str) -> Hash {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal digits");
    Hash::from_bytes(std::array::from_fn(|place| digit(2 * place)))
}

/// Entries and roots of the trees of Certificate Transparency's reference tests (google/certificate-transparency,
/// `merkletree/merkle_tree_test.cc`; also transparency-dev/merkle, `testonly/constants.go`).
#[test]
fn the_trees_of_certificate_transparency_have_their_roots() {
    let entries: [&[u8]; 8] = [
        b"",
        b"\x00",
        b"\x10",
        b"\x20\x21",
        b"\x30\x31",
        b"\x40\x41\x42\x43",
        b"\x50\x51\x52\x53\x54\x55\x56\x57",
        b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
    ];
    let roots = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    let mut edge = RightEdge::EMPTY;
    for (size, root) in roots.into_iter().enumerate() {
        assert_eq!(edge.head(), Head { size: size as u64, root: hash_of_hex(root) });
        if let Some(entry) = entries.get(size) {
            edge.append(Hash::leaf(entry));
        }
    }
}

#[test]
fn a_hash_has_one_text() {
    let hash = Hash::leaf(b"");
    let text = "bjQLnP+zepicpUTmu3gKLHiQHT+zNzh2hRGjBhevoB0=";
    assert_eq!((hash.to_string(), text.parse()), (text.to_owned(), Ok(hash)));
    for other in [
        "",
        "bjQLnP+zepicpUTmu3gKLHiQHT+zNzh2hRGjBhevoB0",
        "bjQLnP+zepicpUTmu3gKLHiQHT+zNzh2hRGjBhevoB1=",
        "bjQLnP-zepicpUTmu3gKLHiQHT-zNzh2hRGjBhevoB0=",
        "bjQLnP+zepicpUTmu3gKLHiQHT+zNzh2hRGjBhevoB0=\n",
        "bjQLnP+zepicpUTmu3gKLHiQHT+zNzh2hRGjBhevoA==",
    ] {
        assert!(other.parse::<Hash>().is_err(), "{other:?}");
    }
}

#[test]
fn an_edge_has_one_hash_for_each_bit_of_its_size() {
    let hashes = |count| vec![Hash::EMPTY; count];
    for (size, count, fits) in
        [(0, 0, true), (0, 1, false), (7, 3, true), (7, 2, false), (8, 1, true), (SIZE_MAX, 1, true)]
    {
        assert_eq!(RightEdge::new(size, hashes(count)).is_ok(), fits, "{size} with {count}");
    }
    assert!(RightEdge::new(SIZE_MAX + 1, hashes(2)).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn appending_in_any_batches_makes_the_tree_of_the_rfc(batches in prop::collection::vec(0_usize..300, 1..6)) {
        let mut log = Log::empty();
        for (number, count) in batches.into_iter().enumerate() {
            log.append_batch((0..count).map(|entry| format!("{number}/{entry}").into_bytes()).collect());
            let leaves: Vec<Hash> = log.entries.iter().map(|entry| Hash::leaf(entry)).collect();
            let root = tree_hash(&leaves);
            prop_assert_eq!(log.head(), Head { size: log.size(), root });
            prop_assert_eq!(root_of(leaves), root);
            // What was stored is enough to go on after a restart.
            let edge = RightEdge::new(log.size(), log.hashes(&Plan::edge(log.size())));
            prop_assert_eq!(edge.as_ref(), Ok(log.edge()));
        }
    }
}
