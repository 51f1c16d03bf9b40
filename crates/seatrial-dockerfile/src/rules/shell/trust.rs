//! ST240 to ST256: checks of certificates and signatures that are switched off.

use super::{At, Sink, Variable, is_off, letter, pip_args, quoted, texts, written};
use crate::{
    parse::Parsed,
    rules::catalogue::{
        ST240, ST241, ST242, ST243, ST244, ST245, ST246, ST247, ST248, ST249, ST250, ST251, ST252, ST253, ST254, ST255,
        ST256,
    },
    rules::sink::replace,
    script::ShellWord,
};
use seatrial_core::finding::{Fix, Rule, Span};

/// Letters of curl that take a value.
const CURL_VALUED: &str = "AbcCdDeEFhHKmoPQrtTuUwxXyYz";

pub(super) fn judge(at: At<'_>, sink: &mut Sink<'_>) {
    let command = at.command;
    let args = command.args();
    let program = command.program();
    match program {
        "curl" => {
            let long = args
                .iter()
                .find(|word| matches!(word.text.as_str(), "--insecure" | "--proxy-insecure" | "--doh-insecure"));
            report(&ST240, letter(command, 'k', CURL_VALUED).or(long), sink);
        }
        "wget" => report(&ST241, starting(args, &["--no-check-cert"]), sink),
        "apk" => report(&ST245, command.arg("--allow-untrusted"), sink),
        "apt-get" | "apt" | "aptitude" => {
            report(&ST246, args.iter().find(|word| allows_unsigned(&word.text)), sink);
            report(&ST249, command.arg("--force-yes"), sink);
        }
        "yum" | "dnf" | "tdnf" | "microdnf" | "dnf5" | "yum-config-manager" | "dnf-config-manager" => {
            report(&ST247, starting(args, &["--nogpgcheck", "--no-gpgchecks"]), sink);
            for word in args {
                options_of_repositories(word, sink);
            }
        }
        "zypper" => report(&ST256, starting(args, &["--no-gpg-checks", "--no-gpgcheck"]), sink),
        "rpm" => report(
            &ST248,
            starting(args, &["--nodigest", "--nosignature", "--noverify", "--nofiledigest"]),
            sink,
        ),
        "npm" | "yarn" | "pnpm" => report(&ST251, strict_ssl_off(args), sink),
        "git" => report(&ST255, git_verify_off(args), sink),
        _ => others(program, args, sink),
    }
    if let Some(args) = pip_args(command) {
        report(
            &ST242,
            args.iter()
                .find(|word| word.text.contains("trusted-host") && !word.text.contains("://"))
                .or_else(|| starting(args, &["--allow-insecure-host"])),
            sink,
        );
    }
    repository_texts(at, sink);
}

fn report(rule: &'static Rule, word: Option<&ShellWord>, sink: &mut Sink<'_>) {
    let Some(word) = word else { return };
    let parsed = sink.parsed();
    let message = || format!("{} switches the check off", quoted(&word.text));
    sink.report_fixed(rule, word.span, message, || removal(word, parsed));
}

/// Takes an option away that has no value in another word.
fn removal(word: &ShellWord, parsed: &Parsed) -> Option<Fix> {
    let span = word.span;
    let takes_value = ["--trusted-host", "--allow-insecure-host", "--strict-ssl", "-c"].contains(&word.text.as_str());
    // Among other letters it is not alone.
    let is_alone = word.text.starts_with("--") || (word.text.starts_with('-') && word.text.len() == 2);
    let is_plain = is_alone && parsed.slice(span) == word.text;
    let before = parsed.text.get(..span.start)?.ends_with(' ');
    let behind = parsed.text.get(span.end..)?.chars().next();
    if takes_value || !is_plain || !before || !behind.is_none_or(|next| matches!(next, ' ' | '\t' | '\n' | '\r')) {
        return None;
    }
    // Alone in its line, it would leave an empty one behind an open line.
    let before = parsed.text.get(..span.start)?.rsplit('\n').next()?;
    let behind = parsed.text.get(span.end..)?.split('\n').next()?;
    if before.trim().is_empty() && behind.trim().is_empty() {
        return None;
    }
    let gone = Span::new(span.start - 1, span.end);
    Some(replace(format!("Remove {}", quoted(&word.text)), gone, ""))
}

/// The first word that begins in one of these ways.
fn starting<'w>(args: &'w [ShellWord], beginnings: &[&str]) -> Option<&'w ShellWord> {
    args.iter()
        .find(|word| beginnings.iter().any(|beginning| word.text.starts_with(beginning)))
}

fn allows_unsigned(text: &str) -> bool {
    if matches!(
        text,
        "--allow-unauthenticated" | "--allow-insecure-repositories" | "--allow-untrusted"
    ) {
        return true;
    }
    let option = text.strip_prefix("-o").unwrap_or(text);
    let Some((name, value)) = option.split_once('=') else {
        return false;
    };
    let known = [
        "apt::get::allowunauthenticated",
        "acquire::allowinsecurerepositories",
        "acquire::allowdowngradetoinsecurerepositories",
        "aptitude::cmdline::ignore-trust-violations",
    ];
    let is_known = known.iter().any(|known| name.trim().eq_ignore_ascii_case(known));
    let is_https = ["acquire::https::verify-peer", "acquire::https::verify-host"]
        .iter()
        .any(|known| name.trim().eq_ignore_ascii_case(known));
    (is_known && !is_off(value)) || (is_https && is_off(value))
}

/// `--setopt=*.sslverify=0`, also as a word of its own.
fn options_of_repositories(word: &ShellWord, sink: &mut Sink<'_>) {
    let option = word.text.strip_prefix("--setopt=").unwrap_or(&word.text);
    let Some((name, value)) = option.split_once('=') else {
        return;
    };
    if !is_off(value) {
        return;
    }
    match name.rsplit('.').next() {
        Some("sslverify") => report(&ST253, Some(word), sink),
        Some("gpgcheck" | "localpkg_gpgcheck") => report(&ST256, Some(word), sink),
        _ => {}
    }
}

fn strict_ssl_off(args: &[ShellWord]) -> Option<&ShellWord> {
    if let Some(word) = args.iter().find(|word| word.text == "--no-strict-ssl") {
        return Some(word);
    }
    let sets = match args {
        [first, second, ..] if first.text == "config" => second.text == "set",
        [first, ..] => first.text == "set",
        [] => false,
    };
    args.iter().enumerate().find_map(|(at, word)| {
        let (name, value) = match word.text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word.text.as_str(), args.get(at + 1).map(|next| next.text.as_str())),
        };
        let is_option = name == "--strict-ssl";
        let is_setting = sets && matches!(name, "strict-ssl" | "enableStrictSsl" | "strictSsl");
        ((is_option || is_setting) && value.is_some_and(is_off)).then_some(word)
    })
}

fn git_verify_off(args: &[ShellWord]) -> Option<&ShellWord> {
    args.iter().enumerate().find_map(|(at, word)| {
        let (name, value) = match word.text.rsplit_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word.text.as_str(), args.get(at + 1).map(|next| next.text.as_str())),
        };
        let name = name.to_ascii_lowercase();
        let is_switch = name.starts_with("http.") && name.ends_with(".sslverify") || name == "http.sslverify";
        (is_switch && value.is_some_and(is_off)).then_some(word)
    })
}

/// Programs that are rarer: program, option, and value if the option needs one.
const OTHERS: [(&str, &str, Option<&str>); 12] = [
    ("aria2c", "--check-certificate=false", None),
    ("conda", "ssl_verify", Some("false")),
    ("mamba", "ssl_verify", Some("false")),
    ("composer", "disable-tls", Some("true")),
    ("composer", "secure-http", Some("false")),
    ("bundle", "ssl_verify_mode", Some("0")),
    ("bundle", "ssl_verify_mode:", Some("0")),
    ("helm", "--insecure-skip-tls-verify", None),
    ("kubectl", "--insecure-skip-tls-verify", None),
    ("ansible-galaxy", "--ignore-certs", None),
    ("svn", "--trust-server-cert", None),
    ("http", "--verify=no", None),
];

fn others(program: &str, args: &[ShellWord], sink: &mut Sink<'_>) {
    for (_, option, value) in OTHERS.iter().filter(|(of, _, _)| *of == program) {
        let Some(at) = args.iter().position(|word| word.text == *option) else {
            continue;
        };
        let next = args.get(at + 1).map(|word| word.text.as_str());
        if value.is_none() || next == *value {
            report(&ST255, args.get(at), sink);
        }
    }
}

/// Lines of repository files that take signatures away.
const UNSIGNED: [&str; 5] = [
    "trusted=yes",
    "gpgcheck=0",
    "SigLevel = Never",
    "SigLevel = TrustAll",
    "AllowUnauthenticated \"true\"",
];

/// Such a line, written to a file.
fn repository_texts(at: At<'_>, sink: &mut Sink<'_>) {
    let command = at.command;
    let is_writer = match command.program() {
        "sed" | "tee" | "add-apt-repository" => true,
        "echo" | "printf" | "cat" => {
            let next = at.script.commands.get(at.index + 1);
            written(at).next().is_some()
                || next.is_some_and(|next| next.pipeline == command.pipeline && next.program() == "tee")
        }
        _ => false,
    };
    if !is_writer {
        return;
    }
    // Packages that the step itself has made lie in a folder.
    for word in texts(command).filter(|word| !word.text.contains("file:")) {
        let found = UNSIGNED.iter().find(|line| {
            word.text.match_indices(*line).any(|(at, _)| {
                // `repo_gpgcheck=0` is the default: the packages are still checked.
                !word.text.get(..at).unwrap_or_default().ends_with('_')
            })
        });
        if let Some(line) = found {
            sink.report(&ST256, word.span, || {
                format!("a repository is set up with {}", quoted(line))
            });
        }
    }
}

pub(super) fn variable(variable: &Variable<'_>, sink: &mut Sink<'_>) {
    let value = variable.value;
    let rule = match variable.name {
        "PYTHONHTTPSVERIFY" if value == "0" => &ST243,
        "NODE_TLS_REJECT_UNAUTHORIZED" if value == "0" => &ST244,
        "NPM_CONFIG_STRICT_SSL" | "npm_config_strict_ssl" if is_off(value) => &ST250,
        "GIT_SSL_NO_VERIFY" => &ST252,
        "PIP_TRUSTED_HOST" if !value.is_empty() => &ST254,
        "PERL_LWP_SSL_VERIFY_HOSTNAME"
        | "BUNDLE_SSL_VERIFY_MODE"
        | "CONDA_SSL_VERIFY"
        | "YARN_ENABLE_STRICT_SSL"
        | "YARN_STRICT_SSL"
            if is_off(value) =>
        {
            &ST255
        }
        "COMPOSER_DISABLE_TLS" | "ANSIBLE_GALAXY_IGNORE" if !is_off(value) && !value.is_empty() => &ST255,
        "GOINSECURE" | "UV_INSECURE_HOST" if !value.is_empty() => &ST255,
        _ => return,
    };
    sink.report(rule, variable.span, || {
        format!("{}={} switches the check off", variable.name, quoted(value))
    });
}
