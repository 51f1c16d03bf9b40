//! The functions that Trivy adds to Rego, as far as checks of Dockerfiles call them.

use std::sync::{Arc, Mutex, PoisonError};

use regorus::{Engine, Value};

use crate::wire::Failure;

/// A shell text that could not be read, once there was one. The interpreter goes on without it where another body of
/// the same function has a result; nothing that it says then is to be believed.
#[derive(Clone, Default)]
pub(crate) struct Unread(Arc<Mutex<Option<String>>>);

impl Unread {
    /// What could not be read.
    pub(crate) fn why(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, text: &str) -> String {
        let start: String = text.chars().take(60).collect();
        let why = format!("sh.parse_commands cannot read the shell text that begins with: {start}");
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.clone());
        why
    }
}

/// Adds them to an interpreter.
pub(crate) fn add(engine: &mut Engine) -> Result<Unread, String> {
    let unread = Unread::default();
    let note = unread.clone();
    let added = engine
        .add_extension("result.new".to_owned(), 2, Box::new(|given| Ok(result(&given))))
        .and_then(|()| engine.add_extension("isManaged".to_owned(), 1, Box::new(|given| Ok(is_managed(&given)))))
        .and_then(|()| {
            engine.add_extension(
                "sh.parse_commands".to_owned(),
                1,
                Box::new(move |given| commands(&given, &note).map_err(Into::into)),
            )
        });
    added.map(|()| unread).map_err(|why| why.to_string())
}

/// A message with the place of what it is about.
fn result(given: &[Value]) -> Value {
    let [message, cause] = given else {
        return Value::Undefined;
    };
    let mut object = Value::new_object();
    let mut set = |key: &str, value: Value| {
        if let Ok(map) = object.as_object_mut() {
            map.insert(Value::from(key), value);
        }
    };
    set("msg", message.clone());
    for (key, spellings, default) in [
        ("startline", ["startline", "StartLine"], Value::from(0_u64)),
        ("endline", ["endline", "EndLine"], Value::from(0_u64)),
        ("filepath", ["filepath", "Path"], Value::from("")),
        ("managed", ["managed", "managed"], Value::from(true)),
    ] {
        let found = spellings.iter().rev().find_map(|name| member(cause, name));
        set(key, found.unwrap_or(default));
    }
    object
}

fn is_managed(given: &[Value]) -> Value {
    let managed = given.first().and_then(|resource| member(resource, "managed"));
    managed.unwrap_or(Value::from(true))
}

/// The commands of a shell text, each a list of words. What is no shell text that can be read ends the evaluation:
/// otherwise an author could hide from a check behind it.
fn commands(given: &[Value], unread: &Unread) -> Result<Value, Failure> {
    let Some(Value::String(text)) = given.first() else {
        return Ok(Value::Undefined);
    };
    let Some(commands) = seatrial_dockerfile::shell_commands(text) else {
        return Err(Failure::of(unread.note(text)));
    };
    let list = |words: Vec<String>| Value::from(words.into_iter().map(Value::from).collect::<Vec<_>>());
    Ok(Value::from(commands.into_iter().map(list).collect::<Vec<_>>()))
}

/// A member of an object that has it.
pub(crate) fn member(value: &Value, name: &str) -> Option<Value> {
    let found = match value {
        Value::Object(_) => &value[name],
        _ => return None,
    };
    (*found != Value::Undefined).then(|| found.clone())
}
