//! A Redis for one test: its own folder and port, gone with the test, also when it is killed.

use std::{
    io::{BufRead as _, BufReader},
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
};

/// A running server.
pub(super) struct Server {
    child: Child,
    pub(super) folder: tempfile::TempDir,
    pub(super) port: u16,
    settings: Vec<String>,
}

/// What a vault asks for.
pub(super) const DURABLE: [&str; 6] = [
    "--appendonly",
    "yes",
    "--appendfsync",
    "always",
    "--maxmemory-policy",
    "noeviction",
];

impl Server {
    pub(super) fn durable() -> Self {
        Self::start(&DURABLE)
    }

    pub(super) fn start(settings: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
        // Another process may take the port before the server does.
        for _ in 0..20 {
            let port = free_port();
            if let Some(child) = spawn(folder.path(), port, &settings) {
                return Self {
                    child,
                    folder,
                    port,
                    settings,
                };
            }
        }
        panic!("redis-server does not start");
    }

    /// With TLS on its only port, and a certificate for `localhost` by an issuer of its own.
    pub(super) fn start_tls() -> Self {
        let folder = tempfile::tempdir().unwrap();
        make_certificates(folder.path());
        let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        for _ in 0..20 {
            let port = free_port();
            let mut settings: Vec<String> = DURABLE.map(str::to_owned).to_vec();
            settings.extend(["--tls-port".into(), port.to_string()]);
            settings.extend(["--tls-cert-file".into(), file("server.pem")]);
            settings.extend(["--tls-key-file".into(), file("server.key")]);
            settings.extend(["--tls-ca-cert-file".into(), file("ca.pem")]);
            settings.extend(["--tls-auth-clients".into(), "no".into()]);
            if let Some(child) = spawn(folder.path(), 0, &settings) {
                return Self {
                    child,
                    folder,
                    port,
                    settings,
                };
            }
        }
        panic!("redis-server does not start with TLS");
    }

    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// As by a crash.
    pub(super) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(super) fn start_again(&mut self) {
        self.child = spawn(self.folder.path(), self.port, &self.settings).unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `None` when it ends before it is ready.
fn spawn(folder: &Path, port: u16, settings: &[String]) -> Option<Child> {
    // setpriv: the server ends with us even when we are killed.
    let mut child = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "redis-server"])
        .args(["--auto-aof-rewrite-percentage", "0"]) // by a process that may outlive it
        .args(["--bind", "127.0.0.1", "--save", "", "--port", &port.to_string()])
        .arg("--dir")
        .arg(folder)
        .args(settings)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let ready = lines.any(|line| line.unwrap_or_default().contains("Ready to accept connections"));
    if !ready {
        let _ = child.kill();
        let _ = child.wait();
        return None;
    }
    // It must not meet a closed pipe when it writes more.
    std::thread::spawn(move || lines.for_each(drop));
    Some(child)
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

fn make_certificates(folder: &Path) {
    for ca in ["ca", "other-ca"] {
        let key = format!("{ca}.key");
        let pem = format!("{ca}.pem");
        let subject = format!("/CN={ca}");
        openssl(
            folder,
            &[
                "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", &subject,
            ]
            .into_iter()
            .chain(["-keyout", &key, "-out", &pem])
            .collect::<Vec<_>>(),
        );
    }
    std::fs::write(folder.join("names"), "subjectAltName=DNS:localhost").unwrap();
    let request = ["req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=server"];
    openssl(
        folder,
        &[&request[..], &["-keyout", "server.key", "-out", "server.csr"]].concat(),
    );
    let sign = [
        "x509",
        "-req",
        "-in",
        "server.csr",
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
    ];
    openssl(
        folder,
        &[&sign[..], &["-days", "2", "-extfile", "names", "-out", "server.pem"]].concat(),
    );
}

fn openssl(folder: &Path, args: &[&str]) {
    let end = Command::new("openssl").args(args).current_dir(folder).output().unwrap();
    assert!(end.status.success(), "{}", String::from_utf8_lossy(&end.stderr));
}
