//! Who asks: what a server in front says of it, believed only when that server says it.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    extract::{ConnectInfo, FromRequestParts, Request},
    http::request::Parts,
};

use crate::{
    config::Checked,
    correlation::single,
    problem::{Code, Problem},
};

/// Longest name of a caller, in bytes.
const MAX_NAME: usize = 256;

/// Who asks.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// Empty where callers are not told apart.
    pub(crate) name: Arc<str>,
    /// Sees everybody's jobs.
    pub(crate) sees_all: bool,
}

impl Caller {
    /// Whose jobs it may see; `None` for all.
    pub(crate) fn scope(&self) -> Option<&str> {
        (!self.sees_all).then_some(&*self.name)
    }
}

/// Finds out who sent a request.
pub(crate) fn of(settings: &Checked, request: &Request) -> Result<Caller, Problem> {
    let Some(header) = &settings.caller_header else {
        return Ok(Caller {
            name: Arc::from(""),
            sees_all: true,
        });
    };
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let trusted = peer.is_some_and(|ConnectInfo(peer)| settings.peers.iter().any(|network| network.holds(peer.ip())));
    if !trusted {
        // Whoever sets this up wrongly refuses everybody, and looks into the log.
        tracing::warn!(peer = ?peer.map(|ConnectInfo(peer)| peer.ip()), "a request did not come from server.caller.peers");
        return Err(Problem::new(
            Code::CallerUnknown,
            "Requests come through the server in front of this one.",
        ));
    }
    // Two headers: one may be the caller's own. Nobody guesses which.
    let name = single(request.headers(), header).unwrap_or_default();
    if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Problem::new(
            Code::CallerUnknown,
            format!(
                "The server in front must say who calls, once, in the header {header}: 1 to {MAX_NAME} visible ASCII characters."
            ),
        ));
    }
    Ok(Caller {
        sees_all: settings.config.caller.operators.iter().any(|operator| operator == name),
        name: Arc::from(name),
    })
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        // The edge put it there; a route outside of it must not be served to anybody.
        let caller = parts.extensions.get::<Self>().cloned();
        caller.ok_or_else(|| Problem::new(Code::CallerUnknown, "Nobody said who calls."))
    }
}
