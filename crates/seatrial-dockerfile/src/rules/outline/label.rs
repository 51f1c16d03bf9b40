//! ST541 to ST548: labels, as far as the file alone decides.

use seatrial_core::finding::Rule;

use crate::{
    ast::Pair,
    rules::{
        Progress, Site,
        catalogue::{ST541, ST542, ST543, ST544, ST545, ST546, ST547, ST548},
        sink::{Sink, quoted},
    },
};

/// Namespaces that belong to Docker.
const RESERVED: [&str; 3] = ["com.docker.", "io.docker.", "org.dockerproject."];

/// The name of an annotation, the rule for its value, and whether a value has its form.
type Form = (&'static str, &'static Rule, fn(&str) -> bool);

/// The annotations of OCI whose values have a form.
const FORMS: [Form; 8] = [
    ("org.opencontainers.image.authors", &ST548, has_address),
    ("org.opencontainers.image.created", &ST544, is_date),
    ("org.opencontainers.image.documentation", &ST543, is_url),
    ("org.opencontainers.image.licenses", &ST545, is_licence),
    ("org.opencontainers.image.revision", &ST546, is_commit),
    ("org.opencontainers.image.source", &ST543, is_url),
    ("org.opencontainers.image.url", &ST543, is_url),
    ("org.opencontainers.image.version", &ST547, is_version),
];

pub(super) fn judge(site: Site<'_>, progress: &Progress, sink: &mut Sink<'_>) {
    for pair in site.instruction.pairs() {
        label(site, pair, progress, sink);
    }
}

fn label(site: Site<'_>, pair: &Pair, progress: &Progress, sink: &mut Sink<'_>) {
    let key = progress.variables.expand_here(&pair.name.value, site.is_trigger);
    // A key that the file does not decide is none that a reader could look for.
    let decided = if key.sure {
        key.text.as_ref()
    } else {
        pair.name.value.as_str()
    };
    if let Some(problem) = key_problem(decided) {
        sink.report(&ST541, pair.name.span, || {
            format!("the key {} {problem}", quoted(decided))
        });
    }
    let Some(value) = &pair.value else { return };
    let expanded = progress.variables.expand_here(&value.value, site.is_trigger);
    if !expanded.sure {
        return;
    }
    if expanded.text.is_empty() {
        // A variable that is empty by default is set by who builds.
        if !value.value.contains('$') {
            sink.report(&ST542, value.span, || {
                format!("the label {} is empty", quoted(&key.text))
            });
        }
        return;
    }
    let form = FORMS.iter().find(|(name, ..)| *name == key.text);
    if let Some((_, rule, fits)) = form
        && !fits(expanded.text.trim())
    {
        sink.report(rule, value.span, || {
            format!(
                "{} is nothing that {} stands for",
                quoted(&expanded.text),
                quoted(&key.text)
            )
        });
    }
}

/// What is wrong with a key by Docker's rules for labels.
fn key_problem(key: &str) -> Option<&'static str> {
    let letter = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_lowercase);
    let bytes = key.as_bytes();
    if RESERVED.iter().any(|namespace| key.starts_with(namespace)) {
        return Some("lies in a namespace of Docker");
    }
    if !letter(bytes.first()) {
        return Some("does not begin with a letter in lower case");
    }
    if !bytes
        .last()
        .is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    {
        return Some("does not end with a letter in lower case or a digit");
    }
    let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-');
    if !bytes.iter().all(plain) {
        return Some("holds other characters than a-z, 0-9, `.` and `-`");
    }
    (key.contains("..") || key.contains("--")).then_some("has two separators in a row")
}

fn is_url(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else {
        return false;
    };
    let is_scheme = scheme.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    let host = rest.strip_prefix("//").unwrap_or_default();
    let has_place = if scheme == "mailto" || scheme == "urn" {
        !rest.is_empty()
    } else {
        !host.is_empty() && !host.starts_with('/')
    };
    is_scheme && has_place && !text.contains(char::is_whitespace)
}

/// RFC 3339: `2026-01-02T03:04:05Z`, with a fraction or an offset.
fn is_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    let number = |from: usize, to: usize| -> Option<u32> {
        let part = text.get(from..to)?;
        part.bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| part.parse().ok())?
    };
    let within = |from: usize, least: u32, most: u32| {
        number(from, from + 2).is_some_and(|value| (least..=most).contains(&value))
    };
    let marks = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')];
    let shaped = number(0, 4).is_some()
        && marks.into_iter().all(|(at, mark)| bytes.get(at) == Some(&mark))
        && matches!(bytes.get(10), Some(b'T' | b't' | b' '));
    let ranges = [(5, 1, 12), (8, 1, 31), (11, 0, 23), (14, 0, 59), (17, 0, 60)];
    if !shaped || !ranges.into_iter().all(|(from, least, most)| within(from, least, most)) {
        return false;
    }
    let rest = text.get(19..).unwrap_or_default();
    let zone = match rest.strip_prefix('.') {
        Some(fraction) => {
            let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
            if digits == 0 {
                return false;
            }
            &fraction[digits..]
        }
        None => rest,
    };
    let offset = |zone: &str| {
        let bytes = zone.as_bytes();
        bytes.len() == 6 && bytes[3] == b':' && [1, 2, 4, 5].into_iter().all(|at| bytes[at].is_ascii_digit())
    };
    matches!(zone, "Z" | "z") || (zone.starts_with(['+', '-']) && offset(zone))
}

/// Names joined by `AND`, `OR` and `WITH`, in parentheses that match.
fn is_licence(text: &str) -> bool {
    let spaced = text.replace('(', " ( ").replace(')', " ) ");
    let mut depth = 0_usize;
    let mut wants_name = true;
    for word in spaced.split_whitespace() {
        match word {
            "(" if wants_name => depth += 1,
            ")" if !wants_name && depth > 0 => depth -= 1,
            "AND" | "OR" | "WITH" | "and" | "or" | "with" if !wants_name => wants_name = true,
            "(" | ")" | "AND" | "OR" | "WITH" => return false,
            name => {
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'+' | b':');
                if !wants_name || !name.bytes().all(plain) {
                    return false;
                }
                wants_name = false;
            }
        }
    }
    !wants_name && depth == 0
}

/// A hash in hexadecimal digits, whole or shortened.
fn is_commit(text: &str) -> bool {
    (7..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// `1.2.3`, with what semantic versioning allows behind it.
fn is_version(text: &str) -> bool {
    let (text, build) = match text.split_once('+') {
        Some((text, build)) => (text, Some(build)),
        None => (text, None),
    };
    let (core, before) = match text.split_once('-') {
        Some((core, before)) => (core, Some(before)),
        None => (text, None),
    };
    let number = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()) && (part == "0" || !part.starts_with('0'))
    };
    let word = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    core.split('.').count() == 3
        && core.split('.').all(number)
        && [before, build]
            .into_iter()
            .flatten()
            .all(|part| part.split('.').all(word))
}

/// No address at all, or a whole one.
pub(super) fn has_address(text: &str) -> bool {
    let whole = |word: &str| {
        let word = word.trim_matches(['<', '>', '(', ')', ',', ';', '"']);
        match word.split_once('@') {
            Some((name, host)) => !name.is_empty() && !host.is_empty() && !host.contains('@') && !host.ends_with('.'),
            None => true,
        }
    };
    text.split_whitespace()
        .all(|word| !word.contains('@') || word.starts_with('@') || whole(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_values_are_told_apart() {
        for text in ["https://example.com", "mailto:a@b.c", "git+ssh://host/x"] {
            assert!(is_url(text), "{text}");
        }
        for text in [
            "example.com",
            "https://",
            "https:///x",
            "not a url",
            "://x",
            "https://a b",
        ] {
            assert!(!is_url(text), "{text}");
        }
        for text in [
            "2026-01-02T03:04:05Z",
            "2026-01-02T03:04:05.123+02:00",
            "2026-01-02 03:04:05z",
        ] {
            assert!(is_date(text), "{text}");
        }
        for text in [
            "2026-01-02",
            "2026-13-02T03:04:05Z",
            "2026-01-02T03:04:05",
            "2026-01-02T03:04:05.Z",
            "é".repeat(9).as_str(),
        ] {
            assert!(!is_date(text), "{text}");
        }
        for text in [
            "MIT",
            "MIT OR Apache-2.0",
            "(MIT AND BSD-3-Clause) OR GPL-2.0-only WITH Classpath-exception-2.0",
        ] {
            assert!(is_licence(text), "{text}");
        }
        for text in ["", "MIT OR", "MIT Apache", "(MIT", "MIT)", "OR", "free, really"] {
            assert!(!is_licence(text), "{text}");
        }
        for text in ["1.2.3", "0.0.1-rc.1+build.5"] {
            assert!(is_version(text), "{text}");
        }
        for text in ["1.2", "v1.2.3", "1.02.3", "1.2.3-", "latest"] {
            assert!(!is_version(text), "{text}");
        }
        assert!(is_commit("29ce114") && !is_commit("main") && !is_commit("29ce11"));
        assert!(has_address("Ann <ann@example.com>, Bob") && has_address("@ann") && !has_address("ann@"));
    }
}
