//! What a command gives another program to run: text for a shell, or words.

use super::{
    command::{Command, Redirection},
    source::Source,
    word::ShellWord,
};

/// How many commands `find -exec` is asked for.
const MAX_EXECS: usize = 8;

/// Something that a command runs.
pub(super) enum Run {
    /// Shell text; what `$1` and so on are in it, `None` when they stay the same.
    Text {
        source: Source,
        sure: bool,
        args: Option<Option<Vec<String>>>,
    },
    Words(Vec<ShellWord>),
}

/// All that a command runs, as far as its words say it.
pub(super) fn runs(command: &Command) -> Vec<Run> {
    let program = command.program();
    let args = command.args();
    if command.is_shell() {
        return shell(command, args);
    }
    match program {
        "eval" => text(joined(args), args.iter().all(|word| word.sure)),
        "trap" => match args {
            [text_word, _, ..] if !text_word.text.starts_with('-') => text(text_word.source(), text_word.sure),
            _ => Vec::new(),
        },
        "su" | "runuser" | "flock" | "script" => {
            value_of(args, &["-c", "--command"]).map_or_else(Vec::new, |word| text(word.source(), word.sure))
        }
        "find" => find(args),
        _ => Vec::new(),
    }
}

/// `echo 'text' | sh`: what a shell without a file is given by the command before it in its pipeline.
pub(super) fn echoed(command: &Command, before: &Command) -> Option<Run> {
    let is_fed = before.pipeline == command.pipeline && before.position + 1 == command.position;
    let takes_file = command.args().iter().any(|word| word.text != "-" && word.text != "-s");
    if !is_fed || takes_file || !command.is_shell() || !matches!(before.program(), "echo" | "printf") {
        return None;
    }
    let args = before.args();
    let options = args
        .iter()
        .take_while(|word| matches!(word.text.as_str(), "-e" | "-n" | "-ne" | "-en"));
    let written = args.get(options.count()..)?;
    Some(Run::Text {
        source: joined(written),
        sure: false, // it may well be a text for a reader
        args: Some(None),
    })
}

fn text(source: Source, sure: bool) -> Vec<Run> {
    vec![Run::Text {
        source,
        sure,
        args: None,
    }]
}

/// Words with a blank between each two, as `eval` joins them.
fn joined(words: &[ShellWord]) -> Source {
    let mut source = Source::default();
    for word in words {
        if !source.text.is_empty() {
            source.push_value(" ", word.span.start);
        }
        let own = word.source();
        source.push_part(&own, 0..own.text.len());
    }
    source
}

fn value_of<'w>(args: &'w [ShellWord], names: &[&str]) -> Option<&'w ShellWord> {
    let at = args.iter().position(|word| names.contains(&word.text.as_str()))?;
    args.get(at + 1)
}

/// `sh -c text name args`, `sh <<EOF`.
fn shell(command: &Command, args: &[ShellWord]) -> Vec<Run> {
    let mut takes_text = false;
    let mut at = 0;
    while let Some(word) = args.get(at) {
        let Some(letters) = word.text.strip_prefix(['-', '+']).filter(|letters| !letters.is_empty()) else {
            break;
        };
        if letters == "-" {
            at += 1;
            break;
        }
        if !letters.starts_with('-') && word.text.starts_with('-') {
            takes_text |= letters.contains('c');
        }
        // The names of options that `-o` and `-O` set, and of files.
        let has_value =
            (!letters.starts_with('-') && letters.ends_with(['o', 'O'])) || matches!(letters, "-rcfile" | "-init-file");
        at += 1 + usize::from(has_value);
    }
    let rest = args.get(at..).unwrap_or_default();
    if takes_text {
        let Some((word, names)) = rest.split_first() else {
            return Vec::new();
        };
        let known = names.iter().all(|word| word.sure);
        let values: Vec<String> = names.iter().skip(1).map(|word| word.text.clone()).collect();
        return vec![Run::Text {
            source: word.source(),
            sure: word.sure,
            args: Some(known.then_some(values)),
        }];
    }
    let reads_input = rest
        .first()
        .is_none_or(|word| word.text == "-" || word.text == "/dev/stdin")
        || args.iter().any(|word| word.text == "-s");
    if !reads_input {
        return Vec::new();
    }
    let here = command.redirects.iter().rev().find(|redirect| {
        redirect.kind == Redirection::Here && redirect.descriptor.is_none_or(|descriptor| descriptor == 0)
    });
    here.map_or_else(Vec::new, |redirect| {
        vec![Run::Text {
            source: redirect.target.source(),
            sure: redirect.target.sure,
            args: Some(None),
        }]
    })
}

fn find(args: &[ShellWord]) -> Vec<Run> {
    let mut runs = Vec::new();
    let mut rest = args;
    while runs.len() < MAX_EXECS {
        let Some(at) = rest
            .iter()
            .position(|word| matches!(word.text.as_str(), "-exec" | "-execdir" | "-ok" | "-okdir"))
        else {
            break;
        };
        rest = rest.get(at + 1..).unwrap_or_default();
        let end = rest
            .iter()
            .position(|word| matches!(word.text.as_str(), ";" | "+"))
            .unwrap_or(rest.len());
        let words = rest.get(..end).unwrap_or_default();
        if !words.is_empty() {
            runs.push(Run::Words(words.to_vec()));
        }
        rest = rest.get(end..).unwrap_or_default();
    }
    runs
}
