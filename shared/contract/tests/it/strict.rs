//! The strict reader: what it refuses, with which code and where.

use aegis_contract::strict::{self, Fault, Limits};
use proptest::prelude::*;
use serde::Deserialize;

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    name: String,
    #[serde(default)]
    rules: Vec<Rule>,
    shape: Option<Shape>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
enum Shape {
    Point,
    Line(u8),
    Square { side: u8 },
    Pair(u8, Box<Shape>),
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    max: u8,
}

fn nested(levels: usize) -> String {
    "[".repeat(levels) + &"]".repeat(levels)
}

#[test]
fn texts_with_more_than_one_reading_or_none_are_refused() {
    let deep_mixed = r#"{"a":["#.repeat(16) + "[]" + &"]}".repeat(16);
    let cases: &[(&str, &str, Fault, &str)] = &[
        ("a key twice", r#"{"a":1,"b":{"c":1,"c":2}}"#, Fault::DuplicateKey, "/b/c"),
        ("a key twice, once in escapes", r#"{"a":1,"\u0061":1}"#, Fault::DuplicateKey, "/a"),
        ("the empty key twice", r#"{"":1,"":1}"#, Fault::DuplicateKey, "/"),
        ("33 levels", &nested(33), Fault::TooDeep, &"/0".repeat(32)),
        ("33 levels of both kinds", &deep_mixed, Fault::TooDeep, &"/a/0".repeat(16)),
        ("200 levels", &nested(200), Fault::TooDeep, &"/0".repeat(32)),
        ("2^53 + 1", "[9007199254740993]", Fault::NumberOutOfRange, "/0"),
        ("-(2^53 + 1)", "[-9007199254740993]", Fault::NumberOutOfRange, "/0"),
        ("a large integer", "18446744073709551616", Fault::NumberOutOfRange, ""),
        ("a large fraction", r#"{"n":1e16}"#, Fault::NumberOutOfRange, "/n"),
        ("more than a double", r#"{"n":1e400}"#, Fault::NumberOutOfRange, "/n"),
        ("a second document", "{} {}", Fault::TrailingData, ""),
        ("a stray brace", "{}}", Fault::TrailingData, ""),
        ("nothing", "", Fault::Malformed, ""),
        ("white space", " \n", Fault::Malformed, ""),
        ("half a document", r#"{"a":[1,"#, Fault::Malformed, "/a/1"),
        ("a trailing comma", "[1,]", Fault::Malformed, "/1"),
        ("a comment", "/* */ {}", Fault::Malformed, ""),
        ("single quotes", "{'a':1}", Fault::Malformed, ""),
        ("a leading zero", "[01]", Fault::Malformed, "/0"),
        ("a leading plus", "[+1]", Fault::Malformed, "/0"),
        ("NaN", "[NaN]", Fault::Malformed, "/0"),
        ("a lone surrogate", r#"["\ud800"]"#, Fault::Malformed, "/0"),
        ("a raw line break in a string", "[\"\n\"]", Fault::Malformed, "/0"),
        ("a byte order mark", "\u{feff}{}", Fault::Malformed, ""),
    ];
    for (name, text, fault, pointer) in cases {
        let error = strict::value(text.as_bytes(), Limits::WIRE).expect_err(name);
        assert_eq!((error.fault, error.pointer.as_str()), (*fault, *pointer), "{name}: {error}");
    }
}

#[test]
fn texts_at_the_edge_of_the_limits_are_read() {
    let mixed = r#"{"a":["#.repeat(16) + &"]}".repeat(16);
    let numbers = "[9007199254740992,-9007199254740992,9007199254740992.0,-0,1e-400,1E1]";
    for text in
        [&nested(32), &mixed, numbers, " \t\r\n{} \n", r#"{"a":1,"A":1}"#, "null", r#""\ud83d\ude00""#]
    {
        strict::value(text.as_bytes(), Limits::WIRE).expect(text);
    }
}

#[test]
fn bytes_that_are_not_utf_8_are_refused_where_they_stand() {
    for bytes in [b"{\n \"a\": \"\xff\"}".as_slice(), b"[\n       \xc3\x28]"] {
        let error = strict::value(bytes, Limits::WIRE).unwrap_err();
        assert_eq!((error.code(), error.line, error.column), ("not-utf8", 2, 8), "{bytes:?}");
    }
}

#[test]
fn texts_over_the_limit_of_bytes_are_refused_before_they_are_read() {
    for limits in [Limits::WIRE, Limits::POLICY] {
        let fits = format!("\"{}\"", "a".repeat(limits.bytes_max - 2));
        assert!(strict::value(fits.as_bytes(), limits).is_ok());
        let error = strict::value(format!("{fits} ").as_bytes(), limits).unwrap_err();
        assert_eq!(error.code(), "too-large");
    }
    assert_eq!((Limits::WIRE.bytes_max, Limits::POLICY.bytes_max), (65_536, 16_777_216));
}

#[test]
fn a_fault_is_told_with_line_and_column() {
    let error = strict::value(b"{\n  \"a\": 1,\n  \"a\": 2\n}", Limits::WIRE).unwrap_err();
    assert_eq!((error.line, error.column), (3, 5));
    assert_eq!(error.to_string(), "the key \"a\" appears twice (line 3, column 5)");
}

#[test]
fn a_document_is_read_into_its_type() {
    let document: Document =
        strict::from_slice(br#"{"name":"a","rules":[{"max":1}]}"#, Limits::WIRE).unwrap();
    assert_eq!(document, Document { name: "a".to_owned(), rules: vec![Rule { max: 1 }], shape: None });

    let shapes: Vec<Option<Shape>> =
        strict::from_slice(br#"["point",{"line":1},{"pair":[2,{"square":{"side":3}}]},null]"#, Limits::WIRE)
            .unwrap();
    let pair = Shape::Pair(2, Box::new(Shape::Square { side: 3 }));
    assert_eq!(shapes, [Some(Shape::Point), Some(Shape::Line(1)), Some(pair), None]);
}

#[test]
fn a_document_that_its_type_does_not_know_is_refused_with_a_pointer() {
    let cases = [
        (r#"{"name":"a","nmae":"b"}"#, Fault::UnknownField, "/nmae"),
        (r#"{"name":"a","rules":[{"max":1},{"max":1,"min":0}]}"#, Fault::UnknownField, "/rules/1/min"),
        (r#"{"rules":[]}"#, Fault::MissingField, ""),
        (r#"{"name":"a","rules":[{}]}"#, Fault::MissingField, "/rules/0"),
        (r#"{"name":1}"#, Fault::InvalidValue, "/name"),
        (r#"{"name":null}"#, Fault::InvalidValue, "/name"),
        (r#"{"name":"a","rules":[{"max":256}]}"#, Fault::InvalidValue, "/rules/0/max"),
        (r#"{"name":"a","rules":[{"max":1.0}]}"#, Fault::InvalidValue, "/rules/0/max"),
        (r#"{"name":"a","name":"b"}"#, Fault::DuplicateKey, "/name"),
        (r#"{"name":"a"}{}"#, Fault::TrailingData, ""),
        (r#"["a",[]]"#, Fault::InvalidValue, ""),
        (r#"{"name":"a","rules":[[1]]}"#, Fault::InvalidValue, "/rules/0"),
        (r#"{"name":"a","shape":{"square":[1]}}"#, Fault::InvalidValue, "/shape/square"),
        (r#"{"name":"a","shape":{"square":{"side":1,"edge":1}}}"#, Fault::UnknownField, "/shape/square/edge"),
        (r#"{"name":"a","shape":"circle"}"#, Fault::InvalidValue, "/shape"),
    ];
    for (text, fault, pointer) in cases {
        let error = strict::from_slice::<Document>(text.as_bytes(), Limits::WIRE).expect_err(text);
        assert_eq!((error.fault, error.pointer.as_str()), (fault, pointer), "{text}: {error}");
        assert!(error.line > 0, "{text}");
    }
}

#[test]
fn base64_has_one_text_for_each_byte_string() {
    assert_eq!(strict::base64_decode("aGVsbG8gd29ybGQ="), Ok(b"hello world".to_vec()));
    assert_eq!(strict::base64_decode(""), Ok(Vec::new()));
    let refused = [
        "aGVsbG8gd29ybGQ",    // no padding
        "aGVsbG8gd29ybGQ==",  // too much padding
        "aGVsbG8gd29ybGR=",   // bits that belong to nothing
        "aGVsbG8g d29ybGQ=",  // white space inside
        "aGVsbG8gd29ybGQ=\n", // and after
        " aGVsbG8gd29ybGQ=",  // and before
        "_-8=",               // the URL-safe alphabet
        "aGVs=bG8",           // padding inside
        "=",
        "a",
    ];
    for text in refused {
        assert!(strict::base64_decode(text).is_err(), "{text:?}");
    }
}

proptest! {
    #[test]
    fn base64_written_reads_back_and_no_other_text_does(bytes: Vec<u8>, place: prop::sample::Index, bit in 0..7_u32) {
        let text = strict::base64_encode(&bytes);
        prop_assert_eq!(strict::base64_decode(&text), Ok(bytes.clone()));
        if !text.is_empty() {
            let mut flipped = text.into_bytes();
            let place = place.index(flipped.len());
            flipped[place] ^= 1 << bit;
            let flipped = String::from_utf8(flipped).expect("still ASCII");
            prop_assert_ne!(strict::base64_decode(&flipped), Ok(bytes));
        }
    }

    #[test]
    fn the_reader_answers_to_any_bytes(bytes: Vec<u8>) {
        if let Ok(value) = strict::value(&bytes, Limits::WIRE) {
            prop_assert_eq!(serde_json::from_slice::<serde_json::Value>(&bytes).unwrap(), value);
        }
    }
}
