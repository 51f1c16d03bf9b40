//! An Engine that is reached over TLS or ssh, as if it were on another host: all of a trial works, and what is wrong
//! with certificates is said with whose fault it is.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use seatrial_store::testing::Certificates;
use serde_json::Value;

use crate::{
    docker_restart::Daemon,
    house::{Process, until},
    support::{QUICK, assert_clean, job, on_engine},
};

const TEXT: &str = "FROM busybox\nRUN echo built > /built\nCMD echo '{\"perf\": 0.5}' > /data/perf.json\n";

/// Gives the dev Engine back as it was found.
struct Back(Vec<String>);

impl Drop for Back {
    fn drop(&mut self) {
        Daemon::running().restart_as(&self.0);
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A folder with some of the files that Docker's has.
fn folder(at: &Path, files: &[(&str, &Path)]) -> PathBuf {
    fs::create_dir_all(at).unwrap();
    for (name, from) in files {
        fs::copy(from, at.join(name)).unwrap();
    }
    at.to_owned()
}

/// The binary with an Engine at this address. Its data folder is a file system of its own, which the Engine cannot
/// see: what it needs of us must go over the connection.
fn from_afar(host: &str, certificates: Option<&Path>, data: &Path) -> Command {
    let inner = on_engine();
    let mut command = Command::new("unshare");
    command
        .current_dir(inner.get_current_dir().unwrap())
        .stdin(Stdio::null())
        .args(["--mount", "--propagation", "private", "sh", "-c"])
        .arg("mount -t tmpfs none \"$SEATRIAL__DATA_DIR\" && exec \"$@\"")
        .arg("sh")
        .arg(inner.get_program())
        .args(inner.get_args())
        .env("SEATRIAL__DATA_DIR", data)
        .env("SEATRIAL__DOCKER__HOST", host)
        .env("NO_COLOR", "1");
    if let Some(certificates) = certificates {
        command.env("SEATRIAL__DOCKER__CERT_PATH", certificates);
    }
    command
}

/// What the doctor says first: why the Engine is not reached.
fn refusal(host: &str, certificates: Option<&Path>) -> String {
    let data = tempfile::tempdir().unwrap();
    let mut command = on_engine();
    command
        .args(["doctor", "--format", "json"])
        .env("SEATRIAL__DATA_DIR", data.path())
        .env("SEATRIAL__DOCKER__HOST", host);
    if let Some(certificates) = certificates {
        command.env("SEATRIAL__DOCKER__CERT_PATH", certificates);
    }
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(6));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let check = &report["checks"][0];
    assert_eq!(
        (&check["name"], &check["health"]),
        (&"engine".into(), &"missing".into()),
        "{report:#}"
    );
    check["detail"].as_str().unwrap().to_owned()
}

/// A whole trial, and the doctor.
fn works(command: impl Fn() -> Command, connection: &str) {
    let folder = tempfile::tempdir().unwrap();
    let dockerfile = folder.path().join("Dockerfile");
    fs::write(&dockerfile, TEXT).unwrap();
    let output = command().args(QUICK).arg(&dockerfile).output().unwrap();
    let job = job(&output);
    assert_eq!(
        (output.status.code(), &job["result"]["value"]["perf"]),
        (Some(0), &0.5.into()),
        "{job:#}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let output = command().args(["doctor", "--format", "json"]).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let detail = |name: &str| {
        let checks = report["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["name"] == name);
        check
            .and_then(|check| check["detail"].as_str())
            .unwrap_or_default()
            .to_owned()
    };
    assert!(detail("connection").contains(connection), "{report:#}");
    assert!(detail("disk").contains("not seen from here"), "{report:#}");
    // Its version is asked of the Engine, not of this host.
    assert!(detail("holes: runc").contains("1."), "{report:#}");
}

/// Lasting volumes of a data folder that nobody can read any more: by the time before and after.
fn base_volumes() -> Vec<String> {
    let all = crate::support::docker(&["volume", "ls", "--quiet"]);
    let ours = ["st-base-", "st-scan-", "st-db-"];
    let named = all
        .lines()
        .filter(|name| ours.iter().any(|kind| name.starts_with(kind)));
    named.map(str::to_owned).collect()
}

fn forget_since(before: &[String]) {
    for name in base_volumes().iter().filter(|name| !before.contains(name)) {
        crate::support::docker(&["volume", "rm", name]);
    }
}

#[test]
fn docker_an_engine_behind_tls_serves_a_whole_trial_and_wrong_certificates_are_told_apart() {
    let place = tempfile::tempdir().unwrap();
    let good = Certificates::make(&place.path().join("good")).unwrap();
    let other = Certificates::make(&place.path().join("other")).unwrap();
    let (found, port) = (Daemon::running(), free_port());
    let before = base_volumes();
    let back = Back(found.words.clone());
    let listener = [
        "--host".to_owned(),
        format!("tcp://127.0.0.1:{port}"),
        "--tlsverify".to_owned(),
        format!("--tlscacert={}", good.ca.display()),
        format!("--tlscert={}", good.cert.display()),
        format!("--tlskey={}", good.key.display()),
    ];
    let words = [found.words.clone(), listener.to_vec()].concat();
    found.restart_as(&words);
    let host = format!("tcp://127.0.0.1:{port}");

    let data = place.path().join("data");
    fs::create_dir(&data).unwrap();
    works(|| from_afar(&host, Some(&place.path().join("good")), &data), "TLS");

    let with = |name: &str, files: &[(&str, &Path)]| folder(&place.path().join(name), files);
    let wrong_authority = with(
        "wrong-authority",
        &[("ca.pem", &other.ca), ("cert.pem", &good.cert), ("key.pem", &good.key)],
    );
    let said = refusal(&host, Some(&wrong_authority));
    assert!(
        said.contains("was not issued by the authority in") && said.contains("ca.pem"),
        "{said}"
    );
    let nobody = with("nobody", &[("ca.pem", &good.ca)]);
    let said = refusal(&host, Some(&nobody));
    assert!(said.contains("certificate") && said.contains("cert.pem"), "{said}");
    let stranger = with(
        "stranger",
        &[("ca.pem", &good.ca), ("cert.pem", &other.cert), ("key.pem", &other.key)],
    );
    let said = refusal(&host, Some(&stranger));
    assert!(
        said.contains("does not accept our certificate") && said.contains("cert.pem"),
        "{said}"
    );
    let said = refusal(&host, Some(&place.path().join("nowhere")));
    assert!(said.contains("ca.pem cannot be used"), "{said}");
    let said = refusal(&host, None);
    assert!(
        said.contains("without TLS") && said.contains("docker.cert_path"),
        "{said}"
    );

    drop(back);
    forget_since(&before);
    assert_clean("a trial over TLS");
}

#[test]
fn docker_an_expired_certificate_and_one_of_another_name_are_the_engines_fault() {
    let place = tempfile::tempdir().unwrap();
    let good = Certificates::make(&place.path().join("good")).unwrap();
    let (expired, request) = (place.path().join("expired.pem"), place.path().join("good/req.pem"));
    let made = Command::new("openssl")
        .args(["x509", "-req", "-days", "0", "-CAcreateserial", "-in"])
        .arg(&request)
        .arg("-out")
        .arg(&expired)
        .arg("-CA")
        .arg(&good.ca)
        .arg("-CAkey")
        .arg(place.path().join("good/ca.key"))
        .arg("-extfile")
        .arg(place.path().join("good/san.cnf"))
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let serve = |cert: &Path, address: &str| {
        let port = free_port();
        let mut command = Command::new("openssl");
        let accept = format!("{address}:{port}");
        command
            .args(["s_server", "-quiet", "-accept", &accept, "-cert"])
            .arg(cert);
        command.arg("-key").arg(&good.key);
        let server = Process::start(command, place.path().join("server.log"));
        until("it listens", Duration::from_secs(20), || !server.listens().is_empty());
        (server, format!("tcp://{accept}"))
    };
    let certificates = place.path().join("good");
    let (_server, host) = serve(&expired, "127.0.0.1");
    until("it has expired", Duration::from_secs(20), || {
        refusal(&host, Some(&certificates)).contains("the Engine's certificate has expired")
    });
    let (_other, host) = serve(&good.cert, "127.0.0.2");
    let said = refusal(&host, Some(&certificates));
    assert!(said.contains("is not for 127.0.0.2"), "{said}");
}

#[test]
fn docker_an_engine_behind_ssh_serves_a_whole_trial() {
    let Some(sshd) = ["/usr/sbin/sshd", "/usr/local/sbin/sshd"]
        .iter()
        .find(|path| Path::new(path).exists())
    else {
        eprintln!("NOT RUN: there is no sshd here; openssh-server has it");
        return;
    };
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name).display().to_string();
    for key in ["host", "user"] {
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f", &at(key)])
            .status();
        assert!(made.unwrap().success());
    }
    fs::create_dir_all("/run/sshd").unwrap();
    let port = free_port();
    let server = format!(
        "ListenAddress 127.0.0.1\nPort {port}\nHostKey {}\nAuthorizedKeysFile {}\nPasswordAuthentication no\n\
         StrictModes no\nUsePAM no\nPidFile none\n",
        at("host"),
        at("user.pub"),
    );
    fs::write(at("sshd_config"), server).unwrap();
    let public = fs::read_to_string(at("host.pub")).unwrap();
    fs::write(at("known"), format!("[127.0.0.1]:{port} {public}")).unwrap();
    // One connection for all requests, as an operator would have it.
    let shared = format!(
        " ControlMaster auto\n ControlPath {}\n ControlPersist 5\n",
        at("shared")
    );
    let client = format!(
        "Host *\n IdentityFile {}\n IdentitiesOnly yes\n UserKnownHostsFile {}\n StrictHostKeyChecking yes\n",
        at("user"),
        at("known"),
    );
    fs::write(at("ssh_config"), format!("{client}{shared}")).unwrap();
    // ssh reads its user's files; a test must not.
    fs::create_dir(at("bin")).unwrap();
    fs::write(
        at("bin/ssh"),
        format!("#!/bin/sh\nexec /usr/bin/ssh -F {} \"$@\"\n", at("ssh_config")),
    )
    .unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(at("bin/ssh"), mode).unwrap();
    let mut command = Command::new(sshd);
    command.args(["-D", "-e", "-f", &at("sshd_config")]);
    let daemon = Process::start(command, place.path().join("sshd.log"));
    until("sshd listens", Duration::from_secs(20), || !daemon.listens().is_empty());

    let before = base_volumes();
    let socket = Daemon::running().socket();
    let host = format!("ssh://127.0.0.1:{port}{}", socket.display());
    let path = format!("{}:{}", at("bin"), std::env::var("PATH").unwrap());
    let data = place.path().join("data");
    fs::create_dir(&data).unwrap();
    let command = || {
        let mut command = from_afar(&host, None, &data);
        command.env("PATH", &path);
        command
    };
    works(command, "ssh");
    fs::write(at("known"), "").unwrap();
    fs::write(at("ssh_config"), client).unwrap();
    let output = command().args(["doctor", "--format", "json"]).output().unwrap();
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(report.contains("Host key verification failed"), "{report}");
    forget_since(&before);
    assert_clean("a trial over ssh");
}
