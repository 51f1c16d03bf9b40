//! Settings of the HTTP edge, and their check.

mod webhooks;

use std::{net::SocketAddr, time::Duration};

use axum::http::{HeaderName, HeaderValue};
use seatrial_address::Network;
use seatrial_core::limits::human_duration;
use serde::{Deserialize, Serialize};

use crate::webhook::Targets;

pub(crate) use self::webhooks::checked as check_webhooks;
pub use self::webhooks::{SecretText, WebhookConfig};

/// The branch `server` of the configuration.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerConfig {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Connections at a time; further ones wait in the system's queue.
    pub max_connections: usize,
    /// Event streams, followed logs and waiting requests at a time, together.
    pub max_streams: usize,
    /// Bytes of request bodies in memory at a time, all requests together, in MiB. A build context counts four times:
    /// as it came, as it is written anew, and as it is sealed.
    pub max_body_memory_mib: u32,
    /// Bytes of results, artifacts, SBOMs and reports in memory at a time until they are sent, in MiB.
    pub max_answer_memory_mib: u32,
    /// Time for a request's head; an idle connection is closed after it too.
    #[serde(with = "human_duration")]
    pub head_time: Duration,
    /// Time for a request's body.
    #[serde(with = "human_duration")]
    pub body_time: Duration,
    /// A reader that takes nothing for so long is dropped.
    #[serde(with = "human_duration")]
    pub write_time: Duration,
    /// Longest `Prefer: wait`.
    #[serde(with = "human_duration")]
    pub max_wait: Duration,
    /// How often an event stream with nothing to say shows that it lives.
    #[serde(with = "human_duration")]
    pub heart_beat: Duration,
    /// Time that open requests have to end when the process goes.
    #[serde(with = "human_duration")]
    pub drain_time: Duration,
    /// Names in `Host` under which this API is asked for: `api.example.org`. Others are refused, so that a page
    /// of another name that points here (DNS rebinding) reaches nothing. Empty: this host's own names where
    /// only this host is listened to, else any.
    pub hosts: Vec<String>,
    /// Origins whose pages may call the API from a browser: `https://ui.example.org`. None by default.
    pub cors_origins: Vec<String>,
    /// Who calls, as a server in front says.
    pub caller: CallerConfig,
    /// Call-backs.
    pub webhooks: WebhookConfig,
}

/// How callers are told apart.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CallerConfig {
    /// The header with the caller's name. Without it all callers are one.
    pub header: Option<String>,
    /// Addresses of the servers in front, as `10.0.0.7` or `10.0.0.0/24`. The header is believed from them alone.
    pub peers: Vec<String>,
    /// Callers who see everybody's jobs.
    pub operators: Vec<String>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            max_connections: 1024,
            max_streams: 512,
            max_body_memory_mib: 512,
            max_answer_memory_mib: 256,
            head_time: Duration::from_secs(15),
            body_time: Duration::from_secs(30),
            write_time: Duration::from_secs(30),
            max_wait: Duration::from_secs(60),
            heart_beat: Duration::from_secs(15),
            drain_time: Duration::from_secs(10),
            hosts: Vec::new(),
            cors_origins: Vec::new(),
            caller: CallerConfig::default(),
            webhooks: WebhookConfig::default(),
        }
    }
}

/// Settings that cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("server.{key}: {why}")]
pub struct BadConfig {
    /// Which.
    pub key: &'static str,
    /// Why, as a clause.
    pub why: String,
}

impl BadConfig {
    fn new(key: &'static str, why: impl Into<String>) -> Self {
        Self { key, why: why.into() }
    }
}

/// Addresses with the same first bits, from a setting.
fn network(key: &'static str, text: &str) -> Result<Network, BadConfig> {
    let why = || format!("'{}' is not an address or a network", text.escape_debug());
    Network::parse(text).ok_or_else(|| BadConfig::new(key, why()))
}

/// Settings in the form in which they are used.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) config: ServerConfig,
    pub(crate) caller_header: Option<HeaderName>,
    pub(crate) peers: Vec<Network>,
    pub(crate) origins: Vec<HeaderValue>,
    /// Names in `Host`, without ports; empty for any.
    pub(crate) hosts: Vec<String>,
    pub(crate) targets: Targets,
}

impl ServerConfig {
    /// Checks what types cannot.
    ///
    /// # Errors
    /// The first setting that cannot be used.
    pub fn check(&self) -> Result<(), BadConfig> {
        checked(self.clone()).map(drop)
    }
}

pub(crate) fn checked(config: ServerConfig) -> Result<Checked, BadConfig> {
    let bounds = [
        ("max_connections", config.max_connections, 1_000_000),
        ("max_streams", config.max_streams, 1_000_000),
        (
            "max_body_memory_mib",
            usize::try_from(config.max_body_memory_mib).unwrap_or(usize::MAX),
            1 << 20,
        ),
        (
            "max_answer_memory_mib",
            usize::try_from(config.max_answer_memory_mib).unwrap_or(usize::MAX),
            1 << 20,
        ),
    ];
    for (key, value, most) in bounds {
        if value == 0 || value > most {
            return Err(BadConfig::new(key, format!("it must be 1 to {most}")));
        }
    }
    let times = [
        ("head_time", config.head_time),
        ("body_time", config.body_time),
        ("write_time", config.write_time),
        ("heart_beat", config.heart_beat),
    ];
    for (key, value) in times {
        if value.is_zero() {
            return Err(BadConfig::new(key, "it must be more than 0"));
        }
    }
    let caller_header = config.caller.header.as_deref().map(|name| {
        HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| BadConfig::new("caller.header", "it is not the name of a header"))
    });
    let caller_header = caller_header.transpose()?;
    if caller_header.is_some() && config.caller.peers.is_empty() {
        return Err(BadConfig::new(
            "caller.peers",
            "name the servers in front: without them nobody's header is believed",
        ));
    }
    if caller_header.is_none() && !(config.caller.peers.is_empty() && config.caller.operators.is_empty()) {
        return Err(BadConfig::new(
            "caller.header",
            "peers and operators mean nothing without it",
        ));
    }
    let mut peers = Vec::new();
    for text in &config.caller.peers {
        peers.push(network("caller.peers", text)?);
    }
    let mut origins = Vec::new();
    for text in &config.cors_origins {
        origins.push(origin(text).ok_or_else(|| {
            BadConfig::new(
                "cors_origins",
                format!(
                    "'{}' is not an origin such as https://ui.example.org",
                    text.escape_debug()
                ),
            )
        })?);
    }
    let mut hosts = Vec::new();
    for text in &config.hosts {
        let host = url::Host::parse(text).map_err(|_| {
            BadConfig::new(
                "hosts",
                format!("'{}' is not a name or an address without a port", text.escape_debug()),
            )
        })?;
        hosts.push(host.to_string());
    }
    if hosts.is_empty() && config.listen.ip().is_loopback() {
        hosts = ["localhost", "127.0.0.1", "[::1]"].map(str::to_owned).into();
    }
    let targets = webhooks::checked(&config.webhooks)?;
    Ok(Checked {
        targets,
        hosts,
        config,
        caller_header,
        peers,
        origins,
    })
}

/// An origin as browsers write it: `*` and `null` would let in everybody.
fn origin(text: &str) -> Option<HeaderValue> {
    let url = url::Url::parse(text).ok()?;
    let plain = matches!(url.scheme(), "http" | "https") && url.origin().ascii_serialization() == text;
    plain.then(|| HeaderValue::from_str(text).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_can_be_used() {
        ServerConfig::default().check().unwrap();
    }

    #[test]
    fn settings_that_would_open_the_door_are_refused() {
        let with = |change: fn(&mut ServerConfig)| {
            let mut config = ServerConfig::default();
            change(&mut config);
            config.check().unwrap_err().key
        };
        assert_eq!(with(|c| c.caller.header = Some("x-caller".into())), "caller.peers");
        assert_eq!(with(|c| c.caller.operators = vec!["ann".into()]), "caller.header");
        assert_eq!(with(|c| c.cors_origins = vec!["*".into()]), "cors_origins");
        assert_eq!(
            with(|c| c.cors_origins = vec!["https://a.example/x".into()]),
            "cors_origins"
        );
        assert_eq!(with(|c| c.max_connections = 0), "max_connections");
    }
}
