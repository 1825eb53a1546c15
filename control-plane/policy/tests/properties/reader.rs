//! Nothing makes the reader panic, and it says where every problem stands.

use aegis_policy::document as reading;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use crate::world::{document, rules};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(reading::parse(&bytes).is_err());
    }

    #[test]
    fn no_damage_to_a_document_makes_the_reader_panic(
        rules in rules(),
        pretty in any::<bool>(),
        damages in proptest::collection::vec((any::<prop::sample::Index>(), select(DAMAGES)), 1..4),
    ) {
        let document = document("policy", &rules);
        let text = if pretty { serde_json::to_string_pretty(&document).unwrap() } else { document.to_string() };
        let mut bytes = text.into_bytes();
        for (place, damage) in damages {
            let start = place.index(bytes.len());
            let end = (start + damage.len() / 2).min(bytes.len());
            bytes.splice(start..end, damage.bytes());
        }
        let lines = 1 + bytes.iter().filter(|byte| **byte == b'\n').count();
        for problem in reading::parse(&bytes).err().unwrap_or_default() {
            prop_assert!(problem.line.is_none_or(|line| (1..=lines).contains(&line)), "{}", problem);
        }
    }

    #[test]
    fn any_json_in_any_place_is_read_or_refused_where_it_stands(
        rules in rules(),
        place in any::<prop::sample::Index>(),
        other in select(vec![json!(null), json!([]), json!({}), json!(-1), json!(""), json!([[{}]]), json!({ "all": [{}] })]),
    ) {
        let mut document = document("policy", &rules);
        let mut pointers = Vec::new();
        collect(&document, String::new(), &mut pointers);
        let pointer = &pointers[place.index(pointers.len())];
        *document.pointer_mut(pointer).unwrap() = other;
        for problem in reading::parse(document.to_string().as_bytes()).err().unwrap_or_default() {
            prop_assert!(problem.line == Some(1) && problem.column.is_some(), "{}", problem);
        }
    }
}

const DAMAGES: &[&str] = &[
    "",
    "\"",
    "{",
    "}",
    "[",
    ",",
    ":",
    "\\",
    "\\u0000",
    "\u{fffd}",
    "null",
    "1e999",
    "-",
    "\n\n",
    "DENY",
    "**",
    "\"when\":",
];

fn collect(value: &Value, pointer: String, pointers: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(name, member)| collect(member, format!("{pointer}/{name}"), pointers));
        }
        Value::Array(items) => {
            items
                .iter()
                .enumerate()
                .for_each(|(index, item)| collect(item, format!("{pointer}/{index}"), pointers));
        }
        _ => {}
    }
    pointers.push(pointer);
}
