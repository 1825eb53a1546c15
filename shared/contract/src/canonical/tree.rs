//! Turns a value into a JSON tree and refuses what JSON cannot carry exactly.
//!
//! The serializers below would write NaN as null, round large integers and keep the last of doubled keys.

use serde::ser::{
    Error as _, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant,
    SerializeTuple, SerializeTupleStruct, SerializeTupleVariant, Serializer,
};
use serde_json::{Map, Number, Value};

use super::{CanonicalError, INTEGER_MAX};

/// The serializer; it holds nothing, the tree is what it answers.
pub(super) struct Tree;

/// An array that is being written, and the variant it stands under.
pub(super) struct Items {
    variant: Option<&'static str>,
    items: Vec<Value>,
}

/// An object that is being written, and the variant it stands under.
pub(super) struct Members {
    variant: Option<&'static str>,
    members: Map<String, Value>,
    key: Option<String>,
}

impl Items {
    fn new(variant: Option<&'static str>, length: Option<usize>) -> Self {
        Self { variant, items: Vec::with_capacity(length.unwrap_or_default()) }
    }

    fn push<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), CanonicalError> {
        let item = value.serialize(Tree).map_err(|error| error.within(&self.items.len().to_string()))?;
        self.items.push(item);
        Ok(())
    }

    fn finish(self) -> Value {
        under(self.variant, Value::Array(self.items))
    }
}

impl Members {
    fn new(variant: Option<&'static str>) -> Self {
        Self { variant, members: Map::new(), key: None }
    }

    fn insert<T: Serialize + ?Sized>(&mut self, key: String, value: &T) -> Result<(), CanonicalError> {
        let member = value.serialize(Tree).map_err(|error| error.within(&key))?;
        if self.members.contains_key(&key) {
            return Err(CanonicalError::custom(format!("the key {key:?} twice in one object")));
        }
        self.members.insert(key, member);
        Ok(())
    }

    fn finish(self) -> Value {
        under(self.variant, Value::Object(self.members))
    }
}

fn under(variant: Option<&'static str>, value: Value) -> Value {
    match variant {
        None => value,
        Some(variant) => Value::Object(Map::from_iter([(variant.to_owned(), value)])),
    }
}

fn integer<N: TryInto<i64>>(number: N) -> Result<Value, CanonicalError> {
    match number.try_into() {
        Ok(number) if number.unsigned_abs() <= INTEGER_MAX => Ok(number.into()),
        _ => Err(CanonicalError::NumberOutOfRange { pointer: String::new() }),
    }
}

macro_rules! serialize_integers {
    ($($method:ident $type:ty),*) => {
        $(fn $method(self, number: $type) -> Result<Value, CanonicalError> {
            integer(number)
        })*
    };
}

impl Serializer for Tree {
    type Ok = Value;
    type Error = CanonicalError;
    type SerializeSeq = Items;
    type SerializeTuple = Items;
    type SerializeTupleStruct = Items;
    type SerializeTupleVariant = Items;
    type SerializeMap = Members;
    type SerializeStruct = Members;
    type SerializeStructVariant = Members;

    serialize_integers! {
        serialize_i8 i8, serialize_i16 i16, serialize_i32 i32, serialize_i64 i64, serialize_i128 i128,
        serialize_u8 u8, serialize_u16 u16, serialize_u32 u32, serialize_u64 u64, serialize_u128 u128
    }

    fn serialize_bool(self, value: bool) -> Result<Value, CanonicalError> {
        Ok(Value::Bool(value))
    }

    fn serialize_f32(self, number: f32) -> Result<Value, CanonicalError> {
        self.serialize_f64(number.into())
    }

    fn serialize_f64(self, number: f64) -> Result<Value, CanonicalError> {
        match Number::from_f64(number) {
            Some(number) => Ok(Value::Number(number)),
            None => Err(CanonicalError::custom("a number that is not finite")),
        }
    }

    fn serialize_char(self, value: char) -> Result<Value, CanonicalError> {
        Ok(Value::String(value.into()))
    }

    fn serialize_str(self, value: &str) -> Result<Value, CanonicalError> {
        Ok(Value::String(value.to_owned()))
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<Value, CanonicalError> {
        Ok(value.into())
    }

    fn serialize_none(self) -> Result<Value, CanonicalError> {
        Ok(Value::Null)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Value, CanonicalError> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<Value, CanonicalError> {
        Ok(Value::Null)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<Value, CanonicalError> {
        Ok(Value::Null)
    }

    fn serialize_unit_variant(self, _: &str, _: u32, variant: &'static str) -> Result<Value, CanonicalError> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<Value, CanonicalError> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<Value, CanonicalError> {
        let value = value.serialize(self).map_err(|error| error.within(variant))?;
        Ok(under(Some(variant), value))
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<Items, CanonicalError> {
        Ok(Items::new(None, length))
    }

    fn serialize_tuple(self, length: usize) -> Result<Items, CanonicalError> {
        Ok(Items::new(None, Some(length)))
    }

    fn serialize_tuple_struct(self, _: &'static str, length: usize) -> Result<Items, CanonicalError> {
        Ok(Items::new(None, Some(length)))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Items, CanonicalError> {
        Ok(Items::new(Some(variant), Some(length)))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Members, CanonicalError> {
        Ok(Members::new(None))
    }

    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Members, CanonicalError> {
        // serde_json smuggles raw text through structs of reserved names.
        if name.starts_with("$serde_json::private") {
            return Err(CanonicalError::custom("raw JSON text"));
        }
        Ok(Members::new(None))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Members, CanonicalError> {
        Ok(Members::new(Some(variant)))
    }
}

macro_rules! finish {
    () => {
        type Ok = Value;
        type Error = CanonicalError;

        fn end(self) -> Result<Value, CanonicalError> {
            Ok(self.finish())
        }
    };
}

impl SerializeSeq for Items {
    finish!();

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), CanonicalError> {
        self.push(value)
    }
}

impl SerializeTuple for Items {
    finish!();

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), CanonicalError> {
        self.push(value)
    }
}

impl SerializeTupleStruct for Items {
    finish!();

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), CanonicalError> {
        self.push(value)
    }
}

impl SerializeTupleVariant for Items {
    finish!();

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), CanonicalError> {
        self.push(value)
    }
}

impl SerializeMap for Members {
    finish!();

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), CanonicalError> {
        match key.serialize(Tree)? {
            Value::String(key) => self.key = Some(key),
            _ => return Err(CanonicalError::custom("a key that is not a string")),
        }
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), CanonicalError> {
        let key = self.key.take().ok_or_else(|| CanonicalError::custom("a value without its key"))?;
        self.insert(key, value)
    }
}

impl SerializeStruct for Members {
    finish!();

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), CanonicalError> {
        self.insert(key.to_owned(), value)
    }
}

impl SerializeStructVariant for Members {
    finish!();

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), CanonicalError> {
        self.insert(key.to_owned(), value)
    }
}
