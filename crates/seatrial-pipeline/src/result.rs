//! The result file: read as data from a stranger.
//!
//! A result is one JSON value in UTF-8. What JSON leaves open is refused, for two readers could
//! otherwise see two results in the same bytes: duplicate keys, numbers out of range, nesting
//! deeper than [`MAX_DEPTH`]. The exact bytes are kept beside the parsed value.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Deepest nesting; serde_json's own recursion limit, which is never switched off.
pub const MAX_DEPTH: usize = 127;

/// Why bytes are not a result.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadResult {
    /// Nothing in it.
    #[error("it is empty")]
    Empty,
    /// Not text.
    #[error("it is not UTF-8 (first bad byte at offset {0})")]
    NotUtf8(usize),
    /// Not one JSON value, or one with duplicate keys and the like.
    #[error("it is not valid JSON: {0}")]
    NotJson(String),
}

/// Reads a result.
///
/// # Errors
/// [`BadResult`], with the place where that helps. The text may hold guest bytes.
pub fn parse(bytes: &[u8]) -> Result<Value, BadResult> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(BadResult::Empty);
    }
    let text = std::str::from_utf8(bytes).map_err(|e| BadResult::NotUtf8(e.valid_up_to()))?;
    let strict: Strict = serde_json::from_str(text).map_err(|e| BadResult::NotJson(e.to_string()))?;
    Ok(strict.0)
}

struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON value")
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("a number that is not finite"))
    }
    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            all.push(item);
        }
        Ok(Value::Array(all))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut all = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if all.contains_key(&key) {
                return Err(A::Error::custom(format_args!(
                    "the key \"{}\" stands twice",
                    key.escape_debug()
                )));
            }
            let Strict(value) = entries.next_value()?;
            all.insert(key, value);
        }
        Ok(Value::Object(all))
    }
}

/// Whether a file of `/data` may be written under its own name as an artifact.
///
/// The names are those that mean the same on every file system and in every shell: 1 to 128 of
/// `A-Za-z0-9._-`, the first neither a dot nor a dash.
#[must_use]
pub fn is_artifact_name(name: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
    (1..=128).contains(&name.len()) && name.iter().all(plain) && (name[0].is_ascii_alphanumeric() || name[0] == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_result_is_read() {
        assert_eq!(
            parse(b" {\"perf\": 0.99}\n").unwrap(),
            serde_json::json!({"perf": 0.99})
        );
    }

    #[test]
    fn duplicate_keys_are_refused_at_any_depth() {
        for text in [
            r#"{"perf": 1, "perf": 2}"#,
            r#"[{"a": {"b": 1, "b": 1}}]"#,
            r#"{"a":1,"\u0061":2}"#,
        ] {
            assert!(matches!(parse(text.as_bytes()), Err(BadResult::NotJson(_))), "{text}");
        }
    }

    #[test]
    fn numbers_that_are_not_finite_are_refused() {
        for text in ["NaN", "Infinity", "-Infinity", "1e999", r#"{"perf": NaN}"#] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn deep_nesting_is_refused_without_recursing_into_it() {
        let text = "[".repeat(200_000);
        assert!(matches!(parse(text.as_bytes()), Err(BadResult::NotJson(why)) if why.contains("recursion limit")));
        let deepest = format!("{}{}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH));
        assert!(parse(deepest.as_bytes()).is_ok());
    }

    #[test]
    fn empty_foreign_and_doubled_values_are_refused() {
        assert_eq!(parse(b" \n"), Err(BadResult::Empty));
        assert_eq!(parse(b"{\"a\": \"\xff\"}"), Err(BadResult::NotUtf8(7)));
        assert!(parse(b"{} {}").is_err());
        assert!(parse("\u{feff}{}".as_bytes()).is_err());
    }

    #[test]
    fn artifact_names_are_plain() {
        assert!(is_artifact_name(b"model.bin") && is_artifact_name(b"_x"));
        for bad in [
            &b""[..],
            b".",
            b"..",
            b".bashrc",
            b"-rf",
            b"a/b",
            b"a b",
            b"a\n",
            b"\xff",
            &[b'a'; 129],
        ] {
            assert!(!is_artifact_name(bad), "{bad:?}");
        }
    }
}
