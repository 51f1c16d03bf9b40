//! Names and the addresses behind them.

use std::slice;

use crate::support::{Proxy, dns, host};

#[test]
fn every_address_of_a_name_is_judged_before_anything_is_connected() {
    let host = host::of("x");
    let port = host.port();
    let bad = [
        "127.0.0.1",
        "10.0.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "224.0.0.1",
        "192.0.2.1",
        "0.0.0.0",
        "::1",
        "::ffff:127.0.0.1",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::1",
        "fd00::1",
        "fe80::1",
        "2001:db8::1",
    ];
    let names: Vec<String> = (0..bad.len()).map(|nth| format!("n{nth}.test")).collect();
    let answers: Vec<&[&str]> = bad.iter().map(slice::from_ref).collect();
    let mut table: Vec<(&str, &[&[&str]])> = Vec::new();
    for (name, answer) in names.iter().zip(&answers) {
        table.push((name, slice::from_ref(answer)));
    }
    // A public address in front changes nothing. It is not connected to: that would leave this machine.
    table.push(("mixed.test", &[&["198.18.0.1", "127.0.0.1"]]));
    let dns = dns::serve(&table);
    let allow: String = table
        .iter()
        .map(|(name, _)| format!(" --allow {name}:{port}"))
        .collect();
    let mut proxy = Proxy::start(&format!(
        "--deadline-s 60 --resolver {} --also 198.18.0.1{allow}",
        dns.at
    ));
    for (name, answers) in &table {
        let (status, why) = proxy.get(&format!("{name}:{port}"), "/");
        assert_eq!(status, 403, "{answers:?}: {why}");
        assert!(
            why.starts_with("refused by the proxy: the host's address belongs to "),
            "{why}"
        );
        assert_eq!(proxy.connect(&format!("{name}:{port}")), Err(403), "{answers:?}");
    }
    assert!(host.heads().is_empty());
    assert_eq!(proxy.verdicts().len(), 2 * table.len());
}

#[test]
fn the_address_that_was_judged_is_the_one_that_is_connected_to() {
    // Good first, then bad. Whoever looks up twice connects to the second.
    let good = host::answering_at("127.0.0.2:0", |_| host::ok("good"));
    let port = good.port();
    let trap = host::answering_at(&format!("127.0.0.1:{port}"), |_| host::ok("trap"));
    let dns = dns::serve(&[("re.test", &[&["127.0.0.2"], &["127.0.0.1"]])]);
    let mut proxy = Proxy::start(&format!(
        "--deadline-s 60 --resolver {} --also 127.0.0.2 --allow re.test:{port}",
        dns.at
    ));
    let name = format!("re.test:{port}");
    assert_eq!(proxy.get(&name, "/"), (200, "good".to_owned()));
    // One question for each kind of address.
    assert_eq!(dns.asked("re.test"), 2);
    assert_eq!(proxy.get(&name, "/").0, 403);
    assert_eq!(proxy.connect(&name), Err(403));
    assert_eq!(dns.asked("re.test"), 6);
    assert!(trap.heads().is_empty());
}

#[test]
fn a_name_without_an_address_and_a_port_without_a_listener_are_the_hosts_trouble() {
    let port = host::nobody();
    let dns = dns::serve(&[("a.test", &[&["127.0.0.1"]]), ("empty.test", &[&[]])]);
    let mut proxy = Proxy::start(&format!(
        "--deadline-s 60 --resolver {} --also 127.0.0.0/8 --allow *.test:{port}",
        dns.at
    ));
    for name in ["x.none.test", "empty.test", "a.test"] {
        assert_eq!(proxy.get(&format!("{name}:{port}"), "/").0, 502, "{name}");
        assert_eq!(proxy.connect(&format!("{name}:{port}")), Err(502), "{name}");
    }
    assert!(
        proxy
            .verdicts()
            .iter()
            .all(|verdict| verdict.starts_with("failed 502 "))
    );
}

#[test]
fn the_local_host_by_name_is_an_address_like_others() {
    let host = host::of("x");
    let dns = dns::serve(&[]);
    let port = host.port();
    let mut proxy = Proxy::start(&format!(
        "--deadline-s 60 --resolver {} --allow localhost:{port}",
        dns.at
    ));
    assert_eq!(proxy.get(&format!("localhost:{port}"), "/").0, 403);
    assert!(host.heads().is_empty());
}

#[test]
fn a_listed_address_is_judged_as_well() {
    let host = host::of("x");
    let name = format!("127.0.0.1:{}", host.port());
    let mut closed = Proxy::start(&format!("--deadline-s 60 --resolver 127.0.0.1:1 --allow {name}"));
    assert_eq!(closed.get(&name, "/").0, 403);
    let mut open = Proxy::start(&format!(
        "--deadline-s 60 --resolver 127.0.0.1:1 --allow {name} --also 127.0.0.1"
    ));
    assert_eq!(open.get(&name, "/"), (200, "x".to_owned()));
}
