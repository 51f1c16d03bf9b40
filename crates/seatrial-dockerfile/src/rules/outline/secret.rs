//! ST221 to ST226: variables whose names say that they hold a secret.

use super::{Survey, place};
use crate::{
    ast::Pair,
    rules::{
        Progress, Site,
        catalogue::{ST221, ST222, ST223, ST224, ST225, ST226},
        sink::{Sink, quoted, unquoted},
    },
};

/// Words between underscores that name a secret: those that BuildKit's documentation gives for its own check.
const SECRET: [&str; 10] = [
    "apikey",
    "auth",
    "credential",
    "credentials",
    "key",
    "passwd",
    "password",
    "pword",
    "secret",
    "token",
];
/// Short forms that CI systems use.
const SHORT: [&str; 2] = ["psw", "usr"];
/// Words that say that it is no secret, or where one is.
const HARMLESS: [&str; 3] = ["public", "file", "version"];

/// Parts of names that stand for a secret or for half of a login, wherever they are: what people call the two halves of
/// a login, a key that must stay private, and what takes the place of a password.
const PARTS: [&str; 10] = [
    "access_key",
    "api_key",
    "apikey",
    "passphrase",
    "passwd",
    "password",
    "private",
    "secret",
    "token",
    "username",
];

/// Names that the documentation of AWS, Backblaze and kubectl gives to halves of a login, which no part gives away.
const LOGINS: [&str; 4] = ["application_key", "aws_access_key_id", "aws_session", "client_key"];

/// Names of files, which are secret only if the file is in the image.
const FILES: [&str; 3] = ["AWS_CONFIG_FILE", "HF_TOKEN_PATH", "GOOGLE_APPLICATION_CREDENTIALS"];

pub(super) fn judge(site: Site<'_>, progress: &Progress, survey: &Survey<'_>, sink: &mut Sink<'_>) {
    let in_last = survey.stages.len() == survey.stage_count && survey.stage_count > 0;
    for pair in site.instruction.pairs() {
        variable(site, pair, in_last, sink);
        if in_last && !site.is_trigger {
            file(site, pair, progress, survey, sink);
        }
    }
}

/// A variable that names a file of credentials, where that file was copied.
fn file(site: Site<'_>, pair: &Pair, progress: &Progress, survey: &Survey<'_>, sink: &mut Sink<'_>) {
    let name = unquoted(&pair.name.value);
    let Some(value) = pair.value.as_ref().filter(|_| FILES.contains(&name)) else {
        return;
    };
    let path = progress.variables.expand_here(&value.value, site.is_trigger).text;
    let Some(stage) = survey.stages.last() else { return };
    let path = place::joined("/", unquoted(&path));
    if stage
        .copied
        .iter()
        .any(|folder| place::is_in(&path, folder.trim_end_matches('/')))
    {
        sink.report(&ST226, value.span, || {
            format!("{} with the credentials was copied into the image", quoted(&path))
        });
    }
}

/// `COPY key.json $GOOGLE_APPLICATION_CREDENTIALS`
pub(super) fn copied(site: Site<'_>, survey: &Survey<'_>, sink: &mut Sink<'_>) {
    let in_last = survey.stages.len() == survey.stage_count;
    let Some(destination) = site.instruction.words().last().filter(|_| in_last && !site.is_trigger) else {
        return;
    };
    let name = unquoted(&destination.value);
    let name = name.strip_prefix('$').map(|name| name.trim_matches(['{', '}']));
    if let Some(name) = name.filter(|name| FILES.contains(name)) {
        sink.report(&ST226, destination.span, || {
            format!("credentials are copied to {}", quoted(name))
        });
    }
}

fn variable(site: Site<'_>, pair: &Pair, in_last: bool, sink: &mut Sink<'_>) {
    let name = unquoted(&pair.name.value);
    if name.len() < 3 {
        return; // a hostile file has 200,000 of them
    }
    let lower = name.to_ascii_lowercase();
    let has_word = |words: &[&str]| lower.split('_').any(|word| words.contains(&word));
    let named = has_word(&SECRET);
    let is_secret = named && !has_word(&HARMLESS);
    let is_certain = PARTS.iter().any(|part| lower.contains(part)) || LOGINS.contains(&lower.as_str());
    let is_kept =
        in_last && !site.is_trigger && (named || has_word(&SHORT)) && !has_word(&["public"]) && !FILES.contains(&name);
    let keyword = site.instruction.keyword.as_str();
    let tell = |what: &str| format!("{keyword} {} {what}", quoted(name));
    let span = pair.name.span;
    match (is_secret, is_certain, is_kept) {
        (true, true, true) => sink.report(&ST221, span, || tell("names a secret, and the image keeps it")),
        (true, true, false) => sink.report(&ST222, span, || tell("names a secret")),
        (true, false, true) => sink.report(&ST223, span, || tell("may be a key or a login, and the image keeps it")),
        (true, false, false) => sink.report(&ST224, span, || tell("may be a key or a login")),
        (false, ..) => {
            if is_certain {
                sink.report(&ST225, span, || tell("looks like a part of a login"));
            }
            if is_kept {
                sink.report(&ST226, span, || tell("tells of a secret, and the image keeps it"));
            }
        }
    }
}
