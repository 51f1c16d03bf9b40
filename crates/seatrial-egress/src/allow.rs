//! Who may be reached: names as they are listed, never as something that a system might make of them.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// The longest name of the DNS.
const LONGEST_NAME: usize = 253;
/// The longest part between dots.
const LONGEST_LABEL: usize = 63;

/// A host, in the one form that it has here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Host {
    /// A name, in small letters, without a dot at its end.
    Name(String),
    /// An address.
    Address(IpAddr),
}

impl Host {
    /// A name or an address as it stands in a URL. `None` for all the other ways in which systems let an
    /// address be written (`127.1`, `0x7f000001`, `2130706433`): the last part of a name begins with a letter.
    fn parse(text: &str) -> Option<Self> {
        if let Some(inside) = text.strip_prefix('[') {
            let address: Ipv6Addr = inside.strip_suffix(']')?.parse().ok()?;
            return Some(Self::Address(IpAddr::V6(address)));
        }
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Some(Self::Address(IpAddr::V4(address)));
        }
        let label = |label: &str| {
            let fits = (1..=LONGEST_LABEL).contains(&label.len());
            let known = label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
            fits && known && !label.starts_with('-') && !label.ends_with('-')
        };
        let last = text.rsplit('.').next()?;
        let is_name = text.len() <= LONGEST_NAME
            && text.split('.').all(label)
            && last.starts_with(|first: char| first.is_ascii_alphabetic());
        is_name.then(|| Self::Name(text.to_ascii_lowercase()))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => to.write_str(name),
            Self::Address(IpAddr::V4(address)) => address.fmt(to),
            Self::Address(IpAddr::V6(address)) => write!(to, "[{address}]"),
        }
    }
}

/// `host` or `host:port`, strictly: nothing before, nothing after, no name and password.
pub(crate) fn host_and_port(text: &str) -> Option<(Host, Option<u16>)> {
    let colon = match text.rfind(']') {
        Some(bracket) => text[bracket..].find(':').map(|at| at + bracket),
        None => text.find(':'),
    };
    let Some(colon) = colon else {
        return Some((Host::parse(text)?, None));
    };
    let port = &text[colon + 1..];
    // `u16::from_str` would take a plus.
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let port = digits.then(|| port.parse::<u16>().ok()).flatten()?;
    (port != 0).then_some(())?;
    Some((Host::parse(&text[..colon])?, Some(port)))
}

/// One entry of the list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Allow {
    host: Host,
    /// Names below `host`, and not itself.
    below: bool,
    port: Option<u16>,
}

/// What a request wants of a host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Use {
    /// Bytes that are not ours to read: TLS, as a rule.
    Tunnel,
    /// One request of plain HTTP.
    Plain,
}

impl Use {
    /// The port of an entry that names none. It is one port for each use: port 80 through a tunnel would be plain
    /// HTTP whose methods nobody checks and whose bodies nobody hashes.
    pub(crate) fn port(self) -> u16 {
        match self {
            Self::Tunnel => 443,
            Self::Plain => 80,
        }
    }
}

/// Whether a host may be reached, and if not, which half of the entry says so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Listed {
    /// It may.
    Yes,
    /// The host is there, with other ports.
    OtherPort,
    /// It is not there.
    No,
}

impl Allow {
    /// `name`, `*.name`, `address`, each perhaps with `:port`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (below, rest) = match text.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (host, port) = host_and_port(rest)?;
        let possible = !below || matches!(host, Host::Name(_));
        possible.then_some(Self { host, below, port })
    }

    fn names(&self, host: &Host) -> bool {
        match (&self.host, host) {
            (Host::Name(listed), Host::Name(name)) if self.below => name
                .strip_suffix(listed.as_str())
                .is_some_and(|rest| rest.ends_with('.')),
            (listed, host) => listed == host,
        }
    }
}

/// Looks a host up in the list.
pub(crate) fn listed(list: &[Allow], host: &Host, port: u16, what: Use) -> Listed {
    let mut named = list.iter().filter(|allow| allow.names(host)).peekable();
    if named.peek().is_none() {
        Listed::No
    } else if named.any(|allow| allow.port.unwrap_or(what.port()) == port) {
        Listed::Yes
    } else {
        Listed::OtherPort
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Option<String> {
        host_and_port(text).map(|(host, port)| format!("{host} {port:?}"))
    }

    #[test]
    fn a_host_has_one_form() {
        assert_eq!(host("PyPI.org").as_deref(), Some("pypi.org None"));
        assert_eq!(host("pypi.org:443").as_deref(), Some("pypi.org Some(443)"));
        assert_eq!(
            host("[2606:4700:0:0::1111]:80").as_deref(),
            Some("[2606:4700::1111] Some(80)")
        );
        assert_eq!(host("1.1.1.1").as_deref(), Some("1.1.1.1 None"));
        assert_eq!(host("a_b.x-y.xn--p1ai").as_deref(), Some("a_b.x-y.xn--p1ai None"));
    }

    #[test]
    fn what_only_some_systems_read_as_a_host_is_none() {
        for text in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "-a.b",
            "a-.b",
            "127.1",
            "0x7f000001",
            "0x7f.0.0.1",
            "2130706433",
            "127.0.0.01",
            "1.1.1.1.",
            "a.0x1",
            "a b",
            "a%62",
            "b\u{fc}cher.de",
            "user@a",
            "user:password@a",
            "a:80@b",
            "a:",
            "a:+80",
            "a:0",
            "a:65536",
            "a:080000",
            "a:80:80",
            "::1",
            "[::1",
            "[::1]x",
            "[::1]x:80",
            "[fe80::1%25eth0]",
            "[1.1.1.1]",
            "a/b",
            "*.a",
        ] {
            assert_eq!(host(text), None, "{text}");
        }
        assert_eq!(host(&format!("{}.a", "a".repeat(64))), None);
        assert_eq!(
            host(&["a"; 127].join(".")).map(|text| text.len()),
            Some(253 + " None".len())
        );
        assert_eq!(host(&["a"; 128].join(".")), None);
    }

    fn may(list: &[&str], what: Use, text: &str) -> Listed {
        let list: Vec<Allow> = list.iter().map(|entry| Allow::parse(entry).unwrap()).collect();
        let (host, port) = host_and_port(text).unwrap();
        listed(&list, &host, port.unwrap(), what)
    }

    #[test]
    fn an_entry_without_a_port_means_443_for_tunnels_and_80_for_plain_http() {
        let may = |what, text| may(&["pypi.org"], what, text);
        assert_eq!(may(Use::Tunnel, "pypi.org:443"), Listed::Yes);
        assert_eq!(may(Use::Plain, "pypi.org:80"), Listed::Yes);
        assert_eq!(may(Use::Tunnel, "pypi.org:80"), Listed::OtherPort);
        assert_eq!(may(Use::Plain, "pypi.org:443"), Listed::OtherPort);
        assert_eq!(may(Use::Tunnel, "pypi.org:25"), Listed::OtherPort);
        assert_eq!(may(Use::Tunnel, "evil.org:443"), Listed::No);
    }

    #[test]
    fn an_entry_with_a_port_means_that_port() {
        let may = |what, text| may(&["m.org:8080", "m.org:8443"], what, text);
        assert_eq!(may(Use::Plain, "m.org:8080"), Listed::Yes);
        assert_eq!(may(Use::Tunnel, "m.org:8443"), Listed::Yes);
        assert_eq!(may(Use::Plain, "m.org:80"), Listed::OtherPort);
    }

    #[test]
    fn a_star_means_names_below_and_only_those() {
        let may = |text| may(&["*.a.org"], Use::Plain, text);
        assert_eq!(may("x.a.org:80"), Listed::Yes);
        assert_eq!(may("x.y.a.org:80"), Listed::Yes);
        assert_eq!(may("a.org:80"), Listed::No);
        assert_eq!(may("xa.org:80"), Listed::No);
        assert_eq!(may("a.org.evil.org:80"), Listed::No);
        assert!(
            Allow::parse("*").is_none() && Allow::parse("*.1.1.1.1").is_none() && Allow::parse("x.*.org").is_none()
        );
    }

    #[test]
    fn an_address_is_reached_only_as_one_that_is_listed() {
        assert_eq!(may(&["a.org"], Use::Plain, "1.1.1.1:80"), Listed::No);
        assert_eq!(may(&["1.1.1.1"], Use::Plain, "1.1.1.1:80"), Listed::Yes);
        assert_eq!(may(&["1.1.1.1"], Use::Plain, "[::ffff:1.1.1.1]:80"), Listed::No);
    }
}
