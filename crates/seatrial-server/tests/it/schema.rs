//! Holds answers against the API's description: a small, strict reader of the schemas that it uses. A field
//! that the description does not know is an error, unlike for clients.

use std::sync::LazyLock;

use axum::http::Method;
use serde_json::Value;

use crate::support::Answer;

static DESCRIPTION: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(&seatrial_server::openapi::json()).unwrap());

/// Panics when the description does not know such an answer.
#[track_caller]
pub(crate) fn check(method: &Method, path: &str, answer: &Answer) {
    let Some(operation) = operation(method, path) else {
        return; // no endpoint of the description: 404, 405, the page
    };
    let status = answer.status.as_str();
    let Some(response) = operation["responses"].get(status) else {
        panic!(
            "{method} {path} answers {status}, which is not described: {}",
            answer.text()
        );
    };
    let kind = answer
        .header("content-type")
        .split(';')
        .next()
        .unwrap()
        .trim()
        .to_owned();
    if method == Method::HEAD || answer.body.is_empty() {
        return;
    }
    let Some(content) = response["content"].get(&kind) else {
        panic!("{method} {path} answers {status} as {kind}, which is not described");
    };
    if !kind.ends_with("json") || answer.headers.contains_key("content-encoding") {
        return;
    }
    let wrong = mismatches(&content["schema"], &answer.json());
    assert!(
        wrong.is_empty(),
        "{method} {path} {status}: {wrong:#?}\n{}",
        answer.text()
    );
}

/// How a value differs from a schema of the description.
pub(crate) fn differs(name: &str, value: &Value) -> Vec<String> {
    let schema = &DESCRIPTION["components"]["schemas"][name];
    assert!(schema.is_object(), "there is no schema {name}");
    mismatches(schema, value)
}

fn operation(method: &Method, path: &str) -> Option<&'static Value> {
    let method = if method == Method::HEAD { &Method::GET } else { method };
    let paths = DESCRIPTION["paths"].as_object().unwrap();
    let item = paths
        .iter()
        .find(|(template, _)| matches(template, path))
        .map(|(_, item)| item)?;
    item.get(method.as_str().to_ascii_lowercase())
}

fn matches(template: &str, path: &str) -> bool {
    let (template, path): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
    let same = |(part, given): (&&str, &&str)| part.starts_with('{') || part == given;
    template.len() == path.len() && template.iter().zip(&path).all(same)
}

fn mismatches(schema: &Value, value: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    compare(schema, value, "", &mut wrong);
    wrong
}

fn resolve(schema: &Value) -> &Value {
    match schema["$ref"].as_str() {
        Some(reference) => resolve(DESCRIPTION.pointer(reference.trim_start_matches('#')).unwrap()),
        None => schema,
    }
}

fn compare(schema: &Value, value: &Value, at: &str, wrong: &mut Vec<String>) {
    let schema = resolve(schema);
    if let Some(choices) = schema.get("oneOf").or_else(|| schema.get("anyOf")) {
        let fits = choices
            .as_array()
            .unwrap()
            .iter()
            .any(|choice| mismatches(choice, value).is_empty());
        if !fits {
            wrong.push(format!("{at}: {value} is none of {choices}"));
        }
        return;
    }
    if let Some(words) = schema.get("enum")
        && !words.as_array().unwrap().contains(value)
    {
        wrong.push(format!("{at}: {value} is not one of {words}"));
    }
    if let Some(types) = schema.get("type") {
        let names: Vec<&str> = match types {
            Value::String(name) => vec![name],
            names => names
                .as_array()
                .unwrap()
                .iter()
                .map(|name| name.as_str().unwrap())
                .collect(),
        };
        if !names.iter().any(|name| is(name, value)) {
            wrong.push(format!("{at}: {value} is not {types}"));
            return;
        }
    }
    if let Some(least) = schema.get("minimum").and_then(Value::as_f64)
        && value.as_f64().is_some_and(|value| value < least)
    {
        wrong.push(format!("{at}: {value} is less than {least}"));
    }
    match value {
        Value::Object(object) => compare_object(schema, object, at, wrong),
        Value::Array(items) => {
            let bounds = (schema["minItems"].as_u64(), schema["maxItems"].as_u64());
            let length = items.len() as u64;
            if bounds.0.is_some_and(|least| length < least) || bounds.1.is_some_and(|most| length > most) {
                wrong.push(format!("{at}: {length} items"));
            }
            if let Some(schema) = schema.get("items") {
                for (index, item) in items.iter().enumerate() {
                    compare(schema, item, &format!("{at}/{index}"), wrong);
                }
            }
        }
        _ => {}
    }
}

fn compare_object(schema: &Value, object: &serde_json::Map<String, Value>, at: &str, wrong: &mut Vec<String>) {
    let properties = schema.get("properties").and_then(Value::as_object);
    let others = schema.get("additionalProperties");
    for (name, value) in object {
        let at = format!("{at}/{name}");
        match properties.and_then(|properties| properties.get(name)) {
            Some(schema) => compare(schema, value, &at, wrong),
            None => match others {
                Some(schema) if schema.is_object() => compare(schema, value, &at, wrong),
                // A schema that says nothing of members allows all.
                None if properties.is_none() => {}
                _ => wrong.push(format!("{at}: is not described")),
            },
        }
    }
    for name in schema["required"].as_array().into_iter().flatten() {
        if !object.contains_key(name.as_str().unwrap()) {
            wrong.push(format!("{at}: {name} is missing"));
        }
    }
}

fn is(name: &str, value: &Value) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("what is a {other}?"),
    }
}
