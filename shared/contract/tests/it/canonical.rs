//! Canonical JSON: the vectors of RFC 8785, and that reading undoes writing.

use std::collections::BTreeMap;

use aegis_contract::canonical::{self, CanonicalError};
use aegis_contract::strict::{self, Limits};
use proptest::prelude::*;
use serde_json::{Value, json};

fn canonical_text(value: &impl serde::Serialize) -> String {
    let bytes = canonical::to_bytes(value).expect("the value has canonical bytes");
    String::from_utf8(bytes).expect("canonical JSON is UTF-8")
}

/// RFC 8785 section 3.2.2: primitive values.
#[test]
fn rfc_8785_section_3_2_2_example_has_the_bytes_of_section_3_2_4() {
    let input = r#"{
        "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
        "literals": [null, true, false]
    }"#;
    let expected: &[u8] = &[
        0x7b, 0x22, 0x6c, 0x69, 0x74, 0x65, 0x72, 0x61, 0x6c, 0x73, 0x22, 0x3a, 0x5b, 0x6e, 0x75, 0x6c, 0x6c,
        0x2c, 0x74, 0x72, 0x75, 0x65, 0x2c, 0x66, 0x61, 0x6c, 0x73, 0x65, 0x5d, 0x2c, 0x22, 0x6e, 0x75, 0x6d,
        0x62, 0x65, 0x72, 0x73, 0x22, 0x3a, 0x5b, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33, 0x2e,
        0x33, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33, 0x2c, 0x31, 0x65, 0x2b, 0x33, 0x30, 0x2c, 0x34, 0x2e, 0x35,
        0x2c, 0x30, 0x2e, 0x30, 0x30, 0x32, 0x2c, 0x31, 0x65, 0x2d, 0x32, 0x37, 0x5d, 0x2c, 0x22, 0x73, 0x74,
        0x72, 0x69, 0x6e, 0x67, 0x22, 0x3a, 0x22, 0xe2, 0x82, 0xac, 0x24, 0x5c, 0x75, 0x30, 0x30, 0x30, 0x66,
        0x5c, 0x6e, 0x41, 0x27, 0x42, 0x5c, 0x22, 0x5c, 0x5c, 0x5c, 0x5c, 0x5c, 0x22, 0x2f, 0x22, 0x7d,
    ];
    let value: Value = serde_json::from_str(input).unwrap();
    assert_eq!(canonical::to_bytes(&value).unwrap(), expected);
}

/// RFC 8785 section 3.2.3: keys are sorted by UTF-16 code units, not by code points.
#[test]
fn rfc_8785_section_3_2_3_example_is_sorted_as_printed_there() {
    let input = r#"{
        "\u20ac": "Euro Sign",
        "\r": "Carriage Return",
        "\ufb33": "Hebrew Letter Dalet With Dagesh",
        "1": "One",
        "\ud83d\ude00": "Emoji: Grinning Face",
        "\u0080": "Control",
        "\u00f6": "Latin Small Letter O With Diaeresis"
    }"#;
    let expected = [
        "Carriage Return",
        "One",
        "Control",
        "Latin Small Letter O With Diaeresis",
        "Euro Sign",
        "Emoji: Grinning Face",
        "Hebrew Letter Dalet With Dagesh",
    ];
    let value: Value = serde_json::from_str(input).unwrap();
    let text = canonical_text(&value);
    let places: Vec<_> = expected.iter().map(|name| text.find(name).unwrap()).collect();
    assert!(places.is_sorted(), "{text}");
}

/// RFC 8785 appendix B: bit patterns of doubles and their text.
#[test]
fn rfc_8785_appendix_b_numbers_are_written_as_printed_there() {
    let numbers: [(u64, &str); 24] = [
        (0x0000000000000000, "0"),
        (0x8000000000000000, "0"),
        (0x0000000000000001, "5e-324"),
        (0x8000000000000001, "-5e-324"),
        (0x7fefffffffffffff, "1.7976931348623157e+308"),
        (0xffefffffffffffff, "-1.7976931348623157e+308"),
        (0x4340000000000000, "9007199254740992"),
        (0xc340000000000000, "-9007199254740992"),
        (0x4430000000000000, "295147905179352830000"),
        (0x44b52d02c7e14af5, "9.999999999999997e+22"),
        (0x44b52d02c7e14af6, "1e+23"),
        (0x44b52d02c7e14af7, "1.0000000000000001e+23"),
        (0x444b1ae4d6e2ef4e, "999999999999999700000"),
        (0x444b1ae4d6e2ef4f, "999999999999999900000"),
        (0x444b1ae4d6e2ef50, "1e+21"),
        (0x3eb0c6f7a0b5ed8c, "9.999999999999997e-7"),
        (0x3eb0c6f7a0b5ed8d, "0.000001"),
        (0x41b3de4355555553, "333333333.3333332"),
        (0x41b3de4355555554, "333333333.33333325"),
        (0x41b3de4355555555, "333333333.3333333"),
        (0x41b3de4355555556, "333333333.3333334"),
        (0x41b3de4355555557, "333333333.33333343"),
        (0xbecbf647612f3696, "-0.0000033333333333333333"),
        (0x43143ff3c1cb0959, "1424953923781206.2"),
    ];
    for (bits, expected) in numbers {
        assert_eq!(canonical_text(&f64::from_bits(bits)), expected, "{bits:016x}");
    }
}

/// RFC 8785 appendix B: the two patterns that are errors.
#[test]
fn rfc_8785_appendix_b_numbers_that_are_none_are_refused() {
    for bits in [0x7fffffffffffffff, 0x7ff0000000000000] {
        let error = canonical::to_bytes(&list_with(f64::from_bits(bits))).unwrap_err();
        assert_eq!(error.code(), "not-representable");
    }
}

/// Inside a document, where serde_json alone would turn the number into null.
fn list_with(number: f64) -> BTreeMap<&'static str, Vec<f64>> {
    BTreeMap::from([("numbers", vec![1.0, number])])
}

#[test]
fn integers_beyond_two_to_the_53rd_are_refused_with_their_place() {
    let edge = 1_u64 << 53;
    assert_eq!(canonical_text(&json!([edge, -(edge as i64)])), "[9007199254740992,-9007199254740992]");
    let beyond = [json!(edge + 1), json!(-(edge as i64) - 1), json!(u64::MAX), json!(i64::MIN)];
    for number in beyond {
        let document = json!({ "a/b": [0, { "c~d": number }] });
        let pointer = "/a~1b/1/c~0d".to_owned();
        assert_eq!(canonical::to_bytes(&document), Err(CanonicalError::NumberOutOfRange { pointer }));
    }
    assert_eq!(canonical::to_bytes(&u128::MAX).unwrap_err().code(), "number-out-of-range");
}

/// serde has more shapes than JSON; ours are written as serde_json writes them.
#[test]
fn every_shape_of_a_value_is_written_as_serde_json_writes_it() {
    #[derive(serde::Serialize)]
    enum Shape {
        Unit,
        Newtype(u8),
        Tuple(i8, f32),
        Struct { b: Option<char>, a: () },
    }
    #[derive(serde::Serialize)]
    struct Pair(Shape, Shape);

    let shapes = (
        Pair(Shape::Unit, Shape::Newtype(1)),
        [Shape::Tuple(-1, 0.5), Shape::Struct { b: Some('x'), a: () }],
        BTreeMap::from([("k".to_owned(), None::<bool>)]),
    );
    let expected =
        r#"[["Unit",{"Newtype":1}],[{"Tuple":[-1,0.5]},{"Struct":{"a":null,"b":"x"}}],{"k":null}]"#;
    assert_eq!(canonical_text(&shapes), expected);
    assert_eq!(serde_json::to_value(&shapes).unwrap(), serde_json::from_str::<Value>(expected).unwrap());
}

#[test]
fn keys_that_are_no_strings_and_raw_text_have_no_canonical_bytes() {
    let raw = serde_json::value::RawValue::from_string("1.0".to_owned()).unwrap();
    assert_eq!(canonical::to_bytes(&raw).unwrap_err().code(), "not-representable");
    assert_eq!(canonical::to_bytes(&BTreeMap::from([(1, 2)])).unwrap_err().code(), "not-representable");
}

#[test]
fn a_key_written_twice_has_no_canonical_bytes() {
    struct Doubled;
    impl serde::Serialize for Doubled {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_map([("a", 1), ("a", 2)])
        }
    }
    assert_eq!(canonical::to_bytes(&Doubled).unwrap_err().code(), "not-representable");
}

/// JSON that the reader accepts: numbers within ±2^53, a few levels deep.
fn documents() -> impl Strategy<Value = Value> {
    let edge = 1_i64 << 53;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-edge..=edge).prop_map(Value::from),
        (-1e15..1e15_f64).prop_map(Value::from),
        any::<u64>()
            .prop_map(f64::from_bits)
            .prop_filter_map("within the range of the reader", move |number| {
                (number.abs() <= edge as f64).then(|| Value::from(number))
            }),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..8)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn reading_canonical_bytes_and_writing_them_again_changes_nothing(document in documents()) {
        let bytes = canonical::to_bytes(&document).unwrap();
        let read = strict::value(&bytes, Limits::WIRE).unwrap();
        prop_assert_eq!(canonical::to_bytes(&read).unwrap(), bytes);
    }

    #[test]
    fn pretty_and_canonical_text_of_a_document_have_the_same_canonical_bytes(document in documents()) {
        let pretty = serde_json::to_vec_pretty(&document).unwrap();
        let read = strict::value(&pretty, Limits::POLICY).unwrap();
        prop_assert_eq!(canonical::to_bytes(&read).unwrap(), canonical::to_bytes(&document).unwrap());
    }
}
