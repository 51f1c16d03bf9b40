//! Parts of a JSON Schema for values that are text in files: sizes, times, words for walls; and how a schema is
//! printed.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::Value;

use crate::walls::Ask;

/// `64MiB`, or a number of bytes.
pub fn size(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": ["string", "integer"],
        "pattern": r"^[0-9]+(\.[0-9]+)?\s*([kKmMgGtTpPeE][iI]?)?[bB]?$",
        "minimum": 0,
        "examples": ["64KiB", "512MiB", "4GiB"]
    })
}

/// `15m`.
pub fn time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "pattern": "^[0-9]",
        "examples": ["90s", "15m", "1h 30m"]
    })
}

/// Words for walls, each once.
pub fn walls(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "items": {"type": "string", "enum": Ask::words()}
    })
}

/// `[from, to]`.
pub fn span(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "items": {"type": "integer", "minimum": 0},
        "minItems": 2,
        "maxItems": 2
    })
}

/// A schema as text under the name of its file in `docs/`, the same for every call.
#[must_use]
pub fn text(mut schema: Schema, file: &str, title: &str) -> String {
    let id = format!("{}/raw/main/docs/{file}", env!("CARGO_PKG_REPOSITORY"));
    schema.insert("$id".to_owned(), id.into());
    schema.insert("title".to_owned(), title.into());
    let mut value: Value = schema.into();
    plain(&mut value);
    // A value always serialises.
    let text = serde_json::to_string_pretty(&value).unwrap_or_default();
    format!("{text}\n")
}

/// Takes Rust's notation for links out of descriptions, and formats that only Rust has.
fn plain(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.shift_remove("format");
            for (key, inner) in map.iter_mut() {
                match inner {
                    Value::String(text) if key == "description" => {
                        *text = text
                            .replace("[`", "`")
                            .replace("`]", "`")
                            .replace("Level::", "")
                            .replace('\n', " ");
                    }
                    _ => plain(inner),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(plain),
        _ => {}
    }
}
