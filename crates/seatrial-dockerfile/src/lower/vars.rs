//! Variables, and texts in which they are replaced.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::shell::{Env, LexError, Lexed, Lexer};

/// The longest value; the kernel takes no longer one into an environment.
const MAX_VALUE: usize = 128 << 10;
/// What all expansions of a file may come to, in bytes.
const MAX_TOTAL: usize = 8 << 20;

/// Names and values. Cheap to copy: the values are shared.
#[derive(Clone, Default, Debug)]
pub(super) struct Vars(BTreeMap<Arc<str>, Arc<str>>);

impl Vars {
    pub(super) fn of_list(list: &[String]) -> Self {
        let pair = |one: &String| {
            let (name, value) = one.split_once('=').unwrap_or((one, ""));
            (Arc::from(name), Arc::from(value))
        };
        Self(list.iter().map(pair).collect())
    }

    pub(super) fn value(&self, name: &str) -> Option<&Arc<str>> {
        self.0.get(name)
    }

    pub(super) fn set(&mut self, name: &Arc<str>, value: &Arc<str>) {
        self.0.insert(Arc::clone(name), Arc::clone(value));
    }

    pub(super) fn list(&self) -> Vec<String> {
        self.0.iter().map(|(name, value)| format!("{name}={value}")).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The names whose values differ from those in `other`.
    pub(super) fn differing(&self, other: &Self) -> BTreeSet<Arc<str>> {
        self.0
            .iter()
            .filter(|(name, value)| other.0.get(*name) != Some(*value))
            .map(|(name, _)| Arc::clone(name))
            .collect()
    }
}

impl Env for Vars {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| &**value)
    }
}

/// Expands, within what one file may ask for.
pub(super) struct Expander {
    escape: char,
    left: usize,
}

impl Expander {
    pub(super) fn new(escape: char) -> Self {
        Self {
            escape,
            left: MAX_TOTAL,
        }
    }

    /// Takes what one more variable, label, volume, source or mount option costs, so that 32,768 of
    /// them are the most: no real file has a tenth of that.
    pub(super) fn spend_entry(&mut self) -> Result<(), LexError> {
        self.spend(MAX_TOTAL >> 15)
    }

    /// Takes from what is left.
    pub(super) fn spend(&mut self, bytes: usize) -> Result<(), LexError> {
        self.left = self.left.checked_sub(bytes).ok_or(LexError::TooLarge)?;
        Ok(())
    }

    fn lex(&mut self, lexer: Lexer, text: &str, env: &Vars) -> Result<Lexed, LexError> {
        let lexed = lexer.lex(text, env);
        match &lexed {
            Ok(lexed) => self.spend(lexed.text.len() + lexed.work)?,
            // Nothing is built of this file any more, so nothing is worth much work.
            Err(LexError::TooLarge) => self.left = 0,
            Err(_) => {}
        }
        lexed
    }

    /// One text.
    pub(super) fn word(&mut self, text: &str, env: &Vars) -> Result<String, LexError> {
        let lexer = Lexer::expanding(self.escape, MAX_VALUE.min(self.left));
        Ok(self.lex(lexer, text, env)?.text)
    }

    /// Words, split at blanks that are not quoted.
    pub(super) fn words(&mut self, text: &str, env: &Vars) -> Result<Vec<String>, LexError> {
        let lexer = Lexer::expanding(self.escape, MAX_VALUE.min(self.left));
        let words = self.lex(lexer, text, env)?.words;
        Ok(words.into_iter().map(|word| word.text).collect())
    }

    /// The body of a here-document: quotes mean nothing, and `\` escapes whatever the file says.
    pub(super) fn body(&mut self, text: &str, env: &Vars) -> Result<String, LexError> {
        let lexer = Lexer {
            skip_quotes: true,
            ..Lexer::expanding('\\', (1 << 20).min(self.left))
        };
        Ok(self.lex(lexer, text, env)?.text)
    }
}
