//! The way out that an operator may open for a stage: what may be reached, and what was asked for.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// Requests of one stage that are told one by one.
pub const MAX_ROWS: usize = 1000;
/// Requests that a stage may make at most.
pub const MAX_REQUESTS: u32 = 1000;

/// What one stage may reach.
#[derive(Clone, Debug)]
pub struct EgressRequest {
    /// Hosts: `name` or `*.name`, with `:port` when it is neither 80 nor 443.
    pub allow: Vec<String>,
    /// Networks that may be reached though they are private or otherwise special.
    pub also: Vec<String>,
    /// Who knows the addresses of hosts; `None` for whom the Engine asks.
    pub resolver: Option<SocketAddr>,
    /// Bytes in all, both ways.
    pub bytes: u64,
    /// Requests in all.
    pub requests: u32,
    /// Where what was asked for is written down while it happens.
    pub seen: EgressLog,
}

/// What was asked for, shared between who writes it and who shows it.
#[derive(Clone, Default, Debug)]
pub struct EgressLog(Arc<Mutex<EgressView>>);

impl EgressLog {
    /// Writes one request down, or counts it when there are too many.
    pub fn add(&self, row: EgressRow) {
        let mut view = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if view.requests.len() < MAX_ROWS {
            view.requests.push(row);
        } else {
            view.more += 1;
        }
    }

    /// What is there so far.
    #[must_use]
    pub fn view(&self) -> EgressView {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What a stage asked of the proxy.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct EgressView {
    /// In the order in which they ended, at most [`MAX_ROWS`].
    pub requests: Vec<EgressRow>,
    /// How many more there were.
    pub more: u64,
}

/// One request. Texts are the guest's.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EgressRow {
    /// Which host was asked for, by name.
    pub host: String,
    /// At which port.
    pub port: u16,
    /// `GET`, `CONNECT` and so on.
    pub method: String,
    /// Bytes that were sent to it.
    pub bytes_up: u64,
    /// Bytes that came from it.
    pub bytes_down: u64,
    /// SHA-256 of a body that came in plain text; `None` where nobody could see it.
    pub sha256: Option<Digest>,
    /// What the proxy did.
    pub verdict: EgressVerdict,
    /// Why, when it was refused or broke off.
    pub reason: Option<String>,
    /// Status of the answer.
    pub status: Option<u16>,
}

/// What the proxy did with a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EgressVerdict {
    /// It was carried.
    Allowed,
    /// It was not: a rule, or a bound on the way.
    Refused,
    /// It was, and broke off: the host, or who asked, went away.
    Failed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thousand_and_first_request_is_counted_only() {
        let log = EgressLog::default();
        let row = EgressRow {
            host: "pypi.org".to_owned(),
            port: 443,
            method: "CONNECT".to_owned(),
            bytes_up: 1,
            bytes_down: 2,
            sha256: None,
            verdict: EgressVerdict::Allowed,
            reason: None,
            status: Some(200),
        };
        for _ in 0..MAX_ROWS + 7 {
            log.clone().add(row.clone());
        }
        let view = log.view();
        assert_eq!((view.requests.len(), view.more), (MAX_ROWS, 7));
    }
}
