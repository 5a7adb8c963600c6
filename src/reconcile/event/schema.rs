//! The JSON Schema of events (2020-12), made from the table of types.

use serde_json::{Map, Value, json};

use super::field::{Field, Presence, Shape};
use super::kind::{KINDS, Kind};
use super::{TEXT_BYTES_MAX, VERSION};

const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// The schema of one type, or of all. Readers must accept fields that it does not name: fields are only added.
pub fn schema(kind: Option<Kind>) -> Value {
    if let Some(kind) = kind {
        let mut schema = Map::new();
        schema.insert("$schema".into(), DIALECT.into());
        schema.insert("$id".into(), format!("urn:rosterd:event:{VERSION}:{kind}").into());
        schema.extend(of_kind(kind));
        return Value::Object(schema);
    }
    let all: Map<String, Value> =
        KINDS.iter().map(|kind| (kind.to_string(), Value::Object(of_kind(*kind)))).collect();
    let one_of: Vec<Value> = KINDS.iter().map(|kind| json!({"$ref": format!("#/$defs/{kind}")})).collect();
    json!({
        "$schema": DIALECT,
        "$id": format!("urn:rosterd:event:{VERSION}"),
        "title": "An event of rosterd",
        "oneOf": one_of,
        "$defs": all,
    })
}

fn of_kind(kind: Kind) -> Map<String, Value> {
    let mut properties = place();
    let mut required = vec!["epoch", "seq", "n", "previous"];
    for field in kind.fields() {
        properties.insert(field.name.into(), of_field(field));
        if field.presence == Presence::Always {
            required.push(field.name);
        }
    }
    let schema = json!({
        "title": kind.as_str(),
        "description": kind.when(),
        "type": "object",
        "required": ["version", "type", "timestamp", "data"],
        "properties": {
            "version": {"const": VERSION},
            "type": {"const": kind.as_str()},
            "timestamp": {"type": "string", "format": "date-time", "description": "When it happened, in UTC."},
            "data": {"type": "object", "required": required, "properties": properties},
        },
    });
    match schema {
        Value::Object(schema) => schema,
        _ => Map::new(),
    }
}

/// What names the event and its place: the same in every type.
fn place() -> Map<String, Value> {
    let number = |about: &str| json!({"type": "integer", "minimum": 0, "description": about});
    let mut properties = Map::new();
    properties.insert("epoch".into(), number("Which life of the mirror; a restore begins the next."));
    properties.insert("seq".into(), number("Number of the change in the log."));
    properties.insert("n".into(), number("Number of the event in that change."));
    let previous = json!({
        "type": ["array", "null"],
        "items": {"type": "integer", "minimum": 0},
        "minItems": 3,
        "maxItems": 3,
        "description": "Epoch, seq and n of the event that this target was told before this one; null where it begins. If it is not the one that came last, something is missing.",
    });
    properties.insert("previous".into(), previous);
    properties
}

fn of_field(field: &Field) -> Value {
    // An ellipsis may stand behind what was cut.
    let text = || json!({"type": "string", "maxLength": TEXT_BYTES_MAX + 1});
    let resource = |name: &str, kinds: &[&str]| {
        json!({
            "type": "object",
            "required": ["id", "ref"],
            "properties": {
                "id": {"type": "string", "format": "uuid", "description": "SCIM `id`."},
                "ref": {"type": "string", "description": "Where it is below the SCIM base address."},
                name: {"type": kinds, "description": "Its name; null if nobody knows it any more."},
            },
        })
    };
    let mut schema = match field.shape {
        Shape::Text => text(),
        Shape::Texts => json!({"type": "array", "items": {"type": "string"}}),
        Shape::Count => json!({"type": "integer", "minimum": 0}),
        Shape::Flag => json!({"type": "boolean"}),
        Shape::Values => json!({"type": "object"}),
        Shape::User => resource("userName", &["string", "null"]),
        Shape::Group => resource("displayName", &["string", "null"]),
        Shape::Subject => resource("name", &["string"]),
        Shape::Omitted => json!({
            "type": "array",
            "items": {
                "type": "object",
                "required": ["value", "bytes"],
                "properties": {
                    "value": {"type": "string", "description": "Where it would stand: `after.photos`, or `after` for all of it."},
                    "bytes": {"type": "integer", "minimum": 0, "description": "How long it is."},
                },
            },
        }),
        Shape::Counts => json!({"type": "object", "additionalProperties": {"type": "integer", "minimum": 0}}),
    };
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("description".into(), field.about.into());
    }
    schema
}
