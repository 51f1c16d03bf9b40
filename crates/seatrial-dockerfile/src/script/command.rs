//! One command, and what rules ask it for.

use seatrial_core::finding::Span;

use super::word::ShellWord;

/// A command as it is run.
#[derive(Clone, Debug)]
pub(crate) struct Command {
    /// The program and its arguments, without what only runs them: `sudo`, `env`, `timeout 5` … are in
    /// `wrappers`. Empty for assignments and redirects by themselves.
    pub(crate) words: Vec<ShellWord>,
    /// The programs that run it, the outermost first.
    pub(crate) wrappers: Vec<Wrapper>,
    /// `name=value` before it, those of `env` included, and those of `export` and its like.
    pub(crate) assignments: Vec<(String, ShellWord)>,
    pub(crate) redirects: Vec<Redirect>,
    /// Commands with the same number are in the same pipeline.
    pub(crate) pipeline: usize,
    /// The position in it, from 0.
    pub(crate) position: usize,
    pub(crate) context: Context,
    /// The command that it stands in or is run by.
    pub(crate) parent: Option<usize>,
    /// What it has to do with that one.
    pub(crate) via: Via,
    /// From its first word to the last.
    pub(crate) span: Span,
}

/// A program that runs the rest of its line.
#[derive(Clone, Debug)]
pub(crate) struct Wrapper {
    /// Base name.
    pub(crate) name: String,
    /// Its own words, the program first.
    pub(crate) words: Vec<ShellWord>,
}

/// When a command runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Context {
    /// In a branch of `if` or `case`, or behind `||`.
    pub(crate) conditional: bool,
    /// `&`.
    pub(crate) background: bool,
    /// In a loop.
    pub(crate) looped: bool,
    /// In the condition of `if`, `while` or `until`.
    pub(crate) tested: bool,
    /// In a function that nothing calls by its plain name.
    pub(crate) uncalled: bool,
    /// What it assigns does not last: in a pipeline, `(…)` or a substitution.
    pub(crate) subshell: bool,
}

/// How a command came about.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Via {
    /// It stands in the text itself.
    #[default]
    Text,
    /// `$(…)` in a word of the parent.
    Substitution,
    /// `<(…)` in a word of the parent.
    ProcessInput,
    /// `>(…)` in a word of the parent.
    ProcessOutput,
    /// The parent is a shell that is given the text: `sh -c`, `eval`, `su -c`, a here-document.
    Shell,
    /// The parent calls a function.
    Call,
    /// The parent is `find -exec`, or its program is a variable and this is what it may be.
    Exec,
}

/// `>file`, `2>&1`, `<<EOF`.
#[derive(Clone, Debug)]
pub(crate) struct Redirect {
    pub(crate) kind: Redirection,
    /// The number before it, `None` without one.
    pub(crate) descriptor: Option<u32>,
    /// The file or descriptor; for a here-document its text.
    pub(crate) target: ShellWord,
    pub(crate) span: Span,
}

/// What a redirect does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Redirection {
    /// `<`
    Read,
    /// `>`, `>|`, `&>`
    Write,
    /// `>>`, `&>>`
    Append,
    /// `<>`
    ReadWrite,
    /// `>&`, `<&`
    Duplicate,
    /// `<<`, `<<-`, `<<<`
    Here,
}

impl Command {
    /// The program's base name, with variables that nothing sets left out; empty when there is none or a substitution
    /// decides it.
    pub(crate) fn program(&self) -> &str {
        self.words.first().map_or("", |word| base_name(word.likely()))
    }

    /// What follows the program.
    pub(crate) fn args(&self) -> &[ShellWord] {
        self.words.get(1..).unwrap_or_default()
    }

    /// The arguments that are no options, up to the end; what follows `--` is one in any case. Values of options
    /// that are words of their own are among them: see [`Command::operands_without`].
    pub(crate) fn operands(&self) -> impl Iterator<Item = &ShellWord> {
        self.operands_without(&[])
    }

    /// The arguments that are neither options nor the values of these options (`-o`, `--output`).
    pub(crate) fn operands_without<'c>(&'c self, valued: &'c [&str]) -> impl Iterator<Item = &'c ShellWord> {
        let mut only_operands = false;
        let mut is_value = false;
        self.args().iter().filter(move |word| {
            if std::mem::take(&mut is_value) {
                return false;
            }
            if only_operands || word.text == "-" || !word.text.starts_with('-') {
                return true;
            }
            only_operands = word.text == "--";
            is_value = valued.contains(&word.text.as_str());
            false
        })
    }

    /// The option of one letter, alone or among others (`-xzf`), or the long one (`--name`, `--name=…`).
    /// Pass `'\0'` or `""` for none. What follows `--` is no option.
    pub(crate) fn flag(&self, short: char, long: &str) -> Option<&ShellWord> {
        let options = self.args().iter().take_while(|word| word.text != "--");
        options.into_iter().find(|word| match word.text.strip_prefix("--") {
            Some(name) => !long.is_empty() && name.split('=').next() == Some(long),
            None => {
                short != '\0'
                    && word
                        .text
                        .strip_prefix('-')
                        .is_some_and(|letters| letters.contains(short))
            }
        })
    }

    /// The value of an option: `-o value`, `-ovalue`, `--long value`, `--long=value`.
    pub(crate) fn value(&self, short: char, long: &str) -> Option<&str> {
        let mut args = self.args().iter();
        while let Some(word) = args.next() {
            if let Some(name) = word.text.strip_prefix("--") {
                if name.is_empty() {
                    return None;
                }
                match name.split_once('=') {
                    Some((name, value)) if !long.is_empty() && name == long => return Some(value),
                    None if !long.is_empty() && name == long => return args.next().map(|word| word.text.as_str()),
                    _ => {}
                }
            } else if let Some(letters) = word.text.strip_prefix('-')
                && short != '\0'
                && let Some((_, value)) = letters.split_once(short)
            {
                return match value {
                    "" => args.next().map(|word| word.text.as_str()),
                    value => Some(value),
                };
            }
        }
        None
    }

    /// The first argument with this text.
    pub(crate) fn arg(&self, text: &str) -> Option<&ShellWord> {
        self.args().iter().find(|word| word.text == text)
    }

    /// The wrapper of that name.
    pub(crate) fn wrapper(&self, name: &str) -> Option<&Wrapper> {
        self.wrappers.iter().find(|wrapper| wrapper.name == name)
    }

    /// The program is a shell.
    pub(crate) fn is_shell(&self) -> bool {
        is_shell(self.program())
    }
}

/// Whether a file is what a command reads.
pub(crate) fn is_input(path: &str) -> bool {
    matches!(path, "-" | "/dev/stdin" | "/dev/fd/0" | "/proc/self/fd/0")
}

/// The last part of a path.
pub(crate) fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Whether a base name is that of a shell in the manner of Bourne's.
pub(crate) fn is_shell(name: &str) -> bool {
    matches!(
        name,
        "sh" | "bash" | "dash" | "ash" | "ksh" | "mksh" | "zsh" | "rbash" | "hush"
    )
}
