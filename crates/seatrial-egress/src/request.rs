//! What a request asks for, and whether its form is one that we answer.

use hyper::{
    HeaderMap, Method, Request, StatusCode, Uri, Version,
    header::{
        CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderName, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
        TRAILER, TRANSFER_ENCODING, UPGRADE, VIA,
    },
};

use crate::allow::{self, Allow, Host, Listed, Use};

/// Headers between two neighbours, which end with them. `Connection` may name more.
const HOP_BY_HOP: [HeaderName; 7] = [
    CONNECTION,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];
/// Likewise, without a name in the library.
const ALSO_HOP_BY_HOP: [&str; 2] = ["keep-alive", "proxy-connection"];
/// How we sign what we pass on.
const OURS: HeaderValue = HeaderValue::from_static("1.1 seatrial");

/// What is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Wanted {
    pub(crate) what: Use,
    pub(crate) host: Host,
    pub(crate) port: u16,
}

/// Why a request is not served, and how that is answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    /// A clause.
    pub(crate) rule: String,
    /// A refusal, or trouble on the host's side.
    pub(crate) by_rule: bool,
}

impl Refusal {
    /// A rule says no.
    pub(crate) fn rule(rule: impl Into<String>) -> Self {
        Self {
            status: StatusCode::FORBIDDEN,
            rule: rule.into(),
            by_rule: true,
        }
    }

    /// No request for a proxy.
    fn form(rule: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            ..Self::rule(rule)
        }
    }

    /// Nobody said no; it did not work.
    pub(crate) fn trouble(status: StatusCode, what: impl Into<String>) -> Self {
        Self {
            status,
            rule: what.into(),
            by_rule: false,
        }
    }
}

/// Reads what is asked for. Nothing is looked up yet.
pub(crate) fn wanted<B>(request: &Request<B>) -> Result<Wanted, Refusal> {
    let what = if request.method() == Method::CONNECT {
        Use::Tunnel
    } else {
        Use::Plain
    };
    let uri = request.uri();
    let Some(authority) = uri.authority() else {
        return Err(Refusal::form(
            "only requests for a proxy are answered, with the whole URL",
        ));
    };
    match (what, uri.scheme_str()) {
        (Use::Tunnel, None) | (Use::Plain, Some("http")) => {}
        (Use::Tunnel, Some(_)) => return Err(Refusal::form("CONNECT names a host and a port")),
        (Use::Plain, _) => {
            return Err(Refusal::rule(
                "only http goes without a tunnel; CONNECT is for the rest",
            ));
        }
    }
    if authority.as_str().contains('@') {
        return Err(Refusal::rule("a URL must not hold a name or a password"));
    }
    let no_host = || Refusal::rule("the URL's host is neither a name nor an address");
    let (host, port) = allow::host_and_port(authority.as_str()).ok_or_else(no_host)?;
    if what == Use::Tunnel && port.is_none() {
        return Err(Refusal::form("CONNECT names a host and a port"));
    }
    let port = port.unwrap_or(what.port());
    same_host(request, &host, port)?;
    if what == Use::Plain && !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Err(Refusal::rule("only GET and HEAD go without a tunnel"));
    }
    // With no body there is no second opinion about where it ends.
    let headers = request.headers();
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    if headers.contains_key(TRANSFER_ENCODING) || lengths.any(|length| length != "0") {
        return Err(Refusal::rule("a request must not have a body"));
    }
    Ok(Wanted { what, host, port })
}

/// The header must mean the same host as the URL: whoever reads only one of them must come to the same answer.
fn same_host<B>(request: &Request<B>, host: &Host, port: u16) -> Result<(), Refusal> {
    let mut headers = request.headers().get_all(HOST).iter();
    match (headers.next(), headers.next()) {
        (None, _) if request.version() == Version::HTTP_10 => Ok(()),
        (None, _) => Err(Refusal::form("a request has a Host")),
        (Some(_), Some(_)) => Err(Refusal::form("a request has one Host")),
        (Some(value), None) => {
            let named = value.to_str().ok().and_then(allow::host_and_port);
            let same = named.is_some_and(|(named, its_port)| named == *host && its_port.is_none_or(|its| its == port));
            // Without a port it means that of the scheme, and a tunnel has no scheme.
            let plain_port = request.method() == Method::CONNECT
                || port == Use::Plain.port()
                || value.to_str().is_ok_and(|text| text.ends_with(&format!(":{port}")));
            if same && plain_port {
                Ok(())
            } else {
                Err(Refusal::rule("Host is not the host of the URL"))
            }
        }
    }
}

/// Whether the list has it.
pub(crate) fn listed(list: &[Allow], wanted: &Wanted) -> Result<(), Refusal> {
    match allow::listed(list, &wanted.host, wanted.port, wanted.what) {
        Listed::Yes => Ok(()),
        Listed::OtherPort => Err(Refusal::rule(format!(
            "port {} of this host is not on the list",
            wanted.port
        ))),
        Listed::No => match wanted.host {
            Host::Name(_) => Err(Refusal::rule("the host is not on the list")),
            Host::Address(_) => Err(Refusal::rule("an address must be on the list itself")),
        },
    }
}

/// The request as the host gets it: its own URL, and of the headers those that are meant for it.
pub(crate) fn for_host<B, N>(request: Request<B>, wanted: &Wanted, body: N) -> Request<N> {
    let (head, _) = request.into_parts();
    let mut headers = head.headers;
    drop_hops(&mut headers);
    headers.remove(EXPECT);
    headers.remove(CONTENT_LENGTH);
    let host = if wanted.port == Use::Plain.port() {
        wanted.host.to_string()
    } else {
        format!("{}:{}", wanted.host, wanted.port)
    };
    // Letters, digits, dots, colons and brackets.
    if let Ok(host) = HeaderValue::from_str(&host) {
        headers.insert(HOST, host);
    }
    headers.append(VIA, OURS);
    let path = head.uri.into_parts().path_and_query;
    let mut request = Request::new(body);
    *request.method_mut() = head.method;
    *request.uri_mut() = path.map_or_else(|| Uri::from_static("/"), Uri::from);
    *request.headers_mut() = headers;
    request
}

/// Takes out what is between neighbours only.
pub(crate) fn drop_hops(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        // How long a body is must not depend on what a neighbour calls its own.
        .filter(|name| *name != CONTENT_LENGTH && *name != HOST)
        .collect();
    for name in HOP_BY_HOP.iter().chain(&named) {
        headers.remove(name);
    }
    for name in ALSO_HOP_BY_HOP {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, uri: &str, headers: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    fn judged(method: &str, uri: &str, headers: &[(&str, &str)]) -> Result<String, (u16, String)> {
        match wanted(&request(method, uri, headers)) {
            Ok(Wanted { what, host, port }) => Ok(format!("{what:?} {host} {port}")),
            Err(refusal) => Err((refusal.status.as_u16(), refusal.rule)),
        }
    }

    fn refused(method: &str, uri: &str, headers: &[(&str, &str)]) -> u16 {
        judged(method, uri, headers).unwrap_err().0
    }

    #[test]
    fn a_request_for_a_proxy_says_what_it_wants() {
        let plain = |uri, host| judged("GET", uri, &[("host", host)]);
        assert_eq!(plain("http://A.org/x", "a.ORG"), Ok("Plain a.org 80".to_owned()));
        assert_eq!(plain("http://a.org:80", "a.org"), Ok("Plain a.org 80".to_owned()));
        assert_eq!(plain("http://a.org", "a.org:80"), Ok("Plain a.org 80".to_owned()));
        assert_eq!(
            plain("http://a.org:8080", "a.org:8080"),
            Ok("Plain a.org 8080".to_owned())
        );
        assert_eq!(
            plain("http://[::1]:8080/", "[::1]:8080"),
            Ok("Plain [::1] 8080".to_owned())
        );
        let tunnel = |host| judged("CONNECT", "a.org:443", &[("host", host)]);
        assert_eq!(tunnel("a.org:443"), Ok("Tunnel a.org 443".to_owned()));
        assert_eq!(tunnel("a.org"), Ok("Tunnel a.org 443".to_owned()));
    }

    #[test]
    fn a_request_for_a_server_is_refused() {
        assert_eq!(refused("GET", "/x", &[("host", "a.org")]), 400);
        assert_eq!(refused("OPTIONS", "*", &[("host", "a.org")]), 400);
        assert_eq!(refused("CONNECT", "a.org", &[("host", "a.org")]), 400);
        assert_eq!(refused("CONNECT", "http://a.org:443/", &[("host", "a.org")]), 400);
    }

    #[test]
    fn only_get_and_head_of_http_go_without_a_tunnel() {
        assert_eq!(refused("GET", "https://a.org/", &[("host", "a.org")]), 403);
        assert_eq!(refused("GET", "ftp://a.org/", &[("host", "a.org")]), 403);
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "get", "BREW"] {
            assert_eq!(refused(method, "http://a.org/", &[("host", "a.org")]), 403, "{method}");
        }
        assert!(judged("HEAD", "http://a.org/", &[("host", "a.org")]).is_ok());
    }

    #[test]
    fn a_name_or_a_password_in_a_url_is_refused() {
        assert_eq!(refused("GET", "http://a.org@b.org/", &[("host", "b.org")]), 403);
        assert_eq!(refused("GET", "http://u:p@a.org/", &[("host", "a.org")]), 403);
    }

    #[test]
    fn the_header_must_mean_the_host_of_the_url() {
        assert_eq!(refused("GET", "http://a.org/", &[]), 400);
        assert_eq!(
            refused("GET", "http://a.org/", &[("host", "a.org"), ("host", "a.org")]),
            400
        );
        for host in ["b.org", "a.org:8080", "a.org.", "", "a.org@a.org", " a.org"] {
            assert_eq!(refused("GET", "http://a.org/", &[("host", host)]), 403, "{host}");
        }
        assert_eq!(refused("GET", "http://a.org:8080/", &[("host", "a.org")]), 403);
        assert_eq!(refused("CONNECT", "a.org:443", &[("host", "b.org:443")]), 403);
        assert_eq!(refused("CONNECT", "a.org:443", &[("host", "a.org:444")]), 403);
    }

    #[test]
    fn a_body_is_refused_however_it_is_announced() {
        let with = |name, value| judged("GET", "http://a.org/", &[("host", "a.org"), (name, value)]);
        assert_eq!(with("content-length", "1").unwrap_err().0, 403);
        assert_eq!(with("transfer-encoding", "chunked").unwrap_err().0, 403);
        assert!(with("content-length", "0").is_ok());
        assert_eq!(
            refused("CONNECT", "a.org:443", &[("host", "a.org"), ("content-length", "4")]),
            403
        );
    }

    #[test]
    fn the_host_gets_only_what_is_meant_for_it() {
        let from = request(
            "GET",
            "http://A.org:8080/x?y",
            &[
                ("host", "A.org:8080"),
                ("connection", "close, X-Mine, host"),
                ("x-mine", "1"),
                ("x-theirs", "2"),
                ("keep-alive", "5"),
                ("proxy-connection", "keep-alive"),
                ("proxy-authorization", "secret"),
                ("te", "trailers"),
                ("upgrade", "websocket"),
                ("expect", "100-continue"),
            ],
        );
        let sent = for_host(
            from,
            &wanted(&request("GET", "http://a.org:8080/", &[("host", "a.org:8080")])).unwrap(),
            (),
        );
        assert_eq!(sent.uri(), "/x?y");
        let mut headers: Vec<String> = sent
            .headers()
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        headers.sort();
        assert_eq!(headers, ["host: a.org:8080", "via: 1.1 seatrial", "x-theirs: 2"]);
    }
}
