//! The JSON Schema of a policy file, out of the types themselves: editors complete keys and show their meaning.
//!
//! It says what a file may look like. What its words mean together (a store larger than its memory, a rule that there
//! is not) only `seatrial policy check` says.

use crate::Policy;
use schemars::{Schema, SchemaGenerator, generate::SchemaSettings, json_schema};

/// The schema as text, the same for every call. Draft 7, which is what editors understand.
#[must_use]
pub fn json_schema() -> String {
    let schema = SchemaSettings::draft07()
        .into_generator()
        .into_root_schema_for::<Policy>();
    seatrial_core::schema::text(schema, "policy.schema.json", "Seatrial policy")
}

/// Whether this is the name of an expression.
pub(crate) fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len()) && text.bytes().all(plain) && !text.starts_with('-')
}

pub(crate) fn version(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"const": 1})
}

pub(crate) fn day(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$",
        "examples": ["2027-03-31"]
    })
}

pub(crate) fn age(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "pattern": "^[0-9]",
        "examples": ["7d", "36h", "1d 12h"]
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::Value;

    use super::*;
    use crate::DEFAULT_TOML;

    fn schema() -> Value {
        serde_json::from_str(&json_schema()).unwrap()
    }

    fn valid(text: &str) -> bool {
        // A day without quotes is text to a schema.
        let mut table: toml::Table = text.parse().unwrap();
        for waiver in table
            .get_mut("waivers")
            .and_then(toml::Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            if let Some(day) = waiver.get_mut("expires").filter(|day| day.is_datetime()) {
                *day = toml::Value::String(day.as_datetime().unwrap().to_string());
            }
        }
        let value = serde_json::to_value(table).unwrap();
        jsonschema::validator_for(&schema()).unwrap().is_valid(&value)
    }

    fn parses(text: &str) -> bool {
        Policy::parse(text, "2026-11-23T12:00:00Z".parse().unwrap()).is_ok()
    }

    /// Refreshed by `SEATRIAL_REFRESH=1 cargo test -p seatrial-policy`, or by `seatrial policy schema`.
    #[test]
    fn the_committed_schema_is_the_one_of_the_types() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/policy.schema.json");
        let now = json_schema();
        if std::env::var_os("SEATRIAL_REFRESH").is_some() {
            std::fs::write(&path, &now).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == now,
            "docs/policy.schema.json is not what the code says; run the tests again with SEATRIAL_REFRESH=1"
        );
    }

    #[test]
    fn the_schema_is_one_and_takes_the_default_file() {
        assert!(jsonschema::meta::is_valid(&schema()));
        assert!(valid(DEFAULT_TOML) && valid(&Policy::default().to_toml()));
    }

    #[test]
    fn schema_and_parser_take_the_same_files() {
        let waiver = "[[waivers]]\nrule = \"CVE-2023-1\"\nreason = \"r\"\nowner = \"o\"\nexpires = ";
        for good in [
            "version = 1".to_owned(),
            "version = 1\n[analysis]\nblock = \"warn\"\n[analysis.levels]\nST003 = \"off\"".to_owned(),
            format!("version = 1\n{waiver}2027-01-01"),
            format!("version = 1\n{waiver}\"2027-01-01\"\nmatch = \"zlib\""),
            "version = 1\n[limits]\nlog = 1500\nresult = \"32 KiB\"\n[limits.run]\ntime = \"90s\"".to_owned(),
            "version = 1\n[walls]\nrun = [\"gvisor\"]\nuser_namespace = true".to_owned(),
            "version = 1\n[egress]\nallow = [\"pypi.org\"]\nresolver = \"10.1.0.53:53\"\n[network]\nrun = \"egress\""
                .to_owned(),
        ] {
            assert!(parses(&good), "the parser refuses: {good}");
            assert!(valid(&good), "the schema refuses: {good}");
        }
        for bad in [
            String::new(),
            "version = 2".to_owned(),
            "version = 1\nlevels = 1".to_owned(),
            "version = 1\n[analysis]\nblock = \"fatal\"".to_owned(),
            "version = 1\n[analysis.levels]\nST003 = \"fatal\"".to_owned(),
            format!("version = 1\n{waiver}\"soon\""),
            "version = 1\n[[waivers]]\nrule = \"CVE-2023-1\"".to_owned(),
            "version = 1\n[network]\nrun = \"host\"".to_owned(),
            "version = 1\n[walls]\nrun = [\"moat\"]".to_owned(),
            "version = 1\n[run]\nuser = \"root\"".to_owned(),
            "version = 1\n[limits]\nlog = \"many\"".to_owned(),
            "version = 1\n[limits.run]\ntime = \"soon\"".to_owned(),
            "version = 1\n[vulnerabilities]\nignore_unfixed = \"no\"".to_owned(),
        ] {
            assert!(!parses(&bad), "the parser takes: {bad}");
            assert!(!valid(&bad), "the schema takes: {bad}");
        }
    }

    /// The tables of a policy: their paths, and their keys.
    fn tables(value: &Value, path: &str, found: &mut Vec<(String, Vec<String>)>) {
        let Value::Object(map) = value else { return };
        found.push((path.to_owned(), map.keys().cloned().collect()));
        for (key, inner) in map {
            let below = if path.is_empty() {
                key.clone()
            } else {
                format!("{path}.{key}")
            };
            tables(inner, &below, found);
        }
    }

    #[test]
    fn schema_and_parser_agree_on_every_key_and_refuse_all_others() {
        let mut found = Vec::new();
        tables(&serde_json::to_value(Policy::default()).unwrap(), "", &mut found);
        let schema = schema();
        for (path, keys) in found.iter().filter(|(path, _)| path != "analysis.levels") {
            let mut place = &schema;
            for key in path.split('.').filter(|key| !key.is_empty()) {
                place = &place["properties"][key];
                let link = place["$ref"].as_str().or_else(|| place["allOf"][0]["$ref"].as_str());
                if let Some(name) = link.and_then(|link| link.strip_prefix("#/definitions/")) {
                    place = &schema["definitions"][name];
                }
            }
            let described = place["properties"]
                .as_object()
                .unwrap_or_else(|| panic!("{path} is not in the schema"));
            for key in keys {
                assert!(described.contains_key(key), "{path}.{key} is not in the schema");
                assert!(
                    described[key]["description"].is_string(),
                    "{path}.{key} has no description"
                );
            }
            let header = if path.is_empty() {
                String::new()
            } else {
                format!("[{path}]\n")
            };
            let text = format!("version = 1\n{header}nobody_knows = 1\n");
            assert!(!parses(&text), "the parser takes an unknown key in {path}");
            assert!(!valid(&text), "the schema takes an unknown key in {path}");
        }
    }
}
