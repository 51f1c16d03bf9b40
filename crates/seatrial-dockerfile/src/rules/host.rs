//! Whether a URL leads to the public internet, as far as its text tells.
//!
//! Clients disagree on odd URLs, so every reading is judged and the worst counts. What is odd
//! without need (an address that is not four plain numbers, `%` in a host) is refused as such: no
//! honest author writes it.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Last labels and domains that are never public, or that answer with any address one asks for.
const INTERNAL: [&str; 14] = [
    "localhost",
    "local",
    "localdomain",
    "internal",
    "intranet",
    "lan",
    "corp",
    "home",
    "private",
    "svc",
    "arpa",
    "test",
    "invalid",
    "onion",
];
const WILDCARD: [&str; 14] = [
    "nip.io",
    "sslip.io",
    "xip.io",
    "nip.direct",
    "localtest.me",
    "lvh.me",
    "vcap.me",
    "lacolhost.com",
    "local.gd",
    "localho.st",
    "traefik.me",
    "rbndr.us",
    "1u.ms",
    "backname.io",
];

/// What is wrong with the host of a URL; `None`: nothing.
pub(super) fn problem(url: &str) -> Option<&'static str> {
    let rest = url.split_once(':').map_or(url, |(_, rest)| rest);
    let slashes = rest.trim_start_matches(['/', '\\']);
    if slashes.is_empty() || rest.len() - slashes.len() != 2 || rest.starts_with('\\') {
        return Some("a host that clients read in different ways");
    }
    if slashes
        .chars()
        .any(|character| character.is_control() || character.is_whitespace())
    {
        return Some("a URL with blanks or control characters");
    }
    // Where an authority ends and a user name begins depends on who reads.
    for ends in [&['/', '?', '#', '\\'][..], &['/', '?', '#'], &['/']] {
        let authority = slashes.split(ends).next().unwrap_or_default();
        for host in [
            authority.rsplit('@').next(),
            authority.split_once('@').map(|(_, host)| host),
        ] {
            if let Some(problem) = host.and_then(authority_problem) {
                return Some(problem);
            }
        }
    }
    None
}

fn authority_problem(authority: &str) -> Option<&'static str> {
    if authority.contains('%') {
        let host = percent_decoded(authority);
        return host_problem(without_port(&host)).or(Some("a host with percent signs"));
    }
    if !authority.is_ascii() {
        return Some("a host that is not ASCII");
    }
    host_problem(without_port(authority))
}

fn without_port(authority: &str) -> &str {
    if let Some(literal) = authority.strip_prefix('[') {
        let end = literal.find(']').map_or(authority.len(), |end| end + 2);
        return &authority[..end];
    }
    match authority.split_once(':') {
        Some((host, port)) if !port.contains(':') => host,
        _ => authority,
    }
}

fn host_problem(host: &str) -> Option<&'static str> {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    if host.is_empty() {
        return Some("no host");
    }
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    if host.starts_with('[') || literal.contains(':') {
        let address = literal.split('%').next().unwrap_or_default();
        return match address.parse::<Ipv6Addr>() {
            Ok(address) => v6_problem(address),
            Err(_) => Some("an address that cannot be read"),
        };
    }
    let last = host.rsplit('.').next().unwrap_or_default();
    let is_number = last.bytes().next().is_some_and(|byte| byte.is_ascii_digit())
        && (last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x"));
    if is_number {
        return match host.parse::<Ipv4Addr>() {
            Ok(address) => v4_problem(address),
            Err(_) => Some("an address in an odd form"),
        };
    }
    let under = |domain: &&str| {
        host.strip_suffix(*domain)
            .is_some_and(|before| before.is_empty() || before.ends_with('.'))
    };
    if !host.contains('.') {
        return Some("a host of the local network");
    }
    if INTERNAL.iter().any(&under) {
        return Some("a host of an internal network");
    }
    if WILDCARD.iter().any(under) {
        return Some("a name that stands for any address");
    }
    let plain = host
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
    (!plain).then_some("a host that clients read in different ways")
}

fn v4_problem(address: Ipv4Addr) -> Option<&'static str> {
    match address.octets() {
        [127, ..] => Some("a loopback address"),
        [169, 254, ..] | [168, 63, 129, 16] => Some("a link-local or metadata address"),
        [10, ..] | [192, 168, ..] | [172, 16..=31, ..] | [100, 64..=127, ..] => Some("a private address"),
        [0 | 224..=255, ..]
        | [192, 0, 0 | 2, _]
        | [192, 88, 99, _]
        | [198, 18 | 19, ..]
        | [198, 51, 100, _]
        | [203, 0, 113, _] => Some("an address that is not public"),
        _ => None,
    }
}

fn v6_problem(address: Ipv6Addr) -> Option<&'static str> {
    match address.segments() {
        // Only 2000::/3 is handed out; the ranges in it that carry or fake other addresses are not.
        [0x2001, 0..=0x01ff | 0x0db8, ..] | [0x2002, ..] | [0x3fff, ..] => Some("an address that carries another"),
        [0x2000..=0x3fff, ..] => None,
        _ => Some("an address that is not public"),
    }
}

/// `%41` becomes `A`; what is not UTF-8 then is replaced.
pub(super) fn percent_decoded(text: &str) -> String {
    let source = text.as_bytes();
    let mut bytes = Vec::with_capacity(source.len());
    let mut at = 0;
    while at < source.len() {
        let digit = |offset: usize| source.get(at + offset).and_then(|byte| char::from(*byte).to_digit(16));
        match (source[at], digit(1), digit(2)) {
            (b'%', Some(high), Some(low)) => {
                bytes.extend(u8::try_from(high * 16 + low));
                at += 3;
            }
            (byte, ..) => {
                bytes.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
