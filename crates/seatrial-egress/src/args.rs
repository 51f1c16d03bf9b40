//! Arguments: `--name value`, nothing else. Strict, for only we write them.

use std::{ffi::OsString, net::SocketAddr, time::Duration};

use seatrial_address::Network;

use crate::allow::Allow;

/// The longest deadline: a week, as the one of the other binary.
const MAX_DEADLINE_S: u64 = 7 * 86_400;
/// Most entries of `--allow` and of `--also`, each.
const MAX_ENTRIES: usize = 1024;
/// Most connections at a time: each may hold some 500 KiB.
const MAX_CONNECTIONS: u64 = 256;
/// Most requests that are written down, and so most requests.
const MAX_REQUESTS: u64 = 100_000;

/// What it is told.
#[derive(Debug)]
pub(crate) struct Settings {
    /// `--deadline-s`: everything ends then. Must be given.
    pub(crate) deadline: Duration,
    /// `--allow`, any number: who may be reached. None given, none can.
    pub(crate) allow: Vec<Allow>,
    /// `--also`, any number: networks that may be reached though they are private or otherwise special.
    pub(crate) also: Vec<Network>,
    /// `--max-bytes`: both ways, all connections together. 1 GiB when not given.
    pub(crate) max_bytes: u64,
    /// `--max-connection-bytes`: both ways, each connection to a host. As `--max-bytes` when not given.
    pub(crate) max_connection_bytes: u64,
    /// `--max-connections`: at a time. 32 when not given.
    pub(crate) max_connections: usize,
    /// `--max-requests`: in all. 1,000 when not given.
    pub(crate) max_requests: u64,
    /// `--answer-s`: for a host to begin its answer. 30 when not given.
    pub(crate) answer: Duration,
    /// `--idle-s`: how long a connection may carry nothing. 60 when not given.
    pub(crate) idle: Duration,
    /// `--resolver`: a name server, instead of those of `/etc/resolv.conf`.
    pub(crate) resolver: Option<SocketAddr>,
}

/// What is wrong with the arguments, as a sentence.
#[derive(Debug)]
pub(crate) struct Wrong(pub(crate) String);

impl Settings {
    pub(crate) fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Self, Wrong> {
        let mut arguments = arguments.map(|argument| {
            let text = argument.into_string();
            text.map_err(|_| Wrong("an argument is not UTF-8".to_owned()))
        });
        let (mut allow, mut also, mut resolver) = (Vec::new(), Vec::new(), None);
        let mut numbers: Vec<(String, u64)> = Vec::new();
        while let Some(name) = arguments.next().transpose()? {
            let no_value = || Wrong(format!("{name} needs a value"));
            let value = arguments.next().ok_or_else(no_value)??;
            let bad = || Wrong(format!("{value} is nothing for {name}"));
            match name.as_str() {
                "--allow" => allow.push(Allow::parse(&value).ok_or_else(bad)?),
                "--also" => also.push(Network::parse(&value).ok_or_else(bad)?),
                "--resolver" if resolver.is_none() => resolver = Some(value.parse().map_err(|_| bad())?),
                _ => {
                    let most = most(&name).ok_or_else(|| Wrong(format!("{name} is no option")))?;
                    let number = value.parse().ok().filter(|number| (1..=most).contains(number));
                    if numbers.iter().any(|(given, _)| *given == name) {
                        return Err(Wrong(format!("{name} is given twice")));
                    }
                    numbers.push((name.clone(), number.ok_or_else(bad)?));
                }
            }
            if allow.len().max(also.len()) > MAX_ENTRIES {
                return Err(Wrong(format!("more than {MAX_ENTRIES} of {name}")));
            }
        }
        let number = |name: &str| {
            let found = numbers.iter().find(|(given, _)| given == name);
            found.map(|(_, number)| *number)
        };
        let max_bytes = number("--max-bytes").unwrap_or(1 << 30);
        Ok(Self {
            deadline: number("--deadline-s")
                .map(Duration::from_secs)
                .ok_or_else(|| Wrong("--deadline-s is missing".to_owned()))?,
            allow,
            also,
            max_bytes,
            max_connection_bytes: number("--max-connection-bytes").unwrap_or(max_bytes),
            max_connections: usize::try_from(number("--max-connections").unwrap_or(32)).unwrap_or(usize::MAX),
            max_requests: number("--max-requests").unwrap_or(1000),
            answer: Duration::from_secs(number("--answer-s").unwrap_or(30)),
            idle: Duration::from_secs(number("--idle-s").unwrap_or(60)),
            resolver,
        })
    }
}

/// The largest number that an option takes.
fn most(name: &str) -> Option<u64> {
    match name {
        "--deadline-s" | "--answer-s" | "--idle-s" => Some(MAX_DEADLINE_S),
        "--max-bytes" | "--max-connection-bytes" => Some(u64::MAX),
        "--max-connections" => Some(MAX_CONNECTIONS),
        "--max-requests" => Some(MAX_REQUESTS),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Settings, String> {
        Settings::parse(text.split_whitespace().map(OsString::from)).map_err(|wrong| wrong.0)
    }

    #[test]
    fn only_the_deadline_must_be_given() {
        let settings = parse("--deadline-s 60").unwrap();
        assert_eq!(settings.deadline, Duration::from_secs(60));
        assert_eq!((settings.max_connections, settings.max_requests), (32, 1000));
        assert!(settings.allow.is_empty() && settings.also.is_empty());
        assert_eq!(parse("--idle-s 5").unwrap_err(), "--deadline-s is missing");
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for text in [
            "--deadline-s 0",
            "--deadline-s 604801",
            "--deadline-s -1",
            "--deadline-s 1 --deadline-s 1",
            "--deadline-s",
            "--deadline-s 1 --allow *",
            "--deadline-s 1 --allow a:0",
            "--deadline-s 1 --also 10.0.0.0/33",
            "--deadline-s 1 --resolver 127.0.0.1",
            "--deadline-s 1 --max-connections 257",
            "--deadline-s 1 operand value",
            "--deadline-s 1 --help x",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_connection_may_carry_what_all_may_unless_told_otherwise() {
        assert_eq!(parse("--deadline-s 1 --max-bytes 7").unwrap().max_connection_bytes, 7);
        let both = parse("--deadline-s 1 --max-bytes 7 --max-connection-bytes 5").unwrap();
        assert_eq!((both.max_bytes, both.max_connection_bytes), (7, 5));
    }
}
