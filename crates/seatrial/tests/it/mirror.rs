//! A small world on the dev Engine's bridge: a mirror and a name server in a network namespace of the
//! test's own. Nothing of it is reached from elsewhere, and nothing goes on beyond the test.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead as _, BufReader, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use sha2::{Digest as _, Sha256};

use rustls::{ServerConnection, StreamOwned};
use seatrial_store::testing::Certificates;

use crate::{fake, support::docker};

mod packages;

/// Size of `/big`.
pub(crate) const BIG: usize = 50 << 20;

/// Runs as long as it lives.
pub(crate) struct Mirror {
    namespace: String,
    /// Where everything in it listens.
    pub(crate) address: Ipv4Addr,
    /// Of the bridge: the Engine's host.
    pub(crate) gateway: Ipv4Addr,
    /// Whoever signed what it shows behind TLS, PEM.
    pub(crate) authority: String,
    _certificates: tempfile::TempDir,
}

impl Mirror {
    /// Makes the namespace, plugs it into the bridge, and listens: HTTP at 80 and 25, the same behind TLS at 443,
    /// names at 53.
    pub(crate) fn start() -> Self {
        let bridge: serde_json::Value = serde_json::from_str(&docker(&["network", "inspect", "bridge"])).unwrap();
        let gateway: Ipv4Addr = bridge[0]["IPAM"]["Config"][0]["Gateway"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap();
        let name = bridge[0]["Options"]["com.docker.network.bridge.name"].as_str().unwrap();
        let [a, b, c, _] = gateway.octets();
        // The Engine counts from below.
        let address = Ipv4Addr::new(a, b, c, 250);
        let folder = tempfile::tempdir().unwrap();
        let certificates = Certificates::make(folder.path()).unwrap();
        let mirror = Self {
            authority: std::fs::read_to_string(&certificates.ca).unwrap(),
            _certificates: folder,
            namespace: format!("{name}-mirror"),
            address,
            gateway,
        };
        let (namespace, link) = (mirror.namespace.as_str(), format!("{name}-m"));
        let _ = ip(&["netns", "del", namespace]); // of a test that was killed
        let _ = ip(&["link", "del", &link]);
        for step in [
            &["netns", "add", namespace][..],
            &[
                "link", "add", &link, "type", "veth", "peer", "name", "eth0", "netns", namespace,
            ],
            &["link", "set", &link, "master", name, "up"],
            &[
                "-n",
                namespace,
                "address",
                "add",
                &format!("{address}/24"),
                "dev",
                "eth0",
            ],
            &["-n", namespace, "link", "set", "eth0", "up"],
            &["-n", namespace, "link", "set", "lo", "up"],
        ] {
            assert!(ip(step), "ip {step:?}");
        }
        let files = Arc::new(files(gateway));
        let (web, mail, sealed, names) = within(namespace, move || {
            (
                TcpListener::bind((address, 80)).unwrap(),
                TcpListener::bind((address, 25)).unwrap(),
                TcpListener::bind((address, 443)).unwrap(),
                UdpSocket::bind((address, 53)).unwrap(),
            )
        });
        for listener in [web, mail] {
            let files = files.clone();
            thread::spawn(move || serve(&listener, |socket| one(socket, &files)));
        }
        let tls = fake::tls(&certificates);
        thread::spawn(move || {
            serve(&sealed, |socket| {
                let tls = ServerConnection::new(tls.clone()).unwrap();
                one(StreamOwned::new(tls, socket), &files)
            });
        });
        thread::spawn(move || answer(&names, address, gateway));
        mirror
    }

    /// A policy with a way out to it for the stages that say so.
    pub(crate) fn policy(&self, build: &str, run: &str) -> String {
        format!(
            "version = 1\n[bases]\nallow = [\"docker.io/library/*\", \"docker.io/seatrial-test/*\"]\n\
             [analysis.levels]\nST003 = \"off\"\n[network]\nbuild = \"{build}\"\nrun = \"{run}\"\n\
             [egress]\nallow = [\"mirror.test\", \"gateway.test\", \"meta.test\", \"rebind.test\", \"six.test\"]\n\
             also = [\"{0}\"]\nresolver = \"{0}:53\"\n",
            self.address
        )
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        let _ = ip(&["netns", "del", &self.namespace]);
    }
}

fn ip(args: &[&str]) -> bool {
    let output = Command::new("ip").args(args).output().unwrap();
    output.status.success()
}

/// Sockets belong to the namespace in which they were made, whoever uses them.
fn within<T: Send + 'static>(namespace: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let file = File::open(format!("/run/netns/{namespace}")).unwrap();
    thread::spawn(move || {
        move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), Some(LinkNameSpaceType::Network)).unwrap();
        work()
    })
    .join()
    .unwrap()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What it has, by path.
fn files(gateway: Ipv4Addr) -> BTreeMap<String, Vec<u8>> {
    let (name, wheel) = ("tiny-1.0-py3-none-any.whl", packages::wheel());
    let page = format!(
        "<!DOCTYPE html><a href=\"/packages/{name}#sha256={}\">{name}</a>\n",
        sha256(&wheel)
    );
    let package = packages::deb();
    let packages = format!(
        "Package: tiny\nVersion: 1.0\nArchitecture: all\nMaintainer: nobody <nobody@example.org>\n\
         Description: a file\nFilename: ./tiny_1.0_all.deb\nSize: {}\nSHA256: {}\n\n",
        package.len(),
        sha256(&package)
    );
    let release = format!(
        "Date: Thu, 26 Nov 2026 00:00:00 UTC\nSHA256:\n {} {} Packages\n",
        sha256(packages.as_bytes()),
        packages.len()
    );
    BTreeMap::from([
        ("/hello".to_owned(), b"hello\n".to_vec()),
        ("/simple/tiny/".to_owned(), page.into_bytes()),
        (format!("/packages/{name}"), wheel),
        ("/apt/./Packages".to_owned(), packages.into_bytes()),
        ("/apt/./Release".to_owned(), release.into_bytes()),
        ("/apt/./tiny_1.0_all.deb".to_owned(), package),
        ("/redirect".to_owned(), format!("http://{gateway}/").into_bytes()),
        ("/redirect-name".to_owned(), b"http://gateway.test/".to_vec()),
    ])
}

fn serve(listener: &TcpListener, one: impl Fn(TcpStream) -> std::io::Result<()> + Sync) {
    thread::scope(|scope| {
        for socket in listener.incoming().flatten() {
            let one = &one;
            scope.spawn(move || {
                let _ = one(socket); // who asked may be gone
            });
        }
    });
}

fn one(socket: impl Read + Write, files: &BTreeMap<String, Vec<u8>>) -> std::io::Result<()> {
    let mut socket = BufReader::new(socket);
    let mut first = String::new();
    socket.read_line(&mut first)?;
    let mut line = String::from("more");
    while !line.trim_end().is_empty() {
        line.clear();
        socket.read_line(&mut line)?;
    }
    let socket = socket.get_mut();
    let path = first.split(' ').nth(1).unwrap_or_default();
    let head = |status: &str, more: &str, length: usize| {
        format!("HTTP/1.1 {status}\r\n{more}Content-Length: {length}\r\nConnection: close\r\n\r\n")
    };
    if path == "/big" {
        socket.write_all(head("200 OK", "", BIG).as_bytes())?;
        let piece = vec![b'x'; 1 << 16];
        for _ in 0..BIG / piece.len() {
            socket.write_all(&piece)?;
        }
        return Ok(());
    }
    match files.get(path) {
        Some(to) if path.starts_with("/redirect") => {
            let location = format!("Location: {}\r\n", String::from_utf8_lossy(to));
            socket.write_all(head("302 Found", &location, 0).as_bytes())
        }
        Some(content) => {
            let kind = if path.starts_with("/simple/") {
                "Content-Type: text/html\r\n"
            } else {
                ""
            };
            socket.write_all(head("200 OK", kind, content.len()).as_bytes())?;
            socket.write_all(content)
        }
        None => socket.write_all(head("404 Not Found", "", 0).as_bytes()),
    }
}

/// Answers questions for names: `mirror.test` here, `gateway.test` the Engine's host, `meta.test` where clouds keep
/// their secrets, `rebind.test` here at first and the Engine's host from then on. All else does not exist.
fn answer(socket: &UdpSocket, here: Ipv4Addr, gateway: Ipv4Addr) {
    let rebound = AtomicUsize::new(0);
    let mut packet = [0; 512];
    while let Ok((size, from)) = socket.recv_from(&mut packet) {
        let Some(question) = packet.get(12..size) else { continue };
        let Some(end) = question.iter().position(|byte| *byte == 0) else {
            continue;
        };
        let name = String::from_utf8_lossy(&question[1.min(end)..end]).to_ascii_lowercase();
        let name: String = name.chars().map(|c| if c.is_control() { '.' } else { c }).collect();
        let is_address = question.get(end + 1..end + 3) == Some(&[0, 1]);
        let address = match name.as_str() {
            "mirror.test" => Some(here),
            "gateway.test" => Some(gateway),
            "meta.test" => Some(Ipv4Addr::new(169, 254, 169, 254)),
            "rebind.test" if !is_address => Some(here),
            "rebind.test" if rebound.fetch_add(1, Ordering::Relaxed) == 0 => Some(here),
            "rebind.test" => Some(gateway),
            _ => None,
        };
        let answers = u8::from(address.is_some() && is_address);
        let mut reply = packet[..2].to_vec();
        reply.extend([
            0x84,
            if address.is_some() { 0x80 } else { 0x83 },
            0,
            1,
            0,
            answers,
            0,
            0,
            0,
            0,
        ]);
        reply.extend(&question[..end + 5]);
        if let Some(address) = address.filter(|_| is_address) {
            // Valid for no time at all: each request asks anew.
            reply.extend([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
            reply.extend(address.octets());
        }
        let _ = socket.send_to(&reply, from);
    }
}
