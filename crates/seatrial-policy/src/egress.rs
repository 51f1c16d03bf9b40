//! The way out: who may be reached through the proxy, and how much may go through it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bytesize::ByteSize;
use schemars::JsonSchema;
use seatrial_core::egress::MAX_REQUESTS;
use serde::{Deserialize, Serialize};

/// Longest name of a host.
const MAX_NAME: usize = 253;
/// Most entries: all of them are arguments of one program.
pub(crate) const MAX_ENTRIES: usize = 200;

/// What stages with `egress` may reach.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Egress {
    /// Hosts: `pypi.org`, `*.debian.org:80`, in a pinch an address. Without a port: 80 for plain HTTP, 443 for
    /// everything else.
    pub allow: Vec<String>,
    /// Networks that may be reached though they are private or otherwise special: `10.1.0.0/16`.
    pub also: Vec<String>,
    /// Name server, with its port: `10.1.0.53:53`. Without one the Engine's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub resolver: Option<SocketAddr>,
    /// Bytes in all of one stage, both ways.
    #[schemars(schema_with = "seatrial_core::schema::size")]
    pub bytes: ByteSize,
    /// Requests in all of one stage.
    #[schemars(range(min = 1, max = 1000))]
    pub requests: u32,
}

impl Default for Egress {
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            also: Vec::new(),
            resolver: None,
            bytes: ByteSize::mib(256),
            requests: MAX_REQUESTS,
        }
    }
}

/// Why a pattern for hosts is none, as a clause.
pub(crate) fn check_host(pattern: &str) -> Result<(), &'static str> {
    let (name, port) = match pattern.rsplit_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (pattern, None),
    };
    if let Some(port) = port
        && (port.starts_with('0') || !port.bytes().all(|byte| byte.is_ascii_digit()) || port.parse::<u16>().is_err())
    {
        return Err("has a port that is not a number from 1 to 65535");
    }
    let exact = name.strip_prefix("*.").unwrap_or(name);
    if exact.contains('*') {
        return Err("has a * that does not stand for all names below one");
    }
    if name.parse::<Ipv4Addr>().is_ok() {
        return Ok(());
    }
    // `127.1`, `0x7f000001`: some systems read these as addresses.
    if !exact
        .rsplit('.')
        .next()
        .is_some_and(|last| last.starts_with(|first: char| first.is_ascii_lowercase()))
    {
        return Err("is not the name of a host in lower case, nor an address");
    }
    let label = |part: &str| {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        (1..=63).contains(&part.len()) && part.bytes().all(plain) && !part.starts_with('-') && !part.ends_with('-')
    };
    if exact.len() > MAX_NAME || !exact.split('.').all(label) {
        return Err("is not the name of a host in lower case");
    }
    // `*.com` would be half of the world.
    if exact.len() != name.len() && !exact.contains('.') {
        return Err("stands for a whole top-level domain");
    }
    Ok(())
}

/// Why a network is none, as a clause.
pub(crate) fn check_network(network: &str) -> Result<(), &'static str> {
    let (address, bits) = network.split_once('/').unzip();
    let address: IpAddr = address
        .unwrap_or(network)
        .parse()
        .map_err(|_| "is not an address or a network")?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    match bits.map(str::parse::<u8>) {
        None => Ok(()),
        Some(Ok(bits)) if bits > 0 && bits <= most => Ok(()),
        Some(_) => Err("has a length that no network has"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_with_a_port_at_most() {
        for good in [
            "pypi.org",
            "files.pythonhosted.org:443",
            "*.debian.org:80",
            "mirror",
            "xn--a-1.example",
            "10.1.2.3:8080",
        ] {
            assert_eq!(check_host(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "*",
            "*.",
            "*.org",
            "**.debian.org",
            "a.*.org",
            "https://pypi.org",
            "pypi.org/simple",
            "PyPI.org",
            "pypi.org.",
            "10.1",
            "*.10.0.0.1",
            "10.0.0.01",
            "2130706433",
            "0x7f000001",
            "[::1]:80",
            "::1",
            "pypi.org:0",
            "pypi.org:",
            "pypi.org:http",
            "pypi.org:65536",
            "-a.org",
            "a-.org",
            "a b.org",
            "a..org",
            "bücher.de",
            "user@pypi.org",
        ] {
            assert!(check_host(bad).is_err(), "{bad}");
        }
        assert!(check_host(&format!("{}.org", "a".repeat(64))).is_err());
        assert!(check_host(&"a.".repeat(130)).is_err());
    }

    #[test]
    fn networks_are_addresses_with_a_length_at_most() {
        for good in ["10.1.0.0/16", "10.1.2.3", "fd00:1::/32", "::1", "172.30.0.9/32"] {
            assert_eq!(check_network(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "10.1.0.0/33",
            "10.1.0.0/",
            "10.1.0/16",
            "0.0.0.0/0",
            "::/0",
            "::1/129",
            "host",
            "10.1.0.0/-1",
        ] {
            assert!(check_network(bad).is_err(), "{bad}");
        }
    }
}
