//! Reads JSON text into a tree while watching for doubled keys, depth and large numbers.

use std::cell::{Cell, RefCell};
use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::{Fault, StrictError, message_without_place};
use crate::canonical::{INTEGER_MAX, push_segment};

/// What the nested visitors share: the limit going down, the fault and its place coming back.
struct Progress {
    levels_max: usize,
    fault: Cell<Option<Fault>>,
    /// Pointer to the value being read. A visitor shortens it only on success, so after an error it says where.
    pointer: RefCell<String>,
}

pub(super) fn read(bytes: &[u8], levels_max: usize) -> Result<Value, StrictError> {
    let progress = Progress { levels_max, fault: Cell::new(None), pointer: RefCell::new(String::new()) };
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let result = Node { progress: &progress, level: 0 }
        .deserialize(&mut deserializer)
        .map_err(|error| (progress.fault.get(), error))
        .and_then(|value| match deserializer.end() {
            Ok(()) => Ok(value),
            Err(error) => Err((Some(Fault::TrailingData), error)),
        });
    result.map_err(|(fault, error)| {
        let message = message_without_place(&error);
        let fault = fault.unwrap_or(if message == "number out of range" {
            Fault::NumberOutOfRange
        } else {
            Fault::Malformed
        });
        let (line, column) = (error.line(), error.column());
        StrictError { fault, message, pointer: progress.pointer.take(), line, column }
    })
}

/// One value of the tree, `level` containers deep.
#[derive(Clone, Copy)]
struct Node<'p> {
    progress: &'p Progress,
    level: usize,
}

impl<'p> Node<'p> {
    fn refuse<E: Error>(self, fault: Fault, message: impl fmt::Display) -> E {
        self.progress.fault.set(Some(fault));
        E::custom(message)
    }

    fn enter<E: Error>(self) -> Result<Node<'p>, E> {
        if self.level == self.progress.levels_max {
            let message = format!("more than {} levels", self.progress.levels_max);
            return Err(self.refuse(Fault::TooDeep, message));
        }
        Ok(Node { level: self.level + 1, ..self })
    }

    fn integer<E: Error>(self, magnitude: u64, number: Number) -> Result<Value, E> {
        if magnitude > INTEGER_MAX {
            return Err(self.refuse(Fault::NumberOutOfRange, format!("{number} is beyond ±2^53")));
        }
        Ok(Value::Number(number))
    }

    /// Goes to a child in the pointer; the returned length leads back.
    fn descend(self, segment: &str) -> usize {
        let mut pointer = self.progress.pointer.borrow_mut();
        let length = pointer.len();
        push_segment(&mut pointer, segment);
        length
    }

    fn ascend(self, length: usize) {
        self.progress.pointer.borrow_mut().truncate(length);
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        self.integer(value, value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        self.integer(value.unsigned_abs(), value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        // Integers too large for 64 bits arrive here as well, so fractions and integers share the bound.
        match Number::from_f64(value) {
            Some(number) if value.abs() <= INTEGER_MAX as f64 => Ok(Value::Number(number)),
            _ => Err(self.refuse(Fault::NumberOutOfRange, format!("{value} is beyond ±2^53"))),
        }
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let inner = self.enter()?;
        let mut items = Vec::new();
        loop {
            let length = self.descend(&items.len().to_string());
            let item = sequence.next_element_seed(inner)?;
            self.ascend(length);
            match item {
                Some(item) => items.push(item),
                None => return Ok(Value::Array(items)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let inner = self.enter()?;
        let mut members = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let length = self.descend(&key);
            if members.contains_key(&key) {
                return Err(self.refuse(Fault::DuplicateKey, format!("the key {key:?} appears twice")));
            }
            members.insert(key, entries.next_value_seed(inner)?);
            self.ascend(length);
        }
        Ok(Value::Object(members))
    }
}
