//! What hosts may do to us and, through us, to whoever asks.

use crate::support::{Proxy, dns, host, parts};

fn proxy_for(port: u16, more: &str) -> (Proxy, String, dns::Dns) {
    let dns = dns::serve(&[("a.test", &[&["127.0.0.1"]]), ("evil.test", &[&["127.0.0.1"]])]);
    let proxy = Proxy::start(&format!(
        "--deadline-s 60 --allow a.test:{port} --also 127.0.0.0/8 --resolver {} {more}",
        dns.at
    ));
    (proxy, format!("a.test:{port}"), dns)
}

#[test]
fn a_redirection_goes_back_and_is_not_followed() {
    let elsewhere = host::of("elsewhere");
    let to = format!("http://evil.test:{}/", elsewhere.port());
    let answer = format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
    let host = host::answering(move |_| answer.clone().into_bytes());
    let (mut proxy, name, dns) = proxy_for(host.port(), "");
    let answer = proxy.ask(&format!("GET http://{name}/ HTTP/1.1\r\nHost: {name}\r\n\r\n"));
    assert_eq!(parts(&answer).0, 302);
    assert!(answer.contains(&format!("location: {to}\r\n")), "{answer}");
    assert!(elsewhere.heads().is_empty());
    assert_eq!(dns.asked("evil.test"), 0);
    // Followed by whoever asked, it is a request like any other.
    assert_eq!(proxy.get(&format!("evil.test:{}", elsewhere.port()), "/").0, 403);
    assert_eq!(
        proxy.verdicts(),
        ["allowed 302", "refused 403 the host is not on the list"]
    );
}

#[test]
fn what_is_between_neighbours_does_not_pass() {
    let host = host::answering(|_| {
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: x-mine\r\nX-Mine: 1\r\nTrailer: x-late\r\n\
          Proxy-Authenticate: Basic\r\nKeep-Alive: 5\r\nX-Theirs: 2\r\n\r\n5\r\nhello\r\n0\r\nX-Late: 1\r\n\r\n"
            .to_vec()
    });
    let (mut proxy, name, _dns) = proxy_for(host.port(), "");
    let answer = proxy.ask(&format!(
        "GET http://{name}/ HTTP/1.1\r\nHost: {name}\r\nTE: trailers\r\n\r\n"
    ));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert_eq!(body, "5\r\nhello\r\n0\r\n\r\n");
    let mut lines: Vec<&str> = head.split("\r\n").collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "HTTP/1.1 200 OK",
            "transfer-encoding: chunked",
            "via: 1.1 seatrial",
            "x-theirs: 2"
        ]
    );
    let (_, lines) = proxy.end();
    assert_eq!(
        lines[0]["sha256"],
        "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    );
    assert_eq!(lines[0]["bytes_down"], 5);
}

#[test]
fn an_answer_that_is_none_is_the_hosts_trouble() {
    let answers = [
        "",
        "hello\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX : y\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    ];
    for answer in answers {
        let host = host::answering(move |_| answer.as_bytes().to_vec());
        let (mut proxy, name, _dns) = proxy_for(host.port(), "");
        assert_eq!(proxy.get(&name, "/").0, 502, "{answer:?}");
        assert!(proxy.verdicts()[0].starts_with("failed 502 "), "{answer:?}");
    }
    let host = host::answering(|_| format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "y".repeat(1_000_000)).into_bytes());
    let (mut proxy, name, _dns) = proxy_for(host.port(), "");
    assert_eq!(proxy.get(&name, "/").0, 502);
}

#[test]
fn an_answer_that_breaks_off_is_not_taken_for_a_whole_one() {
    let host = host::answering(|_| b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf".to_vec());
    let (mut proxy, name, _dns) = proxy_for(host.port(), "");
    // 100 bytes are promised, and the connection ends before, perhaps before anything of it went on.
    let id = proxy.open();
    proxy.send(
        id,
        format!("GET http://{name}/ HTTP/1.1\r\nHost: {name}\r\n\r\n").as_bytes(),
    );
    let answer = proxy.all(id);
    assert!(!answer.contains("\r\n\r\nhalf\r\n") && answer.len() < 160, "{answer}");
    let (_, lines) = proxy.end();
    assert_eq!(lines[0]["verdict"], "failed");
    assert_eq!(lines[0]["sha256"], serde_json::Value::Null);
}

#[test]
fn a_host_that_begins_no_answer_is_given_up() {
    let host = host::silent();
    let (mut proxy, name, _dns) = proxy_for(host.port(), "--answer-s 1");
    assert_eq!(proxy.get(&name, "/").0, 504);
    assert_eq!(
        proxy.verdicts(),
        ["failed 504 the host did not begin an answer in time"]
    );
}

#[test]
fn a_connection_that_carries_nothing_is_cut() {
    let host = host::silent();
    let (mut proxy, name, _dns) = proxy_for(host.port(), "--idle-s 3");
    let tunnel = proxy.connect(&name).unwrap();
    let mute = proxy.open();
    assert_eq!(proxy.all(tunnel), "");
    assert_eq!(proxy.all(mute), "");
    let verdicts = proxy.verdicts();
    assert!(
        verdicts.len() == 1 && verdicts[0].starts_with("failed 200 "),
        "{verdicts:?}"
    );
}
