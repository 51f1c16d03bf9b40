//! What variables are worth in a script: what it assigns, its arguments, and what the file says.

use std::borrow::Cow;

use super::{
    command::Context,
    read::Reader,
    word::{ShellWord, Values},
};

/// The work of one word that a value becomes, beside its bytes.
const WORD: usize = 20;
/// How many values a variable is remembered to have maybe.
pub(super) const MAX_MAYBE: usize = 64;

/// What a script assigns to a variable.
#[derive(Default)]
pub(super) struct Assigned {
    /// `None`: nobody knows which value it has.
    pub(super) value: Option<String>,
    /// Values that it may have: of branches, of parts that run by themselves, of what a loop runs over.
    pub(super) maybe: Vec<String>,
}

/// What `$0`, `$1` and so on are; `None` when nobody knows.
pub(super) type Positional = Option<Vec<String>>;

impl Values for Reader<'_> {
    fn value(&self, name: &str) -> Option<String> {
        if self.memory.guesses.is_spent() {
            return None; // what comes now would cost as much and be thrown away
        }
        let value = match name {
            "@" | "*" => Some(Cow::Owned(self.positional()?.join(" "))),
            "#" => Some(Cow::Owned(self.positional()?.len().to_string())),
            _ if name.starts_with(|first: char| first.is_ascii_digit()) => {
                let number: usize = name.parse().ok()?;
                let positional = self.positional.last()?.as_ref()?;
                match (number, positional.get(number)) {
                    (0, name) => name.filter(|name| !name.is_empty()).map(Cow::Borrowed),
                    (_, value) => Some(value.map_or_else(Cow::default, Cow::Borrowed)),
                }
            }
            _ => match self.assigned.get(name) {
                Some(assigned) => assigned.value.as_ref().map(Cow::Borrowed),
                None => (self.outer)(name).map(Cow::Owned),
            },
        }?;
        // A value may be used very often.
        let fields = 1 + value.bytes().filter(u8::is_ascii_whitespace).count();
        let is_paid = self.memory.guesses.spend(value.len() + fields * WORD);
        is_paid.then(|| value.into_owned())
    }

    fn positional(&self) -> Option<&[String]> {
        if self.memory.guesses.is_spent() {
            return None;
        }
        let positional = self.positional.last()?.as_ref()?;
        let words = positional.get(1..).unwrap_or_default();
        let work = words.iter().map(|word| word.len() + WORD).sum();
        self.memory.guesses.spend(work).then_some(words)
    }
}

impl Reader<'_> {
    pub(super) fn assign(&mut self, name: &str, value: Option<&ShellWord>, context: Context) {
        let lasts = lasts(context);
        let value = value.filter(|word| word.sure).map(|word| word.text.clone());
        if lasts && let Some(value) = value {
            let assigned = Assigned {
                value: Some(value),
                maybe: Vec::new(),
            };
            self.assigned.insert(name.to_owned(), assigned);
            return;
        }
        let outer = self.outer;
        let assigned = self.assigned.entry(name.to_owned()).or_insert_with(|| Assigned {
            value: outer(name),
            maybe: Vec::new(),
        });
        let before = assigned.value.take();
        let room = MAX_MAYBE.saturating_sub(assigned.maybe.len());
        assigned.maybe.extend(before.into_iter().chain(value).take(room));
    }

    pub(super) fn set_positional(&mut self, values: Positional) {
        if let Some(last) = self.positional.last_mut() {
            *last = values;
        }
    }
}

/// Values of variables where they are not split into words.
pub(super) struct Quoted<'a, 'b>(pub(super) &'a Reader<'b>);

impl Values for Quoted<'_, '_> {
    fn value(&self, name: &str) -> Option<String> {
        self.0.value(name)
    }

    fn splits(&self) -> bool {
        false
    }
}

/// Whether what is assigned here is so for all that follows.
pub(super) fn lasts(context: Context) -> bool {
    !(context.subshell || context.conditional || context.looped || context.uncalled)
}
