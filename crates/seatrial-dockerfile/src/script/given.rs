//! What a command gives another program to run: text for a shell, or words.

use super::{
    Why,
    command::{Command, Redirection, is_input},
    embedded,
    source::Source,
    variables::Positional,
    word::ShellWord,
    wrap,
};

/// How many commands `find -exec` is asked for.
const MAX_EXECS: usize = 64;

/// Something that a command runs.
pub(super) enum Run {
    /// Shell text; what `$0`, `$1` and so on are in it, `None` when they stay the same.
    Text {
        source: Source,
        sure: bool,
        args: Option<Positional>,
    },
    Words(Vec<ShellWord>),
    /// Shell text that the command reads: a here-document, what another command writes.
    Input {
        args: Option<Positional>,
    },
    /// Shell text in a file.
    File {
        word: ShellWord,
        args: Option<Positional>,
    },
    /// More than is read.
    Beyond(Why),
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
        "." | "source" => args.first().map_or_else(Vec::new, |word| vec![file(word, None)]),
        "trap" => match args {
            [text_word, _, ..] if !text_word.text.starts_with('-') => text(text_word.source(), text_word.sure),
            _ => Vec::new(),
        },
        "su" | "runuser" | "flock" | "script" => of_option(args),
        "sg" => match args {
            [_, text_word] if !text_word.text.starts_with('-') => text(text_word.source(), text_word.sure),
            _ => of_option(args),
        },
        "watch" => {
            let operands = command.operands_without(&["-n", "--interval"]);
            text(joined(operands), false)
        }
        "env" => split_string(args),
        "capsh" => match args.iter().position(|word| word.text == "--") {
            Some(at) => shell(command, args.get(at + 1..).unwrap_or_default()),
            None => Vec::new(),
        },
        "find" => find(args),
        _ => embedded::runs(command),
    }
}

fn file(word: &ShellWord, args: Option<Positional>) -> Run {
    if is_input(&word.text) {
        return Run::Input { args };
    }
    Run::File {
        word: word.clone(),
        args,
    }
}

fn text(source: Source, sure: bool) -> Vec<Run> {
    vec![Run::Text {
        source,
        sure,
        args: None,
    }]
}

/// Words with a blank between each two, as `eval` joins them.
pub(super) fn joined<'w>(words: impl IntoIterator<Item = &'w ShellWord>) -> Source {
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

/// `-c text`, alone or behind other letters, `--command=text`.
fn of_option(args: &[ShellWord]) -> Vec<Run> {
    for (at, word) in args.iter().enumerate() {
        let option = word.text.as_str();
        if let Some(value) = option.strip_prefix("--command=") {
            let tail = word.tail(option.len() - value.len());
            return text(tail.source(), tail.sure);
        }
        let is_letters = option
            .strip_prefix('-')
            .and_then(|letters| letters.strip_suffix('c'))
            .is_some_and(|letters| letters.len() < 4 && letters.bytes().all(|byte| byte.is_ascii_alphabetic()));
        if is_letters || option == "--command" {
            return args
                .get(at + 1)
                .map_or_else(Vec::new, |word| text(word.source(), word.sure));
        }
        if option.len() > 2 && option.starts_with("-c") {
            let tail = word.tail(2);
            return text(tail.source(), tail.sure);
        }
    }
    Vec::new()
}

/// `env -S 'a=b program args'`.
fn split_string(args: &[ShellWord]) -> Vec<Run> {
    let mut options = args.iter().enumerate();
    let Some((at, word, start)) = options.find_map(|(at, word)| Some((at, word, wrap::split_text(&word.text)?))) else {
        return Vec::new();
    };
    let tail = Some(word.tail(start)).filter(|tail| !tail.text.is_empty());
    let rest = args.get(at + 1..).unwrap_or_default();
    text(joined(tail.iter().chain(rest)), false)
}

/// `sh -c text name args`, `sh file args`, `sh -s args`, `sh <<EOF`.
fn shell(command: &Command, args: &[ShellWord]) -> Vec<Run> {
    let mut takes_text = false;
    let mut takes_input = false;
    let mut at = 0;
    while let Some(word) = args.get(at) {
        let Some(letters) = word.text.strip_prefix(['-', '+']).filter(|letters| !letters.is_empty()) else {
            break;
        };
        at += 1;
        if letters == "-" {
            break;
        }
        if letters.starts_with('-') {
            at += usize::from(matches!(letters, "-rcfile" | "-init-file"));
            continue;
        }
        if word.text.starts_with('-') {
            takes_text |= letters.contains('c');
            takes_input |= letters.contains('s');
        }
        // The names of options that `-o` and `-O` set.
        at += usize::from(letters.contains(['o', 'O']));
    }
    let rest = args.get(at..).unwrap_or_default();
    // What stands there, the name of the script first.
    let values = |words: &[ShellWord]| {
        let known = words.iter().all(|word| word.sure);
        Some(known.then(|| words.iter().map(|word| word.text.clone()).collect::<Vec<_>>()))
    };
    if takes_text {
        return match rest.split_first() {
            // `xargs sh -c`, `xargs -I{} sh -c {}`
            None if command.wrapper("xargs").is_some() => vec![Run::Input { args: None }],
            Some((word, _)) if word.text == "{}" && command.wrapper("xargs").is_some() => {
                vec![Run::Input { args: None }]
            }
            None => Vec::new(),
            Some((word, names)) => vec![Run::Text {
                source: word.source(),
                sure: word.sure,
                args: values(names),
            }],
        };
    }
    match rest.first() {
        Some(word) if !takes_input && !is_input(&word.text) => vec![file(word, values(rest))],
        _ => vec![Run::Input { args: values(rest) }],
    }
}

/// The last here-document of a command.
pub(super) fn here(command: &Command) -> Option<&ShellWord> {
    let here = command.redirects.iter().rev().find(|redirect| {
        redirect.kind == Redirection::Here && redirect.descriptor.is_none_or(|descriptor| descriptor == 0)
    })?;
    Some(&here.target)
}

fn find(args: &[ShellWord]) -> Vec<Run> {
    let mut runs = Vec::new();
    let mut rest = args;
    while let Some(at) = rest
        .iter()
        .position(|word| matches!(word.text.as_str(), "-exec" | "-execdir" | "-ok" | "-okdir"))
    {
        if runs.len() >= MAX_EXECS {
            runs.push(Run::Beyond(Why::Limit));
            break;
        }
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
