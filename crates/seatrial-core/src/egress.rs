//! The way out that an operator may open for a stage: what may be reached, and what was asked for.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// Requests that a stage may make at most.
pub const MAX_REQUESTS: u32 = 1000;
/// Requests of one stage that are told one by one: all that were served, and some of what was not.
pub const MAX_ROWS: usize = MAX_REQUESTS as usize + 64;

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
pub struct EgressLog(Arc<Mutex<Seen>>);

#[derive(Default, Debug)]
struct Seen {
    view: EgressView,
    /// Where requests stand, by their numbers.
    places: BTreeMap<u64, usize>,
}

impl EgressLog {
    /// One that goes on behind what an earlier try asked for, whose numbers mean nothing any more.
    #[must_use]
    pub fn after(earlier: EgressView) -> Self {
        Self(Arc::new(Mutex::new(Seen {
            view: earlier,
            places: BTreeMap::new(),
        })))
    }

    /// Writes one request down, or counts it when there are too many. One that is there by this number already is
    /// told anew; those with number 0 have none.
    pub fn add(&self, number: u64, row: EgressRow) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Seen { view, places } = &mut *seen;
        let known = places.get(&number).and_then(|place| view.requests.get_mut(*place));
        if let Some(known) = known {
            *known = row;
        } else if view.requests.len() < MAX_ROWS {
            if number > 0 {
                places.insert(number, view.requests.len());
            }
            view.requests.push(row);
        } else {
            view.more += 1;
        }
    }

    /// What is there so far.
    #[must_use]
    pub fn view(&self) -> EgressView {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).view.clone()
    }
}

/// What a stage asked of the proxy, in all tries.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct EgressView {
    /// In the order in which they reached their hosts or were refused, at most [`MAX_ROWS`].
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

#[cfg(any(test, feature = "testing"))]
impl EgressRow {
    /// A request that was carried, for tests.
    #[must_use]
    pub fn carried(host: &str) -> Self {
        Self {
            host: host.to_owned(),
            port: 443,
            method: "CONNECT".to_owned(),
            bytes_up: 1,
            bytes_down: 2,
            sha256: None,
            verdict: EgressVerdict::Allowed,
            reason: None,
            status: Some(200),
        }
    }
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
    fn what_is_too_much_is_counted_only_and_a_number_is_told_once() {
        let log = EgressLog::default();
        let row = EgressRow::carried("pypi.org");
        log.add(1, row.clone());
        for _ in 0..MAX_ROWS + 6 {
            log.clone().add(0, row.clone());
        }
        log.add(
            1,
            EgressRow {
                bytes_up: 9,
                ..row.clone()
            },
        );
        let view = log.view();
        assert_eq!((view.requests.len(), view.more), (MAX_ROWS, 7));
        assert_eq!(view.requests[0].bytes_up, 9);

        let first = EgressLog::default();
        first.add(1, row.clone());
        let next = EgressLog::after(first.view());
        next.add(1, EgressRow { bytes_up: 7, ..row });
        let sent: Vec<u64> = next.view().requests.iter().map(|row| row.bytes_up).collect();
        assert_eq!(sent, [1, 7], "the number of another try is another request");
    }
}
