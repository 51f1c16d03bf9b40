//! ST531, ST532 and ST551 to ST553: what `ARG` and `ENV` set, and what is used without being set.

use std::{
    borrow::Cow,
    cell::RefCell,
    collections::{HashMap, HashSet},
};

use seatrial_core::finding::Span;

use super::Survey;
use crate::{
    ast::{Args, Instruction, Keyword, Pair, Word},
    heredoc,
    rules::{
        Progress, Site,
        catalogue::{ST531, ST532, ST551, ST552, ST553},
        sink::{Sink, quoted, replace, unquoted},
    },
    shell::{Env, Lexer},
};

/// The most names that a stage or an instruction is remembered by.
const MAX_NAMES: usize = 4_096;

/// The longest names that are compared, and with how many.
const MAX_COMPARED: usize = 40;
const MAX_CANDIDATES: usize = 64;

/// Variables by which a loader, a shell or an interpreter is told to run something first.
const HIJACKS: [&str; 11] = [
    "BASH_ENV",
    "DYLD_INSERT_LIBRARIES",
    "GCONV_PATH",
    "LD_AUDIT",
    "LD_PRELOAD",
    "PERL5DB",
    "PERL5OPT",
    "PROMPT_COMMAND",
    "PYTHONSTARTUP",
    "RUBYOPT",
    "ZDOTDIR",
];

/// Variables that do so with one of these words in them.
const LOADING: [(&str, &[&str]); 3] = [
    ("NODE_OPTIONS", &["--require", "-r ", "--import", "--loader"]),
    ("JAVA_TOOL_OPTIONS", &["-javaagent:", "-agentpath:", "-agentlib:"]),
    ("_JAVA_OPTIONS", &["-javaagent:", "-agentpath:", "-agentlib:"]),
];

/// Collects the names that a text uses, but for those that are known.
struct Uses<'k> {
    known: &'k HashSet<Cow<'k, str>>,
    names: RefCell<Vec<String>>,
}

impl Env for Uses<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        if self.known.contains(name) {
            return Some("x");
        }
        let mut names = self.names.borrow_mut();
        // Variables of one word are few; more are not told one by one.
        if names.len() < 16 && !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
        None
    }
}

/// The names that a text uses and that are not known, in order.
pub(super) fn uses(text: &str, known: &HashSet<Cow<'_, str>>, escape: char) -> Vec<String> {
    if !text.contains('$') {
        return Vec::new();
    }
    let uses = Uses {
        known,
        names: RefCell::default(),
    };
    // What cannot be read to its end was read up to there.
    let _ = Lexer::expanding(escape, text.len()).lex(text, &uses);
    uses.names.into_inner()
}

/// The known name that is nearest to one that is not, as a question.
pub(super) fn meant(name: &str, known: &HashSet<Cow<'_, str>>) -> String {
    let odd = |text: &str| text.len() < 3 || text.len() > MAX_COMPARED;
    if odd(name) || known.len() > MAX_CANDIDATES {
        return String::new();
    }
    let nearest = known
        .iter()
        .filter(|candidate| !odd(candidate))
        .map(|candidate| (changes(name, candidate), candidate))
        .min();
    match nearest {
        Some((changes, candidate)) if changes * 4 <= name.len() => format!("; is {} meant?", quoted(candidate)),
        _ => String::new(),
    }
}

/// How many letters to add, drop or replace to make one name of another, in any case.
fn changes(one: &str, other: &str) -> usize {
    let other = other.as_bytes();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, byte) in one.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (column, candidate) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(!byte.eq_ignore_ascii_case(candidate));
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

/// Everything about variables in an instruction, which is then taken note of.
pub(super) fn judge<'a>(site: Site<'a>, progress: &Progress, survey: &mut Survey<'a>, sink: &mut Sink<'_>) {
    let instruction = site.instruction;
    let is_env = instruction.keyword == Keyword::Env;
    if !site.is_trigger && !survey.stages.is_empty() {
        undefined(site, survey, sink);
    }
    if matches!(instruction.keyword, Keyword::Env | Keyword::Label) {
        old_form(instruction, sink);
    }
    if is_env {
        own_use(instruction, survey, sink);
    }
    if is_env || instruction.keyword == Keyword::Arg {
        for pair in instruction.pairs() {
            hijack(site, pair, progress, sink);
        }
        if !site.is_trigger {
            declare(instruction, survey);
        }
    }
}

fn declare<'a>(instruction: &'a Instruction, survey: &mut Survey<'a>) {
    for pair in instruction.pairs().iter().take(MAX_NAMES) {
        let name = Cow::Borrowed(plain_name(&pair.name));
        if survey.set.len() < MAX_NAMES {
            survey.set.insert(name.clone());
        }
        let declared = &mut survey.here().declared;
        if declared.len() < MAX_NAMES {
            declared.insert(name);
        }
    }
}

fn plain_name(word: &Word) -> &str {
    unquoted(&word.value)
}

/// Where builders put variables in.
fn undefined(site: Site<'_>, survey: &Survey<'_>, sink: &mut Sink<'_>) {
    let instruction = site.instruction;
    let Some(stage) = survey.stages.last() else { return };
    let escape = sink.parsed().dockerfile.escape;
    let mut look = |text: &str, span: Span| {
        for name in uses(text, &stage.declared, escape) {
            sink.report(&ST551, span, || {
                let meant = meant(&name, &stage.declared);
                format!(
                    "nothing before sets {}: without the base's value it is empty{meant}",
                    quoted(&name)
                )
            });
        }
    };
    let flags: &[&str] = match instruction.keyword {
        Keyword::Add | Keyword::Copy => &["chown", "chmod", "checksum"],
        Keyword::Run => &["mount"],
        Keyword::Expose
        | Keyword::Stopsignal
        | Keyword::User
        | Keyword::Volume
        | Keyword::Workdir
        | Keyword::Env
        | Keyword::Label
        | Keyword::Arg => &[],
        _ => return,
    };
    for flag in instruction
        .flags
        .iter()
        .filter(|flag| flags.contains(&flag.name.as_str()))
    {
        look(flag.value.as_deref().unwrap_or_default(), flag.span);
    }
    for pair in instruction.pairs() {
        look(&pair.name.value, pair.name.span);
        if let Some(value) = &pair.value {
            look(&value.value, value.span);
        }
    }
    if instruction.keyword == Keyword::Run {
        return;
    }
    for word in instruction.words() {
        let is_heredoc = !site.heredocs.is_empty() && matches!(heredoc::opening(&word.value), Ok(Some(_)));
        if !is_heredoc {
            look(&word.value, word.span);
        }
    }
    for heredoc in site.heredocs.iter().filter(|heredoc| heredoc.expand) {
        let lexer = Lexer {
            skip_quotes: true,
            ..Lexer::expanding('\\', heredoc.body.len())
        };
        let body = Uses {
            known: &stage.declared,
            names: RefCell::default(),
        };
        let _ = lexer.lex(&heredoc.body, &body);
        for name in body.names.into_inner() {
            sink.report(&ST551, heredoc.word_span, || {
                let meant = meant(&name, &stage.declared);
                format!(
                    "nothing before sets {}, which the here-document uses{meant}",
                    quoted(&name)
                )
            });
        }
    }
}

/// A variable that this `ENV` sets, in another value of it.
fn own_use(instruction: &Instruction, survey: &Survey<'_>, sink: &mut Sink<'_>) {
    let pairs = instruction.pairs();
    if pairs.len() < 2 {
        return;
    }
    let mut own: HashMap<&str, usize> = HashMap::new();
    for pair in pairs.iter().take(MAX_NAMES) {
        *own.entry(plain_name(&pair.name)).or_default() += 1;
    }
    let escape = sink.parsed().dockerfile.escape;
    for pair in pairs {
        let Some(value) = &pair.value else { continue };
        for name in uses(&value.value, &survey.set, escape) {
            // `A=$A:x` keeps what was before, unless the ENV sets A in another place as well.
            let others = usize::from(name == plain_name(&pair.name));
            if own.get(name.as_str()).is_some_and(|count| *count > others) {
                sink.report(&ST552, value.span, || {
                    format!("{} is set by this ENV and not yet known here", quoted(&name))
                });
            }
        }
    }
}

/// `ENV name value`.
fn old_form(instruction: &Instruction, sink: &mut Sink<'_>) {
    let [pair] = instruction.pairs() else { return };
    if pair.equals {
        return;
    }
    let Some(value) = &pair.value else { return };
    let parsed = sink.parsed();
    let escape = parsed.dockerfile.escape;
    let keyword = instruction.keyword.as_str();
    sink.report_fixed(
        &ST553,
        pair.name.span,
        || format!("{keyword} {} has no `=`", quoted(&pair.name.value)),
        || {
            let span = Span::new(pair.name.span.end, value.span.end);
            let name = parsed.slice(pair.name.span);
            // A quote that is a letter in the old form would open a quotation in the new one.
            let is_plain = !name.contains(|letter| is_quoting(letter, escape)) && super::is_one_line(parsed, span);
            let text = as_value(&value.value, escape).filter(|_| is_plain)?;
            Some(replace("Write name=value", span, format!("={text}")))
        },
    );
}

/// The rest of a line as one value of the new form; nothing where quotes would be needed in quotes.
fn as_value(text: &str, escape: char) -> Option<String> {
    let special = |letter| is_quoting(letter, escape);
    if text.contains(special) {
        // One quoted word, or text that holds no blank, means the same in both forms.
        let body = text.get(1..text.len().saturating_sub(1)).unwrap_or_default();
        let whole = text.len() > 1
            && text.starts_with(['"', '\''])
            && text.as_bytes().first() == text.as_bytes().last()
            && !body.contains(special);
        let closed = ['"', '\''].iter().all(|quote| text.matches(*quote).count() % 2 == 0);
        return (whole || (closed && !text.contains(char::is_whitespace))).then(|| text.to_owned());
    }
    if text.contains(char::is_whitespace) {
        Some(format!("\"{text}\""))
    } else {
        Some(text.to_owned())
    }
}

fn is_quoting(letter: char, escape: char) -> bool {
    matches!(letter, '"' | '\'') || letter == escape
}

fn hijack(site: Site<'_>, pair: &Pair, progress: &Progress, sink: &mut Sink<'_>) {
    let name = plain_name(&pair.name);
    let keyword = site.instruction.keyword.as_str();
    let value = pair.value.as_ref();
    if HIJACKS.contains(&name) && value.is_none_or(|value| !unquoted(&value.value).is_empty()) {
        sink.report(&ST531, pair.name.span, || format!("{keyword} sets {}", quoted(name)));
    }
    let Some(value) = value else { return };
    if let Some((_, words)) = LOADING.iter().find(|(loading, _)| *loading == name) {
        let expanded = progress.variables.expand_here(&value.value, site.is_trigger).text;
        if let Some(word) = words.iter().find(|word| expanded.contains(**word)) {
            sink.report(&ST531, value.span, || {
                format!("{keyword} {name} loads code ({})", quoted(word.trim()))
            });
        }
    }
    if name == "PATH" {
        let expanded = progress.variables.expand_here(&value.value, site.is_trigger).text;
        let first = expanded.split(':').next().unwrap_or_default();
        // A variable of the base's: nobody knows what it begins with.
        let unknown = first.is_empty() && value.value.trim_start_matches(['"', '\'']).starts_with('$');
        if !unknown && is_open(first) {
            sink.report(&ST532, value.span, || {
                let first = if first.is_empty() { "." } else { first };
                format!("PATH begins with {}", quoted(first))
            });
        }
    }
}

/// A folder in which others than root can write, or that depends on where one is.
fn is_open(folder: &str) -> bool {
    let under = |root: &str| {
        folder
            .strip_prefix(root)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    !folder.starts_with('/') && !folder.starts_with('$') && !is_windows(folder)
        || ["/tmp", "/var/tmp", "/dev/shm", "/proc", "/run/lock"]
            .into_iter()
            .any(under)
}

fn is_windows(path: &str) -> bool {
    // `C` of `C:\tools`
    matches!(path.as_bytes(), [drive] if drive.is_ascii_alphabetic()) || path.contains('\\') || path.contains('%')
}

/// `USER`, `WORKDIR` and the like as one text.
pub(super) fn text(instruction: &Instruction) -> Option<&Word> {
    match &instruction.args {
        Args::Text(word) => Some(word),
        _ => None,
    }
}
