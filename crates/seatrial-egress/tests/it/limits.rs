//! Bytes, requests, connections, time.

use crate::support::{Proxy, dns, host, parts};

fn proxy_for(port: u16, more: &str) -> (Proxy, String, dns::Dns) {
    let dns = dns::serve(&[("a.test", &[&["127.0.0.1"]])]);
    let proxy = Proxy::start(&format!(
        "--deadline-s 60 --allow a.test:{port} --also 127.0.0.0/8 --resolver {} {more}",
        dns.at
    ));
    (proxy, format!("a.test:{port}"), dns)
}

#[test]
fn a_body_beyond_the_limit_is_cut_before_it_is_over_it() {
    let host = host::answering(|_| host::ok(&"x".repeat(1_000_000)));
    let (mut proxy, name, _dns) = proxy_for(host.port(), "--max-bytes 100000");
    // It breaks off, perhaps before any of it went on.
    let answer = proxy.ask(&format!("GET http://{name}/ HTTP/1.1\r\nHost: {name}\r\n\r\n"));
    assert!(answer.len() < 100_200, "{}", answer.len());
    // Nothing is left for the next, not even for asking.
    let (status, why) = proxy.get(&name, "/");
    assert_eq!(
        (status, why.as_str()),
        (403, "refused by the proxy: the limit of bytes is reached.\n")
    );
    assert_eq!(host.heads().len(), 1);
    let (_, lines) = proxy.end();
    assert_eq!(
        (&lines[0]["verdict"], &lines[0]["reason"]),
        (&"refused".into(), &"the limit of bytes is reached".into())
    );
    assert_eq!(lines[0]["sha256"], serde_json::Value::Null);
    let down: u64 = lines.iter().map(|line| line["bytes_down"].as_u64().unwrap()).sum();
    assert!(down <= 100_000, "{down}");
}

#[test]
fn a_tunnel_beyond_the_limit_is_cut_both_ways() {
    let host = host::echo();
    let (mut proxy, name, _dns) = proxy_for(host.port(), "--max-connection-bytes 50000 --max-bytes 1000000");
    let id = proxy.connect(&name).unwrap();
    proxy.send(id, &[b'x'; 100_000]);
    let answer = proxy.all(id);
    assert!(answer.len() <= 50_000, "{}", answer.len());
    // The limit was this connection's.
    let next = proxy.connect(&name).unwrap();
    proxy.send(next, b"hello");
    proxy.hear(next, "hello");
    proxy.finish(next);
    proxy.all(next);
    let (_, lines) = proxy.end();
    assert_eq!(
        (&lines[0]["verdict"], &lines[1]["verdict"]),
        (&"refused".into(), &"allowed".into())
    );
    let carried = |line: &serde_json::Value| line["bytes_up"].as_u64().unwrap() + line["bytes_down"].as_u64().unwrap();
    assert!(carried(&lines[0]) <= 50_000, "{:?}", lines[0]);
}

#[test]
fn the_33rd_connection_is_told_so_and_one_that_ends_makes_room() {
    let host = host::of("x");
    let (mut proxy, name, _dns) = proxy_for(host.port(), "");
    let open: Vec<u32> = (0..32).map(|_| proxy.open()).collect();
    let request = format!("GET http://{name}/ HTTP/1.1\r\nHost: {name}\r\n\r\n");
    let surplus = proxy.ask(&request);
    assert_eq!(
        parts(&surplus),
        (429, "refused by the proxy: too many connections.\n".to_owned())
    );
    // Both ways in which one ends: the other side's, and its own.
    proxy.abort(open[0]);
    assert_eq!(parts(&proxy.ask(&request)).0, 200);
    proxy.finish(open[1]);
    proxy.all(open[1]);
    assert_eq!(parts(&proxy.ask(&request)).0, 200);
    assert_eq!(proxy.end().0, 0);
}

#[test]
fn requests_beyond_the_limit_are_told_so() {
    let host = host::of("x");
    let (mut proxy, name, _dns) = proxy_for(host.port(), "--max-requests 2");
    // What is refused counts as well: else asking would be free.
    assert_eq!(proxy.get("b.test", "/").0, 403);
    assert_eq!(proxy.get(&name, "/").0, 200);
    for _ in 0..100 {
        assert_eq!(proxy.get(&name, "/").0, 429);
    }
    assert_eq!(host.heads().len(), 1);
    let verdicts = proxy.verdicts();
    assert_eq!(verdicts[2], "refused 429 too many requests");
    assert_eq!(verdicts.len(), 66, "lines are bounded, whatever is asked");
}

#[test]
fn everything_ends_at_the_deadline_with_a_line_for_what_was_under_way() {
    let host = host::silent();
    let dns = dns::serve(&[("a.test", &[&["127.0.0.1"]])]);
    let mut proxy = Proxy::start(&format!(
        "--deadline-s 5 --allow a.test:{} --also 127.0.0.1 --resolver {}",
        host.port(),
        dns.at
    ));
    proxy.connect(&format!("a.test:{}", host.port())).unwrap();
    let (code, lines) = proxy.ended();
    assert_eq!(code, 124);
    assert_eq!((lines.len(), &lines[0]["verdict"]), (1, &"failed".into()));
}

#[test]
fn the_end_of_input_ends_everything_with_a_line_for_what_was_under_way() {
    let host = host::silent();
    let (mut proxy, name, _dns) = proxy_for(host.port(), "");
    proxy.connect(&name).unwrap();
    proxy.connect(&name).unwrap();
    let (code, lines) = proxy.end();
    assert_eq!((code, lines.len()), (0, 2));
}

#[test]
fn wrong_arguments_are_said() {
    let (code, lines) = Proxy::start("--deadline-s 1 --allow *").ended();
    assert_eq!((code, lines.len()), (2, 0));
}
