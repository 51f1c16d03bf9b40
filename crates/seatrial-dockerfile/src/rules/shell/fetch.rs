//! ST400 to ST402: what is downloaded or decoded, and run.

use seatrial_core::finding::Level;

use super::{
    At, Sink, connection,
    download::{self, is_download, prints},
    inline, is_one_of, is_versioned, letter, quoted,
};
use crate::{
    rules::catalogue::{ST400, ST401, ST402, ST403, ST420},
    script::{Command, Redirection, Script, ShellWord, Via, base_name, escape, is_input},
};

pub(super) fn judge(at: At<'_>, sink: &mut Sink<'_>) {
    let command = at.command;
    let Some(word) = command.words.first() else { return };
    if runs_input(command) {
        let mut feeders = at.script.feeders(at.index);
        // `curl … | tee >(sh)`
        if command.via == Via::ProcessOutput
            && let Some(parent) = command.parent
        {
            feeders.push(parent);
            feeders.extend(at.script.feeders(parent));
        }
        let mut feeding = Vec::new();
        for feeder in feeders {
            let Some(source) = at.script.commands.get(feeder) else {
                continue;
            };
            feeding.push(source);
            // `cat <(curl …) | sh`
            if source.program() == "cat" {
                feeding.extend(at.script.substituted(feeder).map(|(_, inner)| inner));
            }
        }
        told(&feeding, word, command, sink);
    }
    if takes_substitution(command) {
        let inner: Vec<_> = at.script.substituted(at.index).map(|(_, inner)| inner).collect();
        told(&inner, word, command, sink);
    }
    if let Some(assigned) = taken_variable(command).and_then(|name| assigned(at, name)) {
        let inner: Vec<_> = at.script.substituted(assigned).map(|(_, inner)| inner).collect();
        told(&inner, word, command, sink);
    }
    inline::judge(command, sink);
}

/// Says what a command runs that others hand to it.
fn told(sources: &[&Command], word: &ShellWord, command: &Command, sink: &mut Sink<'_>) {
    let runner_is_open = command.words.first().is_some_and(|first| !first.sure);
    let runner = command.program();
    let runner = if runner.is_empty() { "the shell" } else { runner };
    if let Some(source) = sources.iter().find(|source| connection::reads_connection(source)) {
        sink.report(&ST403, word.span, || {
            format!(
                "{runner} runs what {} reads from a connection",
                quoted(source.program())
            )
        });
        return;
    }
    let downloads: Vec<&&Command> = sources
        .iter()
        .filter(|source| is_download(source) && prints(source))
        .collect();
    // Who reads what was unpacked is known where a program is named; and turned about twice a text is what it was.
    let and_unpacks = downloads.is_empty() && !runner_is_open;
    let turns = sources.iter().filter(|source| source.program() == "rev").count();
    let decoder = sources
        .iter()
        .find(|source| decodes(source, and_unpacks) && (source.program() != "rev" || turns % 2 == 1));
    if let Some(decoder) = decoder {
        sink.report(&ST402, word.span, || {
            format!("{} runs what {} decodes", runner, quoted(decoder.program()))
        });
        return;
    }
    // Each address by itself: who knows one of them does not know the others.
    for download in downloads {
        for from in download::addresses(download) {
            sink.report(&ST400, word.span, || match &from {
                Some(from) => format!(
                    "{} is downloaded by {} and run by {runner}",
                    quoted(from),
                    download.program()
                ),
                None => format!("{runner} runs what {} downloads", download.program()),
            });
        }
    }
}

/// A language's interpreter, not a shell.
fn is_interpreter(program: &str) -> bool {
    let names = [
        "python", "perl", "ruby", "php", "node", "nodejs", "lua", "pwsh", "bun", "deno", "tclsh", "pypy",
    ];
    is_one_of(program, &names)
}

/// It takes its program from its input.
fn runs_input(command: &Command) -> bool {
    let program = command.program();
    let args = command.args();
    // `| $S`: nobody knows what that is, and nothing else than an interpreter is called in this way.
    if let [word] | [word, _] = command.words.as_slice()
        && !word.sure
        && word.text.starts_with('$')
    {
        return args.first().is_none_or(|arg| matches!(arg.text.as_str(), "-" | "-s"));
    }
    if command.is_shell() {
        // `xargs sh -c`, `xargs -I{} sh -c {}`: what it reads is the text.
        let takes_words = command.wrapper("xargs").is_some()
            && letter(command, 'c', "oO").is_some()
            && command
                .operands_without(&["-o", "+o", "-O"])
                .next()
                .is_none_or(|word| word.text == "{}");
        return takes_words
            || letter(command, 's', "oO").is_some()
            || (letter(command, 'c', "oO").is_none()
                && reads_operand(command.operands_without(&["-o", "+o", "-O"]).next()));
    }
    if is_interpreter(program) {
        let has_text = args.iter().any(|word| {
            matches!(word.text.as_str(), "-c" | "-e" | "-m" | "-r" | "-p" | "--eval")
                || (is_versioned(program, "python") && ["-m", "-c"].iter().any(|option| word.text.starts_with(option)))
        });
        return !has_text && reads_operand(command.operands().next());
    }
    matches!(program, "source" | ".") && args.first().is_some_and(|word| word.text.starts_with("/dev/"))
}

/// No file, or the one that is the input.
fn reads_operand(operand: Option<&ShellWord>) -> bool {
    operand.is_none_or(|word| is_input(&word.text))
}

/// What stands in its words is run as a program: `sh -c "$(…)"`, `eval "$(…)"`, `bash <(…)`, `$(…)` itself.
fn takes_substitution(command: &Command) -> bool {
    // Also behind what ends a command before it: `sh -c "set -e; $(curl …)"`.
    let begins = |word: &ShellWord| {
        word.text.starts_with("<()")
            || word.text.match_indices("$()").any(|(at, _)| {
                let before = word.text.get(..at).unwrap_or_default().trim_end_matches([' ', '\t']);
                before.is_empty() || before.ends_with([';', '&', '|', '\n', '(', '{'])
            })
    };
    let program = command.program();
    if command.words.first().is_some_and(|word| word.text.starts_with("$()")) {
        return true;
    }
    let here = command
        .redirects
        .iter()
        .any(|redirect| matches!(redirect.kind, Redirection::Here | Redirection::Read) && begins(&redirect.target));
    match program {
        "eval" => command.args().iter().any(begins),
        "source" | "." => command.args().first().is_some_and(begins) || here,
        _ if command.is_shell() || is_interpreter(program) => {
            code(command).is_some_and(begins) || (here && runs_input(command))
        }
        _ => false,
    }
}

/// The word that a shell or an interpreter takes its program from: the text behind `-c` and its like, or a file that is a
/// substitution. What follows are arguments.
fn code(command: &Command) -> Option<&ShellWord> {
    let args = command.args();
    let is_shell = command.is_shell();
    let takes_text = |word: &ShellWord| match word.text.strip_prefix('-') {
        Some(letters) if is_shell => !letters.starts_with('-') && letters.contains('c'),
        Some("c" | "e" | "r" | "p" | "-eval" | "E") => true,
        _ => false,
    };
    if let Some(at) = args.iter().position(takes_text) {
        return args
            .get(at + 1..)?
            .iter()
            .find(|word| !word.text.starts_with(['-', '+']));
    }
    let mut operands = command.operands_without(&["-o", "+o", "-O", "-m"]);
    operands.next().filter(|word| word.text.starts_with("<()"))
}

/// The variable that is run as a program: `eval "$x"`, `sh -c "$x"`, `$x`, `sh <<< "$x"`.
fn taken_variable(command: &Command) -> Option<&str> {
    let here = command
        .redirects
        .iter()
        .filter(|redirect| redirect.kind == Redirection::Here)
        .map(|redirect| &redirect.target);
    let first = command.words.first()?;
    if first.variable().is_some() {
        return first.variable();
    }
    // Without a substitution beside it its text is followed to the variable.
    if command.program() == "eval" && command.args().iter().any(|word| word.text.contains("$()")) {
        return command.args().iter().find_map(ShellWord::variable);
    }
    if !command.is_shell() && !is_interpreter(command.program()) {
        return None;
    }
    let here = here.filter(|_| runs_input(command));
    code(command).into_iter().chain(here).find_map(ShellWord::variable)
}

/// The last command before this one that assigns what a substitution gives to a variable.
fn assigned(at: At<'_>, name: &str) -> Option<usize> {
    let before = at.script.commands.get(..at.index)?;
    let mut near = before.iter().enumerate().rev().take(MAX_BEFORE);
    let (index, _) = near.find(|(_, command)| {
        let mut assignments = command.assignments.iter();
        assignments.any(|(assigned, value)| assigned == name && value.text.contains("$()"))
    })?;
    Some(index)
}

/// How many commands back an assignment is looked for.
const MAX_BEFORE: usize = 256;

/// Turns text that nobody can read into text that is run. Compression counts where nothing was downloaded.
fn decodes(command: &Command, and_unpacks: bool) -> bool {
    let args = command.args();
    match command.program() {
        "base64" | "base32" | "basenc" => {
            letter(command, 'd', "w").is_some()
                || letter(command, 'D', "w").is_some()
                || args
                    .iter()
                    .any(|word| word.text.len() > 2 && "--decode".starts_with(&word.text))
        }
        "openssl" => {
            let is_cipher = |word: &ShellWord| {
                matches!(word.text.as_str(), "base64" | "enc")
                    || ["aes", "aria", "bf", "camellia", "cast", "chacha", "des", "rc", "sm4"]
                        .iter()
                        .any(|cipher| word.text.starts_with(cipher))
            };
            args.first().is_some_and(is_cipher) && args.iter().any(|word| word.text == "-d")
        }
        "gpg" | "gpg2" => args.iter().any(|word| matches!(word.text.as_str(), "-d" | "--decrypt")),
        // Letters for other letters: `tr A-Za-z N-ZA-Mn-za-m`.
        "tr" => args
            .iter()
            .any(|word| word.text.to_ascii_lowercase().contains("n-za-m")),
        _ if is_versioned(command.program(), "python") => {
            matches!(args, [module, name, rest @ ..] if module.text == "-m" && matches!(name.text.as_str(), "base64" | "uu" | "quopri")
                && rest.iter().any(|word| matches!(word.text.as_str(), "-d" | "-u")))
        }
        "xxd" => letter(command, 'r', "").is_some(),
        "uudecode" | "rev" => true,
        "gunzip" | "zcat" | "bunzip2" | "bzcat" | "unxz" | "xzcat" => and_unpacks,
        "gzip" | "bzip2" | "xz" | "zstd" => and_unpacks && letter(command, 'd', "").is_some(),
        "echo" | "printf" => args.iter().any(|word| escapes(&word.text) >= 4),
        _ => false,
    }
}

/// `\x41`, `\101`: how many stand for what could be written as it is. Colours and the like cannot, and signs have other
/// reasons: a quote within quotes, a dollar that no shell shall see.
fn escapes(text: &str) -> usize {
    text.match_indices('\\')
        .filter(|(at, _)| {
            let rest = text.get(at + 1..).unwrap_or_default();
            let is_number = rest.starts_with(|first: char| first == 'x' || first.is_ascii_digit());
            let value = escape::decode(rest, true).filter(|_| is_number);
            value.is_some_and(|(value, _)| value.is_ascii_alphanumeric() || value == '/')
        })
        .count()
}

/// Programs that compare a file with what it should be.
fn verifies(command: &Command) -> bool {
    let program = command.program();
    let sums = [
        "sha1sum",
        "sha224sum",
        "sha256sum",
        "sha384sum",
        "sha512sum",
        "shasum",
        "md5sum",
        "b2sum",
        "cksum",
    ];
    sums.contains(&program)
        || matches!(
            program,
            "gpg" | "gpg2" | "gpgv" | "cosign" | "minisign" | "signify" | "rpmkeys" | "slsa-verifier"
        )
        || (program == "openssl"
            && command
                .args()
                .first()
                .is_some_and(|word| matches!(word.text.as_str(), "dgst" | "sha256")))
}

/// What the steps of a stage have downloaded so far and nothing has verified, and what they have decoded: by file.
#[derive(Default)]
pub(in crate::rules) struct Downloads {
    /// In the order in which they came. One file may have come from several places: which one is there in the end is up to
    /// conditions and to what a server answers.
    files: Vec<(String, Origin)>,
    /// There were more than are remembered, and that was told.
    overflowed: bool,
}

impl Downloads {
    fn remember(&mut self, file: &str, origin: Origin, command: &Command, sink: &mut Sink<'_>) {
        if self.files.len() < MAX_DOWNLOADS {
            self.files.push((plain(file).to_owned(), origin));
        } else if let Some(word) = command.words.first().filter(|_| !self.overflowed) {
            self.overflowed = true;
            sink.report_at(Level::Error, &ST420, word.span, ST420.remedy, || {
                format!("the stage downloads or decodes more files than are followed, {MAX_DOWNLOADS}")
            });
        }
    }

    /// Where a file is from that is run by this path; else files of its name, for one of the two may be named from another
    /// folder.
    fn of(&self, run: &str) -> Vec<&Origin> {
        let exact: Vec<&Origin> = self.exactly(run).collect();
        if !exact.is_empty() {
            return exact;
        }
        let bare = !run.trim_start_matches("./").contains('/');
        let named = |file: &str| base_name(file) == base_name(run) && (bare || !file.contains('/'));
        let found = self.files.iter().filter(|(file, _)| named(file));
        found.map(|(_, origin)| origin).collect()
    }

    fn exactly(&self, path: &str) -> impl Iterator<Item = &Origin> {
        let found = self.files.iter().filter(move |(file, _)| file == plain(path));
        found.map(|(_, origin)| origin)
    }
}

#[derive(Clone)]
struct Origin {
    program: String,
    /// The addresses of what was downloaded; nothing for what was decoded.
    from: Option<Vec<Option<String>>>,
}

/// More files than this are not remembered: no honest stage comes near.
const MAX_DOWNLOADS: usize = 64;

/// A file that one command downloads and a later one runs.
pub(super) fn judge_files(script: &Script, downloads: &mut Downloads, sink: &mut Sink<'_>) {
    for (index, command) in script.commands.iter().enumerate() {
        if is_download(command) {
            for file in download::files(command) {
                let origin = Origin {
                    program: command.program().to_owned(),
                    from: Some(download::addresses(command)),
                };
                downloads.remember(&file, origin, command, sink);
            }
            continue;
        }
        if decodes(command, false) {
            let redirected = command
                .redirects
                .iter()
                .find(|redirect| matches!(redirect.kind, Redirection::Write | Redirection::Append))
                .map(|redirect| redirect.target.text.as_str());
            let out = redirected.or_else(|| out_file(script, index, command));
            if let Some(out) = out {
                let origin = Origin {
                    program: command.program().to_owned(),
                    from: None,
                };
                downloads.remember(out, origin, command, sink);
            }
            continue;
        }
        if matches!(command.program(), "cp" | "mv" | "ln" | "install") {
            let mut operands = command.operands();
            if let (Some(from), Some(to), None) = (operands.next(), operands.next(), operands.next()) {
                let origins: Vec<Origin> = downloads.exactly(&from.text).cloned().collect();
                for origin in origins {
                    downloads.remember(&to.text, origin, command, sink);
                }
            }
            continue;
        }
        if downloads.files.is_empty() {
            continue;
        }
        if verifies(command) {
            // What was decoded is what the author meant, whatever its digest.
            downloads.files.retain(|(_, origin)| origin.from.is_none());
            continue;
        }
        let Some(run) = run_file(script, index, command) else {
            continue;
        };
        for Origin { program, from } in downloads.of(&run.text) {
            match from {
                Some(addresses) => addresses.iter().for_each(|from| {
                    sink.report(&ST401, run.span, || match from {
                        Some(from) => format!("{} is run as {program} wrote it to {}", quoted(from), quoted(&run.text)),
                        None => format!("{} is run as {program} wrote it", quoted(&run.text)),
                    });
                }),
                None => sink.report(&ST402, run.span, || {
                    format!("{} is run, which {} decoded", quoted(&run.text), quoted(program))
                }),
            }
        }
    }
}

/// Where a decoder's text goes without a redirect: `-out file`, or `| tee file` behind it.
fn out_file<'s>(script: &'s Script, index: usize, command: &'s Command) -> Option<&'s str> {
    let args = command.args();
    if let Some(at) = args
        .iter()
        .position(|word| matches!(word.text.as_str(), "-out" | "-o" | "--output"))
    {
        return args.get(at + 1).map(|word| word.text.as_str());
    }
    let next = script.commands.get(index + 1)?;
    let is_tee = next.pipeline == command.pipeline && next.program() == "tee";
    next.operands().next().filter(|_| is_tee).map(|word| word.text.as_str())
}

fn plain(path: &str) -> &str {
    path.trim_start_matches("./")
}

/// The file that a command runs: its operand, its input, or what `cat` hands to it.
fn run_file<'s>(script: &'s Script, index: usize, command: &'s Command) -> Option<&'s ShellWord> {
    let first = command.words.first()?;
    let program = command.program();
    if runs_input(command) {
        let input = command
            .redirects
            .iter()
            .find(|redirect| redirect.kind == Redirection::Read)
            .map(|redirect| &redirect.target);
        let cat = script.feeders(index).into_iter().find_map(|feeder| {
            let feeder = script.commands.get(feeder)?;
            (feeder.program() == "cat").then(|| feeder.operands().next())?
        });
        return input.or(cat);
    }
    if command.is_shell() {
        if letter(command, 'c', "oO").is_some() {
            return None;
        }
        return command.operands_without(&["-o", "+o", "-O"]).next();
    }
    if is_interpreter(program) {
        return command.operands().next();
    }
    if matches!(program, "source" | ".") {
        return command.args().first();
    }
    first.text.contains('/').then_some(first)
}
