//! The rules of frames, and what happens to whoever breaks them.

use crate::support::{Proxy, dns, host};

fn proxy() -> Proxy {
    Proxy::start("--deadline-s 60 --resolver 127.0.0.1:1")
}

/// How it ends after these bytes.
fn after(bytes: &[&[u8]]) -> i32 {
    let mut proxy = proxy();
    for bytes in bytes {
        proxy.raw(bytes);
    }
    proxy.end().0
}

const OPEN: &[u8] = b"O\0\0\0\x01\0\0\0\0";

#[test]
fn frames_that_are_none_end_everything() {
    assert_eq!(after(&[]), 0);
    assert_eq!(after(&[OPEN]), 0);
    for wrong in [
        b"GET / HTTP/1.1\r\n\r\n".as_slice(),
        b"Z\0\0\0\x01\0\0\0\0",
        b"D\0\0\0\x01\0\0\x80\x01",
        b"D\0\0\0\x01\xff\xff\xff\xff",
        b"F\0\0\0\x01\0\0\0\x01x",
        b"W\0\0\0\x01\0\0\0\x01x",
        b"D\0\0\0\x01\0\0\0\x05hell",
        b"D\0\0",
    ] {
        assert_eq!(after(&[OPEN, wrong]), 96, "{wrong:?}");
    }
}

#[test]
fn connections_that_are_not_there_or_not_new_end_everything() {
    assert_eq!(after(&[b"D\0\0\0\x01\0\0\0\0"]), 96);
    assert_eq!(after(&[OPEN, b"X\0\0\0\x02\0\0\0\0"]), 96);
    assert_eq!(after(&[OPEN, OPEN]), 96);
    assert_eq!(after(&[b"O\0\0\0\x05\0\0\0\0", OPEN]), 96);
    assert_eq!(after(&[OPEN, b"X\0\0\0\x01\0\0\0\0", OPEN]), 96);
    assert_eq!(after(&[OPEN, b"F\0\0\0\x01\0\0\0\0", b"D\0\0\0\x01\0\0\0\x01x"]), 96);
    assert_eq!(after(&[OPEN, b"W\0\0\0\x01\0\0\0\x04\0\0\0\x01"]), 96);
}

#[test]
fn frames_that_cross_the_end_of_their_connection_mean_nothing() {
    let mut proxy = proxy();
    let id = proxy.open();
    proxy.abort(id);
    proxy.send(id, b"late");
    proxy.frame(b'W', id, &[0, 0, 0, 1]);
    proxy.finish(id);
    proxy.abort(id);
    // It still serves.
    assert!(
        proxy
            .ask("GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n")
            .starts_with("HTTP/1.1 403 ")
    );
    assert_eq!(proxy.end().0, 0);
}

#[test]
fn more_data_than_may_be_sent_ends_everything() {
    // The next request is not read before this one is answered, and it never is.
    let host = host::silent();
    let dns = dns::serve(&[("a.test", &[&["127.0.0.1"]])]);
    let name = format!("a.test:{}", host.port());
    let mut proxy = Proxy::start(&format!(
        "--deadline-s 60 --allow {name} --also 127.0.0.1 --resolver {}",
        dns.at
    ));
    let id = proxy.open();
    proxy.send(
        id,
        format!("GET http://{name}/ HTTP/1.1\r\nHost: {name}\r\n\r\n").as_bytes(),
    );
    proxy.send(id, &[b'x'; 3 * 262_144]);
    let (code, _) = proxy.ended();
    assert_eq!(code, 96);
}

#[test]
fn no_more_is_sent_than_may_be() {
    let host = host::answering(|_| host::ok(&"x".repeat(1_000_000)));
    let dns = dns::serve(&[("a.test", &[&["127.0.0.1"]])]);
    let name = format!("a.test:{}", host.port());
    let mut proxy = Proxy::start(&format!(
        "--deadline-s 60 --allow {name} --also 127.0.0.1 --resolver {}",
        dns.at
    ));
    proxy.generous = false;
    let stuck = proxy.open();
    proxy.send(
        stuck,
        format!("GET http://{name}/ HTTP/1.1\r\nHost: {name}\r\n\r\n").as_bytes(),
    );
    proxy.until("a full window", |seen| {
        seen.get(&stuck).is_some_and(|seen| seen.data.len() >= 262_144)
    });
    // Another connection is not held up, and when it is served all that could have come has.
    assert!(
        proxy
            .ask("GET http://b.test/ HTTP/1.1\r\nHost: b.test\r\n\r\n")
            .starts_with("HTTP/1.1 403 ")
    );
    assert_eq!(proxy.of(stuck).data.len(), 262_144);
    proxy.frame(b'W', stuck, &1000_u32.to_be_bytes());
    proxy.until("1,000 bytes more", |seen| seen[&stuck].data.len() >= 263_144);
    assert_eq!(proxy.of(stuck).data.len(), 263_144);
    proxy.abort(stuck);
    let (code, lines) = proxy.end();
    assert_eq!(code, 0);
    assert!(lines.iter().any(|line| line["verdict"] == "failed"), "{lines:?}");
}

#[test]
fn what_is_taken_is_given_back_so_that_a_long_upload_goes_through() {
    let host = host::echo();
    let dns = dns::serve(&[("a.test", &[&["127.0.0.1"]])]);
    let name = format!("a.test:{}", host.port());
    let mut proxy = Proxy::start(&format!(
        "--deadline-s 60 --allow {name} --also 127.0.0.1 --resolver {}",
        dns.at
    ));
    let id = proxy.connect(&name).unwrap();
    let before = proxy.of(id).credit;
    let (mut sent, total) = (0, 4_000_000_u64);
    while sent < total {
        let piece = 32_000_u64.min(total - sent);
        proxy.until("credit", |seen| {
            seen[&id].credit - before + 262_144 >= sent + piece + 1000
        });
        proxy.send(id, &vec![b'x'; usize::try_from(piece).unwrap()]);
        sent += piece;
    }
    proxy.finish(id);
    assert_eq!(proxy.all(id).len() as u64, total);
    assert!(proxy.of(id).credit <= total + 262_144);
    assert_eq!(proxy.verdicts(), ["allowed 200"]);
}
