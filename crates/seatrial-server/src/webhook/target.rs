//! Which URLs may be called back.

use std::net::IpAddr;

use seatrial_address::Network;
use url::{Host, Url};

/// Longest address of a call-back, in bytes.
const LONGEST: usize = 2048;
/// Ports below it belong to services of the system: mail, shells, name servers. A request of ours could mean
/// something to one of them.
const FIRST_FREE_PORT: u16 = 1024;

/// Why a URL is not called. Words for whoever gave it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum BadTarget {
    #[error("an address has at most {LONGEST} bytes")]
    TooLong,
    #[error("it is not an address: {0}")]
    NotUrl(#[from] url::ParseError),
    #[error("it must begin with {0}")]
    Scheme(&'static str),
    #[error("an address must not hold a name or a password")]
    Credentials,
    #[error("port {0} is not called; 443, 80 and those from {FIRST_FREE_PORT} are")]
    Port(u16),
    #[error("its address belongs to {0}, which is not called")]
    Address(&'static str),
}

/// Which URLs may be called back.
#[derive(Debug)]
pub(crate) struct Targets {
    allow: Vec<Network>,
    http: bool,
}

impl Targets {
    pub(crate) fn new(allow: Vec<Network>, http: bool) -> Self {
        Self { allow, http }
    }

    /// What can be said without looking up a name. Names are judged when they are called: they may mean
    /// another address by then.
    pub(crate) fn judge(&self, text: &str) -> Result<Url, BadTarget> {
        if text.len() > LONGEST {
            return Err(BadTarget::TooLong);
        }
        let url = Url::parse(text)?;
        match url.scheme() {
            "https" => {}
            "http" if self.http => {}
            _ if self.http => return Err(BadTarget::Scheme("https:// or http://")),
            _ => return Err(BadTarget::Scheme("https://")),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(BadTarget::Credentials);
        }
        match url.port_or_known_default() {
            Some(443 | 80 | FIRST_FREE_PORT..) => {}
            port => return Err(BadTarget::Port(port.unwrap_or_default())),
        }
        // The parser has read `0x7f.1` and `2130706433` as systems read them.
        let literal = match url.host() {
            None => return Err(BadTarget::NotUrl(url::ParseError::EmptyHost)),
            Some(Host::Domain(_)) => None,
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
        };
        match literal.and_then(|address| self.refusal(address)) {
            Some(what) => Err(BadTarget::Address(what)),
            None => Ok(url),
        }
    }

    /// Why an address is not called, as what it belongs to.
    pub(crate) fn refusal(&self, address: IpAddr) -> Option<&'static str> {
        seatrial_address::refusal(address, &self.allow)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(text: &str) -> Result<String, String> {
        let judged = Targets::new(Vec::new(), false).judge(text);
        judged.map(String::from).map_err(|why| why.to_string())
    }

    #[test]
    fn an_address_without_secrets_is_taken() {
        for good in [
            "https://hooks.example/x?y=1",
            "https://hooks.example:8443/",
            "https://1.1.1.1/",
            "https://[2606:4700::1111]/",
        ] {
            assert_eq!(judge(good).as_deref(), Ok(good));
        }
        for bad in [
            "",
            "ftp://x/",
            "https://",
            "file:///etc/passwd",
            "https://u:p@x/",
            "https://u@x/",
            "javascript:1",
            "https://hooks.example:25/",
            "https://hooks.example:0/",
            "https://[fe80::1%25eth0]/",
        ] {
            assert!(judge(bad).is_err(), "{bad}");
        }
        assert_eq!(
            judge(&format!("https://x/{}", "y".repeat(LONGEST))),
            Err("an address has at most 2048 bytes".to_owned())
        );
    }

    #[test]
    fn plain_http_is_called_where_the_operator_says_so() {
        assert_eq!(
            judge("http://x.example/"),
            Err("it must begin with https://".to_owned())
        );
        let targets = Targets::new(Vec::new(), true);
        assert!(targets.judge("http://x.example/").is_ok());
        assert!(targets.judge("ftp://x.example/").is_err());
    }

    #[test]
    fn an_address_that_leads_inside_is_refused_however_it_is_written() {
        for bad in [
            "https://127.0.0.1/",
            "https://127.1/",
            "https://0x7f.1/",
            "https://0177.0.0.1/",
            "https://2130706433/",
            "https://127.0.0.1./",
            "https://127。0。0。1/",
            "https://169.254.169.254/latest/meta-data",
            "https://[::1]/",
            "https://[::ffff:127.0.0.1]/",
            "https://[fe80::1]/",
            "https://[64:ff9b::7f00:1]/",
        ] {
            let why = judge(bad).unwrap_err();
            assert!(why.ends_with("which is not called"), "{bad}: {why}");
        }
    }
}
