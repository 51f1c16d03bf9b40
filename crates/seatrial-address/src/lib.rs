//! Which addresses of the internet are nobody's own: a connection to one of them reaches into this host, its
//! network or its cloud. Call-backs of the server and the proxy of guests judge by the same table.
//!
//! The rows are IANA's special-purpose registries for IPv4 and IPv6, as far as an address is not meant to be
//! reached globally, with what stands beside them: multicast, deprecated blocks, addresses that hold another
//! one, and a cloud's inside that looks like an outside. IPv6 is refused unless it is global unicast, so a
//! block that is not named is not forgotten.
//!
//! # Why it is a crate
//! The proxy is a static binary that is built with the engine; `seatrial-core` would bring serde, jiff and ten
//! crates more into it. This one depends on nothing.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Addresses with the same first bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// `address` or `address/bits`; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text
            .split_once('/')
            .map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Some(most), |bits| bits.parse().ok())?;
        (bits <= most).then_some(Self { address, bits })
    }

    /// Whether it is one of them. An IPv4 address in the IPv6 form of a socket that listens on both counts as
    /// what it is.
    #[must_use]
    pub fn holds(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let differ = u32::from(network) ^ u32::from(address);
                differ.checked_shr(32 - u32::from(self.bits)).unwrap_or(0) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let differ = u128::from(network) ^ u128::from(address);
                differ.checked_shr(128 - u32::from(self.bits)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

const V4: [(Ipv4Addr, u32, &str); 17] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8, "this host (0.0.0.0/8)"),
    (Ipv4Addr::new(10, 0, 0, 0), 8, "a private network (RFC 1918)"),
    (
        Ipv4Addr::new(100, 64, 0, 0),
        10,
        "a provider's inside (100.64.0.0/10, RFC 6598)",
    ),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "this host (loopback)"),
    // The cloud that lives there answers its guests about their machines' identity.
    (Ipv4Addr::new(168, 63, 129, 16), 32, "a cloud's inside (168.63.129.16)"),
    // Cloud metadata is at 169.254.169.254.
    (
        Ipv4Addr::new(169, 254, 0, 0),
        16,
        "the local link (169.254.0.0/16, RFC 3927)",
    ),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "a private network (RFC 1918)"),
    (
        Ipv4Addr::new(192, 0, 0, 0),
        24,
        "set aside for protocols (192.0.0.0/24)",
    ),
    (Ipv4Addr::new(192, 0, 2, 0), 24, "set aside for documentation"),
    (Ipv4Addr::new(192, 88, 99, 0), 24, "a relay that is no more (6to4)"),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "a private network (RFC 1918)"),
    (
        Ipv4Addr::new(198, 18, 0, 0),
        15,
        "set aside for benchmarks (198.18.0.0/15)",
    ),
    (Ipv4Addr::new(198, 51, 100, 0), 24, "set aside for documentation"),
    (Ipv4Addr::new(203, 0, 113, 0), 24, "set aside for documentation"),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "multicast"),
    (Ipv4Addr::new(255, 255, 255, 255), 32, "broadcast"),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "reserved (240.0.0.0/4)"),
];

const V6: [(Ipv6Addr, u32, &str); 18] = [
    (Ipv6Addr::UNSPECIFIED, 128, "this host (::)"),
    (Ipv6Addr::LOCALHOST, 128, "this host (loopback)"),
    // Old ways to write an IPv4 address, which a system may still follow.
    (Ipv6Addr::UNSPECIFIED, 96, "an IPv4 address in disguise (::/96)"),
    (
        Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, 0, 0),
        96,
        "an IPv4 address in disguise (::ffff:0:0:0/96)",
    ),
    (
        Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0),
        48,
        "a translator's inside (64:ff9b:1::/48)",
    ),
    (
        Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0),
        64,
        "set aside to be discarded",
    ),
    // Teredo, benchmarks, ORCHID: what of it may be reached is no receiver's.
    (
        Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0),
        23,
        "set aside for protocols (2001::/23)",
    ),
    (
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0),
        32,
        "set aside for documentation",
    ),
    (
        Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0),
        16,
        "an IPv4 address in disguise (6to4)",
    ),
    (
        Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0),
        20,
        "set aside for documentation",
    ),
    (
        Ipv6Addr::new(0x5f00, 0, 0, 0, 0, 0, 0, 0),
        16,
        "a provider's inside (5f00::/16)",
    ),
    (
        Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0),
        7,
        "a private network (unique local)",
    ),
    (
        Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0),
        10,
        "the local link (fe80::/10)",
    ),
    (
        Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0),
        10,
        "a private network (site local)",
    ),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, "multicast"),
    // Everything else outside 2000::/3.
    (Ipv6Addr::UNSPECIFIED, 3, "not global unicast"),
    (Ipv6Addr::new(0x4000, 0, 0, 0, 0, 0, 0, 0), 2, "not global unicast"),
    (Ipv6Addr::new(0x8000, 0, 0, 0, 0, 0, 0, 0), 1, "not global unicast"),
];

/// IPv6 in which translators wrap IPv4: what counts is what is inside.
const NAT64: (Ipv6Addr, u32) = (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

/// Why an address is not called, as what it belongs to; `None` when it may be, or when one of `allow` holds it.
#[must_use]
pub fn refusal(address: IpAddr, allow: &[Network]) -> Option<&'static str> {
    if allow.iter().any(|network| network.holds(address)) {
        return None;
    }
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let bits = u32::from(address);
            let row = V4.iter().find(|(network, length, _)| {
                let differ = u32::from(*network) ^ bits;
                differ.checked_shr(32 - length).unwrap_or(0) == 0
            });
            row.map(|(_, _, what)| *what)
        }
        IpAddr::V6(address) if within(address, NAT64.0, NAT64.1) => {
            let [.., a, b, c, d] = address.octets();
            refusal(IpAddr::V4(Ipv4Addr::new(a, b, c, d)), allow)
        }
        IpAddr::V6(address) => {
            let row = V6
                .iter()
                .find(|(network, length, _)| within(address, *network, *length));
            row.map(|(_, _, what)| *what)
        }
    }
}

fn within(address: Ipv6Addr, network: Ipv6Addr, length: u32) -> bool {
    let differ = u128::from(network) ^ u128::from(address);
    differ.checked_shr(128 - length).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(text: &str) -> Option<&'static str> {
        refusal(text.parse().unwrap(), &[])
    }

    #[test]
    fn a_network_holds_its_own_addresses_only() {
        let holds = |network: &str, peer: &str| Network::parse(network).unwrap().holds(peer.parse().unwrap());
        assert!(holds("10.1.0.0/16", "10.1.2.3") && !holds("10.1.0.0/16", "10.2.2.3"));
        assert!(holds("127.0.0.1", "127.0.0.1") && !holds("127.0.0.1", "127.0.0.2"));
        assert!(holds("0.0.0.0/0", "9.9.9.9") && !holds("0.0.0.0/0", "::1"));
        assert!(holds("fd00::/8", "fd12::1") && holds("::/0", "2001:db8::1"));
        assert!(holds("10.0.0.7", "::ffff:10.0.0.7"));
        assert!(Network::parse("10.0.0.0/33").is_none() && Network::parse("x").is_none());
    }

    #[test]
    fn addresses_of_others_may_be_called() {
        for text in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "168.63.129.15",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.0.3.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450:4001::1",
            "2001:200::1",
            "3ffe::1",
            "64:ff9b::1.1.1.1",
            "::ffff:1.1.1.1",
        ] {
            assert_eq!(why(text), None, "{text}");
        }
    }

    #[test]
    fn addresses_that_lead_inside_are_refused() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "127.255.255.255",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::2",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:0:127.0.0.1",
            "64:ff9b::127.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:0:4136:e378:8000:63bf:3fff:fdd2",
            "2001:2::1",
            "2001:10::1",
            "2001:20::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
            "3fff::1",
            "4000::1",
            "5f00::1",
            "8000::1",
            "fc00::1",
            "fd00:ec2::254",
            "fdff::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
            "ff0e::1",
        ] {
            assert!(why(text).is_some(), "{text}");
        }
    }

    #[test]
    fn a_refusal_names_the_closest_reason() {
        assert_eq!(why("255.255.255.255"), Some("broadcast"));
        assert_eq!(why("::1"), Some("this host (loopback)"));
        assert_eq!(why("::ffff:192.168.0.1"), Some("a private network (RFC 1918)"));
        assert_eq!(why("64:ff9b::c0a8:1"), Some("a private network (RFC 1918)"));
        assert_eq!(why("fe80::1"), Some("the local link (fe80::/10)"));
    }

    #[test]
    fn what_is_allowed_is_allowed_in_each_of_its_forms_and_nothing_else_is() {
        let allow = [Network::parse("10.1.0.0/16").unwrap(), Network::parse("::1").unwrap()];
        let why = |text: &str| refusal(text.parse().unwrap(), &allow);
        for text in ["10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3", "::1"] {
            assert_eq!(why(text), None, "{text}");
        }
        for text in ["10.2.0.1", "127.0.0.1", "::", "::10.1.2.3", "fe80::1"] {
            assert!(why(text).is_some(), "{text}");
        }
    }
}
