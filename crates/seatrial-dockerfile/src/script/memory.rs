//! What the scripts of one file share: the work that they may still ask for, and files that they wrote.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, VecDeque},
};

use super::{command::base_name, guard::Budget, source::Source};

/// How many files are remembered, the latest ones.
const MAX_FILES: usize = 64;
/// A text that is larger is no script that somebody wrote into a step.
pub(super) const MAX_BYTES: usize = 64 << 10;

/// Kept from one instruction to the next.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// For text that stands in the file as a script.
    pub(super) budget: Budget,
    /// For what is only followed: texts that commands hand to shells, values of variables. What it costs shall take
    /// nothing from what everybody can see.
    pub(super) guesses: Budget,
    /// That there was too much of that was said.
    pub(super) told: Cell<bool>,
    files: RefCell<Files>,
}

#[derive(Debug, Default)]
struct Files {
    /// By base name: a step may be in any folder.
    written: HashMap<String, Written>,
    /// The same names, the oldest first.
    order: VecDeque<String>,
}

#[derive(Debug)]
struct Written {
    folder: String,
    text: Source,
}

impl Memory {
    /// A file has this text from now on, or this at its end.
    pub(super) fn write(&self, path: &str, text: &Source, appends: bool) {
        let name = base_name(path);
        if name.is_empty() || text.text.len() > MAX_BYTES || !self.guesses.spend(text.text.len() + 1) {
            return;
        }
        let mut files = self.files.borrow_mut();
        if let Some(file) = files.written.get_mut(name).filter(|_| appends) {
            if file.text.text.len() + text.text.len() < MAX_BYTES {
                file.text.push_value("\n", text.original(0));
                file.text.push_part(text, 0..text.text.len());
            }
            return;
        }
        let folder = path.get(..path.len() - name.len()).unwrap_or_default().to_owned();
        let written = Written {
            folder,
            text: text.clone(),
        };
        if files.written.insert(name.to_owned(), written).is_none() {
            files.order.push_back(name.to_owned());
        }
        if files.order.len() > MAX_FILES
            && let Some(oldest) = files.order.pop_front()
        {
            files.written.remove(&oldest);
        }
    }

    /// The text of a file that is read or run by this path.
    pub(super) fn read(&self, path: &str) -> Option<Source> {
        let files = self.files.borrow();
        let text = &files.written.get(base_name(path))?.text;
        self.guesses.spend(text.text.len() + 1).then(|| text.clone())
    }

    /// Whether a file is known that this program is: named by a path, or found in a folder of programs.
    pub(super) fn holds_program(&self, word: &str) -> bool {
        let files = self.files.borrow();
        files
            .written
            .get(base_name(word))
            .is_some_and(|file| word.contains('/') || file.folder.ends_with("bin/"))
    }
}
