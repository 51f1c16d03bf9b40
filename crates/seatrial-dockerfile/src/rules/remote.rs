//! ST009 to ST011: what `ADD` fetches.

use std::borrow::Cow;

use super::{
    Progress, Site,
    catalogue::{ST009, ST010, ST011},
    host,
    sink::{Sink, quoted},
};
use crate::{ast::Word, gotext, heredoc};

pub(super) fn judge(site: Site<'_>, progress: &Progress, sink: &mut Sink<'_>) {
    for flag in &site.instruction.flags {
        if gotext::is_lower(&flag.name, "keep-git-dir") && flag.value.as_deref() != Some("false") {
            sink.report(&ST010, flag.span, || "ADD keeps the .git folder of a repository".into());
        }
    }
    let words = site.instruction.words();
    let sources = match words {
        [only] => std::slice::from_ref(only),
        [sources @ .., _] => sources,
        [] => return,
    };
    for word in sources {
        if !site.heredocs.is_empty() && matches!(heredoc::opening(&word.value), Ok(Some(_))) {
            continue;
        }
        source(site, word, progress, sink);
    }
}

fn source(site: Site<'_>, word: &Word, progress: &Progress, sink: &mut Sink<'_>) {
    let expanded = progress.variables.expand_here(&word.value, site.is_trigger);
    let text = expanded.text.trim();
    let scheme = scheme(text);
    let is_http = matches!(scheme.as_deref(), Some("http" | "https"));
    let is_git = is_git(text, scheme.as_deref(), is_http);
    if is_git {
        sink.report(&ST010, word.span, || format!("ADD clones {}", quoted(text)));
    }
    if is_http || (is_git && scheme.is_some()) {
        let decided = expanded.sure || host_is_decided(&word.value, site, progress);
        let problem = if decided {
            host::problem(text)
        } else {
            Some("a host that the file does not decide")
        };
        if let Some(problem) = problem {
            sink.report(&ST009, word.span, || {
                format!("ADD fetches {} from {problem}", quoted(text))
            });
        }
    }
    if is_http && !is_git {
        missing_checksum(site, word, text, progress, sink);
    }
}

fn missing_checksum(site: Site<'_>, word: &Word, text: &str, progress: &Progress, sink: &mut Sink<'_>) {
    let Some(flag) = site.instruction.flag("checksum") else {
        sink.report(&ST011, word.span, || {
            format!("ADD fetches {} without a checksum", quoted(text))
        });
        return;
    };
    let written = flag.value.as_deref().unwrap_or_default();
    let checksum = progress.variables.expand_here(written, site.is_trigger);
    let valid = checksum.sure
        && checksum.text.split_once(':').is_some_and(|(algorithm, hex)| {
            let len = match algorithm {
                "sha256" => 64,
                "sha384" => 96,
                "sha512" => 128,
                _ => 0,
            };
            len > 0 && hex.len() == len && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
        });
    if !valid {
        sink.report(&ST011, flag.span, || {
            format!("{} is no checksum that the file decides", quoted(written))
        });
    }
}

/// What stands before the first `:` when that looks like a scheme, in lower case. A network path
/// needs slashes behind it, but `http:` is taken without any: some clients do.
fn scheme(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once(':')?;
    let plain = scheme.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    let scheme = plain.then(|| scheme.to_ascii_lowercase())?;
    (rest.starts_with("//") || matches!(scheme.as_str(), "http" | "https")).then_some(scheme)
}

/// Whether ADD fetches it instead of copying.
pub(super) fn is_remote(text: &str) -> bool {
    scheme(text).is_some() || is_git(text, None, false)
}

/// A repository by its scheme, by `user@host:path`, by Docker's short form of GitHub, or by `.git`
/// at the end of a URL's path.
fn is_git(text: &str, scheme: Option<&str>, is_http: bool) -> bool {
    match scheme {
        Some("git" | "ssh") => return true,
        Some(other) if other.starts_with("git+") || other.ends_with("+git") || other.ends_with("+ssh") => return true,
        Some(_) => {}
        None => {
            let user_at_host = text.split_once('@').is_some_and(|(user, rest)| {
                let host = rest.split_once(':').map_or("", |(host, _)| host);
                let plain = |part: &str| {
                    !part.is_empty()
                        && part
                            .bytes()
                            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
                };
                plain(user) && plain(host)
            });
            return user_at_host
                || text
                    .get(..11)
                    .is_some_and(|start| start.eq_ignore_ascii_case("github.com/"));
        }
    }
    let path = text.split(['?', '#']).next().unwrap_or_default();
    let path = if path.contains('%') {
        Cow::Owned(host::percent_decoded(path))
    } else {
        Cow::Borrowed(path)
    };
    let bytes = path.trim_end_matches('/').as_bytes();
    let end = &bytes[bytes.len().saturating_sub(4)..];
    is_http && end.eq_ignore_ascii_case(b".git")
}

/// Whether the part up to the host's end is decided by the file although the rest is not:
/// `https://host/$VERSION`.
fn host_is_decided(written: &str, site: Site<'_>, progress: &Progress) -> bool {
    written
        .match_indices('/')
        .take(8)
        .map(|(at, _)| progress.variables.expand_here(&written[..at], site.is_trigger))
        .find(|start| {
            let behind = start.text.split_once("://").map_or("", |(_, rest)| rest);
            !behind.is_empty()
        })
        .is_some_and(|start| start.sure)
}
