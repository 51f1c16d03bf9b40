//! ST230: credentials in commands.

use super::{At, Sink};
use crate::{
    rules::catalogue::ST230,
    script::{Command, ShellWord},
};

pub(super) fn judge(at: At<'_>, sink: &mut Sink<'_>) {
    let command = at.command;
    if let Some((word, what)) = found(command) {
        sink.report(&ST230, word.span, || format!("{} {what}", command.program()));
    }
}

/// A word that gives a credential in plain text, and what it is.
fn found(command: &Command) -> Option<(&ShellWord, &'static str)> {
    let args = command.args();
    let literal = |word: &&ShellWord| word.sure && !word.text.is_empty();
    match command.program() {
        "git" | "curl" | "wget" | "pip" | "pip3" | "npm" | "svn" | "hg" => {
            if let Some(word) = args.iter().find(|word| has_login(&word.text)) {
                return Some((word, "is given a login in the address"));
            }
        }
        _ => {}
    }
    match command.program() {
        "docker" | "podman" | "helm" | "buildah" | "crane" | "skopeo"
            if args.iter().any(|word| word.text == "login") =>
        {
            let word = value(args, &["-p", "--password"]).filter(literal)?;
            Some((word, "logs in with a password in plain text"))
        }
        "aws" if args.iter().any(|word| word.text == "configure") => {
            let at = args.iter().position(|word| {
                word.text.ends_with("aws_secret_access_key") || word.text.ends_with("aws_session_token")
            })?;
            args.get(at + 1)
                .filter(literal)
                .map(|word| (word, "stores a secret key"))
        }
        "npm" | "yarn" | "pnpm" => {
            let word = args
                .iter()
                .find(|word| word.text.contains(":_authToken") || word.text.contains(":_password"))?;
            let has_value = word
                .text
                .split_once('=')
                .is_some_and(|(_, value)| !value.is_empty() && word.sure);
            let next = args.iter().skip_while(|other| other.span != word.span).nth(1);
            (has_value || next.is_some_and(|next| next.sure)).then_some((word, "stores a token"))
        }
        "curl" => {
            let word = value(args, &["-u", "--user"]).filter(literal)?;
            let (_, password) = word.text.split_once(':')?;
            (!password.is_empty()).then_some((word, "logs in with a password in plain text"))
        }
        "sshpass" => {
            let word = args.iter().find(|word| word.text.starts_with("-p"))?;
            Some((word, "is given a password"))
        }
        _ => None,
    }
}

fn value<'w>(args: &'w [ShellWord], names: &[&str]) -> Option<&'w ShellWord> {
    args.iter().enumerate().find_map(|(at, word)| {
        if names.contains(&word.text.as_str()) {
            return args.get(at + 1);
        }
        let (name, _) = word.text.split_once('=')?;
        names.contains(&name).then_some(word)
    })
}

/// `https://user:password@host`, the password being no variable.
fn has_login(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else {
        return false;
    };
    if !matches!(scheme.trim_start_matches("git+"), "http" | "https" | "ftp" | "ssh") {
        return false;
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let Some((login, _)) = authority.rsplit_once('@') else {
        return false;
    };
    login
        .split_once(':')
        .is_some_and(|(_, password)| !password.is_empty() && !password.contains(['$', '<', '{']))
}
