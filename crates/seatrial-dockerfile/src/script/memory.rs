//! What the scripts of one file share: the work that they may still ask for, and files that they wrote.

use std::{cell::RefCell, collections::HashMap};

use super::{command::base_name, guard::Budget, source::Source};

/// More files than this are not remembered: no honest file comes near.
const MAX_FILES: usize = 64;
/// A text that is larger is no script that somebody wrote into a step.
const MAX_BYTES: usize = 64 << 10;

/// Kept from one instruction to the next.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) budget: Budget,
    /// By base name: a step may be in any folder.
    files: RefCell<HashMap<String, Written>>,
}

#[derive(Debug)]
struct Written {
    folder: String,
    text: Source,
}

impl Memory {
    /// A file has this text from now on.
    pub(super) fn write(&self, path: &str, text: Source) {
        let name = base_name(path);
        let mut files = self.files.borrow_mut();
        if name.is_empty() || text.text.len() > MAX_BYTES || (files.len() >= MAX_FILES && !files.contains_key(name)) {
            return;
        }
        let folder = path.get(..path.len() - name.len()).unwrap_or_default().to_owned();
        files.insert(name.to_owned(), Written { folder, text });
    }

    /// The text of a file that is read or run by this path.
    pub(super) fn read(&self, path: &str) -> Option<Source> {
        self.files.borrow().get(base_name(path)).map(|file| file.text.clone())
    }

    /// Whether a file is known that this program is: named by a path, or found in a folder of programs.
    pub(super) fn holds_program(&self, word: &str) -> bool {
        let files = self.files.borrow();
        files
            .get(base_name(word))
            .is_some_and(|file| word.contains('/') || file.folder.ends_with("bin/"))
    }
}
