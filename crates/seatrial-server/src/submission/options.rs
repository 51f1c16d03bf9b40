//! What is asked for beside the files.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use seatrial_core::{
    record::Priority,
    walls::{Ask, Asked},
};
use seatrial_pipeline::case::ResultPath;
use serde_json::{Map, Value};

use super::MAX_LABELS;
use crate::{
    problem::{Code, Problem, ProblemError, escape_pointer},
    state::AppState,
};

/// What is asked for beside the files.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) priority: Priority,
    pub(crate) delay: Duration,
    pub(crate) result: ResultPath,
    pub(crate) artifacts: bool,
    pub(crate) webhook: Option<String>,
    pub(crate) walls: Asked,
}

/// Where options stand, and what is wrong with them so far.
struct Reader<'a> {
    object: &'a Map<String, Value>,
    prefix: &'a str,
    errors: Vec<ProblemError>,
}

impl Options {
    /// Reads them from an object that may have `also` other members.
    pub(crate) fn read(
        object: &Map<String, Value>,
        prefix: &str,
        also: &[&str],
        state: &AppState,
    ) -> Result<Self, Problem> {
        let mut reader = Reader {
            object,
            prefix,
            errors: Vec::new(),
        };
        let known = ["labels", "priority", "delay", "result", "artifacts", "webhook", "walls"];
        reader.refuse_others(&[&known[..], also].concat());
        let max_delay = state.service().queue.max_delay;
        let options = Self {
            labels: reader.labels(),
            priority: reader
                .text("priority", "it must be high, normal or low", |text| match text {
                    "high" => Ok(Priority::High),
                    "normal" => Ok(Priority::Normal),
                    "low" => Ok(Priority::Low),
                    _ => Err(String::new()),
                })
                .unwrap_or_default(),
            delay: reader
                .text(
                    "delay",
                    "it must be a span of time such as 90s, 15m or 1h 30m",
                    |text| {
                        let delay = span(text).ok_or_default()?;
                        if delay > max_delay {
                            return Err(format!("it is longer than {} s", max_delay.as_secs()));
                        }
                        Ok(delay)
                    },
                )
                .unwrap_or_default(),
            result: reader
                .text("result", "it must be a path", |text| {
                    ResultPath::parse(text).map_err(|why| why.to_string())
                })
                .unwrap_or_default(),
            artifacts: reader.flag("artifacts"),
            webhook: reader.text("webhook", "it must be an address", |text| {
                let url = state.settings().targets.judge(text);
                url.map(String::from).map_err(|why| why.to_string())
            }),
            walls: reader.walls(),
        };
        reader.finish()?;
        if options.webhook.is_some() && !state.config().webhooks.enabled {
            let error = ProblemError::at(format!("{prefix}/webhook"), "Webhooks are not switched on here.");
            return Err(Problem::at(Code::WebhooksOff, error));
        }
        Ok(options)
    }
}

/// Refuses an object with other members than these.
pub(super) fn only(object: &Map<String, Value>, known: &[&str]) -> Result<(), Problem> {
    let mut reader = Reader {
        object,
        prefix: "",
        errors: Vec::new(),
    };
    reader.refuse_others(known);
    reader.finish()
}

trait OrDefault<T> {
    /// An error without words of its own.
    fn ok_or_default(self) -> Result<T, String>;
}

impl<T> OrDefault<T> for Option<T> {
    fn ok_or_default(self) -> Result<T, String> {
        self.ok_or_else(String::new)
    }
}

impl Reader<'_> {
    fn refuse_others(&mut self, known: &[&str]) {
        for name in self.object.keys().filter(|name| !known.contains(&name.as_str())) {
            let short: String = name.chars().take(64).collect();
            self.errors.push(ProblemError::at(
                format!("{}/{}", self.prefix, escape_pointer(&short)),
                "there is no such field",
            ));
        }
    }

    fn wrong(&mut self, name: &str, why: impl Into<String>) {
        let pointer = format!("{}/{name}", self.prefix);
        self.errors.push(ProblemError::at(pointer, why));
    }

    /// A member; null is as good as none.
    fn member(&self, name: &str) -> Option<Value> {
        self.object.get(name).filter(|value| !value.is_null()).cloned()
    }

    /// A text that `read` understands. `what` says what it must be, where `read` has no better words.
    fn text<T>(&mut self, name: &str, what: &str, read: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let read = match self.member(name)? {
            Value::String(text) => read(&text),
            _ => Err(String::new()),
        };
        match read {
            Ok(value) => Some(value),
            Err(why) => {
                self.wrong(name, if why.is_empty() { what.to_owned() } else { why });
                None
            }
        }
    }

    fn flag(&mut self, name: &str) -> bool {
        match self.member(name) {
            None => false,
            Some(Value::Bool(flag)) => flag,
            Some(_) => {
                self.wrong(name, "it must be true or false");
                false
            }
        }
    }

    fn labels(&mut self) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::new();
        let object = match self.member("labels") {
            None => return labels,
            Some(Value::Object(object)) => object,
            Some(_) => {
                self.wrong("labels", "it must be an object of texts");
                return labels;
            }
        };
        if object.len() > MAX_LABELS {
            self.wrong(
                "labels",
                format!("there are {}; {MAX_LABELS} are allowed", object.len()),
            );
            return labels;
        }
        for (key, value) in object {
            let short: String = key.chars().take(64).collect();
            let place = format!("labels/{}", escape_pointer(&short));
            match value {
                Value::String(value) => match label(&key, &value) {
                    Ok(()) => drop(labels.insert(key, value)),
                    Err(why) => self.wrong(&place, why),
                },
                _ => self.wrong(&place, "it must be a text"),
            }
        }
        labels
    }

    fn walls(&mut self) -> Asked {
        let object = match self.member("walls") {
            None => return Asked::default(),
            Some(Value::Object(object)) => object,
            Some(_) => {
                self.wrong("walls", "it must be an object with build and run");
                return Asked::default();
            }
        };
        let mut asked = Asked::default();
        for (place, words) in object {
            let into = match place.as_str() {
                "build" => &mut asked.build,
                "run" => &mut asked.run,
                _ => {
                    let short: String = place.chars().take(64).collect();
                    self.wrong(&format!("walls/{}", escape_pointer(&short)), "there are build and run");
                    continue;
                }
            };
            match serde_json::from_value::<BTreeSet<Ask>>(words) {
                Ok(words) => *into = words,
                Err(_) => {
                    let known = Ask::words().join(", ");
                    self.wrong(
                        &format!("walls/{place}"),
                        format!("it must be a list of these: {known}"),
                    );
                }
            }
        }
        asked
    }

    fn finish(self) -> Result<(), Problem> {
        let Some(first) = self.errors.first() else {
            return Ok(());
        };
        let detail = format!("{}: {}.", first.pointer.as_deref().unwrap_or_default(), first.detail);
        Err(Problem::new(Code::InvalidSubmission, detail).with_errors(self.errors))
    }
}

/// The same rules as for `--label` of the command line.
pub(crate) fn label(key: &str, value: &str) -> Result<(), &'static str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte);
    if key.is_empty() || key.len() > 63 || !key.bytes().all(plain) {
        return Err("a key is 1 to 63 of A-Za-z0-9._-/");
    }
    if value.len() > 256 || value.chars().any(char::is_control) {
        return Err("a value is at most 256 bytes without control characters");
    }
    Ok(())
}

/// `90s`, `15m`, `1h 30m`, `250ms`: exactly what the schema's pattern takes.
fn span(text: &str) -> Option<Duration> {
    let mut all = Duration::ZERO;
    for part in text.split(' ') {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = part.split_at(digits);
        if !(1..=7).contains(&digits) {
            return None;
        }
        let number: u64 = number.parse().ok()?;
        all += match unit {
            "ms" => Duration::from_millis(number),
            "s" => Duration::from_secs(number),
            "m" => Duration::from_secs(number * 60),
            "h" => Duration::from_secs(number * 60 * 60),
            _ => return None,
        };
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_time_are_read() {
        assert_eq!(span("90s"), Some(Duration::from_secs(90)));
        assert_eq!(span("1h 30m"), Some(Duration::from_secs(5400)));
        assert_eq!(span("250ms"), Some(Duration::from_millis(250)));
        for bad in [
            "",
            "10",
            "s",
            "10d",
            "-1s",
            "1.5s",
            "1h  30m",
            "12345678s",
            " 1s",
            "1s ",
        ] {
            assert_eq!(span(bad), None, "{bad}");
        }
    }

    #[test]
    fn labels_follow_the_command_lines_rules() {
        assert!(label("a/b_c.d-9", "größer").is_ok());
        for (key, value) in [("", "x"), ("a b", "x"), ("ä", "x"), ("a", "x\ny")] {
            assert!(label(key, value).is_err(), "{key:?}={value:?}");
        }
        assert!(label(&"a".repeat(64), "").is_err() && label("a", &"x".repeat(257)).is_err());
    }
}
