//! ST012, ST013 and ST040: the text itself.

use seatrial_core::finding::{Span, is_deceptive};

use super::{
    Progress,
    catalogue::{ST012, ST013, ST040},
    sink::Sink,
};
use crate::{
    ast::{Args, Instruction},
    error::{ErrorKind, ParseError},
    parse::MAX_FILE_BYTES,
};

/// The largest here-document; a script of this size belongs into a file.
const MAX_HEREDOC_BYTES: usize = 64 << 10;
/// The most here-documents of one instruction.
const MAX_HEREDOCS: usize = 64;
/// The largest JSON form.
const MAX_JSON_BYTES: usize = 64 << 10;
/// The most strings in it.
const MAX_JSON_STRINGS: usize = 1_000;
/// The longest joined instruction: Linux refuses a longer argument of a process, and the shell form
/// of RUN is one.
const MAX_JOINED_BYTES: usize = 128 << 10;
/// The most characters of a parser's message that are repeated.
const MAX_MESSAGE: usize = 200;

/// One finding for what does not parse, and the rule that says why where there is one.
pub(super) fn parse_errors(sink: &mut Sink<'_>) {
    for error in &sink.parsed().errors {
        unparsable(error, sink);
        match error.kind {
            ErrorKind::FileTooLarge
            | ErrorKind::LineTooLong
            | ErrorKind::TooManyInstructions
            | ErrorKind::TooManyStages => {
                sink.report_with(&ST012, error.span, error.remedy, || cut(&error.message));
            }
            _ => {}
        }
    }
}

pub(super) fn unparsable(error: &ParseError, sink: &mut Sink<'_>) {
    sink.report_with(&ST040, error.span, error.remedy, || cut(&error.message));
}

fn cut(message: &str) -> String {
    match message.char_indices().nth(MAX_MESSAGE) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message.to_owned(),
    }
}

/// Joined lines, here-documents and lists that are too large.
pub(super) fn sizes(instruction: &Instruction, sink: &mut Sink<'_>) {
    let name = instruction.keyword.as_str();
    let joined = instruction.logical.text.len();
    if joined >= MAX_JOINED_BYTES {
        sink.report(&ST012, instruction.keyword_span, || {
            format!("{name} has {joined} bytes when its lines are joined, {MAX_JOINED_BYTES} or more")
        });
    }
    if instruction.heredocs.len() > MAX_HEREDOCS {
        let count = instruction.heredocs.len();
        sink.report(&ST012, instruction.keyword_span, || {
            format!("{name} has {count} here-documents, more than {MAX_HEREDOCS}")
        });
    }
    for heredoc in &instruction.heredocs {
        let bytes = heredoc.body.len();
        if bytes > MAX_HEREDOC_BYTES {
            sink.report(&ST012, heredoc.word_span, || {
                format!("the here-document has {bytes} bytes, more than {MAX_HEREDOC_BYTES}")
            });
        }
    }
    let inner = instruction.trigger().unwrap_or(instruction);
    let strings = match &inner.args {
        Args::Json(strings) => strings,
        Args::Health(health) => match &*health.command {
            Args::Json(strings) => strings,
            _ => return,
        },
        Args::None | Args::Text(_) | Args::List(_) | Args::Pairs(_) | Args::Trigger(_) => return,
    };
    let (count, bytes) = (strings.len(), inner.rest.value.len());
    if count > MAX_JSON_STRINGS || bytes > MAX_JSON_BYTES {
        sink.report(&ST012, inner.rest.span, || {
            format!(
                "the JSON form has {count} strings in {bytes} bytes, more than {MAX_JSON_STRINGS} or {MAX_JSON_BYTES}"
            )
        });
    }
}

/// Variables that are too many or too large to be looked into: rules would pass over them.
pub(super) fn expansion(progress: &Progress, sink: &mut Sink<'_>) {
    if progress.variables.is_exhausted() {
        sink.report(&ST012, Span::new(0, 0), || {
            "the variables of the file are too many, or their values too large".into()
        });
    }
}

/// Characters that show something else than what is there.
pub(super) fn characters(text: &[u8], sink: &mut Sink<'_>) {
    if text.len() > MAX_FILE_BYTES {
        return; // was not read
    }
    let mut at = 0;
    let mut run = Run::default();
    for chunk in text.utf8_chunks() {
        let valid = chunk.valid();
        let odd = valid
            .bytes()
            .enumerate()
            .filter(|(_, byte)| !matches!(byte, b' '..=b'~' | b'\n' | b'\t' | 0x80..=0xbf));
        for (offset, _) in odd {
            let Some(character) = valid[offset..].chars().next() else {
                break;
            };
            let place = at + offset;
            let what = match character {
                '\r' if text.get(place + 1) != Some(&b'\n') => "a carriage return without a line feed",
                '\0' => "a NUL byte",
                '\u{8}' | '\u{1b}' | '\u{7f}'..='\u{84}' | '\u{86}'..='\u{9f}' => "a control character",
                '\u{feff}' if place == 0 => continue,
                // Joiners and fillers that are letters by name and nothing on a screen.
                '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{2800}' | '\u{3164}'
                | '\u{ffa0}' => "an invisible character",
                // Within words of scripts that need them, and between the parts of an emoji.
                '\u{200b}'..='\u{200d}' | '\u{e0020}'..='\u{e007f}' | '\u{e0100}'..='\u{e01ef}'
                    if joins(valid, offset, character) =>
                {
                    continue;
                }
                _ if is_deceptive(character) => "an invisible or direction-changing character",
                _ => continue,
            };
            run.add(Span::new(place, place + character.len_utf8()), what, character, sink);
        }
        at += valid.len();
        if !chunk.invalid().is_empty() {
            let end = at + chunk.invalid().len();
            run.add(
                Span::new(at, end),
                "bytes that are not UTF-8",
                char::REPLACEMENT_CHARACTER,
                sink,
            );
            at = end;
        }
    }
    run.tell(sink);
}

/// Whether a hidden character is spelling: a joiner beside a letter or sign that is not ASCII, as Persian and emoji need
/// them, so that it hides in no name that a shell or a reader of names knows; and the tags of a flag.
fn joins(text: &str, at: usize, hidden: char) -> bool {
    let before = text.get(..at).unwrap_or_default();
    if is_tag(hidden) {
        let mut signs = before
            .chars()
            .rev()
            .take(MAX_TAGS)
            .skip_while(|character| is_tag(*character));
        return signs.next() == Some('\u{1f3f4}');
    }
    let behind = text.get(at + hidden.len_utf8()..).and_then(|text| text.chars().next());
    let is_deceived = |character: Option<char>| character.is_some_and(is_deceptive);
    let shows = |character: Option<char>| {
        character
            .is_some_and(|character| !character.is_ascii() && !character.is_whitespace() && !is_deceptive(character))
    };
    let before = before.chars().next_back();
    match hidden {
        // Where words may be parted, in scripts without blanks.
        '\u{200b}' => [before, behind].iter().all(|one| {
            one.is_some_and(|one| matches!(one, '\u{e00}'..='\u{109f}' | '\u{1780}'..='\u{17ff}') && !is_deceptive(one))
        }),
        // The form of the sign before it.
        '\u{e0100}'..='\u{e01ef}' => shows(before),
        _ => !is_deceived(before) && !is_deceived(behind) && (shows(before) || shows(behind)),
    }
}

/// Letters that are no text but say which flag is meant.
fn is_tag(character: char) -> bool {
    matches!(character, '\u{e0020}'..='\u{e007f}')
}

/// More tags than the longest flag has.
const MAX_TAGS: usize = 8;

/// Neighbours of one kind are one finding.
#[derive(Default)]
struct Run {
    open: Option<(Span, &'static str, char)>,
}

impl Run {
    fn add(&mut self, span: Span, what: &'static str, character: char, sink: &mut Sink<'_>) {
        match &mut self.open {
            Some((before, kind, _)) if before.end == span.start && *kind == what => before.end = span.end,
            _ => {
                self.tell(sink);
                self.open = Some((span, what, character));
            }
        }
    }

    fn tell(&mut self, sink: &mut Sink<'_>) {
        if let Some((span, what, character)) = self.open.take() {
            sink.report(&ST013, span, || match character {
                char::REPLACEMENT_CHARACTER => format!("the text holds {what}"),
                other => format!("the text holds {what} (U+{:04X})", u32::from(other)),
            });
        }
    }
}
