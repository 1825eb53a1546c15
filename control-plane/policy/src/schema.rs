//! The JSON Schema of documents, for editors and other tools: generated from the tables of fields,
//! operators and attributes, and never stricter than the reader.

use serde_json::{Map, Value, json};

use crate::attribute::{ATTRIBUTES, METADATA, Type};
use crate::operator::{OPERATORS, Takes};
use crate::shape::{self, NAME_LENGTH_MAX, Object, Shape};

/// A draft of JSON Schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Draft {
    /// 2020-12.
    Draft202012,
    /// 7, which editors read.
    Draft7,
}

impl Draft {
    fn uri(self) -> &'static str {
        match self {
            Self::Draft202012 => "https://json-schema.org/draft/2020-12/schema",
            Self::Draft7 => "http://json-schema.org/draft-07/schema#",
        }
    }

    fn definitions(self) -> &'static str {
        match self {
            Self::Draft202012 => "$defs",
            Self::Draft7 => "definitions",
        }
    }
}

/// P1: the schema of documents.
pub fn schema(draft: Draft) -> Value {
    let mut generator = Generator { draft, definitions: Map::new() };
    let document = generator.object(&shape::DOCUMENT);
    generator.definitions.insert("condition".to_owned(), condition(draft));
    generator.definitions.insert("comparison".to_owned(), comparison());
    let mut schema = json!({
        "$schema": draft.uri(),
        "title": format!("Policies of Aegis, {}", shape::SCHEMA),
    });
    let fields = schema.as_object_mut().expect("it was made as an object");
    fields.extend(document.as_object().cloned().unwrap_or_default());
    fields.insert(draft.definitions().to_owned(), Value::Object(generator.definitions));
    schema
}

struct Generator {
    draft: Draft,
    definitions: Map<String, Value>,
}

impl Generator {
    fn object(&mut self, object: &Object) -> Value {
        let properties: Map<String, Value> = object
            .fields
            .iter()
            .map(|field| {
                let mut value = self.shape(&field.shape);
                value["description"] = field.meaning.into();
                (field.name.to_owned(), value)
            })
            .collect();
        let required: Vec<&str> =
            object.fields.iter().filter(|field| field.required).map(|field| field.name).collect();
        let mut schema = json!({
            "type": "object", "properties": properties, "required": required, "additionalProperties": false
        });
        if !object.some_of.is_empty() {
            schema["anyOf"] = object.some_of.iter().map(|name| json!({ "required": [name] })).collect();
        }
        if !object.together.is_empty() {
            let some: Value = object.together.iter().map(|name| json!({ "required": [name] })).collect();
            schema["oneOf"] = json!([{ "required": object.together }, { "not": { "anyOf": some } }]);
        }
        schema
    }

    /// A reference to the definition of an object, which is made when it is first needed. It stands
    /// alone in a list, since draft 7 reads nothing beside a reference.
    fn reference(&mut self, object: &Object) -> Value {
        if !self.definitions.contains_key(object.name) {
            // First the name, so that it is not made again while it is made.
            self.definitions.insert(object.name.to_owned(), Value::Null);
            let definition = self.object(object);
            self.definitions.insert(object.name.to_owned(), definition);
        }
        json!({ "allOf": [reference(self.draft, object.name)] })
    }

    fn shape(&mut self, shape: &Shape) -> Value {
        match shape {
            Shape::Literal(text) => json!({ "const": text }),
            Shape::OneOf(texts) => json!({ "enum": texts }),
            Shape::Name => name(),
            Shape::Text(length_max) => json!({ "type": "string", "maxLength": length_max }),
            Shape::Form(_, pattern) => json!({ "type": "string", "pattern": pattern }),
            Shape::Flag => json!({ "type": "boolean" }),
            Shape::Whole(min, max) => json!({ "type": "integer", "minimum": min, "maximum": max }),
            Shape::List { of, min } => {
                json!({ "type": "array", "items": self.shape(of), "minItems": min })
            }
            Shape::OneOrMore(of) => {
                let one = self.shape(of);
                json!({ "anyOf": [one, { "type": "array", "items": one, "minItems": 1 }] })
            }
            Shape::Object(object) => self.reference(object),
            Shape::Map(object) => {
                json!({ "type": "object", "propertyNames": name(), "additionalProperties": self.reference(object) })
            }
            Shape::Kinds(objects) => {
                json!({ "oneOf": objects.iter().map(|object| self.reference(object)).collect::<Vec<_>>() })
            }
            Shape::Condition => json!({ "allOf": [reference(self.draft, "condition")] }),
            Shape::Operand => json!({}),
            Shape::Scalars => {
                json!({ "type": "object", "additionalProperties": { "type": ["string", "number", "boolean"] } })
            }
        }
    }
}

fn reference(draft: Draft, name: &str) -> Value {
    json!({ "$ref": format!("#/{}/{name}", draft.definitions()) })
}

fn name() -> Value {
    json!({ "type": "string", "maxLength": NAME_LENGTH_MAX, "pattern": "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$" })
}

/// P7: a group or a comparison.
fn condition(draft: Draft) -> Value {
    let condition = reference(draft, "condition");
    let group = |name: &str, members: Value| {
        json!({
            "type": "object", "properties": { name: members }, "required": [name], "additionalProperties": false
        })
    };
    let list = json!({ "type": "array", "items": condition, "minItems": 1 });
    json!({
        "oneOf": [
            group("all", list.clone()),
            group("any", list),
            group("not", condition),
            reference(draft, "comparison"),
        ]
    })
}

/// P12: attributes of one type have the same operators, and operators that take the same have the
/// same values.
fn comparison() -> Value {
    let mut alternatives = Vec::new();
    let mut types: Vec<Type> = Vec::new();
    for attribute in ATTRIBUTES {
        if types.contains(&attribute.value_type) {
            continue;
        }
        types.push(attribute.value_type);
        let mut takes: Vec<Takes> = Vec::new();
        for operator in OPERATORS.iter().filter(|operator| operator.applies_to(attribute.value_type)) {
            if !takes.contains(&operator.takes) {
                takes.push(operator.takes);
                alternatives.push(comparison_of(attribute.value_type, operator.takes));
            }
        }
    }
    json!({ "oneOf": alternatives })
}

fn comparison_of(value_type: Type, takes: Takes) -> Value {
    let operators: Vec<&str> =
        OPERATORS.iter().filter(|operator| operator.takes == takes).map(|operator| operator.name).collect();
    let mut properties = json!({ "path": paths(value_type), "op": { "enum": operators } });
    let mut required = vec!["path", "op"];
    if let Some(value) = operand(value_type, takes) {
        properties["value"] = value;
        required.push("value");
    }
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

/// The attributes of a type. Metadata are the only ones whose type is not fixed.
fn paths(value_type: Type) -> Value {
    if value_type == Type::Scalar {
        return json!({ "type": "string", "pattern": format!("^{}", METADATA.replace('.', r"\.")), "minLength": METADATA.len() + 1 });
    }
    let of_type = ATTRIBUTES.iter().filter(|attribute| attribute.value_type == value_type);
    json!({ "enum": of_type.map(|attribute| attribute.path).collect::<Vec<_>>() })
}

fn operand(value_type: Type, takes: Takes) -> Option<Value> {
    let list = |items: Value| json!({ "type": "array", "items": items, "minItems": 1 });
    let text = json!({ "type": "string", "minLength": 1 });
    let number = json!({ "type": if value_type == Type::Whole { "integer" } else { "number" } });
    Some(match takes {
        Takes::Nothing => return None,
        Takes::Value => value(value_type),
        // All values of a list have one type.
        Takes::Values if value_type == Type::Scalar => {
            let lists = ["string", "number", "boolean"].map(|of| list(json!({ "type": of })));
            json!({ "oneOf": lists })
        }
        Takes::Values => list(value(value_type)),
        Takes::Number => number,
        Takes::Range => json!({ "type": "array", "items": number, "minItems": 2, "maxItems": 2 }),
        Takes::Network => json!({ "type": "string", "pattern": "^[0-9A-Fa-f.:]+/[0-9]{1,3}$" }),
        Takes::Text | Takes::Pattern | Takes::Versions => text,
        Takes::Texts => list(text),
    })
}

fn value(value_type: Type) -> Value {
    match value_type {
        Type::Text | Type::List => json!({ "type": "string" }),
        Type::OneOf(texts) => json!({ "enum": texts }),
        Type::Whole => json!({ "type": "integer" }),
        Type::Flag => json!({ "type": "boolean" }),
        Type::Scalar => json!({ "type": ["string", "number", "boolean"] }),
    }
}
