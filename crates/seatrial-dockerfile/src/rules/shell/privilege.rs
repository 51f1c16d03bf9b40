//! ST210 to ST213: sudo, passwords, setuid and setgid.

use super::{At, Sink, letter, quoted};
use crate::{
    ast::Keyword,
    rules::catalogue::{ST210, ST211, ST212, ST213},
    script::{Command, ShellWord},
};
use std::collections::HashSet;

pub(super) fn judge(at: At<'_>, sink: &mut Sink<'_>) {
    let command = at.command;
    if at.site.instruction.keyword == Keyword::Run {
        let wrapper = command.wrapper("sudo").and_then(|wrapper| wrapper.words.first());
        let alone = command.words.first().filter(|_| command.program() == "sudo");
        if let Some(word) = wrapper.or(alone) {
            sink.report(&ST210, word.span, || {
                format!("the step runs {} by sudo", quoted(command.program()))
            });
        }
    }
    match command.program() {
        "chpasswd" => {
            if let Some(word) = command.words.first() {
                sink.report(&ST211, word.span, || "chpasswd sets passwords".into());
            }
        }
        "passwd" => passwd(at, sink),
        "useradd" | "usermod" | "groupadd" | "groupmod" => given_password(at, sink),
        "chmod" => {
            let mode = command.operands().next();
            if let Some((word, bit)) = mode.and_then(|word| Some((word, special_bit(&word.text)?)))
                && (bit == SETUID || !only_folders(at))
            {
                report_bit(word, bit, sink);
            }
        }
        "install" => {
            let makes_folders = letter(command, 'd', "mogtS").is_some() || command.arg("--directory").is_some();
            let mut args = command.args().iter();
            while let Some(word) = args.next() {
                let value = match word.text.as_str() {
                    "-m" | "--mode" => args.next().map(|word| (word, word.text.as_str())),
                    text => text
                        .strip_prefix("--mode=")
                        .or_else(|| text.strip_prefix("-m"))
                        .map(|mode| (word, mode)),
                };
                if let Some((word, bit)) = value.and_then(|(word, mode)| Some((word, special_bit(mode)?)))
                    && (bit == SETUID || !makes_folders)
                {
                    report_bit(word, bit, sink);
                }
            }
        }
        _ => {}
    }
}

/// The setgid bit of a folder only says which group new files in it get. Folders are those that the step makes
/// or looks for.
fn only_folders(at: At<'_>) -> bool {
    let looks_for_folders = |command: &Command| {
        let args = command.args();
        command.program() == "find"
            && args
                .windows(2)
                .any(|pair| pair[0].text == "-type" && pair[1].text == "d")
    };
    let parent = at.command.parent.and_then(|parent| at.script.commands.get(parent));
    let feeders = at.script.feeders(at.index);
    if parent.is_some_and(looks_for_folders)
        || feeders
            .iter()
            .filter_map(|feeder| at.script.commands.get(*feeder))
            .any(looks_for_folders)
    {
        return true;
    }
    let mut targets = at.command.operands().skip(1).peekable();
    if targets.peek().is_none() {
        return false;
    }
    let before = at
        .script
        .commands
        .get(at.index.saturating_sub(NEAR)..at.index)
        .unwrap_or_default();
    let made: HashSet<&str> = before
        .iter()
        .filter(|command| command.program() == "mkdir")
        .flat_map(|command| {
            command
                .operands()
                .take(NEAR)
                .map(|word| word.text.trim_end_matches('/'))
        })
        .collect();
    targets.all(|word| word.text.ends_with('/') || made.contains(word.text.as_str()))
}

fn report_bit(word: &ShellWord, bit: &str, sink: &mut Sink<'_>) {
    sink.report(&ST213, word.span, || {
        format!("the mode {} sets the {bit} bit", quoted(&word.text))
    });
}

fn passwd(at: At<'_>, sink: &mut Sink<'_>) {
    let command = at.command;
    let Some(program) = command.words.first() else { return };
    if let Some(word) = letter(command, 'd', "").or_else(|| command.arg("--delete")) {
        sink.report(&ST212, word.span, || "passwd empties a password".into());
        return;
    }
    let is_fed = at
        .script
        .feeders(at.index)
        .iter()
        .filter_map(|feeder| at.script.commands.get(*feeder))
        .any(|feeder| matches!(feeder.program(), "echo" | "printf" | "yes" | "cat"));
    if is_fed || command.arg("--stdin").is_some() || !command.redirects.is_empty() && letter(command, 'l', "").is_none()
    {
        sink.report(&ST211, program.span, || "passwd is given a password".into());
    }
}

/// `useradd -p hash`.
fn given_password(at: At<'_>, sink: &mut Sink<'_>) {
    let mut args = at.command.args().iter();
    while let Some(word) = args.next() {
        let value = match word.text.as_str() {
            "-p" | "--password" => args.next().map(|word| word.text.as_str()),
            text => text.strip_prefix("--password="),
        };
        match value {
            None => {}
            Some("") => sink.report(&ST212, word.span, || "an account is made with an empty password".into()),
            // These lock it.
            Some(value) if value.starts_with(['!', '*']) => {}
            Some(_) => sink.report(&ST211, word.span, || {
                format!("{} is given a password", at.command.program())
            }),
        }
    }
}

const SETUID: &str = "setuid";
/// How far back, and at how many folders, is looked.
const NEAR: usize = 32;

/// The bit that a mode sets, in digits or letters.
fn special_bit(mode: &str) -> Option<&'static str> {
    let name = |uid: bool, gid: bool| match (uid, gid) {
        (true, _) => Some(SETUID),
        (false, true) => Some("setgid"),
        (false, false) => None,
    };
    if !mode.is_empty() && mode.len() <= 7 && mode.bytes().all(|byte| byte.is_ascii_digit()) {
        let bits = u32::from_str_radix(mode, 8).ok()?;
        // With the sticky bit only folders are meant, where setgid says which group new files get.
        return name(bits & 0o4000 != 0, bits & 0o3000 == 0o2000);
    }
    let mut uid = false;
    let mut gid = false;
    for clause in mode.split(',') {
        let who_len = clause.bytes().take_while(|byte| b"ugoa".contains(byte)).count();
        let (who, rest) = clause.split_at_checked(who_len)?;
        let mut sets = false;
        for letter in rest.chars() {
            match letter {
                '+' | '=' => sets = true,
                '-' => sets = false,
                's' if sets => {
                    uid |= who.is_empty() || who.contains(['u', 'a']);
                    gid |= who.contains(['g', 'a']);
                }
                'r' | 'w' | 'x' | 'X' | 's' | 't' | 'u' | 'g' | 'o' => {}
                _ => return None,
            }
        }
    }
    name(uid, gid)
}
