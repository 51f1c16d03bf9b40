//! Which requests are served, and which are refused before anything is looked up.

use crate::support::{Proxy, dns, host, parts};

fn proxy_for(port: u16, more: &str) -> (Proxy, dns::Dns) {
    let dns = dns::serve(&[("a.test", &[&["127.0.0.1"]]), ("b.test", &[&["127.0.0.1"]])]);
    let proxy = Proxy::start(&format!(
        "--deadline-s 60 --allow a.test:{port} --also 127.0.0.0/8 --resolver {} {more}",
        dns.at
    ));
    (proxy, dns)
}

#[test]
fn a_listed_host_answers_and_the_line_tells_what_came() {
    let host = host::of("hello\n");
    let (mut proxy, _dns) = proxy_for(host.port(), "");
    let name = format!("a.test:{}", host.port());
    let id = proxy.open();
    proxy.send(
        id,
        format!("GET http://{name}/x?y HTTP/1.1\r\nHost: {name}\r\nConnection: x-mine\r\nX-Mine: 1\r\nUpgrade: h2c\r\nProxy-Authorization: secret\r\nX-Theirs: 2\r\n\r\n")
            .as_bytes(),
    );
    proxy.finish(id);
    assert_eq!(parts(&proxy.all(id)), (200, "hello\n".to_owned()));
    let head = format!("GET /x?y HTTP/1.1\r\nhost: {name}\r\nx-theirs: 2\r\nvia: 1.1 seatrial\r\n\r\n");
    assert_eq!(host.heads(), [head.as_str()]);
    let (code, lines) = proxy.end();
    assert_eq!(code, 0);
    assert_eq!(
        lines,
        [serde_json::json!({
            "n": 1, "host": "a.test", "port": host.port(), "method": "GET", "bytes_up": head.len(), "bytes_down": 6,
            "sha256": "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
            "verdict": "allowed", "reason": "", "status": 200,
        })]
    );
}

#[test]
fn one_connection_takes_several_requests() {
    let host = host::of("x");
    let (mut proxy, _dns) = proxy_for(host.port(), "");
    let name = format!("a.test:{}", host.port());
    let request = format!("GET http://{name}/ HTTP/1.1\r\nHost: {name}\r\n\r\n");
    let answer = proxy.ask(&request.repeat(3));
    assert_eq!(answer.matches("HTTP/1.1 200 OK\r\n").count(), 3, "{answer}");
    assert_eq!(proxy.verdicts(), ["allowed 200"; 3]);
}

#[test]
fn a_head_has_no_body_and_no_digest() {
    let host = host::answering(|_| b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n".to_vec());
    let (mut proxy, _dns) = proxy_for(host.port(), "");
    let name = format!("a.test:{}", host.port());
    let answer = proxy.ask(&format!("HEAD http://{name}/ HTTP/1.1\r\nHost: {name}\r\n\r\n"));
    assert!(
        answer.contains("content-length: 1000\r\n") && answer.ends_with("\r\n\r\n"),
        "{answer}"
    );
    let (_, lines) = proxy.end();
    assert_eq!(lines[0]["verdict"], "allowed");
    assert_eq!(lines[0]["sha256"], serde_json::Value::Null);
}

#[test]
fn a_tunnel_carries_both_ways_until_both_sides_have_said_all() {
    let host = host::echo();
    let (mut proxy, _dns) = proxy_for(host.port(), "");
    let name = format!("a.test:{}", host.port());
    let id = proxy.open();
    // What comes right behind the request belongs to the tunnel.
    proxy.send(
        id,
        format!("CONNECT {name} HTTP/1.1\r\nHost: {name}\r\n\r\nearly ").as_bytes(),
    );
    proxy.hear(id, "early ");
    proxy.send(id, b"late");
    proxy.finish(id);
    let answer = proxy.all(id);
    assert_eq!(answer, "HTTP/1.1 200 OK\r\n\r\nearly late");
    assert!(proxy.of(id).finished);
    let (_, lines) = proxy.end();
    assert_eq!(lines[0]["method"], "CONNECT");
    assert_eq!(
        (&lines[0]["bytes_up"], &lines[0]["bytes_down"]),
        (&10.into(), &10.into())
    );
    assert_eq!(
        (&lines[0]["verdict"], &lines[0]["sha256"]),
        (&"allowed".into(), &serde_json::Value::Null)
    );
}

#[test]
fn clients_of_the_old_version_are_served() {
    // Python's until 3.12, and so pip's, asks for its tunnels like this.
    let host = host::echo();
    let (mut proxy, _dns) = proxy_for(host.port(), "");
    let id = proxy.open();
    proxy.send(
        id,
        format!("CONNECT a.test:{} HTTP/1.0\r\n\r\n", host.port()).as_bytes(),
    );
    proxy.hear(id, "\r\n\r\n");
    proxy.send(id, b"hello");
    proxy.finish(id);
    let answer = proxy.all(id);
    assert!(
        answer.starts_with("HTTP/1.0 200 OK\r\n") && answer.ends_with("\r\n\r\nhello"),
        "{answer}"
    );
    let plain = host::of("x");
    let (mut proxy, _dns) = proxy_for(plain.port(), "");
    let answer = proxy.ask(&format!("GET http://a.test:{}/ HTTP/1.0\r\n\r\n", plain.port()));
    assert!(
        answer.starts_with("HTTP/1.0 200 OK\r\n") && answer.ends_with("\r\n\r\nx"),
        "{answer}"
    );
}

#[test]
fn what_is_not_listed_is_refused_without_a_look_up() {
    let host = host::of("x");
    let port = host.port();
    let (mut proxy, dns) = proxy_for(port, "--allow c.test");
    let (status, why) = proxy.get(&format!("b.test:{port}"), "/");
    assert_eq!(
        (status, why.as_str()),
        (403, "refused by the proxy: the host is not on the list.\n")
    );
    for name in [
        format!("x.a.test:{port}"),
        "a.test".to_owned(),
        format!("127.0.0.1:{port}"),
        format!("[::ffff:127.0.0.1]:{port}"),
        format!("2130706433:{port}"),
        format!("0x7f.1:{port}"),
        format!("a.test.:{port}"),
    ] {
        assert_eq!(proxy.get(&name, "/").0, 403, "{name}");
        if name.contains(':') {
            assert_eq!(proxy.connect(&name), Err(403), "{name}");
        }
    }
    for name in ["a.test:25", "a.test:443", "c.test:25", "c.test:80"] {
        assert_eq!(proxy.connect(name), Err(403), "{name}");
    }
    assert_eq!(proxy.get("c.test:443", "/").0, 403);
    assert_eq!((dns.asked("a.test"), dns.asked("c.test")), (0, 0));
    assert!(host.heads().is_empty());
    assert!(
        proxy
            .verdicts()
            .iter()
            .all(|verdict| verdict.starts_with("refused 403 "))
    );
}

#[test]
fn only_get_and_head_of_http_go_without_a_tunnel() {
    let host = host::of("x");
    let (mut proxy, _dns) = proxy_for(host.port(), "");
    let name = format!("a.test:{}", host.port());
    let mut status = |line: &str| parts(&proxy.ask(&format!("{line} HTTP/1.1\r\nHost: {name}\r\n\r\n"))).0;
    assert_eq!(status(&format!("POST http://{name}/")), 403);
    assert_eq!(status(&format!("DELETE http://{name}/")), 403);
    assert_eq!(status(&format!("GET https://{name}/")), 403);
    assert_eq!(status(&format!("GET ftp://{name}/")), 403);
    assert_eq!(status("GET /"), 400);
    assert_eq!(status("OPTIONS *"), 400);
    assert!(host.heads().is_empty());
    assert_eq!(proxy.verdicts().len(), 6);
}

#[test]
fn a_request_that_can_be_read_in_two_ways_reaches_nobody() {
    let host = host::of("x");
    let (mut proxy, _dns) = proxy_for(host.port(), "");
    let name = format!("a.test:{}", host.port());
    let inner = format!("GET http://{name}/inner HTTP/1.1\r\nHost: {name}\r\n\r\n");
    let length = inner.len();
    let mut status = |head: &str| {
        let answer = proxy.ask(&format!("GET http://{name}/ HTTP/1.1\r\n{head}\r\n\r\n{inner}"));
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{head}: {answer}");
        parts(&answer).0
    };
    let host_line = format!("Host: {name}");
    assert_eq!(
        status(&format!("{host_line}\r\nContent-Length: 0\r\nContent-Length: {length}")),
        400
    );
    assert_eq!(
        status(&format!(
            "{host_line}\r\nContent-Length: {length}\r\nTransfer-Encoding: chunked"
        )),
        403
    );
    assert_eq!(
        status(&format!(
            "{host_line}\r\nTransfer-Encoding: chunked\r\nContent-Length: 0"
        )),
        403
    );
    assert_eq!(status(&format!("{host_line}\r\nTransfer-Encoding: chunked, x")), 400);
    assert_eq!(status(&format!("{host_line}\r\nTransfer-Encoding : chunked")), 400);
    assert_eq!(status(&format!("{host_line}\r\nContent-Length: +0")), 400);
    assert_eq!(status(&format!("{host_line}\r\nContent-Length: {length}")), 403);
    assert_eq!(status(&format!("{host_line}\r\n folded: x")), 400);
    assert_eq!(status("Host: b.test"), 403);
    assert_eq!(status(&format!("{host_line}\r\nHost: b.test")), 400);
    assert_eq!(status("X: y"), 400);
    assert_eq!(host.heads(), Vec::<String>::new());
    assert!(proxy.verdicts().iter().all(|verdict| verdict.starts_with("refused 40")));
}

#[test]
fn a_name_and_a_password_in_a_url_are_refused() {
    let host = host::of("x");
    let (mut proxy, _dns) = proxy_for(host.port(), "");
    let name = format!("a.test:{}", host.port());
    for user in ["b.test@", "u:p@", "@"] {
        let answer = proxy.ask(&format!("GET http://{user}{name}/ HTTP/1.1\r\nHost: {name}\r\n\r\n"));
        let status = parts(&answer).0;
        assert!(matches!(status, 400 | 403), "{user}: {answer}");
        let answer = proxy.ask(&format!("CONNECT {user}{name} HTTP/1.1\r\nHost: {name}\r\n\r\n"));
        assert!(matches!(parts(&answer).0, 400 | 403), "{user}: {answer}");
    }
    assert!(host.heads().is_empty());
    let (_, lines) = proxy.end();
    assert!(!format!("{lines:?}").contains("u:p"), "{lines:?}");
}

#[test]
fn what_is_no_http_is_answered_as_such_and_told_in_a_line_that_cannot_be_forged() {
    let (mut proxy, _dns) = proxy_for(1, "");
    assert_eq!(parts(&proxy.ask("\u{16}\u{3}\u{1} hello\r\n\r\n")).0, 400);
    let long = format!("GET http://a.test:1/ HTTP/1.1\r\nX: {}\r\n\r\n", "y".repeat(70_000));
    assert_eq!(parts(&proxy.ask(&long)).0, 431);
    let many = format!("GET http://a.test:1/ HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(200));
    assert_eq!(parts(&proxy.ask(&many)).0, 431);
    let quoted = "GET http://a.test:1\"}{\"host\":\"x/ HTTP/1.1\r\nHost: a.test:1\r\n\r\n";
    assert!(matches!(parts(&proxy.ask(quoted)).0, 400 | 403));
    let (code, lines) = proxy.end();
    assert_eq!(code, 0);
    assert!(
        lines.len() == 4 && lines.iter().all(|line| line["verdict"] == "refused"),
        "{lines:?}"
    );
}
