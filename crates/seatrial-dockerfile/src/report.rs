//! The parser's answer as JSON, for `seatrial parse --format json`.

use serde_json::{Value, json};

use crate::parse::Parsed;

/// `{"error": null | {…, "errors": […]}, "instructions": […]}`. The instructions are what could be
/// read, whatever the errors.
#[must_use]
pub fn parse_report(parsed: &Parsed) -> Value {
    let error = parsed.errors.first().map_or(Value::Null, |first| {
        json!({
            "message": first.message,
            "line": first.line,
            "column": first.column,
            "span": first.span,
            "code": first.kind,
            "errors": parsed.errors,
        })
    });
    let instructions: Vec<Value> = parsed
        .dockerfile
        .instructions
        .iter()
        .map(|instruction| {
            json!({
                "keyword": instruction.name,
                "first_line": instruction.first_line,
                "last_line": instruction.last_line,
                "flags": instruction.flags.len(),
                "json_form": instruction.json_form(),
            })
        })
        .collect();
    json!({ "error": error, "instructions": instructions })
}
