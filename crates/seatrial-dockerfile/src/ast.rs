//! What a Dockerfile says, as BuildKit reads it, with the place of every part.
//!
//! BuildKit first joins continued lines, drops comments between them and then works on the
//! joined text; so do we, and [`Logical`] leads back from the joined text to the bytes of the
//! file. Every [`Span`] in this tree is in bytes of the ORIGINAL file; a part that crosses a
//! continuation covers the continuation as well.

use std::sync::Arc;

use seatrial_core::finding::Span;

/// A whole file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dockerfile {
    /// The escape character in force: `\` or `` ` ``.
    pub escape: char,
    /// The parser directives in `#` comments, in order, as the parser takes them.
    pub directives: Vec<Directive>,
    /// What would choose another frontend, if anything does.
    pub syntax: Option<SyntaxDirective>,
    /// Every comment outside heredoc bodies, directives included, in order.
    pub comments: Vec<Comment>,
    /// The instructions in order, unknown ones included.
    pub instructions: Vec<Instruction>,
}

/// `# name = value` at the head of the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Directive {
    /// `escape`, `syntax` or `check`, in lower case.
    pub name: String,
    /// The value, without the blanks around it.
    pub value: String,
    /// 1-based line.
    pub line: usize,
    /// The whole line without its end.
    pub span: Span,
}

/// A directive that makes the builder run somebody's frontend image instead of its own parser.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SyntaxDirective {
    /// How it was written.
    pub form: SyntaxForm,
    /// The frontend's reference: the value up to its first space.
    pub reference: String,
    /// 1-based line.
    pub line: usize,
    /// The whole line, or the whole file for the JSON form.
    pub span: Span,
}

/// The three disguises of a syntax directive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SyntaxForm {
    /// `# syntax=…`
    Hash,
    /// `// syntax=…`
    Slashes,
    /// `{"syntax": "…"}`: the file is one JSON object.
    Json,
}

/// A comment line, also one between continued lines.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Comment {
    /// 1-based line.
    pub line: usize,
    /// From the `#` to the end of the line.
    pub span: Span,
    /// What follows the `#`, without the blanks around it.
    pub text: String,
}

/// The joined text of an instruction and the way back to the file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Logical {
    /// All continued lines, joined.
    pub text: String,
    /// Where each piece came from: its start in `text`, and in the file; both ascending.
    pieces: Vec<(usize, usize)>,
}

impl Logical {
    /// Adds text that stands at `original` in the file.
    pub(crate) fn push(&mut self, text: &str, original: usize) {
        self.pieces.push((self.text.len(), original));
        self.text.push_str(text);
    }

    /// The place in the file of the byte at `at`.
    #[must_use]
    pub fn original(&self, at: usize) -> usize {
        let piece = self.pieces.partition_point(|(start, _)| *start <= at);
        match piece.checked_sub(1).and_then(|piece| self.pieces.get(piece)) {
            Some((start, original)) => original + (at - start),
            None => at,
        }
    }

    /// Where the piece of text that holds the byte at `at` ends in `text`.
    pub(crate) fn piece_end(&self, at: usize) -> usize {
        let next = self.pieces.partition_point(|(start, _)| *start <= at);
        self.pieces.get(next).map_or(self.text.len(), |(start, _)| *start)
    }

    /// The place in the file of `start..end`; the end is just behind the last byte, so that a
    /// part which ends at a continuation does not reach into the next line.
    #[must_use]
    pub fn span(&self, start: usize, end: usize) -> Span {
        if start >= end {
            let at = self.original(start);
            return Span::new(at, at);
        }
        Span::new(self.original(start), self.original(end - 1) + 1)
    }
}

/// A piece of text and where it stands.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Word {
    /// The text: quotes and escapes as written, except in JSON form, where it is decoded.
    pub value: String,
    /// Where.
    pub span: Span,
}

/// One instruction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Instruction {
    /// Which.
    pub keyword: Keyword,
    /// The keyword in lower case; for an unknown one this is all that is known.
    pub name: String,
    /// Where the keyword stands.
    pub keyword_span: Span,
    /// 1-based line on which it begins.
    pub first_line: usize,
    /// 1-based line on which it ends, heredocs included.
    pub last_line: usize,
    /// From the keyword to the end of the last line, heredocs included.
    pub span: Span,
    /// The joined text of all continued lines; an `ONBUILD` and its trigger share one.
    pub logical: Arc<Logical>,
    /// `--name=value`, in order.
    pub flags: Vec<Flag>,
    /// What follows the flags, without the blanks around it, before it is split.
    pub rest: Word,
    /// `rest`, split as this instruction is split.
    pub args: Args,
    /// The here-documents, in order. Those of an `ONBUILD` stand on the `ONBUILD`.
    pub heredocs: Vec<Heredoc>,
    /// Lines (1-based) that are empty although the line before asks for more.
    pub empty_continuations: Vec<usize>,
    /// Index range into [`Dockerfile::comments`]: the comments that stand before the instruction
    /// and those between its continued lines.
    pub comments: std::ops::Range<usize>,
}

/// `--name=value`, after BuildKit took quotes and escapes away.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Flag {
    /// Without the dashes.
    pub name: String,
    /// `None` when there is no `=`.
    pub value: Option<String>,
    /// The whole flag.
    pub span: Span,
    /// The value alone, quotes included; empty without `=`.
    pub value_span: Span,
}

/// The arguments in the shape that the instruction gives them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Args {
    /// Nothing after the keyword and flags, or an unknown instruction.
    None,
    /// One text: shell form of `RUN`, `CMD`, `ENTRYPOINT` and (wrongly) `SHELL`; `USER`,
    /// `WORKDIR`, `STOPSIGNAL`, `MAINTAINER`.
    Text(Word),
    /// The JSON form; also of `ADD`, `COPY`, `VOLUME`.
    Json(Vec<Word>),
    /// Words split at blanks: `FROM`, `EXPOSE`, `ADD`, `COPY`, `VOLUME`.
    List(Vec<Word>),
    /// `ENV`, `LABEL`, `ARG`.
    Pairs(Vec<Pair>),
    /// `HEALTHCHECK`.
    Health(Health),
    /// `ONBUILD`. Triggers of triggers are not kept: BuildKit refuses them.
    Trigger(Box<Instruction>),
}

/// `name=value`, `name value` (old form of `ENV` and `LABEL`) or `name` (`ARG`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pair {
    /// Quotes and escapes as written.
    pub name: Word,
    /// Quotes and escapes as written; `None` for `ARG name`.
    pub value: Option<Word>,
    /// False for the old form, which has one pair whose value is the rest of the line.
    pub equals: bool,
}

/// `HEALTHCHECK kind command`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Health {
    /// `CMD` or `NONE`, as written.
    pub kind: Word,
    /// What follows: `Text`, `Json` or `None`.
    pub command: Box<Args>,
}

/// A here-document.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Heredoc {
    /// The number before `<<`, 0 when there is none.
    pub descriptor: u64,
    /// `<<-`: leading tabs of each body line are dropped when it is used.
    pub chomp: bool,
    /// No part of the delimiter was quoted: variables in the body are expanded.
    pub expand: bool,
    /// The delimiter, quotes taken away.
    pub delimiter: String,
    /// The whole word, from the descriptor to the delimiter.
    pub word_span: Span,
    /// The body with its line ends, tabs not yet dropped.
    pub body: String,
    /// Where the body stands.
    pub body_span: Span,
    /// The line that ended it, without its line end.
    pub terminator_span: Span,
}

impl Heredoc {
    /// The body as it is used: leading tabs dropped if `<<-` asks for it.
    #[must_use]
    pub fn content(&self) -> String {
        if !self.chomp {
            return self.body.clone();
        }
        self.body
            .split_inclusive('\n')
            .map(|line| line.trim_start_matches('\t'))
            .collect()
    }
}

/// The instructions that exist.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[expect(missing_docs, reason = "each is the keyword of that name")]
pub enum Keyword {
    Add,
    Arg,
    Cmd,
    Copy,
    Entrypoint,
    Env,
    Expose,
    From,
    Healthcheck,
    Label,
    Maintainer,
    Onbuild,
    Run,
    Shell,
    Stopsignal,
    User,
    Volume,
    Workdir,
    /// None of them.
    Unknown,
}

impl Keyword {
    /// From the keyword in lower case.
    #[must_use]
    pub fn from_lower(name: &str) -> Self {
        match name {
            "add" => Self::Add,
            "arg" => Self::Arg,
            "cmd" => Self::Cmd,
            "copy" => Self::Copy,
            "entrypoint" => Self::Entrypoint,
            "env" => Self::Env,
            "expose" => Self::Expose,
            "from" => Self::From,
            "healthcheck" => Self::Healthcheck,
            "label" => Self::Label,
            "maintainer" => Self::Maintainer,
            "onbuild" => Self::Onbuild,
            "run" => Self::Run,
            "shell" => Self::Shell,
            "stopsignal" => Self::Stopsignal,
            "user" => Self::User,
            "volume" => Self::Volume,
            "workdir" => Self::Workdir,
            _ => Self::Unknown,
        }
    }

    /// In upper case, as it is usually written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Arg => "ARG",
            Self::Cmd => "CMD",
            Self::Copy => "COPY",
            Self::Entrypoint => "ENTRYPOINT",
            Self::Env => "ENV",
            Self::Expose => "EXPOSE",
            Self::From => "FROM",
            Self::Healthcheck => "HEALTHCHECK",
            Self::Label => "LABEL",
            Self::Maintainer => "MAINTAINER",
            Self::Onbuild => "ONBUILD",
            Self::Run => "RUN",
            Self::Shell => "SHELL",
            Self::Stopsignal => "STOPSIGNAL",
            Self::User => "USER",
            Self::Volume => "VOLUME",
            Self::Workdir => "WORKDIR",
            Self::Unknown => "?",
        }
    }
}

/// A build stage: a `FROM` and what follows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stage {
    /// Its position, from 0.
    pub index: usize,
    /// Index of its `FROM` in [`Dockerfile::instructions`].
    pub from: usize,
    /// Its name in lower case.
    pub name: Option<String>,
    /// Its instructions, `FROM` excluded.
    pub body: std::ops::Range<usize>,
}

impl Dockerfile {
    /// The stages in order. `FROM` lines that do not parse count as well.
    #[must_use]
    pub fn stages(&self) -> Vec<Stage> {
        let starts: Vec<usize> = (0..self.instructions.len())
            .filter(|at| self.instructions[*at].keyword == Keyword::From)
            .collect();
        starts
            .iter()
            .enumerate()
            .map(|(index, from)| Stage {
                index,
                from: *from,
                name: self.instructions[*from].stage_name(),
                body: from + 1..starts.get(index + 1).copied().unwrap_or(self.instructions.len()),
            })
            .collect()
    }
}

impl Instruction {
    /// Whether BuildKit marks the arguments as JSON.
    #[must_use]
    pub fn json_form(&self) -> bool {
        match &self.args {
            Args::Json(_) => true,
            Args::Health(health) => matches!(*health.command, Args::Json(_)),
            Args::None | Args::Text(_) | Args::List(_) | Args::Pairs(_) | Args::Trigger(_) => false,
        }
    }

    /// The first flag of that name.
    #[must_use]
    pub fn flag(&self, name: &str) -> Option<&Flag> {
        self.flags.iter().find(|flag| flag.name == name)
    }

    /// The words of the list or JSON form, the one word of the text form, else nothing.
    #[must_use]
    pub fn words(&self) -> &[Word] {
        match &self.args {
            Args::Json(words) | Args::List(words) => words,
            Args::Text(word) => std::slice::from_ref(word),
            Args::None | Args::Pairs(_) | Args::Health(_) | Args::Trigger(_) => &[],
        }
    }

    /// The pairs of `ENV`, `LABEL`, `ARG`, else nothing.
    #[must_use]
    pub fn pairs(&self) -> &[Pair] {
        match &self.args {
            Args::Pairs(pairs) => pairs,
            _ => &[],
        }
    }

    /// The trigger of an `ONBUILD`.
    #[must_use]
    pub fn trigger(&self) -> Option<&Instruction> {
        match &self.args {
            Args::Trigger(trigger) => Some(trigger),
            _ => None,
        }
    }

    /// The name that a `FROM … AS name` gives, in lower case.
    #[must_use]
    pub fn stage_name(&self) -> Option<String> {
        match self.words() {
            [_, _, name] if self.keyword == Keyword::From => Some(crate::gotext::lower(&name.value)),
            _ => None,
        }
    }
}
